"""`ichnode bench receive`: the same series sent to each storage SCP in turn.

What the node receives is fsynced and committed before it is answered; "disk alone" is how fast the
disk keeps the same bytes without DICOM and SQL. The rounds are interleaved, since one speed halves
within minutes on a shared machine: compare the ratios of a round.
"""

import os
import shutil
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from models.volume import Volume
from node.cli.bench.disk import disk_rate
from node.cli.bench.peers import installed, memory_mb
from node.cli.bench.sending import send_timed
from node.cli.bench.tables import bench_table, console
from node.cli.local_node import as_peer, configure, serving
from node.errors import BadConfiguration
from node.settings import Destination, load
from node.worklist import upgrade
from training.datasets.series import Identity, write_series
from training.phantoms import demo_pair

ASSOCIATIONS = (1, 4, 16)
"""How many associations at once are measured."""
ROUNDS = 3
"""How often each storage SCP is measured at each number, in turn with the others."""

DISK = "disk alone"

Rates = dict[tuple[int, str], list[float]]
"""Slices a second in each round, by number of associations and name of the storage SCP, or `DISK`
for as many threads."""


def bench_receive(peers: Sequence[str]) -> None:
    """Print how fast the node and other storage SCPs receive, and in what memory.

    DCMTK's storescp and Orthanc are measured where they are installed.

    Parameters
    ----------
    peers
        "HOST:PORT" of further storage SCPs.

    Raises
    ------
    IchnodeError
        If one of them does not answer, or does not store an image.
    """
    others = [_peer(text) for text in peers]
    with console.status("drawing a phantom series"):
        volume = demo_pair()[0].volume
    with TemporaryDirectory(prefix="ichnode-bench-") as temporary, ExitStack() as running:
        folder = Path(temporary)
        every = [running.enter_context(_receiver(folder)), *others]
        every += [running.enter_context(one) for one in installed(folder)]
        before = [memory_mb(each.port) for each in every]
        rates = _measure(folder / "sent", every, volume)
        after = [memory_mb(each.port) for each in every]
    _print(every, rates, before, after)


def _peer(text: str) -> Destination:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise BadConfiguration(f"{text!r} is not HOST:PORT")
    return Destination(name=text, ae_title="ANY-SCP", host=host, port=int(port))


@contextmanager
def _receiver(folder: Path) -> Iterator[Destination]:
    """Run the receiving role alone, on an empty worklist."""
    data = folder / "node"
    data.mkdir()
    config = configure(data, data)
    # An association may be open a little longer than its sender believes.
    more = f"[receive]\nmax_associations = {2 * max(ASSOCIATIONS)}\n"
    config.write_text(config.read_text().replace("[receive]\n", more))
    node = load(config)
    upgrade(node.url)
    with serving(config, data / "node.log", role="receive"):
        yield as_peer(node)


def _measure(folder: Path, peers: Sequence[Destination], volume: Volume) -> Rates:
    rates: Rates = {}
    for count in ASSOCIATIONS:
        # The same processes send in all rounds: they are up before a clock starts.
        with ProcessPoolExecutor(count, get_context("spawn")) as pool:
            for number in range(-1, ROUNDS):
                found = {
                    peer.name: _throughput(pool, folder, peer, volume, f"{count} {number}", count)
                    for peer in peers
                }
                found[DISK] = _of_disk(folder, volume, count)
                for name, rate in found.items() if number >= 0 else ():  # the first warms up
                    rates.setdefault((count, name), []).append(rate)
    return rates


def _of_disk(folder: Path, volume: Volume, count: int) -> float:
    """Return how many of the same slices a second the disk alone keeps, in `count` threads."""
    slices = [path.read_bytes() for path in fresh_series(folder, volume, DISK)]
    os.sync()
    rate = disk_rate(folder / "disk", slices, count)
    shutil.rmtree(folder)
    return rate


def _throughput(
    pool: ProcessPoolExecutor,
    folder: Path,
    peer: Destination,
    volume: Volume,
    name: str,
    count: int,
) -> float:
    """Return slices a second from the first send to the last answer, over `count` associations."""
    series = [fresh_series(folder, volume, f"{peer.name} {name} {n}") for n in range(count)]
    os.sync()  # what others left unsynced is written now, and not while the clock runs
    spans = list(pool.map(partial(send_timed, peer=peer), series))
    shutil.rmtree(folder)
    first, last = min(begin for begin, _ in spans), max(end for _, end in spans)
    return sum(map(len, series)) / (last - first)


def fresh_series(folder: Path, volume: Volume, name: str) -> list[Path]:
    """Write the volume as a CT series under UIDs of its own: it is new to every receiver."""
    return write_series(volume, folder / name.replace(":", "-"), Identity.of(f"{name} {folder}"))


def _print(
    peers: Sequence[Destination],
    rates: Rates,
    before: Sequence[float | None],
    after: Sequence[float | None],
) -> None:
    slices = [f"at {count}" for count in ASSOCIATIONS]
    shares = [f"node / it at {count}" for count in ASSOCIATIONS]
    title = f"receive, slices a second (median of {ROUNDS} rounds) by associations"
    table = bench_table(title, "storage SCP", *slices, *shares, "MB before", "after")
    node = peers[0].name
    names = [*(peer.name for peer in peers), DISK]
    for name, was, now in zip(names, [*before, None], [*after, None], strict=True):
        cells = [f"{statistics.median(rates[count, name]):.0f}" for count in ASSOCIATIONS]
        for count in ASSOCIATIONS:
            pairs = zip(rates[count, node], rates[count, name], strict=True)
            cells.append(f"{statistics.median(ours / theirs for ours, theirs in pairs):.2f}")
        table.add_row(name, *cells, *("-" if mb is None else f"{mb:.0f}" for mb in (was, now)))
    table.caption = (
        "The node syncs all that it answers 0000 for, Orthanc its files alone, storescp nothing."
    )
    console.print(table)
