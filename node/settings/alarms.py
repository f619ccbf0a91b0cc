"""Settings of alarms: who is told that something is wrong with the node itself."""

from datetime import timedelta

from pydantic import Field

from node.settings.section import Section


class Alarms(Section):
    """Who is told that something is wrong: the canary, coverage, or what the node needs."""

    to: tuple[str, ...] = Field(
        (), description="destinations by mail or webhook that get alarms, by their names"
    )
    after_s: float = Field(
        300.0, ge=0, description="/readyz says no for so long before that is an alarm, seconds"
    )

    @property
    def after(self) -> timedelta:
        """How long the node may lack something before that is an alarm."""
        return timedelta(seconds=self.after_s)
