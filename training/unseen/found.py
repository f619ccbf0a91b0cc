"""What opinions find and what they flag in vain, on slices and series of sites left out.

These are tables beside those of `training.unseen.crossing`, of the same readings.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from models.classifiers import LABELS
from models.rules import Settings
from training.metrics.scores import METHOD, Scores
from training.metrics.statistics import Bools, Floats, wilson
from training.metrics.tables import Cell, Table
from training.unseen.left_out import LeftOut
from training.unseen.stacking import ENOUGH, arms, series_scores, slice_scores

SPECIFICITY = 0.9
"""Each opinion's threshold is the lowest that flags no more than the rest of a site's slices or
series without hemorrhage: at one specificity sensitivities can be compared (ours)."""

SMALL_ML = 5.0
"""Volume below which a series' hemorrhage is small."""

BEFORE_AND_AFTER = ("ensemble", "stack")
FOUND = ("site, label", "bleeding", "by the ensemble", "sensitivity", "by the stack", "sensitivity")
ALARMS = ("site, operating point", "normal", "flagged", "false alarms per 100")
PEERS = ("reader", "series", "bleeding", "AUC")


def found_table(readings: Sequence[tuple[LeftOut, Settings]]) -> Table:
    """Return how much of each kind of hemorrhage is found, before the network of slices and after.

    Parameters
    ----------
    readings
        Each site's slices on which figures are fair, and the rules by which they are scored.
    """
    rows: dict[str, tuple[Cell, ...]] = {}
    for site, rules in readings:
        of_slices = arms(site, rules)
        known = {name: site.labels[:, place] == 1 for place, name in enumerate(LABELS)}
        normal = site.labels[:, 0] == 0
        rows |= _found(site, known, normal, of_slices)
        if site.whole:
            rows |= _found(site, *_small(site), _of_series(site, of_slices, rules))
    return Table(
        "found",
        f"Hemorrhages found where {SPECIFICITY:.0%} of the others are let pass",
        "slices, and whole series with less than 5 mL",
        FOUND,
        rows,
        (
            "Each opinion has its own threshold: both flag equally many without hemorrhage.",
            "Interval: Wilson's, 95 %, over slices or series.",
        ),
    )


def _found(
    site: LeftOut, shown: Mapping[str, Bools], normal: Bools, scores: Mapping[str, Floats]
) -> dict[str, tuple[Cell, ...]]:
    """Return a row for each kind that is shown; none without anything that shows none."""
    if not normal.any():
        return {}
    limits = {arm: _limit(scores[arm][normal]) for arm in BEFORE_AND_AFTER}
    return {
        f"{site.name}, {kind}": (
            Cell(int(rows.sum())),
            *(cell for arm in BEFORE_AND_AFTER for cell in _share(scores[arm][rows] > limits[arm])),
        )
        for kind, rows in shown.items()
        if rows.any()
    }


def _limit(normal: Floats) -> float:
    return float(np.quantile(normal, SPECIFICITY, method="higher"))


def _share(flagged: Bools) -> tuple[Cell, Cell]:
    count, of = int(flagged.sum()), len(flagged)
    return Cell(count), Cell(count / of, wilson(count, of))


def _small(site: LeftOut) -> tuple[Mapping[str, Bools], Bools]:
    """Return which series have a small hemorrhage, and which none."""
    drawn = np.array([site.drawn_ml[rows][0] for rows in site.series])
    bleeds = np.array([site.study[rows][0] == 1 for rows in site.series])
    with np.errstate(invalid="ignore"):
        return {f"series below {SMALL_ML:.0f} mL": bleeds & (drawn < SMALL_ML)}, ~bleeds


def _of_series(
    site: LeftOut, scores: Mapping[str, Floats], rules: Settings
) -> Mapping[str, Floats]:
    return {arm: series_scores(site, each, rules)[0] for arm, each in scores.items()}


def alarms_table(readings: Sequence[LeftOut], rules: Settings) -> Table:
    """Return how many series without hemorrhage are flagged at each operating point.

    A slice without neighbours is a series of one.
    """
    rows = {
        f"{site.name}, {point}": cells for site in readings for point, cells in _alarms(site, rules)
    }
    return Table(
        "alarms",
        "False alarms at each operating point",
        "series without hemorrhage; of RSNA single slices",
        ALARMS,
        rows,
        (
            "Interval: Wilson's, 95 %.",
            "Weights and points were chosen on these sites together: for a new hospital these are "
            f"hopes. Below {ENOUGH} normal series are too few to say.",
        ),
        digits=1,
    )


def _alarms(site: LeftOut, rules: Settings) -> Iterator[tuple[str, tuple[Cell, ...]]]:
    scores, bleeds = series_scores(site, slice_scores(site, rules), rules)
    if bleeds.all():
        return
    for name, point in rules.points.items():
        count, of = int((scores[~bleeds] >= point).sum()), int((~bleeds).sum())
        low, high = wilson(count, of)
        yield name, (Cell(of), Cell(count), Cell(100 * count / of, (100 * low, 100 * high)))


def peers_table(site: LeftOut, rules: Settings, peers: Path) -> Table:
    """Return the AUC of other readers over a site's series, beside the network of slices.

    The ensemble and the stack are left out where the ensemble learnt from the site.

    Parameters
    ----------
    peers
        CSV: patient, bleeding, then a score for each peer.

    Raises
    ------
    ValueError
        If the file and the site differ on who bleeds, or have no patient in common.
    """
    with peers.open(newline="") as lines:
        told = {row["patient"]: row for row in csv.DictReader(lines)}
    scores, bleeds = series_scores(site, arms(site, rules)["slices"], rules)
    patients = np.array([site.patient[rows][0] for rows in site.series])
    both = np.isin(patients, list(told))
    if not both.any():
        raise ValueError(f"{peers}: no patient of {site.site}")
    chosen = [told[name] for name in patients[both]]
    if [row["bleeding"] == "1" for row in chosen] != bleeds[both].tolist():
        raise ValueError(f"{peers}: {site.site} says otherwise who bleeds")
    names = [name for name in chosen[0] if name not in ("patient", "bleeding")]
    found = {"network of slices": scores[both]}
    found |= {name: np.array([float(row[name]) for row in chosen]) for name in names}
    return Table(
        "peers",
        f"Series of {site.site} beside other readers",
        f"{both.sum()} series of {site.site}, which no network here learnt from",
        PEERS,
        {name: _area(Scores(bleeds[both], each, patients[both])) for name, each in found.items()},
        (f'The score of a series is "{rules.score}" of its slices.', METHOD),
    )


def _area(scores: Scores) -> tuple[Cell, ...]:
    counts = (len(scores.truth), int(scores.truth.sum()))
    return (*map(Cell, counts), scores.measure()["AUC"])
