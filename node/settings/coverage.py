"""Settings of coverage: which archives are asked for studies that never came."""

from datetime import timedelta

from pydantic import Field

from node.settings.section import Section


class Coverage(Section):
    """Which of pull.sources are asked for head CTs that were performed and never came."""

    ask: tuple[str, ...] = Field((), description="names of pull.sources; empty: none is asked")
    every_min: float = Field(10.0, gt=0, description="minutes between two rounds")
    hours: float = Field(
        24.0, gt=0, le=168, description="studies performed in the last hours are asked for"
    )
    grace_min: float = Field(
        30.0, ge=0, description="a study is on its way for so long after the source first lists it"
    )
    most_studies: int = Field(
        500, ge=1, description="answers of a round; a source that has more is said to be cut off"
    )

    @property
    def every(self) -> timedelta:
        """The time between two rounds."""
        return timedelta(minutes=self.every_min)

    @property
    def grace(self) -> timedelta:
        """How long a study is on its way."""
        return timedelta(minutes=self.grace_min)
