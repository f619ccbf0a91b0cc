"""Canaries are read like any study and stand nowhere among patients; alarms begin and end once."""

from datetime import timedelta

import pytest

from node.records import Header, StoredObject
from node.states import Priority, State
from node.worklist import Actor, Canary, Deed, Finding, Level, Query, Worklist
from tests.support.builder import T0

PHANTOM = "f" * 64
FOUND = Finding(Priority.SUSPECTED, 0.98, 21.0, "bundle@1")
LATER = T0 + timedelta(minutes=1)
ANNA = Actor.at_terminal("anna")


def receive(worklist: Worklist, study: str) -> None:
    header = Header(
        "1.2.840.10008.5.1.4.1.1.2", f"{study}.1.1", study, f"{study}.1", "1.2", (),
        patient_id="ICHNODE CANARY, NO PATIENT",
    )  # fmt: skip
    stored = StoredObject(f"received/{study}", study.ljust(64, "0"), 1)
    worklist.arrivals.add(header, stored, caller="ICHNODE", now=T0)


@pytest.fixture
def both(worklist: Worklist) -> Worklist:
    """A worklist with a patient's study, 1.7.1, and a canary, 1.7.2."""
    receive(worklist, "1.7.1")
    worklist.canaries.send("1.7.2", PHANTOM, T0)
    receive(worklist, "1.7.2")
    return worklist


def test_a_canary_stands_nowhere_among_patients(both: Worklist) -> None:
    patient = ["1.7.1"]
    assert [row.study_instance_uid for row in both.views.worklist(LATER)] == patient
    assert [row.study_instance_uid for row in both.views.worklist(LATER, T0)] == patient
    held, mark = both.listing.recent(T0)
    assert [one.row.study_instance_uid for one in held] == patient
    changed = both.listing.studies(both.listing.changed(type(mark)())[0])
    assert [one.row.study_instance_uid for one in changed] == patient
    named = both.listing.named("ICHNODE CANARY, NO PATIENT")
    assert [one.row.study_instance_uid for one in named] == patient
    assert both.listing.others_of_patient("1.7.1") == []
    assert both.views.counts()[State.RECEIVING] == 1
    assert {one.state: one.cases for one in both.statistics.queue()}[State.RECEIVING] == 1
    assert [one.study_instance_uid for one in both.statistics.studies(T0)] == patient
    assert len(both.archive.unlisted(10)) == 1
    assert both.archive.find(Query(Level.STUDY)) == []


def test_a_canary_is_no_sign_that_a_scanner_sends(worklist: Worklist) -> None:
    worklist.canaries.send("1.7.2", PHANTOM, T0)
    receive(worklist, "1.7.2")
    assert worklist.statistics.last_arrival() is None


def test_a_canary_is_claimed_like_any_study(worklist: Worklist) -> None:
    worklist.canaries.send("1.7.2", PHANTOM, T0)
    receive(worklist, "1.7.2")
    claimed = worklist.cases.claim((State.RECEIVING,), "worker", 60, LATER)
    assert claimed is not None and claimed.study_instance_uid == "1.7.2"


def test_a_study_is_no_canary_by_what_its_header_says(both: Worklist) -> None:
    assert both.views.is_canary("1.7.2") and not both.views.is_canary("1.7.1")


def ended(worklist: Worklist, number: int, found: Finding, trouble: str | None = None) -> Canary:
    uid = f"1.7.{number}"
    worklist.canaries.send(uid, PHANTOM, T0 + timedelta(minutes=number))
    worklist.canaries.end(uid, LATER, found=found, trouble=trouble, door_to_flag_s=3.0)
    last = worklist.canaries.last()
    assert last is not None
    return last


def test_the_first_sound_answer_of_a_bundle_is_its_reference(worklist: Worklist) -> None:
    assert worklist.canaries.reference("bundle@1", PHANTOM) is None
    ended(worklist, 1, FOUND)
    ended(worklist, 2, Finding(Priority.SUSPECTED, 0.6, 9.0, "bundle@1"), "changed")
    assert worklist.canaries.reference("bundle@1", PHANTOM) == FOUND
    assert worklist.canaries.reference("bundle@2", PHANTOM) is None


def test_a_person_accepts_a_changed_finding(worklist: Worklist) -> None:
    ended(worklist, 1, FOUND)
    changed = Finding(Priority.SUSPECTED, 0.6, 9.0, "bundle@1")
    ended(worklist, 2, changed, "changed")
    worklist.alarms.note("canary", "changed", LATER)
    worklist.alarms.note("node", "the disk is full", LATER)
    assert worklist.canaries.accept(ANNA, LATER) == changed
    assert worklist.canaries.reference("bundle@1", PHANTOM) == changed
    assert [one.what for one in worklist.alarms.standing()] == ["node"]
    (row,) = worklist.audit.entries()
    assert (row.who, row.address, row.what, row.at) == ("anna", "terminal", Deed.CANARY, LATER)
    assert row.study_instance_uid == "1.7.2"
    compared = "canaries are compared with SUSPECTED, probability 0.600, 9.0 mL, by bundle@1"
    assert row.about == compared


def test_where_nothing_was_read_nothing_is_accepted_and_no_row_says_so(worklist: Worklist) -> None:
    assert worklist.canaries.accept(ANNA, LATER) is None
    assert worklist.audit.entries() == []


def test_an_alarm_stands_once_and_ends_once(worklist: Worklist) -> None:
    for said in ("silent", "still silent"):
        worklist.alarms.note("canary", said, T0)
    (alarm,) = worklist.alarms.standing()
    assert (alarm.said, alarm.raised_at, alarm.told) == ("still silent", T0, {})
    worklist.alarms.told(alarm, "mail", of_end=False)
    worklist.alarms.note("canary", "", LATER)
    worklist.alarms.note("canary", "", LATER + timedelta(hours=1))
    (alarm,) = worklist.alarms.last()
    assert (alarm.ended_at, alarm.told) == (LATER, {"mail": False})
    worklist.alarms.note("canary", "again", LATER)
    assert [one.said for one in worklist.alarms.standing()] == ["again"]


def test_a_purged_canary_leaves_its_row_alone(both: Worklist) -> None:
    assert both.canaries.old(T0) == []
    ((uid, files, folders),) = both.canaries.old(LATER)
    assert (uid, files, len(folders)) == ("1.7.2", ("received/1.7.2",), 1)
    for study in ("1.7.2", "1.7.1"):  # the patient's is none, and stays
        both.canaries.purge(study, LATER)
    assert both.canaries.answer("1.7.2") is None and both.canaries.answer("1.7.1") is not None
    assert both.arrivals.study("1.7.2") == () and both.canaries.old(LATER) == []
    assert both.views.is_canary("1.7.2")
