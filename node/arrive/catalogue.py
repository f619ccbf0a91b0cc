"""Keeps the archive's tables up to date with the files of the node, received and made.

Whoever answers queries brings them up to date first. So no receiver waits for it, and what arrived
before there were such tables is found as well.
"""

import logging
import re
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from node.case_folder import CaseFolder
from node.depot import Depot
from node.dicom.archive.attributes import read_attributes
from node.dicom.archive.metadata import KeptMetadata
from node.disk import sha256_of
from node.errors import BadObject, IchnodeError, Retryable
from node.log import event
from node.outages import Outages, outage_of
from node.worklist import Archive, Entry, Unlisted, UnlistedReport

logger = logging.getLogger(__name__)

BATCH = 100
"""How many objects are described in one transaction. It bounds how long others wait to write."""


class Unready(Retryable):
    """Too many objects are not described yet: an answer would leave some out."""


class Catalogue:
    """Describes objects for the archive's tables; threads may share it."""

    def __init__(self, archive: Archive, depot: Depot) -> None:
        self._archive = archive
        self._depot = depot
        self._metadata = KeptMetadata(depot.root)
        self._turn = threading.Lock()

    def require_current(self, within_s: float = 5.0) -> None:
        """Return once every object that the node holds is described.

        Raises
        ------
        Unready
            If it takes longer than this; what was done is kept, and a later call goes on.
        Retryable
            If the database cannot be used now.
        """
        until = time.monotonic() + within_s
        while self._pending():
            if not self._turn.acquire(timeout=max(0.0, until - time.monotonic())):
                raise Unready("the archive's index is being made: try again later")
            try:
                more = self._step()
            finally:
                self._turn.release()
            if more and time.monotonic() > until:
                raise Unready("the archive's index is being made: try again later")

    def keep_current(self, stop: threading.Event, every_s: float = 1.0) -> None:
        """Describe what comes, until `stop` is set: so queries find little left to describe."""
        outages = Outages("web")
        while not stop.wait(every_s):
            try:
                while self._pending() and not stop.is_set():
                    with self._turn:
                        self._step()
                outages.over("catalogue")
            except (IchnodeError, OSError) as error:
                if (outage := outage_of(error)) is not None:
                    outages.met("catalogue", outage)
                else:
                    logger.error("archive's index: %s", error, extra=event("catalogue_failed"))

    def _pending(self) -> bool:
        return bool(self._archive.unlisted(1) or self._archive.unlisted_reports(1))

    def _step(self) -> bool:
        """Describe some objects; return whether there were any."""
        found = self._archive.unlisted(BATCH)
        if found:
            read = [self._received(one) for one in found]
            self._keep(filter(None, read))
            entries = [one and one.entry for one in read]
            self._archive.list_received(list(zip(found, entries, strict=True)))
        reports = self._archive.unlisted_reports(BATCH)
        for report in reports:
            made = self._made(report)
            self._keep(made)
            self._archive.list_report(report, [one.entry for one in made])
        return bool(found or reports)

    def _keep(self, read: Iterable["_Read"]) -> None:
        """Keep the metadata of objects, before the tables say that they are described."""
        by_series: dict[str, dict[str, str]] = {}
        for one in read:
            said = by_series.setdefault(str(one.entry.series["series_instance_uid"]), {})
            said[str(one.entry.object["sha256"])] = one.metadata
        for series, said in by_series.items():
            self._metadata.add(series, said)

    def _received(self, found: Unlisted) -> "_Read | None":
        try:
            return _read(self._depot.bring(found.path), found.path, found.sha256)
        except (OSError, BadObject) as error:
            say = event("not_catalogued", sha256=found.sha256)
            logger.error("not in the archive's index: %s", _why(error), extra=say)
            return None

    def _made(self, found: UnlistedReport) -> list["_Read"]:
        folder = CaseFolder(self._depot.seen(found.folder), found.folder)
        manifest = folder.read_manifest() or {}
        read = []
        for name in manifest.get("objects", {}):
            path = folder.report / Path(name).name
            try:
                relative = path.relative_to(folder.root).as_posix()
                read.append(_read(path, relative, sha256_of(path)))
            except (OSError, BadObject) as error:
                say = event("not_catalogued", case=found.case_id)
                logger.error("not in the archive's index: %s", _why(error), extra=say)
        return read


class _Read(NamedTuple):
    """An object that was read: its rows, and its metadata as JSON."""

    entry: Entry
    metadata: str


def _why(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else str(error)


def _read(file: Path, path: str, sha256: str) -> _Read:
    described = read_attributes(file)
    study = {_column(keyword): value for keyword, value in described.study.items()}
    rows = _columns(described.object)
    rows |= {"path": path, "sha256": sha256, "size": file.stat().st_size}
    return _Read(Entry(study, _columns(described.series), rows), described.metadata)


def _columns(values: Mapping[str, str | int | None]) -> dict[str, str | int | None]:
    return {_column(keyword): value for keyword, value in values.items()}


def _column(keyword: str) -> str:
    """Return the name of an attribute's column: "StudyInstanceUID" is study_instance_uid."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", keyword).lower()
