"""C-ECHO and C-STORE as an SCU: sends files to a peer as they are stored."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ImplicitVRLittleEndian

from node.dicom.net.association import contexts_echo, contexts_out, refused_by_peer, stored_by_peer
from node.dicom.net.requestor import associated
from node.errors import BadObject, NoConnection, Retryable
from node.settings import Destination, Settings

PRIORITY_MEDIUM, PRIORITY_HIGH = 0, 1
"""DIMSE Priority (PS3.7 E.1)."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How sending one file ended."""

    path: Path
    status: int | None
    """The peer's status verbatim; None if it gave none."""
    message: str = ""
    refused: bool = False
    """Whether the peer will refuse the same object again, until something changes there."""
    reached: bool = True
    """False if there was no association with the peer, so that it got nothing."""

    @property
    def stored(self) -> bool:
        """Whether the peer answered that it has the object; a warning means so too."""
        return self.status is not None and stored_by_peer(self.status)


@dataclass(frozen=True, slots=True)
class Part10File:
    """One file to send, as its file meta information describes it."""

    path: Path
    sop_class_uid: UID
    sop_instance_uid: UID
    transfer_syntax_uid: UID

    @classmethod
    def of(cls, path: Path) -> "Part10File":
        """Read the file meta information.

        Raises
        ------
        BadObject
            If the file is not a complete Part 10 file, or cannot be read.
        """
        try:
            meta = read_file_meta_info(path)
            return cls(
                path,
                meta.MediaStorageSOPClassUID,
                meta.MediaStorageSOPInstanceUID,
                meta.TransferSyntaxUID,
            )
        except (InvalidDicomError, AttributeError) as error:
            raise BadObject(f"{path.name} is no complete DICOM file") from error
        except OSError as error:
            raise BadObject(f"{path.name} cannot be read: {error.strerror}") from error


def echo(peer: Destination, settings: Settings) -> int:
    """Return the peer's status of a C-ECHO.

    Raises
    ------
    Retryable
        If there is no association with it, or no answer.
    """
    with _associated(peer, contexts_echo(), settings) as assoc:
        response = assoc.send_c_echo()
        if "Status" not in response:
            raise Retryable(f"{peer.name} did not answer the C-ECHO")
        return int(response.Status)


def send_files(
    files: Iterable[Path],
    peer: Destination,
    settings: Settings,
    *,
    high_priority: bool = False,
    originator: tuple[str, int] | None = None,
    left_out: Callable[[Path], bool] | None = None,
) -> Iterator[Sent]:
    """Send files to a peer over one association; yield how each ended, in their order.

    A peer that is down and a file that is not DICOM raise nothing: the results say so.

    Parameters
    ----------
    originator
        AE title and message ID of the C-MOVE that asked for it, if one did.
    left_out
        Asked just before each file would leave; one of which it is true is not sent, and nothing is
        said of it.
    """
    left = deque(_item(path) for path in files)
    kinds = {(i.sop_class_uid, i.transfer_syntax_uid) for i in left if isinstance(i, Part10File)}
    why, reached = "", True
    try:
        if kinds:
            with _associated(peer, contexts_out(kinds), settings) as assoc:
                while left:
                    if left_out is not None and left_out(left[0].path):
                        left.popleft()
                        continue
                    sent = _send(left[0], assoc, high_priority, originator)
                    left.popleft()
                    yield sent
    except Retryable as error:
        why, reached = str(error), not isinstance(error, NoConnection)
    yield from (
        i if isinstance(i, Sent) else Sent(i.path, None, why, reached=reached) for i in left
    )


def _item(path: Path) -> Part10File | Sent:
    try:
        return Part10File.of(path)
    except BadObject as error:
        return Sent(path, None, str(error), refused=True)


def _associated(
    peer: Destination, contexts: list[Any], settings: Settings
) -> AbstractContextManager[Any]:
    """Return an association with the AE title and time limit of the settings."""
    return associated(
        peer,
        contexts,
        ae_title=settings.receive.ae_title,
        timeout_s=settings.deliver.timeout_s,
    )


def _send(
    item: Part10File | Sent,
    assoc: Any,
    high_priority: bool,
    originator: tuple[str, int] | None = None,
) -> Sent:
    """Send one object in its stored transfer syntax, or re-encoded if the peer refuses that one.

    Raises
    ------
    Retryable
        If the association has ended; the peer may have the object.
    """
    if isinstance(item, Sent):
        return item
    accepted = {(cx.abstract_syntax, cx.transfer_syntax[0]) for cx in assoc.accepted_contexts}
    source: Any = item.path
    if (item.sop_class_uid, item.transfer_syntax_uid) not in accepted:
        if (item.sop_class_uid, ImplicitVRLittleEndian) not in accepted:
            kind = f"{item.sop_class_uid.name} in {item.transfer_syntax_uid.name}"
            return Sent(item.path, None, f"the peer does not accept {kind}", refused=True)
        source = dcmread(item.path)  # pynetdicom re-encodes a dataset, and sends a path as it is
        if item.transfer_syntax_uid.is_compressed:
            source.decompress(generate_instance_uid=False)
    try:
        ae_title, message_id = originator or (None, None)
        response = assoc.send_c_store(
            source,
            priority=PRIORITY_HIGH if high_priority else PRIORITY_MEDIUM,
            originator_aet=ae_title,
            originator_id=message_id,
        )
    except RuntimeError as error:
        raise Retryable("the association ended") from error
    if "Status" not in response:
        raise Retryable("the association ended before an answer")
    status = int(response.Status)
    return Sent(item.path, status, str(response.get("ErrorComment", "")), refused_by_peer(status))
