"""Bytes in an object store: what one machine keeps, another finds, whole or not at all."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from node.arrive.quarantine import discard
from node.arrive.spool import Spool, StoredBytes
from node.depot import Depot, depot_of
from node.depot.bucket import Bucket
from node.depot.copies import OLD_S, YOUNG_S, Copies
from node.depot.remote import RemoteDepot
from node.errors import BadConfiguration, Outage
from node.settings import Settings, Storage
from node.worklist import Signature, Worklist
from tests.support.databases import new_database
from tests.support.object_store import ObjectStore

GIB = 1 << 30
FOLDER = "cases/7"


@pytest.fixture
def machine(store: ObjectStore, tmp_path: Path) -> Callable[[str], RemoteDepot]:
    """The storage as each machine has it, by a name."""

    def made(name: str) -> RemoteDepot:
        return RemoteDepot(tmp_path / name, bucket(store), GIB)

    return made


def bucket(store: ObjectStore):
    return Bucket(store.storage())


def lay(depot: Depot, **files: bytes) -> None:
    """Write files into the folder of a case."""
    for name, content in files.items():
        path = depot.root / FOLDER / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def lies(root: Path) -> dict[str, bytes]:
    """What lies in the folder of the case, but for the list of its contents."""
    folder = root / FOLDER
    files = (one for one in folder.rglob("*") if one.is_file() and one.name != "contents.json")
    return {one.relative_to(folder).as_posix(): one.read_bytes() for one in files}


def test_received_bytes_are_found_by_another_machine(machine) -> None:
    here, there = machine("receive"), machine("work")
    stored = Spool(here.root, 0, here).put([b"head ", b"and pixels"], "received")
    assert there.holds(stored.path)
    assert there.size(stored.path) == stored.size
    assert StoredBytes(there).locate(stored.path).read_bytes() == b"head and pixels"
    assert StoredBytes(there).altered(stored.path, stored.sha256) is None


def test_bytes_that_the_store_does_not_take_are_not_put(machine, store: ObjectStore) -> None:
    here = machine("receive")
    spool = Spool(here.root, 0, here)
    store.way.cut()
    with pytest.raises(Outage, match="object store"):
        spool.put([b"head"], "received")
    assert [one for one in here.root.rglob("*") if one.is_file()] == []
    store.way.mend()
    stored = spool.put([b"head"], "received")
    assert store.inside.read(stored.path) == b"head"


def test_what_is_damaged_in_the_store_is_not_brought(
    machine, store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = machine("receive"), machine("work")
    stored = Spool(here.root, 0, here).put([b"head and pixels"], "received")
    store.inside.put(stored.path, b"head and pixelz")
    assert not there.bring(stored.path).exists()
    assert "damaged in the object store" in caplog.text
    with pytest.raises(FileNotFoundError):
        StoredBytes(there).altered(stored.path, stored.sha256)
    store.inside.put(stored.path, b"head and pixels")
    assert there.bring(stored.path).read_bytes() == b"head and pixels"


def test_a_bucket_that_is_not_the_nodes_loses_nothing(machine, store: ObjectStore) -> None:
    here, there = machine("receive"), machine("work")
    stored = Spool(here.root, 0, here).put([b"head"], "received")
    store.inside.delete(store.inside.keys(""))
    with pytest.raises(Outage, match="is it the right one"):
        there.bring(stored.path)


def test_an_object_store_without_credentials_is_refused(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(BadConfiguration, match="AWS_ACCESS_KEY_ID"):
        bucket(store)


def test_bytes_in_quarantine_that_cannot_be_deleted_now_are_named(
    machine, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine("admin")
    new_database(f"sqlite:///{tmp_path}/ichnode.sqlite")
    stored = Spool(here.root, 0, here).put([b"strange"], "quarantine")
    now = datetime.now(UTC) + timedelta(hours=1)
    with Worklist(f"sqlite:///{tmp_path}/ichnode.sqlite") as worklist:
        worklist.arrivals.set_aside(stored, code="X", reason="x", caller="CT1", now=now)
        entries = worklist.quarantine.listed()
        signed = Signature("admin", now)
        decide = worklist.quarantine.discard
        monkeypatch.setattr(
            worklist.quarantine, "discard", lambda *a, **k: [decide(*a, **k), store.way.cut()][0]
        )
        (decided,) = discard(entries, worklist.quarantine, here, signed, delete=True)
    assert "could not be deleted: the object store" in decided.note


def test_what_is_deleted_is_gone_for_all(machine) -> None:
    here, there = machine("receive"), machine("deliver")
    stored = Spool(here.root, 0, here).put([b"head"], "received")
    StoredBytes(there).delete(stored.path)
    assert not here.holds(stored.path)
    assert not machine("web").bring(stored.path).exists()


def test_a_case_goes_on_at_another_machine_as_it_was_kept(machine) -> None:
    here, there = machine("work 1"), machine("work 2")
    lay(here, series_json=b"plan", report__sr_dcm=b"SR")
    here.keep_folder(FOLDER)
    lay(there, findings_json=b"of an attempt that came to nothing", series_json=b"cut off")
    there.take_up(FOLDER)
    assert lies(there.root) == {"series.json": b"plan", "report/sr.dcm": b"SR"}


def test_a_reader_sees_what_was_kept_and_no_stage_at_work(machine) -> None:
    here = machine("work and web")
    lay(here, series_json=b"plan", findings_json=b"first")
    here.keep_folder(FOLDER)
    lay(here, findings_json=b"second")
    assert lies(here.seen(FOLDER)) == {"series.json": b"plan", "findings.json": b"first"}
    here.keep_folder(FOLDER)
    assert lies(here.seen(FOLDER))["findings.json"] == b"second"
    here.leave(FOLDER)
    assert lies(here.root) == {}
    assert lies(here.seen(FOLDER))["findings.json"] == b"second"


def test_a_file_that_another_reader_is_just_bringing_is_left_to_it(machine) -> None:
    here, there = machine("work"), machine("deliver")
    lay(here, findings_json=b"first")
    here.keep_folder(FOLDER)
    lay(here, findings_json=b"second")
    here.keep_folder(FOLDER)
    unfinished = there.seen(FOLDER) / FOLDER / ".another.partial"
    unfinished.write_bytes(b"half")
    lay(here, findings_json=b"third")
    here.keep_folder(FOLDER)
    assert lies(there.seen(FOLDER)) == {"findings.json": b"third", ".another.partial": b"half"}


def test_a_file_that_a_killed_process_left_half_brought_is_not_kept(machine) -> None:
    here, there = machine("work"), machine("web")
    lay(here, findings_json=b"whole", **{"_killed_partial": b"half"})
    here.keep_folder(FOLDER)
    assert lies(there.seen(FOLDER)) == {"findings.json": b"whole"}


def test_threads_that_ask_at_the_same_moment_have_one_depot(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each depot has a lock of its own: two would write over each other's copies."""
    together = threading.Barrier(2)

    def slow(storage: Storage) -> Bucket:
        with suppress(threading.BrokenBarrierError):
            together.wait(1)
        return Bucket(storage)

    monkeypatch.setattr("node.depot.bucket.Bucket", slow)
    database = "postgresql+psycopg://nobody@localhost/unused"
    settings = Settings(
        data_dir=tmp_path / "deliver", database_url=database, storage=store.storage()
    )
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(depot_of, (settings, settings))
    assert one is other


def test_contents_that_the_store_did_not_take_whole_are_not_seen(
    machine, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = machine("work"), machine("web")
    lay(here, findings_json=b"first", mask_npz=b"first")
    here.keep_folder(FOLDER)
    lay(here, findings_json=b"second", mask_npz=b"second")
    kept = RemoteDepot(here.root.parent, store.inside, GIB)
    first_of_two = sha256(b"second").hexdigest()
    put = type(store.inside).put

    def breaks_off(self, key: str, content: bytes | Path) -> None:
        if key.endswith("contents.json"):
            raise Outage("the way is cut")
        put(self, key, content)

    monkeypatch.setattr(type(store.inside), "put", breaks_off)
    with pytest.raises(Outage):
        kept.keep_folder(FOLDER)
    assert store.inside.read(f"{FOLDER}/{first_of_two}") == b"second"
    assert lies(there.seen(FOLDER)) == {"findings.json": b"first", "mask.npz": b"first"}


def test_a_damaged_file_of_a_case_is_left_out(machine, store: ObjectStore) -> None:
    here, there = machine("work"), machine("web")
    lay(here, series_json=b"plan", findings_json=b"found")
    here.keep_folder(FOLDER)
    store.inside.put(f"{FOLDER}/{sha256(b'found').hexdigest()}", b"other")
    assert lies(there.seen(FOLDER)) == {"series.json": b"plan"}
    store.inside.put(f"{FOLDER}/{sha256(b'found').hexdigest()}", b"found")
    assert lies(there.seen(FOLDER)) == {"series.json": b"plan", "findings.json": b"found"}


def test_a_reader_gets_the_newer_contents_where_they_change_while_they_are_brought(
    machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = machine("work"), machine("web")
    lay(here, findings_json=b"first", mask_npz=b"first mask")
    here.keep_folder(FOLDER)
    read, times = Bucket.read, iter([True])

    def replaced_after(self: Bucket, key: str) -> bytes | None:
        found = read(self, key)
        if next(times, False):
            lay(here, findings_json=b"second", mask_npz=b"second mask")
            here.keep_folder(FOLDER)
        return found

    monkeypatch.setattr(Bucket, "read", replaced_after)
    assert lies(there.seen(FOLDER)) == {"findings.json": b"second", "mask.npz": b"second mask"}


def test_contents_that_lead_out_of_the_folder_are_refused(
    machine, store: ObjectStore, tmp_path: Path
) -> None:
    digest = sha256(b"evil").hexdigest()
    store.inside.put(f"{FOLDER}/{digest}", b"evil")
    store.inside.put(f"{FOLDER}/contents.json", f'{{"../../../out": "{digest}"}}'.encode())
    with pytest.raises(Outage, match="did not write"):
        machine("web").seen(FOLDER)
    assert not list(tmp_path.rglob("out"))


def test_a_message_is_found_beside_the_contents(machine) -> None:
    here, there = machine("work"), machine("deliver")
    lay(here, series_json=b"plan", messages__1_json=b"flag")
    here.keep_folder(FOLDER)
    here.keep(f"{FOLDER}/messages/1.json")
    assert there.bring(f"{FOLDER}/messages/1.json").read_bytes() == b"flag"
    there.take_up(FOLDER)
    assert lies(there.root) == {"series.json": b"plan"}


def test_a_case_that_is_deleted_leaves_nothing(machine, store: ObjectStore) -> None:
    here, there = machine("work"), machine("deliver")
    lay(here, series_json=b"plan", messages__1_json=b"flag")
    here.keep_folder(FOLDER)
    here.keep(f"{FOLDER}/messages/1.json")
    assert lies(here.seen(FOLDER))
    there.drop_folder(FOLDER)
    assert store.inside.keys(f"{FOLDER}/") == []
    assert lies(here.seen(FOLDER)) == {}


def test_old_bytes_of_a_case_do_not_pile_up(machine, store: ObjectStore) -> None:
    here = machine("work")
    for content in (b"1", b"2", b"3"):
        lay(here, findings_json=content)
        here.keep_folder(FOLDER)
    assert len(store.inside.keys(f"{FOLDER}/")) == 2


def used_ago(folder: Path, seconds: float, name: str, size: int = 1000) -> Path:
    file = folder / name
    file.write_bytes(bytes(size))
    os.utime(file, (time.time() - seconds,) * 2)
    return file


def test_copies_stay_below_their_bound_and_the_longest_unused_go_first(tmp_path: Path) -> None:
    copies = Copies([tmp_path], bound=2500)
    ages = {name: 10 * YOUNG_S + 1000 * n for n, name in enumerate("abcd")}
    files = {name: used_ago(tmp_path, age, name) for name, age in ages.items()}
    assert copies.used(files["d"])  # so it is used last, and b and c go
    copies.tidy()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "d"]


def test_a_copy_that_was_just_used_stays_and_a_very_old_one_goes(tmp_path: Path) -> None:
    used_ago(tmp_path, YOUNG_S / 2, "young", size=5000)
    used_ago(tmp_path, 2 * OLD_S, "old", size=1)
    Copies([tmp_path], bound=2500).tidy()
    assert [one.name for one in tmp_path.iterdir()] == ["young"]


def test_the_bound_is_kept_while_copies_come(machine, store: ObjectStore, tmp_path: Path) -> None:
    here = RemoteDepot(tmp_path / "small", store.inside, cache_bytes=10_000)
    older = here.root / "received" / "older"
    older.parent.mkdir()
    used_ago(older.parent, 10 * YOUNG_S, "older", size=20_000)
    stored = Spool(machine("receive").root, 0, machine("receive")).put([b"head"], "received")
    here.bring(stored.path)
    for _ in range(500):
        if not older.exists():
            break
        time.sleep(0.01)
    assert not older.exists()
    assert here.bring(stored.path).read_bytes() == b"head"
