"""Rejected associations stand in the audit trail, and no number of them fills it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.arrive.storage_scp import Receiver
from node.audit import Trail
from node.settings import Receive, Settings
from node.worklist import Actor, AuditEntry, Deed, Worklist
from tests.support.associating import REJECTED, ask, echo_request
from tests.support.databases import new_database

T0 = datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
REASON = "calling ae title not recognized"


class Clock:
    now = T0

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    receive = Receive(host="127.0.0.1", port=0, min_free_mb=0, allowed_callers=("CT1",))
    made = Settings(data_dir=tmp_path / "data", receive=receive)
    made.data_dir.mkdir()
    return made


@pytest.fixture
def worklist(settings: Settings) -> Iterator[Worklist]:
    new_database(settings.url)
    with Worklist(settings.url) as worklist:
        yield worklist


def rows(worklist: Worklist) -> list[AuditEntry]:
    assert worklist.audit.faults()[0] == []
    found = worklist.audit.entries()
    assert {row.what for row in found} <= {Deed.REFUSED}
    return found


def test_a_rejected_association_is_a_row_with_title_address_and_reason(
    settings: Settings, worklist: Worklist
) -> None:
    handles = (worklist.arrivals, worklist.announcements)
    with (
        Trail(worklist.audit, Clock()) as trail,
        Receiver(settings, *handles, Clock(), trail=trail) as receiver,
    ):
        for _ in range(3):
            kind, _ = ask(receiver.port, echo_request(calling=b"DOE"))
            assert kind == REJECTED
        ask(receiver.port, echo_request(called=b"OTHER", calling=b"CT1"))
    assert [(row.who, row.address, row.about) for row in rows(worklist)] == [
        ("DOE", "127.0.0.1", f"association rejected: {REASON}"),
        ("CT1", "127.0.0.1", "association rejected: called ae title not recognized"),
        (
            "DOE",
            "127.0.0.1",
            f"association rejected: {REASON}, 2 more times since 2026-11-20 03:15 UTC",
        ),
    ]


def test_a_flood_from_an_address_is_two_rows_an_hour_whatever_titles_it_has(
    worklist: Worklist,
) -> None:
    clock = Clock()
    with Trail(worklist.audit, clock) as trail:
        for hour in range(3):
            clock.now = T0 + timedelta(hours=hour)
            for number in range(500):
                trail.rejected(Actor(f"T{number}", "192.0.2.7"), REASON)
            wait = len(worklist.audit.entries())
            assert wait <= 2 * hour + 1
            clock.now += timedelta(minutes=59, seconds=59)
    told = [row.about or "" for row in rows(worklist)]
    assert len(told) <= 6
    assert sum(int(one.split(", ")[1].split()[0]) if "more" in one else 1 for one in told) == 1500


def test_floods_from_everywhere_share_a_row(worklist: Worklist) -> None:
    with Trail(worklist.audit, Clock()) as trail:
        for number in range(3000):
            address = f"198.51.{number // 250}.{number % 250}"
            trail.rejected(Actor("X", address), REASON)
            trail.rejected(Actor("X", address), REASON)
    found = rows(worklist)
    assert len(found) == 2 * 20 + 2
    shared = [row.about for row in found if row.who == "further callers"]
    assert shared == [
        "association rejected: for several reasons",
        "association rejected: for several reasons, 5959 more times since 2026-11-20 03:15 UTC",
    ]


def test_what_was_counted_is_told_when_the_clock_is_set_back(worklist: Worklist) -> None:
    clock = Clock()
    with Trail(worklist.audit, clock) as trail:
        for _ in range(2):
            trail.rejected(Actor("X", "192.0.2.7"), REASON)
        clock.now = T0 - timedelta(days=1)
    first, second = rows(worklist)
    assert first.about == f"association rejected: {REASON}"
    assert (second.about or "").startswith(f"association rejected: {REASON}, 1 more times")
