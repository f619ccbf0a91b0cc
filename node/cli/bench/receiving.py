"""Receive throughput: the same series sent to each peer, over one association and over several."""

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from models.volume import Volume
from node.cli.bench.tables import REPEATS, bench_table, console
from node.dicom.net.store_scu import send_files
from node.errors import Retryable
from node.settings import Destination, Settings
from training.datasets.series import Identity, write_series

ASSOCIATIONS = (1, 4)
"""How many associations at once are measured."""


def measure_receiving(folder: Path, peers: Sequence[Destination], volume: Volume) -> None:
    """Print how fast each peer receives the same series, over each number of associations."""
    table = bench_table("receive, slices a second (median)", "peer", *map(str, ASSOCIATIONS))
    rates: dict[tuple[str, int], list[float]] = {}
    for repeat in range(REPEATS):
        for count in ASSOCIATIONS:
            for peer in peers:
                series = [
                    fresh_series(folder, volume, f"{peer.name} {count} {repeat} {number}")
                    for number in range(count)
                ]
                rate = _throughput(series, peer)
                rates.setdefault((peer.name, count), []).append(rate)
    for peer in peers:
        medians = (statistics.median(rates[peer.name, count]) for count in ASSOCIATIONS)
        table.add_row(peer.name, *(f"{rate:.0f}" for rate in medians))
    console.print(table)


def fresh_series(folder: Path, volume: Volume, name: str) -> list[Path]:
    """Write the volume as a CT series under UIDs of its own: it is new to every receiver."""
    return write_series(volume, folder / name.replace(":", "-"), Identity.of(f"{name} {folder}"))


def _throughput(series: Sequence[Sequence[Path]], peer: Destination) -> float:
    """Return slices a second from the first send to the last answer.

    Each series has a process and an association of its own.
    """
    with ProcessPoolExecutor(len(series), get_context("spawn")) as pool:
        list(pool.map(_ready, range(len(series))))  # the processes are up before the clock starts
        spans = list(pool.map(partial(send_timed, peer=peer), series))
    first, last = min(begin for begin, _ in spans), max(end for _, end in spans)
    return sum(map(len, series)) / (last - first)


def _ready(number: int) -> int:
    """Hold the process that runs this, so that the next call starts another one."""
    time.sleep(0.5)
    return number


def send_timed(files: Sequence[Path], peer: Destination) -> tuple[float, float]:
    """Send the files over one association; return when it began and when it ended, in seconds.

    Raises
    ------
    Retryable
        If the peer does not store one of them.
    """
    begin = time.monotonic()
    for sent in send_files(files, peer, Settings()):
        if not sent.stored:
            raise Retryable(f"{peer.name}: {sent.message} (status {sent.status})")
    return begin, time.monotonic()
