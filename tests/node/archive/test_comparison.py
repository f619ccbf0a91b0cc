"""Two bundles on one archive: what flips, and each number from the rows."""

import json
import re
from collections import Counter
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from typer.testing import CliRunner

from node.archive.acceptance import Counted, Figure
from node.archive.adjudication import Answer, Decision, append, draw
from node.archive.comparison.paired import Answers, Table, change, mcnemar, newcombe
from node.archive.evidence import read_joined
from node.archive.proof import Proof
from node.cli import app
from node.wording import Flip
from tests.support.proofs import (
    DECIDED,
    Truth,
    draw_heads,
    made_up,
    outcome_rows,
    read_anew,
    write_outcomes,
)


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["archive", *map(str, arguments)], env={"COLUMNS": "80"})
    return done.exit_code, done.stdout, done.stderr


def decide(proof: Proof, truths: list[Truth], share: float) -> None:
    """Have a person decide a random share of the studies, right each time."""
    rng = np.random.default_rng(5)
    chosen = [truth for truth in truths if rng.random() < share]
    append(
        proof.decisions,
        [
            Decision(
                f"{proof.root.name}-{number}",
                *(truth.study, "anna", f"2026-11-29T08:{number % 60:02}:00+00:00"),
                *(Answer.BLEEDS if truth.bleeds else Answer.NONE, truth.subtypes, True, "", ""),
            )
            for number, truth in enumerate(chosen)
        ],
    )


def compared(old: Proof, new: Proof, *options: str) -> dict[str, Any]:
    code, _, error = run("compare", old.root, new.root, *options)
    assert code in (0, 1), error
    found: dict[str, Any] = json.loads((new.root / "comparison.json").read_text())
    assert code == (1 if found["lost"] else 0)
    return found


@pytest.fixture(scope="module")
def by_reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Proof, Proof]:
    """400 studies, each of another patient, whose truth is what reports say."""
    folder = tmp_path_factory.mktemp("reports")
    old, _ = made_up(folder / "old", 400, prevalence=0.25)
    return old, read_anew(old, folder / "new")


@pytest.fixture(scope="module")
def by_people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Proof, Proof]:
    """600 studies of some 350 patients, of which people decided some in either proof."""
    folder = tmp_path_factory.mktemp("people")
    old, truths = made_up(folder / "old", 600, prevalence=0.2, patients=500)
    new = read_anew(old, folder / "new", threshold=0.35)
    decide(old, truths, 0.3)
    decide(new, truths[::2], 0.4)
    return old, new


# Tables whose answers are printed.


@pytest.mark.parametrize(
    ("table", "printed"),
    [
        # Newcombe, Stat Med 1998;17:2635: 36, 12, 2, 0
        ((36, 12, 2, 0), (0.0569, 0.3404)),
        # Cavo et al. 2012, as the tests of Fagerland's package contingencytables have it
        ((59, 6, 16, 80), (-0.1186, -0.0046)),
    ],
)
def test_intervals_of_differences_are_those_that_are_printed(
    table: tuple[int, ...], printed: tuple[float, float]
) -> None:
    assert newcombe(Table(*table)) == pytest.approx(printed, abs=5e-5)


def test_a_difference_the_other_way_round_has_the_mirrored_interval() -> None:
    rng = np.random.default_rng(1)
    for both, only_new, only_old, neither in rng.integers(0, 40, (200, 4)) + (1, 0, 0, 0):
        low, high = newcombe(Table(both, only_new, only_old, neither))
        back = newcombe(Table(both, only_old, only_new, neither))
        assert back == pytest.approx((-high, -low))
        assert low <= (only_new - only_old) / (both + only_new + only_old + neither) <= high


def test_mcnemar_is_the_exact_one_of_statsmodels() -> None:
    assert mcnemar(6, 16) == pytest.approx(0.052479, abs=5e-7)  # Cavo et al., as printed
    for only_new in range(12):
        for only_old in range(12):
            expected = reference_mcnemar([[5, only_new], [only_old, 3]], exact=True).pvalue
            assert mcnemar(only_new, only_old) == pytest.approx(expected)


def test_the_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    shares = (0.75, 0.12, 0.05, 0.08)
    drawn = rng.multinomial(80, shares, 2000)
    held = [low <= 0.07 <= high for low, high in (newcombe(Table(*each)) for each in drawn)]
    assert 0.935 < np.mean(held) < 0.975


def test_twice_the_same_study_of_each_patient_is_no_further_study() -> None:
    rng = np.random.default_rng(4)
    flagged, new = rng.random(60) < 0.6, rng.random(60) < 0.75

    def found(times: int) -> dict[str, Any]:
        patient = np.tile(np.arange(60), times)
        zeros = np.zeros(60 * times, np.intp)
        bleeds = np.ones(60 * times)
        old = Counted(np.tile(flagged, times), bleeds, zeros > 0, zeros, patient, {})
        return change(Figure.SENSITIVITY, Answers(old, np.tile(new, times)))["difference"]

    assert found(2) == pytest.approx(found(1))


# Every number from the rows.


def by_hand(rows: list[dict[str, Any]], figure: str, few: int) -> dict[str, Any]:
    """Compute the change of a figure from rows, in another way than the node does."""
    bleeding = figure == "sensitivity"
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault(cell_of(row), []).append(row)
    return cells_by_hand(cells, rows, bleeding, few)


def cell_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["old"]["flagged"], row["new"]["flagged"], row["report"]


def share_of(held: list[dict[str, Any]]) -> tuple[int, int]:
    known = [row["truth"] for row in held if row["truth"] is not None]
    return sum(known), len(known)


def expected_of(row: dict[str, Any], shares: dict[tuple[Any, ...], float], bleeding: bool) -> float:
    truth = row["truth"]
    bleeds = shares[cell_of(row)] if truth is None else float(truth)
    return bleeds if bleeding else 1 - bleeds


def table_by_hand(
    rows: list[dict[str, Any]], shares: dict[tuple[Any, ...], float], bleeding: bool
) -> Counter[tuple[bool, bool]]:
    table: Counter[tuple[bool, bool]] = Counter()
    for row in rows:
        right = (row["old"]["flagged"] == bleeding, row["new"]["flagged"] == bleeding)
        table[right] += expected_of(row, shares, bleeding)  # type: ignore[assignment]
    return table


def wilson_by_roots(share: float, of: float) -> tuple[float, float]:
    """Solve |p - share| = z sqrt(p (1 - p) / n)."""
    square = stats.norm.ppf(0.975) ** 2 / of
    low, high = np.sort(np.roots([1 + square, -2 * share - square, share**2]).real)
    return float(low), float(high)


def newcombe_by_hand(yy: float, ny: float, yn: float, nn: float) -> tuple[float, float]:
    """Method 10 as the paper has it, the new bundle first."""
    n = yy + ny + yn + nn
    a, b, c, d = yy, ny, yn, nn
    p1, p2 = (a + b) / n, (a + c) / n
    (l1, u1), (l2, u2) = wilson_by_roots(p1, n), wilson_by_roots(p2, n)
    product = (a + b) * (c + d) * (a + c) * (b + d)
    cross = a * d - b * c
    phi = 0.0
    if product:
        phi = (cross - n / 2 if cross > n / 2 else min(cross, 0.0)) / sqrt(product)
    down = sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    up = sqrt((u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2)
    return p1 - p2 - down, p1 - p2 + up


def effect_by_hand(
    rows: list[dict[str, Any]],
    shares: dict[tuple[Any, ...], float],
    bleeding: bool,
    value: float,
) -> float:
    sums: Counter[str] = Counter()
    alone = 0.0
    weighty = [row for row in rows if expected_of(row, shares, bleeding)]
    uniform = all(row["new"]["flagged"] == row["old"]["flagged"] for row in weighty)
    for row in rows:
        moved = (row["new"]["flagged"] - row["old"]["flagged"]) * (1 if bleeding else -1)
        off = expected_of(row, shares, bleeding) * (1 if uniform else moved - value)
        sums[row["patient"]] += off  # type: ignore[assignment]
        alone += off**2
    return max(1.0, sum(each**2 for each in sums.values()) / alone)


def cells_by_hand(
    cells: dict[tuple[Any, ...], list[dict[str, Any]]],
    rows: list[dict[str, Any]],
    bleeding: bool,
    few: int,
) -> dict[str, Any]:
    known = {cell: share_of(held) for cell, held in cells.items()}
    shares = {cell: hits / of if of else 0.0 for cell, (hits, of) in known.items()}

    def difference(with_shares: dict[tuple[Any, ...], float]) -> float:
        table = table_by_hand(rows, with_shares, bleeding)
        return (table[False, True] - table[True, False]) / sum(table.values())

    table = table_by_hand(rows, shares, bleeding)
    own = table_by_hand([row for row in rows if row["truth"] is not None], shares, bleeding)
    ny, yn = round(own[False, True]), round(own[True, False])
    told: dict[str, Any] = {
        "table": [
            table[key] for key in ((True, True), (False, True), (True, False), (False, False))
        ],
        "tested": (ny, yn, reference_mcnemar([[0, ny], [yn, 0]], exact=True).pvalue),
        "difference": None,
    }
    if sum(table.values()) < few:
        return told
    value = difference(shares)
    effect = effect_by_hand(rows, shares, bleeding, value)
    low, high = newcombe_by_hand(*(each / effect for each in told["table"]))
    down, up = (value - low) ** 2, (high - value) ** 2
    for cell, held in cells.items():
        hits, of = known[cell]
        if all(row["truth"] is not None for row in held):
            continue
        ends = stats.binomtest(hits, of).proportion_ci(method="exact")
        moved = [difference({**shares, cell: end}) - value for end in ends]
        down += min(0.0, *moved) ** 2
        up += max(0.0, *moved) ** 2
    told["difference"] = [value, max(-1, value - sqrt(down)), min(1, value + sqrt(up))]
    return told


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found["table"].values()) == pytest.approx(expected["table"])
    test = found["mcnemar"]
    assert (test["only_new"], test["only_old"], test["p"]) == pytest.approx(expected["tested"])
    if expected["difference"] is None:
        assert set(found["difference"].values()) == {None}
    else:
        assert list(found["difference"].values()) == pytest.approx(expected["difference"])


@pytest.mark.parametrize("which", ["by_reports", "by_people"])
def test_every_number_follows_from_the_rows(which: str, request: pytest.FixtureRequest) -> None:
    found = compared(*request.getfixturevalue(which))
    assert found["reference"]["by"] == {"by_reports": "report", "by_people": "people"}[which]
    rows, few = found["rows"], found["too_few"]
    both = [row for row in rows if all(row[side]["result"] in DECIDED for side in ("old", "new"))]
    counting = [row for row in both if row["expected"] is not None]
    assert found["studies"] == {
        "both": len(rows),
        "both_analysed": len(both),
        "in_figures": len(counting),
    }
    table = Counter((row["old"]["flagged"], row["new"]["flagged"]) for row in both)
    assert found["all"]["table"] == {
        "both": table[True, True],
        "only_new": table[False, True],
        "only_old": table[True, False],
        "neither": table[False, False],
    }
    square = [[0, table[False, True]], [table[True, False], 0]]
    assert found["all"]["mcnemar"]["p"] == pytest.approx(reference_mcnemar(square).pvalue)
    for figure in ("sensitivity", "specificity"):
        # A cell's sample is that of all studies, in each stratum, too.
        same(found[figure], by_hand(counting, figure, few))
        assert found[figure]["difference"]["value"] == pytest.approx(
            found[figure]["new"]["value"] - found[figure]["old"]["value"]
        )
    lost = {row["study"] for row in rows if row["old"]["flagged"] and not row["new"]["flagged"]}
    bleeds = {row["study"] for row in rows if row["truth"]}
    assert set(found["lost"]) >= lost & bleeds and set(found["lost"]) <= lost


def test_strata_follow_from_the_rows_and_small_ones_say_nothing(
    by_reports: tuple[Proof, Proof],
) -> None:
    found = compared(*by_reports)
    counting = [
        row
        for row in found["rows"]
        if row["expected"] is not None
        and all(row[side]["result"] in DECIDED for side in ("old", "new"))
    ]
    assert set(found["strata"]) == {"scanner", "kernel", "thickness", "age", "place"}
    for name, column in (("scanner", "scanner"), ("age", "age_band"), ("place", "place")):
        assert sum(line["studies"] for line in found["strata"][name]) == len(counting)
        for line in found["strata"][name]:
            held = [row for row in counting if row[column] == line["value"]]
            for figure in ("sensitivity", "specificity"):
                same(line[figure], by_hand(held, figure, found["too_few"]))
            flips = Counter(row["flip"] for row in held)
            assert line["flagged_now"] == flips[Flip.FLAGGED]
            assert line["not_flagged_now"] == flips[Flip.UNFLAGGED]


def test_flips_are_told_by_kind_with_both_answers(by_reports: tuple[Proof, Proof]) -> None:
    old, new = by_reports
    found = compared(old, new)
    before, after = ({row["study"]: row for row in outcome_rows(proof)} for proof in (old, new))
    kinds: dict[str, set[str]] = {flip: set() for flip in Flip}
    for study, was in before.items():
        now = after[study]
        analysed = was["result"] in DECIDED, now["result"] in DECIDED
        if analysed == (True, False):
            kinds["analysed, now not analysed"].add(study)
        elif analysed == (False, True):
            kinds["not analysed, now analysed"].add(study)
        elif was["flagged"] and not now["flagged"]:
            kinds["flagged, now not flagged"].add(study)
        elif now["flagged"] and not was["flagged"]:
            kinds["not flagged, now flagged"].add(study)
    assert all(kinds.values())
    assert {kind: set(names) for kind, names in found["flips"].items()} == kinds
    for row in found["rows"]:
        assert row["old"]["probability"] == before[row["study"]]["probability"]
        assert row["new"]["probability"] == after[row["study"]]["probability"]
        assert row["new"]["reason"] == after[row["study"]]["reason"]
    seen = [row for row in found["rows"] if row["study"] in found["lost"]]
    assert seen and all(row["truth"] for row in seen)


# What a comparison is refused for, and what it says.


def test_a_bleed_that_is_no_longer_read_is_lost(tmp_path: Path) -> None:
    old, _ = made_up(tmp_path / "old", 80, prevalence=0.4)
    new = read_anew(old, tmp_path / "new", spread=0.0)
    found = compared(old, new)
    one = next(
        row for row in found["rows"] if row["truth"] and row["old"]["flagged"] and not row["flip"]
    )
    rows = outcome_rows(new)
    for row in rows:
        if row["study"] == one["study"]:
            row.update(result="FAILED", flagged=False, probability=None, reason="disk full")
    write_outcomes(new, rows)
    assert one["study"] in compared(old, new)["lost"]
    code, text, _ = run("compare", old.root, new.root)
    assert code == 1 and "bleeds no longer flagged" in text


def test_nothing_lost_is_status_0(tmp_path: Path) -> None:
    old, _ = made_up(tmp_path / "old", 60, prevalence=0.3)
    run("again", old.root, tmp_path / "new")
    new = Proof(tmp_path / "new")
    write_outcomes(new, [row | {"bundle_version": "0.5"} for row in outcome_rows(old)])
    code, text, _ = run("compare", old.root, new.root)
    assert code == 0 and "bleeds no longer flagged: 0" in text
    found = json.loads((new.root / "comparison.json").read_text())
    assert found["all"]["mcnemar"]["p"] == 1.0
    assert found["sensitivity"]["difference"]["value"] == 0.0
    assert "NONE KNOWN" in (new.root / "comparison.html").read_text()


def test_proofs_that_cannot_be_compared_say_why(tmp_path: Path) -> None:
    old, _ = made_up(tmp_path / "old", 30)
    other, _ = made_up(tmp_path / "other", 30)
    run("again", old.root, tmp_path / "new")
    new = Proof(tmp_path / "new")
    for second, said in (
        (other, "different keys"),
        (new, "no outcome of a study"),
    ):
        code, _, error = run("compare", old.root, second.root)
        assert code == 2 and said in error and error.count("\n") == 1
    write_outcomes(new, outcome_rows(old))
    code, _, error = run("compare", old.root, new.root)
    assert code == 2 and "both read by ich-ensemble@0.4 at the same operating point" in error
    strangers = [
        row | {"study": f"{number:016}", "bundle_version": "0.5"}
        for number, row in enumerate(outcome_rows(old))
    ]
    write_outcomes(new, strangers)
    code, _, error = run("compare", old.root, new.root)
    assert code == 2 and "no study in common" in error


def test_another_operating_point_and_missing_outcomes_are_said(
    tmp_path: Path, by_people: tuple[Proof, Proof]
) -> None:
    found = compared(*by_people)
    assert not found["same_points"]
    (line,) = (line for line in found["remarks"] if "operating points differ" in line)
    assert "0.400" in line and "0.350" in line
    assert "operating points differ" in (by_people[1].root / "comparison.html").read_text()
    old, _ = made_up(tmp_path / "old", 60)
    new = read_anew(old, tmp_path / "new")
    write_outcomes(new, outcome_rows(new)[:50])
    found = compared(old, new)
    assert found["studies"]["both"] == 50 and found["old"]["only_here"] == 10
    assert any("10 studies of OLD without an outcome in NEW" in line for line in found["remarks"])


def test_decisions_of_both_proofs_count_and_one_that_both_have_counts_once(
    tmp_path: Path,
) -> None:
    old, truths = made_up(tmp_path / "old", 60, prevalence=0.3)
    new = read_anew(old, tmp_path / "new")
    decide(old, truths, 1.0)
    new.decisions.write_bytes(old.decisions.read_bytes())
    found = compared(old, new)
    assert all(len(row["decisions"]) == 1 for row in found["rows"])
    assert [row["truth"] for row in found["rows"]] == [
        truth.bleeds for truth in sorted(truths, key=lambda each: each.study)
    ]
    assert found["reference"]["flips"] == found["reference"]["flips_settled"]


def test_adjudicating_both_asks_about_all_that_one_flags_and_the_other_does_not(
    by_reports: tuple[Proof, Proof],
) -> None:
    found = compared(*by_reports)
    flips = found["flips"]
    number = len(flips[Flip.UNFLAGGED]) + len(flips[Flip.FLAGGED])
    assert any(f"people have not settled {number}:" in each for each in found["remarks"])
    asked = {
        one.study
        for proof in by_reports
        for one in draw(read_joined(proof).studies, 5, 1, datetime(2026, 11, 30, tzinfo=UTC)).asked
    }
    assert asked > {*flips[Flip.UNFLAGGED], *flips[Flip.FLAGGED]}


def test_a_second_proof_has_the_same_names_and_nothing_that_was_read(tmp_path: Path) -> None:
    old, truths = made_up(tmp_path / "old", 30)
    decide(old, truths, 1.0)
    code, _, _ = run("again", old.root, tmp_path / "new")
    new = Proof(tmp_path / "new")
    assert code == 0 and new.pseudonyms() == old.pseudonyms()
    assert {file.name for file in new.root.iterdir()} == {"secret", "catalogue.parquet"}
    assert new.labels.read_bytes() == old.labels.read_bytes()
    assert (new.secret / "key").stat().st_mode & 0o077 == 0
    assert new.root.stat().st_mode & 0o077 == new.secret.stat().st_mode & 0o077 == 0
    code, _, error = run("again", old.root, new.root)
    assert code == 2 and "is there already" in error
    (tmp_path / "none").mkdir()
    code, _, error = run("again", tmp_path / "none", tmp_path / "third")
    assert code == 2 and "is no proof" in error and not (tmp_path / "third").exists()


def test_the_page_loads_nothing_shows_both_slices_and_takes_all_for_text(tmp_path: Path) -> None:
    old, truths = made_up(tmp_path / "old", 60, prevalence=0.4)
    new = read_anew(old, tmp_path / "new", spread=0.4)
    found = compared(old, new)
    one, other = [truth for truth in truths if truth.study in found["lost"]][:2]
    draw_heads(old, [one])
    new.image(one.study).parent.mkdir()
    for copy in (new.image(one.study), old.image(other.study)):
        copy.write_bytes(old.image(one.study).read_bytes())
    write_outcomes(
        new, [row | {"bundle": "<script>alert(1)</script>"} for row in outcome_rows(new)]
    )
    compared(old, new)
    html = (new.root / "comparison.html").read_text()
    assert not re.search(r"https?:|//[a-z]|<script|<link|@import|url\(", html)
    assert "default-src 'none'" in html and "RESEARCH USE ONLY" in html
    assert "&lt;script&gt;" in html
    assert html.count("data:image/jpeg") == 3
    moved = found["specificity"]["difference"]["value"]
    assert f"{100 * moved:+.1f} points" in html
    rows = {row["study"]: row for row in compared(old, new, "--words")["rows"]}
    sentence = rows[found["lost"][0]]["sentence"]
    assert sentence and sentence not in html
    assert sentence in (new.root / "comparison.html").read_text()
