"""The metadata of objects as JSON, kept in a file for each series.

A file is a row of gzip members (RFC 1952 2.2), each of some lines: the SHA-256 of an object's file,
a space, its metadata. Lines are added as objects come, so that nobody opens the objects again when
the series is asked for. What is lost or damaged is made again from the objects.
"""

import gzip
import hashlib
import io
import logging
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from node.log import event

logger = logging.getLogger(__name__)

FOLDER = Path("cache", "dicomweb")
VERSION = 2
"""Changes with what the JSON of an object is."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a series' file says.

    Attributes
    ----------
    said
        The metadata of an object, by the SHA-256 of its file.
    damaged
        Whether the file ends in something else: a line added to it would never be read.
    """

    said: Mapping[str, str]
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class KeptMetadata:
    """The files of all series. A file that cannot be written costs time later, and nothing else.

    Attributes
    ----------
    root
        The data folder.
    """

    root: Path

    def of(self, series_instance_uid: str) -> Kept:
        """Return what is kept of a series."""
        try:
            with self._file(series_instance_uid).open("rb") as file:
                return _read(file.read())
        except OSError:
            return Kept({})

    def add(self, series_instance_uid: str, said: Mapping[str, str]) -> None:
        """Add the metadata of objects, by the SHA-256 of their files."""
        path = self._file(series_instance_uid)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with path.open("ab", buffering=0) as file:
                file.write(_member(said))
        except OSError as error:
            _warn(error)

    def replace(self, series_instance_uid: str, said: Mapping[str, str]) -> None:
        """Keep this of a series, and nothing else."""
        path = self._file(series_instance_uid)
        partial = path.with_name(f"{uuid.uuid4().hex}.partial")
        try:
            partial.write_bytes(_member(said))
            partial.rename(path)
        except OSError as error:
            _warn(error)
        finally:
            partial.unlink(missing_ok=True)

    def forget(self, series_instance_uid: str) -> None:
        """Keep nothing of a series."""
        try:
            self._file(series_instance_uid).unlink(missing_ok=True)
        except OSError as error:
            _warn(error)

    def _file(self, series_instance_uid: str) -> Path:
        name = hashlib.sha256(series_instance_uid.encode()).hexdigest()
        return self.root / FOLDER / f"{name}.{VERSION}.gz"


def _member(said: Mapping[str, str]) -> bytes:
    lines = "".join(f"{sha256} {text}\n" for sha256, text in said.items())
    return gzip.compress(lines.encode(), 1)


def _read(data: bytes) -> Kept:
    """Return the lines up to the first damage."""
    said: dict[str, str] = {}
    try:
        with gzip.open(io.BytesIO(data)) as members:
            for line in members:
                sha256, _, text = line.decode().rstrip("\n").partition(" ")
                said[sha256] = text
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return Kept(said, damaged=True)
    return Kept(said)


def _warn(error: OSError) -> None:
    logger.warning("metadata is not kept: %s", error.strerror, extra=event("not_kept"))
