"""Deliveries that were not sent, as a table of the terminal."""

from collections.abc import Iterable

from rich.table import Table

from node.cli.console.terminal import outside
from node.worklist import DeliveryStatus, Unsent


def deliveries_table(found: Iterable[Unsent]) -> Table:
    """Return a table of deliveries, one a line; it fits 80 columns."""
    table = Table(box=None, pad_edge=False)
    for name in ("number", "case", "to", "what", "status", "tries", "last answer"):
        table.add_column(name, overflow="fold")
    for one in found:
        code = f"{one.last_status:04X} " if one.last_status else ""
        table.add_row(
            str(one.number),
            str(one.case_id),
            outside(one.destination),
            one.kind,
            outside(one.status.lower(), "red" if one.status is DeliveryStatus.DEAD else ""),
            str(one.attempts),
            outside(f"{code}{one.message}"),
        )
    return table
