"""The settings in force as TOML that can be read again, without a secret."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from node.settings.destination import Webhook
from node.settings.file import Settings

MASK = "***"


def as_toml(settings: BaseModel, *, whole: bool = False) -> str:
    """Return settings as TOML: passwords in addresses, and paths of webhooks, are masked.

    Parameters
    ----------
    whole
        Show defaults too, and mark them.
    """
    return "\n".join(_table(settings, "", whole=whole)).strip() + "\n"


def _table(section: BaseModel, name: str, *, whole: bool) -> Iterator[str]:
    """Yield the lines of a section: its own keys, then its tables, then those it has several of."""
    below, several = [], []
    for key, default in _defaults(type(section)).items():
        value = getattr(section, key)
        is_default = value == default
        if is_default and not whole:
            continue
        if isinstance(value, BaseModel):
            below.append((f"{name}.{key}".lstrip("."), value))
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            several += [(f"{name}.{key}".lstrip("."), one) for one in value]
        else:
            yield f"{key} = {_value(_masked(section, key, value))}" + (
                "  # default" if is_default else ""
            )
    for path, one in below:
        lines = list(_table(one, path, whole=whole))
        yield from ["", f"[{path}]", *lines]
    for path, one in several:
        yield from ["", f"[[{path}]]", *_table(one, path, whole=whole)]


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    text = value.as_posix() if isinstance(value, Path) else value
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _masked(section: BaseModel, key: str, value: Any) -> Any:
    """Return a value without the password, or the secret path, that it may hold."""
    if key == "database_url":
        without = re.sub(r"(//[^/@:]*):.*@", rf"\1:{MASK}@", value)
        return re.sub(r"([?&]\w*password=)[^&]*", rf"\1{MASK}", without)
    if isinstance(section, Webhook) and key == "url":
        return re.sub(r"^(\w+://[^/]*/).+", rf"\1{MASK}", value)
    return value


def _defaults(kind: type[BaseModel]) -> dict[str, Any]:
    """Return what each key is where the file does not say, as validation leaves it."""
    fields = kind.model_fields
    plain = {key: field.get_default(call_default_factory=True) for key, field in fields.items()}
    if issubclass(kind, Settings) or any(field.is_required() for field in fields.values()):
        return plain
    return dict(kind())
