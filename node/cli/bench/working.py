"""Cases a minute with one worker and with two, on one worklist; and that none is read twice."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from models.volume import Volume
from node.arrive.intake import Intake
from node.cli.bench.receiving import fresh_series
from node.cli.bench.tables import bench_table, console
from node.cli.local_node import configure
from node.clock import utc_now
from node.errors import Permanent, Retryable
from node.settings import Settings, load
from node.worklist import Row, Worklist, upgrade
from training.phantoms import demo_pair

WORKERS = (1, 2)
STUDIES = 24
"""How many studies wait when the workers start. A choice: some twenty seconds of reading."""
WARM_UP = 4
"""How many of them are read before the clock starts, while workers still load their networks."""
LONGEST_S = 900.0


def bench_work(settings: Settings) -> None:
    """Print how many cases a minute are read by one worker, and by two that share a worklist.

    Parameters
    ----------
    settings
        Their bundle is measured, on their database if that is PostgreSQL: it must be empty.

    Raises
    ------
    Permanent
        If a case was read twice.
    Retryable
        If the cases are not read in time.
    """
    volume = demo_pair()[0].volume
    table = bench_table("cases a minute", "workers", "cases a minute", "read twice")
    for count in WORKERS:
        with TemporaryDirectory(prefix="ichnode-bench-") as temporary:
            config = _configured(Path(temporary), settings)
            rows = _read(config, Path(temporary), volume, count)
        table.add_row(str(count), f"{_rate(rows):.1f}", "none")
    table.caption = f"{settings.url.split(':')[0]}; {len(volume.hu)} slices each, all waiting"
    console.print(table)


def _configured(folder: Path, chosen: Settings) -> Path:
    """Write the settings of a node in a folder of its own, and return their file."""
    config = configure(folder, folder / "data")
    (folder / "data").mkdir()
    lines = [config.read_text(), f'[triage]\nbundle = "{chosen.triage.bundle.absolute()}"\n']
    if chosen.database_url:
        lines.insert(0, f'database_url = "{chosen.database_url}"\n')
    config.write_text("".join(lines))
    return config


def _read(config: Path, folder: Path, volume: Volume, workers: int) -> list[Row]:
    """Have so many workers read new studies; return the studies once all are read."""
    node = load(config)
    upgrade(node.url)
    with Worklist(node.url) as worklist, ExitStack() as running:
        known = {row.study_instance_uid for row in worklist.views.worklist(utc_now())}
        with console.status(f"filing {STUDIES} studies"):
            _file(worklist, node, folder, volume)
        for number in range(workers):
            running.enter_context(_worker(config, folder / f"work-{number}.log"))
        with console.status(f"{workers} working"):
            rows = _all_read(worklist, known)
        _require_once(worklist, rows)
        return rows


def _file(worklist: Worklist, node: Settings, folder: Path, volume: Volume) -> None:
    for number in range(STUDIES):
        intake = Intake(node, worklist.arrivals, utc_now)
        for path in fresh_series(folder, volume, f"work {number}"):
            intake.take(path.name, path.read_bytes())
        worklist.arrivals.release(intake.series, utc_now())


@contextmanager
def _worker(config: Path, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-m", "node.cli", "serve", "--role", "work", "--config", str(config)]
    with log.open("wb") as stream, subprocess.Popen(command, stderr=stream) as process:
        try:
            yield process
        finally:
            process.terminate()


def _all_read(worklist: Worklist, known: set[str]) -> list[Row]:
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        listed = worklist.views.worklist(utc_now())
        rows = [row for row in listed if row.study_instance_uid not in known]
        if sum(row.triaged_at is not None for row in rows) == STUDIES:
            return rows
        time.sleep(0.5)
    raise Retryable(f"not every case was read within {LONGEST_S:.0f} s")


def _require_once(worklist: Worklist, rows: Sequence[Row]) -> None:
    """Raise Permanent if the reading of a case began more than once."""
    for row in rows:
        begun = Counter(
            event.case_id
            for event in worklist.views.events(row.study_instance_uid)
            if event.what == "reading begun"
        )
        if set(begun.values()) != {1}:
            raise Permanent(f"study {row.study_instance_uid} was not read once: {dict(begun)}")


def _rate(rows: Sequence[Row]) -> float:
    """Return cases a minute between the flags of the first cases and that of the last one."""
    flagged = sorted(row.triaged_at for row in rows if row.triaged_at)
    span = (flagged[-1] - flagged[WARM_UP - 1]).total_seconds()
    return 60 * (len(flagged) - WARM_UP) / span
