"""Kang 2023: weak against strong labels, ensembles, and the ensemble against four networks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from models.findings import SUBTYPES
from training.metrics.measure import Result
from training.metrics.scores import METHOD, Scores, adjusted, compare, counts
from training.metrics.statistics import Bools, Floats
from training.metrics.tables import Cell, Table
from training.papers.measured import Measured, named
from training.recipes.stages import Classifier

PAPER = "Kang 2023, Front Neurol 14:1321964"

TABLE_2_ERRATUM = (
    "The paper finds that InceptionResNetV2, MobileNetV2 and VGG19 gain from strong labels and "
    "DenseNet121 does not. Several of its intervals in this table are far too narrow for their "
    "counts."
)

TABLE_3 = {
    "1+2": "0.938",
    "1+2+3": "0.936",
    "1+2+4": "0.944",
    "1+2+5": "0.946",
    "1+2+3+4+5": "0.951",
}
"""AUC on all cases of each ensemble of base models [paper]."""

ALL_FIVE = "1+2+3+4+5"

TABLE_4 = {
    "ensemble": ("0.953 (0.938 to 0.965)", "0.928", "0.857"),
    "inception_resnet_v2": ("0.852 (0.828 to 0.873)", None, None),
    "densenet121": ("0.875 (0.852 to 0.895)", None, None),
    "vgg19_bn": ("0.796 (0.770 to 0.821)", None, None),
    "mobilenetv2_100": ("0.650 (0.620 to 0.680)", None, None),
}
"""AUC, sensitivity and specificity [paper]."""

COUNTS = "The paper's Table 3 uses 492/494 cases and its Table 4 487/499, without a reason."


def tables(measured: Measured) -> list[Table]:
    """Return Table 3 on cases and on slices, and Tables 2 and 4 of a recipe with both arms."""
    data = measured.data
    by_slice = table_3(*_combinations_of_slices(measured), f"{data}; slices")
    made = [
        table_3(*_combinations_of_cases(measured), f"{data}; cases"),
        replace(by_slice, name="kang-t3-slices"),
    ]
    if both := _weak_and_located(measured):
        made += [
            table_2(both, "weak", f"{data}; slices"),
            table_4(measured.ensemble(), classifiers(measured), f"{data}; cases"),
        ]
    return made


def _combinations_of_cases(measured: Measured) -> tuple[dict[str, Scores], Bools]:
    rules = measured.rules

    def score(place: int | None, case: Result) -> float:
        return rules.triage(rules.calibrate(_peaks(place, case)))

    arms = {arm: measured.cases(partial(score, place)) for arm, place in _places(measured).items()}
    return arms, measured.case_subtypes


def _combinations_of_slices(measured: Measured) -> tuple[dict[str, Scores], Bools]:
    arms = {arm: measured.slabs(partial(_peaks, place)) for arm, place in _places(measured).items()}
    return arms, measured.labels[:, 1:]


def _places(measured: Measured) -> dict[str, int | None]:
    """Where each arm's peaks stand in `Result.base_peaks`; None for the whole ensemble's."""
    return {ALL_FIVE: None} | {arm: place for place, arm in enumerate(measured.arms)}


def _peaks(place: int | None, case: Result) -> Floats:
    return case.peaks if place is None else case.base_peaks[:, place]


def classifiers(measured: Measured) -> dict[str, Scores]:
    """Case scores of the weakly trained classifiers, the largest triage score of their slabs."""

    def score(name: str, case: Result) -> float:
        return measured.rules.triage(_any(name, case))

    return {
        stage.backbone: measured.cases(partial(score, stage.name))
        for stage in measured.stages(Classifier)
        if not stage.exclusive and not stage.location
    }


def _weak_and_located(measured: Measured) -> dict[str, dict[str, Scores]]:
    """Scores of slices by network and arm, of the networks that were trained in both."""
    arms: dict[str, dict[str, Scores]] = defaultdict(dict)
    for stage in measured.stages(Classifier):
        if not stage.exclusive:
            arm = "located" if stage.location else "weak"
            arms[stage.backbone][arm] = measured.slabs(partial(_any, stage.name))
    return {network: found for network, found in arms.items() if len(found) == 2}


def _any(name: str, case: Result) -> NDArray[np.float32]:
    """(s,) what the network of this name says of each slab: the probability of any hemorrhage."""
    return case.witnessed[name][:, 0]


def table_2(networks: Mapping[str, Mapping[str, Scores]], reference: str, data: str) -> Table:
    """Weak against strong labels: each network in each arm, tested against the reference arm.

    Parameters
    ----------
    networks
        By network (timm's name), by arm: all arms of a network on the same cases.
    reference
        The arm that the others are compared with.
    data
        Data set and split.
    """
    p = adjusted(
        {
            (network, arm): value
            for network, arms in networks.items()
            for arm, value in compare(arms, reference).items()
        }
    )
    rows = {
        f"{named(network)}, {arm}": _headline(scores, p.get((network, arm)))
        for network, arms in networks.items()
        for arm, scores in arms.items()
    }
    cases = counts({named(network): arms[reference] for network, arms in networks.items()})
    return Table(
        "kang-t2",
        f"{PAPER}, Table 2: weak against strong labels",
        data,
        ("network, labels", "AUC", "sensitivity", "specificity"),
        rows,
        (f"Reference: {reference}. {cases}", METHOD, TABLE_2_ERRATUM),
    )


def table_3(arms: Mapping[str, Scores], subtypes: Bools, data: str) -> Table:
    """AUC of the ensembles, their members and the plain mean, on all, SDH and SAH cases.

    Parameters
    ----------
    arms
        On the same cases: those of `TABLE_3`, and any others such as "model 1" or "mean of five".
    subtypes
        (n, 5) bool, `SUBTYPES` of each case. Negative cases stand in every column.
    data
        Data set and split.
    """
    columns = {"all": arms[ALL_FIVE].truth} | {
        name: subtypes[:, SUBTYPES.index(name)] for name in ("subdural", "subarachnoid")
    }
    chosen = {
        column: {name: scores.among(positives) for name, scores in arms.items()}
        for column, positives in columns.items()
    }
    p = {column: adjusted(compare(among, ALL_FIVE)) for column, among in chosen.items()}

    def cell(name: str, column: str) -> Cell:
        paper = TABLE_3.get(name) if column == "all" else None
        area = chosen[column][name].measure()["AUC"]
        return replace(area, p=p[column].get(name), paper=paper)

    cases = counts({column: among[ALL_FIVE] for column, among in chosen.items()})
    return Table(
        "kang-t3",
        f"{PAPER}, Table 3: AUC of the ensembles",
        data,
        ("base models", *columns),
        {name: tuple(cell(name, column) for column in columns) for name in arms},
        (
            f"Reference: {ALL_FIVE}. {cases}",
            METHOD,
            "Several of the paper's intervals in this table are far too narrow for their counts.",
            COUNTS,
        ),
    )


def table_4(ensemble: Scores, networks: Mapping[str, Scores], data: str) -> Table:
    """The ensemble against the classifiers (by timm's name), on the same cases."""
    arms = {"ensemble": ensemble, **networks}
    p = adjusted(compare(arms, "ensemble"))
    return Table(
        "kang-t4",
        f"{PAPER}, Table 4: the weighted ensemble against four networks",
        data,
        ("network", "AUC", "sensitivity", "specificity"),
        {
            named(name): _headline(scores, p.get(name), TABLE_4.get(name))
            for name, scores in arms.items()
        },
        (
            f"Reference: ensemble. {ensemble.count()}. Thresholds: "
            + ", ".join(f"{named(name)} {each.threshold:.3g}" for name, each in arms.items())
            + " (the paper: 0.5).",
            METHOD,
            COUNTS,
        ),
    )


def _headline(
    scores: Scores, p: float | None, paper: Sequence[str | None] | None = None
) -> tuple[Cell, ...]:
    """AUC with its p, sensitivity and specificity, beside the paper's."""
    cells = scores.measure()
    area, *shares = (
        replace(cells[name], paper=text)
        for name, text in zip(
            ("AUC", "sensitivity", "specificity"), paper or (None, None, None), strict=True
        )
    )
    return replace(area, p=p), *shares
