"""The spool: received bytes on disk for good, under names that no sender chooses.

A file is written beside its place, fsynced and renamed, and its folder is fsynced. So neither
`kill -9` nor a power cut loses what `put` has returned, and whoever reads a file finds all of it.
Threads write and sync side by side: the file system commits together what comes together.
`Spool` takes bytes in; `StoredBytes` finds, checks and deletes them.
"""

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Literal, get_args
from uuid import uuid4

from node.depot import Depot
from node.disk import room_of, sha256_of, sync_folder
from node.errors import Outage
from node.records import StoredObject

Area = Literal["received", "quarantine"]

PARTIAL = "partial"
"""Folder of the files being written; it lies in the file system of the spool, so that a rename is
atomic."""
LEFTOVER_S = 3600.0
"""A partial file this old belongs to a process that died. It must exceed the time that one write
takes, which is seconds."""


class NoSpace(Outage):
    """The spool takes no more bytes now: the disk is full, or fails."""


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """The bytes of stored objects, as they are stored now.

    Attributes
    ----------
    depot
        Where they are stored.
    """

    depot: Depot

    def locate(self, path: str) -> Path:
        """Return where the file of a stored object lies; it is brought here if need be."""
        return self.depot.bring(path)

    def altered(self, path: str, sha256: str) -> str | None:
        """Return the SHA-256 of a file that changed since it was received, None if it did not.

        Parameters
        ----------
        path, sha256
            Of the stored object.

        Raises
        ------
        OSError
            If the file cannot be read; FileNotFoundError if it is gone.
        """
        found = sha256_of(self.locate(path))
        return None if found == sha256 else found

    def holds(self, path: str) -> bool:
        """Return whether a file is stored, wherever there is a copy of it."""
        return self.depot.holds(path)

    def age(self, path: str, now: datetime) -> timedelta | None:
        """Return how long ago a file was written last, None if it is gone."""
        written_at = self.depot.written_at(path)
        return None if written_at is None else now - written_at

    def delete(self, path: str) -> None:
        """Delete a file, if it is still there.

        Raises
        ------
        OSError
            If it cannot be deleted.
        """
        self.depot.drop(path)


class Spool:
    """Stores objects and names them by their content.

    Parameters
    ----------
    root
        The folder that the paths of stored objects are relative to.
    min_free_mb
        `put` refuses bytes when less than this is free, MiB, so that the database and the results
        still fit.
    depot
        What keeps them, whose root that is; None: the folder alone.
    """

    def __init__(self, root: Path, min_free_mb: int, depot: Depot | None = None) -> None:
        self.root, self.depot = root, depot or Depot(root)
        self._min_free = min_free_mb << 20
        self._make_folders()
        self._remove_leftovers()

    def put(self, chunks: Iterable[bytes | memoryview], area: Area) -> StoredObject:
        """Write the bytes, and return when they are on disk, and in the object store, for good.

        The same bytes get the same path.

        Raises
        ------
        NoSpace
            If less than `min_free_mb` is free, or writing fails.
        Outage
            If the object store does not take them now.
        """
        try:
            return self._write(chunks, area)
        except OSError as error:
            raise NoSpace(f"cannot write to {self.root}: {error.strerror}") from error

    def scratch(self) -> BinaryIO:
        """Open a file without a name, for bytes that are not whole yet; closing it deletes it.

        Raises
        ------
        NoSpace
            If less than `min_free_mb` is free, or it cannot be opened.
        """
        try:
            self._require_space()
            return TemporaryFile(dir=self.root / PARTIAL)
        except OSError as error:
            raise NoSpace(f"cannot write to {self.root}: {error.strerror}") from error

    def _require_space(self) -> None:
        if room_of(self.root).free < self._min_free:
            raise NoSpace(f"less than {self._min_free >> 20} MB free in {self.root}")

    def _write(self, chunks: Iterable[bytes | memoryview], area: Area) -> StoredObject:
        self._require_space()
        partial = self.root / PARTIAL / uuid4().hex
        try:
            sha256, size = _write_and_sync(partial, chunks)
            path = Path(area, sha256[:2], f"{sha256}.dcm")
            self.depot.keep(path.as_posix(), partial)
            partial.rename(self.root / path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_folder((self.root / path).parent)
        return StoredObject(path.as_posix(), sha256, size)

    def _make_folders(self) -> None:
        """Make all folders durably, so that `put` need not make any."""
        _make_folder(self.root / PARTIAL)
        for area in get_args(Area):
            _make_folder(self.root / area)
            for number in range(256):
                (self.root / area / f"{number:02x}").mkdir(exist_ok=True)
            sync_folder(self.root / area)

    def _remove_leftovers(self) -> None:
        oldest = time.time() - LEFTOVER_S
        for partial in (self.root / PARTIAL).glob("*"):
            if partial.stat().st_mtime < oldest:
                partial.unlink(missing_ok=True)


def _write_and_sync(path: Path, chunks: Iterable[bytes | memoryview]) -> tuple[str, int]:
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
        sync_folder(folder.parent)
