"""What `ichnode replay` says of a result: how it was, how it is, and what differs."""

from rich.table import Table
from rich.text import Text

from node.cases.changes import NAMES, Replay, Result
from node.cli.console.terminal import outside
from node.wording import RESEARCH_USE_ONLY

WORDS = {
    "priority": "priority",
    "reason_code": "reason",
    "probability": "probability",
    "operating_point": "suspected from",
    "uncertain": "uncertain",
    "bundle": "bundle",
}
"""The fields of a result in words."""


def replayed(replay: Replay) -> Table:
    """Return the result before and after a replay, a line for each of its fields."""
    table = Table(title=RESEARCH_USE_ONLY, title_style="bold", expand=False)
    for name in ("", "before", "now", ""):
        table.add_column(name, overflow="fold")
    for name in NAMES:
        changed = name in replay.changed
        cells = (_value(replay.before, name), _value(replay.after, name))
        mark = Text("changed" if changed else "", "bold")
        table.add_row(WORDS[name], *cells, mark, style="bold" if changed else "")
    return table


def in_words(replay: Replay) -> str:
    """Return in one sentence when a case was replayed, and what that changed of its result."""
    when = f"replayed {replay.at:%Y-%m-%d %H:%M:%S} UTC"
    if replay.after is None:
        return f"{when}: no result yet"
    if replay.before is None:
        return f"{when}: there was no result before"
    said = [
        f"{WORDS[name]} is {_value(replay.after, name)}, was {_value(replay.before, name)}"
        for name in replay.changed
    ]
    return f"{when}: {'; '.join(said) or 'priority, probability and bundle are as before'}"


def _value(result: Result | None, name: str) -> Text:
    value = None if result is None else getattr(result, name)
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, float):
        return Text(f"{value:.4f}")
    return outside("-" if value is None else str(value))
