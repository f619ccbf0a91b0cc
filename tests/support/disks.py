"""Disks of a test's own: a small one that can be full or read-only, one whose power is cut."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import require, require_program

RAW_MB = 96
"""Size of a disk whose power is cut, MiB."""


class SmallDisk:
    """A file system in memory, mounted on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no byte of it free."""
        with self._ballast.open("wb") as file:
            left = os.statvfs(self.folder)
            os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_frsize)

    def empty(self) -> None:
        """Free what `fill` took."""
        self._ballast.unlink()

    def forbid_writing(self) -> None:
        """Make it read-only, as the kernel does where a disk fails; files must not be open."""
        _mount("-o", "remount,ro", str(self.folder))

    def allow_writing(self) -> None:
        """Make it writable again."""
        _mount("-o", "remount,rw", str(self.folder))


@contextmanager
def small_disk(folder: Path, size_mb: int = 96) -> Iterator[SmallDisk]:
    """Mount a small disk on a folder, made if need be, while the block runs; needs root."""
    require(os.geteuid() == 0, "root, who may mount a file system")
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder))
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


class RawDisk:
    """An ext4 file system in a file, mounted on a folder by a loop device.

    The file is what a disk holds: bytes that were written and not synced are in memory alone.
    """

    def __init__(self, image: Path, folder: Path) -> None:
        self._image, self.folder = image, folder

    def as_power_leaves_it(self) -> bytes:
        """Return the disk as it would be if the power failed now.

        It is read twice, until nothing was written meanwhile, so that it is as of one moment: who
        writes to it must be held.
        """
        before = self._image.read_bytes()
        while (now := self._image.read_bytes()) != before:
            before = now
        return now


@contextmanager
def raw_disk(image: Path, folder: Path, content: bytes | None = None) -> Iterator[RawDisk]:
    """Mount a disk on a folder while the block runs; a new one, or one with this content."""
    require(os.geteuid() == 0, "root, who may mount a file system")
    require_program("mkfs.ext4", "losetup")
    require(_run("losetup", "--find") == 0, "a loop device")
    if content is not None:
        image.write_bytes(content)
    else:
        with image.open("wb") as file:
            file.truncate(RAW_MB << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    folder.mkdir()
    _mount("-o", "loop,noatime", str(image), str(folder))
    try:
        yield RawDisk(image, folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        image.unlink()


def _run(*command: str) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode
