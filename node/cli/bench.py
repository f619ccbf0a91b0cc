"""`ichnode bench`: what this machine does, measured in one run; compare ratios, not seconds.

Received slices are fsynced and committed before they are counted. The sender is ours in every row
and turns Nagle's algorithm off; so does our receiver, and a peer measured beside it should too
(DCMTK: `TCP_NODELAY=1 storescp`).
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless
from rich.console import Console
from rich.table import Table

from models.bundle import load_detector
from models.detector import Detector
from models.preprocess import Array
from models.runtime import RUNTIMES, available_runtimes, device
from models.volume import Volume
from node.cases.decoding import decoding_process
from node.cli.demo import as_peer, configure, serving
from node.clock import utc_now
from node.dicom.net.store_scu import send_files
from node.dicom.read.header import read_header
from node.dicom.read.pixels import Decoder, load_volume
from node.errors import BadConfiguration, Retryable
from node.records import SeriesPlan, SliceRef
from node.settings import Decode, Destination, Settings, load
from node.worklist import Worklist, upgrade
from training.datasets.series import Identity, write_series
from training.phantoms import demo_pair

ASSOCIATIONS = (1, 4)
REPEATS = 3
RESULT_S = 300.0
"""How long a result is waited for; chosen."""

PLAIN = "torch, one by one"
"""The row to compare with: float32, one slice at a time through each of the five networks."""

THIN = (400, 0.5)
"""Slices of the thin series, and their distance in mm."""

console = Console()


def bench(settings: Settings, peers: Sequence[str]) -> None:
    """Print receive throughput, volume building, ms per slice of each runtime, and door-to-flag.

    Parameters
    ----------
    settings
        Their bundle is measured; nothing else of the installation is touched.
    peers
        "HOST:PORT" of storage SCPs to measure beside ours, with the same sender and files.

    Raises
    ------
    IchnodeError
        If a peer does not answer, or a result does not come.
    """
    with console.status("drawing a phantom series"):
        volume = demo_pair()[0].volume
    with TemporaryDirectory(prefix="ichnode-bench-") as temporary:
        folder = Path(temporary)
        with _node(folder, settings) as node:
            _receive(folder, [as_peer(node), *map(_peer, peers)], volume)
        _build(folder, volume, settings.decode)
        _read(settings, volume)
        with _node(folder, settings) as node:
            _door_to_flag(folder, node, volume)


@contextmanager
def _node(folder: Path, settings: Settings) -> Iterator[Settings]:
    """Run a whole node on an empty worklist, with the installation's reader."""
    data = folder / f"node-{time.monotonic_ns()}"
    data.mkdir()
    config = configure(data, data)
    chosen = settings.triage
    with config.open("a") as file:
        file.write(f'[triage]\nbundle = "{chosen.bundle.absolute()}"\n')
        file.write(f'subtypes = "{chosen.subtypes}"\nkey_slice = "{chosen.key_slice}"\n')
    node = load(config)
    upgrade(node.url)
    with serving(config, data / "node.log"):
        yield node


def _peer(text: str) -> Destination:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise BadConfiguration(f"{text!r} is not HOST:PORT")
    return Destination(name=text, ae_title="ANY-SCP", host=host, port=int(port))


def _receive(folder: Path, peers: Sequence[Destination], volume: Volume) -> None:
    """Send the same series over 1 and 4 associations to each peer, in turns."""
    table = _table("receive, slices a second (median)", "peer", *map(str, ASSOCIATIONS))
    rates: dict[tuple[str, int], list[float]] = {}
    for repeat in range(REPEATS):
        for count in ASSOCIATIONS:
            for peer in peers:
                series = [
                    _fresh_series(folder, volume, f"{peer.name} {count} {repeat} {number}")
                    for number in range(count)
                ]
                rate = _throughput(series, peer)
                rates.setdefault((peer.name, count), []).append(rate)
    for peer in peers:
        medians = (statistics.median(rates[peer.name, count]) for count in ASSOCIATIONS)
        table.add_row(peer.name, *(f"{rate:.0f}" for rate in medians))
    console.print(table)


def _fresh_series(folder: Path, volume: Volume, name: str) -> list[Path]:
    """Write the volume under UIDs of its own, so that no receiver knows it already."""
    return write_series(volume, folder / name.replace(":", "-"), Identity.of(f"{name} {folder}"))


def _throughput(series: Sequence[Sequence[Path]], peer: Destination) -> float:
    """Return slices a second, one process and association a series, from first to last answer."""
    with ProcessPoolExecutor(len(series), get_context("spawn")) as pool:
        list(pool.map(_ready, range(len(series))))  # the processes are up before the clock starts
        spans = list(pool.map(partial(_send_timed, peer=peer), series))
    first, last = min(begin for begin, _ in spans), max(end for _, end in spans)
    return sum(map(len, series)) / (last - first)


def _ready(number: int) -> int:
    time.sleep(0.5)
    return number


def _send_timed(files: Sequence[Path], peer: Destination) -> tuple[float, float]:
    begin = time.monotonic()
    for sent in send_files(files, peer, Settings()):
        if not sent.stored:
            raise Retryable(f"{peer.name}: {sent.message} (status {sent.status})")
    return begin, time.monotonic()


def _build(folder: Path, volume: Volume, limits: Decode) -> None:
    """Build volumes from files here, in the process with limits, and by SimpleITK, in turns."""
    with console.status("writing a thin series"):
        series = _series(folder, volume)
    table = _table("building a volume, s (median)", "series", "here", "in its process", "SimpleITK")
    with decoding_process(limits) as decode:
        for name, files in series.items():
            ways = _ways(files, {"here": load_volume, "in its process": decode})
            times: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(1 + REPEATS):
                for way, build in ways.items():
                    begin = time.monotonic()
                    build()
                    times[way].append(time.monotonic() - begin)
            medians = [f"{statistics.median(taken[1:]):.3f}" for taken in times.values()]
            table.add_row(name, *medians, *["-"] * (3 - len(medians)))
    table.caption = (
        "From files in order to Hounsfield units; ours checks each file's SHA-256 and header too. "
    ) + ("" if _has_simpleitk() else "SimpleITK is not on this machine, so not measured.")
    console.print(table)


def _series(folder: Path, volume: Volume) -> dict[str, list[Path]]:
    """Write the volume plain and as JPEG-LS, and a thin series of its slices over and over."""
    plain = _fresh_series(folder, volume, "plain")
    packed = _fresh_series(folder, volume, "packed")
    for path in packed:
        ds = dcmread(path)
        ds.compress(JPEGLSLossless, generate_instance_uid=False)
        ds.save_as(path)
    count, gap_mm = THIN
    thin = Volume(
        volume.hu[np.arange(count) % len(volume.hu)],
        volume.positions_mm[0] + np.arange(count)[:, None] * gap_mm * volume.normal,
        volume.orientation,
        volume.spacing_mm,
        gap_mm,
    )
    shape = " x ".join(map(str, volume.hu.shape))
    return {
        f"{shape}, uncompressed": plain,
        f"{shape}, JPEG-LS": packed,
        f"{' x '.join(map(str, thin.hu.shape))}, uncompressed": _fresh_series(folder, thin, "thin"),
    }


def _ways(
    files: Sequence[Path], decoders: Mapping[str, Decoder]
) -> dict[str, Callable[[], object]]:
    """Return what builds a volume of these files: ours, and SimpleITK if it is installed."""
    refs = [
        SliceRef(
            path=path.name,
            sha256=sha256(path.read_bytes()).hexdigest(),
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            frame_number=1,
            position_mm=header.frames[0].position_mm,
        )
        for path, header in ((path, read_header(path)) for path in files)
    ]
    plan = SeriesPlan("", "", tuple(refs), "")
    ways: dict[str, Callable[[], object]] = {
        name: partial(decode, plan, files[0].parent) for name, decode in decoders.items()
    }
    return ways | ({"SimpleITK": partial(_by_simpleitk, files)} if _has_simpleitk() else {})


def _has_simpleitk() -> bool:
    return find_spec("SimpleITK") is not None


def _by_simpleitk(files: Sequence[Path]) -> object:
    """Build the volume as one does with SimpleITK."""
    sitk: Any = import_module("SimpleITK")  # it has no types
    detector = sitk.ImageSeriesReader()
    detector.SetFileNames([str(path) for path in files])
    return sitk.GetArrayViewFromImage(detector.Execute())


def _read(settings: Settings, volume: Volume) -> None:
    """Read one series with each runtime of this machine, in turns, beside the plain loop."""
    bundle = settings.triage.bundle
    names = available_runtimes()
    with console.status("loading the readers"):
        detectors = {name: load_detector(bundle, name) for name in names}
    rows = {PLAIN: _one_by_one(detectors["torch"])} | detectors
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for _ in range(1 + REPEATS):
        for name, detector in rows.items():
            with console.status(f"reading: {name}"):
                times[name].append(_read_timed(detector, volume))
    count = len(volume.hu)
    table = _table(
        f"reading {count} slices (median)",
        "runtime",
        "on",
        "ms a slice",
        "s a study",
        "times as fast",
    )
    medians = {name: _medians(taken[1:]) for name, taken in times.items()}
    for name, (ensemble_s, study_s) in medians.items():
        table.add_row(
            name,
            device(rows[name].runtime),
            f"{1000 * ensemble_s / count:.1f}",
            f"{study_s:.2f}",
            f"{medians[PLAIN][0] / ensemble_s:.1f}",
        )
    table.caption = (
        "A slice: the ensemble alone. A study: preprocessing, skull stripping, ensemble, findings. "
        "Times as fast: of the ensemble. "
    ) + _unmeasured(names)
    console.print(table)


def _one_by_one(detector: Detector) -> Detector:
    """Return the reader as one would first write it: slice after slice, network after network."""

    def predict(batch: Array) -> tuple[Array, ...]:
        read = [detector.predict(batch[index : index + 1]) for index in range(len(batch))]
        return tuple(np.concatenate(each) for each in zip(*read, strict=True))

    return replace(detector, predict=predict)


def _read_timed(detector: Detector, volume: Volume) -> tuple[float, float]:
    """Return the seconds of the ensemble and of the whole study."""
    begin = time.monotonic()
    source, seen = detector.prepare(volume)
    prepared = time.monotonic()
    reading = detector.look(seen)
    looked = time.monotonic()
    detector.judge(volume, source, seen, reading)
    return looked - prepared, time.monotonic() - begin


def _medians(times: Sequence[tuple[float, float]]) -> tuple[float, float]:
    ensemble_s, study_s = zip(*times, strict=True)
    return statistics.median(ensemble_s), statistics.median(study_s)


def _unmeasured(names: Sequence[str]) -> str:
    missing = [name for name in RUNTIMES if name not in names]
    return f"Not on this machine, so not measured: {', '.join(missing)}." if missing else ""


def _door_to_flag(folder: Path, node: Settings, volume: Volume) -> None:
    """Push a series a few times to a running node and read the worklist's own figures."""
    times = []
    with Worklist(node.url) as worklist:
        for repeat in range(REPEATS + 1):
            files = _fresh_series(folder, volume, f"flag {repeat}")
            _send_timed(files, as_peer(node))
            times.append(_flagged_after_s(worklist, repeat + 1))
    table = _table("door to flag", "series", "s from last slice to flag (median)")
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


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    return table
