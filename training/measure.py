"""Read labelled cases as the node would, and sum up how well that went."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.findings import SUBTYPES
from models.preprocess import Canvas
from models.reader import Reader, Settings
from training.datasets import physionet
from training.datasets.prepared import phantom_case
from training.phantoms import random_phantom
from training.statistics import auc, bootstrap, wilson

CLOT_HU = (50, 90)
"""What a plain threshold takes for blood."""


@dataclass(frozen=True, slots=True)
class Result:
    """One case, read.

    Attributes
    ----------
    number
        Patient number or phantom seed.
    truth_ml, found_ml
        Hemorrhage by the masks, and by the reader at its mask threshold.
    dense_ml
        What lies between `CLOT_HU` inside the skull: the plain threshold to compare with.
    dice
        Overlap of the two masks in the source geometry; NaN where there is no hemorrhage.
    peaks
        (s,) float32, peak of each slab (see `models.ensemble.peak`).
    base_peaks
        (s, N) float32, the same of each base network's own map.
    slice_peaks
        (z,) float32, `peaks` of each source slice.
    slice_truth
        (z, 5) bool, `SUBTYPES` labelled on each source slice.
    subtypes
        (z, 5) float64, their probabilities.
    """

    number: int
    truth_ml: float
    found_ml: float
    dense_ml: float
    dice: float
    peaks: NDArray[np.float32]
    base_peaks: NDArray[np.float32]
    slice_peaks: NDArray[np.float32]
    slice_truth: NDArray[np.bool_]
    subtypes: NDArray[np.float64]

    @property
    def bleeds(self) -> bool:
        """Whether any slice is labelled."""
        return bool(self.slice_truth.any())

    def score(self, rules: Settings) -> float:
        """Triage score under these rules."""
        return rules.triage(rules.calibrate(self.peaks))


def read_cases(reader: Reader, cases: Iterable[physionet.Patient]) -> list[Result]:
    """Read each case as the node would, from its source geometry."""
    return [_read(reader, case) for case in cases]


def _read(reader: Reader, case: physionet.Patient) -> Result:
    source, seen = reader.prepare(case.volume)
    reading = reader.look(seen)
    found = reader.judge(case.volume, source, seen, reading)
    both, either = (found.mask & case.mask).sum(), found.mask.sum() + case.mask.sum()
    return Result(
        number=case.number,
        truth_ml=float(case.mask.sum((1, 2)) @ case.volume.voxel_ml),
        found_ml=found.volume_ml,
        dense_ml=_dense_ml(seen, reader.settings),
        dice=float(2 * both / either) if case.mask.any() else float("nan"),
        peaks=reading.peaks,
        base_peaks=reading.base_peaks,
        slice_peaks=reading.peaks[source.of_slice],
        slice_truth=case.labels,
        subtypes=reading.subtypes[source.of_slice].astype(np.float64),
    )


def _dense_ml(seen: Canvas, rules: Settings) -> float:
    low, high = CLOT_HU
    dense = (seen.hu > low) & (seen.hu < high) & (seen.brain > 0.5)
    return float(dense.sum() * rules.grid.step_mm**2 * rules.grid.slab_mm / 1000)


def real_cases(root: Path, numbers: Sequence[int]) -> Iterator[physionet.Patient]:
    """PhysioNet CT-ICH patients, one after another."""
    return (physionet.load(root, number) for number in numbers)


def phantom_cases(seeds: Iterable[int], split: str) -> Iterator[physionet.Patient]:
    """Random phantoms in the order of their seeds, drawn ahead by all processors."""
    with ProcessPoolExecutor() as pool:
        ahead = deque()
        for seed in seeds:
            ahead.append(pool.submit(_phantom_case, seed, split))
            if len(ahead) > 2 * (os.cpu_count() or 1):
                yield ahead.popleft().result()
        for drawn in ahead:
            yield drawn.result()


def _phantom_case(seed: int, split: str) -> physionet.Patient:
    return phantom_case(seed, random_phantom(seed, split=split))


def figures(results: Sequence[Result], rules: Settings) -> dict[str, object]:
    """Summarise results: each figure with its 95 % interval where it has one.

    Patients are resampled for the AUCs (stratified bootstrap, 500 replications); proportions have
    Wilson intervals.
    """
    bleeds = [case.bleeds for case in results]
    scores = np.array([case.score(rules) for case in results])
    flagged = scores >= rules.operating_point
    positive = np.array(bleeds)
    hits, quiet = int(flagged[positive].sum()), int((~flagged[~positive]).sum())

    def slice_auc(picks: NDArray[np.intp]) -> float:
        chosen = [results[i] for i in picks]
        return auc(
            np.concatenate([case.slice_peaks for case in chosen]),
            np.concatenate([case.slice_truth.any(1) for case in chosen]),
        )

    def case_auc(picks: NDArray[np.intp]) -> float:
        return auc(scores[picks], positive[picks])

    everyone = np.arange(len(results))
    return {
        "cases": len(results),
        "bleeding": int(positive.sum()),
        "slices": int(sum(len(case.slice_peaks) for case in results)),
        "case_auc": _with_interval(case_auc(everyone), bootstrap(case_auc, bleeds)),
        "slice_auc": _with_interval(slice_auc(everyone), bootstrap(slice_auc, bleeds)),
        "sensitivity": _proportion(hits, int(positive.sum())),
        "specificity": _proportion(quiet, int((~positive).sum())),
        "median_dice": _median([case.dice for case in results if case.bleeds]),
        "subtype_slice_auc": _subtype_aucs(results),
        "missed": [
            case.number
            for case, flag in zip(results, flagged, strict=True)
            if case.bleeds and not flag
        ],
        "false_alarms": [
            case.number
            for case, flag in zip(results, flagged, strict=True)
            if flag and not case.bleeds
        ],
    }


def _with_interval(value: float, interval: tuple[float, float]) -> dict[str, object]:
    """Rounded for JSON; None where the cases hold only one class."""
    found = [None if np.isnan(each) else round(each, 4) for each in (value, *interval)]
    return {"value": found[0], "interval": found[1:]}


def _median(values: list[float]) -> float | None:
    return round(float(np.median(values)), 4) if values else None


def _proportion(successes: int, trials: int) -> dict[str, object]:
    nothing = float("nan")
    value, interval = (
        (successes / trials, wilson(successes, trials)) if trials else (nothing, (nothing, nothing))
    )
    return _with_interval(value, interval) | {"count": f"{successes}/{trials}"}


def _subtype_aucs(results: Sequence[Result]) -> Mapping[str, float | None]:
    truth = np.concatenate([case.slice_truth for case in results])
    named = np.concatenate([case.subtypes for case in results])
    areas = {name: auc(named[:, i], truth[:, i]) for i, name in enumerate(SUBTYPES)}
    return {name: None if np.isnan(area) else round(area, 4) for name, area in areas.items()}
