"""Burduja 2020: a CNN alone, and with a sequence model over its features."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from models.classifiers import LABELS
from models.sequence import SequenceModel
from training.metrics.measure import Result
from training.metrics.scores import (
    INTERVALS,
    METHOD,
    Labelled,
    adjusted,
    compare,
    counts,
    estimate,
    refuse_other_cases,
)
from training.metrics.statistics import Floats, slice_losses
from training.metrics.tables import Cell, Table
from training.papers.measured import Measured
from training.recipes.stages import Sequence

PAPER = "Burduja 2020, Sensors 20:5611"

CNN = "CNN alone"

TABLE_2 = {CNN: "0.06259", "PCA-120 + predictions": "0.04989"}
"""Weighted log loss [paper]."""


def tables(measured: Measured) -> list[Table]:
    """Return Tables 2 and 3 for each network that a sequence model of the recipe builds on."""
    stages = measured.stages(Sequence)
    made = []
    networks = dict.fromkeys(stage.reads for stage in stages)
    for reads in networks:
        models = {CNN: measured.labelled(partial(_alone, reads))}
        for stage in stages:
            if stage.reads == reads:
                network = measured.trained(stage)
                models[_selection(stage)] = measured.labelled(partial(_sequence, network, reads))
        data = f"{measured.data}; features of {reads}"
        best = {name: models[name] for name in list(models)[:2]}
        scans = {name: model.by_scan(model.patient) for name, model in best.items()}
        suffix = f"-{reads}" if len(networks) > 1 else ""
        made += [
            replace(table, name=f"{table.name}{suffix}")
            for table in (table_2(models, data), table_3(best, scans, data))
        ]
    return made


def _selection(stage: Sequence) -> str:
    """Name a selection as the paper does, such as "PCA-120 + predictions"."""
    kind = "PCA" if stage.selection == "pca" else stage.selection
    return f"{kind}{'' if stage.selection == 'all' else f'-{stage.selected}'} + predictions"


def _alone(reads: str, case: Result) -> Floats:
    return case.witnessed[reads][:, : len(LABELS)]


def _sequence(network: SequenceModel, reads: str, case: Result) -> Floats:
    probabilities, features = np.split(case.witnessed[reads], [len(LABELS)], axis=1)
    with torch.inference_mode():
        logits = network(torch.from_numpy(features)[None], torch.from_numpy(probabilities)[None])
    return np.asarray(torch.sigmoid(logits)[0].numpy(), np.float32)


def table_2(models: Mapping[str, Labelled], data: str) -> Table:
    """Weighted log loss of the CNN alone and of each selection of its features.

    Parameters
    ----------
    models
        On the same slices: `CNN` and each sequence model, by the names of `TABLE_2`.
    data
        Data set and split.
    """
    alone = models[CNN]

    def row(name: str, model: Labelled) -> tuple[Cell, Cell]:
        refuse_other_cases(alone, model, name)
        losses = slice_losses(model.score, model.truth)
        both = np.column_stack([losses, losses - slice_losses(alone.score, alone.truth)])

        def figures(weights: Floats) -> Floats:
            return np.asarray(weights @ both / weights.sum(1, keepdims=True))

        loss, difference = estimate(figures, model.patient, model.truth[:, 0])
        return replace(loss, paper=TABLE_2.get(name)), difference

    return Table(
        "burduja-t2",
        f"{PAPER}, Table 2: weighted log loss",
        data,
        ("model", "weighted log loss", f"difference from {CNN}"),
        {name: row(name, model) for name, model in models.items()},
        (
            f"{alone.of('any').count()}.",
            f'Weight 2 on "any", 1 on each subtype, divided by 7. {INTERVALS}; differences are '
            "paired.",
            "The paper's values are of the challenge's data; a log loss compares within a data set "
            "only.",
        ),
        digits=5,
    )


def table_3(slices: Mapping[str, Labelled], scans: Mapping[str, Labelled], data: str) -> Table:
    """Each label on slices and on scans: the first model, and the others against it.

    Parameters
    ----------
    slices, scans
        By model, `CNN` first; scans by `Labelled.by_scan`.
    data
        Data set and split.
    """
    levels = {"slices": slices, "scans": scans}
    arms = {
        (label, level): {name: model.of(label) for name, model in models.items()}
        for level, models in levels.items()
        for label in LABELS
    }
    p = adjusted(
        {
            (*key, name): value
            for key, models in arms.items()
            for name, value in compare(models, CNN).items()
        }
    )
    figures = ("accuracy", "AUC", "sensitivity", "specificity")

    def row(key: tuple[str, str], name: str) -> tuple[Cell, ...]:
        cells = arms[key][name].measure()
        cells["AUC"] = replace(cells["AUC"], p=p.get((*key, name)))
        return tuple(cells[figure] for figure in figures)

    return Table(
        "burduja-t3",
        f"{PAPER}, Table 3: the six labels on slices and on scans",
        data,
        ("label, level, model", *figures),
        {
            f"{label}, {level}, {name}": row((label, level), name)
            for (label, level), models in arms.items()
            for name in models
        },
        (
            counts({level: models[CNN].of("any") for level, models in levels.items()}),
            f"A scan's score is the largest of its slices. Reference: {CNN}.",
            METHOD,
        ),
    )
