"""The audit trail as a person at a terminal reads it."""

from collections.abc import Sequence

from rich.table import Table

from node.cli.console.terminal import outside
from node.worklist import AuditEntry


def audit_table(entries: Sequence[AuditEntry]) -> Table:
    """Return the rows of the audit trail as a table."""
    table = Table(title="audit trail")
    for heading in ("at", "who", "did", "of", "from"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        did = entry.what.lower().replace("_", " ")
        of = entry.study_instance_uid or entry.about or ""
        at = f"{entry.at.astimezone():%Y-%m-%d %H:%M:%S}"
        table.add_row(*map(outside, (at, entry.who, did, of, entry.address)))
    return table
