"""The worklist's behaviour, on a real SQLite file and on a real PostgreSQL."""

import json
import multiprocessing
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
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

from node.errors import BadConfiguration, Permanent, Retryable
from node.identity import Identity, PatientIdentity
from node.records import (
    Case,
    Frame,
    Header,
    Outcome,
    Predecessor,
    ReportObject,
    StoredObject,
)
from node.states import Priority, Reason, State
from node.worklist.database import Database
from node.worklist.store import (
    Arrival,
    Decision,
    DeliveryStatus,
    IllegalMove,
    LeaseLost,
    NotFound,
    Signature,
    Store,
    upgrade,
)
from node.worklist.tables import metadata
from tests.support.postgresql import cluster

T0 = datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
SUSPECTED = Outcome(
    State.TRIAGED,
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
NEGATIVE = Outcome(State.TRIAGED, Priority.NOT_SUSPECTED, probability=0.04, volume_ml=0.0)
UNCERTAIN = replace(NEGATIVE, uncertainty=0.21, uncertain=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    with cluster() as url:
        yield url


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("worklist") / "ichnode.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the schema and no rows."""
    if database == "sqlite":
        copy = tmp_path / "ichnode.sqlite"
        shutil.copy(request.getfixturevalue("upgraded"), copy)
        return f"sqlite:///{copy}"
    server: str = request.getfixturevalue("postgresql")
    upgrade(server)
    tables = ", ".join(f'"{table}"' for table in metadata.tables)
    execute(server, f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
    return server


@pytest.fixture
def empty_url(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if database == "sqlite":
        return f"sqlite:///{tmp_path}/worklist/ichnode.sqlite"
    server: str = request.getfixturevalue("postgresql")
    execute(server, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return server


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store(url) as opened:
        yield opened


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
    store: Store, number: int = 1, *, series: int = 1, study: int = 1, now: datetime = T0
) -> Arrival:
    item = stored(f"{series}-{number}")
    return store.add(header(number, series=series, study=study), item, caller="CT1", now=now)


def claimed(store: Store, *states: State, now: datetime, worker: str = "w1") -> Case:
    case = store.claim(states or WORK, worker, 60.0, now)
    assert case is not None
    return case


def move(store: Store, now: datetime, *outcomes: Outcome) -> Case:
    """Take the case that is due through `outcomes`, each one recorded at `now`."""
    for outcome in outcomes:
        case = claimed(store, now=now)
        store.finish(case, "w1", outcome, now)
    return store.case(case.id)


def report(case: int, *destinations: str) -> Outcome:
    items = [ReportObject(f"cases/{case}/report/{n}.dcm", f"1.2.{n}", f"2.25.{n}") for n in (1, 2)]
    return Outcome(State.REPORTED, owed=tuple((d, item) for d in destinations for item in items))


ASSEMBLED = Outcome(State.ASSEMBLED)


class TestArrivals:
    def test_first_slice_opens_study_series_and_case(self, store: Store) -> None:
        assert receive(store) is Arrival.NEW
        (series,) = store.study("1.7.1")
        assert series.instances[0].header == header()
        assert series.instances[0].stored == stored("1-1")
        assert (series.first_received_at, series.last_received_at) == (T0, T0)
        (case,) = store.cases("1.7.1")
        assert (case.state, case.priority) == (State.RECEIVING, Priority.PENDING)
        assert case.folder == f"cases/{case.id}"

    def test_instances_come_back_in_order_of_arrival(self, store: Store) -> None:
        for number in (3, 1, 2):
            receive(store, number, now=at(number))
        (series,) = store.study("1.7.1")
        uids = [i.header.sop_instance_uid for i in series.instances]
        assert uids == ["1.9.1.3", "1.9.1.1", "1.9.1.2"]

    def test_times_are_utc_whatever_zone_they_come_in(self, store: Store) -> None:
        receive(store, now=T0.astimezone(timezone(timedelta(hours=-5))))
        (series,) = store.study("1.7.1")
        assert series.last_received_at == T0
        assert series.last_received_at.utcoffset() == timedelta(0)

    def test_same_object_again_changes_nothing(self, store: Store) -> None:
        receive(store)
        before = store.study("1.7.1")
        assert receive(store, now=at(9)) is Arrival.DUPLICATE
        assert store.study("1.7.1") == before
        assert store.events("1.7.1") == []

    def test_same_object_after_its_result_gives_no_second_result(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, NEGATIVE)
        assert receive(store, now=at(9)) is Arrival.DUPLICATE
        assert len(store.cases("1.7.1")) == 1
        assert store.case(1).state is State.TRIAGED

    def test_other_bytes_under_a_known_uid_are_set_aside_and_both_hashes_kept(
        self, store: Store
    ) -> None:
        receive(store)
        changed = store.add(header(), stored("other"), caller="CT1", now=at(1))
        assert changed is Arrival.CHANGED
        (aside,) = store.quarantined()
        assert (aside.code, aside.stored) == ("CHANGED", stored("other"))
        assert stored("1-1").sha256 in aside.reason
        assert store.study("1.7.1")[0].instances[0].stored == stored("1-1")
        assert [event.what for event in store.events("1.7.1")] == ["quarantined"]
        assert store.worklist(T0)[0].quarantined == 1

    @pytest.mark.parametrize(
        "other", [{"patient_id": "P2"}, {"patient_id": ""}, {"patient_birth_date": "19500103"}]
    )
    def test_another_patient_under_a_known_study_is_never_merged(
        self, store: Store, other: dict[str, str]
    ) -> None:
        receive(store)
        stranger = header(2, series=2, **other)
        assert store.add(stranger, stored("2-2"), caller="CT1", now=at(1)) is Arrival.CONFLICT
        (aside,) = store.quarantined()
        assert aside.code == Reason.MIXED_IDENTITY
        assert len(store.study("1.7.1")) == 1

    def test_a_series_that_names_a_second_study_is_never_merged(self, store: Store) -> None:
        receive(store)
        assert receive(store, 2, study=2) is Arrival.CONFLICT
        assert store.study("1.7.2") == ()

    def test_an_object_is_quarantined_once_however_often_it_is_sent(self, store: Store) -> None:
        for second in range(3):
            store.quarantine(
                stored("x"), code="A900", reason="not CT", caller="CT1", now=at(second)
            )
        (aside,) = store.quarantined()
        assert (aside.at, aside.caller, aside.reason) == (T0, "CT1", "not CT")

    def test_no_identity_stands_in_the_record_of_events(self, store: Store) -> None:
        receive(store)
        store.add(header(2, patient_id="P-OTHER"), stored("z"), caller="CT1", now=at(1))
        move(store, at(5), ASSEMBLED, SUSPECTED, report(1, "PACS"))
        store.replay(1, State.ASSEMBLED, at(6))
        text = json.dumps([dict(event.detail) for event in store.events("1.7.1")])
        assert len(store.events("1.7.1")) == 5
        assert not any(word in text for word in ("P1", "P-OTHER", "A1", "19500102"))

    def test_release_is_noted_and_a_later_slice_takes_it_back(self, store: Store) -> None:
        receive(store)
        store.release(["1.8.1"], at(3))
        assert store.study("1.7.1")[0].released_at == at(3)
        receive(store, 2, now=at(4))
        assert store.study("1.7.1")[0].released_at is None
        assert store.study("1.7.1")[0].last_received_at == at(4)

    def test_a_release_makes_the_undecided_cases_of_the_study_due(self, store: Store) -> None:
        receive(store, series=1)
        receive(store, series=2)
        for _ in range(2):
            case = claimed(store, now=at(1))
            store.finish(case, "w1", Outcome(State.RECEIVING, retry_at=at(60)), at(1))
        store.release(["1.8.1"], at(2))
        assert {claimed(store, now=at(2)).id, claimed(store, now=at(2)).id} == {1, 2}

    def test_a_late_slice_reopens_the_series_with_a_case_that_supersedes(
        self, store: Store
    ) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, NEGATIVE)
        receive(store, 2, now=at(30))
        receive(store, 3, now=at(31))
        (case,) = store.cases("1.7.1")
        assert (case.id, case.supersedes, case.state) == (2, 1, State.RECEIVING)
        assert len(store.study("1.7.1")[0].instances) == 3

    def test_a_late_slice_reopens_a_series_that_was_skipped(self, store: Store) -> None:
        receive(store)
        move(store, at(5), Outcome(State.SKIPPED, reason_code="LOCALISER", reason="a localiser"))
        receive(store, 2, now=at(30))
        assert store.cases("1.7.1")[0].supersedes == 1

    def test_a_slice_that_comes_while_its_series_is_assembled_voids_the_plan(
        self, store: Store
    ) -> None:
        receive(store)
        case = claimed(store, now=at(5))
        receive(store, 2, now=at(5))
        with pytest.raises(LeaseLost):
            store.finish(case, "w1", ASSEMBLED, at(5))
        assert store.case(case.id).state is State.RECEIVING
        assert claimed(store, now=at(6)).attempts == 0

    def test_a_new_slice_brings_the_next_look_forward(self, store: Store) -> None:
        receive(store)
        case = claimed(store, now=at(1))
        store.finish(case, "w1", Outcome(State.RECEIVING, retry_at=at(60)), at(1))
        receive(store, 2, now=at(2))
        assert store.claim(WORK, "w1", 60, at(2)) is None
        assert claimed(store, now=at(3)).id == case.id


class TestCases:
    def test_the_case_due_longest_is_claimed_first_and_only_once(self, store: Store) -> None:
        receive(store, series=1, study=1, now=at(1))
        receive(store, series=2, study=2, now=at(0))
        assert claimed(store, now=at(9)).series_instance_uid == "1.8.2"
        assert claimed(store, now=at(9)).series_instance_uid == "1.8.1"
        assert store.claim(WORK, "w2", 60, at(9)) is None

    def test_only_the_wanted_states_are_claimed(self, store: Store) -> None:
        receive(store)
        assert store.claim([State.ASSEMBLED, State.TRIAGED], "w1", 60, at(9)) is None

    def test_a_crashed_workers_case_is_taken_up_when_its_lease_ran_out(self, store: Store) -> None:
        receive(store)
        case = claimed(store, now=at(1), worker="crashed")
        assert store.claim(WORK, "w2", 60, at(60)) is None
        again = claimed(store, now=at(61), worker="w2")
        assert again == replace(case, attempts=1)

    def test_a_worker_that_outlived_its_lease_cannot_record_its_result(self, store: Store) -> None:
        receive(store)
        case = claimed(store, now=at(1), worker="slow")
        claimed(store, now=at(62), worker="w2")
        with pytest.raises(LeaseLost, match=f"case {case.id}"):
            store.finish(case, "slow", ASSEMBLED, at(63))
        assert not store.renew(case.id, "slow", 60, at(63))
        assert store.case(case.id).state is State.RECEIVING

    def test_a_renewed_lease_holds_longer(self, store: Store) -> None:
        receive(store)
        case = claimed(store, now=at(1))
        assert store.renew(case.id, "w1", 60, at(50))
        assert store.claim(WORK, "w2", 60, at(100)) is None
        assert store.claim(WORK, "w2", 60, at(110)) is not None

    def test_not_yet_gives_the_case_back_until_then_and_counts_no_attempt(
        self, store: Store
    ) -> None:
        receive(store)
        case = claimed(store, now=at(1))
        store.finish(case, "w1", Outcome(State.RECEIVING, retry_at=at(10)), at(1))
        assert store.claim(WORK, "w1", 60, at(9.9)) is None
        assert claimed(store, now=at(10)).attempts == 0

    def test_not_yet_of_a_case_that_was_taken_away_is_no_error(self, store: Store) -> None:
        receive(store)
        case = claimed(store, now=at(1), worker="slow")
        claimed(store, now=at(62), worker="w2")
        store.finish(case, "slow", Outcome(State.RECEIVING, retry_at=at(99)), at(63))
        assert store.renew(case.id, "w2", 60, at(64))

    def test_failed_attempts_are_counted_until_the_state_changes(self, store: Store) -> None:
        receive(store)
        for attempt in range(2):
            case = claimed(store, now=at(10 * attempt + 1))
            assert case.attempts == attempt
            again = at(10 * attempt + 11)
            store.retry(case, "w1", "disk full", again, at(10 * attempt + 1))
        move(store, at(21), ASSEMBLED)
        assert claimed(store, now=at(22)).attempts == 0
        assert [e.detail["reason"] for e in store.events("1.7.1")[:2]] == ["disk full"] * 2

    def test_a_move_that_the_states_do_not_have_is_refused(self, store: Store) -> None:
        receive(store)
        case = claimed(store, now=at(1))
        with pytest.raises(IllegalMove, match="RECEIVING cannot become DELIVERED"):
            store.finish(case, "w1", Outcome(State.DELIVERED), at(1))

    def test_each_stage_leaves_its_time_and_the_flag_its_own(self, store: Store) -> None:
        receive(store)
        receive(store, 2, now=at(2))
        move(store, at(5), ASSEMBLED)
        move(store, at(7), SUSPECTED)
        move(store, at(8), report(1, "PACS"))
        (row,) = store.worklist(at(9))
        assert (row.received_at, row.assembled_at, row.triaged_at) == (at(2), at(5), at(7))
        assert (row.flagged_at, row.reported_at, row.delivered_at) == (at(7), at(8), None)
        assert row.door_to_flag_s == 5.0

    def test_a_report_owed_to_nobody_is_delivered_at_once(self, store: Store) -> None:
        receive(store)
        case = move(store, at(5), ASSEMBLED, NEGATIVE, report(1))
        assert case.state is State.DELIVERED
        assert store.worklist(at(9))[0].delivered_at == at(5)

    def test_a_superseded_case_is_not_claimed(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED)
        receive(store, 2, now=at(6))
        assert claimed(store, now=at(9)).id == 2
        assert store.claim(WORK, "w1", 60, at(9)) is None

    def test_a_result_of_a_case_superseded_meanwhile_is_still_recorded(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED)
        case = claimed(store, now=at(5))
        receive(store, 2, now=at(6))
        store.finish(case, "w1", SUSPECTED, at(7))
        assert store.worklist(at(8))[0].priority is Priority.SUSPECTED

    @pytest.mark.parametrize(
        "outcome",
        [
            Outcome(State.TRIAGED, Priority.NOT_SUSPECTED),
            Outcome(State.TRIAGED, Priority.SUSPECTED, probability=1.2),
            Outcome(State.NOT_ANALYSED, Priority.NOT_ANALYSED, reason_code="CONTRAST"),
            Outcome(State.FAILED),
        ],
        ids=["negative without a number", "no probability", "no reason", "failed without reason"],
    )
    def test_the_database_refuses_a_result_that_does_not_say_enough(
        self, store: Store, outcome: Outcome
    ) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED)
        case = claimed(store, now=at(6))
        with pytest.raises(Permanent, match="refuses"):
            store.finish(case, "w1", outcome, at(7))
        assert store.case(case.id).state is State.ASSEMBLED

    def test_counts_leave_superseded_cases_out(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED)
        receive(store, 2, now=at(6))
        receive(store, series=2, now=at(6))
        assert store.counts() == dict.fromkeys(State, 0) | {State.RECEIVING: 2}

    def test_an_unknown_case_or_study_is_said_to_be_unknown(self, store: Store) -> None:
        with pytest.raises(NotFound, match="no case 7"):
            store.case(7)
        with pytest.raises(NotFound, match=r"no study 1\.2"):
            store.acknowledge("1.2", "reader", None, T0)


class TestReplay:
    def test_a_replay_reads_again_and_shows_no_old_negative_meanwhile(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, NEGATIVE, report(1))
        store.replay(1, State.ASSEMBLED, at(9))
        (row,) = store.worklist(at(9))
        assert (row.priority, row.probability, row.flagged_at) == (Priority.PENDING, None, None)
        assert move(store, at(12), SUSPECTED).state is State.TRIAGED
        assert store.worklist(at(12))[0].door_to_flag_s == 12.0

    def test_a_suspicion_stays_shown_while_its_case_is_read_again(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, SUSPECTED)
        store.replay(1, State.RECEIVING, at(9))
        (row,) = store.worklist(at(9))
        assert (row.priority, row.probability) == (Priority.SUSPECTED, 0.93)
        move(store, at(10), ASSEMBLED, NEGATIVE)
        (row,) = store.worklist(at(9))
        assert (row.priority, row.flagged_at) == (Priority.NOT_SUSPECTED, at(5))

    @pytest.mark.parametrize(
        ("result", "meanwhile"),
        [(NEGATIVE, Priority.NOT_ANALYSED), (SUSPECTED, Priority.SUSPECTED)],
    )
    def test_a_failed_report_is_made_anew_from_the_result_that_stands(
        self, store: Store, result: Outcome, meanwhile: Priority
    ) -> None:
        receive(store)
        broken = Outcome(State.FAILED, Priority.NOT_ANALYSED, reason="disk full")
        move(store, at(5), ASSEMBLED, result, broken)
        (row,) = store.worklist(at(6))
        assert (row.priority, row.reason) == (meanwhile, "disk full")
        store.replay(1, State.TRIAGED, at(9))
        (row,) = store.worklist(at(9))
        assert (row.priority, row.reason) == (result.priority, None)
        assert claimed(store, now=at(9)).state is State.TRIAGED

    def test_a_replay_takes_the_claim_away(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED)
        case = claimed(store, now=at(6))
        store.replay(1, State.ASSEMBLED, at(7))
        with pytest.raises(LeaseLost):
            store.finish(case, "w1", SUSPECTED, at(8))

    @pytest.mark.parametrize("to", [State.DELIVERED, State.TRIAGED])
    def test_a_case_that_was_not_read_has_nothing_to_report(self, store: Store, to: State) -> None:
        receive(store)
        with pytest.raises(IllegalMove, match="case 1"):
            store.replay(1, to, at(1))

    def test_a_superseded_case_names_the_one_to_replay(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED)
        receive(store, 2, now=at(6))
        with pytest.raises(IllegalMove, match="replay that one"):
            store.replay(1, State.RECEIVING, at(7))

    def test_what_was_sent_is_not_sent_twice_and_what_was_not_is_owed_again(
        self, store: Store
    ) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, SUSPECTED, report(1, "PACS"))
        first, second = store.claim_deliveries("d1", 60, at(6))
        store.delivered(first, "d1", 0, at(6))
        store.delivery_failed(second, "d1", 0xA700, "out of resources", None, at(6))
        store.replay(1, State.TRIAGED, at(7))
        assert store.claim_deliveries("d1", 60, at(8)) == []
        move(store, at(9), report(1, "PACS"))
        (owed,) = store.claim_deliveries("d1", 60, at(9))
        assert (owed.object, owed.attempts) == (second.object, 0)
        store.delivered(owed, "d1", 0, at(10))
        assert store.case(1).state is State.DELIVERED


class TestOutbox:
    def test_each_object_is_owed_to_each_destination_once(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, SUSPECTED, report(1, "PACS", "RIS"))
        (row,) = store.worklist(at(6))
        owed = [(line.destination, line.sop_class, line.status) for line in row.deliveries]
        assert owed == [
            (destination, sop_class, "OWED")
            for destination in ("PACS", "RIS")
            for sop_class in ("1.2.1", "1.2.2")
        ]

    def test_a_call_claims_for_one_destination_suspected_first(self, store: Store) -> None:
        receive(store, series=1, study=1)
        move(store, at(5), ASSEMBLED, NEGATIVE, report(1, "RIS", "PACS"))
        receive(store, series=2, study=2)
        move(store, at(6), ASSEMBLED, SUSPECTED, report(2, "PACS"))
        batch = store.claim_deliveries("d1", 60, at(7))
        assert [(d.destination, d.case_id, d.high_priority) for d in batch] == [
            ("PACS", 2, True),
            ("PACS", 2, True),
            ("PACS", 1, False),
            ("PACS", 1, False),
        ]
        assert {d.destination for d in store.claim_deliveries("d1", 60, at(7))} == {"RIS"}
        assert store.claim_deliveries("d1", 60, at(7)) == []

    def test_a_limit_leaves_the_rest_for_the_next_call(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        first = store.claim_deliveries("d1", 60, at(6), limit=1)
        second = store.claim_deliveries("d2", 60, at(6), limit=1)
        assert len(first) == len(second) == 1
        assert first[0].id != second[0].id

    def test_the_last_object_makes_the_case_delivered(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        first, second = store.claim_deliveries("d1", 60, at(6))
        store.delivered(first, "d1", 0, at(7))
        assert store.case(1).state is State.REPORTED
        store.delivered(second, "d1", 0xB000, at(8))
        assert store.case(1).state is State.DELIVERED
        (row,) = store.worklist(at(9))
        assert row.delivered_at == at(8)
        assert [(line.status, line.last_status, line.attempts) for line in row.deliveries] == [
            ("SENT", 0, 1),
            ("SENT", 0xB000, 1),
        ]

    def test_a_failure_keeps_the_peers_status_and_is_tried_again_when_due(
        self, store: Store
    ) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        first, second = store.claim_deliveries("d1", 60, at(6))
        store.delivered(first, "d1", 0, at(6))
        store.delivery_failed(second, "d1", 0xA700, "out of resources", at(16), at(6))
        assert store.claim_deliveries("d1", 60, at(15)) == []
        (again,) = store.claim_deliveries("d1", 60, at(16))
        assert again.attempts == 1
        line = store.worklist(at(16))[0].deliveries[1]
        assert (line.status, line.last_status) == ("OWED", 0xA700)

    def test_a_delivery_given_up_waits_for_a_person(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        for owed in store.claim_deliveries("d1", 60, at(6)):
            store.delivery_failed(owed, "d1", None, "no such host", None, at(6))
        assert store.claim_deliveries("d1", 60, at(999)) == []
        assert store.case(1).state is State.REPORTED
        assert store.worklist(at(9))[0].deliveries[0].status == DeliveryStatus.DEAD

    def test_a_crashed_senders_objects_go_to_the_next_one(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        lost = store.claim_deliveries("crashed", 60, at(6))
        again = store.claim_deliveries("d2", 60, at(66))
        assert [d.object for d in again] == [d.object for d in lost]
        assert [d.attempts for d in again] == [1, 1]
        with pytest.raises(LeaseLost):
            store.delivered(lost[0], "crashed", 0, at(67))

    def test_late_slices_hold_back_an_unsent_negative_but_not_a_suspicion(
        self, store: Store
    ) -> None:
        receive(store, series=1, study=1)
        move(store, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        receive(store, series=2, study=2)
        move(store, at(6), ASSEMBLED, SUSPECTED, report(2, "PACS"))
        receive(store, 9, series=1, study=1, now=at(7))
        receive(store, 9, series=2, study=2, now=at(7))
        assert {d.case_id for d in store.claim_deliveries("d1", 60, at(8))} == {2}

    def test_a_transfer_under_way_when_its_case_is_replayed_is_still_recorded(
        self, store: Store
    ) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        first, _ = store.claim_deliveries("d1", 60, at(6))
        store.replay(1, State.TRIAGED, at(6))
        store.delivered(first, "d1", 0, at(7))
        move(store, at(8), report(1, "PACS"))
        (owed,) = store.claim_deliveries("d1", 60, at(70))
        assert owed.object != first.object


class TestWorklist:
    def test_json_is_the_documented_object(self, store: Store) -> None:
        receive(store)
        closed = replace(ASSEMBLED, closed_by="complete: all 2 images came", saved_s=58.0)
        move(store, at(4.5), closed, SUSPECTED, report(1, "PACS"))
        (row,) = store.worklist(at(9))
        line = {"destination": "PACS", "status": "OWED", "attempts": 0, "last_status": None}
        assert json.loads(json.dumps(row.to_json())) == {
            "study_instance_uid": "1.7.1",
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
            "series_instance_uid": "1.8.1",
            "key_slice_sop_instance_uid": "1.9.1.7",
            "bundle": "ich-ensemble@0.1.0",
            "received_at": "2026-11-20T03:15:00+00:00",
            "flagged_at": "2026-11-20T03:15:04.500000+00:00",
            "delivered_at": None,
            "door_to_flag_s": 4.5,
            "closed_by": "complete: all 2 images came",
            "saved_s": 58.0,
            "deliveries": [{**line, "sop_class": "1.2.1"}, {**line, "sop_class": "1.2.2"}],
        }

    def test_an_uncertain_study_stands_above_one_that_came_before_it_and_is_undecided(
        self, store: Store
    ) -> None:
        receive(store, series=1, study=1)
        claimed(store, now=at(1), worker="slow")
        receive(store, series=2, study=2, now=at(5))
        move(store, at(8), ASSEMBLED, UNCERTAIN)
        shown = [row.to_json() for row in store.worklist(at(9))]
        assert [(row["priority"], row["uncertain"], row["uncertainty"]) for row in shown] == [
            ("NOT_SUSPECTED", True, 0.21),
            ("PENDING", False, None),
        ]

    def test_a_study_that_is_read_again_is_uncertain_no_longer(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, UNCERTAIN)
        store.replay(1, State.ASSEMBLED, at(6))
        (row,) = store.worklist(at(7))
        assert (row.priority, row.uncertain, row.uncertainty) == (Priority.PENDING, False, None)
        move(store, at(8), NEGATIVE)
        assert not store.worklist(at(9))[0].uncertain

    def test_a_study_that_was_not_read_says_why(self, store: Store) -> None:
        receive(store)
        move(
            store,
            at(5),
            Outcome(
                State.NOT_ANALYSED,
                reason_code=Reason.MISSING_SLICE,
                reason="slices are missing between 12.5 and 22.5 mm",
            ),
        )
        (row,) = store.worklist(at(9))
        assert (row.priority, row.uncertain) == (Priority.NOT_ANALYSED, False)
        assert row.reason == "slices are missing between 12.5 and 22.5 mm"
        assert row.door_to_flag_s == 5.0
        assert store.case(1).reason_code == Reason.MISSING_SLICE

    def test_late_slices_show_a_suspicion_on_and_a_negative_no_longer(self, store: Store) -> None:
        for series, result in ((1, SUSPECTED), (2, NEGATIVE)):
            receive(store, series=series, study=series)
            move(store, at(5), ASSEMBLED, result)
            receive(store, 2, series=series, study=series, now=at(100))
        assert {r.study_instance_uid: r.priority for r in store.worklist(at(101))} == {
            "1.7.1": Priority.SUSPECTED,
            "1.7.2": Priority.PENDING,
        }

    def test_door_to_flag_is_that_of_the_slices_that_were_read(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, SUSPECTED)
        receive(store, 2, now=at(100))
        assert store.worklist(at(101))[0].door_to_flag_s == 5.0

    def test_an_acknowledged_study_goes_last(self, store: Store) -> None:
        receive(store, series=1, study=1)
        move(store, at(5), ASSEMBLED, SUSPECTED)
        receive(store, series=2, study=2)
        store.acknowledge("1.7.1", "Dr. Night", False, at(60))
        rows = store.worklist(at(61))
        assert [row.study_instance_uid for row in rows] == ["1.7.2", "1.7.1"]
        assert (rows[1].acknowledged_by, rows[1].agrees) == ("Dr. Night", False)

    def test_a_result_newer_than_the_acknowledgement_stands_unacknowledged(
        self, store: Store
    ) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, NEGATIVE)
        store.acknowledge("1.7.1", "Dr. Night", True, at(60))
        receive(store, 2, now=at(100))
        move(store, at(105), ASSEMBLED, SUSPECTED)
        (row,) = store.worklist(at(106))
        assert (row.priority, row.acknowledged_at) == (Priority.SUSPECTED, None)

    def test_since_keeps_old_studies_that_nobody_is_done_with(self, store: Store) -> None:
        receive(store, series=1, study=1)
        move(store, at(5), ASSEMBLED, NEGATIVE, report(1))
        receive(store, series=2, study=2)
        move(store, at(6), Outcome(State.FAILED, reason_code="INTERNAL", reason="crashed"))
        receive(store, series=3, study=3, now=at(500))
        shown = {row.study_instance_uid for row in store.worklist(at(501), since=at(400))}
        assert shown == {"1.7.2", "1.7.3"}
        store.acknowledge("1.7.2", "Dr. Night", None, at(502))
        shown = {row.study_instance_uid for row in store.worklist(at(503), since=at(400))}
        assert shown == {"1.7.3"}


SR = "1.2.840.10008.5.1.4.1.1.88.34"


def sr(case: int, *destinations: str) -> Outcome:
    item = ReportObject(f"cases/{case}/report/sr.dcm", SR, f"2.25.{case}", f"2.25.{case}.1")
    return Outcome(State.REPORTED, owed=tuple((d, item) for d in destinations))


def result(store: Store, case: int, outcome: Outcome, now: datetime, *destinations: str) -> None:
    """Take the case that is due to its report."""
    assert move(store, now, ASSEMBLED, outcome, sr(case, *destinations)).id == case


def send(store: Store, now: datetime) -> None:
    """Deliver all that is owed."""
    for owed in store.claim_deliveries("d1", 60, now):
        store.delivered(owed, "d1", 0, now)


class TestPredecessor:
    def test_a_late_slices_case_names_the_report_that_was_sent_and_counts_what_came_after(
        self, store: Store
    ) -> None:
        receive(store)
        result(store, 1, NEGATIVE, at(5), "PACS", "RIS")
        send(store, at(6))
        for number in (2, 3):
            receive(store, number, now=at(30))
        assert store.predecessor(2, SR) == Predecessor("2.25.1.1", SR, "2.25.1", later_images=2)
        assert store.predecessor(1, SR) is None
        assert store.predecessor(2, "1.2.1") is None

    def test_the_nearest_report_that_was_sent_is_named_whatever_came_between(
        self, store: Store
    ) -> None:
        receive(store)
        result(store, 1, NEGATIVE, at(5), "PACS")
        send(store, at(6))
        receive(store, 2, now=at(30))
        result(store, 2, NEGATIVE, at(35), "PACS")
        receive(store, 3, now=at(36))
        found = store.predecessor(3, SR)
        assert found == Predecessor("2.25.1.1", SR, "2.25.1", later_images=2)
        result(store, 3, NEGATIVE, at(40), "PACS")
        send(store, at(41))
        receive(store, 4, now=at(60))
        assert store.predecessor(4, SR) == Predecessor("2.25.3.1", SR, "2.25.3", later_images=1)

    @pytest.mark.parametrize("destinations", [(), ("PACS",)], ids=["to nobody", "not yet sent"])
    def test_a_report_that_no_peer_has_is_not_named(
        self, store: Store, destinations: tuple[str, ...]
    ) -> None:
        receive(store)
        result(store, 1, NEGATIVE, at(5), *destinations)
        receive(store, 2, now=at(30))
        assert store.predecessor(2, SR) is None

    @pytest.mark.parametrize(("status", "named"), [(0xA900, False), (None, True)])
    def test_a_report_that_a_peer_refused_is_not_named_and_one_without_an_answer_is(
        self, store: Store, status: int | None, named: bool
    ) -> None:
        receive(store)
        result(store, 1, NEGATIVE, at(5), "PACS")
        (owed,) = store.claim_deliveries("d1", 60, at(6))
        store.delivery_failed(owed, "d1", status, "no", None, at(6))
        receive(store, 2, now=at(30))
        assert (store.predecessor(2, SR) is not None) is named

    def test_a_report_under_way_when_the_slice_came_is_named(self, store: Store) -> None:
        receive(store)
        result(store, 1, NEGATIVE, at(5), "PACS")
        store.claim_deliveries("d1", 60, at(6))
        receive(store, 2, now=at(6))
        assert store.predecessor(2, SR) is not None

    def test_a_suspicion_still_owed_goes_out_and_is_named(self, store: Store) -> None:
        receive(store)
        result(store, 1, SUSPECTED, at(5), "PACS")
        receive(store, 2, now=at(6))
        assert store.predecessor(2, SR) is not None
        assert len(store.claim_deliveries("d1", 60, at(7))) == 1

    def test_what_an_older_version_sent_without_noting_its_series_is_not_named(
        self, store: Store
    ) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, NEGATIVE, report(1, "PACS"))
        send(store, at(6))
        receive(store, 2, now=at(30))
        assert store.predecessor(2, "1.2.1") is None

    @pytest.mark.parametrize(("outcome", "owed"), [(NEGATIVE, 0), (SUSPECTED, 1)])
    def test_a_report_that_was_being_made_as_the_slice_came_is_held_back_unless_suspected(
        self, store: Store, outcome: Outcome, owed: int
    ) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, outcome)
        case = claimed(store, now=at(6))
        receive(store, 2, now=at(7))
        store.finish(case, "w1", sr(1, "PACS"), at(8))
        assert len(store.claim_deliveries("d1", 60, at(9))) == owed


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
        upgraded: Path,
        tmp_path_factory: pytest.TempPathFactory,
        resent: list[tuple[int, str, bool]],
    ) -> None:
        copy = tmp_path_factory.mktemp("again") / "ichnode.sqlite"
        shutil.copy(upgraded, copy)
        with Store(f"sqlite:///{copy}") as store:
            for number in (1, 2, 3):
                receive(store, number)
            store.release(["1.8.1"], at(1))
            result(store, 1, SUSPECTED, at(5), "PACS")
            send(store, at(6))
            (before,) = store.worklist(at(9))
            for second, (number, form, released) in enumerate(resent, start=10):
                content = f"1-{number}" if form == "same" else f"other-{number}"
                arrival = store.add(header(number), stored(content), caller="CT1", now=at(second))
                assert arrival is (Arrival.DUPLICATE if form == "same" else Arrival.CHANGED)
                if released:
                    store.release(["1.8.1"], at(second))
            (after,) = store.worklist(at(9))
            assert replace(after, quarantined=0) == before
            assert store.claim(WORK, "w1", 60, at(999)) is None
            assert store.claim_deliveries("d1", 60, at(999)) == []


class TestPriors:
    def test_a_prior_is_known_while_it_still_arrives(self, store: Store) -> None:
        receive(store)
        case = claimed(store, now=at(1))
        waiting = Outcome(State.RECEIVING, prior=True, retry_at=at(10))
        store.finish(case, "w1", waiting, at(1))
        (row,) = store.worklist(at(2))
        assert (row.priority, row.prior, row.to_json()["prior"]) == (Priority.PENDING, True, True)

    def test_a_prior_waits_for_the_worker_until_no_current_study_is_due(self, store: Store) -> None:
        receive(store, series=1, study=1)
        move(store, at(1), replace(ASSEMBLED, prior=True))
        receive(store, series=2, study=2, now=at(20))
        assert claimed(store, now=at(30)).study_instance_uid == "1.7.2"
        assert claimed(store, now=at(30)).study_instance_uid == "1.7.1"

    def test_a_suspicion_in_a_prior_is_sent_without_haste(self, store: Store) -> None:
        receive(store, series=1, study=1)
        move(store, at(5), replace(ASSEMBLED, prior=True), SUSPECTED, sr(1, "PACS"))
        receive(store, series=2, study=2)
        result(store, 2, SUSPECTED, at(6), "PACS")
        batch = store.claim_deliveries("d1", 60, at(7))
        assert [(d.case_id, d.high_priority) for d in batch] == [(2, True), (1, False)]

    def test_a_prior_suspicion_stands_behind_a_current_undecided_study(self, store: Store) -> None:
        receive(store, series=1, study=1)
        move(store, at(5), replace(ASSEMBLED, prior=True), SUSPECTED)
        receive(store, series=2, study=2, now=at(6))
        shown = [(row.study_instance_uid, row.priority) for row in store.worklist(at(7))]
        assert shown == [("1.7.2", Priority.PENDING), ("1.7.1", Priority.SUSPECTED)]


class TestManyAtOnce:
    def test_processes_claim_each_case_once(self, store: Store, url: str) -> None:
        for series in range(40):
            receive(store, series=series, study=series)
        taken = in_processes(_claim_all, url)
        assert sorted(taken) == list(range(1, 41))

    def test_processes_that_file_one_study_at_once_lose_nothing(
        self, store: Store, url: str
    ) -> None:
        arrivals = in_processes(_file_study, url)
        assert sorted(arrivals) == [Arrival.DUPLICATE] * 60 + [Arrival.NEW] * 30
        assert sum(len(series.instances) for series in store.study("1.7.1")) == 30
        assert len(store.cases("1.7.1")) == 3

    def test_threads_that_file_slices_while_a_worker_assembles_lose_none(
        self, store: Store
    ) -> None:
        """No slice may hide behind a plan that was made without it."""
        sender = threading.Thread(target=lambda: [receive(store, n) for n in range(60)])
        sender.start()
        planned = {}
        while sender.is_alive() or not planned:
            case = store.claim([State.RECEIVING], "w1", 60, at(9))
            if case is None:
                continue
            planned[case.id] = len(store.study("1.7.1")[0].instances)
            try:
                store.finish(case, "w1", ASSEMBLED, at(9))
            except LeaseLost:
                del planned[case.id]
        sender.join()
        (newest,) = store.cases("1.7.1")
        assert newest.state is State.RECEIVING or planned[newest.id] == 60


STRANGER = header(2, series=2, patient_id="P9")
ADMIN = Signature("admin", at(20), "ID corrected at CT1")


def set_aside(store: Store, item: Header = STRANGER, content: str = "2-2") -> int:
    """Receive the study's first slice, then an object that is not filed; return its number."""
    receive(store)
    assert store.add(item, stored(content), caller="CT1", now=at(1)) is not Arrival.NEW
    return store.quarantined()[-1].number


class TestQuarantine:
    def test_a_released_object_is_filed_under_its_study_and_its_series_is_due(
        self, store: Store
    ) -> None:
        number = set_aside(store)
        assert store.release_quarantined({number: STRANGER}, ADMIN) == {}
        assert [len(series.instances) for series in store.study("1.7.1")] == [1, 1]
        assert store.study("1.7.1")[1].released_at == at(20)
        claimed(store, State.RECEIVING, now=at(20))
        assert claimed(store, State.RECEIVING, now=at(20)).series_instance_uid == "1.8.2"

    def test_only_open_objects_are_listed_and_counted(self, store: Store) -> None:
        number = set_aside(store)
        assert store.worklist(at(2))[0].quarantined == 1
        store.release_quarantined({number: STRANGER}, ADMIN)
        assert store.quarantined() == []
        assert store.worklist(at(20))[0].quarantined == 0
        (entry,) = store.quarantined(decided=True)
        assert (entry.decision, entry.decided_by, entry.decided_at, entry.why) == (
            *(Decision.RELEASED, "admin"),
            *(at(20), "ID corrected at CT1"),
        )

    def test_a_decision_is_an_event_with_who_when_and_why_and_no_identity(
        self, store: Store
    ) -> None:
        number = set_aside(store)
        store.discard_quarantined(number, ADMIN)
        *_, event = store.events("1.7.1")
        assert (event.what, event.at) == ("quarantine: discarded", at(20))
        assert event.detail["by"] == "admin"
        assert event.detail["why"] == "ID corrected at CT1"
        assert event.detail["number"] == number
        assert "P9" not in json.dumps(dict(event.detail))

    def test_a_release_supersedes_a_finished_case(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, NEGATIVE)
        late = header(2, patient_birth_date="")
        assert store.add(late, stored("1-2"), caller="CT1", now=at(9)) is Arrival.CONFLICT
        store.release_quarantined({store.quarantined()[0].number: late}, ADMIN)
        (case,) = store.cases("1.7.1")
        assert (case.supersedes, case.state) == (1, State.RECEIVING)

    def test_what_is_sent_again_after_its_release_is_a_duplicate(self, store: Store) -> None:
        number = set_aside(store)
        store.release_quarantined({number: STRANGER}, ADMIN)
        again = store.add(STRANGER, stored("2-2"), caller="CT1", now=at(30))
        assert again is Arrival.DUPLICATE

    def test_other_bytes_take_the_place_of_those_filed_which_are_kept(self, store: Store) -> None:
        number = set_aside(store, header(), "other")
        assert store.release_quarantined({number: header()}, ADMIN) == {}
        assert store.study("1.7.1")[0].instances[0].stored == stored("other")
        _, replaced = store.quarantined(decided=True)
        assert (replaced.decision, replaced.stored) == (Decision.REPLACED, stored("1-1"))
        assert store.quarantined() == []

    def test_a_replaced_object_can_be_put_back(self, store: Store) -> None:
        number = set_aside(store, header(), "other")
        store.release_quarantined({number: header()}, ADMIN)
        store.release_quarantined({number + 1: header()}, ADMIN)
        assert store.study("1.7.1")[0].instances[0].stored == stored("1-1")
        decisions = [entry.decision for entry in store.quarantined(decided=True)]
        assert decisions == [Decision.RELEASED, Decision.RELEASED, Decision.REPLACED]

    def test_a_study_takes_the_identity_that_all_its_images_bear(self, store: Store) -> None:
        receive(store, 1)
        receive(store, 2)
        corrected = [header(n, patient_id="NEW", patient_birth_date="1960") for n in (1, 2)]
        for n, item in enumerate(corrected, start=1):
            store.add(item, stored(f"new-{n}"), caller="CT1", now=at(5))
        first, second = (entry.number for entry in store.quarantined())
        store.release_quarantined({first: corrected[0]}, ADMIN)
        assert store.worklist(at(20))[0].patient_id == "P1"
        store.release_quarantined({second: corrected[1]}, ADMIN)
        assert store.worklist(at(20))[0].patient_id == "NEW"
        third = header(3, patient_id="NEW", patient_birth_date="1960")
        assert store.add(third, stored("new-3"), caller="CT1", now=at(30)) is Arrival.NEW

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
        self, store: Store, item: Header, why: str
    ) -> None:
        number = set_aside(store, item)
        assert why in store.release_quarantined({number: item}, ADMIN)[number]
        assert [entry.number for entry in store.quarantined()] == [number]
        assert sum(len(series.instances) for series in store.study("1.7.1")) == 1

    def test_what_could_not_be_read_is_filed_once_it_can_be(self, store: Store) -> None:
        store.quarantine(stored("x"), code="MISMATCH", reason="?", caller="CT1", now=T0)
        assert store.release_quarantined({1: header()}, ADMIN) == {}
        assert store.study("1.7.1")[0].instances[0].stored == stored("x")
        assert store.quarantined(decided=True)[0].study_instance_uid == "1.7.1"

    def test_what_could_not_be_read_is_not_vouched_for_unseen(self, store: Store) -> None:
        receive(store)
        store.quarantine(stored("x"), code="MISMATCH", reason="?", caller="CT1", now=T0)
        stays = store.release_quarantined({1: STRANGER}, ADMIN)
        assert "not the study's PatientID" in stays[1]
        (entry,) = store.quarantined("1.7.1")
        assert (entry.code, entry.decision) == (Reason.MIXED_IDENTITY, None)
        assert store.release_quarantined({1: STRANGER}, ADMIN) == {}

    def test_a_discarded_object_sent_again_is_open_again(self, store: Store) -> None:
        number = set_aside(store)
        assert store.discard_quarantined(number, ADMIN) is Decision.DISCARDED
        assert store.quarantined() == []
        store.add(STRANGER, stored("2-2"), caller="CT1", now=at(30))
        (entry,) = store.quarantined()
        assert (entry.number, entry.at) == (number + 1, at(30))

    def test_a_discard_is_taken_back_by_a_release_and_a_release_by_nothing(
        self, store: Store
    ) -> None:
        number = set_aside(store)
        store.discard_quarantined(number, ADMIN)
        assert store.release_quarantined({number: STRANGER}, ADMIN) == {}
        with pytest.raises(IllegalMove, match="RELEASED by admin"):
            store.discard_quarantined(number, ADMIN)
        with pytest.raises(IllegalMove, match="RELEASED by admin"):
            store.release_quarantined({number: STRANGER}, ADMIN)

    def test_bytes_are_deleted_only_if_no_other_row_speaks_of_them(self, store: Store) -> None:
        number = set_aside(store)
        store.quarantine(stored("2-2"), code="MISMATCH", reason="?", caller="CT1", now=at(2))
        discard = store.discard_quarantined
        assert discard(number, ADMIN, delete=True) is Decision.DISCARDED
        assert discard(number + 1, ADMIN, delete=True) is Decision.DISCARDED
        store.quarantine(stored("1-1"), code="MISMATCH", reason="filed too", caller="", now=at(2))
        assert discard(number + 2, ADMIN, delete=True) is Decision.DISCARDED
        store.quarantine(stored("alone"), code="MISMATCH", reason="?", caller="", now=at(2))
        assert discard(number + 3, ADMIN, delete=True) is Decision.DELETED

    def test_a_number_that_does_not_exist_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound, match="no number 7"):
            store.discard_quarantined(7, ADMIN)

    def test_nothing_is_filed_if_one_of_several_cannot_be_decided_about(self, store: Store) -> None:
        number = set_aside(store)
        with pytest.raises(NotFound):
            store.release_quarantined({number: STRANGER, 99: STRANGER}, ADMIN)
        assert len(store.quarantined()) == 1
        assert len(store.study("1.7.1")) == 1

    def test_the_identities_of_a_case_are_those_its_series_holds_now(self, store: Store) -> None:
        receive(store)
        assert store.identities(1) == {Identity("1.7.1", PatientIdentity("P1", "19500102"))}
        other = header(2, patient_id="P9")
        store.add(other, stored("1-2"), caller="CT1", now=at(1))
        store.release_quarantined({1: other}, ADMIN)
        assert {identity.patient.patient_id for identity in store.identities(1)} == {"P1", "P9"}

    def test_a_delivery_that_must_not_be_made_is_dead_and_says_why(self, store: Store) -> None:
        receive(store)
        move(store, at(5), ASSEMBLED, SUSPECTED, report(1, "pacs"))
        owed, *_ = store.claim_deliveries("w1", 60, at(6))
        store.never_send(owed, "w1", "its PatientID is another", at(7))
        line, _ = store.worklist(at(8))[0].deliveries
        assert (line.status, line.attempts) == ("DEAD", 0)
        *_, event = store.events("1.7.1")
        assert (event.what, event.detail["reason"]) == ("never sent", "its PatientID is another")
        with pytest.raises(LeaseLost):
            store.never_send(owed, "w1", "again", at(9))


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
        Store(url).close()

    def test_what_was_read_before_the_upgrade_counts_as_certain(self, empty_url: str) -> None:
        upgrade(empty_url, "0001")
        with pytest.raises(BadConfiguration, match="schema 0001, this program needs 0004"):
            Store(empty_url)
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
        with Store(empty_url) as store:
            (row,) = store.worklist(at(9))
        assert (row.probability, row.uncertain, row.uncertainty) == (0.04, False, None)

    def test_what_was_set_aside_before_the_upgrade_is_open(self, empty_url: str) -> None:
        upgrade(empty_url, "0002")
        row = f"'{T0.isoformat()}', 'x', 'y', 9, 'CHANGED', 'other bytes', 'CT1', '1.7.1', '1.9.1'"
        columns = "at, path, sha256, size, code, reason, caller, study_instance_uid, "
        columns += "sop_instance_uid"
        execute(empty_url, f"INSERT INTO quarantine ({columns}) VALUES ({row})")
        upgrade(empty_url)
        with Store(empty_url) as store:
            (entry,) = store.quarantined()
        assert (entry.number, entry.at, entry.code, entry.decision) == (1, T0, "CHANGED", None)

    def test_upgrading_makes_the_database_and_its_folder(self, empty_url: str) -> None:
        upgrade(empty_url)
        with Store(empty_url) as store:
            assert receive(store) is Arrival.NEW

    def test_a_database_without_the_schema_says_what_to_run(self, empty_url: str) -> None:
        with pytest.raises(BadConfiguration, match="ichnode db upgrade"):
            Store(empty_url)

    def test_a_case_is_of_one_chain(self, store: Store, url: str) -> None:
        receive(store)
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
        with Store(postgresql) as store, pytest.raises(Permanent) as refusal:
            store.add(
                header(series=99, study=99, patient_id="DOE\0"), stored("1"), caller="", now=T0
            )
        assert "DOE" not in str(refusal.value)

    def test_a_server_out_of_reach_may_come_back(self, tmp_path: Path) -> None:
        with pytest.raises(Retryable, match="worklist database"):
            Store(f"postgresql+psycopg://nobody@/none?host={tmp_path}")


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
    with Store(url) as store:
        start.wait()
        taken = []
        while case := store.claim([State.RECEIVING], f"w{number}", 60, at(9)):
            taken.append(case.id)
        queue.put(taken)


def _file_study(url, number, start, queue) -> None:  # type: ignore[no-untyped-def]
    del number
    with Store(url) as store:
        start.wait()
        queue.put([receive(store, n, series=n % 3) for n in range(30)])
