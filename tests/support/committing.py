"""Peers of storage commitment: who asks the node, who listens for its reports, who is asked."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_context, build_role, evt

from node.dicom.net.association import COMMITMENT, COMMITMENT_INSTANCE, contexts_archive
from node.settings import Destination
from tests.support.peers import free_port, peer, wait_until

Named = tuple[str, str]
"""SOP class and SOP instance of an object."""


def references(objects: Sequence[Named], reason: int | None = None) -> list[Dataset]:
    found = []
    for sop_class, uid in objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        if reason is not None:
            item.FailureReason = reason
        found.append(item)
    return found


def wanted(transaction: str, objects: Sequence[Named]) -> Dataset:
    """Return the Action Information of a request."""
    ds = Dataset()
    ds.TransactionUID = transaction
    ds.ReferencedSOPSequence = references(objects)
    return ds


def told(
    transaction: str, kept: Sequence[Named], lost: Sequence[Named] = (), reason: int = 0x0110
) -> Dataset:
    """Return the Event Information of a report."""
    ds = Dataset()
    ds.TransactionUID = transaction
    ds.ReferencedSOPSequence = references(kept)
    if lost:
        ds.FailedSOPSequence = references(lost, reason)
    return ds


def named(items: Any) -> list[Named]:
    """Return which objects a sequence names, in order."""
    return sorted((i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in items or ())


@dataclass
class Report:
    """A report that a peer got."""

    type_id: int
    transaction: str
    kept: list[Named]
    lost: dict[str, int]
    """Failure reason by SOP Instance UID."""

    @classmethod
    def of(cls, event: evt.Event) -> "Report":
        ds = event.event_information
        lost = {
            item.ReferencedSOPInstanceUID: item.FailureReason
            for item in ds.get("FailedSOPSequence", ())
        }
        kept = named(ds.get("ReferencedSOPSequence"))
        return cls(event.event_type, ds.TransactionUID, kept, lost)


@dataclass
class Asking:
    """An association with the node on which commitment is asked for."""

    assoc: Any
    reports: list[Report] = field(default_factory=list)

    def ask(
        self,
        transaction: str,
        objects: Sequence[Named],
        *,
        action: int = 1,
        instance: str = COMMITMENT_INSTANCE,
    ) -> Dataset:
        """Send a request; return the node's answer."""
        return self.send(wanted(transaction, objects), action=action, instance=instance)

    def send(self, ds: Dataset, *, action: int = 1, instance: str = COMMITMENT_INSTANCE) -> Dataset:
        answer: Dataset
        answer, _ = self.assoc.send_n_action(ds, action, COMMITMENT, instance)
        return answer

    def one_report(self) -> Report:
        """Return the report once it has come."""
        wait_until(lambda: self.reports)
        (report,) = self.reports
        return report


@contextmanager
def asking(port: int, title: str = "CT7", answer: int = 0x0000) -> Iterator[Asking]:
    """Associate with the node; it is told this status for each report that comes here."""
    here = Asking(None)

    def reported(event: evt.Event) -> tuple[int, None]:
        here.reports.append(Report.of(event))
        return answer, None

    ae = AE(title)
    ae.acse_timeout = ae.dimse_timeout = 30
    here.assoc = ae.associate(
        "127.0.0.1",
        port,
        [build_context(COMMITMENT)],
        ae_title="ICHNODE",
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, reported)],
    )
    assert here.assoc.is_established
    try:
        yield here
    finally:
        time.sleep(0.1)  # pynetdicom's release may hang while it serves a report
        here.assoc.release()


@contextmanager
def listener(
    title: str = "CT7", answers: Callable[[], int] = lambda: 0x0000
) -> Iterator[tuple[int, list[Report]]]:
    """Run a peer that takes reports over associations that the node requests; yield its port."""
    reports: list[Report] = []

    def reported(event: evt.Event) -> tuple[int, None]:
        reports.append(Report.of(event))
        return answers(), None

    ae = AE(title)
    ae.require_called_aet = True
    ae.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, reported)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1], reports
    finally:
        ae.shutdown()


@dataclass
class Archive:
    """A PACS that stores, and is asked to commit itself; how it takes that is set by the test."""

    destination: Destination
    stored: list[str] = field(default_factory=list)
    asked: list[tuple[str, list[Named]]] = field(default_factory=list)
    status: int = 0x0000
    comment: str = ""
    replies: Callable[[str, list[Named]], Dataset] | None = None
    """What it reports over the same association; None says nothing there."""

    def store(self, event: evt.Event) -> int:
        self.stored.append(event.request.AffectedSOPInstanceUID)
        return 0x0000

    def act(self, event: evt.Event) -> tuple[Any, None]:
        ds = event.action_information
        request = (ds.TransactionUID, named(ds.ReferencedSOPSequence))
        self.asked.append(request)
        if self.replies is not None:
            threading.Thread(target=self._reply, args=(event.assoc, self.replies(*request))).start()
        answer = Dataset()
        answer.Status = self.status
        if self.comment:
            answer.ErrorComment = self.comment
        return answer, None

    def _reply(self, assoc: Any, ds: Dataset) -> None:
        time.sleep(0.1)
        kind = 2 if "FailedSOPSequence" in ds else 1
        assoc.send_n_event_report(ds, kind, COMMITMENT, COMMITMENT_INSTANCE)


@contextmanager
def committing_archive(*, commits: bool = True) -> Iterator[Archive]:
    """Run a PACS; without `commits` it does not know storage commitment."""
    ae = AE("PEER")
    port = free_port()
    archive = Archive(peer("PEER", port).model_copy(update={"commitment": True}))
    contexts = contexts_archive()
    contexts += [build_context(COMMITMENT)] if commits else []
    handlers = [(evt.EVT_C_STORE, archive.store), (evt.EVT_N_ACTION, archive.act)]
    ae.start_server(("127.0.0.1", port), block=False, contexts=contexts, evt_handlers=handlers)
    try:
        yield archive
    finally:
        ae.shutdown()


def report_to_node(
    port: int, ds: Dataset, *, kind: int | None = None, title: str = "PEER", role: bool = True
) -> Dataset:
    """Report over an association of the peer's own, as the SCP; return the node's answer."""
    ae = AE(title)
    ae.acse_timeout = ae.dimse_timeout = 30
    roles = [build_role(COMMITMENT, scp_role=True)] if role else []
    contexts = [build_context(COMMITMENT)]
    assoc = ae.associate("127.0.0.1", port, contexts, ae_title="ICHNODE", ext_neg=roles)
    assert assoc.is_established
    if role:
        assert assoc.accepted_contexts[0].as_scp
    if kind is None:
        kind = 2 if "FailedSOPSequence" in ds else 1
    answer: Dataset
    answer, _ = assoc.send_n_event_report(ds, kind, COMMITMENT, COMMITMENT_INSTANCE)
    assoc.release()
    return answer
