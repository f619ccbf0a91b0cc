"""Accounts as a person at a terminal reads them."""

from collections.abc import Sequence

from rich.table import Table

from node.cli.console.terminal import outside
from node.worklist import Account


def accounts_table(accounts: Sequence[Account]) -> Table:
    """Return the accounts as a table."""
    table = Table(title="accounts")
    for heading in ("name", "role", "since", "signs in"):
        table.add_column(heading, overflow="fold")
    for one in accounts:
        how = "disabled" if one.disabled_at else one.issuer or "with a password"
        cells = (one.name, one.role, f"{one.created_at.astimezone():%Y-%m-%d}", how)
        table.add_row(*map(outside, cells))
    return table
