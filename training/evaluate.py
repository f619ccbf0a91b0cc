"""The papers' tables for a recipe: ichnode evaluate RECIPE.

Every case is read once, by the bundle's ensemble and by each network of the recipe beside it, on
the same canvas.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn

from models import runtime as runtimes
from models.bundle import METADATA, WEIGHTS, load_detector
from models.classifiers import LABELS
from models.detector import Detector, DetectorOutput
from models.ensemble import Ensemble
from models.networks import build_network
from models.preprocess import Canvas
from models.unet import InceptionUNet
from models.weighting import WeightModel
from training import ranks, stages
from training.batches.sequences import SLICES_AT_ONCE
from training.datasets.case import Case
from training.metrics.combinations import Combinations, names
from training.metrics.locking import lock
from training.metrics.measure import (
    CROSS_VALIDATION,
    FEW,
    LOCKED,
    Result,
    Witness,
    figures,
    measured_cohorts,
    phantom_cases,
    phantom_seeds,
    read_cases,
)
from training.metrics.statistics import Floats
from training.papers import write
from training.papers.measured import Measured
from training.papers.own import cross_validation
from training.recipes import recipe as recipes
from training.recipes.recipe import Recipe
from training.recipes.stages import AnyStage, Base, Classifier, Study
from training.stages.base import BaseTask
from training.stages.scans import slice_task
from training.train import train

log = logging.getLogger(__name__)

Witnesses = Mapping[str, Witness]
Trained = Callable[[AnyStage], Any]
"""Gives the network of a sequence or attention stage."""


def evaluate(path: Path, folder: Path, small: bool = False) -> None:
    """Read the test cases, and write every table and figure that the recipe's networks allow.

    A recipe with the bundle's own name measures that bundle as it was shipped. Any other recipe
    first trains the networks that are missing; they stand beside the bundle's ensemble.

    Parameters
    ----------
    path
        The recipe.
    folder
        Gets a folder for each data set, with each table as Markdown and JSON and figures as PNG.
    small
        Read the phantoms `FEW` and no patients: a look at the tables, in a minute or two.
    """
    recipe = recipes.read(path)
    metadata = json.loads((recipe.bundle / METADATA).read_text())
    own, sizes = metadata["name"] == recipe.name, metadata["networks"]
    if not own:
        train(path)
    detector = load_detector(recipe.bundle)
    if recipe.crossed:
        _cross_validate(recipe, recipe.crossed, detector, folder)
        return
    whole = build_network("ensemble", sizes, load_file(recipe.bundle / WEIGHTS))
    detector = _with_parts(detector, cast(Ensemble, whole))
    witnesses, trained = _shipped(recipe, sizes) if own else _witnesses(recipe)
    arms = names(tuple(sizes["bases"]))
    for data, cases in _test_sets(recipe, small).items():
        log.info("reading %s", data, extra={"action": "evaluate"})
        results = read_cases(detector, cases, witnesses)
        measured = Measured(data, recipe, detector.settings, trained, results, arms)
        write(folder / _stem(data), measured)
        _say(folder / _stem(data), data, results)


def _cross_validate(recipe: Recipe, folds: list[Base], bundled: Detector, folder: Path) -> None:
    """Read each patient by the network that held it out, alone and uncalibrated.

    The operating point is of the patients that the split does not hold out, calibrated by their own
    slices: they are several times the tuning patients.
    """
    alone = bundled.settings.without_slices()
    rules = replace(alone, slope=1.0, intercept=0.0, subtypes="ensemble")
    bundled, results = replace(bundled, settings=rules), []
    for stage in folds:
        network = Ensemble(
            [cast(InceptionUNet, BaseTask(recipe, stage).trained())], WeightModel(1), 0
        )
        detector = _reading_by(bundled, network)
        for cohort in measured_cohorts(recipe):
            held = sorted(cohort.part(recipe, stage, "test"), key=int)
            results += read_cases(detector, cohort.data_set.cases(held))
    found = {key: each for key, each in figures(results, rules).items() if key not in LOCKED}
    cross_validation(found, len(folds)).write(folder)
    held_out = {patient for each in measured_cohorts(recipe) for patient in each.split.test}
    known = [case for case in results if str(case.number) not in held_out]
    locked = {"operating_point": lock(rules, known).operating_point, "patients": len(known)}
    (recipe.runs / CROSS_VALIDATION).write_text(json.dumps({"figures": found, "locked": locked}))


def _test_sets(recipe: Recipe, small: bool) -> Mapping[str, Iterator[Case]]:
    seeds = phantom_seeds(len(FEW) if small else recipe.test_phantoms)
    sets = {f"phantom, {len(seeds)} of the test range": phantom_cases(seeds, "test")}
    for cohort in [] if small else measured_cohorts(recipe):
        data = cohort.data_set
        sets[f"{data.name}, patient-level test"] = data.cases(cohort.split.test)
    return sets


def _say(folder: Path, data: str, results: Sequence[Result]) -> None:
    """Sum up what was read, and where its tables are."""
    bleeding = sum(case.bleeds for case in results)
    tables = ", ".join(sorted(each.name for each in folder.glob("*.md")))
    log.info(
        "%s: %d cases read, %d bleed; %s in %s",
        *(data, len(results), bleeding, tables, folder),
        extra={"action": "evaluated"},
    )


def _stem(data: str) -> str:
    return data.lower().split(",")[0].replace(" ", "-")


def _with_parts(detector: Detector, whole: Ensemble) -> Detector:
    """Return a detector that also reports the ensemble's parts, and its own subtypes."""
    found = _reading_by(detector, Combinations(whole))
    return replace(found, settings=replace(found.settings, subtypes="ensemble"))


def _reading_by(detector: Detector, network: nn.Module) -> Detector:
    """Return a detector with another network in its ensemble's place, and no other network."""
    grid = detector.settings.grid
    shape = (runtimes.batch_size(detector.runtime), 4, grid.rows, grid.columns)
    predict = runtimes.load(lambda: network, shape, detector.runtime)
    rules = detector.settings.without_slices()
    return replace(
        detector, predict=predict, predict_study=None, predict_slices=None, settings=rules
    )


def _shipped(recipe: Recipe, sizes: Mapping[str, Any]) -> tuple[Witnesses, Trained]:
    """Return the input of the bundle's sequence and attention models, and the models."""
    study = build_network("study", sizes, load_file(recipe.bundle / WEIGHTS))
    read = {each.reads for each in recipe.every(Study)}
    witnesses: Witnesses = {
        name: lambda _, output: np.roll(output.study_input, len(LABELS), axis=1) for name in read
    }
    return witnesses, lambda stage: getattr(study, stage.kind)


def _witnesses(recipe: Recipe) -> tuple[Witnesses, Trained]:
    """Return what each classifier, and each stage that a model of scans builds on, gives.

    A witness gives (s, 6 + F), the probabilities of `LABELS` and then the features.
    """
    read = {each.reads for each in recipe.every(Study)}
    read |= {each.name for each in recipe.every(Classifier)}
    witnesses = {name: _witness(recipe, name) for name in sorted(read)}
    return witnesses, lambda stage: stages.task(recipe, stage).trained()


def _witness(recipe: Recipe, name: str) -> Witness:
    task = slice_task(recipe, name)
    extract, windows, where = task.extractor(), task.windows, ranks.device().type

    def see(seen: Canvas, _output: DetectorOutput) -> Floats:
        image = torch.from_numpy(windows(seen.hu, seen.brain))
        with torch.inference_mode(), torch.autocast(where, torch.bfloat16, enabled=recipe.bf16):
            found = [extract(part) for part in torch.split(image, SLICES_AT_ONCE)]
        features, probabilities = (torch.cat(each).float() for each in zip(*found, strict=True))
        return np.asarray(torch.cat((probabilities, features), 1).cpu().numpy(), np.float32)

    return see
