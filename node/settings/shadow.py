"""Settings of the shadow: another bundle that reads beside the live one, and tells nobody."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from node.settings.section import Section
from node.settings.work import bundle_folder


class Shadow(Section):
    """Another bundle reads what the live one has read, so that both can be compared."""

    on: bool = Field(False, description="whether it reads")
    bundle: str = Field(
        "", description="name of a bundle that comes with ichnode, or a bundle's folder"
    )
    studies: int = Field(200, ge=1, description="it has read enough after so many studies")

    @model_validator(mode="after")
    def _has_a_bundle(self) -> Self:
        if self.on and not self.bundle:
            raise ValueError("bundle: name the one that is to read")
        return self

    @property
    def folder(self) -> Path:
        """Where its bundle lies."""
        return bundle_folder(Path(self.bundle))
