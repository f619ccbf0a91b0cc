"""The corridor as one table: the state a case is in -> the stage that runs -> where it can lead."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from models.findings import Findings
from node.assemble import decide
from node.errors import NotAnalysed
from node.records import Case, Outcome, SeriesPlan
from node.report import NotRead, write_report
from node.settings import Settings
from node.spool import make_durable
from node.states import Priority, Reason, State
from node.triage import triage
from node.worklist.store import Store

if TYPE_CHECKING:
    from models.reader import Reader


@dataclass(frozen=True, slots=True)
class Node:
    """What a stage works with; the clock and the reader come in from outside.

    `reader` loads the networks at the first call and returns the same reader ever after.
    """

    settings: Settings
    store: Store
    reader: Callable[[], "Reader"]
    clock: Callable[[], datetime]

    @property
    def root(self) -> Path:
        """The data folder that all stored paths are relative to."""
        return self.settings.data_dir

    def folder(self, case: Case) -> Path:
        """Return the case's folder, made if need be."""
        folder = self.root / case.folder
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def run_stage(case: Case, node: Node) -> Outcome:
    """Run the stage of the case's state; a NotAnalysed raised in it becomes its outcome.

    What the stage left in the case folder is on disk for good when this returns.
    """
    try:
        outcome = PIPELINE[case.state](case, node)
    except NotAnalysed as reason:
        outcome = Outcome(
            State.NOT_ANALYSED,
            Priority.NOT_ANALYSED,
            reason_code=reason.code,
            reason=str(reason),
        )
    if outcome.state is not case.state:
        make_durable(node.folder(case))
    return outcome


def _assemble(case: Case, node: Node) -> Outcome:
    """RECEIVING -> ASSEMBLED, NOT_ANALYSED, SKIPPED, or not yet; leaves series.json."""
    study = node.store.study(case.study_instance_uid)
    cases = node.store.cases(case.study_instance_uid)
    now = node.clock()
    outcome, plan = decide(case, study, cases, node.settings.assemble, now)
    if plan is not None:
        plan = dataclasses.replace(plan, decided_at=now.isoformat())
        plan.write(node.folder(case) / "series.json")
    return outcome


def _triage(case: Case, node: Node) -> Outcome:
    """ASSEMBLED -> TRIAGED or NOT_ANALYSED; leaves findings.json and mask.npz."""
    folder = node.folder(case)
    plan = SeriesPlan.read(folder / "series.json")
    return triage(plan, node.reader(), root=node.root, folder=folder)


def _report(case: Case, node: Node) -> Outcome:
    """TRIAGED, NOT_ANALYSED -> REPORTED; leaves report/*.dcm and owes it to the destinations."""
    folder = node.folder(case)
    plan = SeriesPlan.read(folder / "series.json")
    result: Findings | NotRead
    if case.state is State.NOT_ANALYSED:
        result = NotRead(case.reason_code or Reason.INTERNAL, case.reason or "")
    else:
        result = Findings.load(folder)
    when = datetime.fromisoformat(plan.decided_at)
    objects = write_report(plan, result, node.root, folder, when)
    owed = tuple(
        (destination.name, item)
        for destination in node.settings.deliver.destinations
        for item in objects
        if Path(item.path).stem in destination.send
    )
    return Outcome(State.REPORTED, owed=owed)


PIPELINE: dict[State, Callable[[Case, Node], Outcome]] = {
    State.RECEIVING: _assemble,
    State.ASSEMBLED: _triage,
    State.TRIAGED: _report,
    State.NOT_ANALYSED: _report,
}
"""REPORTED -> DELIVERED is the outbox's: `node.deliver` empties it, the store moves the case."""

STAGES = {"assemble": State.RECEIVING, "triage": State.ASSEMBLED, "report": State.TRIAGED}
"""The state from which a replay of each stage starts."""
