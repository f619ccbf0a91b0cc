"""What readers disagree about, as it leaves the node for the difficult-case review."""

import pytest

from node.states import Priority
from node.worklist import Disagreement, Mistake, Opinion, Worklist
from node.worklist.people.feedback import without
from tests.support.listed import ASSEMBLED, NEGATIVE, NOW, SUSPECTED, study

MISSED = Opinion(False, Mistake.MISSED, "left frontal", "thin; MRN p-4711, acc A9")
FALSE_ALARM = Opinion(False, Mistake.FALSE_ALARM, "", "a vessel")


def test_a_disagreement_names_study_series_and_mistake_and_nobody(worklist: Worklist) -> None:
    study(worklist, 1, ASSEMBLED, NEGATIVE, patient_id="P-4711", accession="A9")
    worklist.feedback.give("1.7.1", "Dr. Night", MISSED, NOW)
    assert worklist.feedback.disagreements() == [
        Disagreement(
            "1.7.1",
            "1.8.1.1",
            1,
            0.04,
            Priority.NOT_SUSPECTED,
            Mistake.MISSED,
            "left frontal",
            "thin; MRN [removed], acc [removed]",
        )
    ]


def test_what_was_undone_or_agreed_with_is_left_out(worklist: Worklist) -> None:
    for number in (1, 2, 3):
        study(worklist, number, ASSEMBLED, SUSPECTED)
    feedback = worklist.feedback
    feedback.give("1.7.1", "A", FALSE_ALARM, NOW)
    feedback.undo("1.7.1", "A", NOW)
    feedback.give("1.7.2", "A", Opinion(True), NOW)
    feedback.give("1.7.3", "A", FALSE_ALARM, NOW)
    feedback.give("1.7.3", "A", Opinion(True), NOW)  # the same person, better informed
    assert feedback.disagreements() == []


def test_a_study_that_others_agree_about_is_still_difficult(worklist: Worklist) -> None:
    study(worklist, 1, ASSEMBLED, SUSPECTED)
    worklist.feedback.give("1.7.1", "A", FALSE_ALARM, NOW)
    worklist.feedback.give("1.7.1", "B", Opinion(True), NOW)
    worklist.feedback.give("1.7.1", "A", Opinion(), NOW)  # only seen: no other judgement
    (one,) = worklist.feedback.disagreements()
    assert (one.mistake, one.reason) == (Mistake.FALSE_ALARM, "a vessel")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("4711", "[removed]"),
        ("47110 and x4711", "47110 and x4711"),
        ("4711, (4711)", "[removed], ([removed])"),
    ],
)
def test_an_identifier_is_removed_where_it_is_a_word(text: str, left: str) -> None:
    assert without(text, ("4711", "", " ")) == left
