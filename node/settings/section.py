"""What every table of the settings file is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the settings file. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
