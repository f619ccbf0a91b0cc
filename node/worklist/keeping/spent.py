"""Bytes in quarantine that a person decided not to file, and that nobody needs any more."""

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa

from node.worklist.arriving.filing import BY_ITSELF
from node.worklist.keeping.needs import is_promised
from node.worklist.schema.columns import Decision, Deed
from node.worklist.schema.tables import instance, quarantine
from node.worklist.trail.audit import Actor, recorded
from node.worklist.trail.events import note

NOT_FILED = (Decision.DISCARDED, Decision.REPLACED)
"""Decisions after which the bytes still lie there, for nobody but who changes their mind."""

_OTHER = quarantine.alias("other")


def spent(db: sa.Connection, before: datetime, now: datetime) -> list[str]:
    """Return the paths of bytes that people decided before then not to file, sorted."""
    query = sa.select(quarantine.c.path).where(_is_spent(before, now)).distinct()
    return list(db.execute(query.order_by(quarantine.c.path)).scalars())


def forget(
    db: sa.Connection,
    path: str,
    by: Actor,
    why: str,
    before: datetime,
    now: datetime,
    unlink: Callable[[str], bool],
) -> bool:
    """Remove bytes that are still spent, and say so of their entries; return whether they went.

    Parameters
    ----------
    unlink
        Removes the file of a path, and returns whether it did.
    """
    this = quarantine.c.path == path
    db.execute(sa.select(quarantine.c.id).where(this).with_for_update()).all()
    found = db.execute(sa.select(quarantine).where(this, _is_spent(before, now))).all()
    if not found or not unlink(path):
        return False
    for row in found:
        gone = quarantine.update().where(quarantine.c.id == row.id)
        db.execute(gone.values(decision=Decision.DELETED))
        told = {"number": row.id, "by": by.name, "why": why, "sha256": row.sha256}
        note(db, "quarantine: deleted", row.study_instance_uid, None, now, **told)
        about = f"number {row.id} deleted: {why}"
        recorded(db, by, Deed.QUARANTINE, now, study_uid=row.study_instance_uid, about=about)
    return True


def _is_spent(before: datetime, now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that an entry's bytes may go, and no other row speaks of them.

    What the node decided by itself is no person's word.
    """
    this = quarantine.c
    awaited = _OTHER.c.decision.is_(None) | (
        _OTHER.c.decision.in_(NOT_FILED)
        & ((_OTHER.c.decided_at >= before) | (_OTHER.c.decided_by == BY_ITSELF))
    )
    return sa.and_(
        this.decision.in_(NOT_FILED),
        this.decided_at < before,
        this.decided_by != BY_ITSELF,
        ~sa.exists().where(_OTHER.c.path == this.path, awaited),
        ~sa.exists().where(instance.c.path == this.path),
        ~sa.exists().where(instance.c.sop_instance_uid == this.sop_instance_uid, is_promised(now)),
    )
