"""How measurements are repeated and shown."""

from rich.table import Table

from node.cli.console.terminal import terminal

REPEATS = 3
"""How often each measurement is taken; its median is shown."""

console = terminal()


def bench_table(title: str, *columns: str) -> Table:
    """Return an empty table: names in its first column, numbers in the others."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    return table
