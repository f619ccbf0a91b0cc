"""Door to flag and to PACS: from the last slice to the flag, and to the first object stored."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from models.volume import Volume
from node.cli.bench.receiving import fresh_series
from node.cli.bench.sending import send_timed
from node.cli.bench.tables import REPEATS, bench_table, console
from node.cli.local_node import as_peer
from node.clock import utc_now
from node.errors import Retryable
from node.settings import Settings
from node.worklist import Row, Worklist

RESULT_S = 300.0
"""How long a result is waited for. It must exceed the first reading, for which the node converts
and loads its networks."""


BURST = 6
"""Studies that are pushed at once. A choice: the last of them waits for five readings."""


def measure_door_to_flag(folder: Path, node: Settings, volume: Volume) -> None:
    """Push a series several times, then several at once, and print door to flag and to PACS.

    Parameters
    ----------
    node
        Settings of a running node that delivers to one PACS.
    """
    single: list[Row] = []
    with Worklist(node.url) as worklist:
        for repeat in range(REPEATS + 1):
            files = fresh_series(folder, volume, f"flag {repeat}")
            send_timed(files, as_peer(node))
            single.append(_stored(worklist, repeat + 1)[-1])
        for files in [fresh_series(folder, volume, f"burst {n}") for n in range(BURST)]:
            send_timed(files, as_peer(node))
        burst = _stored(worklist, len(single) + BURST)[-BURST:]
    table = bench_table("from the last slice, s", "series", "door to flag", "door to PACS")
    name = f"{len(volume.hu)} slices"
    table.add_row(f"{name}, alone (median)", *_medians(single[1:]))
    table.add_row(f"{name}, of a burst of {BURST} (median)", *_medians(burst))
    table.add_row(f"{name}, the last of the burst", *_medians(burst[-1:]))
    console.print(table)


def _medians(rows: Sequence[Row]) -> tuple[str, str]:
    flag = statistics.median(row.door_to_flag_s or 0.0 for row in rows)
    pacs = statistics.median(row.door_to_pacs_s or 0.0 for row in rows)
    return f"{flag:.2f}", f"{pacs:.2f}"


def _stored(worklist: Worklist, studies: int) -> list[Row]:
    """Return the studies by the time of their last slices, once all have a result in the PACS."""
    deadline = time.monotonic() + RESULT_S
    while time.monotonic() < deadline:
        rows = [row for row in worklist.views.worklist(utc_now()) if row.door_to_pacs_s]
        if len(rows) == studies:
            return sorted(rows, key=lambda row: row.received_at)
        time.sleep(0.1)
    raise Retryable(f"no result within {RESULT_S:.0f} s")
