"""What people decide: whom they are asked about, what is written down, what comes of it."""

import json
import multiprocessing
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from node.archive.adjudication import (
    Answer,
    AskedFor,
    Decision,
    Desk,
    Sample,
    append,
    cell_of,
    draw,
    read_decisions,
    read_sample,
    settled,
    write_feeds,
    write_sample,
)
from node.archive.evidence import Study, read_joined
from node.archive.proof import Proof
from node.cli import app
from node.errors import Permanent
from tests.support.proofs import made_up
from training.review.readings import read_results
from training.review.rules import select

NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)


@pytest.fixture
def proof(tmp_path: Path) -> Proof:
    return made_up(tmp_path / "proof", 200, prevalence=0.2)[0]


def studies(proof: Proof) -> tuple[Study, ...]:
    return read_joined(proof).studies


def desk(proof: Proof, who: str = "anna", **options: Any) -> Desk:
    sample = read_sample(proof.sample) or draw(studies(proof), 10, 3, NOW)
    return Desk(proof, studies(proof), sample, lambda: NOW, who=who, **options)


def decision(study: str, who: str, answer: Answer | None, **changed: Any) -> Decision:
    told = {
        "id": f"{study} {who} {answer}",
        "at": NOW.isoformat(),
        "subtypes": (),
        "blinded": True,
        "note": "",
        "asked_for": "disagreement",
    }
    return Decision(study=study, who=who, answer=answer, **(told | changed))


def test_all_that_disagrees_is_asked_about_and_a_share_of_each_kind_that_agrees(
    proof: Proof,
) -> None:
    held = studies(proof)
    sample = draw(held, 10, 3, NOW)
    asked = {each.study: each for each in sample.asked}
    cells = Counter(cell_of(study) for study in held if study.outcome.analysed)
    taken = Counter(cell_of(study) for study in held if study.name in asked)
    for cell, number in cells.items():
        disagrees = (cell.flagged, cell.says) in (
            *((False, "bleeds"), (True, "none"), (True, "cannot tell")),
        )
        assert taken[cell] == (number if disagrees else min(10, number))
        for study in held:
            if study.name in asked and cell_of(study) == cell:
                each = asked[study.name]
                assert each.probability == pytest.approx(taken[cell] / number)
                assert (each.asked_for is AskedFor.DISAGREEMENT) == disagrees
    assert not {study.name for study in held if not study.outcome.analysed} & set(asked)


def test_a_sample_is_drawn_once_and_the_same_seed_draws_the_same(proof: Proof) -> None:
    held = studies(proof)
    sample = draw(held, 10, 3, NOW)
    assert draw(held[::-1], 10, 3, NOW) == sample != draw(held, 10, 4, NOW)
    write_sample(proof.sample, sample)
    assert read_sample(proof.sample) == sample
    with pytest.raises(Permanent, match="drawn once"):
        write_sample(proof.sample, draw(held, 10, 4, NOW))
    assert read_sample(proof.sample) == sample


def adjudicate(proof: Proof, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["archive", "adjudicate", str(proof.root), *options])
    return done.exit_code, done.stderr


def test_two_people_may_start_at_the_same_moment(
    proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.web.serve_desk", lambda *_: None)
    other = draw(studies(proof), 20, 1, NOW)

    def late(*_: object) -> Sample:
        write_sample(proof.sample, other)  # as the other command does meanwhile
        return other

    monkeypatch.setattr("node.archive.adjudication.draw", late)
    assert adjudicate(proof) == (0, "")
    assert read_sample(proof.sample) == other


def test_a_sample_that_was_drawn_otherwise_than_asked_for_is_told(
    proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.web.serve_desk", lambda *_: None)
    assert adjudicate(proof, "--agreements", "5") == (0, "")
    code, said = adjudicate(proof, "--agreements", "50", "--seed", "2")
    assert code == 0
    assert "sample.json was drawn with --agreements 5 --seed 1, and stays as it is" in said


@pytest.mark.parametrize("damage", ["{", "[]", '{"seed": 1}', '{"asked": [{"study": "x"}]}'])
def test_a_damaged_sample_is_told_and_never_replaced(proof: Proof, damage: str) -> None:
    proof.sample.write_text(damage)
    with pytest.raises(Permanent, match="put the right one back"):
        read_sample(proof.sample)
    code = CliRunner().invoke(app, ["archive", "adjudicate", str(proof.root)]).exit_code
    assert code == 2 and proof.sample.read_text() == damage


def test_each_sample_over_many_seeds_takes_each_study_equally_often(proof: Proof) -> None:
    held = [study for study in studies(proof) if study.outcome.analysed]
    agreeing = [study.name for study in held if str(cell_of(study)) == "not flagged, report: none"]
    counts = Counter(each.study for seed in range(300) for each in draw(held, 10, seed, NOW).asked)
    expected = 300 * 10 / len(agreeing)
    drawn = [counts[name] for name in agreeing]
    assert sum(drawn) == 3000
    assert max(abs(number - expected) for number in drawn) < 5 * expected**0.5


def test_people_see_the_same_studies_in_an_order_of_their_own(proof: Proof) -> None:
    first, second = desk(proof), desk(proof, "ben")
    order = [[each.study(place).name for place in range(len(each))] for each in (first, second)]
    assert sorted(order[0]) == sorted(order[1]) and order[0] != order[1]


def test_an_answer_stands_with_its_person_time_and_subtypes_and_can_be_taken_back(
    proof: Proof,
) -> None:
    here = desk(proof)
    here.decide(0, "bleeds", ["subdural"], "thin")
    here.decide(1, "none", ["subdural"])
    told = [json.loads(line) for line in proof.decisions.read_text().splitlines()]
    assert set(told[0]) == {
        *("study", "who", "at", "answer", "subtypes", "blinded", "note"),
        *("asked_for", "undoes", "id"),
    }
    assert told[0]["who"] == "anna" and told[0]["at"] == "2026-11-30T09:00:00+00:00"
    assert (told[0]["answer"], told[0]["subtypes"]) == ("bleeds", ["subdural"])
    assert (told[1]["answer"], told[1]["subtypes"]) == ("none", [])
    assert here.progress()["done"] == 2
    assert here.undo() == 1
    assert here.facts(1)["answer"] is None and here.facts(0)["answer"] == "bleeds"
    last = json.loads(proof.decisions.read_text().splitlines()[-1])
    assert (last["undoes"], last["answer"]) == (told[1]["id"], None)
    assert here.undo() == 0 and here.undo() is None
    assert here.progress() | {"open": []} == {
        **{"of": len(here), "done": 0, "next": 0, "open": [], "kappa": []}
    }


def test_a_changed_mind_replaces_the_answer_and_undoing_it_brings_the_first_back(
    proof: Proof,
) -> None:
    here = desk(proof)
    here.decide(0, "bleeds")
    here.decide(0, "none")
    assert here.facts(0)["answer"] == "none"
    here.undo()
    assert here.facts(0)["answer"] == "bleeds"
    assert len(proof.decisions.read_text().splitlines()) == 3


def test_a_person_goes_on_where_the_last_session_ended_and_undoes_only_own_answers(
    proof: Proof,
) -> None:
    desk(proof).decide(0, "none")
    other = desk(proof, "ben")
    assert other.undo() is None
    again = desk(proof)
    assert again.progress()["next"] == 1 and again.facts(0)["answer"] == "none"


def test_what_a_blinded_person_sees_tells_nothing_of_node_and_report(proof: Proof) -> None:
    facts = desk(proof, blind=True).facts(0)
    assert set(facts) == {"place", "study", "answer", "subtypes", "note"}
    assert {"node", "report"} <= set(desk(proof).facts(0))
    assert "asked_for" not in json.dumps(desk(proof).facts(0))


@pytest.mark.parametrize("name", ["", " anna", "a\nb", "=1", "x" * 41, "<b>"])
def test_what_is_no_name_is_refused(proof: Proof, name: str) -> None:
    with pytest.raises(Permanent, match="no name"):
        desk(proof, "").sit_down(name)


def test_an_answer_or_a_subtype_that_is_none_is_refused_and_nothing_written(proof: Proof) -> None:
    here = desk(proof)
    with pytest.raises(Permanent, match="no answer"):
        here.decide(0, "maybe")
    with pytest.raises(Permanent, match="no subtype"):
        here.decide(0, "bleeds", ["nasal"])
    assert not proof.decisions.exists()


def test_a_half_written_line_is_told_and_spoils_no_other(proof: Proof) -> None:
    append(proof.decisions, [decision("a", "anna", Answer.NONE)])
    with proof.decisions.open("ab") as file:
        file.write(b'{"id": "torn", "stu')
    append(proof.decisions, [decision("b", "anna", Answer.BLEEDS)])
    found = read_decisions(proof.decisions)
    assert [each.study for each in found.lines] == ["a", "b"]
    assert found.unreadable == (2,)


def add_many(file: Path, who: str) -> None:
    for number in range(50):
        append(file, [decision(f"s{number}", who, Answer.NONE, note="n" * 500)])


def test_two_processes_that_write_at_once_lose_no_line(proof: Proof) -> None:
    context = multiprocessing.get_context("spawn")
    people = [
        context.Process(target=add_many, args=(proof.decisions, who)) for who in ("anna", "ben")
    ]
    for person in people:
        person.start()
    for person in people:
        person.join(60)
    found = read_decisions(proof.decisions)
    assert len(found.lines) == 100 and not found.unreadable
    assert all(len(said) == 2 for said in found.standing().values())


def test_what_more_people_say_is_the_truth_and_a_draw_is_open() -> None:
    def said(*answers: Answer) -> bool | None:
        return settled(decision("a", str(n), answer) for n, answer in enumerate(answers))

    bleeds, none, unsure = Answer.BLEEDS, Answer.NONE, Answer.CANNOT_TELL
    assert said(bleeds) is True and said(none, none, bleeds) is False
    assert said(bleeds, unsure) is True
    assert said(bleeds, none) is None and said(unsure) is None and said() is None


def test_what_is_settled_feeds_ichnode_review_select(proof: Proof, tmp_path: Path) -> None:
    here, other = desk(proof), desk(proof, "ben")
    missed = next(place for place in range(len(here)) if not here.study(place).outcome.flagged)
    alarm = next(place for place in range(len(here)) if here.study(place).outcome.flagged)
    here.decide(missed, "bleeds", ["subdural"])
    here.decide(alarm, "none")
    names = [other.study(place).name for place in range(len(other))]
    other.decide(names.index(here.study(alarm).name), "cannot tell")
    file = tmp_path / "results.csv"
    assert write_feeds(file, studies(proof), read_decisions(proof.decisions)) == 2
    results = {each.case: each for each in read_results(file, ["anna", "ben"])}
    first, second = results[here.study(missed).name], results[here.study(alarm).name]
    assert (first.truth, first.mistake, first.votes) == (True, "MISSED", (True,))
    assert first.labels == (True, False, False, False, False, True)
    assert (second.truth, second.mistake, second.votes) == (False, "FALSE_ALARM", (False,))
    assert second.labels == (False,) * 6
    assert all("reader" in each.difficult for each in select(list(results.values())))


def test_with_nothing_settled_there_is_nothing_to_feed(proof: Proof, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["archive", "adjudicate", str(proof.root), "--feeds", str(tmp_path / "x.csv")]
    )
    assert done.exit_code == 2 and "no study is settled" in done.stderr
    assert not (tmp_path / "x.csv").exists()


def test_a_study_that_is_gone_since_the_sample_is_left_out(proof: Proof) -> None:
    sample = draw(studies(proof), 10, 3, NOW)
    fewer = [study for study in studies(proof) if study.name != sample.asked[0].study]
    here = Desk(proof, fewer, sample, lambda: NOW, who="anna")
    assert isinstance(sample, Sample) and len(here) == len(sample.asked) - 1
