"""Zhou 2022: six exclusive classes by transfer learning, and what an image-level split leaks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.batches.drawing import fitted
from training.batches.sequences import SLICES_AT_ONCE
from training.losses import CLASSES
from training.metrics.measure import Result
from training.metrics.scores import INTERVALS, Classes, counts
from training.metrics.statistics import Bools, Floats, draws, percentiles
from training.metrics.tables import Cell, Table
from training.papers.measured import Measured, named
from training.recipes.recipe import Recipe
from training.recipes.stages import Classifier
from training.stages import heads
from training.stages.scans import slice_task

PAPER = "Zhou 2022, Curr Pharm Des 28(4)"

PATIENT_LEVEL, IMAGE_LEVEL = "patient-level", "image-level"

TABLE = {
    "resnet18": {"accuracy": "0.8964", "AUC": "> 0.9"},
    "densenet121": {
        "accuracy": "0.825",
        "AUC": "> 0.9",
        "intraventricular": "0.73",
        "intraparenchymal": "0.76",
    },
}
"""The paper's values by timm's name; the value of a class is its sensitivity."""


def tables(measured: Measured) -> list[Table]:
    """Return the table of the recipe's exclusive classifiers.

    The image-level split is tested on its own images; its patients are on both sides.
    """
    splits: dict[str, dict[str, Classes]] = defaultdict(dict)
    for stage in measured.stages(Classifier):
        if not stage.exclusive:
            continue
        if stage.split_by == "patient":
            splits[PATIENT_LEVEL][stage.backbone] = _classes(
                measured.labels[:, 1:],
                measured.of_slabs(partial(_six, stage.name)),
                measured.slab_number,
            )
        elif not measured.of_phantoms:
            splits[IMAGE_LEVEL][stage.backbone] = _held_out_images(measured.recipe, stage)
    return [table(splits, measured.data)] if splits else []


def _six(name: str, case: Result) -> NDArray[np.float32]:
    """(s, 6) the probabilities of `models.classifiers.LABELS` on each slab."""
    return case.witnessed[name][:, :6]


ANOTHER_SET = 1_000_000
"""What the numbers of a further data set's patients begin at."""


def _held_out_images(recipe: Recipe, stage: Classifier) -> Classes:
    task, size = slice_task(recipe, stage.name), recipe.grid.size
    extract = task.extractor()
    found, truth, number = [], [], []
    for place, prepared in enumerate(heads.patients(recipe)):
        slices, chosen = prepared.slices, np.flatnonzero(task.rows(prepared, "test"))
        for index in np.array_split(chosen, -(-len(chosen) // SLICES_AT_ONCE)):
            hu, brain = (
                fitted(each[index].astype(np.float32), size) for each in (slices.hu, slices.brain)
            )
            image = task.windows(hu, brain / np.float32(255))
            with torch.inference_mode():
                found.append(extract(torch.from_numpy(image))[1].float().cpu().numpy())
        truth.append(slices.labels[chosen] == 1)
        number.append(slices.patient[chosen] + place * ANOTHER_SET)
    return _classes(np.concatenate(truth), np.concatenate(found), np.concatenate(number))


def _classes(truth: Bools, probabilities: Floats, number: NDArray[np.integer[Any]]) -> Classes:
    """Slices of at most one subtype; (n, 6) any and `SUBTYPES` become normal and `SUBTYPES`."""
    single = truth.sum(1) <= 1
    score = np.column_stack((1 - probabilities[:, 0], probabilities[:, 1:]))[single]
    which = np.where(truth.any(1), 1 + truth.argmax(1), 0)[single]
    return Classes(which, score.astype(float), number[single])


def table(splits: Mapping[str, Mapping[str, Classes]], data: str) -> Table:
    """Six exclusive classes under both splits, and what the image-level split adds: the leak.

    Parameters
    ----------
    splits
        By `PATIENT_LEVEL` (the headline) and `IMAGE_LEVEL`, by network (timm's name).
    data
        Data set.
    """
    columns = ("accuracy", "AUC", *CLASSES)

    def row(network: str, found: Sequence[Cell]) -> tuple[Cell, ...]:
        paper = TABLE.get(network, {})
        return tuple(
            replace(cell, paper=paper.get(name)) for name, cell in zip(columns, found, strict=True)
        )

    tested, rows = {}, {}
    for split, networks in splits.items():
        for network, found in networks.items():
            name = f"{named(network)}, {split}"
            tested[name], rows[name] = found, row(network, found.measure())
    honest, leaking = (splits.get(split, {}) for split in (PATIENT_LEVEL, IMAGE_LEVEL))
    rows |= {
        f"{named(network)}, the leak": _leak(honest[network], leaking[network])
        for network in honest
        if network in leaking
    }
    return Table(
        "zhou",
        f"{PAPER}: transfer learning, six exclusive classes",
        data,
        ("network, split", "accuracy", "AUC", *(f"{name}, sensitivity" for name in CLASSES)),
        rows,
        (
            counts(tested),
            "The patient-level split is the headline. The image-level split has images of one "
            "patient on both sides: the leak is what it adds. The paper does not say which it "
            "used, so its values stand beside both.",
            f"AUC: mean of each class present against the rest. {INTERVALS}; the leak's takes the "
            "two test sets as independent.",
        ),
    )


def _leak(honest: Classes, leaking: Classes) -> tuple[Cell, ...]:
    both = (leaking, honest)
    with_leak, without = (each.figures(np.ones((1, len(each.truth))))[0] for each in both)
    drawn = [
        draws(each.figures, each.patient, each.truth > 0, seed=seed)
        for seed, each in enumerate(both)
    ]
    bounds = percentiles(drawn[0] - drawn[1]).T
    return tuple(map(Cell.of, with_leak - without, bounds))
