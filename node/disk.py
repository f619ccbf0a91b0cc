"""The disk: its room, files that outlive a power cut, and the digests they are known by."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE

from node.errors import BadConfiguration


@dataclass(frozen=True, slots=True)
class Room:
    """The disk of a folder, in bytes, and whether it takes no writes."""

    free: int
    total: int
    read_only: bool

    @property
    def free_mb(self) -> int:
        """The free space, MiB."""
        return self.free >> 20


def room_of(folder: Path) -> Room:
    """Return how much room there is on the disk of a folder.

    Raises
    ------
    OSError
        If it cannot be asked.
    """
    found = os.statvfs(folder)
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    return Room(free, total, bool(found.f_flag & os.ST_RDONLY))


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable; the fsync of a file does not (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(folder: Path, named: str = "data_dir") -> None:
    """Make a folder, if there is none, and keep it to its owner: what lies in it shows patients.

    Parameters
    ----------
    named
        What a message calls it.

    Raises
    ------
    BadConfiguration
        If it cannot be made, is no folder, or belongs to somebody else.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if S_IMODE(folder.stat().st_mode) != 0o700:  # a read-only disk refuses any change
            folder.chmod(0o700)
    except OSError as error:
        raise BadConfiguration(f"{named}: {folder}: {error.strerror}") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits.

    Raises
    ------
    OSError
        If the file cannot be read; FileNotFoundError if it is gone.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
