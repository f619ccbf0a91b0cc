"""Door to flag: from the last slice received to the flag in the worklist of a running node."""

import statistics
import time
from pathlib import Path

from models.volume import Volume
from node.cli.bench.receiving import fresh_series, send_timed
from node.cli.bench.tables import REPEATS, bench_table, console
from node.cli.local_node import as_peer
from node.clock import utc_now
from node.errors import Retryable
from node.settings import Settings
from node.worklist import Worklist

RESULT_S = 300.0
"""How long a result is waited for. It must exceed the first reading, for which the node converts
and loads its networks."""


def measure_door_to_flag(folder: Path, node: Settings, volume: Volume) -> None:
    """Push a series several times to a running node and print the median of its door-to-flag."""
    times = []
    with Worklist(node.url) as worklist:
        for repeat in range(REPEATS + 1):
            files = fresh_series(folder, volume, f"flag {repeat}")
            send_timed(files, as_peer(node))
            times.append(_flagged_after_s(worklist, repeat + 1))
    table = bench_table("door to flag", "series", "s from last slice to flag (median)")
    table.add_row(f"{len(volume.hu)} slices", f"{statistics.median(times[1:]):.2f}")
    console.print(table)


def _flagged_after_s(worklist: Worklist, studies: int) -> float:
    """Return the newest study's door-to-flag once all of them are flagged."""
    deadline = time.monotonic() + RESULT_S
    while time.monotonic() < deadline:
        rows = [row for row in worklist.views.worklist(utc_now()) if row.flagged_at]
        if len(rows) == studies:
            return max(rows, key=lambda row: row.received_at).door_to_flag_s or 0.0
        time.sleep(0.1)
    raise Retryable(f"no result within {RESULT_S:.0f} s")
