"""How far each runtime strays from float32: make precision.

Every runtime of this machine reads the same phantoms as the node would, and its output is
compared with that of torch in float32 on the CPU. The phantoms are of the test range, on which no
network was trained.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from models.bundle import load_detector
from models.detector import Detector
from models.findings import Unreadable
from models.runtime import Runtime, available_runtimes
from models.volume import Volume
from training import phantoms
from training.metrics.tables import Cell, Table

LIMIT = 0.01
"""A case's probability may differ from float32 by so much (ours)."""

CASES = 200
SHIPPED = Path("models/bundles/ich-ensemble")
STORE = Path("runs/precision")
REFERENCE: Runtime = "torch"

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far one runtime is from the reference.

    Attributes
    ----------
    largest
        Largest difference of a case's probability; 0 where both read no case.
    beyond
        Cases that differ by more than `LIMIT`.
    flips
        Cases that only one of the two suspects, or only one of the two can read.
    unread
        Cases in which the runtime finds no head.
    """

    largest: float
    beyond: int
    flips: int
    unread: int

    @property
    def tolerable(self) -> bool:
        """Whether no case is beyond the limit and no flag flips."""
        return not self.beyond and not self.flips


def deviation(reference: Floats, found: Floats, operating_point: float) -> Deviation:
    """Compare two runtimes on the same cases.

    Parameters
    ----------
    reference, found
        (n,) triage probabilities, 0..1; NaN where the case could not be read.
    operating_point
        Probability from which a case is suspected.
    """
    apart = np.abs(found - reference)
    flipped = (found >= operating_point) != (reference >= operating_point)
    lost = np.isnan(found) != np.isnan(reference)
    return Deviation(
        largest=float(np.nanmax(apart)) if np.isfinite(apart).any() else 0.0,
        beyond=int((apart > LIMIT).sum()),
        flips=int((flipped | lost).sum()),
        unread=int(np.isnan(found).sum()),
    )


def compare(
    bundle: Path, folder: Path, seeds: Sequence[int], store: Path, matrix: int | None = None
) -> dict[Runtime, Deviation]:
    """Read the phantoms with each runtime; write precision.md, precision.json and every score.

    Parameters
    ----------
    bundle
        The bundle whose networks are compared.
    folder
        Gets the table, and precision-cases.json with each case's probability by runtime.
    seeds
        Seeds of the phantoms.
    store
        Keeps the phantoms and OpenVINO's networks for the next run.
    matrix
        Rows and columns of the phantoms' slices, where they should not be drawn.
    """
    names = available_runtimes()
    detectors = [load_detector(bundle, name, store / "networks") for name in names]
    volumes = track(drawn_ahead(seeds, store, matrix), "reading", len(seeds))
    scores = np.array([[_score(detector, volume) for detector in detectors] for volume in volumes])
    found = dict(zip(names, scores.T, strict=True))
    point = detectors[0].operating_point
    deviations = {
        name: deviation(found[REFERENCE], found[name], point) for name in names if name != REFERENCE
    }
    _table(detectors[0].name, found[REFERENCE], point, deviations).write(folder)
    cases = {
        seed: {name: None if np.isnan(p) else float(p) for name, p in zip(names, row, strict=True)}
        for seed, row in zip(seeds, scores, strict=True)
    }
    (folder / "precision-cases.json").write_text(json.dumps(cases, indent=1) + "\n")
    return deviations


def _score(detector: Detector, volume: Volume) -> float:
    """Triage probability, NaN where the detector finds no head."""
    try:
        return detector.detect(volume).probability
    except Unreadable:
        return float("nan")


def _table(
    bundle: str, reference: Floats, point: float, deviations: dict[Runtime, Deviation]
) -> Table:
    near = int((np.abs(reference - point) <= LIMIT).sum())
    return Table(
        name="precision",
        title=f"{bundle}: each runtime against float32 (torch on the CPU)",
        data=f"phantom, {len(reference)} cases of the test range",
        columns=("runtime", "largest difference", f"beyond {LIMIT}", "flags flipped", "unread"),
        rows={
            name: tuple(map(Cell, (found.largest, found.beyond, found.flips, found.unread)))
            for name, found in deviations.items()
        },
        notes=(
            "Differences are of a case's triage probability, read from the series on as the node "
            "does. A case that only one of the two can read counts as a flipped flag.",
            f"{near} cases lie within {LIMIT} of the operating point, {point:.3f}; float32 leaves "
            f"{int(np.isnan(reference).sum())} unread.",
            "A runtime that is not listed was not on this machine: nothing was measured of it.",
        ),
        digits=4,
    )


def drawn_ahead(seeds: Sequence[int], store: Path, matrix: int | None) -> Iterator[Volume]:
    """Draw the phantoms in other processes, ahead of the reading."""
    folder = store / f"phantoms-{_generator()[:16]}-{matrix or 'drawn'}"
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield from map(_load, pool.map(partial(store_phantom, folder=folder, matrix=matrix), seeds))


def _generator() -> str:
    """Return the SHA-256 of the code that draws phantoms, since other code draws other phantoms."""
    code = sorted(Path(phantoms.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()


def store_phantom(seed: int, folder: Path, matrix: int | None) -> Path:
    """Draw one phantom unless it is there; its HU are whole, so int16 loses nothing."""
    path = folder / f"{seed}.npz"
    if not path.exists():
        volume = phantoms.random_phantom(seed, split="test", matrix=matrix).volume
        with TemporaryDirectory(dir=folder) as part:
            np.savez_compressed(
                Path(part) / path.name,
                hu=volume.hu.astype(np.int16),
                positions=volume.positions_mm,
                orientation=volume.orientation,
                spacing=volume.spacing_mm,
                thickness=volume.thickness_mm or np.nan,
            )
            (Path(part) / path.name).replace(path)
    return path


def _load(path: Path) -> Volume:
    with np.load(path) as stored:
        row, column = map(float, stored["spacing"])
        thickness = float(stored["thickness"])
        return Volume(
            stored["hu"].astype(np.float32),
            stored["positions"],
            stored["orientation"],
            (row, column),
            None if np.isnan(thickness) else thickness,
        )


def main() -> None:
    """Compare, print the table, and fail if a runtime strays beyond the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=SHIPPED)
    parser.add_argument("--out", type=Path, default=STORE)
    parser.add_argument("--cases", type=int, default=CASES)
    wanted = parser.parse_args()
    deviations = compare(wanted.bundle, wanted.out, range(wanted.cases), STORE)
    sys.stdout.write((wanted.out / "precision.md").read_text())
    sys.exit(not all(found.tolerable for found in deviations.values()))


if __name__ == "__main__":
    main()
