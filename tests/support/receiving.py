"""A receiver that listens on loopback, with an empty worklist of its own."""

import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node.arrive.storage_scp import Receiver
from node.dicom.net.requestor import associated
from node.dicom.net.store_scu import send_files
from node.settings import Receive, Settings
from node.worklist import Worklist
from tests.support.databases import new_database
from tests.support.peers import peer
from training.datasets.series import Identity

STUDY = Identity.of("a").study_instance_uid


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Node:
    """A receiver that listens, and what it wrote."""

    settings: Settings
    worklist: Worklist
    receiver: Receiver

    @property
    def peer(self):
        return peer("ICHNODE", self.receiver.port)

    def associated(self, contexts):
        return associated(self.peer, contexts, ae_title="CT1", timeout_s=30)

    def send(self, *files: Path):
        return list(send_files(files, self.peer, self.settings))

    def instances(self, study: str = STUDY):
        return [i for series in self.worklist.arrivals.study(study) for i in series.instances]

    def kept(self) -> bytes:
        """Return the one object in quarantine."""
        (item,) = self.worklist.quarantine.listed()
        return (self.settings.data_dir / item.stored.path).read_bytes()


@contextmanager
def listening_node(folder: Path, *, database_url: str = "", **receive: object) -> Iterator[Node]:
    chosen = {"host": "127.0.0.1", "port": 0, "min_free_mb": 0, **receive}
    settings = Settings(
        data_dir=folder / "node", database_url=database_url, receive=Receive(**chosen)
    )
    new_database(settings.url)
    with (
        closing(Worklist(settings.url)) as worklist,
        Receiver(settings, worklist.arrivals, worklist.announcements, now) as receiver,
    ):
        yield Node(settings, worklist, receiver)


def dataset_bytes(path: Path) -> bytes:
    """Return what follows the file meta information, as it goes over the network."""
    data = path.read_bytes()
    (length,) = struct.unpack("<L", data[140:144])
    return data[144 + length :]
