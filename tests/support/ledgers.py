"""What went into a node and what came out of it, as its peers have it in their books."""

import struct
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO

from pydicom import dcmread
from pynetdicom import AE, evt

from node.cli.bench.sending import Sender
from node.dicom.net.association import contexts_archive
from node.errors import Retryable
from node.settings import Destination
from tests.support.peers import peer

EXPLICIT = "1.2.840.10008.1.2.1"


def dataset_of(file: bytes) -> bytes:
    """Return what follows the file meta information, as it goes over the network."""
    (length,) = struct.unpack("<L", file[140:144])
    return file[144 + length :]


class Modality:
    """A sender of CT images, which keeps in its book what the node acknowledged."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self.acknowledged: dict[str, str] = {}
        """SHA-256 of the data set of each object that was answered 0000, by SOPInstanceUID."""

    def send(self, files: Sequence[bytes]) -> bool:
        """Send files over one association; return whether all were taken, and it was released."""
        try:
            with Sender(peer("ICHNODE", self._port), EXPLICIT) as sender:
                for file in files:
                    uid, dataset = uid_of(file), dataset_of(file)
                    sender.store(sender.encoded(uid, dataset))
                    with self._lock:
                        self.acknowledged[uid] = sha256(dataset).hexdigest()
                sender.release()
        except (OSError, Retryable):
            return False
        return True


def uid_of(file: bytes) -> str:
    return str(dcmread(BytesIO(file), specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as an archive got it."""

    study_instance_uid: str
    sop_class_uid: str
    sha256: str


@dataclass
class Archive:
    """A storage SCP, which keeps in its book each object each time that it gets it."""

    destination: Destination
    got: dict[str, list[Stored]] = field(default_factory=lambda: defaultdict(list))
    """By SOPInstanceUID."""

    @property
    def repeats(self) -> int:
        """How often an object came that was there."""
        return sum(len(times) - 1 for times in self.got.values())


@contextmanager
def archive(name: str) -> Iterator[Archive]:
    """Run an archive on loopback while the block runs."""
    lock = threading.Lock()

    def keep(event: evt.Event) -> int:
        ds, digest = event.dataset, sha256(event.request.DataSet.getvalue()).hexdigest()
        with lock:
            book.got[ds.SOPInstanceUID].append(Stored(ds.StudyInstanceUID, ds.SOPClassUID, digest))
        return 0x0000

    ae = AE(name)
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        contexts=contexts_archive(),
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )
    at = peer(name, server.server_address[1]).model_copy(update={"name": name})
    book = Archive(at)
    try:
        yield book
    finally:
        ae.shutdown()
