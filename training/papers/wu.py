"""Wu 2024: the attention model, trained on study labels alone."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch

from models.attention import AttentionModel, slice_scores
from models.classifiers import LABELS
from training.metrics.measure import Result
from training.metrics.scores import INTERVALS, Scores, counts
from training.metrics.statistics import Floats, predictive_values
from training.metrics.tables import Cell, Table
from training.papers.measured import Measured
from training.recipes.stages import Attention

PAPER = "Wu 2024, Radiology AI, ryai.230296"

TABLE = {"local": ("0.857", "0.96"), "external": ("0.893", "0.96")}
"""PPV and AUC [paper]; local n = 7,243, external n = 491."""

PREVALENCES = (0.06, 0.15)
"""Shares of bleeding studies at which predictive values are given (ours)."""


Read = Mapping[int, tuple[float, Floats]]
"""By case the study's probability, and the scores of its slices (s,)."""


def tables(measured: Measured) -> list[Table]:
    """Return a table for each attention model of the recipe."""
    made = []
    stages = measured.stages(Attention)
    for stage in stages:
        network = measured.trained(stage)
        read = {case.number: _attend(network, stage.reads, case) for case in measured.results}
        studies = measured.cases(partial(_study, read))
        slices = measured.slabs(partial(_slices, read))
        found = table({"studies": studies, "slices by attention": slices}, measured.data)
        made.append(replace(found, name=f"wu-{stage.name}") if len(stages) > 1 else found)
    return made


def _study(read: Read, case: Result) -> float:
    return read[case.number][0]


def _slices(read: Read, case: Result) -> Floats:
    return read[case.number][1]


def _attend(network: AttentionModel, reads: str, case: Result) -> tuple[float, Floats]:
    """Study probability, and (s,) slice scores."""
    with torch.inference_mode():
        features = torch.from_numpy(case.witnessed[reads][:, len(LABELS) :])
        logit, attention = network(features[None])
        probability = torch.sigmoid(logit)
        return float(probability), slice_scores(attention, probability)[0].numpy()


def table(sets: Mapping[str, Scores], data: str) -> Table:
    """PPV and AUC of the attention model on each set ("local" and "external" in the paper)."""
    at = [f"{name} at {share:.0%}" for share in PREVALENCES for name in ("PPV", "NPV")]

    def row(name: str, scores: Scores) -> tuple[Cell, ...]:
        cells = scores.measure()
        ppv, area = TABLE.get(name, (None, None))
        sensitivity, specificity = cells["sensitivity"], cells["specificity"]
        return (
            replace(cells["PPV"], paper=ppv),
            replace(cells["AUC"], paper=area),
            sensitivity,
            specificity,
            *(cell for share in PREVALENCES for cell in _at(share, sensitivity, specificity)),
        )

    return Table(
        "wu",
        f"{PAPER}: study-level labels",
        data,
        ("test set", "PPV", "AUC", "sensitivity", "specificity", *at),
        {name: row(name, scores) for name, scores in sets.items()},
        (
            counts(sets),
            "PPV is that of the set as it is composed; beside it stand PPV and NPV at the "
            "prevalences named, by Bayes, their limits from the limits of sensitivity and "
            "specificity together (wider than 95 %).",
            f"{INTERVALS} (Wilson's or Newcombe's where the figure is 0 or 1).",
        ),
    )


def _at(prevalence: float, sensitivity: Cell, specificity: Cell) -> list[Cell]:
    """PPV and NPV; both rise with sensitivity and specificity, so their limits follow."""
    if sensitivity.value is None or specificity.value is None:
        return [Cell(), Cell()]
    values = predictive_values(sensitivity.value, specificity.value, prevalence)
    if sensitivity.interval is None or specificity.interval is None:
        return [Cell.of(value) for value in values]
    limits = zip(sensitivity.interval, specificity.interval, strict=True)
    lows, highs = (predictive_values(*limit, prevalence) for limit in limits)
    return [Cell.of(value, bounds) for value, *bounds in zip(values, lows, highs, strict=True)]
