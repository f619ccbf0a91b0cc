"""Tells a collector the rows of the audit trail, in order, each at least once."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from node.audit.message import dicom_message, is_failure
from node.audit.syslog import NOTICE, WARNING, context, send, syslog_message
from node.errors import IchnodeError
from node.log import event
from node.settings import Settings
from node.worklist import Audit, AuditEntry

logger = logging.getLogger(__name__)

BATCH = 200
"""Rows in one connection; chosen."""
POLL_S = 2.0
"""How often the trail is looked at; chosen."""
RETRY_S = 300.0
"""Longest wait for a collector that is away."""


class Forwarder:
    """Sends what a collector does not have yet; how far it has the trail stands in the worklist."""

    def __init__(self, settings: Settings, audit: Audit, clock: Callable[[], datetime]) -> None:
        self._settings, self._audit, self._clock = settings, audit, clock
        self._tls = context(settings.audit)
        self._collector = f"{settings.audit.host}:{settings.audit.port}"

    def send_waiting(self) -> int:
        """Send everything that waits; return how many rows it was.

        Raises
        ------
        IchnodeError
            If the collector or the database is away: what it does not have goes again.
        """
        sent = 0
        while entries := self._audit.waiting_for(self._collector, BATCH):
            send(self._messages(entries), self._settings.audit, self._tls)
            self._audit.collected(self._collector, entries[-1].number, self._clock())
            sent += len(entries)
        return sent

    def take(self, settings: Settings) -> None:
        """Name destinations by other settings from now on; the collector stays."""
        self._settings = settings

    def keep_sending(self, stop: threading.Event) -> None:
        """Send what comes until `stop` is set; say once that the collector is away."""
        wait_s, away = POLL_S, ""
        while not stop.wait(wait_s):
            try:
                self.send_waiting()
            except IchnodeError as error:
                if str(error) != away:
                    say = event("audit_not_sent", collector=self._collector)
                    logger.warning("the audit collector is away: %s", error, extra=say)
                wait_s, away = min(2 * wait_s, RETRY_S), str(error)
                continue
            if away:
                say = event("audit_sent", collector=self._collector)
                logger.info("the audit collector has all of the trail again", extra=say)
            wait_s, away = POLL_S, ""

    def _messages(self, entries: Sequence[AuditEntry]) -> list[bytes]:
        studies = {one.study_instance_uid for one in entries if one.study_instance_uid}
        patients = self._audit.patients(studies)
        return [
            syslog_message(
                dicom_message(one, patients, self._settings),
                one.at,
                WARNING if is_failure(one) else NOTICE,
            )
            for one in entries
        ]


@contextmanager
def forwarding(
    settings: Settings, audit: Audit, clock: Callable[[], datetime]
) -> Iterator[Forwarder | None]:
    """Tell the collector of the settings what comes while the block runs; None: there is none.

    Raises
    ------
    BadConfiguration
        If a file of `audit` cannot be used.
    """
    if not settings.audit.host:
        yield None
        return
    one, stop = Forwarder(settings, audit, clock), threading.Event()
    thread = threading.Thread(target=one.keep_sending, args=(stop,), name="audit collector")
    thread.start()
    try:
        yield one
    finally:
        stop.set()
        thread.join()
