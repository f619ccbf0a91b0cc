"""A node that reads, reports and sends, on which a person withdraws what was sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from node.case_folder import case_folder
from node.cases.tell import teller
from node.cases.worker import work_once
from node.deliver.sending import drain
from node.settings import Deliver, Destination, Settings
from node.worklist import Actor, Retraction, Row, Worklist
from tests.support.builder import HEAD, Scan
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive, work, working_node

STUDY = HEAD.build()[0].StudyInstanceUID
WHY = "read with the wrong bundle"


@dataclass
class Withdrawing:
    """A node, its clock and its reader."""

    node: WatchedNode
    clock: Clock
    predictor: Predictor

    @property
    def worklist(self) -> Worklist:
        return self.node.worklist

    def read(self, scan: Scan = HEAD, only: slice = slice(None)) -> Row:
        """Receive images of the study, and let them be read and reported; return how it stands."""
        receive(self.node, scan=scan, only=only)
        return self.work()

    def work(self) -> Row:
        work(self.node, self.clock)
        return self.row()

    def work_once(self) -> bool:
        self.clock.wait(1)
        return work_once(self.node, "worker")

    def withdraw(self, why: str = WHY, by: str = "anna") -> Retraction:
        return self.worklist.retractions.withdraw(
            STUDY, Actor(by, "terminal"), why, self.clock(), teller(self.node.settings)
        )

    def drain(self) -> int:
        return drain(self.node.settings, self.worklist.outbox, self.clock, "deliver")

    def row(self) -> Row:
        return self.worklist.views.study(STUDY)

    def history(self) -> tuple[Row, ...]:
        return self.worklist.views.history(STUDY)

    def owed(self, case: int) -> list[tuple[str, str, str]]:
        """Return destination, kind and status of each parcel of a case, in order."""
        (row,) = (row for row in self.history() if row.case_id == case)
        return [(line.destination, line.kind, line.status) for line in row.deliveries]

    def made(self, case: int, kind: str) -> Dataset:
        """Return an object of a case's report, as it lies on disk."""
        return dcmread(self.node.root / case_folder(case) / "report" / f"{kind}.dcm")


@contextmanager
def withdrawing(
    folder: Path, *destinations: Destination, **deliver: object
) -> Iterator[Withdrawing]:
    """Open a node that sends to these destinations."""
    chosen = {"timeout_s": 2.0, **deliver, "destinations": destinations}
    settings = Settings(data_dir=folder / "node", deliver=Deliver(**chosen))
    clock, predictor = Clock(), Predictor()
    with working_node(settings, clock, predictor) as node:
        yield Withdrawing(node, clock, predictor)


def spoken(ds: Dataset) -> list[str]:
    """Return all text of a structured report, in order."""
    found = [ds.TextValue] if "TextValue" in ds else []
    for item in ds.get("ContentSequence", ()):
        found += spoken(item)
    return found


def predecessors(ds: Dataset) -> set[str]:
    """Return the SOPInstanceUIDs of the documents that a report replaces."""
    return {
        one.ReferencedSOPInstanceUID
        for study in ds.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
