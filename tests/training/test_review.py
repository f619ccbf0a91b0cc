import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.findings import SUBTYPES
from training.review.commands import app
from training.review.readings import (
    Doubt,
    Reading,
    Result,
    ReviewError,
    read_readings,
    read_results,
    write_doubts,
)
from training.review.revision import majority, revise
from training.review.rules import agree, select

RESULTS = """\
case,probability,truth,R1,R2,R3,StudyInstanceUID,subdural
c01,0.60,1,1,1,1,1.2.1,1
c02,0.61,1,1,1,1,1.2.2,1
c03,0.40,0,0,0,0,1.2.3,0
c04,0.39,0,0,0,0,1.2.4,0
c05,0.90,1,1,1,0,1.2.5,
c06,0.10,0,0,1,0,1.2.6,0
c07,0.55,0,1,0,0,1.2.7,0
c08,,1,1,0,1,1.2.8,
c09,,0,0,0,0,1.2.9,0
c10,0.05,1,1,1,,1.2.10,1
"""

# any; None is left blank, a missing case has its line deleted
READ: dict[str, dict[str, int | None]] = {
    "anna": {"c01": 1, "c03": 0, "c05": 1, "c06": 0, "c07": 1, "c08": 1, "c10": 0},
    "ben": {"c01": 1, "c03": 0, "c05": 1, "c06": 1, "c07": 1, "c08": 1, "c10": None},
    "chen": {"c01": 1, "c03": 0, "c05": 0, "c06": 0, "c07": 1, "c10": 0},
    "dora": dict.fromkeys(("c01", "c03", "c05", "c06", "c07", "c08", "c10")),
}

# of c07: what anna (all), ben and chen (what they were sure of) wrote under the subtypes
SEEN = {
    "anna": dict.fromkeys(SUBTYPES, "0") | {"subdural": "yes", "remark": "along the falx"},
    "ben": {"subdural": "TRUE", "confidence": "4"},
    "chen": {"subdural": "0", "epidural": "1"},
}


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.stderr
    return done.stdout


def refused(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    return done.stderr


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))


def chosen(tmp_path: Path, results: str = RESULTS, *options: str) -> Path:
    source, review = tmp_path / "results.csv", tmp_path / "review"
    source.write_text(results)
    votes = [part for name in ("R1", "R2", "R3") for part in ("--annotator", name)]
    readers = [part for name in READ for part in ("--reader", name)]
    run("select", source, "--out", review, *votes, *readers, *options)
    return review


def fill_in(review: Path) -> None:
    for reader, read in READ.items():
        path = review / "worklists" / f"{reader}.csv"
        rows = [row for row in table(path) if row["case"] in read]
        for row in rows:
            label = read[row["case"]]
            row["any"] = "" if label is None else str(label)
            if row["case"] == "c07":
                row.update(SEEN.get(reader, {}))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


@pytest.fixture
def review(tmp_path: Path) -> Path:
    folder = chosen(tmp_path)
    fill_in(folder)
    return folder


def test_selection_takes_the_borders_and_split_votes_and_no_others(tmp_path: Path) -> None:
    cases = table(chosen(tmp_path) / "cases.csv")
    assert {each["case"]: each["difficult"] for each in cases} == {
        "c01": "ai",  # positive at exactly 0.6
        "c02": "",
        "c03": "ai",  # negative at exactly 0.4
        "c04": "",
        "c05": "humans",
        "c06": "humans",
        "c07": "ai humans",
        "c08": "humans",  # not analysed by the AI: the votes alone can select it
        "c09": "",
        "c10": "ai",  # two annotators agree, the third did not vote
    }


def test_selection_says_how_many_for_whom_and_what_the_ai_did_not_analyse(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(RESULTS)
    arguments = ("--out", tmp_path / "review", "--reader", "anna", "--annotator", "R1")
    said = run("select", tmp_path / "results.csv", *arguments, "--annotator", "R2")
    assert "6 of 10 cases are difficult: 4 for the AI, 3 for the annotators" in said
    assert "2 not analysed by the AI" in said and "c08, c09" in said


def test_worklists_hold_the_case_its_uid_and_empty_cells_only(tmp_path: Path) -> None:
    worklists = chosen(tmp_path) / "worklists"
    assert sorted(path.name for path in worklists.iterdir()) == [f"{name}.csv" for name in READ]
    for path in worklists.iterdir():
        rows = table(path)
        assert list(rows[0]) == ["case", "StudyInstanceUID", "any", *SUBTYPES] + [
            "confidence",
            "remark",
        ]
        assert {row["case"]: row["StudyInstanceUID"] for row in rows} == {
            f"c{n:02d}": f"1.2.{n}" for n in (1, 3, 5, 6, 7, 8, 10)
        }
        assert not any("".join(list(row.values())[2:]) for row in rows)


def test_worklists_are_the_same_whatever_truth_probability_votes_and_order(tmp_path: Path) -> None:
    def worklists(folder: str, truth: int, backwards: bool) -> dict[str, bytes]:
        lines = [
            f"c{n:02d},{0.41 + n / 100 if backwards else 0.59 - n / 100},{(n + truth) % 2},"
            f"{truth},{1 - truth},1"
            for n in range(18)
        ]
        text = "\n".join(["case,probability,truth,R1,R2,R3", *lines[:: -1 if backwards else 1]])
        (tmp_path / folder).mkdir()
        files = (chosen(tmp_path / folder, text) / "worklists").iterdir()
        return {path.name: path.read_bytes() for path in files}

    assert worklists("one", truth=1, backwards=False) == worklists("two", truth=0, backwards=True)


def test_each_reader_and_seed_has_an_order_of_its_own(tmp_path: Path) -> None:
    orders = []
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        files = (chosen(tmp_path / seed, RESULTS, "--seed", seed) / "worklists").iterdir()
        orders += [tuple(row["case"] for row in table(path)) for path in files]
    assert len(set(orders)) == 8 and not any(list(order) == sorted(order) for order in orders)


def test_selecting_again_never_overwrites_readings(review: Path, tmp_path: Path) -> None:
    before = (review / "worklists" / "anna.csv").read_bytes()
    error = refused("select", tmp_path / "results.csv", "--out", review, "--reader", "anna")
    assert "choose another folder" in error
    assert (review / "worklists" / "anna.csv").read_bytes() == before


@pytest.mark.parametrize("name", ["../anna", ".anna", ""])
def test_reader_whose_name_makes_no_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "results.csv").write_text(RESULTS)
    error = refused("select", tmp_path / "results.csv", "--out", tmp_path / "r", "--reader", name)
    assert repr(name) in error and not (tmp_path / "r").exists()


def test_score_gives_the_figures_worked_by_hand(review: Path) -> None:
    run("score", review)
    found = json.loads((review / "score.json").read_text())["agreement"]
    counts = {
        each["reader"]: [each[name]["count"] for name in ("accuracy", "sensitivity", "specificity")]
        for each in found["performances"]
    }
    assert counts == {
        "AI": ["4/6", "2/3", "2/3"],
        "anna": ["5/7", "3/4", "2/3"],
        "ben": ["4/6", "3/3", "1/3"],
        "chen": ["3/6", "1/3", "2/3"],
    }
    unread = {each["reader"]: each["unread"] for each in found["performances"]}
    assert unread == {"AI": ["c08"], "anna": [], "ben": ["c10"], "chen": ["c08"]}
    assert found["absent"] == ["dora"]
    # c01 0:3, c03 3:0, c05 1:2, c06 2:1, c07 0:3: P = 11/15, by chance 0.4^2 + 0.6^2 = 0.52
    assert found["kappa_cases"] == 5
    assert found["kappa"] == pytest.approx((11 / 15 - 0.52) / 0.48, abs=1e-6)
    alone = [(each["ai_alone"], each["reader_alone"]) for each in found["comparisons"]]
    assert alone == [(0, 0), (1, 0), (1, 0)]


def test_score_tells_people_who_read_what_and_the_papers_kappa(review: Path) -> None:
    shown = run("score", review)
    for text in (shown, (review / "score.md").read_text()):
        assert "Fleiss' kappa 0.444" in text and "0.536" in text
        assert "5 cases that all 3 readers read" in text
        assert "ben did not read 1 of 7, not counted: c10." in text
        assert "dora read nothing and is left out." in text
        assert "Research use only." in text


def case(name: str, truth: bool, probability: float | None = 0.5) -> Result:
    return Result(name, (truth, *(None,) * 5), probability)


def reading(label: bool | None) -> Reading:
    return Reading((label, *(None,) * 5))


def test_the_ai_is_compared_with_each_reader_and_adjusted_for_all() -> None:
    cases = [case(str(n), True, 0.9) for n in range(8)]
    read = {
        "five wrong": {str(n): reading(n >= 5) for n in range(8)},
        "six wrong": {str(n): reading(n >= 6) for n in range(8)},
    }
    five, six = agree(cases, read).comparisons
    assert (five.p, six.p) == pytest.approx((2 / 2**5, 2 / 2**6))
    assert (five.p_holm, six.p_holm) == pytest.approx((2 / 2**5, 2 * 2 / 2**6))


def test_one_reader_has_no_kappa_and_still_a_score() -> None:
    found = agree([case("a", True), case("b", False)], {"anna": {"a": reading(True)}})
    assert found.kappa != found.kappa and found.kappa_cases == 1
    assert str(found.performances[1].specificity) == "n/a 0/0"


def test_readings_that_nobody_filled_in_are_an_error(tmp_path: Path) -> None:
    assert "nobody has read a case yet" in refused("score", chosen(tmp_path))


def test_revision_lists_what_changed_and_measures_the_ai_before_and_after(review: Path) -> None:
    run("revise", review)
    found = json.loads((review / "revision.json").read_text())
    assert found["needed"] == 2 and found["readers"] == 3
    votes = {each["case"]: (each["positive"], each["negative"]) for each in found["revised"]}
    assert votes == {"c07": (3, 0), "c10": (0, 2)} and found["undecided"] == []
    accuracy = {
        name: each["performance"]["accuracy"]["count"] for name, each in found["ai"].items()
    }
    assert accuracy == {
        "all, before": "6/8",
        "all, after": "8/8",
        "difficult, before": "4/6",
        "difficult, after": "6/6",
    }
    areas = {name: each["auc"] for name, each in found["ai"].items()}
    assert areas["all, before"] == 0.75 and areas["all, after"] == 1.0
    assert found["ai"]["all, after"]["auc_interval"][0] < 0.9  # eight cases are no certainty
    text = (review / "revision.md").read_text()
    assert "flatter" in text and "anna (bleeding: subdural) along the falx" in text
    assert "ben (bleeding: subdural, confidence 4)" in text


def test_revised_labels_hold_the_consensus_and_leave_the_rest_as_it_was(review: Path) -> None:
    run("revise", review)
    rows = {row.pop("case"): row for row in table(review / "labels.csv")}
    labels = {
        name: ["".join(row[each] or "-" for each in ("any", *SUBTYPES)), row["label_source"]]
        for name, row in rows.items()
    }
    assert len(labels) == 10 and rows["c07"]["StudyInstanceUID"] == "1.2.7"
    assert labels["c07"] == ["1----1", "consensus"]  # epidural: one says yes, one says no
    assert labels["c10"] == ["000000", "consensus"]  # the subdural goes with the bleeding
    assert labels["c01"] == ["1----1", "truth"]
    assert labels["c05"] == ["1-----", "truth"]


def test_more_votes_needed_leave_more_undecided(review: Path) -> None:
    run("revise", review, "--needed", 3)
    found = json.loads((review / "revision.json").read_text())
    assert [each["case"] for each in found["revised"]] == ["c07"]
    assert [each["case"] for each in found["undecided"]] == ["c05", "c06", "c08", "c10"]


@pytest.mark.parametrize("needed", [1, 4])
def test_number_that_cannot_decide_is_refused(review: Path, needed: int) -> None:
    assert "choose from 2 to 3" in refused("revise", review, "--needed", needed)


def test_one_reader_alone_never_revises_a_truth() -> None:
    with pytest.raises(ReviewError, match="one reader is no consensus"):
        revise([case("a", False)], {"anna": {"a": reading(True)}})


def test_majority_keeps_the_papers_four_of_six() -> None:
    assert [majority(n) for n in range(1, 8)] == [1, 2, 2, 3, 4, 4, 5]


def test_four_of_six_revise_and_three_do_not() -> None:
    def read(positive: int) -> dict[str, dict[str, Reading]]:
        return {str(n): {"a": reading(n < positive)} for n in range(6)}

    (four,), (three,) = (revise([case("a", False)], read(n)) for n in (4, 3))
    assert four.revised and not three.revised and three.undecided


@pytest.mark.parametrize(
    "content",
    [
        "case;any;subdural;confidence;remark\r\nc1;yes;1;4,5;möglich\r\n;;;;\r\nc2;;;;\r\n".encode(
            "cp1252"
        ),
        "sep=;\r\ncase;any;subdural;confidence;remark\r\nc1;TRUE;1;4,5;möglich\r\nc2;;;;\r\n".encode(
            "utf-8-sig"
        ),
        "case\tany\tsubdural\tconfidence\tremark\r\nc1\t1\tYes\t4.5\tmöglich\r\nc2\r\n".encode(
            "utf-16"
        ),
    ],
    ids=["windows-1252", "utf-8 with mark and sep=", "utf-16 with tabs"],
)
def test_what_excel_makes_of_a_worklist_is_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "anna.csv").write_bytes(content)
    assert read_readings(tmp_path / "anna.csv", {"c1", "c2"}) == {
        "c1": Reading((True, None, None, None, None, True), 4.5, "möglich"),
        "c2": Reading((None,) * 6),
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('c1,1,,"two\nlines"\nc2,1,ja,', "anna.csv, line 4, column subdural: 'ja' is neither"),
        ("c1,0,1,", "line 2, column any: '0' contradicts subdural"),
        ("c1,1,,\nc1,0,,", "line 3, column case: 'c1' stands on line 2 already"),
        ("9,1,,", "line 2, column case: '9' is no case of this review"),
        ("c1,1,,a, b", "line 2: more cells than columns"),
        ('c1,1,,"open', "line 2: unexpected end of data"),
    ],
)
def test_cell_that_cannot_be_understood_is_named(tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "anna.csv").write_text(f"case,any,subdural,remark\n{lines}\n")
    with pytest.raises(ReviewError) as error:
        read_readings(tmp_path / "anna.csv", {"c1", "c2"})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("case,probability\nc1,0.5\n", "no column 'truth'"),
        ("case,probability,truth\nc1,0.5,\n", "line 2, column truth: '' is blank"),
        ("case,probability,truth\nc1,50,1\n", "'50' is not within 0 to 1"),
        ("case,probability,truth\nc1,nan,1\n", "'nan' is not within 0 to 1"),
        ("PK\x03\x04", "save it as CSV"),
    ],
)
def test_results_that_cannot_be_judged_are_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "results.csv").write_text(content)
    with pytest.raises(ReviewError, match=message):
        read_results(tmp_path / "results.csv")


def test_other_borders_select_other_cases() -> None:
    cases = [case("a", True, 0.3), case("b", True, 0.31), case("c", False, 0.1)]
    assert [each.difficult for each in select(cases, 0.3, 0.1)] == [("ai",), (), ("ai",)]
    assert select(cases, 0.3, 0.1)[1] == replace(cases[1], difficult=())


def test_importing_the_commands_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'scipy', 'torch'}"
    code = f"import sys, training.review.commands; print({heavy} & set(sys.modules) or 'light')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "light"


def test_readers_with_one_name_are_refused(review: Path, tmp_path: Path) -> None:
    again = tmp_path / "anna.csv"
    again.write_text("case,any\nc01,1\n")
    assert "anna" in refused("score", review, review / "worklists" / "anna.csv", again)
    again.rename(tmp_path / "AI.csv")
    assert "AI" in refused("score", review, tmp_path / "AI.csv")


DOUBTS = [
    Doubt("case-7", ("1.2.70", "1.3.70"), 0.05, "MISSED", "left frontal", "=thin, along\nthe falx"),
    Doubt("case-9", ("1.2.2", "1.3.2"), 0.97, "FALSE_ALARM", "", "vessel"),
]


def doubted(tmp_path: Path) -> Path:
    path = tmp_path / "feedback.csv"
    write_doubts(path, DOUBTS)
    return path


def test_disagreements_are_results_with_the_readers_truth_and_no_formula(tmp_path: Path) -> None:
    path = doubted(tmp_path)
    assert [
        (each.case, each.truth, each.probability, each.mistake) for each in read_results(path)
    ] == [
        ("case-7", True, 0.05, "MISSED"),
        ("case-9", False, 0.97, "FALSE_ALARM"),
    ]
    assert table(path)[0]["reason"] == "'=thin, along the falx"


def test_disagreements_stand_first_and_blind_in_each_worklist(tmp_path: Path) -> None:
    results = RESULTS.replace("StudyInstanceUID,", "StudyInstanceUID,SeriesInstanceUID,")
    for n in range(1, 11):
        results = results.replace(f",1.2.{n},", f",1.2.{n},1.3.{n},")
    feedback = ("--feedback", str(doubted(tmp_path)))
    review = chosen(tmp_path, results, *feedback)
    cases = {each["case"]: each for each in table(review / "cases.csv")}
    assert cases["c02"]["difficult"] == "reader"  # by its series; it was easy
    assert cases["c02"]["truth"] == "1"  # one reader's word does not change a known truth
    assert (cases["case-7"]["difficult"], cases["case-7"]["truth"]) == ("ai reader", "1")
    assert "case-9" not in cases
    for reader in READ:
        rows = table(review / "worklists" / f"{reader}.csv")
        assert {row["case"] for row in rows[:2]} == {"c02", "case-7"}
        assert len(rows) == 9 and not {"mistake", "reason", "place", "truth"} & set(rows[0])


def test_an_unknown_mistake_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("case,probability,truth,mistake\nc,0.5,1,WRONG\n")
    said = refused("select", tmp_path / "x.csv", "--out", tmp_path / "r", "--reader", "anna")
    assert "line 2, column mistake" in said
