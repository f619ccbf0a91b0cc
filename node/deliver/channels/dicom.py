"""The channel "dicom": a report's objects go out by C-STORE, and only to whom they belong."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from node.deliver.answer import Answer, Verdict
from node.depot import depot_of
from node.dicom.net.store_scu import Part10File, Sent, echo, send_files
from node.dicom.read.identity import strange_in
from node.errors import BadObject, Retryable
from node.identity import Identity
from node.records import Delivery
from node.settings import Destination, Settings, is_this_machine
from node.worklist import Outbox


def send(
    batch: Sequence[Delivery], settings: Settings, outbox: Outbox
) -> Iterator[tuple[Delivery, Answer]]:
    """Send deliveries of one destination, those of high priority first."""
    name = batch[0].destination
    sources = {case: outbox.identities(case) for case in {owed.case_id for owed in batch}}
    depot = depot_of(settings)
    peers = {peer.name: peer for peer in settings.deliver.archives}
    for high in (True, False):
        owed = {
            depot.bring(delivery.parcel.path): delivery
            for delivery in batch
            if delivery.high_priority is high
        }
        if name not in peers:
            missing = Answer(Verdict.AGAIN, message=f"no destination {name!r} is set")
            yield from ((delivery, missing) for delivery in owed.values())
            continue
        for path, delivery in list(owed.items()):
            if against := _objection(path, delivery, sources[delivery.case_id]):
                yield owed.pop(path), against

        def is_cancelled(path: Path, owed: Mapping[Path, Delivery] = owed) -> bool:
            return not outbox.is_owed(owed[path])

        files, peer = list(owed), peers[name]
        for sent in send_files(files, peer, settings, high_priority=high, left_out=is_cancelled):
            yield owed.pop(sent.path), _answer(sent)
        yield from ((delivery, Answer(Verdict.CANCELLED)) for delivery in owed.values())


def probe(destination: Destination, settings: Settings) -> str:
    """Return that a peer answers C-ECHO with success.

    Raises
    ------
    Retryable
        If it does not answer, or with another status.
    """
    status = echo(destination, settings)
    if status != 0:
        raise Retryable(f"C-ECHO 0x{status:04X}")
    if destination.tls.is_on:
        return "C-ECHO 0x0000 by TLS"
    plain = "" if is_this_machine(destination.host) else "; not encrypted"
    return f"C-ECHO 0x0000{plain}"


def _answer(sent: Sent) -> Answer:
    if not sent.reached:
        return Answer(Verdict.DOWN, message=sent.message)
    verdict = Verdict.REFUSED if sent.refused else Verdict.AGAIN
    return Answer(Verdict.STORED if sent.stored else verdict, sent.status, sent.message)


def _objection(path: Path, delivery: Delivery, sources: frozenset[Identity]) -> Answer | None:
    """Return why a file is not sent, or None."""
    if not _is_owed(path, delivery):
        reason = "the file is missing, or is not the object owed: replay the case from report"
        return Answer(Verdict.REFUSED, message=reason)
    if against := _contradiction(path, delivery, sources):
        return Answer(Verdict.STOPPED, message=against)
    return None


def _is_owed(path: Path, delivery: Delivery) -> bool:
    """Return whether the file holds the object that the outbox says."""
    try:
        item = Part10File.of(path)
    except BadObject:
        return False
    wanted = delivery.parcel.object
    return (item.sop_class_uid, item.sop_instance_uid) == (
        wanted.sop_class_uid,
        wanted.sop_instance_uid,
    )


def _contradiction(path: Path, delivery: Delivery, sources: frozenset[Identity]) -> str | None:
    """Return why an object is not the one of the images in the worklist, or None."""
    try:
        other = strange_in(path, delivery.parcel.object.sop_instance_uid, sources)
    except BadObject as error:
        return f"not sent: {error}; replay the case from report"
    if not other:
        return None
    return (
        f"not sent: its {' and '.join(other)} is not that of the images in the worklist; "
        "find out whose they are, then replay the case from assemble"
    )
