"""What an archive lists beside what came: which studies lack, and what makes one leave the list."""

from datetime import timedelta

import pytest

from node.announced import ListedStudy, Shows, Told
from node.records import Header, StoredObject
from node.worklist import Actor, Deed, Gap, NotFound, Worklist
from tests.support.builder import T0

ANNA = Actor("anna", "terminal")
GRACE = timedelta(minutes=30)
LATER = T0 + timedelta(hours=1)
STUDY, SERIES = "1.7.1", "1.8.1"


def told(images: int | None = 3, shows: Shows = Shows.HEAD) -> Told:
    study = ListedStudy(STUDY, "20260115", "080000", accession_number="A1", images=images)
    return Told(study, shows, {SERIES: images}, exact=True)


def receive(worklist: Worklist, images: int) -> None:
    for number in range(images):
        header = Header("1.2.840.10008.5.1.4.1.1.2", f"1.9.{number}", STUDY, SERIES, "1.2", ())
        stored = StoredObject(f"received/{number}", f"{number:064}", 1)
        worklist.arrivals.add(header, stored, caller="CT1", now=T0)


def gaps(worklist: Worklist) -> list[tuple[Gap, int, int | None]]:
    return [(one.gap, one.here, one.there) for one in worklist.coverage.uncovered(LATER, GRACE)]


def test_a_study_of_which_nothing_came_was_never_seen(worklist: Worklist) -> None:
    worklist.coverage.told("pacs", [told()], T0)
    assert gaps(worklist) == [(Gap.NEVER_SEEN, 0, 3)]


def test_a_study_of_which_the_words_say_nothing_is_listed_too(worklist: Worklist) -> None:
    worklist.coverage.told("pacs", [told(shows=Shows.PERHAPS)], T0)
    assert gaps(worklist) == [(Gap.NEVER_SEEN, 0, 3)]


def test_a_study_of_another_part_of_the_body_is_not_missed(worklist: Worklist) -> None:
    worklist.coverage.told("pacs", [told(shows=Shows.OTHER)], T0)
    assert gaps(worklist) == []


def test_a_study_of_which_fewer_images_came_is_told_apart(worklist: Worklist) -> None:
    receive(worklist, 2)
    worklist.coverage.told("pacs", [told()], T0)
    assert gaps(worklist) == [(Gap.IN_PART, 2, 3)]


def test_a_study_whose_number_of_images_is_unknown_is_no_whole_one(worklist: Worklist) -> None:
    receive(worklist, 2)
    worklist.coverage.told("pacs", [told(images=None)], T0)
    assert gaps(worklist) == [(Gap.IN_PART, 2, None)]


def test_a_study_is_on_its_way_while_the_grace_lasts(worklist: Worklist) -> None:
    worklist.coverage.told("pacs", [told()], LATER - GRACE / 2)
    assert gaps(worklist) == [(Gap.ON_ITS_WAY, 0, 3)]


def test_a_study_that_comes_later_leaves_the_list_by_itself(worklist: Worklist) -> None:
    worklist.coverage.told("pacs", [told()], T0)
    receive(worklist, 3)
    assert gaps(worklist) == []


def test_a_study_that_was_set_aside_whole_came_in_part(worklist: Worklist) -> None:
    worklist.coverage.told("pacs", [told()], T0)
    receive(worklist, 1)
    stranger = Header("1.2", "1.9.9", STUDY, "1.8.2", "1.2", (), patient_id="OTHER")
    stored = StoredObject("received/9", "9" * 64, 1)
    worklist.arrivals.add(stranger, stored, caller="CT1", now=T0)
    assert gaps(worklist) == [(Gap.IN_PART, 1, 3)]


def test_a_study_that_grows_at_the_archive_is_compared_again(worklist: Worklist) -> None:
    receive(worklist, 3)
    worklist.coverage.told("pacs", [told(3)], T0)
    assert gaps(worklist) == []
    worklist.coverage.told("pacs", [told(5)], T0)
    assert gaps(worklist) == [(Gap.IN_PART, 3, 5)]


def test_a_study_stays_missed_when_the_archive_lists_it_no_more(worklist: Worklist) -> None:
    worklist.coverage.told("pacs", [told()], T0)
    worklist.coverage.told("pacs", [], T0 + timedelta(days=30))
    assert gaps(worklist) == [(Gap.NEVER_SEEN, 0, 3)]


def test_a_person_takes_a_study_off_the_list(worklist: Worklist) -> None:
    worklist.coverage.told("pacs", [told()], T0)
    worklist.coverage.set_aside(STUDY, ANNA, T0)
    worklist.coverage.told("pacs", [told()], LATER)
    assert gaps(worklist) == []
    with pytest.raises(NotFound):
        worklist.coverage.set_aside("1.7.2", ANNA, T0)
    (row,) = worklist.audit.entries()
    assert (row.who, row.what, row.study_instance_uid) == ("anna", Deed.COVERAGE, STUDY)
    assert row.about == "taken off the list of studies that never came"


def test_a_source_that_fails_is_told_and_what_it_said_before_stays(worklist: Worklist) -> None:
    worklist.coverage.told("pacs", [told()], T0, cut_off=True)
    worklist.coverage.failed("pacs", "no answer", LATER)
    (line,) = worklist.coverage.rounds()
    assert (line.error, line.answered_at, line.asked_at) == ("no answer", T0, LATER)
    assert line.cut_off and line.studies == 1
    assert gaps(worklist) == [(Gap.NEVER_SEEN, 0, 3)]
