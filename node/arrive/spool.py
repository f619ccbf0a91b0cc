"""The spool: received bytes on disk for good, under names that no sender chooses.

A file is written beside its place, fsynced, renamed, and its folder fsynced: after `put` returns,
neither `kill -9` nor a power cut loses it, and no reader ever sees half of it.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args
from uuid import uuid4

from node.errors import Retryable
from node.records import StoredObject

Area = Literal["received", "quarantine"]

PARTIAL = "partial"
"""Folder of the files being written; in the spool's own file system, so that a rename is atomic."""
LEFTOVER_S = 3600.0
"""A partial file this old belongs to a process that died (chosen: a write takes seconds)."""


class NoSpace(Retryable):
    """The spool takes no more bytes now: the disk is full, or fails."""


class Spool:
    """Writes objects below `root` (the data folder), named by their content.

    Parameters
    ----------
    root
        The data folder; paths of stored objects are relative to it.
    min_free_mb
        Refuse to write when less is free, so that the database and the results still fit.
    """

    def __init__(self, root: Path, min_free_mb: int) -> None:
        self.root = root
        self._min_free = min_free_mb << 20
        self._make_folders()
        self._remove_leftovers()

    def put(self, chunks: Iterable[bytes], area: Area) -> StoredObject:
        """Return once the bytes are on disk for good; the same bytes get the same path.

        Raises
        ------
        NoSpace
            If the disk is fuller than the watermark allows, or writing fails.
        """
        try:
            return self._write(chunks, area)
        except OSError as error:
            raise NoSpace(f"cannot write to {self.root}: {error.strerror}") from error

    def _write(self, chunks: Iterable[bytes], area: Area) -> StoredObject:
        if shutil.disk_usage(self.root).free < self._min_free:
            raise NoSpace(f"less than {self._min_free >> 20} MB free in {self.root}")
        partial = self.root / PARTIAL / uuid4().hex
        try:
            sha256, size = _write_and_sync(partial, chunks)
            path = Path(area, sha256[:2], f"{sha256}.dcm")
            partial.rename(self.root / path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder((self.root / path).parent)
        return StoredObject(path.as_posix(), sha256, size)

    def _make_folders(self) -> None:
        """Make all folders at once, so that `put` need not, and enter them durably."""
        _make_folder(self.root / PARTIAL)
        for area in get_args(Area):
            _make_folder(self.root / area)
            for number in range(256):
                (self.root / area / f"{number:02x}").mkdir(exist_ok=True)
            _sync_folder(self.root / area)

    def _remove_leftovers(self) -> None:
        oldest = time.time() - LEFTOVER_S
        for partial in (self.root / PARTIAL).glob("*"):
            if partial.stat().st_mtime < oldest:
                partial.unlink(missing_ok=True)


def _write_and_sync(path: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
    """Write a new file durably; return its SHA-256 and its size."""
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
        file.flush()
        os.fsync(file.fileno())
        return digest.hexdigest(), file.tell()


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable (fsync(2): a file's own fsync does not)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
