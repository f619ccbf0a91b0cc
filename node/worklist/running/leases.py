"""Claims: a row belongs to one worker until its lease runs out; a crash needs no repair."""

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from node.errors import Outage, Retryable


class LeaseLost(Retryable):
    """The claim ran out or was taken away, so its holder's result was not recorded.

    Somebody else has the row, or newer slices made the result void. Drop it and claim again.
    """


def claimant() -> str:
    """Return a name to claim under that is unique over hosts, processes and time."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


@contextmanager
def lease_kept(renew: Callable[[], object], lease_s: float, name: str) -> Iterator[None]:
    """Renew a claim three times a lease while the block runs.

    Parameters
    ----------
    name
        What the thread that renews is called.
    """
    done = threading.Event()

    def keep() -> None:
        while not done.wait(lease_s / 3):
            with suppress(Outage):  # who holds the claim meets it too
                renew()

    thread = threading.Thread(target=keep, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


FREE: dict[str, Any] = {"claimed_by": None, "lease_until": None}
"""The columns of a row that nobody holds."""

FRESH: dict[str, Any] = {"attempts": 0, "interruptions": 0}
"""The columns of a case whose stage was not begun yet."""


def is_free(table: sa.FromClause, now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that a row is due and nobody holds it."""
    nobody = sa.or_(table.c.lease_until.is_(None), table.c.lease_until <= now)
    return sa.and_(table.c.due_at <= now, nobody)


def held_by(
    table: sa.Table, worker: str, lease_s: float, now: datetime, counted: str
) -> dict[str, Any]:
    """Return the columns of a row that `worker` claims.

    Parameters
    ----------
    counted
        The column that counts leases that ran out, so that a row that kills its worker is given up.
    """
    ran_out = sa.case((table.c.claimed_by.is_not(None), 1), else_=0)
    return {
        counted: table.c[counted] + ran_out,
        "claimed_by": worker,
        "lease_until": now + timedelta(seconds=lease_s),
    }
