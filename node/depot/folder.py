"""Storage in the data folder alone."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path


class Depot:
    """The files of the node; each method says what holds with an object store too.

    Paths are relative to `root`, with slashes, as the worklist names them. Threads share it.

    Parameters
    ----------
    root
        The data folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        """The folder in which files are read and written."""

    def require_reachable(self) -> None:
        """Return if the storage can be read and written.

        Raises
        ------
        Outage
            If it cannot now. Every other method raises it too.
        """

    # --- received bytes, and whatever else is written once ----------------------------------------

    def bring(self, path: str) -> Path:
        """Return where a file lies here; there is none if it is stored no more, or damaged.

        A path in a case's folder is found as in `seen`.
        """
        return self.root / path

    def bring_all(self, paths: Iterable[str]) -> None:
        """Have many files here, as `bring` does."""

    def keep(self, path: str, source: Path | None = None) -> None:
        """Return when the storage has a file for good.

        Parameters
        ----------
        source
            Where its bytes lie durably; None: at its path.
        """

    def drop(self, path: str) -> None:
        """Remove a file, if it is there.

        Raises
        ------
        OSError
            If it cannot be removed.
        """
        (self.root / path).unlink(missing_ok=True)

    def holds(self, path: str) -> bool:
        """Return whether a file is stored."""
        return (self.root / path).exists()

    def size(self, path: str) -> int:
        """Return the size of a stored file in bytes.

        Raises
        ------
        OSError
            If it is not there, or cannot be read.
        """
        return (self.root / path).stat().st_size

    def written_at(self, path: str) -> datetime | None:
        """Return when a file was stored last; None if it is not there."""
        with suppress(FileNotFoundError):
            return datetime.fromtimestamp((self.root / path).stat().st_mtime, UTC)
        return None

    # --- the folders of cases ---------------------------------------------------------------------

    def take_up(self, folder: str) -> None:
        """Have a case's folder below `root` as it was kept last, for a stage that goes on."""

    def keep_folder(self, folder: str) -> None:
        """Return when the storage has a case's folder as it lies here; it changes as a whole."""

    def leave(self, folder: str) -> None:
        """Remove the copy of a case's folder that a stage worked in; it was kept."""

    def seen(self, folder: str) -> Path:  # noqa: ARG002  it is all here
        """Return below which root a case's folder lies for readers, as it was kept last."""
        return self.root

    def drop_folder(self, folder: str) -> None:
        """Remove a case's folder with all that lies in it, if it is there.

        Raises
        ------
        OSError
            If it cannot be removed.
        """
        with suppress(FileNotFoundError):
            shutil.rmtree(self.root / folder)
