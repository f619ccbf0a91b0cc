"""What a check of `ichnode doctor` finds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing checked: `verdict` is ok, note (consider it) or bad (it will not work)."""

    verdict: str
    what: str
    found: str
