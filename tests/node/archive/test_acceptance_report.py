"""The acceptance report: its figures from its rows, its limits, its words and its one file."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from node.archive.acceptance import EXAMPLE, key_pictures, report_page, shown
from node.archive.adjudication import Answer, Decision, append, draw, write_sample
from node.archive.evidence import read_joined
from node.archive.proof import Proof
from node.cli import app
from tests.support import recomputed
from tests.support.proofs import READ_AT, Truth, made_up, write_labels, write_outcomes
from tests.support.recomputed import Known

NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["archive", "report", *arguments], env={"COLUMNS": "80"})
    return done.exit_code, done.stdout, done.stderr


def decide(proof: Proof, truths: list[Truth], who: str = "anna", *, wrong: float = 0.0) -> None:
    """Have a person decide all studies that are asked about, and be wrong now and then."""
    studies = read_joined(proof).studies
    if not proof.sample.exists():
        write_sample(proof.sample, draw(studies, 20, 7, NOW))
    asked = json.loads(proof.sample.read_text())["asked"]
    known = {truth.study: truth for truth in truths}
    rng = np.random.default_rng(len(who))
    decisions = []
    for number, one in enumerate(asked):
        truth = known[one["study"]]
        bleeds = truth.bleeds != (rng.random() < wrong)
        answer = Answer.BLEEDS if bleeds else Answer.NONE
        if rng.random() < wrong / 2:
            answer = Answer.CANNOT_TELL
        subtypes = truth.subtypes if answer is Answer.BLEEDS else ()
        decisions.append(
            Decision(
                f"{who}-{number}",
                *(one["study"], who, NOW.isoformat(), answer, subtypes, True, "", ""),
            )
        )
    append(proof.decisions, decisions)


def told(proof: Proof, *options: str) -> dict[str, Any]:
    code, _, error = run(str(proof.root), *options)
    assert code in (0, 1), error
    found: dict[str, Any] = json.loads((proof.root / "report.json").read_text())
    return found


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Proof, list[Truth]]:
    """600 studies of some 350 patients, with labels alone."""
    return made_up(tmp_path_factory.mktemp("labelled") / "proof", 600, patients=500)


@pytest.fixture(scope="module")
def adjudicated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Proof, list[Truth]]:
    """The same, with the decisions of two people who are wrong now and then, and limits."""
    proof, truths = made_up(tmp_path_factory.mktemp("both") / "proof", 600, patients=500)
    decide(proof, truths, "anna", wrong=0.05)
    decide(proof, truths, "benedikt", wrong=0.08)
    proof.limits.write_text(EXAMPLE)
    os.utime(proof.limits, (READ_AT.timestamp() - 60,) * 2)
    return proof, truths


def same(found: Any, expected: Any, where: str = "") -> None:
    """Whatever is expected is found, numbers to 9 digits; the order of keys does not matter."""
    match expected:
        case Mapping():
            for name, value in expected.items():
                same(found[name], value, f"{where}.{name}")
        case list():
            assert len(found) == len(expected), where
            for number, value in enumerate(expected):
                same(found[number], value, f"{where}[{number}]")
        case float() | int() if not isinstance(expected, bool):
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-12), where
        case _:
            assert found == expected, where


@pytest.mark.parametrize("which", ["labelled", "adjudicated"])
def test_every_figure_follows_from_the_rows(which: str, request: pytest.FixtureRequest) -> None:
    proof, _ = request.getfixturevalue(which)
    report = told(proof)
    rows, few = report["studies"], report["too_few"]
    known = Known(rows, people=True)
    alone = Known(rows, people=False)
    studies = known.counted()
    asked: Counter[tuple[bool, str]] = Counter()
    if proof.sample.exists():
        names = {one["study"] for one in json.loads(proof.sample.read_text())["asked"]}
        for cell, held in known.cells.items():
            asked[cell] = sum(row["study"] in names for row in held)
    same(report["reference"]["cells"], recomputed.cells(known, asked))
    figures = recomputed.estimates(studies, known, few)
    prevalence = sum(each[2] for each in studies) / len(studies)
    same(report["figures"], {**figures, "studies": len(studies), "prevalence": prevalence})
    same(report["figures"]["table"], recomputed.table(studies))
    if report["reference"]["by"] == "people":
        same(report["reports_alone"], recomputed.estimates(alone.counted(), alone, few))
        same(report["reports_alone"]["table"], recomputed.table(alone.counted()))
        same(report["kappa"], recomputed.kappas(rows))
    else:
        assert report["reports_alone"] is None and report["kappa"] == []
    same(report["either_way"], recomputed.either_way(rows, known, few))
    curve = recomputed.roc(known)
    area, brier = curve.pop("auc"), curve.pop("brier")
    same(report["roc"], curve)
    same(report["roc"]["auc"]["value"], area)
    low, high = recomputed.auc_interval(known, seed=99)
    assert (report["roc"]["auc"]["low"], report["roc"]["auc"]["high"]) == pytest.approx(
        (low, high), abs=0.012
    )
    same(report["roc"]["operating_points"], [{"studies": len(studies), **figures}])
    bins = recomputed.calibration(known)
    same(report["calibration"]["bins"], bins)
    whole = sum(each["weight"] for each in bins)
    off = sum(each["weight"] * abs(each["predicted"] - each["observed"]) for each in bins)
    same(
        report["calibration"],
        {
            "brier": brier,
            "calibration_error": off / whole,
            **{
                name: sum(each["weight"] * each[name] for each in bins) / whole
                for name in ("predicted", "observed")
            },
        },
    )
    strata = {
        name: {line["value"]: line for line in lines} for name, lines in report["strata"].items()
    }
    expected = recomputed.strata(known, few)
    same(strata, expected)
    assert {name: set(lines) for name, lines in strata.items()} == {
        name: set(lines) for name, lines in expected.items()
    }
    same(report["predictive_values"], recomputed.predictive(figures))
    bleeds, needed = recomputed.needed(prevalence)
    same(report["needed"]["bleeds"], bleeds)
    same([each["studies"] for each in report["needed"]["at"]], needed)
    same(report["needed"]["bleeds_here"], sum(each[2] for each in studies))


def test_the_flow_and_the_mistakes_follow_from_the_rows(
    adjudicated: tuple[Proof, list[Truth]],
) -> None:
    report = told(adjudicated[0])
    rows, flow = report["studies"], report["flow"]
    results = Counter(row["result"] for row in rows)
    assert flow["read"] == len(rows) == 600
    assert {name: count for name, count in flow["results"].items() if count} == results
    assert flow["analysed"] == results["SUSPECTED"] + results["NO_FINDING"]
    assert flow["labels"] == Counter(row["report"] for row in rows)
    others = {"NOT_ANALYSED": "only … mL of brain were scanned", "FAILED": "it failed after … s"}
    for result, reason in others.items():
        assert flow["reasons"][result] == {reason: results[result]}
    assert flow["decided"] == sum(bool(row["decisions"]) for row in rows)
    settled = [row for row in rows if recomputed.settled(row) is not None]
    assert flow["settled"] == len(settled) < flow["decided"]
    assert (flow["found"], flow["taken"], flow["not_read"]) == (660, 600, 0)
    assert flow["not_taken"] == {"contrast agent": 40, "not a head": 20}
    assert flow["patients"] == len({row["patient"] for row in rows})
    missed = {
        row["study"] for row in settled if row["result"] == "NO_FINDING" and recomputed.settled(row)
    }
    assert set(report["mistakes"]["missed"]) == missed and missed
    alarms = {
        row["study"]
        for row in settled
        if row["result"] == "SUSPECTED" and recomputed.settled(row) is False
    }
    assert set(report["mistakes"]["false_alarms"]) == alarms
    scores = {row["study"]: row["probability"] for row in rows}
    in_order = [scores[name] for name in report["mistakes"]["false_alarms"]]
    assert in_order == sorted(in_order, reverse=True)
    beyond = {
        row["study"]
        for row in settled
        if row["result"] == "SUSPECTED" and row["report"] == "none" and recomputed.settled(row)
    }
    assert set(report["beyond_reports"]) == beyond and beyond
    html = (adjudicated[0].root / "report.html").read_text()
    assert f"Bleeds of which the report says none ({len(beyond)})" in html
    assert set(report["beyond_reports"]) <= set(shown(report))


def test_without_people_nothing_is_found_beyond_the_reports(
    labelled: tuple[Proof, list[Truth]],
) -> None:
    report = told(labelled[0])
    assert report["beyond_reports"] == []
    assert "nobody has looked at what" in (labelled[0].root / "report.html").read_text()


def test_subtypes_are_those_that_people_named(adjudicated: tuple[Proof, list[Truth]]) -> None:
    report = told(adjudicated[0])
    known = Known(report["studies"], people=True)
    for line in report["subtypes"]["sensitivity"]:
        held = [
            (flagged, weight)
            for row, flagged, truth, weight in known.own()
            if truth and any(line["value"] in one["subtypes"] for one in row["decisions"])
        ]
        assert line["studies"] == len(held)
        weights, hits = ([w for f, w in held if f or not only] for only in (False, True))
        found = line["sensitivity"]
        assert (found["of"], found["hits"]) == pytest.approx((sum(weights), sum(hits)))
        if len(held) < 10:
            assert found["value"] is None
            continue
        number = sum(weights) ** 2 / sum(weight**2 for weight in weights)
        share = sum(hits) / sum(weights)
        assert (found["low"], found["high"]) == pytest.approx(recomputed.wilson(share, number))
    for line in report["subtypes"]["ppv"]:
        flagged = [
            each
            for each in known.counted()
            if each[1] and each[0]["subtypes"].get(line["value"], 0) >= 0.5
        ]
        assert line["studies"] == len(flagged)
        same(line["ppv"], recomputed.estimate("ppv", flagged, known, report["too_few"]))


def test_what_was_not_analysed_is_never_taken_for_no_finding(
    labelled: tuple[Proof, list[Truth]],
) -> None:
    report = told(labelled[0])
    others = [row for row in report["studies"] if row["result"] in ("NOT_ANALYSED", "FAILED")]
    assert others and all(row["flagged"] is None for row in others)
    sizes = report["figures"]["table"]
    assert sum(sizes.values()) == pytest.approx(report["figures"]["studies"])
    assert report["figures"]["studies"] <= report["flow"]["analysed"] < report["flow"]["read"]
    either = report["either_way"]
    analysed = report["figures"]["sensitivity"]["value"]
    assert either["as_not_flagged"]["sensitivity"]["value"] < analysed
    assert either["as_flagged"]["specificity"]["value"] < report["figures"]["specificity"]["value"]


def test_limits_are_met_open_or_not_met_by_the_whole_interval(
    adjudicated: tuple[Proof, list[Truth]],
) -> None:
    proof, _ = adjudicated
    limits = proof.root / "these.toml"
    found = told(proof)["figures"]["specificity"]
    for limit, verdict, status in (
        (found["low"] - 0.001, "met", 0),
        ((found["low"] + found["high"]) / 2, "open", 0),
        (found["high"] + 0.001, "not met", 1),
    ):
        limits.write_text(f"[at_least]\nspecificity = {limit}\n")
        code, text, _ = run(str(proof.root), "--limits", str(limits))
        told_ = json.loads((proof.root / "report.json").read_text())["limits"]
        assert (code, told_["verdict"]) == (status, verdict)
        assert f"limits: {verdict}" in text
    limits.write_text(f'judged_by = "estimate"\n[at_least]\nspecificity = {found["value"] - 1e-6}')
    assert told(proof, "--limits", str(limits))["limits"]["verdict"] == "met"


def test_a_count_that_is_not_reached_is_open_and_strata_are_judged_one_by_one(
    adjudicated: tuple[Proof, list[Truth]],
) -> None:
    report = told(adjudicated[0])
    lines = {line["what"]: line for line in report["limits"]["lines"]}
    assert lines["studies"]["verdict"] == "open" and lines["studies"]["limit"] == 1000
    assert lines["studies"]["found"] == {"value": report["figures"]["studies"]}
    assert lines["bleeds"]["found"]["value"] == report["figures"]["sensitivity"]["of"]
    for line in report["strata"]["scanner"]:
        judged = lines[f"sensitivity, scanner {line['value']}"]
        assert judged["found"]["low"] == line["sensitivity"]["low"]
    assert report["limits"]["signed_by"] == "Head of neuroradiology"
    assert report["limits"]["beforehand"]


def test_limits_newer_than_the_first_reading_are_said_to_be(
    adjudicated: tuple[Proof, list[Truth]], tmp_path: Path
) -> None:
    proof, _ = adjudicated
    late = tmp_path / "late.toml"
    late.write_text(EXAMPLE)
    _, _, error = run(str(proof.root), "--limits", str(late))
    assert "changed after the first study was read" in error
    assert "not written beforehand" in (proof.root / "report.html").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[at_least]\nsensitivty = 0.9", "did you mean sensitivity?"),
        ("[at_least]\nsensitivity = 90", "at_least.sensitivity"),
        ("[in_each.hospital]\nsensitivity = 0.9", "told apart by scanner"),
        ("[at_least]\n", "demands nothing"),
        ("[at_least", "limits.toml"),
    ],
)
def test_limits_that_make_no_sense_are_named(
    labelled: tuple[Proof, list[Truth]], tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(text)
    code, _, error = run(str(labelled[0].root), "--limits", str(file))
    assert code == 2 and said in error and error.count("\n") == 1


def test_the_page_is_one_file_that_loads_and_runs_nothing(
    adjudicated: tuple[Proof, list[Truth]],
) -> None:
    report = told(adjudicated[0])
    html = (adjudicated[0].root / "report.html").read_text()
    assert not re.search(r"https?:|//[a-z]|<script|<link|@import|url\(", html)
    assert "default-src 'none'" in html and "RESEARCH USE ONLY" in html
    for name in ("sensitivity", "ppv"):
        assert f"{100 * report['figures'][name]['value']:.1f} %" in html
    assert "OPEN: TOO LITTLE IS KNOWN" in html or "NOT MET" in html


def test_nothing_from_outside_is_markup(tmp_path: Path) -> None:
    proof, _ = made_up(tmp_path / "proof", 60, prevalence=0.4)
    joined = read_joined(proof)
    rows = [
        {
            "study": study.name,
            "patient": study.outcome.patient,
            "accession": study.outcome.accession,
            "result": study.outcome.result,
            "probability": 0.5,
            "scanner": "<script>alert(1)</script>",
            "reason": "<b>why</b>",
            "limitations": ["\u202e<img src=x>"],
        }
        for study in joined.studies
    ]
    for file in proof.outcomes.iterdir():
        file.unlink()
    write_outcomes(proof, rows)
    told(proof, "--words")
    html = (proof.root / "report.html").read_text()
    assert "<script" not in html and "<img src=x" not in html and "\u202e" not in html
    assert "&lt;script&gt;" in html


def test_sentences_and_notes_stay_away_unless_asked_for(tmp_path: Path) -> None:
    proof, truths = made_up(tmp_path / "proof", 80, prevalence=0.4)
    decide(proof, truths)
    study = json.loads(proof.sample.read_text())["asked"][0]["study"]
    noted = Decision(
        *("x", study, "anna", NOW.isoformat(), Answer.BLEEDS, (), True, "Mrs. Miller", "")
    )
    append(proof.decisions, [noted])
    told(proof)
    plain = (proof.root / "report.json").read_text() + (proof.root / "report.html").read_text()
    assert "hemorrhage." not in plain and "Mrs. Miller" not in plain
    told(proof, "--words")
    assert "Mrs. Miller" in (proof.root / "report.json").read_text()
    assert (proof.root / "report.json").stat().st_mode & 0o077 == 0


def test_the_slices_of_mistakes_are_shown_plain_and_outlined(tmp_path: Path) -> None:
    proof, _ = made_up(tmp_path / "proof", 100, prevalence=0.3)
    report = told(proof)
    wrong = list(shown(report))
    assert wrong
    hu = np.full((5, 40, 40), 30, np.int16)
    mask = np.zeros(hu.shape, bool)
    mask[3, 10:20, 10:20] = True
    file = proof.image(wrong[0])
    file.parent.mkdir()
    np.savez_compressed(
        file, hu=hu, mask=mask, spacing_mm=[5, 0.5, 0.5], probability=[0, 0, 0, 1, 0]
    )
    proof.image(wrong[1]).write_bytes(b"no archive")
    pictures = key_pictures(proof, shown(report))
    assert [len(pictures[name]) for name in wrong[:3]] == [2, 0, 0]
    html = report_page(report, pictures)
    assert html.count("data:image/jpeg;base64,") == 2 and "no images" in html


def test_an_empty_proof_a_damaged_table_and_an_empty_catalogue_are_one_line(
    tmp_path: Path,
) -> None:
    code, _, error = run(str(tmp_path))
    assert code == 2 and "ichnode archive read" in error and error.count("\n") == 1
    proof, _ = made_up(tmp_path / "proof", 20)
    (proof.outcomes / "batch-9.parquet").write_bytes(b"PAR1 torn")
    code, _, error = run(str(proof.root))
    assert code == 2 and "batch-9.parquet cannot be read" in error
    (proof.outcomes / "batch-9.parquet").unlink()
    import pyarrow
    from pyarrow import parquet

    schema = parquet.read_schema(proof.catalogue)
    parquet.write_table(schema.empty_table(), proof.catalogue)
    assert isinstance(schema, pyarrow.Schema)
    code, _, error = run(str(proof.root))
    assert code == 2 and "catalogue.parquet is empty" in error


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"label,sentence\nbleeds,x\n", "no column is called accession"),
        (b"", "is empty"),
        (b"accession,label\n", "a header and no row"),
        (b'accession,label\nA1,"bleeds\n', "quotation marks do not match"),
    ],
)
def test_labels_that_cannot_be_read_are_told_and_nothing_is_written(
    tmp_path: Path, content: bytes, said: str
) -> None:
    proof, _ = made_up(tmp_path / "proof", 20)
    proof.labels.write_bytes(content)
    code, _, error = run(str(proof.root))
    assert code == 2 and said in error and error.count("\n") == 1
    assert not (proof.root / "report.json").exists()


def test_labels_that_changed_after_the_sample_was_drawn_are_told(tmp_path: Path) -> None:
    proof, truths = made_up(tmp_path / "proof", 200)
    decide(proof, truths)
    changed = "have changed since the sample for adjudication was drawn"
    assert changed not in str(told(proof)["remarks"])
    labels = proof.labels.read_text("utf-8-sig")
    proof.labels.write_text(labels.replace(",cannot tell,", ",none,"))
    assert changed in str(told(proof)["remarks"])


def test_a_decision_outside_of_the_sample_is_shown_and_counts_in_no_figure(tmp_path: Path) -> None:
    """Somebody has picked bleeds among what agrees: weighed, they would stand for all of it."""
    proof, truths = made_up(tmp_path / "proof", 300)
    decide(proof, truths)
    before = told(proof)
    asked = {one["study"] for one in json.loads(proof.sample.read_text())["asked"]}
    quiet = {row["study"] for row in before["studies"] if row["result"] == "NO_FINDING"}
    chosen = sorted(quiet - asked)[:5]
    append(
        proof.decisions,
        [
            Decision(str(n), study, "anna", NOW.isoformat(), Answer.BLEEDS, (), False, "", "")
            for n, study in enumerate(chosen)
        ],
    )
    after = told(proof)
    for part in ("figures", "reference", "roc", "calibration", "strata", "predictive_values"):
        assert after[part] == before[part], part
    assert set(after["mistakes"]["missed"]) == {*before["mistakes"]["missed"], *chosen}
    assert after["flow"]["decided"] == before["flow"]["decided"] + len(chosen)
    assert after["flow"]["outside"] == len(chosen) and before["flow"]["outside"] == 0
    assert after["flow"]["settled"] == before["flow"]["settled"]
    (said,) = set(after["remarks"]) - set(before["remarks"])
    assert f"people settled {len(chosen)} studies outside of the sample" in said
    rows = {row["study"]: row for row in after["studies"]}
    assert all(rows[name]["outside"] and rows[name]["weight"] == 0 for name in chosen)
    assert sum(row["outside"] for row in after["studies"]) == len(chosen)


def test_labels_outside_of_the_secret_are_not_taken_and_the_remedy_is_told(tmp_path: Path) -> None:
    proof, _ = made_up(tmp_path / "proof", 20)
    proof.labels.rename(proof.root / "labels.csv")
    code, _, error = run(str(proof.root))
    assert code == 2 and f"move it to {proof.labels}" in error


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "utf-8"])
def test_labels_in_other_encodings_and_separators_are_joined(tmp_path: Path, encoding: str) -> None:
    proof, _ = made_up(tmp_path / "proof", 20)
    text = "Untersuchungsnummer;label;Satz\n" + "".join(
        f"A{number:05};keine Blutung;Größe\n".replace("keine Blutung", "nein")
        for number in range(20)
    )
    proof.labels.write_bytes(text.encode(encoding))
    report = told(proof)
    assert report["flow"]["labels"] == {"none": 20}


def test_a_label_twice_of_another_patient_or_of_no_study_is_told_and_loses_no_study(
    tmp_path: Path,
) -> None:
    proof, _ = made_up(tmp_path / "proof", 20)
    write_labels(
        proof,
        [
            ("A00000", "bleeds", "", "", "", "P0"),
            ("A00000", "none", "", "", "", "P0"),
            ("A00001", "none", "", "", "", "somebody else"),
            (" A00002 ", "none", "", "", "", "P2"),
            ("Z9", "bleeds", "", "", "", "P9"),
            ("", "bleeds", "", "", "", "P3"),
        ],
    )
    report = told(proof)
    remarks = "\n".join(report["remarks"])
    assert "lines 2, 3 of labels.csv: 2 different reports" in remarks
    assert "the report with its accession number is another patient's" in remarks
    assert "1 of 4 accession numbers of the labels belong to no study" in remarks
    assert "line 7 of labels.csv: no accession number" in remarks
    assert report["flow"]["read"] == 20
    assert report["flow"]["labels"] == {"cannot tell": 1, "none": 1, "no label": 18}


def test_without_labels_and_decisions_nothing_is_known_and_that_is_said(tmp_path: Path) -> None:
    proof, _ = made_up(tmp_path / "proof", 40)
    proof.labels.unlink()
    report = told(proof)
    assert report["figures"]["studies"] == 0 and report["figures"]["prevalence"] is None
    assert report["flow"]["left_out"] == report["flow"]["analysed"]
    assert any("nobody knows the truth" in one for one in report["remarks"])
    assert report["figures"]["sensitivity"]["value"] is None


def test_an_example_of_limits_is_printed() -> None:
    assert run("--example") == (0, EXAMPLE, "")


def test_the_labels_that_ichnode_writes_keep_their_sentence_and_rule(tmp_path: Path) -> None:
    proof, _ = made_up(tmp_path / "proof", 20, unclear=0)
    label = read_joined(proof).studies[0].label
    assert label is not None
    assert label.sentence[:9] in ("There is ", "No intrac")
    assert label.rule in ('present: "hemorrhage"', 'absent: "no"')
