"""What every table of the settings file is."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the settings file. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def sections(section: BaseModel, above: str = "") -> Iterator[tuple[str, BaseModel]]:
    """Yield a section and all below it with their keys; of several of a kind by their names."""
    yield above, section
    for name, value in values(section).items():
        key = f"{above}.{name}".lstrip(".")
        if isinstance(value, Section):
            yield from sections(value, key)
        elif isinstance(value, tuple):
            for number, one in enumerate(value):
                if isinstance(one, Section):
                    called = getattr(one, "name", "") or getattr(one, "ae_title", "") or number
                    yield from sections(one, f"{key} {called}")


def values(section: BaseModel) -> dict[str, Any]:
    """Return the values of a section by their names."""
    return {name: getattr(section, name) for name in type(section).model_fields}
