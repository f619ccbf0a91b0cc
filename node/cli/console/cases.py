"""Cases that are not done with, and what happened to one, as tables of the terminal."""

from collections.abc import Iterable
from datetime import datetime

from rich.table import Table

from node.cli.console.terminal import outside
from node.records import Case
from node.states import State
from node.worklist import Event, OpenCase


def cases_table(found: Iterable[OpenCase]) -> Table:
    """Return a table of cases, one a line; it fits 80 columns."""
    table = Table(box=None, pad_edge=False)
    for name in ("case", "state", "priority", "accession", "tries", "next", "what went wrong last"):
        table.add_column(name, overflow="fold")
    for one in found:
        table.add_row(
            str(one.case_id),
            outside(one.state, "red" if one.state is State.FAILED else ""),
            one.priority,
            outside(one.accession_number),
            str(one.attempts),
            "-" if one.state is State.FAILED else "now" if one.claimed_by else _time(one.due_at),
            outside(one.said),
        )
    return table


def history(case: Case, events: Iterable[Event]) -> Table:
    """Return what happened to a case, oldest first."""
    table = Table(
        title=f"case {case.id}: {case.state}, {case.priority}", title_style="bold", box=None
    )
    table.add_column("at")
    table.add_column("what", overflow="fold")
    for one in events:
        detail = ", ".join(f"{name}: {value}" for name, value in one.detail.items())
        table.add_row(_time(one.at), outside(f"{one.what}  {detail}"))
    if case.reason:
        table.caption = outside(case.reason)
    return table


def _time(at: datetime) -> str:
    return f"{at.astimezone():%m-%d %H:%M:%S}"
