"""Slices of a site as networks read them that never saw its patients, beside the shipped ensemble.

They are read once: what was said of a site is kept in the recipe's runs.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.detector import Detector
from models.preprocess import Array, channels
from models.rules import logits
from models.runtime import batch_size
from training.batches.drawing import fitted
from training.datasets.table import Rows, Table
from training.metrics.statistics import Bools, Floats
from training.recipes.cohorts import cohorts
from training.recipes.recipe import Recipe
from training.recipes.stages import Lite
from training.stages.lite import LiteTask
from training.stages.task import weights_path

log = logging.getLogger(__name__)

SHIPPED_LEARNT = ("physionet",)
"""Sites whose training patients the shipped ensemble learnt from."""


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """What networks say of the slices of one site.

    Attributes
    ----------
    site
        Its name.
    seen
        Whether the networks of slices learnt from other patients of the site.
    case, patient
        (n,) str, the series and the patient of each slice; slices of a series stand in order.
    labels
        (n, 6) float32 of `training.datasets.table.LABELS`, 0, 1 or NaN.
    study
        (n,) float32, whether the slice's series bleeds, 0, 1 or NaN.
    drawn_ml
        (n,) float32, volume of the hemorrhage drawn in the slice's series; NaN where none is drawn.
    fair
        (n,) bool, whether no network learnt from the patient.
    test
        (n,) bool, whether nothing may be chosen on the patient.
    ensemble
        (n,) float64, logit of the peak of the shipped ensemble's map.
    slices
        (n,) float64, mean logit of "any" by the networks of slices.
    sequence
        (n,) float64, logit of the likeliest subtype by the shipped model of scans.
    """

    site: str
    seen: bool
    case: NDArray[np.str_]
    patient: NDArray[np.str_]
    labels: Array
    study: Array
    drawn_ml: Array
    fair: Bools
    test: Bools
    ensemble: Floats
    slices: Floats
    sequence: Floats

    @property
    def name(self) -> str:
        """Its name, and whether the networks of slices learnt from it."""
        return f"{self.site} (seen)" if self.seen else self.site

    @property
    def opinions(self) -> Floats:
        """(n, 2) the logits of both kinds of networks."""
        return np.column_stack((self.ensemble, self.slices))

    @property
    def known(self) -> Bools:
        """(n,) bool, slices of which it is known whether they bleed."""
        return np.isfinite(self.labels[:, 0])

    @property
    def series(self) -> list[Bools]:
        """(n,) bool for each series that is known to bleed or not: its slices."""
        names = dict.fromkeys(self.case[np.isfinite(self.study)])
        return [self.case == name for name in names]

    @property
    def whole(self) -> bool:
        """Whether the site has series of several slices."""
        return len(set(self.case)) < len(self.case)

    def only(self, keep: Bools) -> Self:
        """Return the slices of (n,) `keep`."""
        return replace(self, **{name: getattr(self, name)[keep] for name in _arrays()})

    def save(self, path: Path) -> None:
        """Write it in one rename."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, **{each.name: getattr(self, each.name) for each in fields(self)})
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return what `save` wrote."""
        with np.load(path) as held:
            arrays = {name: held[name] for name in _arrays()}
            return cls(str(held["site"]), bool(held["seen"]), **arrays)


def _arrays() -> list[str]:
    """Return the names of what is known of each slice."""
    return [each.name for each in fields(LeftOut)][2:]


def left_out(
    recipe: Recipe, stages: Sequence[Lite], site: str, whole: Table, detector: Detector
) -> LeftOut:
    """Return what these stages and the shipped detector say of a site.

    Parameters
    ----------
    stages
        Of the network of slices.
    whole
        A table that holds the site.
    """
    digest = hashlib.sha256(detector.weights_sha256.encode())
    for stage in stages:
        digest.update(weights_path(recipe, stage.name).read_bytes())
    kept = _kept(recipe, f"{site}-{digest.hexdigest()[:12]}.npz")
    if not kept.exists():
        rows = np.flatnonzero(whole.where([site]))
        log.info("reading %d slices of %s", len(rows), site, extra={"action": "evaluate"})
        _read(recipe, stages, site, whole, rows, detector).save(kept)
    return LeftOut.load(kept)


def _read(
    recipe: Recipe,
    stages: Sequence[Lite],
    site: str,
    whole: Table,
    rows: Rows,
    detector: Detector,
) -> LeftOut:
    said = [logits(LiteTask(recipe, each).read(whole, rows).labels[:, 0]) for each in stages]
    train, test = (_patients(recipe, site, part) for part in ("train", "test"))
    patient = np.array([name.removeprefix(f"{site}/") for name in whole.patient[rows]])
    peaks, sequence = _shipped(recipe, site, whole, rows, detector)
    seen = any(site in stage.shares for stage in stages)
    cases = [whole.cases[each] for each in whole.case[rows]]
    return LeftOut(
        site=site,
        seen=seen,
        case=np.array([each.name for each in cases]),
        patient=patient,
        labels=whole.labels[rows],
        study=np.array([each.study[0] for each in cases], np.float32),
        drawn_ml=np.array([each.drawn_ml for each in cases], np.float32),
        fair=~(np.isin(patient, train) & (seen or site in SHIPPED_LEARNT)),
        test=np.isin(patient, test),
        ensemble=logits(peaks),
        slices=np.mean(said, axis=0),
        sequence=logits(sequence),
    )


def _kept(recipe: Recipe, name: str) -> Path:
    """Return where what was said of a site is kept."""
    return recipe.runs / "left-out" / name


def _patients(recipe: Recipe, site: str, part: str) -> list[str]:
    """Return the patients of a part of a site's split; a site that judges has all in "tune"."""
    found = [each for each in cohorts(recipe) if each.data_set.site == site]
    if found[0].told.role == "judge":
        return []
    return [name for cohort in found for name in getattr(cohort.split, part)]


def _shipped(recipe: Recipe, site: str, whole: Table, rows: Rows, detector: Detector) -> Array:
    """(2, n) what the shipped networks say, 0..1: whatever else reads the site, they read it once.

    These are the peaks of the ensemble's map, and the likeliest subtype by the model of scans.
    """
    kept = _kept(recipe, f"{site}-shipped-{detector.weights_sha256[:12]}.npy")
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        peaks, features = _ensemble(detector, whole, rows)
        np.save(kept, np.stack((peaks, _sequence(detector, features, whole.case[rows]))))
    said: Array = np.load(kept)
    return said


def _ensemble(detector: Detector, whole: Table, rows: Rows) -> tuple[Array, Array]:
    """Return peaks of the shipped ensemble's map (n,), 0..1, and what a model of scans reads."""
    grid, found = detector.settings.grid, []
    size, count = (grid.rows, grid.columns), batch_size(detector.runtime)
    for start in range(0, len(rows), count):
        slices = [whole.slice(int(row)) for row in rows[start : start + count]]
        hu = np.stack([each.hu for each in slices]).astype(np.float32)
        brain = np.stack([each.brain for each in slices]).astype(np.float32) / np.float32(255)
        said = detector.predict(channels(fitted(hu, size), fitted(brain, size, 0)))
        found.append((said[2][:, 0], said[3]))
    peaks, features = (np.concatenate(each) for each in zip(*found, strict=True))
    return peaks, features


def _sequence(detector: Detector, features: Array, case: Rows) -> Array:
    """(n,) the likeliest subtype of each slice by the model of scans, series by series."""
    found = np.zeros(len(case), np.float32)
    for number in np.unique(case):
        if detector.predict_study is not None:
            subtypes, _ = detector.predict_study(features[None, case == number])
            found[case == number] = subtypes[0].max(1)
    return found
