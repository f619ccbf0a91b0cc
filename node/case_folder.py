"""A case's folder: where its files lie, and that they outlive a power cut."""

import os
from pathlib import Path


def case_folder(case_id: int) -> str:
    """Return where a case's files lie, relative to the data folder."""
    return f"cases/{case_id}"


def make_durable(folder: Path) -> None:
    """Make everything in a case folder, and the folder itself, outlive a power cut.

    A stage calls for it before its outcome is committed, so that no row speaks of a lost file.
    """
    for path in sorted(folder.rglob("*"), reverse=True):
        _sync_folder(path) if path.is_dir() else _sync_file(path)
    for entry in (folder, folder.parent, folder.parent.parent):
        _sync_folder(entry)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable (fsync(2): a file's own fsync does not)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
