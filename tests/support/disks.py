"""A small disk of a test's own, which can be full, read-only or gone."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import require


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
