"""What two bundles say of one case: the records that the shadow keeps."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from node.records import Header
from node.states import Priority
from node.worklist.schema.columns import ShadowResult
from node.worklist.watching.releases import Bundle

ANALYSED = (ShadowResult.SUSPECTED, ShadowResult.NO_FINDING)
RESULTS = {
    Priority.SUSPECTED: ShadowResult.SUSPECTED,
    Priority.NOT_SUSPECTED: ShadowResult.NO_FINDING,
    Priority.NOT_ANALYSED: ShadowResult.NOT_ANALYSED,
}
"""What the priority of a case that was read is as a result."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a bundle says of a case.

    Attributes
    ----------
    reason
        Why it is none of `ANALYSED`; "" if it is.
    threshold
        The score from which a case is suspected; None where the case was not read.
    seconds
        How long the reading took, decoding and all; None if nobody knows.
    """

    result: ShadowResult
    reason: str = ""
    probability: float | None = None
    uncertain: bool = False
    volume_ml: float | None = None
    operating_point: str = ""
    threshold: float | None = None
    seconds: float | None = None
    subtypes: Mapping[str, float] = field(default_factory=dict)
    limitations: tuple[str, ...] = ()
    mimics: tuple[str, ...] = ()

    @property
    def analysed(self) -> bool:
        """Whether it says whether there is a bleed."""
        return self.result in ANALYSED

    @property
    def flagged(self) -> bool:
        """Whether a bleed is suspected."""
        return self.result is ShadowResult.SUSPECTED

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "result": self.result.value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Told":
        """Return what `to_json` gave."""
        lists = {name: tuple(values[name]) for name in ("limitations", "mimics")}
        return cls(**{**values, **lists, "result": ShadowResult(values["result"])})


@dataclass(frozen=True, slots=True)
class Run:
    """One bundle in the shadow of another."""

    id: int
    bundle: Bundle
    live: Bundle
    began_at: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """A case that the shadow is to read, now its claimant's.

    Attributes
    ----------
    live
        What the live bundle said, as the worklist has it.
    header
        Of one of its images.
    attempts
        How often it was begun, this time with it.
    """

    run_id: int
    case_id: int
    folder: str
    study_instance_uid: str
    live: Told
    header: Header
    attempts: int


@dataclass(frozen=True, slots=True)
class Compared:
    """A case with what both bundles said of it.

    Attributes
    ----------
    patient_id
        Whose it is; it tells patients apart, and is for nobody's eyes.
    origin
        `scanner`, `kernel`, `thickness_mm`, `age_band`, `sex`, `place` and `study_date`, as far as
        headers say.
    """

    case_id: int
    study_instance_uid: str
    patient_id: str
    told: Told
    live: Told
    origin: Mapping[str, Any]
    read_at: datetime
