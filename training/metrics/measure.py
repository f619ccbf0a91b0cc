"""Read labelled cases as the node would, and sum up how well that went."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.detector import Detector, DetectorOutput
from models.findings import SUBTYPES, Unreadable
from models.preprocess import Canvas
from models.rules import Settings
from training.datasets.case import Case
from training.metrics.statistics import Bools, Floats, auc, bootstrap, delong, wilson
from training.phantoms import random_phantom
from training.phantoms.cases import phantom_case
from training.recipes.cohorts import Cohort, cohorts
from training.recipes.recipe import BadRecipe, Recipe

log = logging.getLogger(__name__)

Rows = NDArray[np.intp]

CROSS_VALIDATION = "cross-validation.json"
"""What model 1's cross-validation gave, in a recipe's runs: "figures", and what it "locked"."""

LOCKED = ("sensitivity", "specificity", "sensitivity_by_ml", "missed", "false_alarms")
"""Of the `figures` those that need a locked operating point."""

FEW = (27, 0, 17, 26, 1, 4)
"""Seeds of test phantoms of every subtype, and of normal ones: enough to see every table."""

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
        Hemorrhage by the masks, and by the detector at its mask threshold.
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
    slab_truth
        (s, 5) bool, `SUBTYPES` labelled on each slab.
    labels, slice_labels
        (s, 6) and (z, 6) float32, what the network of slices says of each slab and of each source
        slice, of `models.classifiers.LABELS`; None without it.
    witnessed
        Output of other networks for the same slabs, by their names, (s, k) float32 each.
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
    slab_truth: Bools
    labels: NDArray[np.float32] | None = None
    slice_labels: NDArray[np.float32] | None = None
    witnessed: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def slice_bleeds(self) -> Bools:
        """(z,) whether any subtype is labelled on each source slice."""
        return np.asarray(self.slice_truth.any(1))

    @property
    def bleeds(self) -> bool:
        """Whether any slice is labelled."""
        return bool(self.slice_truth.any())

    def score(self, rules: Settings) -> float:
        """Triage score under these rules."""
        return rules.triage(rules.calibrate(self.peaks, self._bleeding))

    def slice_scores(self, rules: Settings) -> NDArray[np.float32]:
        """(z,) score of each source slice under these rules."""
        return rules.calibrate(
            self.slice_peaks, None if self.slice_labels is None else self.slice_labels[:, 0]
        )

    def uncertainty(self, rules: Settings) -> float:
        """Disagreement of the networks under these rules."""
        return rules.uncertainty(self.peaks, self.base_peaks, self._bleeding)

    @property
    def _bleeding(self) -> NDArray[np.float32] | None:
        return None if self.labels is None else self.labels[:, 0]


Witness = Callable[[Canvas, DetectorOutput], NDArray[np.float32]]
"""Another network: a canvas of s slabs, and what the detector gave there -> (s, k)."""


def read_cases(
    detector: Detector, cases: Iterable[Case], witnesses: Mapping[str, Witness] | None = None
) -> list[Result]:
    """Read each case as the node would, from its source geometry.

    A case that cannot be read is left out, and the log says so.

    Parameters
    ----------
    cases
        With masks.
    witnesses
        Other networks that read the same canvas, by name.

    Raises
    ------
    BadRecipe
        If there are cases, and none can be read.
    """
    results, unread = [], None
    for case in cases:
        try:
            results.append(_read(detector, case, witnesses or {}))
        except Unreadable as reason:
            unread = reason
            say = {"action": "case_left_out"}
            log.warning("%s: %s; case left out", case.name, reason, extra=say)
    if unread and not results:
        raise BadRecipe(
            f"no case can be read: {unread}. Where heads are shown, train the stage of kind "
            '"skullstrip" for longer, or say strip = "shipped"'
        )
    return results


def _read(detector: Detector, case: Case, witnesses: Mapping[str, Witness]) -> Result:
    source, seen = detector.preprocess(case.volume)
    reading = detector.infer(seen)
    found = detector.state_findings(case.volume, source, seen, reading)
    mask = np.zeros_like(found.mask) if case.mask is None else case.mask
    both, either = (found.mask & mask).sum(), found.mask.sum() + mask.sum()
    truth = case.labels == 1
    slab_truth = np.zeros((len(seen.hu), len(SUBTYPES)), bool)
    np.logical_or.at(slab_truth, source.of_slice, truth)
    return Result(
        number=case.number,
        truth_ml=float(mask.sum((1, 2)) @ case.volume.voxel_ml),
        found_ml=found.volume_ml,
        dense_ml=_dense_ml(seen, detector.settings),
        dice=float(2 * both / either) if mask.any() else float("nan"),
        peaks=reading.peaks,
        base_peaks=reading.base_peaks,
        slice_peaks=reading.peaks[source.of_slice],
        slice_truth=truth,
        subtypes=reading.subtypes[source.of_slice].astype(np.float64),
        slab_truth=slab_truth,
        labels=reading.labels,
        slice_labels=None if reading.labels is None else reading.labels[source.of_slice],
        witnessed={name: witness(seen, reading) for name, witness in witnesses.items()},
    )


def _dense_ml(seen: Canvas, rules: Settings) -> float:
    low, high = CLOT_HU
    dense = (seen.hu > low) & (seen.hu < high) & (seen.brain > 0.5)
    return float(dense.sum() * rules.grid.step_mm**2 * rules.grid.slab_mm / 1000)


MEASURED = ("physionet", "physionet-nifti")
"""Kinds of data that are read here: whole series with masks, and patients that have numbers."""


def measured_cohorts(recipe: Recipe) -> list[Cohort]:
    """Return the recipe's data sets that are read here; what is left out is said."""
    found = cohorts(recipe)
    for cohort in found:
        if cohort.told.kind not in MEASURED:
            name = cohort.data_set.name
            log.info("%s is not measured here", name, extra={"action": "not_measured"})
    return [cohort for cohort in found if cohort.told.kind in MEASURED]


def phantom_cases(seeds: Iterable[int], split: str) -> Iterator[Case]:
    """Random phantoms in the order of their seeds, drawn ahead by all processors."""
    with ProcessPoolExecutor() as pool:
        ahead: deque[Future[Case]] = deque()
        for seed in seeds:
            ahead.append(pool.submit(_phantom_case, seed, split))
            if len(ahead) > 2 * (os.cpu_count() or 1):
                yield ahead.popleft().result()
        for drawn in ahead:
            yield drawn.result()


def phantom_seeds(count: int) -> Sequence[int]:
    """Return the seeds of so many test phantoms; few of them are those of `FEW`."""
    return FEW[:count] if count <= len(FEW) else range(count)


def _phantom_case(seed: int, split: str) -> Case:
    return phantom_case(seed, random_phantom(seed, split=split))


VOLUMES_ML = {"below 5 mL": (0, 5), "5 to 25 mL": (5, 25), "25 mL and more": (25, np.inf)}
"""Classes of true volume; Kang 2023 calls lesions up to 5 mL small."""


def figures(results: Sequence[Result], rules: Settings) -> dict[str, object]:
    """Summarise results: each figure with its 95 % interval.

    Patients are resampled for slice AUCs and medians (stratified bootstrap, 500 replications);
    the case AUC has DeLong's interval, proportions have Wilson's.
    """
    bleeds = np.array([case.bleeds for case in results])
    scores = np.array([case.score(rules) for case in results])
    flagged = scores >= rules.operating_point
    numbers = np.array([case.number for case in results])
    dice = np.array([case.dice for case in results])
    volume_error = np.array([case.found_ml - case.truth_ml for case in results])
    truth_ml = np.array([case.truth_ml for case in results])
    by_ml = {
        name: bleeds & (low <= truth_ml) & (truth_ml < high)
        for name, (low, high) in VOLUMES_ML.items()
    }

    def pooled(
        picks: Rows, score: Callable[[Result], Floats], truth: Callable[[Result], Bools]
    ) -> float:
        return _pooled_auc([results[i] for i in picks], score, truth)

    def figure(of: Callable[[Rows], float]) -> dict[str, object]:
        return _with_interval(of(np.arange(len(results))), bootstrap(of, bleeds))

    def dice_of(which: Bools) -> dict[str, object]:
        return figure(lambda picks: _median(dice[picks[which[picks]]]))

    def named(place: int) -> dict[str, object]:
        return figure(
            lambda picks: pooled(
                picks, lambda c: c.subtypes[:, place], lambda c: c.slice_truth[:, place]
            )
        )

    return {
        "cases": len(results),
        "bleeding": int(bleeds.sum()),
        "slices": int(sum(len(case.slice_peaks) for case in results)),
        "case_auc": _case_auc(scores, bleeds),
        "slice_auc": figure(
            lambda picks: pooled(picks, lambda c: c.slice_scores(rules), lambda c: c.slice_bleeds)
        ),
        "sensitivity": _proportion(flagged[bleeds]),
        "specificity": _proportion(~flagged[~bleeds]),
        "sensitivity_by_ml": {name: _proportion(flagged[which]) for name, which in by_ml.items()},
        "dice": figure(lambda picks: _median(dice[picks])),
        "dice_by_ml": {
            name: dice_of(which) | {"count": int(which.sum())} for name, which in by_ml.items()
        },
        "absolute_volume_error_ml": figure(
            lambda picks: _median(np.abs(volume_error[picks])[bleeds[picks]])
        ),
        "subtype_slice_auc": {name: named(place) for place, name in enumerate(SUBTYPES)},
        "missed": numbers[bleeds & ~flagged].tolist(),
        "false_alarms": numbers[flagged & ~bleeds].tolist(),
    }


def _pooled_auc(
    cases: Sequence[Result], score: Callable[[Result], Floats], truth: Callable[[Result], Bools]
) -> float:
    """AUC over the slices of all cases together."""
    return auc(np.concatenate([*map(score, cases)]), np.concatenate([*map(truth, cases)]))


def _case_auc(scores: Floats, bleeds: Bools) -> dict[str, object]:
    """With DeLong's interval, which is Newcombe's where the classes are separated."""
    found = delong(scores, bleeds)
    low, high = found.intervals()[0]
    return _with_interval(float(found.areas[0]), (low, high))


def _with_interval(value: float, interval: tuple[float, float]) -> dict[str, object]:
    """Rounded for JSON; None where the cases hold only one class."""
    found = [None if np.isnan(each) else round(each, 4) for each in (value, *interval)]
    return {"value": found[0], "interval": found[1:]}


def _median(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _proportion(right: Bools) -> dict[str, object]:
    hits, trials = int(right.sum()), len(right)
    if not trials:
        return _with_interval(float("nan"), (float("nan"), float("nan"))) | {"count": "0/0"}
    return _with_interval(hits / trials, wilson(hits, trials)) | {"count": f"{hits}/{trials}"}
