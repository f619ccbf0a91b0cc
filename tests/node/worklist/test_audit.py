"""The chain of the audit trail, on both databases: what was changed, removed or moved is named."""

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from node.worklist import Actor, Deed, Worklist
from node.worklist.schema.people_tables import audit

T0 = datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
NIGHT = Actor("Dr. Night", "192.0.2.7", "1")


@pytest.fixture
def worklist(url: str) -> Iterator[Worklist]:
    with Worklist(url) as worklist:
        for number in range(1, 6):
            at = T0 + timedelta(microseconds=number)
            worklist.audit.record(NIGHT, Deed.FEEDBACK, at, study_uid=f"1.7.{number}")
        yield worklist


def forge(url: str, *statements: sa.Update | sa.Delete) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(statement)
    engine.dispose()


def number(row: int, to: int) -> sa.Update:
    return audit.update().where(audit.c.id == row).values(id=to)


@pytest.mark.parametrize(
    ("forgery", "named"),
    [
        ([audit.update().where(audit.c.id == 3).values(who="X")], ["row 3 was changed"]),
        ([audit.update().where(audit.c.id == 3).values(at=T0)], ["row 3 was changed"]),
        ([audit.delete().where(audit.c.id == 2)], ["rows 2 to 2 were removed"]),
        ([audit.delete().where(audit.c.id < 3)], ["rows 1 to 2 were removed"]),
        (
            [audit.delete().where(audit.c.id == 2), number(3, 2), number(4, 3), number(5, 4)],
            ["row 2 does not follow", "row 2 was changed", "row 3 was changed", "row 4 was"],
        ),
        (
            [number(3, 9), number(2, 3), number(9, 2)],
            ["row 2 does not", "row 2 was", "row 3 does not", "row 3 was", "row 4 does not"],
        ),
    ],
    ids=[
        "changed",
        "another time",
        "removed",
        "beginning removed",
        "removed and closed",
        "swapped",
    ],
)
def test_a_forgery_is_named(
    worklist: Worklist, url: str, forgery: list[sa.Update | sa.Delete], named: list[str]
) -> None:
    assert worklist.audit.faults()[0] == []
    forge(url, *forgery)
    found, _ = worklist.audit.faults()
    assert len(found) == len(named)
    assert all(fault.startswith(words) for fault, words in zip(found, named, strict=True)), found


def test_rows_removed_at_the_end_are_missed_by_who_kept_the_digest(
    worklist: Worklist, url: str
) -> None:
    _, last = worklist.audit.faults()
    forge(url, audit.delete().where(audit.c.id > 3))
    assert worklist.audit.faults()[0] == []
    (fault,), _ = worklist.audit.faults(last)
    assert "at the end were removed" in fault
    worklist.audit.record(NIGHT, Deed.UNDONE, T0)
    assert worklist.audit.faults()[0] == [], "the trail goes on"


def test_writers_at_once_make_one_chain(worklist: Worklist, url: str) -> None:
    def write(who: str) -> None:
        with Worklist(url) as own:
            for _ in range(10):
                own.audit.record(Actor(who, "192.0.2.7"), Deed.SIGNED_IN, T0)

    writers = [threading.Thread(target=write, args=(f"W{n}",)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert worklist.audit.faults()[0] == []
    assert len(worklist.audit.entries()) == 45


def test_who_sits_at_the_terminal_is_who_they_say_or_who_is_logged_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOGNAME", "anna")
    assert Actor.at_terminal() == Actor("anna", "terminal") == Actor.at_terminal("")
    assert Actor.at_terminal("Ada") == Actor("Ada", "terminal")


def test_a_user_of_a_container_without_a_name_is_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("node.worklist.trail.audit.getuser", unknown)
    assert Actor.at_terminal() == Actor(f"user {os.getuid()}", "terminal")
