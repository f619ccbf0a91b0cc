"""How much each opinion counts: weights fitted on slices of sites that the networks never saw.

Then one score of a series, and the operating points that a bundle offers. What is chosen here is
written to `STACK` in the recipe's runs, and the export takes it from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit

from models.rules import Opinion, Score, Settings
from training.metrics.locking import CERTAIN, gaps, operating_point, platt
from training.metrics.statistics import Bools, Floats, auc, wilson
from training.unseen.left_out import LeftOut

STACK = "stack.json"
"""Name of the file in a recipe's runs."""

MAP_WEIGHT = 0.2
"""Part of the network of slices in the map: where the ensemble marks nothing, its word still places
the mark. On PhysioNet's tuning patients the Dice score is the same as without it (0.246, four
bleeding patients), and falls from 0.5 on."""

PREVALENCES = (0.01, 0.03, 0.1, 0.3)
"""Shares of bleeding series for which predictive values are said."""

SCORES: tuple[Score, ...] = ("best pair", "top-k mean", "max")
"""Scores of a series to choose from."""

MISSED, ALARMS = 0.1, 0.05
"""Share of the bleeding series that "sensitive" may miss, and of the others that "quiet" may flag,
on the series that they are chosen on (ours)."""

ENOUGH = 30
"""Fewer normal series than these are too few to say how many alarms are false (ours)."""


def with_weights(readings: Sequence[LeftOut], rules: Settings) -> Settings:
    """Return the settings with the weights of both opinions fitted to these sites.

    Each site counts alike, however many slices it has. Slices on which nothing may be chosen, and
    those of patients that a network learnt from, are left out. Subtypes are the network of slices':
    on held-out patients of RSNA it names all five better than the others.
    """
    fair = [each.only(each.known & each.fair & ~each.test) for each in readings]
    bleeds = np.concatenate([each.labels[:, 0] == 1 for each in fair])
    weight = np.concatenate([np.full(len(each.case), 1 / len(each.case)) for each in fair])
    both = np.concatenate([each.opinions for each in fair])
    (slope, slices_slope), intercept = platt(both, bleeds, weight)
    alone = [platt(both[:, [place]], bleeds, weight) for place in (0, 1)]
    ensemble, slices = (Opinion(own, shift) for (own,), shift in alone)
    return replace(
        rules,
        slope=slope,
        slices_slope=slices_slope,
        intercept=intercept,
        ensemble_alone=ensemble,
        slices_alone=slices,
        subtypes="slices",
        map_weight=MAP_WEIGHT,
    )


def slice_scores(reading: LeftOut, rules: Settings) -> Floats:
    """(n,) the stack's score of each slice."""
    return rules.calibrate(expit(reading.ensemble), expit(reading.slices))


def arms(reading: LeftOut, rules: Settings) -> Mapping[str, Floats]:
    """(n,) score of each slice by each kind of network alone and by the stack."""
    return {
        "ensemble": rules.ensemble_alone.calibrate(expit(reading.ensemble)),
        "sequence": expit(reading.sequence),
        "slices": rules.slices_alone.calibrate(expit(reading.slices)),
        "stack": slice_scores(reading, rules),
    }


def series_scores(reading: LeftOut, scores: Floats, rules: Settings) -> tuple[Floats, Bools]:
    """Return the triage score of each series that is known to bleed or not, and whether it does.

    Parameters
    ----------
    scores
        (n,) of the slices.
    """
    rows = reading.series
    found = np.array([rules.triage(scores[each].astype(np.float32)) for each in rows])
    return found, np.array([reading.study[each][0] == 1 for each in rows])


def with_score(readings: Sequence[LeftOut], rules: Settings) -> Settings:
    """Return the settings with the series score that ranks series best, in the mean of the sites.

    Where several do it is the first of `SCORES`.
    """
    areas = {
        each: np.mean([_area(reading, replace(rules, score=each)) for reading in readings])
        for each in SCORES
    }
    return replace(rules, score=max(SCORES, key=lambda each: round(float(areas[each]), 3)))


def _area(reading: LeftOut, rules: Settings) -> float:
    return auc(*series_scores(reading, slice_scores(reading, rules), rules))


def with_doubt(readings: Sequence[LeftOut], rules: Settings) -> Settings:
    """Return the settings with the disagreement that leaves `CERTAIN` of these series certain."""
    apart = []
    for reading in readings:
        said = arms(reading, rules)
        one, other = (
            series_scores(reading, said[name], rules)[0] for name in ("ensemble", "slices")
        )
        apart.append(np.abs(one - other))
    return replace(rules, uncertain_from=float(np.quantile(np.concatenate(apart), CERTAIN)))


def with_points(scores: Floats, bleeds: Bools, rules: Settings) -> Settings:
    """Return the settings with three operating points, chosen on these series.

    "balanced" has the largest sensitivity + specificity; "sensitive" is the highest that misses no
    more than `MISSED` of the bleeding series, "quiet" the lowest that flags no more than `ALARMS`
    of the others; neither lies beyond "balanced".
    """
    balanced = operating_point(scores, bleeds)
    _, middles = gaps(scores)
    missed = np.array([(scores[bleeds] < each).mean() for each in middles])
    alarms = np.array([(scores[~bleeds] >= each).mean() for each in middles])
    points = {
        "sensitive": min(balanced, float(middles[missed <= MISSED].max())),
        "balanced": balanced,
        "quiet": max(balanced, float(middles[alarms <= ALARMS].min())),
    }
    return replace(rules, operating_point=balanced, operating_points=points)


def point_figures(scores: Floats, bleeds: Bools, rules: Settings) -> dict[str, dict[str, Any]]:
    """Return what each operating point does on these series, with counts and 95 % intervals.

    Predictive values follow from both shares at `PREVALENCES`; their intervals from the ends of
    the two intervals, and so are rather too wide. Where there are fewer normal series than
    `ENOUGH`, "few" says so.
    """
    found = {}
    for name, point in rules.points.items():
        flagged = scores >= point
        hits, quiet = int(flagged[bleeds].sum()), int((~flagged[~bleeds]).sum())
        shares = _share(hits, int(bleeds.sum())), _share(quiet, int((~bleeds).sum()))
        found[name] = {
            "point": point,
            "sensitivity": shares[0],
            "specificity": shares[1],
            "predictive": {str(each): _predictive(*shares, each) for each in PREVALENCES},
        }
        if (~bleeds).sum() < ENOUGH:
            found[name]["few"] = f"{(~bleeds).sum()} normal series: too few normals to say"
    return found


def _share(count: int, of: int) -> dict[str, Any]:
    return {"value": count / of, "interval": wilson(count, of), "count": count, "of": of}


def _predictive(
    sensitivity: Mapping[str, Any], specificity: Mapping[str, Any], prevalence: float
) -> dict[str, Any]:
    """Return PPV and NPV at a share of bleeding series, each with its interval."""

    def values(hit: float, quiet: float) -> tuple[float, float]:
        true, false = hit * prevalence, (1 - quiet) * (1 - prevalence)
        cleared, missed = quiet * (1 - prevalence), (1 - hit) * prevalence
        return true / max(true + false, 1e-12), cleared / max(cleared + missed, 1e-12)

    ends = zip(
        (sensitivity["value"], *sensitivity["interval"]),
        (specificity["value"], *specificity["interval"]),
        strict=True,
    )
    (ppv, npv), low, high = (values(*each) for each in ends)
    return {
        "PPV": {"value": ppv, "interval": (low[0], high[0])},
        "NPV": {"value": npv, "interval": (low[1], high[1])},
    }
