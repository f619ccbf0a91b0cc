"""The C-STORE sub-operations of a C-MOVE or C-GET: how each object is sent, and the answer."""

from collections.abc import Callable, Generator, Sequence

from node.arrive.spool import StoredBytes
from node.dicom.archive.apart import Apart
from node.dicom.archive.frames import is_compressed, uncompressed
from node.dicom.net.acceptor import IncomingAssociation
from node.dicom.net.store_scu import send_files
from node.dicom.read.part10 import dataset_of
from node.errors import BadObject
from node.settings import Destination, Settings
from node.worklist import ArchivedObject

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"

Results = Generator[tuple[ArchivedObject, int | None], None, None]
"""Each object with the peer's status; None where it could not be sent or got no answer."""
Send = Callable[[Sequence[ArchivedObject]], Results]


def moving(
    stored_bytes: StoredBytes, settings: Settings, peer: Destination, originator: tuple[str, int]
) -> Send:
    """Return what sends objects to a destination over an association of its own.

    Parameters
    ----------
    originator
        AE title and message ID of the C-MOVE.
    """

    def send(found: Sequence[ArchivedObject]) -> Results:
        whole = [one for one in found if _is_whole(one, stored_bytes)]
        known = set(whole)
        yield from ((one, None) for one in found if one not in known)
        files = [stored_bytes.locate(one.path) for one in whole]
        for one, sent in zip(
            whole, send_files(files, peer, settings, originator=originator), strict=True
        ):
            yield one, sent.status

    return send


def getting(stored_bytes: StoredBytes, apart: Apart, incoming: IncomingAssociation) -> Send:
    """Return what sends objects to the caller, over the association on which it asks."""

    def send(found: Sequence[ArchivedObject]) -> Results:
        for number, one in enumerate(found, start=1):
            if not _is_whole(one, stored_bytes):
                yield one, None
                continue
            file = stored_bytes.locate(one.path).read_bytes()
            form = _form(one, file, incoming.sendable(one.sop_class_uid), apart)
            if form is None:
                yield one, None
                continue
            context, dataset = form
            named = (one.sop_class_uid, one.sop_instance_uid)
            yield one, incoming.send_object(context, number & 0xFFFF, *named, dataset)

    return send


def _form(
    one: ArchivedObject, file: bytes, contexts: dict[str, int], apart: Apart
) -> tuple[int, bytes] | None:
    """Return the context for an object, and its data set as it goes there; None if there is none.

    It goes as it is stored, else uncompressed.
    """
    if one.transfer_syntax_uid in contexts:
        return contexts[one.transfer_syntax_uid], dataset_of(file)
    syntax = next((each for each in (EXPLICIT, IMPLICIT) if each in contexts), None)
    if syntax is None:
        return None
    implicit = syntax == IMPLICIT
    try:
        if is_compressed(one.transfer_syntax_uid):
            file = apart.run(uncompressed, file, implicit=implicit)
        else:
            file = uncompressed(file, implicit=implicit)
    except BadObject:
        return None
    return contexts[syntax], dataset_of(file)


def _is_whole(one: ArchivedObject, stored_bytes: StoredBytes) -> bool:
    """Return whether the object's file is the one that was filed."""
    try:
        return stored_bytes.altered(one.path, one.sha256) is None
    except OSError:
        return False
