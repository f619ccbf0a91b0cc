"""The metadata of series as JSON, kept in a file each once they have been asked for.

A file is named by the series, and begins with a digest of the objects that it speaks of: one that
speaks of others is written anew.
"""

import gzip
import hashlib
import logging
import uuid
import zlib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from node.arrive.spool import StoredBytes
from node.dicom.archive.json_model import HERE, object_json
from node.log import event
from node.worklist import ArchivedObject

logger = logging.getLogger(__name__)

FOLDER = Path("cache", "dicomweb")
VERSION = b"1"
"""Changes with what the JSON of an object is."""


class MetadataCache:
    """The metadata of objects, from its files or else from theirs.

    Parameters
    ----------
    root
        The data folder.
    """

    def __init__(self, root: Path) -> None:
        self._bytes = StoredBytes(root)
        self._folder = root / FOLDER

    def of(self, objects: Sequence[ArchivedObject], *, one: bool) -> str:
        """Return a JSON array of the objects' metadata; links begin with `HERE`.

        Parameters
        ----------
        one
            Whether a single object was asked for: its file is read, and nothing is kept.

        Raises
        ------
        BadObject, OSError
            If an object cannot be read any more.
        """
        if one:
            return f"[{','.join(map(self._object, objects))}]"
        by_series = groupby(objects, key=lambda each: each.series_instance_uid)
        return f"[{','.join(self._series(uid, list(each)) for uid, each in by_series)}]"

    def _series(self, uid: str, objects: Sequence[ArchivedObject]) -> str:
        path = self._folder / f"{hashlib.sha256(uid.encode()).hexdigest()}.json.gz"
        digest = _digest(objects)
        kept = _read(path)
        if kept is not None and kept.startswith(digest):
            return kept[len(digest) :].decode()
        said = ",".join(map(self._object, objects))
        try:
            _write(path, digest + said.encode())
        except OSError as error:  # the answer is right all the same
            logger.warning("not cached: %s", error.strerror, extra=event("not_cached"))
        return said

    def _object(self, found: ArchivedObject) -> str:
        named = f"/series/{found.series_instance_uid}/instances/{found.sop_instance_uid}"
        resource = f"{HERE}/studies/{found.study_instance_uid}{named}"
        return object_json(self._bytes.locate(found.path), resource)


def _digest(objects: Sequence[ArchivedObject]) -> bytes:
    digest = hashlib.sha256(VERSION)
    for each in objects:
        digest.update(f"{each.sop_instance_uid} {each.sha256}\n".encode())
    return digest.digest()


def _read(path: Path) -> bytes | None:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error):
        return None


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(gzip.compress(data, 1))
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
