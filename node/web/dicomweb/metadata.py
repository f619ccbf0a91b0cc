"""The metadata of a resource as JSON: what the catalogue kept, or else from the objects' files."""

from collections.abc import Sequence
from itertools import groupby

from node.arrive.spool import StoredBytes
from node.depot import Depot
from node.dicom.archive.attributes import read_attributes
from node.dicom.archive.metadata import KeptMetadata
from node.worklist import ArchivedObject


class Metadata:
    """Gives the metadata of objects.

    Parameters
    ----------
    depot
        Where the objects are stored.
    """

    def __init__(self, depot: Depot) -> None:
        self._bytes = StoredBytes(depot)
        self._kept = KeptMetadata(depot.root)

    def of(self, objects: Sequence[ArchivedObject], *, one: bool) -> str:
        """Return a JSON array of the objects' metadata; links begin with `HERE`.

        Parameters
        ----------
        one
            Whether a single object was asked for: its own file is read.

        Raises
        ------
        BadObject, OSError
            If an object cannot be read any more.
        """
        if one:
            return f"[{','.join(map(self._read, objects))}]"
        by_series = groupby(objects, key=lambda each: each.series_instance_uid)
        return f"[{','.join(self._series(uid, list(each)) for uid, each in by_series)}]"

    def _series(self, uid: str, objects: Sequence[ArchivedObject]) -> str:
        kept = self._kept.of(uid)
        missing = [one for one in objects if one.sha256 not in kept.said]
        said = {**kept.said, **{one.sha256: self._read(one) for one in missing}}
        if kept.damaged:
            self._kept.replace(uid, said)
        elif missing:
            self._kept.add(uid, {one.sha256: said[one.sha256] for one in missing})
        return ",".join(said[one.sha256] for one in objects)

    def _read(self, found: ArchivedObject) -> str:
        return read_attributes(self._bytes.locate(found.path)).metadata
