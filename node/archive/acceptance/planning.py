"""What is not in the figures themselves: the sample they would need, and other prevalences."""

from collections.abc import Mapping
from math import ceil, exp, log, sqrt
from typing import Any

from node.archive.acceptance.figures import Z95, Estimate, Figure

HALF_WIDTH = 0.03
SENSITIVITY = 0.90
PREVALENCE = 0.03
"""What is asked of a sample: plus or minus three points at 90 %; of 100 head CTs three bleed."""
PREVALENCES = (0.01, 0.03, 0.05, 0.10, 0.20)


def bleeds_needed(share: float = SENSITIVITY, half_width: float = HALF_WIDTH) -> int:
    """Return how many bleeds give an interval of `share` plus or minus `half_width`.

    The plain formula of a binomial share: z^2 p (1 - p) / h^2.
    """
    return ceil(Z95**2 * share * (1 - share) / half_width**2)


def studies_needed(bleeds: int, prevalence: float) -> int:
    """Return how many studies have so many bleeds, on average."""
    return ceil(bleeds / prevalence)


def needed(prevalence: float | None, bleeds: float) -> dict[str, Any]:
    """Return the sample that would be needed, at the usual prevalence and at the one found here."""
    wanted = bleeds_needed()
    return {
        "sensitivity": SENSITIVITY,
        "half_width": HALF_WIDTH,
        "bleeds": wanted,
        "bleeds_here": bleeds,
        "at": [
            {"prevalence": each, "studies": studies_needed(wanted, each), "found_here": here}
            for each, here in ((PREVALENCE, False), (prevalence, True))
            if each
        ],
    }


def predictive(estimates: Mapping[Figure, Estimate]) -> list[dict[str, Any]]:
    """Return PPV and NPV at other prevalences, by Bayes, with their 95 % intervals.

    The intervals are on the logit scale (Mercaldo, Lau and Zhou, Stat Med 2007;26:2170). Nothing is
    returned without sensitivity and specificity.
    """
    sensitivity, specificity = (
        estimates[Figure.SENSITIVITY],
        estimates[Figure.SPECIFICITY],
    )
    if sensitivity.value is None or specificity.value is None:
        return []
    return [
        {
            "prevalence": each,
            "ppv": _ppv(sensitivity, specificity, each),
            "npv": _npv(sensitivity, specificity, each),
        }
        for each in PREVALENCES
    ]


def _ppv(sensitivity: Estimate, specificity: Estimate, prevalence: float) -> dict[str, Any]:
    """Hits over alarms: the odds are prevalence odds times sensitivity / (1 - specificity)."""
    found, quiet = _moved(sensitivity), _moved(specificity)
    plain = _bayes(
        sensitivity.value or 0.0, 1 - (specificity.value or 0.0), prevalence / (1 - prevalence)
    )
    middle = log(prevalence / (1 - prevalence)) + log(found[0]) - log(1 - quiet[0])
    spread = Z95 * sqrt((1 - found[0]) / found[0] / found[1] + quiet[0] / (1 - quiet[0]) / quiet[1])
    return _told(plain, middle, spread)


def _npv(sensitivity: Estimate, specificity: Estimate, prevalence: float) -> dict[str, Any]:
    found, quiet = _moved(sensitivity), _moved(specificity)
    plain = _bayes(
        specificity.value or 0.0, 1 - (sensitivity.value or 0.0), (1 - prevalence) / prevalence
    )
    middle = log((1 - prevalence) / prevalence) + log(quiet[0]) - log(1 - found[0])
    spread = Z95 * sqrt((1 - quiet[0]) / quiet[0] / quiet[1] + found[0] / (1 - found[0]) / found[1])
    return _told(plain, middle, spread)


def _moved(estimate: Estimate) -> tuple[float, float]:
    """Return a share and the number that its interval belongs to, moved off 0 and 1.

    The number is that whose interval is as wide as the estimate's, so that what nobody looked at
    counts here, too. At 0 and 1 half of a square of z is added to either side (Mercaldo's adjusted
    logit, after Agresti and Coull).
    """
    share, low, high = estimate.value or 0.0, estimate.low or 0.0, estimate.high or 0.0
    square = Z95**2
    if 0 < share < 1:
        width = 4 * square * share * (1 - share) / (high - low) ** 2
        return share, min(estimate.independent, width)
    farthest = low if share else 1 - high
    number = min(estimate.independent, square * farthest / (1 - farthest))
    return (share * number + square / 2) / (number + square), number + square


def _bayes(right: float, wrong: float, odds: float) -> float | None:
    whole = right * odds + wrong
    return right * odds / whole if whole > 0 else None


def _told(plain: float | None, middle: float, spread: float) -> dict[str, Any]:
    low, high = (1 / (1 + exp(-each)) for each in (middle - spread, middle + spread))
    if plain is None:
        return {"value": None, "low": None, "high": None}
    return {"value": plain, "low": min(low, plain), "high": max(high, plain)}
