"""The rows of the report: one a study, from which each of its figures can be computed anew."""

from collections.abc import Sequence
from typing import Any

from node.archive.acceptance.reference import Member
from node.archive.evidence import Outcome


def mistakes(members: Sequence[Member], *, bleeds: bool) -> list[str]:
    """Return the studies on which the node was wrong, the worst first: by their scores."""
    wrong = [
        each.study.outcome
        for each in members
        if each.bleeds is bleeds and each.study.outcome.flagged is not bleeds
    ]
    return _by_score(wrong, highest_first=not bleeds)


def beyond_reports(members: Sequence[Member]) -> list[str]:
    """Return the flagged studies that bleed, as people say, and of which the report says none.

    The highest score comes first.
    """
    found = [
        each.study.outcome
        for each in members
        if each.study.outcome.flagged and each.settled and each.study.says == "none"
    ]
    return _by_score(found, highest_first=True)


def _by_score(outcomes: Sequence[Outcome], *, highest_first: bool) -> list[str]:
    sign = -1 if highest_first else 1
    in_order = sorted(outcomes, key=lambda one: (sign * (one.probability or 0), one.study))
    return [each.study for each in in_order]


def row(member: Member, *, with_words: bool) -> dict[str, Any]:
    """Return the row of a study.

    Parameters
    ----------
    with_words
        Whether it carries the sentence of the report and people's notes, which may name a patient.
    """
    outcome, label = member.study.outcome, member.study.label
    told = {
        "study": outcome.study,
        "patient": outcome.patient,
        "result": outcome.result,
        "reason": outcome.reason,
        "flagged": outcome.flagged if outcome.analysed else None,
        "probability": outcome.probability,
        "threshold": outcome.threshold,
        "operating_point": outcome.operating_point,
        "uncertain": outcome.uncertain,
        "volume_ml": outcome.volume_ml,
        "subtypes": dict(outcome.subtypes),
        "limitations": list(outcome.limitations),
        "mimics": list(outcome.mimics),
        "scanner": outcome.scanner,
        "kernel": outcome.kernel,
        "thickness_mm": outcome.thickness_mm,
        "age_band": outcome.age_band,
        "sex": outcome.sex,
        "place": outcome.place,
        "key_slice": outcome.key_slice,
        "report": member.study.says,
        "decisions": [
            {"who": each.who, "answer": each.answer, "subtypes": list(each.subtypes)}
            for each in member.answers
        ],
        "truth": member.truth,
        "outside": member.outside,
        "known_by": member.by,
        "expected": member.expected,
        "weight": member.weight,
    }
    if with_words:
        told["sentence"] = label.sentence if label else ""
        told["notes"] = [each.note for each in member.answers if each.note]
    return told
