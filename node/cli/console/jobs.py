"""The jobs of the node as a person at a terminal reads them."""

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from node.cli.console.terminal import outside
from node.worklist import JobLine


def jobs_table(lines: Sequence[JobLine], now: datetime) -> Table:
    """Return the jobs as a table; what fails or does not run is red."""
    table = Table(title="jobs")
    for heading in ("job", "last run", "next run", "last error"):
        table.add_column(heading, overflow="fold")
    for one in lines:
        late = one.is_late(now)
        error = f"{_moment(one.failed_at)}: {one.error}" if one.failed_at else ""
        table.add_row(
            outside(one.name),
            outside(f"{_moment(one.ran_at) or 'not yet'}{': it does not run' if late else ''}"),
            outside(_moment(one.next_at) or "all the time"),
            outside(error, "red" if one.fails else ""),
            style="red" if late else "",
        )
    return table


def _moment(at: datetime | None) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at else ""
