"""How measurements are repeated and shown."""

from rich.console import Console
from rich.table import Table

REPEATS = 3
"""How often each measurement is taken; its median is shown."""

console = Console()


def bench_table(title: str, *columns: str) -> Table:
    """Return an empty table: names in its first column, numbers in the others."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    return table
