"""What commands share: their common options, the settings they run on, and how they fail."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from node import log
from node.cli.console.terminal import say, terminal
from node.errors import BadConfiguration, IchnodeError

if TYPE_CHECKING:
    from rich.table import Table

    from node.settings import Settings

logger = logging.getLogger(__name__)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="ICHNODE_CONFIG",
        help="Settings in TOML, else /etc/ichnode/ichnode.toml, else those built in; "
        "config/ichnode.toml explains each key.",
    ),
]
By = Annotated[
    str | None, typer.Option("--by", help="Who decides; else the name you are logged in by.")
]
Chosen = TypeVar("Chosen", bound=StrEnum)
Row = TypeVar("Row", bound="Printable")
Json = Annotated[bool, typer.Option("--json", help="Print JSON: a stable interface.")]


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print an `IchnodeError` in one line and leave with status 2; leave with 130 on Ctrl-C."""
    try:
        yield
    except IchnodeError as error:
        say(f"ichnode: {error}", err=True, fault=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@contextmanager
def installed(extra: str) -> Iterator[None]:
    """Say what to install where a library of an extra of ichnode is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise BadConfiguration(
            f"{error.name} is not installed: pip install 'ichnode[{extra}]'"
        ) from error


@contextmanager
def configured(config: Path | None) -> Iterator["Settings"]:
    """Yield the settings, with the log set up by them and errors printed in one line.

    Whatever the command writes is its user's alone: it may show patients.

    Parameters
    ----------
    config
        None takes `settings.DEFAULT_FILE` where it can be read, else what is built in, and says so.
    """
    from node.settings import load

    os.umask(0o077)
    with one_line_errors():
        file = chosen(config)
        settings = load(file)
        log.configure(settings.log.level, as_json=settings.log.json_lines)
        if config is None:
            which = file or f"those built in, with the data in {settings.data_dir}"
            logger.info("settings: %s", which, extra=log.event("settings"))
        yield settings


def chosen(config: Path | None) -> Path | None:
    """Return the file of settings to take; None for what is built in."""
    from node import settings

    if config is None and os.access(settings.DEFAULT_FILE, os.R_OK):
        return settings.DEFAULT_FILE
    return config


def chosen_by_name(kind: type[Chosen], names: Sequence[str]) -> set[Chosen]:
    """Return the members of a list of words that a person names; none where they name none.

    Raises
    ------
    BadConfiguration
        If one of the names is no member; the message has those there are.
    """
    known = {str(one): one for one in kind}
    wanted = [name.strip().upper().replace(" ", "_").replace("-", "_") for name in names]
    if unknown := [name for name, each in zip(names, wanted, strict=True) if each not in known]:
        what = kind.__name__.lower()
        raise BadConfiguration(f"no {what} {unknown[0]!r}: {', '.join(known).lower()}")
    return {known[name] for name in wanted}


class Printable(Protocol):
    """What a list has for each row."""

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON prints it."""
        ...


def print_list(
    rows: Sequence[Row], table: Callable[[Sequence[Row]], "Table"], nothing: str, *, as_json: bool
) -> None:
    """Print rows as JSON or as a table; a sentence where there is none."""
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in rows], indent=1))
    elif rows:
        terminal().print(table(rows))
    else:
        say(nothing)
