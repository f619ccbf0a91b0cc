"""Settings of the canary: a phantom that the node sends to itself."""

from datetime import timedelta

from pydantic import Field

from node.settings.section import Section
from node.settings.tls import ClientTls


class Canary(Section):
    """A phantom goes through the node's own door again and again, and is read back."""

    every_min: float = Field(0.0, ge=0, description="minutes between two phantoms; 0: off")
    limit_s: float = Field(
        300.0, gt=0, description="without its result after so long there is an alarm, seconds"
    )
    probability_tolerance: float = Field(
        0.05, gt=0, le=1, description="a probability that moved further is a changed finding"
    )
    volume_tolerance: float = Field(
        0.1, gt=0, description="an outlined volume that moved by a larger share is one too"
    )
    keep_hours: float = Field(24.0, gt=0, description="phantoms are removed after, hours")
    tls: ClientTls = ClientTls()

    @property
    def every(self) -> timedelta:
        """The time between two phantoms."""
        return timedelta(minutes=self.every_min)

    @property
    def limit(self) -> timedelta:
        """How long a result is waited for."""
        return timedelta(seconds=self.limit_s)
