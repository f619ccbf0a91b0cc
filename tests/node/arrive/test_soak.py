"""Many objects over eight associations at once: what the receiver takes does not grow."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import dcmread

from node.cli.bench.sending import Sender
from node.dicom.read.part10 import dataset_of
from node.settings import load
from tests.support.databases import new_database
from tests.support.peers import ct_series, peer, running, wait_until
from tests.support.running import receiving

ASSOCIATIONS = 8
PER_ASSOCIATION = 25
"""How many objects one association carries: then it is released, and another one is opened."""
SAMPLES = 8


@dataclass(frozen=True)
class Taken:
    """What a process holds."""

    rss_mb: float
    files: int
    threads: int

    @classmethod
    def by(cls, pid: int) -> "Taken":
        status = (Path("/proc") / str(pid) / "status").read_text()
        rss, threads = (int(status.partition(f"{n}:")[2].split()[0]) for n in ("VmRSS", "Threads"))
        return cls(rss / 1024, len(list((Path("/proc") / str(pid) / "fd").iterdir())), threads)


class Images:
    """One small CT image under ever new UIDs of the same length."""

    def __init__(self, folder: Path) -> None:
        (path,) = ct_series(folder, 1)
        ds = dcmread(path)
        self._uids = [ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID]
        self._dataset = dataset_of(path.read_bytes())
        self._numbers = count()

    def series(self, images: int) -> Iterator[tuple[str, bytes]]:
        """Yield UID and data set of the images of a new series in a new study."""
        study, number = self._uid(2), self._uid(1)
        for _ in range(images):
            uid, dataset = self._uid(0), self._dataset
            for old, new in zip(self._uids, (uid, number, study), strict=True):
                dataset = dataset.replace(old.encode(), new.encode())
            yield uid, dataset

    def _uid(self, which: int) -> str:
        old = self._uids[which]
        return f"2.25.{next(self._numbers) + 10 ** (len(old) - 6)}"


def send_series(images: Images, port: int) -> None:
    with Sender(peer("ICHNODE", port), "1.2.840.10008.1.2.1") as sender:
        for uid, dataset in images.series(PER_ASSOCIATION):
            sender.store(sender.encoded(uid, dataset))
        sender.release()


def filed(url: str) -> int:
    """Return how many images a worklist has."""
    engine = sa.create_engine(url)
    with engine.connect() as db:
        found = db.execute(sa.text("SELECT count(*) FROM instance")).scalar_one()
    engine.dispose()
    return int(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "objects",
    [
        2_000,
        pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(7200)]),
    ],
)
def test_memory_files_and_threads_of_the_receiver_stay_flat(tmp_path, capsys, objects):
    config = tmp_path / "ichnode.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n{receiving()}')
    settings = load(config)
    new_database(settings.url)
    images, port = Images(tmp_path / "image"), settings.receive.port
    command = [sys.executable, "-m", "node.cli", "serve", "--role", "receive", "--config", config]
    taken, rates = [], []
    with (
        running(command, port) as process,
        ThreadPoolExecutor(ASSOCIATIONS) as pool,
    ):
        for _ in range(SAMPLES):
            begin, series = time.monotonic(), objects // SAMPLES // PER_ASSOCIATION
            list(pool.map(lambda _: send_series(images, port), range(series)))
            rates.append(objects / SAMPLES / (time.monotonic() - begin))
            taken.append(Taken.by(process.pid))
        fewest = min(each.threads for each in taken)
        # A released association may still wait for its peer to close.
        wait_until(lambda: Taken.by(process.pid).threads <= fewest)
        taken.append(Taken.by(process.pid))
    assert filed(settings.url) == objects
    with capsys.disabled():
        told = ", ".join(f"{rate:.0f}" for rate in rates)
        sys.stdout.write(f"\n{objects} objects, a second: {told}; {taken[1]} then {taken[-1]}\n")
    warm, last = taken[1], taken[-1]
    assert last.rss_mb < warm.rss_mb + 16
    assert last.files <= warm.files + ASSOCIATIONS
    assert last.threads <= fewest
