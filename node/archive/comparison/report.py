"""The comparison as JSON: every figure, and the rows that it is computed of."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from typing import Any

import numpy as np

from node.archive.acceptance import DIMENSIONS, OTHERS, PEOPLE, TOO_FEW, Figure, row, values
from node.archive.comparison.paired import change, flagged_table, mcnemar
from node.archive.comparison.pairs import Pair, Pairs, paired
from node.archive.comparison.remarks import remarks
from node.archive.comparison.sides import Side, Sides
from node.archive.evidence import Outcome, Study
from node.wording import RESEARCH_USE_ONLY, Flip

TOLD_APART_BY = ("scanner", "kernel", "thickness", "age", "place")
FIGURES = (Figure.SENSITIVITY, Figure.SPECIFICITY)
ANSWER = (
    *("result", "reason", "flagged", "probability", "threshold", "operating_point", "uncertain"),
    *("volume_ml", "subtypes", "limitations", "mimics", "key_slice"),
)
"""What of a row is a bundle's answer."""


def comparison(sides: Sides, now: datetime, *, with_words: bool = False) -> dict[str, Any]:
    """Return what changes from the old bundle to the new one.

    Parameters
    ----------
    with_words
        Whether rows carry sentences of reports and notes of people, which may name a patient.
    """
    pairs = paired(sides)
    counting = [each for each in pairs.all if each.counts]
    both = [each for each in pairs.all if each.analysed]
    return {
        "research_use_only": RESEARCH_USE_ONLY,
        "made_at": now.isoformat(timespec="seconds"),
        "ichnode": version("ichnode"),
        "confidence": 0.95,
        "too_few": TOO_FEW,
        "old": _side(sides.old, sides.only_old),
        "new": _side(sides.new, sides.only_new),
        "same_points": set(sides.old.points()) == set(sides.new.points()),
        "studies": {
            "both": len(pairs.all),
            "both_analysed": len(both),
            "in_figures": len(counting),
        },
        "reference": {
            "by": PEOPLE if any(each.by_people for each in pairs.known.values()) else "report",
            "flips": sum(each.flip is not None for each in pairs.all),
            "flips_settled": sum(
                each.flip is not None and each.member.by == PEOPLE for each in pairs.all
            ),
        },
        "lost": _names([each for each in pairs.all if each.lost]),
        "gained": _names([each for each in pairs.all if each.gained]),
        "flips": {
            str(flip): _names([each for each in pairs.all if each.flip is flip]) for flip in Flip
        },
        "all": _all(both),
        **_figures(pairs, counting),
        "strata": {name: _strata(pairs, counting, DIMENSIONS[name]) for name in TOLD_APART_BY},
        "remarks": [*sides.remarks, *remarks(sides, pairs)],
        "rows": [_row(each, with_words=with_words) for each in pairs.all],
    }


def _side(side: Side, alone: Sequence[str]) -> dict[str, Any]:
    return {
        "name": side.name,
        "read": len(side.outcomes),
        "only_here": len(alone),
        "bundles": dict(side.bundles()),
        "operating_points": [
            {"operating_point": name, "threshold": threshold, "studies": number}
            for (name, threshold), number in side.points().items()
        ],
        "results": dict(Counter(str(one.result) for one in side.outcomes.values())),
    }


def _names(pairs: Sequence[Pair]) -> list[str]:
    """Return studies by how far their scores moved, bleeds first."""

    def order(pair: Pair) -> tuple[bool, float, str]:
        moved = (pair.new.probability or 0) - (pair.old.probability or 0)
        return not pair.bleeds, -abs(moved), pair.old.study

    return [each.old.study for each in sorted(pairs, key=order)]


def _all(both: Sequence[Pair]) -> dict[str, Any]:
    """Return what flips among all that both analysed, whatever the truth."""
    table = flagged_table(
        np.array([each.old.flagged for each in both], bool),
        np.array([each.new.flagged for each in both], bool),
    )
    only_new, only_old = round(table.only_new), round(table.only_old)
    return {
        "table": table.to_json(),
        "mcnemar": {
            "studies": len(both),
            "only_new": only_new,
            "only_old": only_old,
            "p": mcnemar(only_new, only_old),
        },
    }


def _figures(pairs: Pairs, counting: Sequence[Pair]) -> dict[str, Any]:
    answers = pairs.answers(counting)
    return {str(figure): change(figure, answers) for figure in FIGURES}


def _strata(
    pairs: Pairs, counting: Sequence[Pair], value: Callable[[Outcome], str]
) -> list[dict[str, Any]]:
    """Return the figures of each value, the most frequent first."""
    found = values([each.member for each in counting], value)
    counts = Counter(found)
    lines = []
    for name in sorted(counts, key=lambda each: (each == OTHERS, -counts[each], each)):
        held = [each for each, told in zip(counting, found, strict=True) if told == name]
        flips = Counter(each.flip for each in held)
        lines.append(
            {
                "value": name,
                "studies": len(held),
                "flagged_now": flips[Flip.FLAGGED],
                "not_flagged_now": flips[Flip.UNFLAGGED],
                **_figures(pairs, held),
            }
        )
    return lines


def _row(pair: Pair, *, with_words: bool) -> dict[str, Any]:
    told = row(pair.member, with_words=with_words)
    after = row(replace(pair.member, study=Study(pair.new, None)), with_words=False)
    shared: Mapping[str, Any] = {
        name: value for name, value in told.items() if name not in (*ANSWER, "weight")
    }
    return {
        **shared,
        "flip": pair.flip,
        "old": {name: told[name] for name in ANSWER},
        "new": {name: after[name] for name in ANSWER},
    }
