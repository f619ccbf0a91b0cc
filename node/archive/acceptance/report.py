"""The acceptance report as JSON: every figure, and the rows that it is computed of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

import numpy as np

from node.archive.acceptance.curves import Scored, calibration, roc
from node.archive.acceptance.figures import TOO_FEW, Counted, estimates, prevalence
from node.archive.acceptance.flow import flow
from node.archive.acceptance.limits import Limits, judged, overall
from node.archive.acceptance.planning import needed, predictive
from node.archive.acceptance.reference import (
    PEOPLE,
    REPORT,
    Member,
    Reference,
    reference,
    reports_alone,
)
from node.archive.acceptance.remarks import remarks
from node.archive.acceptance.rows import beyond_reports, mistakes, row
from node.archive.acceptance.strata import by_subtype, strata
from node.archive.adjudication import Decisions, Sample, kappas
from node.archive.evidence import Joined
from node.wording import RESEARCH_USE_ONLY


def acceptance_report(
    joined: Joined,
    decisions: Decisions,
    sample: Sample | None,
    limits: Limits | None,
    now: datetime,
    *,
    with_words: bool = False,
) -> dict[str, Any]:
    """Return the acceptance report of a proof.

    Parameters
    ----------
    with_words
        Whether the rows carry sentences of reports and notes of people, which may name a patient.
    """
    known = reference(joined.studies, decisions, sample)
    analysed = known.analysed()
    counted = known.counted(analysed)
    figures = estimates(counted)
    scored = _scored(analysed)
    told: dict[str, Any] = {
        "research_use_only": RESEARCH_USE_ONLY,
        "made_at": now.isoformat(timespec="seconds"),
        "ichnode": version("ichnode"),
        "bundles": _bundles(joined),
        "period": _period(joined),
        "confidence": 0.95,
        "too_few": TOO_FEW,
        "flow": flow(joined, known, sample),
        "reference": {
            "by": PEOPLE if known.by_people else REPORT,
            "cells": [each.to_json() for each in known.cells],
            "sample": sample and {"agreements": sample.agreements, "seed": sample.seed},
            "several_studies_of_a_patient": _clustered(counted),
        },
        "figures": {
            "studies": len(analysed),
            "prevalence": prevalence(counted),
            "table": _table(counted),
            **{name: each.to_json() for name, each in figures.items()},
        },
        "reports_alone": _reports_alone(joined) if known.by_people else None,
        "either_way": _either_way(known),
        "roc": {**roc(scored), "operating_points": _operating_points(known, analysed)},
        "calibration": calibration(scored),
        "strata": strata(known),
        "subtypes": by_subtype(known),
        "predictive_values": predictive(figures),
        "needed": needed(prevalence(counted), float(counted.bleeds.sum())),
        "kappa": [each.to_json() for each in kappas(decisions)],
        "mistakes": {
            "missed": mistakes(analysed, bleeds=True),
            "false_alarms": mistakes(analysed, bleeds=False),
        },
        "beyond_reports": beyond_reports(analysed),
    }
    told["limits"] = _limits(limits, told, joined)
    told["remarks"] = [*joined.remarks, *remarks(known, decisions, sample)]
    told["studies"] = [row(each, with_words=with_words) for each in known.members]
    return told


def _table(counted: Counted) -> dict[str, float]:
    yes, bleeds = counted.flagged, counted.bleeds
    return {
        "flagged_bleeds": float(bleeds[yes].sum()),
        "flagged_none": float((1 - bleeds[yes]).sum()),
        "not_flagged_bleeds": float(bleeds[~yes].sum()),
        "not_flagged_none": float((1 - bleeds[~yes]).sum()),
    }


def _clustered(counted: Counted) -> int:
    """Return how many patients have more than one study among these."""
    return int((np.bincount(counted.patient) > 1).sum()) if len(counted.patient) else 0


def _reports_alone(joined: Joined) -> dict[str, Any]:
    known = reports_alone(joined.studies)
    members = known.analysed()
    counted = known.counted(members)
    found = {str(name): each.to_json() for name, each in estimates(counted).items()}
    return {"studies": len(members), "table": _table(counted), **found}


def _either_way(known: Reference) -> dict[str, Any]:
    """Return the figures with what was not analysed taken for "not flagged", and for "flagged"."""
    others = [each for each in known.members if not each.cell]
    useful = [each for each in others if each.expected is not None]
    members = [*known.analysed(), *useful]
    return {
        "not_analysed": len(others),
        "of_known_truth": len(useful),
        "bleeds_among_them": sum(each.truth is True for each in useful),
        **{
            name: {
                figure: each.to_json()
                for figure, each in estimates(known.counted(members, flagged=flagged)).items()
            }
            for name, flagged in (("as_not_flagged", False), ("as_flagged", True))
        },
    }


def _scored(members: Sequence[Member]) -> Scored:
    """Return the studies with a score, whose own truth is known."""
    chosen = [
        each for each in members if each.weight > 0 and each.study.outcome.probability is not None
    ]
    patients = [each.study.outcome.patient or f"study {each.study.name}" for each in chosen]
    return Scored(
        scores=np.array([each.study.outcome.probability for each in chosen], float),
        bleeds=np.array([bool(each.truth) for each in chosen], bool),
        weights=np.array([each.weight for each in chosen], float),
        patient=np.unique(patients, return_inverse=True)[1].astype(np.intp)
        if patients
        else np.array([], np.intp),
    )


def _operating_points(known: Reference, members: Sequence[Member]) -> list[dict[str, Any]]:
    """Return the figures of the studies read at each operating point, most studies first."""
    by_point: dict[tuple[str, float | None], list[Member]] = {}
    for each in members:
        outcome = each.study.outcome
        by_point.setdefault((outcome.operating_point, outcome.threshold), []).append(each)
    return [
        {
            "operating_point": name,
            "threshold": threshold,
            "studies": len(held),
            **{figure: found.to_json() for figure, found in estimates(known.counted(held)).items()},
        }
        for (name, threshold), held in sorted(by_point.items(), key=lambda each: -len(each[1]))
    ]


def _limits(
    limits: Limits | None, told: Mapping[str, Any], joined: Joined
) -> dict[str, Any] | None:
    if limits is None:
        return None
    lines = judged(limits, told)
    reads = [study.outcome.read_at for study in joined.studies if study.outcome.read_at]
    first = min(reads, default=None)
    return {
        "verdict": overall(lines),
        "judged_by": limits.judged_by,
        "signed_by": limits.signed_by,
        "signed_on": limits.signed_on,
        "sha256": limits.sha256,
        "changed_at": limits.changed_at.isoformat(timespec="seconds"),
        "first_read_at": first.isoformat(timespec="seconds") if first else None,
        "beforehand": limits.beforehand(first),
        "lines": lines,
    }


def _bundles(joined: Joined) -> dict[str, int]:
    counts = Counter(
        f"{one.bundle}@{one.bundle_version}" if one.bundle_version else one.bundle
        for one in (study.outcome for study in joined.studies)
        if one.bundle
    )
    return dict(counts.most_common())


def _period(joined: Joined) -> list[str]:
    dates = sorted(study.outcome.study_date for study in joined.studies if study.outcome.study_date)
    return [dates[0], dates[-1]] if dates else []
