"""The same figures by scanner, kernel, thickness, age, place of order, volume and subtype."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from models.findings import SUBTYPES
from node.archive.acceptance.figures import (
    TOO_FEW,
    Estimate,
    Figure,
    estimate,
    wilson,
)
from node.archive.acceptance.reference import PEOPLE, Member, Reference
from node.archive.evidence import Outcome

MOST_VALUES = 20
"""Of one dimension; the rarer ones are one line. Chosen."""
NOT_TOLD = "not told"
OTHERS = "others"
NAMED_FROM = 0.5
"""The node names a subtype from this probability on: there it is likelier present than absent."""

_THICKNESS = ((1.5, "up to 1.5 mm"), (3.0, "over 1.5 to 3 mm"), (5.5, "over 3 to 5.5 mm"))
_VOLUMES = ((1.0, "under 1 mL"), (5.0, "1 to 5 mL"), (30.0, "5 to 30 mL"))


def thickness(outcome: Outcome) -> str:
    """Return the band of a study's slice thickness."""
    if outcome.thickness_mm is None:
        return NOT_TOLD
    return next((name for most, name in _THICKNESS if outcome.thickness_mm <= most), "over 5.5 mm")


def volume(outcome: Outcome) -> str:
    """Return the class of the volume that the node outlined."""
    if not outcome.volume_ml:
        return "nothing outlined"
    return next((name for below, name in _VOLUMES if outcome.volume_ml < below), "30 mL and more")


DIMENSIONS: Mapping[str, Callable[[Outcome], str]] = {
    "scanner": lambda outcome: outcome.scanner or NOT_TOLD,
    "kernel": lambda outcome: outcome.kernel or NOT_TOLD,
    "thickness": thickness,
    "age": lambda outcome: outcome.age_band or NOT_TOLD,
    "place": lambda outcome: outcome.place or NOT_TOLD,
    "sex": lambda outcome: outcome.sex or NOT_TOLD,
    "volume": volume,
}
"""By what studies are told apart, and each study's value."""

FIGURES = (Figure.SENSITIVITY, Figure.SPECIFICITY, Figure.PPV)


def strata(reference: Reference) -> dict[str, list[dict[str, Any]]]:
    """Return the figures of each value of each dimension, the most frequent value first."""
    members = reference.analysed()
    return {name: _stratum(reference, members, value) for name, value in DIMENSIONS.items()}


def values(members: Sequence[Member], value: Callable[[Outcome], str]) -> list[str]:
    """Return each study's value; the rarer ones are `OTHERS`."""
    found = [value(each.study.outcome) for each in members]
    counts = Counter(found)
    in_order = sorted(counts, key=lambda each: (-counts[each], each))
    kept = set(in_order if len(in_order) <= MOST_VALUES else in_order[: MOST_VALUES - 1])
    return [each if each in kept else OTHERS for each in found]


def _stratum(
    reference: Reference, members: Sequence[Member], value: Callable[[Outcome], str]
) -> list[dict[str, Any]]:
    counted = reference.counted(members)
    found = np.array(values(members, value), object)
    counts = Counter(found.tolist())
    lines = []
    for name in sorted(counts, key=lambda each: (each == OTHERS, -counts[each], each)):
        part = counted.only(np.asarray(found == name, bool))
        lines.append(
            {
                "value": name,
                "studies": counts[name],
                **{str(figure): estimate(figure, part).to_json() for figure in FIGURES},
            }
        )
    return lines


def by_subtype(reference: Reference) -> dict[str, Any]:
    """Return the sensitivity by the subtypes that people named, and the PPV by those of the node.

    A study counts in each of its subtypes. Only people's own decisions tell a subtype, so without
    them there is no sensitivity; each counts for the studies that it stands for.
    """
    members = reference.analysed()
    named = [
        each
        for each in members
        if each.by == PEOPLE and each.truth and any(one.subtypes for one in each.answers)
    ]
    flagged = [each for each in members if each.study.outcome.flagged]
    sensitivity, ppv = [], []
    for name in SUBTYPES:
        bleeds = [each for each in named if any(name in one.subtypes for one in each.answers)]
        flags = [each for each in flagged if each.study.outcome.subtypes.get(name, 0) >= NAMED_FROM]
        found = estimate(Figure.PPV, reference.counted(flags))
        sensitivity.append(
            {"value": name, "studies": len(bleeds), "sensitivity": _found(bleeds).to_json()}
        )
        ppv.append({"value": name, "studies": len(flags), "ppv": found.to_json()})
    return {"bleeds_with_subtypes": len(named), "sensitivity": sensitivity, "ppv": ppv}


def _found(members: Sequence[Member]) -> Estimate:
    """Return the share of these bleeds that was flagged; Wilson's interval at Kish's number."""
    weights = np.array([each.weight for each in members], float)
    flagged = np.array([each.study.outcome.flagged for each in members], bool)
    of, hits = float(weights.sum()), float(weights[flagged].sum())
    if len(members) < TOO_FEW:
        return Estimate(hits, of, None, None, None, float(len(members)))
    independent = of**2 / float((weights**2).sum())
    low, high = wilson(hits / of, independent)
    return Estimate(hits, of, hits / of, low, high, independent)
