"""Reading one series with each runtime of this machine, beside the plain loop."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models.bundle import load_detector
from models.detector import Detector
from models.preprocess import Array
from models.runtime import RUNTIMES, available_runtimes, device
from models.volume import Volume
from node.cli.bench.shares import measure_shares
from node.cli.bench.tables import REPEATS, bench_table, console
from node.settings import Settings

PLAIN = "torch, one by one"
"""The row to compare with: float32, one slice at a time through each of the five networks."""


def measure_runtimes(settings: Settings, volume: Volume) -> None:
    """Print how fast each runtime reads one series, the plain loop beside, and what takes it."""
    bundle = settings.triage.bundle
    names = available_runtimes()
    with console.status("loading the detectors"):
        detectors = {name: load_detector(bundle, name) for name in names}
    rows = {PLAIN: _one_by_one(detectors["torch"])} | detectors
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for _ in range(1 + REPEATS):
        for name, detector in rows.items():
            with console.status(f"reading: {name}"):
                times[name].append(_read_timed(detector, volume))
    count = len(volume.hu)
    table = bench_table(
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
        "A slice: all networks that read slices. A study: preprocessing and findings as well. "
        "Times as fast: of the slices. "
    ) + _unmeasured(names)
    console.print(table)
    measure_shares(detectors, volume)


def _one_by_one(detector: Detector) -> Detector:
    """Return the detector as a plain loop: slice after slice, network after network."""

    def predict(batch: Array) -> tuple[Array, ...]:
        read = [detector.predict(batch[index : index + 1]) for index in range(len(batch))]
        return tuple(np.concatenate(each) for each in zip(*read, strict=True))

    return replace(detector, predict=predict)


def _read_timed(detector: Detector, volume: Volume) -> tuple[float, float]:
    """Return the seconds of the ensemble and of the whole study."""
    begin = time.monotonic()
    source, seen = detector.preprocess(volume)
    prepared = time.monotonic()
    reading = detector.infer(seen)
    looked = time.monotonic()
    detector.state_findings(volume, source, seen, reading)
    return looked - prepared, time.monotonic() - begin


def _medians(times: Sequence[tuple[float, float]]) -> tuple[float, float]:
    ensemble_s, study_s = zip(*times, strict=True)
    return statistics.median(ensemble_s), statistics.median(study_s)


def _unmeasured(names: Sequence[str]) -> str:
    missing = [name for name in RUNTIMES if name not in names]
    return f"Not on this machine, so not measured: {', '.join(missing)}." if missing else ""
