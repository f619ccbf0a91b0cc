"""The acceptance report computed anew from its rows, one study at a time, by no code of the node.

Slow and plain on purpose: sums over rows, statsmodels and scikit-learn for what they know.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import ceil, exp, log, sqrt
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

Row = Mapping[str, Any]
SAID = {"bleeds": True, "none": False}
ANALYSED = ("SUSPECTED", "NO_FINDING")
FIGURES = ("sensitivity", "specificity", "ppv", "npv")
Z = norm.ppf(0.975)


def settled(row: Row) -> bool | None:
    votes = Counter(one["answer"] for one in row["decisions"])
    difference = votes["bleeds"] - votes["none"]
    return None if difference == 0 else difference > 0


class Known:
    """Rows that were analysed, and what is known of each, cell by cell."""

    def __init__(self, rows: Sequence[Row], *, people: bool) -> None:
        self.by_people = people and any(
            settled(row) is not None for row in rows if row["result"] in ANALYSED
        )
        self.cells: dict[tuple[bool, str], list[Row]] = {}
        for row in rows:
            if row["result"] in ANALYSED:
                self.cells.setdefault((row["result"] == "SUSPECTED", row["report"]), []).append(row)
        self.truths = {}
        for cell, held in self.cells.items():
            found = {row["study"]: settled(row) for row in held} if self.by_people else {}
            known = {name: truth for name, truth in found.items() if truth is not None}
            if not known and cell[1] in SAID:
                known = {row["study"]: SAID[cell[1]] for row in held}
            self.truths[cell] = known

    def counted(self) -> list[tuple[Row, bool, float, bool, tuple[bool, str] | None]]:
        """Each row, whether it was flagged, its expected truth, whether that is its own."""
        found = []
        for cell, held in self.cells.items():
            known = self.truths[cell]
            for row in held:
                if row["study"] in known:
                    found.append((row, cell[0], float(known[row["study"]]), True, cell))
                elif known:
                    share = sum(known.values()) / len(known)
                    found.append((row, cell[0], share, False, cell))
        return found

    def weight(self, cell: tuple[bool, str]) -> float:
        return len(self.cells[cell]) / len(self.truths[cell])

    def own(self) -> list[tuple[Row, bool, bool, float]]:
        """Each row whose own truth is known, whether it was flagged, truth and weight."""
        return [
            (row, flagged, bool(truth), self.weight(cell))
            for row, flagged, truth, own, cell in self.counted()
            if own
        ]


def wilson(share: float, number: float) -> tuple[float, float]:
    low, high = proportion_confint(share * number, number, method="wilson")
    return max(0.0, float(low)), min(1.0, float(high))


def beta(hits: int, of: int) -> tuple[float, float]:
    low, high = proportion_confint(hits, of, method="beta")
    return float(low), float(high)


def terms(figure: str, flagged: bool, bleeds: bool) -> tuple[float, float]:
    """What one study adds to numerator and denominator."""
    return {
        "sensitivity": (float(bleeds and flagged), float(bleeds)),
        "specificity": (float(not bleeds and not flagged), float(not bleeds)),
        "ppv": (float(flagged and bleeds), float(flagged)),
        "npv": (float(not flagged and not bleeds), float(not flagged)),
    }[figure]


def share_of(figure: str, studies: Sequence[Any]) -> tuple[float, float, float]:
    hits = of = 0.0
    for _, flagged, expected, _, _ in studies:
        for bleeds, chance in ((True, expected), (False, 1 - expected)):
            one, other = terms(figure, flagged, bleeds)
            hits, of = hits + chance * one, of + chance * other
    return hits, of, hits / of if of else float("nan")


def estimate(figure: str, studies: Sequence[Any], known: Known, few: int) -> dict[str, Any]:
    hits, of, share = share_of(figure, studies)
    told = {"hits": hits, "of": of, "independent": of, "value": None, "low": None, "high": None}
    if of < few:
        return told
    sums: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    chance_of = 0.0
    for row, flagged, expected, own, _ in studies:
        off = {
            bleeds: one - share * other
            for bleeds in (True, False)
            for one, other in [terms(figure, flagged, bleeds)]
        }
        sums[row["patient"]] += expected * off[True] + (1 - expected) * off[False]
        sizes[row["patient"]] += sum(
            chance * terms(figure, flagged, bleeds)[1]
            for bleeds, chance in ((True, expected), (False, 1 - expected))
        )
        if not own:
            chance_of += expected * (1 - expected) * (off[True] - off[False]) ** 2
    variance = sum(each**2 for each in sums.values()) + chance_of
    if 0 < share < 1 and variance > 0:
        number = min(of, share * (1 - share) * of**2 / variance)
    else:
        number = of**2 / sum(each**2 for each in sizes.values())
    low, high = wilson(share, number)
    down, up = (share - low) ** 2, (high - share) ** 2
    for cell, truths in known.truths.items():
        if not any(not own and place == cell for *_, own, place in studies):
            continue
        ends = [
            share_of(
                figure,
                [
                    (row, flagged, end if not own and place == cell else expected, own, place)
                    for row, flagged, expected, own, place in studies
                ],
            )[2]
            - share
            for end in beta(sum(truths.values()), len(truths))
        ]
        down, up = down + min(0, *ends) ** 2, up + max(0, *ends) ** 2
    low, high = max(0.0, share - sqrt(down)), min(1.0, share + sqrt(up))
    return {**told, "independent": number, "value": share, "low": low, "high": high}


def estimates(studies: Sequence[Any], known: Known, few: int) -> dict[str, Any]:
    return {name: estimate(name, studies, known, few) for name in FIGURES}


def table(studies: Sequence[Any]) -> dict[str, float]:
    return {
        f"{word}_{what}": sum(
            (expected if what == "bleeds" else 1 - expected)
            for _, flagged, expected, _, _ in studies
            if flagged == (word == "flagged")
        )
        for word in ("flagged", "not_flagged")
        for what in ("bleeds", "none")
    }


def either_way(rows: Sequence[Row], known: Known, few: int) -> dict[str, Any]:
    others = [row for row in rows if row["result"] not in ANALYSED]
    useful = []
    for row in others:
        truth = settled(row)
        truth = SAID.get(row["report"]) if truth is None else truth
        if truth is not None:
            useful.append((row, float(truth)))
    return {
        "not_analysed": len(others),
        "of_known_truth": len(useful),
        "bleeds_among_them": int(sum(truth for _, truth in useful)),
        **{
            name: estimates(
                [*known.counted(), *((row, flag, truth, True, None) for row, truth in useful)],
                known,
                few,
            )
            for name, flag in (("as_not_flagged", False), ("as_flagged", True))
        },
    }


def cells(known: Known, asked: Mapping[tuple[bool, str], int]) -> list[dict[str, Any]]:
    told = []
    for cell in sorted(known.cells):
        held, truths = known.cells[cell], known.truths[cell]
        people = known.by_people and any(settled(row) is not None for row in held)
        unseen = len(held) - len(truths) if people else 0
        bleeding = sum(truths.values())
        ends = beta(bleeding, len(truths)) if unseen else (0, 0)
        told.append(
            {
                "flagged": cell[0],
                "report": cell[1],
                "studies": len(held),
                "asked": asked.get(cell, 0),
                "known": len(truths),
                "bleeding": bleeding,
                "known_by": "people" if people else "report" if truths else "",
                "weight": len(held) / len(truths) if truths else 0,
                "unseen": unseen,
                "unseen_bleeds": [unseen * end for end in ends],
            }
        )
    return told


def roc(known: Known) -> dict[str, Any]:
    own = [each for each in known.own() if each[0]["probability"] is not None]
    truth = np.array([each[2] for each in own])
    scores = np.array([each[0]["probability"] for each in own])
    weights = np.array([each[3] for each in own])
    false, true, thresholds = roc_curve(
        truth, scores, sample_weight=weights, drop_intermediate=False
    )
    points = list(zip(thresholds, false, true, strict=True))[1:]
    return {
        "studies": len(own),
        "bleeds": int(truth.sum()),
        "auc": roc_auc_score(truth, scores, sample_weight=weights),
        "points": [list(map(float, each)) for each in points],
        "thresholds": [
            {
                "wanted": wanted,
                "threshold": float(at[0]),
                "sensitivity": float(at[2]),
                "specificity": float(1 - at[1]),
            }
            for wanted in (0.8, 0.85, 0.9, 0.95)
            for at in [next(each for each in points if each[2] >= wanted - 1e-12)]
        ],
        "brier": brier_score_loss(truth, scores, sample_weight=weights),
    }


def auc_interval(known: Known, seed: int) -> tuple[float, float]:
    """The bootstrap by patient once more, patient by patient."""
    own = [each for each in known.own() if each[0]["probability"] is not None]
    by_patient: dict[str, list[Any]] = {}
    for each in own:
        by_patient.setdefault(each[0]["patient"], []).append(each)
    groups = [
        [held for held in by_patient.values() if any(each[2] for each in held) == bleeds]
        for bleeds in (True, False)
    ]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(400):
        drawn = [
            each
            for group in groups
            for place in rng.integers(len(group), size=len(group))
            for each in group[place]
        ]
        found.append(
            roc_auc_score(
                [each[2] for each in drawn],
                [each[0]["probability"] for each in drawn],
                sample_weight=[each[3] for each in drawn],
            )
        )
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def calibration(known: Known) -> list[dict[str, float]]:
    own = [each for each in known.own() if each[0]["probability"] is not None]
    bins = []
    for number in range(10):
        held = [
            (row["probability"], truth, weight)
            for row, _, truth, weight in own
            if min(int(row["probability"] * 10), 9) == number
        ]
        if not held:
            continue
        whole = sum(weight for *_, weight in held)
        observed = sum(weight for _, truth, weight in held if truth) / whole
        low, high = wilson(observed, whole**2 / sum(weight**2 for *_, weight in held))
        bins.append(
            {
                "from": number / 10,
                "to": (number + 1) / 10,
                "studies": len(held),
                "weight": whole,
                "predicted": sum(score * weight for score, _, weight in held) / whole,
                "observed": observed,
                "low": low,
                "high": high,
            }
        )
    return bins


def band(row: Row) -> str:
    thick = row["thickness_mm"]
    bounds = ((1.5, "up to 1.5 mm"), (3, "over 1.5 to 3 mm"), (5.5, "over 3 to 5.5 mm"))
    return next((name for most, name in bounds if thick <= most), "over 5.5 mm")


def volume(row: Row) -> str:
    if not row["volume_ml"]:
        return "nothing outlined"
    bounds = ((1, "under 1 mL"), (5, "1 to 5 mL"), (30, "5 to 30 mL"))
    return next((name for below, name in bounds if row["volume_ml"] < below), "30 mL and more")


DIMENSIONS: Mapping[str, Callable[[Row], str]] = {
    "scanner": lambda row: row["scanner"],
    "kernel": lambda row: row["kernel"],
    "thickness": band,
    "age": lambda row: row["age_band"],
    "place": lambda row: row["place"],
    "sex": lambda row: row["sex"],
    "volume": volume,
}


def strata(known: Known, few: int) -> dict[str, dict[str, Any]]:
    studies = known.counted()
    told = {}
    for dimension, value in DIMENSIONS.items():
        names = {value(each[0]) for each in studies}
        told[dimension] = {
            name: {
                "studies": len(held),
                **{
                    figure: estimate(figure, held, known, few)
                    for figure in ("sensitivity", "specificity", "ppv")
                },
            }
            for name in names
            for held in [[each for each in studies if value(each[0]) == name]]
        }
    return told


def predictive(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    told = []
    (se, n_se), (sp, n_sp) = (moved(found[name]) for name in ("sensitivity", "specificity"))
    plain_se, plain_sp = found["sensitivity"]["value"], found["specificity"]["value"]
    for prevalence in (0.01, 0.03, 0.05, 0.1, 0.2):
        hits, alarms = plain_se * prevalence, (1 - plain_sp) * (1 - prevalence)
        quiet, missed = plain_sp * (1 - prevalence), (1 - plain_se) * prevalence
        odds = prevalence / (1 - prevalence)
        told.append(
            {
                "prevalence": prevalence,
                "ppv": spread(
                    hits / (hits + alarms),
                    log(se / (1 - sp) * odds),
                    (1 - se) / se / n_se + sp / (1 - sp) / n_sp,
                ),
                "npv": spread(
                    quiet / (quiet + missed),
                    log(sp / (1 - se) / odds),
                    (1 - sp) / sp / n_sp + se / (1 - se) / n_se,
                ),
            }
        )
    return told


def moved(found: Mapping[str, float]) -> tuple[float, float]:
    share = found["value"]
    if 0 < share < 1:
        same_width = 4 * Z**2 * share * (1 - share) / (found["high"] - found["low"]) ** 2
        return share, min(found["independent"], same_width)
    far = found["low"] if share else 1 - found["high"]
    number = min(found["independent"], Z**2 * far / (1 - far))
    return (share * number + Z**2 / 2) / (number + Z**2), number + Z**2


def spread(value: float, middle: float, variance: float) -> dict[str, float]:
    low, high = (1 / (1 + exp(-middle - side * Z * sqrt(variance))) for side in (-1, 1))
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def needed(prevalence: float) -> tuple[int, list[int]]:
    bleeds = ceil(Z**2 * 0.9 * 0.1 / 0.03**2)
    return bleeds, [ceil(bleeds / 0.03), ceil(bleeds / prevalence)]


def kappas(rows: Sequence[Row]) -> list[dict[str, Any]]:
    names = sorted({one["who"] for row in rows for one in row["decisions"]})
    answers = ("bleeds", "cannot tell", "none")
    told = []
    for first, second in combinations(names, 2):
        counts = np.zeros((3, 3))
        for row in rows:
            said = {one["who"]: answers.index(one["answer"]) for one in row["decisions"]}
            if first in said and second in said:
                counts[said[first], said[second]] += 1
        used = counts.sum(0) + counts.sum(1) > 0
        found = cohens_kappa(counts[used][:, used])
        told.append(
            {
                "people": [first, second],
                "studies": int(counts.sum()),
                "agreed": int(np.trace(counts)),
                "value": float(found.kappa),
                "low": max(-1.0, float(found.kappa_low)),
                "high": min(1.0, float(found.kappa_upp)),
            }
        )
    return told
