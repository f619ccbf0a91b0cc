"""Keeps the archive's tables up to date with the files of the node, received and made.

Whoever answers queries brings them up to date first. So no receiver waits for it, and what arrived
before there were such tables is found as well.
"""

import logging
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from node.case_folder import CaseFolder
from node.dicom.archive.attributes import Described, read_attributes
from node.disk import sha256_of
from node.errors import BadObject, IchnodeError, Retryable
from node.log import event
from node.worklist import Archive, Entry, Unlisted, UnlistedReport

logger = logging.getLogger(__name__)

BATCH = 100
"""How many objects are described in one transaction. It bounds how long others wait to write."""


class Unready(Retryable):
    """Too many objects are not described yet: an answer would leave some out."""


class Catalogue:
    """Describes objects for the archive's tables; threads may share it."""

    def __init__(self, archive: Archive, root: Path) -> None:
        self._archive = archive
        self._root = root
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
        while not stop.wait(every_s):
            try:
                while self._pending() and not stop.is_set():
                    with self._turn:
                        self._step()
            except IchnodeError as error:
                logger.error("archive's index: %s", error, extra=event("catalogue_failed"))

    def _pending(self) -> bool:
        return bool(self._archive.unlisted(1) or self._archive.unlisted_reports(1))

    def _step(self) -> bool:
        """Describe some objects; return whether there were any."""
        found = self._archive.unlisted(BATCH)
        if found:
            self._archive.list_received([(one, self._received(one)) for one in found])
        reports = self._archive.unlisted_reports(BATCH)
        for report in reports:
            self._archive.list_report(report, self._made(report))
        return bool(found or reports)

    def _received(self, found: Unlisted) -> Entry | None:
        try:
            path = self._root / found.path
            return _entry(read_attributes(path), found.path, found.sha256, path.stat().st_size)
        except (OSError, BadObject) as error:
            say = event("not_catalogued", sha256=found.sha256)
            logger.error("not in the archive's index: %s", _why(error), extra=say)
            return None

    def _made(self, found: UnlistedReport) -> list[Entry]:
        folder = CaseFolder(self._root, found.folder)
        manifest = folder.read_manifest() or {}
        entries = []
        for name in manifest.get("objects", {}):
            path = folder.report / Path(name).name
            try:
                relative = path.relative_to(self._root).as_posix()
                described = read_attributes(path)
                entries.append(_entry(described, relative, sha256_of(path), path.stat().st_size))
            except (OSError, BadObject) as error:
                say = event("not_catalogued", case=found.case_id)
                logger.error("not in the archive's index: %s", _why(error), extra=say)
        return entries


def _why(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else str(error)


def _entry(described: Described, path: str, sha256: str, size: int) -> Entry:
    study = {_column(keyword): value for keyword, value in described.study.items()}
    stored: dict[str, str | int | None] = {"path": path, "sha256": sha256, "size": size}
    return Entry(study, _columns(described.series), {**_columns(described.object), **stored})


def _columns(values: Mapping[str, str | int | None]) -> dict[str, str | int | None]:
    return {_column(keyword): value for keyword, value in values.items()}


def _column(keyword: str) -> str:
    """Return the name of an attribute's column: "StudyInstanceUID" is study_instance_uid."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", keyword).lower()
