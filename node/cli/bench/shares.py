"""How much of the processor time of a study each of the detector's networks takes."""

import time
from collections.abc import Mapping
from dataclasses import replace

from models.detector import Detector
from models.preprocess import Array
from models.runtime import Predictor, Runtime
from models.volume import Volume
from node.cli.bench.tables import bench_table, console

NETWORKS = {
    "strip": "skull stripper",
    "predict": "ensemble",
    "predict_slices": "network of slices",
    "predict_study": "model of scans",
}
"""The detector's networks by their attributes."""

REST = "all else"


def measure_shares(detectors: Mapping[Runtime, Detector], volume: Volume) -> None:
    """Print which part of the processor time of one study each network takes, by runtime."""
    found = {}
    for name, detector in detectors.items():
        with console.status(f"reading: {name}"):
            found[name] = shares(detector, volume)
    table = bench_table("share of the processor time of a study", "of", *found)
    for part in [*NETWORKS.values(), REST]:
        given = [found[name].get(part) for name in found]
        if any(given):
            table.add_row(part, *("-" if share is None else f"{share:.0%}" for share in given))
    table.caption = "All threads of this process together; what an accelerator does is not counted."
    console.print(table)


def shares(detector: Detector, volume: Volume) -> dict[str, float]:
    """Return the share of each network that the detector has, and of all else; together 1."""
    spent: dict[str, float] = {}

    def timed(part: str, network: Predictor) -> Predictor:
        spent[part] = 0.0

        def run(batch: Array) -> tuple[Array, ...]:
            begin = time.process_time()
            found = network(batch)
            spent[part] += time.process_time() - begin
            return found

        return run

    parts = {
        field: timed(part, network)
        for field, part in NETWORKS.items()
        if (network := getattr(detector, field)) is not None
    }
    begin = time.process_time()
    replace(detector, **parts).detect(volume)  # type: ignore[arg-type]  # predictors by their names
    whole = time.process_time() - begin
    spent[REST] = whole - sum(spent.values())
    return {part: seconds / whole for part, seconds in spent.items()}
