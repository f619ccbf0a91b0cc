"""Copies the database by the clock, and keeps so many copies."""

from datetime import UTC, datetime
from pathlib import Path

from node.disk import make_private, sync_folder
from node.settings import Settings
from node.worklist import backup, require_sound

PATTERN = "ichnode-*.sqlite"


def copy_database(settings: Settings, now: datetime) -> Path:
    """Leave one more copy of the database, and no more than `backup.keep`; return its file.

    The oldest go once the new one is whole.

    Raises
    ------
    BadConfiguration
        If the database is none of SQLite, the folder cannot be written, or the copy is not sound.
    Retryable
        If the database cannot be read now.
    OSError
        If the disk fails.
    """
    folder = Path(settings.backup.folder)
    make_private(folder)
    for leftover in folder.glob(f"{PATTERN}.partial"):
        leftover.unlink(missing_ok=True)
    file = folder / f"ichnode-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}.sqlite"
    partial = file.with_name(f"{file.name}.partial")
    backup(settings.url, partial)
    require_sound(partial)
    partial.rename(file)
    sync_folder(folder)
    for old in sorted(folder.glob(PATTERN))[: -settings.backup.keep]:
        old.unlink()
    return file
