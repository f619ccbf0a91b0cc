import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.arrive.spool import LEFTOVER_S, PARTIAL, NoSpace, Spool, StoredBytes
from node.depot import Depot
from node.errors import Retryable


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_stored_bytes_equal_what_was_put_and_their_name_is_their_hash(tmp_path):
    stored = Spool(tmp_path, 0).put([b"head ", b"and pixels"], "received")
    assert (tmp_path / stored.path).read_bytes() == b"head and pixels"
    assert stored.path == f"received/{stored.sha256[:2]}/{stored.sha256}.dcm"
    assert stored.size == 15
    assert stored.sha256 == hashlib.sha256(b"head and pixels").hexdigest()


def test_same_bytes_twice_are_one_file(tmp_path):
    spool = Spool(tmp_path, 0)
    assert spool.put([b"same"], "received") == spool.put([b"sa", b"me"], "received")
    assert len(files(tmp_path)) == 1


def test_quarantine_lies_apart(tmp_path):
    stored = Spool(tmp_path, 0).put([b"strange"], "quarantine")
    assert files(tmp_path / "quarantine") == [tmp_path / stored.path]


def test_full_disk_is_said_to_be_retryable_and_leaves_nothing_behind(tmp_path):
    spool = Spool(tmp_path, min_free_mb=1 << 40)
    with pytest.raises(NoSpace, match="MB free"):
        spool.put([b"no room"], "received")
    assert issubclass(NoSpace, Retryable)
    assert files(tmp_path) == []


def test_failed_write_leaves_nothing_behind(tmp_path):
    def broken():
        yield b"first half"
        raise OSError(28, "No space left on device")

    with pytest.raises(NoSpace, match="No space left"):
        Spool(tmp_path, 0).put(broken(), "received")
    assert files(tmp_path) == []


def test_file_is_synced_then_renamed_then_its_folder_is_synced(tmp_path, monkeypatch):
    spool = Spool(tmp_path, 0)
    steps = []
    sync, rename = os.fsync, Path.rename

    def fsync(descriptor):
        steps.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(
        Path, "rename", lambda old, new: (steps.append(("rename", new)), rename(old, new))
    )
    path = tmp_path / spool.put([b"durable"], "received").path
    assert [step for step, _ in steps] == ["sync", "rename", "sync"]
    assert steps[0][1].parent == tmp_path / PARTIAL
    assert steps[1:] == [("rename", path), ("sync", path.parent)]


def test_folders_are_entered_durably_in_their_parents(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink())
    )
    root = tmp_path / "new" / "data"
    Spool(root, 0)
    assert {tmp_path, tmp_path / "new", root, root / "received", root / "quarantine"} <= set(synced)


def test_partial_file_of_a_process_that_died_is_removed_at_start_and_a_fresh_one_is_not(tmp_path):
    Spool(tmp_path, 0)
    old, fresh = tmp_path / PARTIAL / "old", tmp_path / PARTIAL / "fresh"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (0, old.stat().st_mtime - LEFTOVER_S - 1))
    Spool(tmp_path, 0)
    assert files(tmp_path) == [fresh]


def test_stored_bytes_are_found_and_known_to_be_those_received(tmp_path):
    stored = Spool(tmp_path, 0).put([b"head and pixels"], "received")
    held = StoredBytes(Depot(tmp_path))
    path = held.locate(stored.path)
    assert path.read_bytes() == b"head and pixels"
    assert held.altered(stored.path, stored.sha256) is None
    path.write_bytes(b"head and pixelt")
    changed = hashlib.sha256(b"head and pixelt").hexdigest()
    assert held.altered(stored.path, stored.sha256) == changed


def test_lost_bytes_have_neither_digest_nor_age(tmp_path):
    held = StoredBytes(Depot(tmp_path))
    with pytest.raises(FileNotFoundError):
        held.altered("received/00/gone.dcm", "00")
    assert held.age("received/00/gone.dcm", datetime.now(UTC)) is None


def test_the_age_of_bytes_counts_from_when_they_were_written(tmp_path):
    stored = Spool(tmp_path, 0).put([b"old"], "quarantine")
    os.utime(tmp_path / stored.path, (0, 1_000_000_000))
    now = datetime.fromtimestamp(1_000_000_090, UTC)
    assert StoredBytes(Depot(tmp_path)).age(stored.path, now) == timedelta(seconds=90)


def test_bytes_can_be_deleted_twice(tmp_path):
    stored = Spool(tmp_path, 0).put([b"discarded"], "quarantine")
    for _ in range(2):
        StoredBytes(Depot(tmp_path)).delete(stored.path)
    assert files(tmp_path) == []
