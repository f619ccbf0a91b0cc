"""What is known of coverage: which studies lack, and how each source does."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from node.announced import Shows


class Gap(StrEnum):
    """What lacks of a study that an archive has."""

    NEVER_SEEN = "NEVER_SEEN"
    """Nothing of it came."""
    IN_PART = "IN_PART"
    """Fewer of its images came than the archive has, or it does not tell how many it has."""
    ON_ITS_WAY = "ON_ITS_WAY"
    """Not all of it came, and the grace lasts."""


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A study that a source has and of which something lacks here.

    Attributes
    ----------
    performed
        StudyDate and StudyTime as the source writes them.
    here, there
        Images that came and, of the series that may show a head, images at the source; None where
        it does not tell.
    shows
        Whether its series name a head, or do not say.
    first_told_at
        When the source was first found to list it.
    """

    source: str
    study_instance_uid: str
    gap: Gap
    shows: Shows
    performed: str
    patient_id: str
    accession_number: str
    study_description: str
    here: int
    there: int | None
    first_told_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the object of `ichnode coverage --json`; a stable interface."""
        return asdict(self) | {"first_told_at": self.first_told_at.isoformat()}


@dataclass(frozen=True, slots=True)
class Round:
    """How the last question to a source went.

    Attributes
    ----------
    answered_at
        When it last answered; None if it never did.
    studies
        CT studies that it listed then.
    cut_off
        Whether it had more than `coverage.most_studies` then: some were not compared.
    error
        Why it did not answer the last time; None if it did.
    """

    source: str
    asked_at: datetime
    answered_at: datetime | None = None
    studies: int = 0
    cut_off: bool = False
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the object of `ichnode coverage --json`; a stable interface."""
        answered = self.answered_at and self.answered_at.isoformat()
        return asdict(self) | {"asked_at": self.asked_at.isoformat(), "answered_at": answered}


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A source that is asked, the last round, and why what lacks of it is not known; "" if it is.

    `last` is None before the first round.
    """

    name: str
    last: Round | None
    trouble: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of coverage now: the studies that lack, and how each source does."""

    gaps: tuple[Uncovered, ...]
    sources: tuple[SourceLine, ...]

    def of(self, gap: Gap) -> list[Uncovered]:
        """Return the studies with this gap."""
        return [one for one in self.gaps if one.gap is gap]

    @property
    def never_seen(self) -> int:
        """How many studies were performed and never seen."""
        return len(self.of(Gap.NEVER_SEEN))

    @property
    def in_part(self) -> int:
        """How many studies came in part."""
        return len(self.of(Gap.IN_PART))

    @property
    def warnings(self) -> list[str]:
        """What a person must know, in sentences; none if all that is listed came."""
        perhaps = sum(one.shows is Shows.PERHAPS for one in self.of(Gap.NEVER_SEEN))
        unsure = f", {perhaps} of them perhaps no head" if perhaps else ""
        said = []
        if self.never_seen:
            said.append(f"Performed, never seen: {self.never_seen} head CT{unsure}")
        if self.in_part:
            said.append(f"Came in part: {self.in_part} head CT")
        return [*said, *(line.trouble for line in self.sources if line.trouble)]

    def to_json(self) -> dict[str, Any]:
        """Return the object of `ichnode coverage --json`; a stable interface."""
        sources = [
            {"name": line.name, "trouble": line.trouble, "last": line.last and line.last.to_json()}
            for line in self.sources
        ]
        return {"studies": [one.to_json() for one in self.gaps], "sources": sources}


@dataclass(frozen=True, slots=True)
class Known:
    """A study as a source last told of it, and how many images of each series are here."""

    told_images: int | None
    shows: Shows
    series: Mapping[str, int | None]
    exact: bool
    here: Mapping[str, int]
    settled: bool
    """Whether nothing more needs to be asked: all of it came, or a person set it aside."""
