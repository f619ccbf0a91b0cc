"""`ichnode bench receive`: the same series sent to each storage SCP in turn.

What the node receives is fsynced and committed before it is answered. The rounds are interleaved,
since one speed halves within minutes on a shared machine: compare the ratios of a round.
"""

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
from node.cli.bench.peers import memory_mb, orthanc, storescp
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

Rates = dict[tuple[int, str], list[float]]
"""Slices a second in each round, by number of associations and name of the storage SCP."""


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
        every += [
            running.enter_context(start(folder / program))
            for program, start in (("storescp", storescp), ("Orthanc", orthanc))
            if shutil.which(program)
        ]
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
                for peer in peers:
                    rate = _throughput(pool, folder, peer, volume, f"{count} {number}", count)
                    if number >= 0:  # the round before warms up
                        rates.setdefault((count, peer.name), []).append(rate)
    return rates


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
    for peer, was, now in zip(peers, before, after, strict=True):
        cells = [f"{statistics.median(rates[count, peer.name]):.0f}" for count in ASSOCIATIONS]
        for count in ASSOCIATIONS:
            pairs = zip(rates[count, node], rates[count, peer.name], strict=True)
            cells.append(f"{statistics.median(ours / theirs for ours, theirs in pairs):.2f}")
        table.add_row(peer.name, *cells, *("-" if mb is None else f"{mb:.0f}" for mb in (was, now)))
    table.caption = "The node alone syncs what it answers 0000 for."
    console.print(table)
