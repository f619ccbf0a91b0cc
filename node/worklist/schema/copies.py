"""Copies of a SQLite database: made while the node runs, checked, and taken back."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import sqlalchemy as sa

from node.disk import sync_file, sync_folder
from node.errors import BadConfiguration, Retryable
from node.worklist.schema.database import is_known, upgrade


def backup(url: str, to: Path) -> None:
    """Copy the database as it is at one moment, while the node runs (SQLite's backup API).

    Parameters
    ----------
    to
        The file to write; it must not exist. Only its owner may read it.

    Raises
    ------
    BadConfiguration
        If the database is none of SQLite, or the file exists or cannot be written.
    Retryable
        If the database cannot be read now.
    """
    file = _file(url, "back it up by pg_dump")
    if not file.exists():
        raise BadConfiguration(f"there is no database at {file}")
    _copy(file.absolute().as_uri(), to)


def require_sound(file: Path) -> None:
    """Return if a file is a whole database of the worklist that this program can take.

    Raises
    ------
    BadConfiguration
        If it is not; the words say why.
    """
    if not file.is_file():
        raise BadConfiguration(f"{file}: there is no such file")
    if any(beside.exists() for beside in _beside(file)):
        raise BadConfiguration(f"{file}: is in use: copy it by `ichnode db backup`")
    try:
        with closing(sqlite3.connect(_unchanging(file), uri=True)) as db:
            (said,) = db.execute("PRAGMA integrity_check(1)").fetchone()
            row = db.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise BadConfiguration(f"{file}: no database of the worklist: {error}") from error
    if said != "ok":
        raise BadConfiguration(f"{file}: damaged: {said}")
    if not row or not is_known(row[0]):
        raise BadConfiguration(f"{file}: of a newer version: install that one, then restore")


def restore(url: str, copy: Path, *, idle_s: float = 60.0) -> None:
    """Make a copy the database, and bring it to this program's schema.

    Parameters
    ----------
    copy
        As `backup` wrote it; it stays as it is.
    idle_s
        As for `upgrade`.

    Raises
    ------
    BadConfiguration
        If there is a database already, or the copy is none that can be taken.
    """
    file = _file(url, "restore it by pg_restore")
    require_sound(copy)
    if file.exists():
        raise BadConfiguration(f"there is a database at {file}: restore onto an empty data folder")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    for leftover in (partial, *_beside(partial), *_beside(file)):
        leftover.unlink(
            missing_ok=True
        )  # SQLite would take the log of another database for its own
    _copy(_unchanging(copy), partial)
    upgrade(f"sqlite:///{partial.absolute()}", idle_s=idle_s)
    with closing(sqlite3.connect(partial)) as db:
        db.execute("PRAGMA journal_mode = DELETE")  # all of it in one file, to be renamed
    sync_file(partial)
    partial.rename(file)
    sync_folder(file.parent)


def _file(url: str, otherwise: str) -> Path:
    file = sa.make_url(url).database
    if sa.make_url(url).get_backend_name() != "sqlite" or not file:
        raise BadConfiguration(f"the database is PostgreSQL's: {otherwise}")
    return Path(file)


def _beside(file: Path) -> tuple[Path, Path]:
    """Return the files that SQLite keeps beside a database that is open, or was when it crashed."""
    return file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")


def _unchanging(file: Path) -> str:
    """Return the address of a file that nobody writes to: it may lie on a read-only disk."""
    return f"{file.absolute().as_uri()}?immutable=1"


def _copy(source_of: str, to: Path) -> None:
    try:
        os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with (
            closing(sqlite3.connect(source_of, uri=True)) as source,
            closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)
        sync_file(to)
        sync_folder(to.parent)
    except OSError as error:
        if not isinstance(error, FileExistsError):
            with suppress(OSError):
                to.unlink(missing_ok=True)
        raise BadConfiguration(f"{to}: {error.strerror}") from error
    except sqlite3.Error as error:
        to.unlink(missing_ok=True)
        raise Retryable(f"the worklist database: {error}") from error
