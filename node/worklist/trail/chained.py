"""The chain of the audit trail: each row holds a digest of itself and of the row before it.

A row that was changed no longer has its digest; one that was removed or moved leaves a gap. Whoever
can write to the database could make the whole chain anew, so the last digest belongs elsewhere too:
`ichnode audit verify` prints it and takes an earlier one.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from typing import Any

import sqlalchemy as sa

from node.worklist.schema.people_tables import audit

GENESIS = "0" * 64
"""What the first row holds as the digest before it."""
_LOCK = 0x1C4A0D17
"""The advisory lock that PostgreSQL's writers of the trail take, one after the other; any number
would do. SQLite has one writer."""
_SAID = ("what", "who", "study_instance_uid", "about", "address", "session")


def linked(db: sa.Connection, line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a new row with its number and digests; others wait until the transaction ends."""
    if db.dialect.name == "postgresql":
        db.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    newest = sa.select(audit.c.id, audit.c.digest).order_by(audit.c.id.desc()).limit(1)
    number, previous = db.execute(newest).one_or_none() or (0, GENESIS)
    row = {**line, "id": number + 1, "previous": previous}
    return {**row, "digest": digest(row)}


def digest(row: Mapping[str, Any] | sa.RowMapping) -> str:
    """Return the SHA-256 of a row with the digest before it, 64 hex digits."""
    at = row["at"].astimezone(UTC).isoformat(timespec="microseconds")
    said = [row["id"], row["previous"], at, *(row[name] and str(row[name]) for name in _SAID)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def faults(rows: Iterable[sa.RowMapping], known: str = "") -> Iterator[str]:
    """Yield what is wrong with the trail, in words, row by row.

    Parameters
    ----------
    rows
        All of the trail, by number.
    known
        A digest that the trail once ended with; the row that has it must still be there.
    """
    number, previous, found = 0, GENESIS, not known
    for row in rows:
        if row["id"] != number + 1:
            yield f"rows {number + 1} to {row['id'] - 1} were removed"
        elif row["previous"] != previous:
            yield f"row {row['id']} does not follow the row before it: one was replaced or moved"
        if row["digest"] != digest(row):
            yield f"row {row['id']} was changed"
        number, previous = row["id"], row["digest"]
        found = found or row["digest"] == known
    if not found:
        yield f"no row has the digest {known}: rows at the end were removed, or all were made anew"
