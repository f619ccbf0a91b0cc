"""Settings of how results go out."""

from typing import Self

from pydantic import Field, model_validator

from node.settings.destination import Destination, Escalation
from node.settings.section import Section


class Deliver(Section):
    """How results go out."""

    retry_s: float = Field(10.0, gt=0, description="first wait after a failure; doubles each time")
    max_retry_s: float = Field(900.0, gt=0, description="longest wait between two tries, seconds")
    max_attempts: int = Field(100, ge=1, description="then a person must look")
    timeout_s: float = Field(30.0, gt=0, description="association and DIMSE time limit, seconds")
    ask_again_s: float = Field(
        3600.0, gt=0, description="asks again for a storage commitment that is awaited, seconds"
    )
    send_again_s: float = Field(
        86400.0, gt=0, description="sends again what was not committed by then, seconds"
    )
    destinations: tuple[Destination, ...] = Field(
        (), description="who gets the results, one table for each"
    )
    escalations: tuple[Escalation, ...] = Field(
        (), description="who is told when nobody acknowledges, one table for each step"
    )

    @model_validator(mode="after")
    def _escalates_to_whom_it_knows(self) -> Self:
        known = {one.name for one in self.messaged}
        for name in (name for step in self.escalations for name in step.to):
            if name not in known:
                raise ValueError(f"escalations: {name!r} is no destination of messages")
        return self

    @property
    def archives(self) -> tuple[Destination, ...]:
        """Who gets objects, by C-STORE."""
        return tuple(one for one in self.destinations if one.how == "dicom")

    def owed_to(self, *, canary: bool) -> tuple[Destination, ...]:
        """Return who gets the objects of a patient's study, or of a canary: never the same."""
        return tuple(one for one in self.archives if one.canary is canary)

    @property
    def messaged(self) -> tuple[Destination, ...]:
        """Who gets messages."""
        return tuple(one for one in self.destinations if one.how != "dicom")
