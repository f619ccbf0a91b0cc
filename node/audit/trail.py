"""Notes in the audit trail what peers ask for, without having them wait for the disk.

Rows are added in batches, and all that is left when the process stops. A process that is killed
loses what it noted within `BATCH_S`.
"""

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from node.audit.rejections import Rejections
from node.errors import IchnodeError, Permanent, Retryable
from node.log import event
from node.visible import visible
from node.worklist import CERTIFICATE, Actor, Audit, AuditLine, Deed

logger = logging.getLogger(__name__)

BATCH_S = 0.5
"""How long a note waits for others, so that many requests cost one transaction; chosen."""
ONE_VIEW = timedelta(minutes=10)
"""What a caller does with a study again within this time is no new row: a viewer fetches each of
400 slices by a request. Chosen."""
REMEMBERED = 20_000
"""Rows that are known to be in the trail, so that no slice adds one."""
STOP_S = 20.0
"""How long a stopping process tries to add what is left; less than systemd's TimeoutStopSec."""
MOVE_TO = "C-MOVE to "
"""What a row says of a C-MOVE before its destination."""
_UID = re.compile(r"[0-9][0-9.]{0,63}")


class Trail:
    """Takes notes of what peers do; a context manager that adds them to the audit trail."""

    def __init__(self, audit: Audit, clock: Callable[[], datetime]) -> None:
        self._audit, self._clock = audit, clock
        self._lines: list[AuditLine] = []
        self._rejections = Rejections()
        self._known: OrderedDict[tuple[object, ...], datetime] = OrderedDict()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="audit", daemon=True)
        self._away = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._note_rejections(all_of_them=True)
        deadline = time.monotonic() + STOP_S
        while not self._flush():
            if time.monotonic() > deadline:
                for line in self._lines:
                    logger.critical("not in the audit trail: %s", line, extra=event("audit_lost"))
                return
            time.sleep(0.5)

    def note(self, actor: Actor, what: Deed, *, study_uid: str = "", about: str = "") -> None:
        """Note what somebody does; of a study only what was not noted within `ONE_VIEW`.

        Parameters
        ----------
        study_uid
            Anything that is no UID is left out: a caller may send a name in its place.
        about
            What else there is to say; no patient's identity.
        """
        study = study_uid if _UID.fullmatch(study_uid) else None
        who = Actor(visible(actor.name), actor.address, actor.session)
        if actor.certificate:
            about += f"{CERTIFICATE}{actor.certificate}"
        line = AuditLine(who, what, self._clock(), study, visible(about) or None)
        with self._lock:
            if study is None or self._is_new(line):
                self._lines.append(line)

    def rejected(self, actor: Actor, reason: str) -> None:
        """Note that an association was rejected; of a flood of them not each.

        Parameters
        ----------
        reason
            In words that are not the caller's.
        """
        with self._lock:
            due = self._rejections.add(actor, reason, self._clock())
        if due is not None:
            self.note(due[0], Deed.REFUSED, about=due[1])

    def _note_rejections(self, *, all_of_them: bool = False) -> None:
        with self._lock:
            due = list(self._rejections.over(self._clock(), all_of_them=all_of_them))
        for actor, about in due:
            self.note(actor, Deed.REFUSED, about=about)

    def _is_new(self, line: AuditLine) -> bool:
        key = (line.actor.name, line.actor.address, line.what, line.study_uid, line.about)
        before = self._known.get(key)
        if before is not None and timedelta(0) <= line.at - before < ONE_VIEW:
            return False
        self._known[key] = line.at
        self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return True

    def _keep(self) -> None:
        while not self._stopping.wait(BATCH_S):
            self._note_rejections()
            self._flush()

    def _flush(self) -> bool:
        """Add what was noted; return whether nothing is left."""
        with self._lock:
            lines = self._lines[:]
        if not lines:
            return True
        try:
            self._add(lines)
        except Retryable as error:
            if not self._away:
                logger.error("the audit trail waits: %s", error, extra=event("audit_waits"))
            self._away = True
            return False
        self._away = False
        with self._lock:
            del self._lines[: len(lines)]
            return not self._lines

    def _add(self, lines: Sequence[AuditLine]) -> None:
        try:
            self._audit.record_all(lines)
        except Permanent:  # of one of them: the others must not be lost with it
            for line in lines:
                self._add_alone(line)

    def _add_alone(self, line: AuditLine) -> None:
        try:
            self._audit.record_all([line])
        except Permanent as error:
            logger.critical("not in the audit trail: %s", error, extra=event("audit_lost"))


def query_words(level: str, keys: Mapping[str, str], found: int) -> str:
    """Return what a query asked for and how many it found; of its keys the names, no values."""
    by = ", ".join(sorted(name for name, value in keys.items() if value.strip("*"))) or "nothing"
    return f"{level} by {by}: {found} found"


def noted_or_logged(audit: Audit, line: AuditLine) -> None:
    """Add a row now; if the database cannot take it, the log says so."""
    try:
        audit.record_all([line])
    except IchnodeError as error:
        logger.error("not in the audit trail: %s: %s", line.what, error, extra=event("audit_lost"))
