"""Notes of what peers do: in batches, once for a study and some minutes, and none is lost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.audit import Trail, trail
from node.errors import Retryable
from node.worklist import Actor, Audit, AuditEntry, Deed, Worklist
from tests.support.databases import new_database
from tests.support.peers import wait_until

T0 = datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
VIEWER = Actor("VIEWER", "192.0.2.7")


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[Worklist]:
    url = f"sqlite:///{tmp_path / 'ichnode.sqlite'}"
    new_database(url)
    with Worklist(url) as worklist:
        yield worklist


class Clock:
    now = T0

    def __call__(self) -> datetime:
        return self.now


def rows(worklist: Worklist) -> list[AuditEntry]:
    assert worklist.audit.faults()[0] == []
    return worklist.audit.entries()


def test_a_viewer_that_fetches_400_slices_of_a_study_makes_one_row(worklist: Worklist) -> None:
    clock = Clock()
    with Trail(worklist.audit, clock) as noted:
        for _ in range(400):
            noted.note(VIEWER, Deed.RETRIEVED, study_uid="1.2.3", about="WADO-RS")
        noted.note(VIEWER, Deed.RETRIEVED, study_uid="1.2.4", about="WADO-RS")
        noted.note(VIEWER, Deed.RETRIEVED, study_uid="1.2.3", about="C-MOVE to PACS")
        noted.note(Actor("OTHER", "192.0.2.7"), Deed.RETRIEVED, study_uid="1.2.3", about="WADO-RS")
        clock.now += timedelta(minutes=11)
        noted.note(VIEWER, Deed.RETRIEVED, study_uid="1.2.3", about="WADO-RS")
    assert [(row.who, row.study_instance_uid, row.about) for row in rows(worklist)] == [
        ("VIEWER", "1.2.3", "WADO-RS"),
        ("VIEWER", "1.2.4", "WADO-RS"),
        ("VIEWER", "1.2.3", "C-MOVE to PACS"),
        ("OTHER", "1.2.3", "WADO-RS"),
        ("VIEWER", "1.2.3", "WADO-RS"),
    ]


def test_the_certificate_of_a_caller_is_told(worklist: Worklist) -> None:
    with Trail(worklist.audit, Clock()) as noted:
        shown = Actor("CT1", "192.0.2.7", certificate="CN=CT1,O=Hospital")
        noted.note(shown, Deed.STORED, study_uid="1.2.3", about="C-STORE")
    (row,) = rows(worklist)
    assert (row.who, row.about) == ("CT1", "C-STORE, certificate CN=CT1,O=Hospital")


def test_queries_of_no_study_are_a_row_each(worklist: Worklist) -> None:
    with Trail(worklist.audit, Clock()) as noted:
        for _ in range(3):
            noted.note(VIEWER, Deed.QUERIED, about="C-FIND STUDY by PatientID: 0 found")
    assert len(rows(worklist)) == 3


def test_what_a_caller_puts_in_the_place_of_a_uid_is_left_out(worklist: Worklist) -> None:
    with Trail(worklist.audit, Clock()) as noted:
        noted.note(VIEWER, Deed.QUERIED, study_uid="DOE^JANE", about="C-FIND")
        noted.note(Actor("A\x00\x1b[2J\udcff", "192.0.2.7"), Deed.QUERIED)
    first, second = rows(worklist)
    assert first.study_instance_uid is None
    assert second.who == "A␀␛[2J�"


def test_notes_come_by_themselves_and_a_database_that_is_away_loses_none(
    worklist: Worklist, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trail, "BATCH_S", 0.01)
    tries: list[int] = []
    record_all = Audit.record_all

    def failing(audit: Audit, lines: list[object]) -> None:
        tries.append(len(lines))
        if len(tries) < 4:
            raise Retryable("the worklist database: locked")
        record_all(audit, lines)  # type: ignore[arg-type]

    monkeypatch.setattr(Audit, "record_all", failing)
    with Trail(worklist.audit, Clock()) as noted:
        noted.note(VIEWER, Deed.QUERIED)
        wait_until(lambda: bool(worklist.audit.entries()), 20)
    assert len(rows(worklist)) == 1 and caplog.text.count("the audit trail waits") == 1


def test_what_is_left_at_the_stop_is_tried_again_and_else_is_in_the_log(
    worklist: Worklist, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trail, "BATCH_S", 1000)
    monkeypatch.setattr(trail, "STOP_S", -1.0)

    def away(*_: object) -> None:
        raise Retryable("the worklist database: locked")

    monkeypatch.setattr(Audit, "record_all", away)
    with Trail(worklist.audit, Clock()) as noted:
        noted.note(VIEWER, Deed.RETRIEVED, study_uid="1.2.3")
    (lost,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert "VIEWER" in lost.getMessage() and "1.2.3" in lost.getMessage()


def test_a_note_that_the_database_refuses_takes_no_other_with_it(
    worklist: Worklist, caplog: pytest.LogCaptureFixture
) -> None:
    with Trail(worklist.audit, Clock()) as noted:
        noted.note(VIEWER, Deed.QUERIED, about="1")
        noted.note(VIEWER, "NO DEED", about="2")  # type: ignore[arg-type]
        noted.note(VIEWER, Deed.QUERIED, about="3")
    assert [row.about for row in rows(worklist)] == ["1", "3"]
    assert "not in the audit trail" in caplog.text
