"""What became of each study on its way: found, taken, read, analysed, labelled, adjudicated."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from node.archive.acceptance.figures import wilson
from node.archive.acceptance.reference import Reference
from node.archive.adjudication import Sample
from node.archive.evidence import ANALYSED, Joined, Result

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
MOST_REASONS = 12
"""That are told one by one; the rarer ones are one line. Chosen."""


def flow(joined: Joined, reference: Reference, sample: Sample | None) -> dict[str, Any]:
    """Return how many studies there are at each step, and why some go no further."""
    studies = joined.studies
    read = {study.name for study in studies}
    results = Counter(study.outcome.result for study in studies)
    analysed = sum(results[each] for each in ANALYSED)
    found, taken = _found(joined, read)
    return {
        **found,
        "read": len(read),
        "results": {str(result): results[result] for result in Result},
        "reasons": {
            str(result): _reasons(
                Counter(
                    _kind(study.outcome.reason)
                    for study in studies
                    if study.outcome.result is result
                )
            )
            for result in Result
            if result not in ANALYSED
        },
        "analysed": analysed,
        "analysed_share": _share(analysed, max(taken, len(read))),
        "labels": dict(Counter(study.says for study in studies)),
        "asked": len(sample.asked) if sample else 0,
        "decided": sum(bool(each.answers) for each in reference.members),
        "settled": sum(each.by == "people" for each in reference.members),
        "outside": sum(each.outside for each in reference.members),
        "left_out": sum(bool(each.cell) and each.expected is None for each in reference.members),
        "patients": len({study.outcome.patient or study.name for study in studies}),
    }


def _found(joined: Joined, read: set[str]) -> tuple[dict[str, Any], int]:
    """Return what the catalogue says, and how many studies should have been read."""
    if joined.found is None:
        return {"found": None, "taken": None, "not_taken": {}, "not_read": None}, 0
    taken = {name for name, was in joined.found.studies.items() if was}
    told = {
        "found": len(joined.found.studies),
        "taken": len(taken),
        "not_taken": _reasons(Counter(joined.found.not_taken)),
        "not_read": len(taken - read),
    }
    return told, len(taken | read)


def _kind(reason: str) -> str:
    """Return a reason without its numbers, so that reasons of one kind are counted together."""
    return _NUMBER.sub("…", reason) or "no reason is told"


def _reasons(counts: Mapping[str, int]) -> dict[str, int]:
    in_order = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    kept = dict(in_order[:MOST_REASONS])
    if rest := sum(count for _, count in in_order[MOST_REASONS:]):
        kept["other reasons"] = rest
    return kept


def _share(part: int, whole: int) -> dict[str, Any] | None:
    if not whole:
        return None
    low, high = wilson(part / whole, whole)
    return {"value": part / whole, "low": low, "high": high, "hits": part, "of": whole}
