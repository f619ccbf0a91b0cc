"""The corridor as one table: the state a case is in -> the stage that runs -> where it can lead."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from models.findings import Findings
from node.case_folder import CaseFolder
from node.cases import clearance, manifest, withdrawn
from node.cases.assemble import decide
from node.cases.parts import parts
from node.cases.patient import corrected
from node.cases.report import write_report, write_withdrawal
from node.cases.scans import said_of
from node.cases.triage import triage
from node.depot import Depot, depot_of
from node.dicom.read.pixels import Decoder, load_volume
from node.errors import Refused
from node.outcomes import Failed, NotAnalysed, Outcome, Planned, Reported, Waiting
from node.records import Case, Header, Parcel, Series, SeriesPlan, Withdrawal
from node.settings import Assemble, Settings
from node.states import Reason, State
from node.worklist import Arrivals, Cases, Outbox, Views, Worklist

if TYPE_CHECKING:
    from models.detector import Detector


def _nobody_to_ask(_series: Series) -> bool:
    return False


def _nothing_to_prove(_header: Header) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Node:
    """What a stage works with; the clock and the detector come in from outside.

    `detector` loads the networks at the first call; each further call returns the same ones.
    `decode` reads pixels: here and now, or in a process with limits (`node.cases.decoding`).
    `ask` has an archive asked how many images a series has, and returns whether it told anew.
    `unproven` says, by a series' header, what the department has not proved the node on.
    `lost_files` counts files that came with the studies and could not be used.
    """

    settings: Settings
    arrivals: Arrivals
    cases: Cases
    outbox: Outbox
    views: Views
    detector: Callable[[], "Detector"]
    clock: Callable[[], datetime]
    decode: Decoder = load_volume
    ask: Callable[[Series], bool] = _nobody_to_ask
    unproven: Callable[[Header], tuple[str, ...]] = _nothing_to_prove
    lost_files: int = 0

    @classmethod
    def on(
        cls,
        worklist: Worklist,
        settings: Settings,
        detector: Callable[[], "Detector"],
        clock: Callable[[], datetime],
        decode: Decoder = load_volume,
        ask: Callable[[Series], bool] = _nobody_to_ask,
    ) -> Self:
        """Return a node that works on this worklist."""
        handles = (worklist.arrivals, worklist.cases, worklist.outbox, worklist.views)
        return cls(settings, *handles, detector, clock, decode, ask)

    @property
    def depot(self) -> Depot:
        """Where the bytes are stored."""
        return depot_of(self.settings)

    @property
    def root(self) -> Path:
        """The folder that all stored paths are relative to."""
        return self.depot.root

    def folder(self, case: Case) -> CaseFolder:
        """Return the case's folder, made if need be."""
        folder = CaseFolder(self.root, case.folder)
        folder.make()
        return folder


def run_stage(case: Case, node: Node) -> Outcome:
    """Run the stage of the case's state; a Refused raised in it becomes NotAnalysed.

    What the stage left in the case folder is stored for good when this returns.
    """
    node.depot.take_up(case.folder)
    try:
        outcome = PIPELINE[case.state](case, node)
    except Refused as refused:
        outcome = NotAnalysed(refused.code, str(refused))
    if outcome.state is not case.state:
        node.folder(case).make_durable()
        node.depot.keep_folder(case.folder)
    return outcome


def _assemble(case: Case, node: Node) -> Outcome:
    """RECEIVING -> ASSEMBLED, NOT_ANALYSED, SKIPPED, or not yet; leaves the plan.

    A decision that a replay comes to again is the first one, date and all.
    """
    now = node.clock()
    received = node.arrivals.study(case.study_instance_uid)
    (mine,) = (one for one in received if one.series_instance_uid == case.series_instance_uid)
    if not mine.instances:
        return _nothing_whole(mine, node.settings.assemble, now)
    if node.ask(mine):
        received = node.arrivals.study(case.study_instance_uid)
    study = [one for one in received if one.instances]
    known = {one.series_instance_uid for one in study}
    of_study = node.cases.of_study(case.study_instance_uid)
    cases = [one for one in of_study if one.series_instance_uid in known]
    replaces = None
    if case.supersedes is not None:
        older = _last_read(case, node)
        cases.append(older)
        case = dataclasses.replace(case, supersedes=older.id)
        reports = (node.outbox.predecessor(case.id, kind) for kind in ("sr", "text"))
        replaces = next(filter(None, reports), None)
    outcome, plan = decide(case, study, cases, node.settings.assemble, now)
    if case.part == 0 and not isinstance(outcome, Waiting):
        node.cases.open_parts(case, len(parts(mine, node.settings.assemble)), now)
    if plan is not None:
        folder = node.folder(case)
        plan = dataclasses.replace(plan, decided_at=now.isoformat(), replaces=replaces)
        if isinstance(outcome, Planned) and (said := node.unproven(mine.instances[0].header)):
            plan = dataclasses.replace(plan, limitations=(*plan.limitations, *said))
            outcome = dataclasses.replace(outcome, limitations=plan.limitations)
        if node.lost_files and isinstance(outcome, Planned):
            plan = plan.without(clearance.lost(node.lost_files))
        before = folder.read_plan()
        if before is None or not before.agrees(plan):
            folder.write_plan(plan)
        manifest.note(folder, "assemble", settings=node.settings.assemble.model_dump(mode="json"))
    return outcome


def _last_read(case: Case, node: Node) -> Case:
    """Return the case that a late slice outdated; a person may have withdrawn it meanwhile."""
    assert case.supersedes is not None
    older = node.cases.get(case.supersedes)
    while older.supersedes is not None and (older.withdrawal or older.state is State.RECEIVING):
        older = node.cases.get(older.supersedes)
    return older


def _nothing_whole(mine: Series, settings: Assemble, now: datetime) -> Waiting | Failed:
    """Return what becomes of a series whose images all came cut short.

    It fails, so that its study stands high in the worklist. No report can be made of it: a report
    refers to images that are filed. The first whole image opens a case that supersedes this one.
    """
    reason = f"all its images came cut short ({mine.cut_short} in quarantine): send them again"
    until = mine.last_received_at + timedelta(seconds=settings.idle_s)
    if mine.released_at is None and now < until:
        return Waiting(reason, until)
    return Failed(Reason.UNDECODABLE, reason)


def _triage(case: Case, node: Node) -> Outcome:
    """ASSEMBLED -> TRIAGED or NOT_ANALYSED; leaves the findings."""
    folder = node.folder(case)
    plan = folder.require_plan()
    _bring(plan, node)
    detector = node.detector()
    manifest.note(
        folder,
        "triage",
        bundle=detector.name,
        weights_sha256=detector.weights_sha256,
        runtime=detector.runtime,
        settings=node.settings.triage.model_dump(mode="json"),
    )
    return triage(plan, detector, folder=folder, decode=node.decode)


def _report(case: Case, node: Node) -> Outcome:
    """TRIAGED, NOT_ANALYSED -> REPORTED; leaves the report and owes it to the destinations.

    It leaves the manifest too. Where there is one already, the case is replayed: its sources must
    still be what was read, and the result is compared with the one before. A case that withdraws a
    result reports that alone.
    """
    if case.withdrawal is not None:
        return _report_withdrawal(case, case.withdrawal, node)
    folder = node.folder(case)
    plan = folder.require_plan_as_read()
    result: Findings | NotAnalysed
    if case.state is State.NOT_ANALYSED:
        result = NotAnalysed(case.reason_code or Reason.INTERNAL, case.reason or "")
    else:
        result = folder.require_findings()
        known = (*plan.limitations, *result.limitations)
        plan = dataclasses.replace(plan, limitations=known)
    scans = said_of(node.views.scans(case.study_instance_uid))
    in_part = case.reason or "" if case.state is State.TRIAGED else ""
    plan = dataclasses.replace(plan, scans=scans, in_part=in_part)
    plan = corrected(plan, node.outbox, case.id, node.depot)
    _bring(plan, node)
    before = folder.read_manifest()
    if before is not None and case.state is State.TRIAGED:
        manifest.require_sources(plan, node.depot)
    manifest.note(folder, "report")
    when = datetime.fromisoformat(plan.decided_at)
    canary = node.views.is_canary(case.study_instance_uid)
    archives = node.settings.deliver.owed_to(canary=canary)
    asked = {kind for destination in archives for kind in destination.send}
    objects = write_report(plan, result, folder, when, node.decode, asked)
    owed = tuple(
        (destination.name, Parcel.of(item))
        for destination in archives
        for item in objects
        if item.kind in destination.send
    )
    after = manifest.write(folder, case, plan, objects, _timings(case, node))
    compared = None if before is None else manifest.compare(before, after)
    return Reported(owed, compared)


def _report_withdrawal(case: Case, said: Withdrawal, node: Node) -> Reported:
    """Leave the report that a result is withdrawn, and owe it to the archives that were told."""
    gone = node.outbox.withdrawn(case.id)
    if not gone.told:
        return Reported()
    reports = (node.outbox.predecessor(case.id, kind) for kind in ("sr", "text"))
    replaces = next(filter(None, reports), None)
    folder = node.folder(case)
    plan = withdrawn.plan_of(gone.cases, said, replaces, node.depot)
    plan = corrected(plan, node.outbox, case.id, node.depot)
    received = node.arrivals.study(case.study_instance_uid)
    source = withdrawn.source_of(plan, received, gone.cases, node.depot)
    folder.write_plan(plan)
    manifest.note(folder, "report")
    archives = node.settings.deliver.owed_to(canary=False)
    asked = any(one.rejection_note and one.name in gone.told for one in archives)
    objects = write_withdrawal(source, said, gone.there, folder, rejects=asked)
    manifest.write(folder, case, plan, objects, _timings(case, node))
    return Reported(withdrawn.owed_of(objects, archives, gone.told))


def _bring(plan: SeriesPlan, node: Node) -> None:
    """Have the images of a plan here."""
    node.depot.bring_all(ref.path for ref in (*plan.slices, *plan.copies))


def _timings(case: Case, node: Node) -> dict[str, str | None]:
    """Return when each step of the case was done."""
    done = {**node.cases.times(case.id), "reported_at": node.clock()}
    return {name: at.isoformat() if at else None for name, at in done.items()}


PIPELINE: dict[State, Callable[[Case, Node], Outcome]] = {
    State.RECEIVING: _assemble,
    State.ASSEMBLED: _triage,
    State.TRIAGED: _report,
    State.NOT_ANALYSED: _report,
}
"""`node.deliver` empties the outbox, and the last object sent makes a REPORTED case DELIVERED."""

STAGES = {"assemble": State.RECEIVING, "triage": State.ASSEMBLED, "report": State.TRIAGED}
"""The state from which a replay of each stage starts."""
