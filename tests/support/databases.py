"""New databases of the worklist: SQLite files copied from one that was migrated once."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from sqlalchemy import make_url

from node.settings import Settings
from node.worklist import upgrade

OwnDatabase = Callable[[Path], Settings]
"""Gives the settings of a data folder with a database that nothing else uses."""


def new_database(url: str) -> None:
    """Create a database of the newest schema, without rows; leave one there is as `upgrade` does.

    The migrations of SQLite run once a process; what they made is copied. Elsewhere they run.
    """
    database = make_url(url)
    file = Path(database.database or "")
    if database.get_backend_name() != "sqlite" or file.exists():
        upgrade(url)
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    """Return the file of a database of the newest schema, without rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ichnode.sqlite"
        upgrade(f"sqlite:///{path}")
        return path.read_bytes()
