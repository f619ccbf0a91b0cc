"""The terminal, and the only ways to it for text from outside: nothing in it is markup or control.

Tables and pages take such text as `outside`; a line goes through `say`. JSON goes out as it is.
"""

import typer
from rich.console import Console
from rich.text import Text

from node.visible import visible


def terminal(*, stderr: bool = False) -> Console:
    """Return a console that takes text as text: it knows no markup and no emoji codes."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def outside(text: str, style: str = "") -> Text:
    """Return text from outside, to be printed or put into a table."""
    return Text(visible(text), style)


def say(text: str, *, err: bool = False, fault: bool = False) -> None:
    """Print one line; a fault is red."""
    typer.secho(visible(text), err=err, fg="red" if fault else None)
