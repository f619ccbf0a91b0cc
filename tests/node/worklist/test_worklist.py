"""The worklist's behaviour, on a real SQLite file and on a real PostgreSQL."""

import json
import multiprocessing
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from node.announced import IAN, MPPS, Announcement, PerformedStep, StepStatus
from node.errors import BadConfiguration, IchnodeError, Permanent, Retryable
from node.identity import Identity, PatientIdentity
from node.outcomes import (
    Failed,
    NotAnalysed,
    Outcome,
    Planned,
    Reported,
    Skipped,
    Triaged,
    Waiting,
)
from node.records import (
    Case,
    Closing,
    Delivery,
    Frame,
    Header,
    Parcel,
    Predecessor,
    ReportObject,
    StoredObject,
)
from node.states import Priority, Reason, State
from node.worklist import (
    Arrival,
    Decision,
    Deed,
    DeliveryStatus,
    IllegalMove,
    LeaseLost,
    Mistake,
    NotFound,
    Opinion,
    Signature,
    Step,
    Worklist,
    upgrade,
)
from node.worklist.arriving.arrivals import Received
from node.worklist.schema import tables as t
from node.worklist.schema.database import Database
from node.worklist.schema.tables import metadata
from node.worklist.sending import owing
from tests.node.worklist.conftest import execute
from tests.support.databases import new_database

T0 = datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
SUSPECTED = Triaged(
    Priority.SUSPECTED,
    probability=0.93,
    uncertainty=0.03,
    uncertain=False,
    volume_ml=12.4,
    subtypes={"subdural": 0.9, "epidural": 0.1},
    key_slice_sop_instance_uid="1.9.1.7",
    bundle="ich-ensemble@0.1.0",
    limitations=("gantry tilt 18 degrees",),
)
WORK = (State.RECEIVING, State.ASSEMBLED, State.TRIAGED, State.NOT_ANALYSED)
NEGATIVE = Triaged(Priority.NOT_SUSPECTED, probability=0.04, volume_ml=0.0)
UNCERTAIN = replace(NEGATIVE, uncertainty=0.21, uncertain=True)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def header(number: int = 1, *, series: int = 1, study: int = 1, **attributes: object) -> Header:
    values: dict[str, object] = {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "sop_instance_uid": f"1.9.{series}.{number}",
        "study_instance_uid": f"1.7.{study}",
        "series_instance_uid": f"1.8.{series}",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "frames": (Frame((-120.0, -110.5, 2.5 * number), (1.0, 0.0, 0.0, 0.0, 0.95, 0.31)),),
        "patient_id": f"P{study}",
        "patient_birth_date": "19500102",
        "accession_number": f"A{study}",
        "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"),
        "pixel_spacing_mm": (0.45, 0.45),
    }
    return Header(**{**values, **attributes})  # type: ignore[arg-type]


def stored(content: str) -> StoredObject:
    return StoredObject(f"objects/{content}.dcm", content.rjust(64, "0"), 526_000)


def receive(
    worklist: Worklist, number: int = 1, *, series: int = 1, study: int = 1, now: datetime = T0
) -> Arrival:
    item = stored(f"{series}-{number}")
    return worklist.arrivals.add(
        header(number, series=series, study=study), item, caller="CT1", now=now
    )


def claimed(worklist: Worklist, *states: State, now: datetime, worker: str = "w1") -> Case:
    case = worklist.cases.claim(states or WORK, worker, 60.0, now)
    assert case is not None
    return case


def move(worklist: Worklist, now: datetime, *outcomes: Outcome) -> Case:
    """Take the case that is due through `outcomes`, each one recorded at `now`."""
    for outcome in outcomes:
        case = claimed(worklist, now=now)
        worklist.cases.finish(case, "w1", outcome, now)
    return worklist.cases.get(case.id)


def report(case: int, *destinations: str) -> Outcome:
    items = [
        Parcel.of(
            ReportObject(f"kind {n}", f"cases/{case}/report/{n}.dcm", f"1.2.{n}", f"2.25.{n}")
        )
        for n in (1, 2)
    ]
    return Reported(tuple((d, item) for d in destinations for item in items))


DeliveredAtOnce = Callable[[Sequence[Delivery]], None]


@pytest.fixture
def delivered_at_once(worklist: Worklist, monkeypatch: pytest.MonkeyPatch) -> DeliveredAtOnce:
    """Record that two parcels arrived; neither is committed before both are, where that can be."""
    close, both = owing.close_if_sent, threading.Barrier(2)

    def slowly(*args: Any) -> None:
        close(*args)
        with suppress(threading.BrokenBarrierError):  # the other may wait for this one's end
            both.wait(0.5)

    def deliver(owed: Sequence[Delivery]) -> None:
        monkeypatch.setattr("node.worklist.sending.outbox.close_if_sent", slowly)
        with ThreadPoolExecutor(2) as pool:
            done = [pool.submit(worklist.outbox.delivered, one, "d1", 0, at(8)) for one in owed]
        assert [one.result() for one in done] == [False, False]

    return deliver


ASSEMBLED = Planned()


class TestArrivals:
    def test_first_slice_opens_study_series_and_case(self, worklist: Worklist) -> None:
        assert receive(worklist) is Arrival.NEW
        (series,) = worklist.arrivals.study("1.7.1")
        assert series.instances[0].header == header()
        assert series.instances[0].stored == stored("1-1")
        assert (series.first_received_at, series.last_received_at) == (T0, T0)
        (case,) = worklist.cases.of_study("1.7.1")
        assert (case.state, case.priority) == (State.RECEIVING, Priority.PENDING)
        assert case.folder == f"cases/{case.id}"

    def test_instances_come_back_in_order_of_arrival(self, worklist: Worklist) -> None:
        for number in (3, 1, 2):
            receive(worklist, number, now=at(number))
        (series,) = worklist.arrivals.study("1.7.1")
        uids = [i.header.sop_instance_uid for i in series.instances]
        assert uids == ["1.9.1.3", "1.9.1.1", "1.9.1.2"]

    def test_times_are_utc_whatever_zone_they_come_in(self, worklist: Worklist) -> None:
        receive(worklist, now=T0.astimezone(timezone(timedelta(hours=-5))))
        (series,) = worklist.arrivals.study("1.7.1")
        assert series.last_received_at == T0
        assert series.last_received_at.utcoffset() == timedelta(0)

    def test_same_object_again_changes_nothing(self, worklist: Worklist) -> None:
        receive(worklist)
        before = worklist.arrivals.study("1.7.1")
        assert receive(worklist, now=at(9)) is Arrival.DUPLICATE
        assert worklist.arrivals.study("1.7.1") == before
        assert worklist.views.events("1.7.1") == []

    def test_each_object_of_a_group_is_told_what_itself_was(self, worklist: Worklist) -> None:
        receive(worklist, 4, series=2)
        others = {"patient_id": "P2"}
        group = [
            Received(header(1), stored("z-1"), "CT1", at(1)),
            Received(header(1), stored("z-1"), "CT2", at(2)),
            Received(header(5, series=3, **others), stored("o-5"), "CT1", at(2)),
            Received(header(4, series=2), stored("other"), "CT1", at(3)),
            Received(header(2), stored("z-2"), "CT1", at(3), cut_short="half"),
            Received(header(3), stored("z-3"), "CT1", at(4)),
        ]
        found = worklist.arrivals.add_all(group)
        new, again, other = Arrival.NEW, Arrival.DUPLICATE, Arrival.CONFLICT
        assert found == [new, again, other, Arrival.CHANGED, Arrival.CUT_SHORT, new]
        first = next(s for s in worklist.arrivals.study("1.7.1") if len(s.instances) == 2)
        assert [i.stored for i in first.instances] == [stored("z-1"), stored("z-3")]
        assert first.last_received_at == at(4)

    def test_a_group_with_an_object_that_is_refused_leaves_nothing(
        self, worklist: Worklist
    ) -> None:
        group = [
            Received(header(1), stored("1-1"), "CT1", at(1)),
            Received(header(3, study=2, series=2, accession_number=None), stored("3"), "", at(1)),
            Received(header(4, study=3, series=3), stored("4"), "CT1", at(1)),
        ]
        with pytest.raises(IchnodeError):
            worklist.arrivals.add_all(group)
        assert [worklist.arrivals.study(f"1.7.{study}") for study in (1, 2, 3)] == [()] * 3

    def test_same_object_after_its_result_gives_no_second_result(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE)
        assert receive(worklist, now=at(9)) is Arrival.DUPLICATE
        assert len(worklist.cases.of_study("1.7.1")) == 1
        assert worklist.cases.get(1).state is State.TRIAGED

    def test_other_bytes_under_a_known_uid_are_set_aside_and_both_hashes_kept(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        changed = worklist.arrivals.add(header(), stored("other"), caller="CT1", now=at(1))
        assert changed is Arrival.CHANGED
        (aside,) = worklist.quarantine.listed()
        assert (aside.code, aside.stored) == ("CHANGED", stored("other"))
        assert stored("1-1").sha256 in aside.reason
        assert worklist.arrivals.study("1.7.1")[0].instances[0].stored == stored("1-1")
        assert [event.what for event in worklist.views.events("1.7.1")] == ["quarantined"]
        assert worklist.views.worklist(T0)[0].quarantined == 1

    @pytest.mark.parametrize(
        "other", [{"patient_id": "P2"}, {"patient_id": ""}, {"patient_birth_date": "19500103"}]
    )
    def test_another_patient_under_a_known_study_is_never_merged(
        self, worklist: Worklist, other: dict[str, str]
    ) -> None:
        receive(worklist)
        stranger = header(2, series=2, **other)
        assert (
            worklist.arrivals.add(stranger, stored("2-2"), caller="CT1", now=at(1))
            is Arrival.CONFLICT
        )
        (aside,) = worklist.quarantine.listed()
        assert aside.code == Reason.MIXED_IDENTITY
        assert len(worklist.arrivals.study("1.7.1")) == 1

    def test_a_series_that_names_a_second_study_is_never_merged(self, worklist: Worklist) -> None:
        receive(worklist)
        assert receive(worklist, 2, study=2) is Arrival.CONFLICT
        assert worklist.arrivals.study("1.7.2") == ()

    def test_other_bytes_that_come_again_are_noted_once(self, worklist: Worklist) -> None:
        set_aside(worklist)
        set_aside(worklist)
        assert [event.what for event in worklist.views.events("1.7.1")] == ["quarantined"]

    def test_an_object_is_quarantined_once_however_often_it_is_sent(
        self, worklist: Worklist
    ) -> None:
        for second in range(3):
            worklist.arrivals.set_aside(
                stored("x"), code="A900", reason="not CT", caller="CT1", now=at(second)
            )
        (aside,) = worklist.quarantine.listed()
        assert (aside.at, aside.caller, aside.reason) == (T0, "CT1", "not CT")

    def test_no_identity_stands_in_the_record_of_events(self, worklist: Worklist) -> None:
        receive(worklist)
        worklist.arrivals.add(header(2, patient_id="P-OTHER"), stored("z"), caller="CT1", now=at(1))
        move(worklist, at(5), ASSEMBLED, SUSPECTED, report(1, "PACS"))
        worklist.cases.replay(1, State.ASSEMBLED, at(6))
        text = json.dumps([dict(event.detail) for event in worklist.views.events("1.7.1")])
        assert len(worklist.views.events("1.7.1")) == 6
        assert not any(word in text for word in ("P1", "P-OTHER", "A1", "19500102"))

    def test_release_is_noted_and_a_later_slice_takes_it_back(self, worklist: Worklist) -> None:
        receive(worklist)
        worklist.arrivals.release(["1.8.1"], at(3))
        assert worklist.arrivals.study("1.7.1")[0].released_at == at(3)
        receive(worklist, 2, now=at(4))
        assert worklist.arrivals.study("1.7.1")[0].released_at is None
        assert worklist.arrivals.study("1.7.1")[0].last_received_at == at(4)

    def test_a_release_waits_for_a_slice_that_is_being_filed_and_not_the_other_way_round(
        self, worklist: Worklist, database: str, url: str
    ) -> None:
        if database == "sqlite":
            pytest.skip("SQLite has one writer: nothing can wait in a circle")
        receive(worklist)
        claimed(worklist, now=at(3))
        engine = sa.create_engine(url)
        waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        with engine.connect() as slice_, engine.connect() as watch, ThreadPoolExecutor(1) as pool:
            slice_.execute(sa.select(t.case.c.id).with_for_update())
            release = pool.submit(worklist.arrivals.release, ["1.8.1"], at(4))
            while not release.done() and not watch.execute(waiting).scalar_one():
                watch.rollback()
            slice_.execute(t.series.update().values(last_received_at=at(2)))
            slice_.commit()
            release.result()
        engine.dispose()
        assert worklist.arrivals.study("1.7.1")[0].released_at == at(4)

    def test_a_release_makes_void_what_a_worker_decides_without_it(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        case = claimed(worklist, now=at(3))
        worklist.arrivals.release(["1.8.1"], at(4))
        worklist.cases.finish(case, "w1", Waiting("may still come", at(63)), at(5))
        assert claimed(worklist, now=at(5)).id == case.id

    def test_a_release_makes_the_undecided_cases_of_the_study_due(self, worklist: Worklist) -> None:
        receive(worklist, series=1)
        receive(worklist, series=2)
        for _ in range(2):
            case = claimed(worklist, now=at(1))
            worklist.cases.finish(case, "w1", Waiting("", at(60)), at(1))
        worklist.arrivals.release(["1.8.1"], at(2))
        assert {claimed(worklist, now=at(2)).id, claimed(worklist, now=at(2)).id} == {1, 2}

    def test_a_late_slice_reopens_the_series_with_a_case_that_supersedes(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE)
        receive(worklist, 2, now=at(30))
        receive(worklist, 3, now=at(31))
        (case,) = worklist.cases.of_study("1.7.1")
        assert (case.id, case.supersedes, case.state) == (2, 1, State.RECEIVING)
        assert len(worklist.arrivals.study("1.7.1")[0].instances) == 3

    def test_a_late_slice_reopens_a_series_that_was_skipped(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), Skipped(reason_code=Reason.LOCALISER, reason="a localiser"))
        receive(worklist, 2, now=at(30))
        assert worklist.cases.of_study("1.7.1")[0].supersedes == 1

    def test_a_slice_that_comes_while_its_series_is_assembled_voids_the_plan(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        case = claimed(worklist, now=at(5))
        receive(worklist, 2, now=at(5))
        with pytest.raises(LeaseLost):
            worklist.cases.finish(case, "w1", ASSEMBLED, at(5))
        assert worklist.cases.get(case.id).state is State.RECEIVING
        assert claimed(worklist, now=at(6)).attempts == 0

    def test_a_new_slice_brings_the_next_look_forward(self, worklist: Worklist) -> None:
        receive(worklist)
        case = claimed(worklist, now=at(1))
        worklist.cases.finish(case, "w1", Waiting("", at(60)), at(1))
        receive(worklist, 2, now=at(2))
        assert worklist.cases.claim(WORK, "w1", 60, at(2)) is None
        assert claimed(worklist, now=at(3)).id == case.id


class TestCases:
    def test_the_case_due_longest_is_claimed_first_and_only_once(self, worklist: Worklist) -> None:
        receive(worklist, series=1, study=1, now=at(1))
        receive(worklist, series=2, study=2, now=at(0))
        assert claimed(worklist, now=at(9)).series_instance_uid == "1.8.2"
        assert claimed(worklist, now=at(9)).series_instance_uid == "1.8.1"
        assert worklist.cases.claim(WORK, "w2", 60, at(9)) is None

    def test_a_claim_may_ask_for_the_cases_of_one_study(self, worklist: Worklist) -> None:
        receive(worklist, series=1, study=1)
        receive(worklist, series=2, study=2)
        case = worklist.cases.claim(WORK, "w1", 60, at(9), study_uid="1.7.2")
        assert case is not None and case.study_instance_uid == "1.7.2"
        assert worklist.cases.claim(WORK, "w1", 60, at(9), study_uid="1.7.2") is None
        assert claimed(worklist, now=at(9)).study_instance_uid == "1.7.1"

    def test_only_the_wanted_states_are_claimed(self, worklist: Worklist) -> None:
        receive(worklist)
        assert worklist.cases.claim([State.ASSEMBLED, State.TRIAGED], "w1", 60, at(9)) is None

    def test_a_crashed_workers_case_is_taken_up_when_its_lease_ran_out(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        case = claimed(worklist, now=at(1), worker="crashed")
        assert worklist.cases.claim(WORK, "w2", 60, at(60)) is None
        again = claimed(worklist, now=at(61), worker="w2")
        assert again == replace(case, interruptions=1)

    def test_a_worker_that_outlived_its_lease_cannot_record_its_result(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        case = claimed(worklist, now=at(1), worker="slow")
        claimed(worklist, now=at(62), worker="w2")
        with pytest.raises(LeaseLost, match=f"case {case.id}"):
            worklist.cases.finish(case, "slow", ASSEMBLED, at(63))
        assert not worklist.cases.renew(case.id, "slow", 60, at(63))
        assert worklist.cases.get(case.id).state is State.RECEIVING

    def test_a_renewed_lease_holds_longer(self, worklist: Worklist) -> None:
        receive(worklist)
        case = claimed(worklist, now=at(1))
        assert worklist.cases.renew(case.id, "w1", 60, at(50))
        assert worklist.cases.claim(WORK, "w2", 60, at(100)) is None
        assert worklist.cases.claim(WORK, "w2", 60, at(110)) is not None

    def test_not_yet_gives_the_case_back_until_then_and_counts_no_attempt(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        case = claimed(worklist, now=at(1))
        worklist.cases.finish(case, "w1", Waiting("", at(10)), at(1))
        assert worklist.cases.claim(WORK, "w1", 60, at(9.9)) is None
        assert claimed(worklist, now=at(10)).attempts == 0

    def test_not_yet_of_a_case_that_was_taken_away_is_no_error(self, worklist: Worklist) -> None:
        receive(worklist)
        case = claimed(worklist, now=at(1), worker="slow")
        claimed(worklist, now=at(62), worker="w2")
        worklist.cases.finish(case, "slow", Waiting("", at(99)), at(63))
        assert worklist.cases.renew(case.id, "w2", 60, at(64))

    def test_failed_attempts_are_counted_until_the_state_changes(self, worklist: Worklist) -> None:
        receive(worklist)
        for attempt in range(2):
            case = claimed(worklist, now=at(10 * attempt + 1))
            assert case.attempts == attempt
            again = at(10 * attempt + 11)
            worklist.cases.retry(case, "w1", "disk full", again, at(10 * attempt + 1))
        move(worklist, at(21), ASSEMBLED)
        assert claimed(worklist, now=at(22)).attempts == 0
        assert [e.detail["reason"] for e in worklist.views.events("1.7.1")[:2]] == ["disk full"] * 2

    def test_a_move_that_the_states_do_not_have_is_refused(self, worklist: Worklist) -> None:
        receive(worklist)
        case = claimed(worklist, now=at(1))
        with pytest.raises(IllegalMove, match="RECEIVING cannot become REPORTED"):
            worklist.cases.finish(case, "w1", Reported(), at(1))

    def test_each_stage_leaves_its_time_and_the_flag_its_own(self, worklist: Worklist) -> None:
        receive(worklist)
        receive(worklist, 2, now=at(2))
        move(worklist, at(5), ASSEMBLED)
        move(worklist, at(7), SUSPECTED)
        move(worklist, at(8), report(1, "PACS"))
        (row,) = worklist.views.worklist(at(9))
        assert (row.received_at, row.assembled_at, row.triaged_at) == (at(2), at(5), at(7))
        assert (row.flagged_at, row.reported_at, row.delivered_at) == (at(7), at(8), None)
        assert row.door_to_flag_s == 5.0

    def test_a_report_owed_to_nobody_is_delivered_at_once(self, worklist: Worklist) -> None:
        receive(worklist)
        case = move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1))
        assert case.state is State.DELIVERED
        assert worklist.views.worklist(at(9))[0].delivered_at == at(5)

    def test_a_superseded_case_is_not_claimed(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED)
        receive(worklist, 2, now=at(6))
        assert claimed(worklist, now=at(9)).id == 2
        assert worklist.cases.claim(WORK, "w1", 60, at(9)) is None

    def test_a_result_of_a_case_superseded_meanwhile_is_still_recorded(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED)
        case = claimed(worklist, now=at(5))
        receive(worklist, 2, now=at(6))
        worklist.cases.finish(case, "w1", SUSPECTED, at(7))
        assert worklist.views.worklist(at(8))[0].priority is Priority.SUSPECTED

    @pytest.mark.parametrize(
        "outcome",
        [
            Triaged(Priority.NOT_SUSPECTED, probability=None),  # type: ignore[arg-type]
            Triaged(Priority.SUSPECTED, probability=1.2),
            NotAnalysed("CONTRAST", None),  # type: ignore[arg-type]
            Failed(Reason.INTERNAL, None),  # type: ignore[arg-type]
        ],
        ids=["negative without a number", "no probability", "no reason", "failed without reason"],
    )
    def test_the_database_refuses_a_result_that_does_not_say_enough(
        self, worklist: Worklist, outcome: Outcome
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED)
        case = claimed(worklist, now=at(6))
        with pytest.raises(Permanent, match="refuses"):
            worklist.cases.finish(case, "w1", outcome, at(7))
        assert worklist.cases.get(case.id).state is State.ASSEMBLED

    def test_counts_leave_superseded_cases_out(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED)
        receive(worklist, 2, now=at(6))
        receive(worklist, series=2, now=at(6))
        assert worklist.views.counts() == dict.fromkeys(State, 0) | {State.RECEIVING: 2}

    def test_an_unknown_case_or_study_is_said_to_be_unknown(self, worklist: Worklist) -> None:
        with pytest.raises(NotFound, match="no case 7"):
            worklist.cases.get(7)
        with pytest.raises(NotFound, match=r"no study 1\.2"):
            worklist.feedback.give("1.2", "reader", Opinion(), T0)


class TestListing:
    """What a page that stays open asks for."""

    def test_what_happens_to_a_study_is_seen_as_a_change_of_it_alone(
        self, worklist: Worklist
    ) -> None:
        receive(worklist, series=1, study=1)
        found, mark = worklist.listing.recent(T0 - timedelta(hours=1))
        assert [one.row.study_instance_uid for one in found] == ["1.7.1"]
        assert worklist.listing.changed(mark) == (set(), mark)
        steps: list[Callable[[], object]] = [
            lambda: move(worklist, at(501), ASSEMBLED, SUSPECTED, report(1, "PACS")),
            lambda: receive(worklist, series=2, study=2, now=at(500)),
            lambda: worklist.feedback.give("1.7.1", "Dr. Night", Opinion(True), at(502)),
            lambda: worklist.feedback.undo("1.7.1", "Dr. Night", at(503)),
        ]
        for step in steps:
            step()
            uids, mark = worklist.listing.changed(mark)
            assert uids
            rows = {one.row.study_instance_uid: one for one in worklist.listing.studies(uids)}
            everything = worklist.listing.recent(T0 - timedelta(hours=1))[0]
            for one in everything:
                uid = one.row.study_instance_uid
                assert rows.get(uid, one) == one
            assert worklist.listing.changed(mark) == (set(), mark)

    def test_studies_are_named_by_accession_number_and_patient(self, worklist: Worklist) -> None:
        receive(worklist, series=1, study=1)
        receive(worklist, series=2, study=2)
        for name in ("A2", "P2"):
            assert [one.number for one in worklist.listing.named(name)] == [2]
        assert worklist.listing.named("A") == []
        assert worklist.listing.study_of_case(2) == "1.7.2"
        with pytest.raises(NotFound, match="no case 7"):
            worklist.listing.study_of_case(7)

    def test_feedback_keeps_what_was_said_and_who_undid_it(self, worklist: Worklist) -> None:
        receive(worklist)
        opinion = Opinion(False, Mistake.MISSED, "right temporal", "seen on MR")
        worklist.feedback.give("1.7.1", "Dr. Night", opinion, at(5))
        worklist.feedback.undo("1.7.1", "Dr. Night", at(6))
        (said,) = worklist.feedback.of_study("1.7.1")
        assert said.opinion == opinion
        assert (said.at, said.undone_at, said.undone_by) == (at(5), at(6), "Dr. Night")

    def test_a_mistake_is_part_of_a_disagreement(self, worklist: Worklist) -> None:
        receive(worklist)
        for agrees in (True, None):
            with pytest.raises(Permanent):
                opinion = Opinion(agrees, Mistake.MISSED)
                worklist.feedback.give("1.7.1", "Dr. Night", opinion, at(5))


class TestReplay:
    def test_a_replay_reads_again_and_shows_no_old_negative_meanwhile(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1))
        worklist.cases.replay(1, State.ASSEMBLED, at(9))
        (row,) = worklist.views.worklist(at(9))
        assert (row.priority, row.probability, row.flagged_at) == (Priority.PENDING, None, None)
        assert move(worklist, at(12), SUSPECTED).state is State.TRIAGED
        assert worklist.views.worklist(at(12))[0].door_to_flag_s == 12.0

    def test_a_suspicion_stays_shown_while_its_case_is_read_again(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, SUSPECTED)
        worklist.cases.replay(1, State.RECEIVING, at(9))
        (row,) = worklist.views.worklist(at(9))
        assert (row.priority, row.probability) == (Priority.SUSPECTED, 0.93)
        move(worklist, at(10), ASSEMBLED, NEGATIVE)
        (row,) = worklist.views.worklist(at(9))
        assert (row.priority, row.flagged_at) == (Priority.NOT_SUSPECTED, at(5))

    @pytest.mark.parametrize(
        ("result", "meanwhile"),
        [(NEGATIVE, Priority.NOT_ANALYSED), (SUSPECTED, Priority.SUSPECTED)],
    )
    def test_a_failed_report_is_made_anew_from_the_result_that_stands(
        self, worklist: Worklist, result: Outcome, meanwhile: Priority
    ) -> None:
        receive(worklist)
        broken = Failed(Reason.INTERNAL, "disk full")
        move(worklist, at(5), ASSEMBLED, result, broken)
        (row,) = worklist.views.worklist(at(6))
        assert (row.priority, row.reason) == (meanwhile, "disk full")
        worklist.cases.replay(1, State.TRIAGED, at(9))
        (row,) = worklist.views.worklist(at(9))
        assert (row.priority, row.reason) == (result.priority, None)
        assert claimed(worklist, now=at(9)).state is State.TRIAGED

    def test_a_replay_takes_the_claim_away(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED)
        case = claimed(worklist, now=at(6))
        worklist.cases.replay(1, State.ASSEMBLED, at(7))
        with pytest.raises(LeaseLost):
            worklist.cases.finish(case, "w1", SUSPECTED, at(8))

    @pytest.mark.parametrize("to", [State.DELIVERED, State.TRIAGED])
    def test_a_case_that_was_not_read_has_nothing_to_report(
        self, worklist: Worklist, to: State
    ) -> None:
        receive(worklist)
        with pytest.raises(IllegalMove, match="case 1"):
            worklist.cases.replay(1, to, at(1))

    def test_a_superseded_case_names_the_one_to_replay(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED)
        receive(worklist, 2, now=at(6))
        with pytest.raises(IllegalMove, match="replay that one"):
            worklist.cases.replay(1, State.RECEIVING, at(7))

    def test_what_was_sent_is_not_sent_twice_and_what_was_not_is_owed_again(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, SUSPECTED, report(1, "PACS"))
        first, second = worklist.outbox.claim("d1", 60, at(6))
        worklist.outbox.delivered(first, "d1", 0, at(6))
        worklist.outbox.failed(second, "d1", 0xA700, "out of resources", None, at(6))
        worklist.cases.replay(1, State.TRIAGED, at(7))
        assert worklist.outbox.claim("d1", 60, at(8)) == []
        move(worklist, at(9), report(1, "PACS"))
        (owed,) = worklist.outbox.claim("d1", 60, at(9))
        assert (owed.parcel, owed.attempts) == (second.parcel, 0)
        worklist.outbox.delivered(owed, "d1", 0, at(10))
        assert worklist.cases.get(1).state is State.DELIVERED


class TestOutbox:
    def test_each_object_is_owed_to_each_destination_once(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, SUSPECTED, report(1, "PACS", "RIS"))
        (row,) = worklist.views.worklist(at(6))
        owed = [(line.destination, line.sop_class, line.status) for line in row.deliveries]
        assert owed == [
            (destination, sop_class, "OWED")
            for destination in ("PACS", "RIS")
            for sop_class in ("1.2.1", "1.2.2")
        ]

    def test_what_is_urgent_for_one_destination_can_be_claimed_alone(
        self, worklist: Worklist
    ) -> None:
        for number, result in ((1, NEGATIVE), (2, SUSPECTED)):
            receive(worklist, series=number, study=number)
            move(worklist, at(5), ASSEMBLED, result, report(number, "PACS", "RIS"))
        first = worklist.outbox.claim("d1", 60, at(6), urgent_to="RIS")
        assert {(d.destination, d.case_id) for d in first} == {("RIS", 2)}
        assert worklist.outbox.claim("d1", 60, at(6), urgent_to="RIS") == []

    def test_a_call_claims_for_one_destination_suspected_first(self, worklist: Worklist) -> None:
        receive(worklist, series=1, study=1)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1, "RIS", "PACS"))
        receive(worklist, series=2, study=2)
        move(worklist, at(6), ASSEMBLED, SUSPECTED, report(2, "PACS"))
        batch = worklist.outbox.claim("d1", 60, at(7))
        assert [(d.destination, d.case_id, d.high_priority) for d in batch] == [
            ("PACS", 2, True),
            ("PACS", 2, True),
            ("PACS", 1, False),
            ("PACS", 1, False),
        ]
        assert {d.destination for d in worklist.outbox.claim("d1", 60, at(7))} == {"RIS"}
        assert worklist.outbox.claim("d1", 60, at(7)) == []

    def test_a_limit_leaves_the_rest_for_the_next_call(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        first = worklist.outbox.claim("d1", 60, at(6), limit=1)
        second = worklist.outbox.claim("d2", 60, at(6), limit=1)
        assert len(first) == len(second) == 1
        assert first[0].id != second[0].id

    def test_the_last_object_makes_the_case_delivered(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        first, second = worklist.outbox.claim("d1", 60, at(6))
        worklist.outbox.delivered(first, "d1", 0, at(7))
        assert worklist.cases.get(1).state is State.REPORTED
        worklist.outbox.delivered(second, "d1", 0xB000, at(8))
        assert worklist.cases.get(1).state is State.DELIVERED
        (row,) = worklist.views.worklist(at(9))
        assert row.delivered_at == at(8)
        assert [(line.status, line.last_status, line.attempts) for line in row.deliveries] == [
            ("SENT", 0, 1),
            ("SENT", 0xB000, 1),
        ]

    def test_last_objects_that_arrive_at_the_same_moment_make_the_case_delivered(
        self, worklist: Worklist, delivered_at_once: DeliveredAtOnce
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS", "RIS"))
        batches = [worklist.outbox.claim("d1", 60, at(6)) for _ in range(2)]
        for first, _ in batches:
            worklist.outbox.delivered(first, "d1", 0, at(7))
        delivered_at_once([last for _, last in batches])
        assert worklist.cases.get(1).state is State.DELIVERED

    def test_who_got_objects_at_the_same_moment_is_in_the_audit_trail_once(
        self, worklist: Worklist, delivered_at_once: DeliveredAtOnce
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        delivered_at_once(worklist.outbox.claim("d1", 60, at(6)))
        assert [entry.what for entry in worklist.audit.entries()] == [Deed.DELIVERED]

    def test_a_failure_keeps_the_peers_status_and_is_tried_again_when_due(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        first, second = worklist.outbox.claim("d1", 60, at(6))
        worklist.outbox.delivered(first, "d1", 0, at(6))
        worklist.outbox.failed(second, "d1", 0xA700, "out of resources", at(16), at(6))
        assert worklist.outbox.claim("d1", 60, at(15)) == []
        (again,) = worklist.outbox.claim("d1", 60, at(16))
        assert again.attempts == 1
        line = worklist.views.worklist(at(16))[0].deliveries[1]
        assert (line.status, line.last_status) == ("OWED", 0xA700)

    def test_a_delivery_given_up_waits_for_a_person(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        for owed in worklist.outbox.claim("d1", 60, at(6)):
            worklist.outbox.failed(owed, "d1", None, "no such host", None, at(6))
        assert worklist.outbox.claim("d1", 60, at(999)) == []
        assert worklist.cases.get(1).state is State.REPORTED
        assert worklist.views.worklist(at(9))[0].deliveries[0].status == DeliveryStatus.DEAD

    def test_a_crashed_senders_objects_go_to_the_next_one(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        lost = worklist.outbox.claim("crashed", 60, at(6))
        again = worklist.outbox.claim("d2", 60, at(66))
        assert [d.parcel for d in again] == [d.parcel for d in lost]
        assert [d.attempts for d in again] == [1, 1]
        with pytest.raises(LeaseLost):
            worklist.outbox.delivered(lost[0], "crashed", 0, at(67))

    def test_late_slices_hold_back_an_unsent_negative_but_not_a_suspicion(
        self, worklist: Worklist
    ) -> None:
        receive(worklist, series=1, study=1)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        receive(worklist, series=2, study=2)
        move(worklist, at(6), ASSEMBLED, SUSPECTED, report(2, "PACS"))
        receive(worklist, 9, series=1, study=1, now=at(7))
        receive(worklist, 9, series=2, study=2, now=at(7))
        assert {d.case_id for d in worklist.outbox.claim("d1", 60, at(8))} == {2}

    def test_a_transfer_under_way_when_its_case_is_replayed_is_still_recorded(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        first, _ = worklist.outbox.claim("d1", 60, at(6))
        worklist.cases.replay(1, State.TRIAGED, at(6))
        worklist.outbox.delivered(first, "d1", 0, at(7))
        move(worklist, at(8), report(1, "PACS"))
        (owed,) = worklist.outbox.claim("d1", 60, at(70))
        assert owed.parcel != first.parcel


class TestWorklist:
    def test_json_is_the_documented_object(self, worklist: Worklist) -> None:
        receive(worklist)
        closed = replace(ASSEMBLED, closing=Closing(T0, "complete: all 2 images came", 58.0))
        move(worklist, at(4.5), closed, SUSPECTED, report(1, "PACS"))
        (row,) = worklist.views.worklist(at(9))
        line = {"destination": "PACS", "status": "OWED", "attempts": 0, "last_status": None}
        assert json.loads(json.dumps(row.to_json())) == {
            "study_instance_uid": "1.7.1",
            "case_id": 1,
            "patient_id": "P1",
            "accession_number": "A1",
            "priority": "SUSPECTED",
            "prior": False,
            "probability": 0.93,
            "uncertainty": 0.03,
            "uncertain": False,
            "volume_ml": 12.4,
            "subtypes": {"subdural": 0.9, "epidural": 0.1},
            "reason": None,
            "withdrawn": None,
            "limitations": ["gantry tilt 18 degrees"],
            "scans": [
                {
                    "acquired": "",
                    "series_instance_uid": "1.8.1",
                    "case_id": 1,
                    "priority": "SUSPECTED",
                    "probability": 0.93,
                    "reason": None,
                    "withdrawn": False,
                }
            ],
            "series_instance_uid": "1.8.1",
            "key_slice_sop_instance_uid": "1.9.1.7",
            "bundle": "ich-ensemble@0.1.0",
            "received_at": "2026-11-20T03:15:00+00:00",
            "flagged_at": "2026-11-20T03:15:04.500000+00:00",
            "delivered_at": None,
            "door_to_flag_s": 4.5,
            "door_to_pacs_s": None,
            "closed_by": "complete: all 2 images came",
            "saved_s": 58.0,
            "pixels_purged_at": None,
            "results_purged_at": None,
            "deliveries": [{**line, "sop_class": "1.2.1"}, {**line, "sop_class": "1.2.2"}],
        }

    def test_an_uncertain_study_stands_above_one_that_came_before_it_and_is_undecided(
        self, worklist: Worklist
    ) -> None:
        receive(worklist, series=1, study=1)
        claimed(worklist, now=at(1), worker="slow")
        receive(worklist, series=2, study=2, now=at(5))
        move(worklist, at(8), ASSEMBLED, UNCERTAIN)
        shown = [row.to_json() for row in worklist.views.worklist(at(9))]
        assert [(row["priority"], row["uncertain"], row["uncertainty"]) for row in shown] == [
            ("NOT_SUSPECTED", True, 0.21),
            ("PENDING", False, None),
        ]

    def test_a_study_that_is_read_again_is_uncertain_no_longer(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, UNCERTAIN)
        worklist.cases.replay(1, State.ASSEMBLED, at(6))
        (row,) = worklist.views.worklist(at(7))
        assert (row.priority, row.uncertain, row.uncertainty) == (Priority.PENDING, False, None)
        move(worklist, at(8), NEGATIVE)
        assert not worklist.views.worklist(at(9))[0].uncertain

    def test_a_study_that_was_not_read_says_why(self, worklist: Worklist) -> None:
        receive(worklist)
        move(
            worklist,
            at(5),
            NotAnalysed(
                reason_code=Reason.MISSING_SLICE,
                reason="slices are missing between 12.5 and 22.5 mm",
            ),
        )
        (row,) = worklist.views.worklist(at(9))
        assert (row.priority, row.uncertain) == (Priority.NOT_ANALYSED, False)
        assert row.reason == "slices are missing between 12.5 and 22.5 mm"
        assert row.door_to_flag_s == 5.0
        assert worklist.cases.get(1).reason_code == Reason.MISSING_SLICE

    def test_late_slices_show_a_suspicion_on_and_a_negative_no_longer(
        self, worklist: Worklist
    ) -> None:
        for series, result in ((1, SUSPECTED), (2, NEGATIVE)):
            receive(worklist, series=series, study=series)
            move(worklist, at(5), ASSEMBLED, result)
            receive(worklist, 2, series=series, study=series, now=at(100))
        assert {r.study_instance_uid: r.priority for r in worklist.views.worklist(at(101))} == {
            "1.7.1": Priority.SUSPECTED,
            "1.7.2": Priority.PENDING,
        }

    def test_door_to_pacs_ends_with_the_first_object_that_a_destination_stored(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, SUSPECTED, report(1, "PACS"))
        assert worklist.views.worklist(at(6))[0].door_to_pacs_s is None
        for seconds, owed in zip((7, 9), worklist.outbox.claim("d1", 60, at(6)), strict=True):
            worklist.outbox.delivered(owed, "d1", 0, at(seconds))
            assert worklist.views.worklist(at(9))[0].to_json()["door_to_pacs_s"] == 7.0

    def test_door_to_flag_is_that_of_the_slices_that_were_read(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, SUSPECTED)
        receive(worklist, 2, now=at(100))
        assert worklist.views.worklist(at(101))[0].door_to_flag_s == 5.0

    def test_an_acknowledged_study_goes_last(self, worklist: Worklist) -> None:
        receive(worklist, series=1, study=1)
        move(worklist, at(5), ASSEMBLED, SUSPECTED)
        receive(worklist, series=2, study=2)
        worklist.feedback.give("1.7.1", "Dr. Night", Opinion(False), at(60))
        rows = worklist.views.worklist(at(61))
        assert [row.study_instance_uid for row in rows] == ["1.7.2", "1.7.1"]
        assert (rows[1].acknowledged_by, rows[1].agrees) == ("Dr. Night", False)

    def test_a_result_newer_than_the_acknowledgement_stands_unacknowledged(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE)
        worklist.feedback.give("1.7.1", "Dr. Night", Opinion(True), at(60))
        receive(worklist, 2, now=at(100))
        move(worklist, at(105), ASSEMBLED, SUSPECTED)
        (row,) = worklist.views.worklist(at(106))
        assert (row.priority, row.acknowledged_at) == (Priority.SUSPECTED, None)

    def test_since_keeps_old_studies_that_nobody_is_done_with(self, worklist: Worklist) -> None:
        receive(worklist, series=1, study=1)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1))
        receive(worklist, series=2, study=2)
        move(worklist, at(6), Failed(Reason.INTERNAL, reason="crashed"))
        receive(worklist, series=3, study=3, now=at(500))
        shown = {row.study_instance_uid for row in worklist.views.worklist(at(501), since=at(400))}
        assert shown == {"1.7.2", "1.7.3"}
        worklist.feedback.give("1.7.2", "Dr. Night", Opinion(), at(502))
        shown = {row.study_instance_uid for row in worklist.views.worklist(at(503), since=at(400))}
        assert shown == {"1.7.3"}


SR = "1.2.840.10008.5.1.4.1.1.88.34"


def sr(case: int, *destinations: str) -> Outcome:
    uids = (SR, f"2.25.{case}", f"2.25.{case}.1")
    item = Parcel.of(ReportObject("sr", f"cases/{case}/report/sr.dcm", *uids))
    return Reported(tuple((d, item) for d in destinations))


def result(
    worklist: Worklist, case: int, outcome: Outcome, now: datetime, *destinations: str
) -> None:
    """Take the case that is due to its report."""
    assert move(worklist, now, ASSEMBLED, outcome, sr(case, *destinations)).id == case


def send(worklist: Worklist, now: datetime) -> None:
    """Deliver all that is owed."""
    for owed in worklist.outbox.claim("d1", 60, now):
        worklist.outbox.delivered(owed, "d1", 0, now)


class TestPredecessor:
    def test_a_late_slices_case_names_the_report_that_was_sent_and_counts_what_came_after(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        result(worklist, 1, NEGATIVE, at(5), "PACS", "RIS")
        send(worklist, at(6))
        for number in (2, 3):
            receive(worklist, number, now=at(30))
        assert worklist.outbox.predecessor(2, "sr") == Predecessor(
            "2.25.1.1", SR, "2.25.1", later_images=2
        )
        assert worklist.outbox.predecessor(1, "sr") is None
        assert worklist.outbox.predecessor(2, "kind 1") is None

    def test_the_nearest_report_that_was_sent_is_named_whatever_came_between(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        result(worklist, 1, NEGATIVE, at(5), "PACS")
        send(worklist, at(6))
        receive(worklist, 2, now=at(30))
        result(worklist, 2, NEGATIVE, at(35), "PACS")
        receive(worklist, 3, now=at(36))
        found = worklist.outbox.predecessor(3, "sr")
        assert found == Predecessor("2.25.1.1", SR, "2.25.1", later_images=2)
        result(worklist, 3, NEGATIVE, at(40), "PACS")
        send(worklist, at(41))
        receive(worklist, 4, now=at(60))
        assert worklist.outbox.predecessor(4, "sr") == Predecessor(
            "2.25.3.1", SR, "2.25.3", later_images=1, ordinal=3
        )

    @pytest.mark.parametrize("destinations", [(), ("PACS",)], ids=["to nobody", "not yet sent"])
    def test_a_report_that_no_peer_has_is_not_named(
        self, worklist: Worklist, destinations: tuple[str, ...]
    ) -> None:
        receive(worklist)
        result(worklist, 1, NEGATIVE, at(5), *destinations)
        receive(worklist, 2, now=at(30))
        assert worklist.outbox.predecessor(2, "sr") is None

    @pytest.mark.parametrize(("status", "named"), [(0xA900, False), (None, True)])
    def test_a_report_that_a_peer_refused_is_not_named_and_one_without_an_answer_is(
        self, worklist: Worklist, status: int | None, named: bool
    ) -> None:
        receive(worklist)
        result(worklist, 1, NEGATIVE, at(5), "PACS")
        (owed,) = worklist.outbox.claim("d1", 60, at(6))
        worklist.outbox.failed(owed, "d1", status, "no", None, at(6))
        receive(worklist, 2, now=at(30))
        assert (worklist.outbox.predecessor(2, "sr") is not None) is named

    def test_a_report_under_way_when_the_slice_came_is_named(self, worklist: Worklist) -> None:
        receive(worklist)
        result(worklist, 1, NEGATIVE, at(5), "PACS")
        worklist.outbox.claim("d1", 60, at(6))
        receive(worklist, 2, now=at(6))
        assert worklist.outbox.predecessor(2, "sr") is not None

    def test_a_suspicion_still_owed_goes_out_and_is_named(self, worklist: Worklist) -> None:
        receive(worklist)
        result(worklist, 1, SUSPECTED, at(5), "PACS")
        receive(worklist, 2, now=at(6))
        assert worklist.outbox.predecessor(2, "sr") is not None
        assert len(worklist.outbox.claim("d1", 60, at(7))) == 1

    def test_what_an_older_version_sent_without_noting_its_series_is_not_named(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        send(worklist, at(6))
        receive(worklist, 2, now=at(30))
        assert worklist.outbox.predecessor(2, "kind 1") is None

    @pytest.mark.parametrize(("outcome", "owed"), [(NEGATIVE, 0), (SUSPECTED, 1)])
    def test_a_report_that_was_being_made_as_the_slice_came_is_held_back_unless_suspected(
        self, worklist: Worklist, outcome: Outcome, owed: int
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, outcome)
        case = claimed(worklist, now=at(6))
        receive(worklist, 2, now=at(7))
        worklist.cases.finish(case, "w1", sr(1, "PACS"), at(8))
        assert len(worklist.outbox.claim("d1", 60, at(9))) == owed


class TestSentAgain:
    @given(
        st.lists(
            st.tuples(st.integers(1, 3), st.sampled_from(["same", "other bytes"]), st.booleans()),
            max_size=12,
        )
    )
    @hypothesis_settings(max_examples=25, deadline=None)
    def test_a_study_gives_one_result_however_often_and_in_whatever_form_it_comes_again(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        resent: list[tuple[int, str, bool]],
    ) -> None:
        url = f"sqlite:///{tmp_path_factory.mktemp('again') / 'ichnode.sqlite'}"
        new_database(url)
        with Worklist(url) as worklist:
            for number in (1, 2, 3):
                receive(worklist, number)
            worklist.arrivals.release(["1.8.1"], at(1))
            result(worklist, 1, SUSPECTED, at(5), "PACS")
            send(worklist, at(6))
            (before,) = worklist.views.worklist(at(9))
            for second, (number, form, released) in enumerate(resent, start=10):
                content = f"1-{number}" if form == "same" else f"other-{number}"
                arrival = worklist.arrivals.add(
                    header(number), stored(content), caller="CT1", now=at(second)
                )
                assert arrival is (Arrival.DUPLICATE if form == "same" else Arrival.CHANGED)
                if released:
                    worklist.arrivals.release(["1.8.1"], at(second))
            (after,) = worklist.views.worklist(at(9))
            assert replace(after, quarantined=0) == before
            assert worklist.cases.claim(WORK, "w1", 60, at(999)) is None
            assert worklist.outbox.claim("d1", 60, at(999)) == []


class TestPriors:
    def test_a_prior_is_known_while_it_still_arrives(self, worklist: Worklist) -> None:
        receive(worklist)
        case = claimed(worklist, now=at(1))
        waiting = Waiting("", at(10), prior=True)
        worklist.cases.finish(case, "w1", waiting, at(1))
        (row,) = worklist.views.worklist(at(2))
        assert (row.priority, row.prior, row.to_json()["prior"]) == (Priority.PENDING, True, True)

    def test_a_prior_waits_for_the_worker_until_no_current_study_is_due(
        self, worklist: Worklist
    ) -> None:
        receive(worklist, series=1, study=1)
        move(worklist, at(1), replace(ASSEMBLED, prior=True))
        receive(worklist, series=2, study=2, now=at(20))
        assert claimed(worklist, now=at(30)).study_instance_uid == "1.7.2"
        assert claimed(worklist, now=at(30)).study_instance_uid == "1.7.1"

    def test_a_suspicion_in_a_prior_is_sent_without_haste(self, worklist: Worklist) -> None:
        receive(worklist, series=1, study=1)
        move(worklist, at(5), replace(ASSEMBLED, prior=True), SUSPECTED, sr(1, "PACS"))
        receive(worklist, series=2, study=2)
        result(worklist, 2, SUSPECTED, at(6), "PACS")
        batch = worklist.outbox.claim("d1", 60, at(7))
        assert [(d.case_id, d.high_priority) for d in batch] == [(2, True), (1, False)]

    def test_a_prior_suspicion_stands_behind_a_current_undecided_study(
        self, worklist: Worklist
    ) -> None:
        receive(worklist, series=1, study=1)
        move(worklist, at(5), replace(ASSEMBLED, prior=True), SUSPECTED)
        receive(worklist, series=2, study=2, now=at(6))
        shown = [(row.study_instance_uid, row.priority) for row in worklist.views.worklist(at(7))]
        assert shown == [("1.7.2", Priority.PENDING), ("1.7.1", Priority.SUSPECTED)]


class TestManyAtOnce:
    def test_processes_claim_each_case_once(self, worklist: Worklist, url: str) -> None:
        for series in range(40):
            receive(worklist, series=series, study=series)
        taken = in_processes(_claim_all, url)
        assert sorted(taken) == list(range(1, 41))

    def test_processes_that_file_one_study_at_once_lose_nothing(
        self, worklist: Worklist, url: str
    ) -> None:
        arrivals = in_processes(_file_study, url)
        assert sorted(arrivals) == [Arrival.DUPLICATE] * 60 + [Arrival.NEW] * 30
        assert sum(len(series.instances) for series in worklist.arrivals.study("1.7.1")) == 30
        assert len(worklist.cases.of_study("1.7.1")) == 3

    def test_threads_that_file_slices_while_a_worker_assembles_lose_none(
        self, worklist: Worklist
    ) -> None:
        """No slice may hide behind a plan that was made without it."""
        sender = threading.Thread(target=lambda: [receive(worklist, n) for n in range(60)])
        sender.start()
        planned = {}
        while sender.is_alive() or not planned:
            case = worklist.cases.claim([State.RECEIVING], "w1", 60, at(9))
            if case is None:
                continue
            planned[case.id] = len(worklist.arrivals.study("1.7.1")[0].instances)
            try:
                worklist.cases.finish(case, "w1", ASSEMBLED, at(9))
            except LeaseLost:
                del planned[case.id]
        sender.join()
        (newest,) = worklist.cases.of_study("1.7.1")
        assert newest.state is State.RECEIVING or planned[newest.id] == 60


STRANGER = header(2, series=2, patient_id="P9")
ADMIN = Signature("admin", at(20), "ID corrected at CT1")


def set_aside(worklist: Worklist, item: Header = STRANGER, content: str = "2-2") -> int:
    """Receive the study's first slice, then an object that is not filed; return its number."""
    receive(worklist)
    assert worklist.arrivals.add(item, stored(content), caller="CT1", now=at(1)) is not Arrival.NEW
    return worklist.quarantine.listed()[-1].number


class TestQuarantine:
    def test_a_released_object_is_filed_under_its_study_and_its_series_is_due(
        self, worklist: Worklist
    ) -> None:
        number = set_aside(worklist)
        assert worklist.quarantine.release({number: STRANGER}, ADMIN) == {}
        assert [len(series.instances) for series in worklist.arrivals.study("1.7.1")] == [1, 1]
        assert worklist.arrivals.study("1.7.1")[1].released_at == at(20)
        claimed(worklist, State.RECEIVING, now=at(20))
        assert claimed(worklist, State.RECEIVING, now=at(20)).series_instance_uid == "1.8.2"

    def test_only_open_objects_are_listed_and_counted(self, worklist: Worklist) -> None:
        number = set_aside(worklist)
        assert worklist.views.worklist(at(2))[0].quarantined == 1
        worklist.quarantine.release({number: STRANGER}, ADMIN)
        assert worklist.quarantine.listed() == []
        assert worklist.views.worklist(at(20))[0].quarantined == 0
        (entry,) = worklist.quarantine.listed(decided=True)
        assert (entry.decision, entry.decided_by, entry.decided_at, entry.why) == (
            *(Decision.RELEASED, "admin"),
            *(at(20), "ID corrected at CT1"),
        )

    def test_a_decision_is_an_event_with_who_when_and_why_and_no_identity(
        self, worklist: Worklist
    ) -> None:
        number = set_aside(worklist)
        worklist.quarantine.discard(number, ADMIN)
        *_, event = worklist.views.events("1.7.1")
        assert (event.what, event.at) == ("quarantine: discarded", at(20))
        assert event.detail["by"] == "admin"
        assert event.detail["why"] == "ID corrected at CT1"
        assert event.detail["number"] == number
        assert "P9" not in json.dumps(dict(event.detail))

    def test_a_release_supersedes_a_finished_case(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, NEGATIVE)
        late = header(2, patient_birth_date="")
        assert (
            worklist.arrivals.add(late, stored("1-2"), caller="CT1", now=at(9)) is Arrival.CONFLICT
        )
        worklist.quarantine.release({worklist.quarantine.listed()[0].number: late}, ADMIN)
        (case,) = worklist.cases.of_study("1.7.1")
        assert (case.supersedes, case.state) == (1, State.RECEIVING)

    def test_what_is_sent_again_after_its_release_is_a_duplicate(self, worklist: Worklist) -> None:
        number = set_aside(worklist)
        worklist.quarantine.release({number: STRANGER}, ADMIN)
        again = worklist.arrivals.add(STRANGER, stored("2-2"), caller="CT1", now=at(30))
        assert again is Arrival.DUPLICATE

    def test_other_bytes_take_the_place_of_those_filed_which_are_kept(
        self, worklist: Worklist
    ) -> None:
        number = set_aside(worklist, header(), "other")
        assert worklist.quarantine.release({number: header()}, ADMIN) == {}
        assert worklist.arrivals.study("1.7.1")[0].instances[0].stored == stored("other")
        _, replaced = worklist.quarantine.listed(decided=True)
        assert (replaced.decision, replaced.stored) == (Decision.REPLACED, stored("1-1"))
        assert worklist.quarantine.listed() == []

    def test_a_replaced_object_can_be_put_back(self, worklist: Worklist) -> None:
        number = set_aside(worklist, header(), "other")
        worklist.quarantine.release({number: header()}, ADMIN)
        worklist.quarantine.release({number + 1: header()}, ADMIN)
        assert worklist.arrivals.study("1.7.1")[0].instances[0].stored == stored("1-1")
        decisions = [entry.decision for entry in worklist.quarantine.listed(decided=True)]
        assert decisions == [Decision.RELEASED, Decision.RELEASED, Decision.REPLACED]

    def test_a_study_takes_the_identity_that_all_its_images_bear(self, worklist: Worklist) -> None:
        receive(worklist, 1)
        receive(worklist, 2)
        corrected = [header(n, patient_id="NEW", patient_birth_date="1960") for n in (1, 2)]
        for n, item in enumerate(corrected, start=1):
            worklist.arrivals.add(item, stored(f"new-{n}"), caller="CT1", now=at(5))
        first, second = (entry.number for entry in worklist.quarantine.listed())
        worklist.quarantine.release({first: corrected[0]}, ADMIN)
        assert worklist.views.worklist(at(20))[0].patient_id == "P1"
        worklist.quarantine.release({second: corrected[1]}, ADMIN)
        assert worklist.views.worklist(at(20))[0].patient_id == "NEW"
        third = header(3, patient_id="NEW", patient_birth_date="1960")
        assert (
            worklist.arrivals.add(third, stored("new-3"), caller="CT1", now=at(30)) is Arrival.NEW
        )

    @pytest.mark.parametrize(
        ("item", "why"),
        [
            (header(2, study=2), "its SeriesInstanceUID is filed under study 1.7.1"),
            (
                header(series=2, sop_instance_uid="1.9.1.1"),
                "its SOPInstanceUID is filed under series 1.8.1",
            ),
        ],
        ids=["series of another study", "instance of another series"],
    )
    def test_what_has_no_place_stays_and_says_why(
        self, worklist: Worklist, item: Header, why: str
    ) -> None:
        number = set_aside(worklist, item)
        assert why in worklist.quarantine.release({number: item}, ADMIN)[number]
        assert [entry.number for entry in worklist.quarantine.listed()] == [number]
        assert sum(len(series.instances) for series in worklist.arrivals.study("1.7.1")) == 1

    def test_what_could_not_be_read_is_filed_once_it_can_be(self, worklist: Worklist) -> None:
        worklist.arrivals.set_aside(stored("x"), code="MISMATCH", reason="?", caller="CT1", now=T0)
        assert worklist.quarantine.release({1: header()}, ADMIN) == {}
        assert worklist.arrivals.study("1.7.1")[0].instances[0].stored == stored("x")
        assert worklist.quarantine.listed(decided=True)[0].study_instance_uid == "1.7.1"

    def test_what_could_not_be_read_is_not_vouched_for_unseen(self, worklist: Worklist) -> None:
        receive(worklist)
        worklist.arrivals.set_aside(stored("x"), code="MISMATCH", reason="?", caller="CT1", now=T0)
        stays = worklist.quarantine.release({1: STRANGER}, ADMIN)
        assert "not the study's PatientID" in stays[1]
        (entry,) = worklist.quarantine.listed("1.7.1")
        assert (entry.code, entry.decision) == (Reason.MIXED_IDENTITY, None)
        assert worklist.quarantine.release({1: STRANGER}, ADMIN) == {}

    def test_a_discarded_object_sent_again_is_open_again(self, worklist: Worklist) -> None:
        number = set_aside(worklist)
        assert worklist.quarantine.discard(number, ADMIN) is Decision.DISCARDED
        assert worklist.quarantine.listed() == []
        worklist.arrivals.add(STRANGER, stored("2-2"), caller="CT1", now=at(30))
        (entry,) = worklist.quarantine.listed()
        assert (entry.number, entry.at) == (number + 1, at(30))

    def test_a_discard_is_taken_back_by_a_release_and_a_release_by_nothing(
        self, worklist: Worklist
    ) -> None:
        number = set_aside(worklist)
        worklist.quarantine.discard(number, ADMIN)
        assert worklist.quarantine.release({number: STRANGER}, ADMIN) == {}
        with pytest.raises(IllegalMove, match="RELEASED by admin"):
            worklist.quarantine.discard(number, ADMIN)
        with pytest.raises(IllegalMove, match="RELEASED by admin"):
            worklist.quarantine.release({number: STRANGER}, ADMIN)

    def test_bytes_are_deleted_only_if_no_other_row_speaks_of_them(
        self, worklist: Worklist
    ) -> None:
        number = set_aside(worklist)
        worklist.arrivals.set_aside(
            stored("2-2"), code="MISMATCH", reason="?", caller="CT1", now=at(2)
        )
        discard = worklist.quarantine.discard
        assert discard(number, ADMIN, delete=True) is Decision.DISCARDED
        assert discard(number + 1, ADMIN, delete=True) is Decision.DISCARDED
        worklist.arrivals.set_aside(
            stored("1-1"), code="MISMATCH", reason="filed too", caller="", now=at(2)
        )
        assert discard(number + 2, ADMIN, delete=True) is Decision.DISCARDED
        worklist.arrivals.set_aside(
            stored("alone"), code="MISMATCH", reason="?", caller="", now=at(2)
        )
        assert discard(number + 3, ADMIN, delete=True) is Decision.DELETED

    def test_a_number_that_does_not_exist_is_not_found(self, worklist: Worklist) -> None:
        with pytest.raises(NotFound, match="no number 7"):
            worklist.quarantine.discard(7, ADMIN)

    def test_nothing_is_filed_if_one_of_several_cannot_be_decided_about(
        self, worklist: Worklist
    ) -> None:
        number = set_aside(worklist)
        with pytest.raises(NotFound):
            worklist.quarantine.release({number: STRANGER, 99: STRANGER}, ADMIN)
        assert len(worklist.quarantine.listed()) == 1
        assert len(worklist.arrivals.study("1.7.1")) == 1

    def test_the_identities_of_a_case_are_those_its_series_holds_now(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        assert worklist.outbox.identities(1) == {
            Identity("1.7.1", PatientIdentity("P1", "19500102"))
        }
        other = header(2, patient_id="P9")
        worklist.arrivals.add(other, stored("1-2"), caller="CT1", now=at(1))
        worklist.quarantine.release({1: other}, ADMIN)
        assert {identity.patient.patient_id for identity in worklist.outbox.identities(1)} == {
            "P1",
            "P9",
        }

    def test_a_delivery_that_must_not_be_made_is_dead_and_says_why(
        self, worklist: Worklist
    ) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, SUSPECTED, report(1, "pacs"))
        owed, *_ = worklist.outbox.claim("w1", 60, at(6))
        worklist.outbox.never_send(owed, "w1", "its PatientID is another", at(7))
        line, _ = worklist.views.worklist(at(8))[0].deliveries
        assert (line.status, line.attempts) == ("DEAD", 0)
        *_, event = worklist.views.events("1.7.1")
        assert (event.what, event.detail["reason"]) == ("never sent", "its PatientID is another")
        with pytest.raises(LeaseLost):
            worklist.outbox.never_send(owed, "w1", "again", at(9))


IMAGES = {"1.8.1": frozenset({"1.9.1.1", "1.9.1.2"})}
BEGUN = PerformedStep(StepStatus.IN_PROGRESS, "CT", frozenset({"1.7.1", "1.7.2"}), IMAGES)


class TestAnnouncements:
    def test_a_list_adds_to_those_before_and_is_kept_without_images(
        self, worklist: Worklist
    ) -> None:
        told = worklist.announcements
        assert told.listed("1.7.1", IMAGES, IAN, T0) == ()
        told.listed("1.7.1", {"1.8.1": frozenset({"1.9.1.2", "1.9.1.3"})}, IAN, at(1))
        told.counted("1.7.1", "1.8.1", 9, "C-FIND of pacs", at(2))
        told.counted("1.7.1", "1.8.1", 2, "C-FIND of pacs", at(3))
        receive(worklist, now=at(4))
        (series,) = worklist.arrivals.study("1.7.1")
        assert series.announcements == (
            Announcement(2, "C-FIND of pacs", at(3)),
            Announcement(3, IAN, at(1)),
        )
        told.listed("1.7.1", {}, IAN, at(5), gone=frozenset({"1.9.1.2"}))
        (series,) = worklist.arrivals.study("1.7.1")
        assert series.announcements[1] == Announcement(2, IAN, at(5))

    def test_a_step_announces_what_it_listed_last_once_it_ends(self, worklist: Worklist) -> None:
        told = worklist.announcements
        receive(worklist)
        assert told.set_step("1.2.3", None, IMAGES, T0) == (Step.UNKNOWN, ())
        assert told.create_step("1.2.3", BEGUN, T0) is Step.NOTED
        assert told.create_step("1.2.3", BEGUN, T0) is Step.KNOWN
        one = {"1.8.1": frozenset({"1.9.1.1"})}
        assert told.set_step("1.2.3", None, one, at(1)) == (Step.NOTED, ())
        (series,) = worklist.arrivals.study("1.7.1")
        assert (series.in_progress, series.announcements) == (True, ())
        # The second of its studies does not have the series.
        done = (Step.NOTED, ("1.8.1",))
        assert told.set_step("1.2.3", StepStatus.DISCONTINUED, None, at(2)) == done
        assert told.set_step("1.2.3", None, IMAGES, at(3)) == (Step.ENDED, ())
        (series,) = worklist.arrivals.study("1.7.1")
        assert series.in_progress is False
        assert series.announcements == (Announcement(1, MPPS, at(2)),)

    def test_it_makes_undecided_cases_due_and_takes_their_claims_away(
        self, worklist: Worklist
    ) -> None:
        for series in (1, 2):
            receive(worklist, series=series)
        receive(worklist, series=3, study=3)
        waiting, held, other = (claimed(worklist, now=at(1), worker="w") for _ in range(3))
        for case in (waiting, other):
            worklist.cases.finish(case, "w", Waiting("", at(60)), at(1))
        worklist.announcements.listed("1.7.1", IMAGES, IAN, at(2))
        again = {claimed(worklist, now=at(2)).id, claimed(worklist, now=at(2)).id}
        assert again == {waiting.id, held.id}
        with pytest.raises(LeaseLost):
            worklist.cases.finish(held, "w", ASSEMBLED, at(2))
        assert worklist.cases.claim(WORK, "w1", 60.0, at(2)) is None

    def test_it_leaves_a_decided_case_alone(self, worklist: Worklist) -> None:
        receive(worklist)
        move(worklist, at(5), ASSEMBLED, SUSPECTED)
        held = claimed(worklist, now=at(6))
        worklist.announcements.listed("1.7.1", IMAGES, IAN, at(6))
        worklist.cases.finish(held, "w1", report(1), at(7))

    def test_what_is_told_of_a_study_that_never_comes_is_forgotten(
        self, worklist: Worklist, url: str
    ) -> None:
        told = worklist.announcements
        receive(worklist)
        for study in ("1.7.1", "1.7.8"):
            told.listed(study, {"1.8.8": frozenset({"1.9.8"})}, IAN, T0)
        told.create_step("1.2.3", replace(BEGUN, study_instance_uids=frozenset({"1.7.8"})), T0)
        later = T0 + timedelta(days=31)
        told.listed("1.7.9", {"1.8.9": frozenset({"1.9.9"})}, IAN, later)
        opened = Database(url)
        with opened.read() as connection:
            kept = connection.execute(sa.select(metadata.tables["announcement"])).all()
            steps = connection.execute(sa.select(metadata.tables["procedure_step"])).all()
        opened.close()
        assert ({row.study_instance_uid for row in kept}, steps) == ({"1.7.1", "1.7.9"}, [])

    def test_a_list_without_end_is_refused_and_changes_nothing(self, worklist: Worklist) -> None:
        receive(worklist)
        worklist.announcements.listed("1.7.1", IMAGES, IAN, T0)
        many = {"1.8.1": frozenset(f"1.9.{n}" for n in range(20_000))}
        with pytest.raises(Permanent, match="more than 20000 images"):
            worklist.announcements.listed("1.7.1", many, IAN, at(1))
        (series,) = worklist.arrivals.study("1.7.1")
        assert series.announcements == (Announcement(2, IAN, T0),)

    def test_lists_that_come_at_once_all_count(self, worklist: Worklist, url: str) -> None:
        receive(worklist)
        in_processes(_announce, url)
        (series,) = worklist.arrivals.study("1.7.1")
        assert [one.images for one in series.announcements] == [90]


class TestDatabase:
    def test_migrations_give_exactly_the_tables(self, url: str) -> None:
        opened = Database(url)
        with opened.read() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
            migrated = constraints(connection)
        with opened.write() as connection:
            metadata.drop_all(connection)
            metadata.create_all(connection)
        with opened.read() as connection:
            assert constraints(connection) == migrated
        opened.close()

    def test_upgrading_twice_changes_nothing(self, url: str) -> None:
        upgrade(url)
        Worklist(url).close()

    def test_what_was_read_before_the_upgrade_counts_as_certain(self, empty_url: str) -> None:
        upgrade(empty_url, "0001")
        with pytest.raises(BadConfiguration, match="schema 0001, this program needs"):
            Worklist(empty_url)
        stamp = f"'{T0.isoformat()}'"
        execute(
            empty_url,
            f"INSERT INTO study VALUES ('1.7.1', 'P1', '', 'A1', '', {stamp})",
            f"INSERT INTO series VALUES ('1.8.1', '1.7.1', {stamp}, {stamp}, NULL)",
            'INSERT INTO "case" (series_instance_uid, state, priority, attempts, due_at, '
            "probability, subtypes, limitations) "
            f"VALUES ('1.8.1', 'TRIAGED', 'NOT_SUSPECTED', 0, {stamp}, 0.04, '{{}}', '[]')",
        )
        upgrade(empty_url)
        with Worklist(empty_url) as worklist:
            (row,) = worklist.views.worklist(at(9))
        assert (row.probability, row.uncertain, row.uncertainty) == (0.04, False, None)

    def test_what_was_set_aside_before_the_upgrade_is_open(self, empty_url: str) -> None:
        upgrade(empty_url, "0002")
        row = f"'{T0.isoformat()}', 'x', 'y', 9, 'CHANGED', 'other bytes', 'CT1', '1.7.1', '1.9.1'"
        columns = "at, path, sha256, size, code, reason, caller, study_instance_uid, "
        columns += "sop_instance_uid"
        execute(empty_url, f"INSERT INTO quarantine ({columns}) VALUES ({row})")
        upgrade(empty_url)
        with Worklist(empty_url) as worklist:
            (entry,) = worklist.quarantine.listed()
        assert (entry.number, entry.at, entry.code, entry.decision) == (1, T0, "CHANGED", None)

    def test_upgrading_makes_the_database_and_its_folder(self, empty_url: str) -> None:
        upgrade(empty_url)
        with Worklist(empty_url) as worklist:
            assert receive(worklist) is Arrival.NEW

    def test_a_database_without_the_schema_says_what_to_run(self, empty_url: str) -> None:
        with pytest.raises(BadConfiguration, match="ichnode db upgrade"):
            Worklist(empty_url)

    def test_a_case_is_of_one_chain(self, worklist: Worklist, url: str) -> None:
        receive(worklist)
        opened = Database(url)
        case = metadata.tables["case"]
        second = case.insert().values(
            series_instance_uid="1.8.1", state=State.RECEIVING, priority="PENDING", due_at=T0
        )
        with pytest.raises(Permanent), opened.write() as connection:
            connection.execute(second)
        opened.close()

    def test_commits_of_sqlite_are_durable(self, tmp_path: Path) -> None:
        path = tmp_path / "ichnode.sqlite"
        upgrade(f"sqlite:///{path}")
        opened = Database(f"sqlite:///{path}")
        with opened.read() as connection:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
        opened.close()
        assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}

    def test_a_failed_upgrade_leaves_nothing_behind(self, tmp_path: Path) -> None:
        path = tmp_path / "ichnode.sqlite"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE series (x)")
        connection.close()
        with pytest.raises(Retryable):
            upgrade(f"sqlite:///{path}")
        connection = sqlite3.connect(path)
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        connection.close()
        assert tables == [("series",)]

    @pytest.mark.peer
    def test_values_that_the_database_cannot_hold_are_refused_without_naming_them(
        self, postgresql: str
    ) -> None:
        upgrade(postgresql)
        with Worklist(postgresql) as worklist, pytest.raises(Permanent) as refusal:
            worklist.arrivals.add(
                header(series=99, study=99, patient_id="DOE\0"), stored("1"), caller="", now=T0
            )
        assert "DOE" not in str(refusal.value)

    def test_a_server_out_of_reach_may_come_back(self, tmp_path: Path) -> None:
        with pytest.raises(Retryable, match="worklist database"):
            Worklist(f"postgresql+psycopg://nobody@/none?host={tmp_path}")


def constraints(connection: sa.Connection) -> dict[str, object]:
    """What autogenerate does not compare: CHECKs, keys, and which rows an index covers."""
    found = sa.inspect(connection)
    return {
        table: [
            sorted((c["name"], c["sqltext"]) for c in found.get_check_constraints(table)),
            sorted(str(key) for key in found.get_foreign_keys(table)),
            sorted(str(key) for key in found.get_unique_constraints(table)),
            sorted(map(_index, found.get_indexes(table))),
        ]
        for table in metadata.tables
    }


def _index(index: Any) -> tuple[str, ...]:
    condition = [str(option) for option in index.get("dialect_options", {}).values()]
    return index["name"], str(index["unique"]), *index["column_names"], *condition


def in_processes(target: "Callable[..., None]", url: str) -> list[object]:
    """Run `target` in three processes at once; return all that they put."""
    context = multiprocessing.get_context("spawn")
    queue, start = context.Queue(), context.Barrier(3)
    processes = [context.Process(target=target, args=(url, n, start, queue)) for n in range(3)]
    for process in processes:
        process.start()
    results = [item for _ in processes for item in queue.get(timeout=60)]
    for process in processes:
        process.join()
        process.close()
    queue.close()
    queue.join_thread()
    return results


def _claim_all(url, number, start, queue) -> None:  # type: ignore[no-untyped-def]
    with Worklist(url) as worklist:
        start.wait()
        taken = []
        while case := worklist.cases.claim([State.RECEIVING], f"w{number}", 60, at(9)):
            taken.append(case.id)
        queue.put(taken)


def _announce(url, number, start, queue) -> None:  # type: ignore[no-untyped-def]
    with Worklist(url) as worklist:
        start.wait()
        for n in range(30):
            images = {"1.8.1": frozenset({f"1.9.{number}.{n}"})}
            worklist.announcements.listed("1.7.1", images, IAN, at(n))
        queue.put([])


def _file_study(url, number, start, queue) -> None:  # type: ignore[no-untyped-def]
    del number
    with Worklist(url) as worklist:
        start.wait()
        queue.put([receive(worklist, n, series=n % 3) for n in range(30)])
