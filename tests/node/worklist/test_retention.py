"""Purges on each kind of database: decided under a lock, done file by file, taken back."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from node.errors import Retryable
from node.records import Header, StoredObject
from node.worklist import Actor, Arrival, Purge, Worklist
from tests.node.worklist.conftest import execute

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LATER = T0 + timedelta(days=50)
BY = Actor("admin", "terminal")
RULE: dict[str, Any] = {"results": True, "unacknowledged": timedelta(0)}


def file(worklist: Worklist, number: int, study: int = 1, **options: Any) -> Arrival:
    uids = (f"1.9.{study}.{number}", f"1.7.{study}", f"1.8.{study}")
    header = Header("1.2.840.10008.5.1.4.1.1.2", *uids, "1.2.840.10008.1.2.1", ())
    stored = StoredObject(f"received/{study}.{number}", f"{study * 1000 + number:064}", 7)
    now = options.pop("now", T0 + timedelta(hours=study))
    return worklist.arrivals.add(header, stored, caller="CT1", now=now, **options)


@pytest.fixture
def done(worklist: Worklist, url: str) -> Worklist:
    """Three studies of 60 objects that are done with, the first one received first."""
    for study in (2, 1, 3):
        for number in range(60):
            file(worklist, number, study)
    execute(url, "UPDATE \"case\" SET state = 'SKIPPED', reason = 'a test'")
    return worklist


def decide(worklist: Worklist, study: str = "1.7.1") -> Purge:
    found = worklist.retention.decide(study, BY, "a test", LATER, **RULE)
    assert found is not None
    return found


def remove(worklist: Worklist, one: Purge) -> list[str]:
    gone: list[str] = []
    place: int | None = 0
    while place is not None:
        place = worklist.retention.remove(one, gone.append, place)
    return gone


def test_studies_are_listed_from_the_longest_untouched(done: Worklist) -> None:
    old = done.retention.old
    assert old(LATER, LATER, results=False) == ["1.7.1", "1.7.2", "1.7.3"]
    assert old(LATER, LATER, results=False, limit=1, after="1.7.1") == ["1.7.2"]
    assert old(T0 + timedelta(hours=2), LATER, results=False) == ["1.7.1"]
    assert done.retention.all_old(LATER, LATER, results=True) == ["1.7.1", "1.7.2", "1.7.3"]


def test_a_purge_is_decided_done_and_listed_no_more(done: Worklist) -> None:
    one = decide(done)
    assert (one.objects, one.size, one.series) == (60, 420, ("1.8.1",))
    assert done.retention.under_way() == [one]
    assert done.retention.decide("1.7.1", BY, "a test", LATER, **RULE) is None
    assert sorted(remove(done, one)) == sorted(f"received/1.{number}" for number in range(60))
    assert len(done.retention.folders(one)) == 1
    done.retention.done(one, LATER)
    assert not done.retention.under_way()
    assert done.retention.old(LATER, LATER, results=True) == ["1.7.2", "1.7.3"]
    assert not [one for one in done.inspection.files() if one.path.startswith("received/1.")]


def test_an_object_that_comes_again_takes_its_row_back(done: Worklist) -> None:
    one = decide(done)
    with pytest.raises(Retryable, match="send it again"):
        file(done, 5, is_there=lambda: False, now=LATER)
    assert file(done, 5, now=LATER) is Arrival.DUPLICATE
    assert "received/1.5" not in remove(done, one)
    later = LATER + timedelta(days=1)
    assert done.retention.old(later, later, results=False)[-1] == "1.7.1"
    (kept,) = [one for one in done.inspection.files() if one.path.startswith("received/1.")]
    assert (kept.path, kept.size) == ("received/1.5", 7)


@pytest.mark.parametrize(
    "state", ["state = 'RECEIVING'", "claimed_by = 'w', lease_until = due_at", "state = 'FAILED'"]
)
def test_what_must_stay_is_not_listed(state: str, done: Worklist, url: str) -> None:
    execute(url, f"UPDATE \"case\" SET {state} WHERE series_instance_uid = '1.8.2'")
    assert done.retention.all_old(LATER, LATER, results=True) == ["1.7.1", "1.7.3"]
    assert done.retention.decide("1.7.2", BY, "a test", LATER, **RULE) is None
