"""Settings of how long files are kept."""

from typing import Literal

from pydantic import Field

from node.settings.section import Section


class Rule(Section):
    """One rule by which files go; a study goes by the first that is for it."""

    remove: Literal["pixels", "all"] = Field(
        description='what goes: "pixels" (what was received) or "all" (the results too)'
    )
    after_days: float = Field(
        gt=0, description="so long after its last image and its last delivery, days"
    )
    priorities: tuple[Literal["SUSPECTED", "NOT_ANALYSED", "NOT_SUSPECTED"], ...] = Field(
        (), description="only studies of these priorities; empty: all"
    )
    states: tuple[Literal["DELIVERED", "SKIPPED", "FAILED"], ...] = Field(
        (), description="only studies in these states; empty: all"
    )
    below_free_mb: int = Field(
        0, ge=0, description="only while less than this is free, MB, the oldest first; 0: always"
    )


class Retention(Section):
    """How long files are kept; without rules, for ever. Rows are kept always."""

    unacknowledged_days: float = Field(
        30.0,
        ge=0,
        description="pixels of a suspected study that nobody acknowledged stay so long, days",
    )
    decided_days: float = Field(
        0.0,
        ge=0,
        description="bytes that a person decided not to file stay so long, days; 0: for ever",
    )
    rules: tuple[Rule, ...] = Field((), description="by which files go, one table for each")
