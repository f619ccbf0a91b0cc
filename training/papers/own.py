"""Tables of our own: phantoms beside a HU threshold, and the cross-validation."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.classifiers import LABELS
from models.findings import SUBTYPES
from training.metrics.scores import METHOD, Scores, adjusted, compare, estimate
from training.metrics.statistics import Bools, Floats
from training.metrics.tables import Cell, Table
from training.papers.measured import Measured

ARMS = ("detector", "threshold")

COLUMNS = (
    "hemorrhage",
    "cases",
    "detection AUC",
    "HU threshold AUC",
    "naming AUC",
    "volume error, mL (median)",
    "absolute volume error, mL (median)",
)

EXPLAINED = (
    "Detection: cases of the subtype, mixed ones among them, against all normal ones; p "
    "against the HU threshold. Naming: the subtype's probability on all cases "
    "(any: as detection). Volume error: found less true."
)


def tables(measured: Measured) -> list[Table]:
    """Return the table of the phantoms; patients' masks are too rough to compare volumes."""
    if not measured.of_phantoms:
        return []
    results = measured.results
    truth_ml, found_ml = (
        np.array([getattr(case, each) for case in results]) for each in ("truth_ml", "found_ml")
    )
    return [
        phantoms(
            measured.ensemble(),
            measured.cases(lambda case: case.dense_ml, np.inf),
            measured.case_subtypes,
            np.array([case.subtypes.max(0) for case in results]),
            (truth_ml, found_ml),
            measured.data,
        )
    ]


def phantoms(
    read: Scores,
    by_threshold: Scores,
    subtypes: Bools,
    probabilities: Floats,
    volumes_ml: tuple[Floats, Floats],
    data: str,
) -> Table:
    """Detection by subtype beside a plain HU threshold, naming, and volume against truth.

    Parameters
    ----------
    read, by_threshold
        The detector's and the HU threshold's scores of the same cases.
    subtypes
        (n, 5) bool, `SUBTYPES` of each case.
    probabilities
        (n, 5) the detector's, of them.
    volumes_ml
        (n,) true and (n,) found volumes in mL.
    data
        Which phantoms, with the word "phantom".
    """
    groups = dict(zip(LABELS, (read.truth, *subtypes.T), strict=True))
    arms = {
        name: dict(zip(ARMS, (read.among(group), by_threshold.among(group)), strict=True))
        for name, group in groups.items()
    }
    p = adjusted({name: compare(pair, ARMS[1])[ARMS[0]] for name, pair in arms.items()})
    errors = volumes_ml[1] - volumes_ml[0]

    def row(name: str, group: Bools) -> tuple[Cell, ...]:
        detection, baseline = (arms[name][arm].measure()["AUC"] for arm in ARMS)
        return (
            Cell(int(group.sum())),
            replace(detection, p=p[name]),
            baseline,
            _naming(name, group, probabilities, read.patient) or detection,
            *_medians(errors[group], read.patient[group]),
        )

    return Table(
        "phantom",
        "Phantoms: detection, naming and volume by subtype",
        data,
        COLUMNS,
        {name: row(name, group) for name, group in groups.items()},
        (
            f"{read.count()}. Phantoms show that nothing is broken, not how well"
            " patients are read.",
            EXPLAINED,
            METHOD,
        ),
    )


def _naming(name: str, group: Bools, probabilities: Floats, patient: NDArray[Any]) -> Cell | None:
    """AUC of a subtype's probability on all cases; None for "any", which has none of its own."""
    if name not in SUBTYPES:
        return None
    return Scores(group, probabilities[:, SUBTYPES.index(name)], patient).measure()["AUC"]


def _medians(errors: Floats, patient: NDArray[Any]) -> list[Cell]:
    """Median error and median absolute error."""
    if not len(errors):
        return [Cell(), Cell()]

    def figures(weights: Floats) -> Floats:
        drawn = [np.repeat(errors, row.astype(int)) for row in weights]
        return np.array([(np.median(row), np.median(np.abs(row))) for row in drawn])

    return estimate(figures, patient, np.ones(len(patient), bool))


def cross_validation(found: Mapping[str, Any], folds: int) -> Table:
    """`training.metrics.measure.figures` of a cross-validation as a table."""
    rows = {key: found[key] for key in ("case_auc", "slice_auc", "dice")}
    rows |= {f"{name}, slice AUC": each for name, each in found["subtype_slice_auc"].items()}
    return Table(
        "cross-validation",
        f"Model 1 alone, {folds}-fold cross-validation",
        f"PhysioNet CT-ICH, {found['cases']} patients ({found['bleeding']} bleed), each read by "
        "the network that held it out",
        ("figure", "value"),
        {
            name.replace("_", " "): (
                Cell(each["value"], tuple(each["interval"]) if each["value"] is not None else None),
            )
            for name, each in rows.items()
        },
        (
            "Case AUC: DeLong's interval; the others: 500 bootstrap replications over patients.",
            "Dice: median over bleeding patients. The data set's paper reports 0.31 for its U-Net.",
        ),
    )
