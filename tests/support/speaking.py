"""A node with news of studies: the test moves its cases, and it writes and owes its messages."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from node.arrive.filing import ingest
from node.arrive.spool import Spool
from node.cases.tell import teller
from node.deliver.sending import drain
from node.outcomes import Outcome, Planned, Reported, Triaged
from node.records import Scan
from node.settings import Deliver, Destination, Settings
from node.states import Priority, State
from node.worklist import Row, Worklist
from tests.support.databases import new_database
from tests.support.peers import ct_series
from training.datasets.series import Identity

VARIABLE = "ICHNODE_TEST_SECRET"


def hl7(port: int, **more: Any) -> Destination:
    return Destination(name="ris", how="hl7", host="127.0.0.1", port=port, **more)


def webhook(port: int, **more: Any) -> Destination:
    hook = {"url": f"http://127.0.0.1:{port}/hook", "secret_variable": VARIABLE}
    return Destination(**{"name": "hook", "how": "webhook", "webhook": hook, **more})


def mail(port: int, **more: Any) -> Destination:
    options = {"sender": "node@a.example", "recipient": "on-call@a.example", "security": "none"}
    options |= more.pop("mail", {})
    return Destination(
        **{"name": "mail", "how": "mail", "host": "127.0.0.1", "port": port, **more}, mail=options
    )


SUSPECTED = Triaged(
    Priority.SUSPECTED,
    probability=0.93,
    volume_ml=77.4,
    key_slice_sop_instance_uid="1.2.3",
    bundle="fake@1",
)
NEGATIVE = Triaged(Priority.NOT_SUSPECTED, probability=0.04, volume_ml=0.0, bundle="fake@1")


@dataclass
class Speaking:
    """A node whose time the test moves."""

    settings: Settings
    worklist: Worklist
    now: datetime = datetime(2026, 11, 20, 8, tzinfo=UTC)
    slices: dict[str, int] = field(default_factory=dict)

    def clock(self) -> datetime:
        return self.now

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)

    def receive(self, seed: str = "a") -> None:
        """File one more slice of the series of this seed."""
        number = self.slices.get(seed, 0)
        self.slices[seed] = number + 1
        paths = ct_series(self.settings.data_dir / "in" / f"{seed}{number}", number + 1, seed=seed)
        spool = Spool(self.settings.data_dir, 0)
        ingest(paths[-1], self.worklist.arrivals, spool, caller="", now=self.now)
        self.wait(minutes=2)

    def move(self, state: State, outcome: Outcome) -> int:
        """Let a worker bring the most urgent case in this state to its outcome."""
        case = self.worklist.cases.claim({state}, "test", 60, self.now)
        assert case is not None
        self.worklist.cases.finish(case, "test", outcome, self.now, teller(self.settings))
        return case.id

    def read(
        self, outcome: Outcome = SUSPECTED, seed: str = "a", *, scan: str = "1", prior: bool = False
    ) -> int:
        """File a slice of a series, and let it be read with this outcome; return its case."""
        self.receive(seed)
        self.move(State.RECEIVING, Planned(scan=Scan(scan), prior=prior))
        return self.move(State.ASSEMBLED, outcome)

    def report(self) -> None:
        self.move(State.TRIAGED, Reported())

    def drain(self, worker: str = "deliver") -> int:
        return drain(self.settings, self.worklist.outbox, self.clock, worker)

    def row(self, seed: str = "a") -> Row:
        return self.worklist.views.study(Identity.of(seed).study_instance_uid)

    def deliveries(self, seed: str = "a") -> list[tuple[str, str, int]]:
        """Return destination, status and attempts of each message about a study, oldest first."""
        history = self.worklist.views.history(Identity.of(seed).study_instance_uid)
        lines = [line for row in history for line in row.deliveries if line.kind == "message"]
        return [(line.destination, line.status, line.attempts) for line in lines]

    def news(self, seed: str = "a") -> list[str]:
        """Return what was announced of a study, in order."""
        events = self.worklist.views.events(Identity.of(seed).study_instance_uid)
        return [event.detail["news"] for event in events if event.what == "announced"]


@contextmanager
def speaking(
    folder: Path, *destinations: Destination, database_url: str = "", **deliver: Any
) -> Iterator[Speaking]:
    """Open a node that tells these destinations."""
    chosen = {"timeout_s": 2.0, **deliver, "destinations": destinations}
    settings = Settings(
        data_dir=folder / "node", database_url=database_url, deliver=Deliver(**chosen)
    )
    new_database(settings.url)
    with closing(Worklist(settings.url)) as worklist:
        yield Speaking(settings, worklist)
