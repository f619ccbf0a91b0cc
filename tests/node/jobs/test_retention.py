"""Files go by rule and stay where somebody needs them; what was purged is never lost or cleared."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from models.findings import Findings
from models.volume import Volume
from node.arrive.catalogue import Catalogue
from node.arrive.filing import ingest
from node.arrive.spool import Spool
from node.cases.explain import explain_study
from node.cli import app
from node.committed import Reference
from node.depot import Depot
from node.dicom.read.header import open_object
from node.errors import Retryable
from node.jobs.tidying import Tidying
from node.settings import Destination, Retention, Rule
from node.states import Priority, State
from node.worklist import (
    Actor,
    Arrival,
    Decision,
    Deed,
    IllegalMove,
    Level,
    Opinion,
    Purge,
    Query,
    Row,
    Signature,
)
from node.worklist.schema.tables import case, delivery
from tests.support.builder import HEAD, encoded
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive, receive_files, work

STUDY = HEAD.build()[0].StudyInstanceUID
DAY = 86400.0
ROOT_OF_ALL = Actor("admin", "terminal")


class Calm(Predictor):
    """Finds nothing."""

    def state_findings(self, volume: Volume, *_: object) -> Findings:
        return super().state_findings(replace(volume, hu=volume.hu * 0))


@pytest.fixture
def predictor(request: pytest.FixtureRequest) -> Predictor:
    """It finds nothing, unless a test has a bleed."""
    called = getattr(request.node, "callspec", None)
    return Predictor() if called and called.params.get("bleed") else Calm()


def tidying(node: WatchedNode, *, free_mb: Callable[[], int] = lambda: 0) -> Tidying:
    return Tidying(node.settings, node.worklist.retention, node.clock, free_mb)


def row(node: WatchedNode) -> Row:
    return node.worklist.views.study(STUDY)


def received(node: WatchedNode) -> list[Path]:
    return sorted(path for path in (node.root / "received").rglob("*.dcm"))


def read_study(node: WatchedNode, clock: Clock) -> None:
    receive(node)
    work(node, clock)


def decide(node: WatchedNode, *, results: bool = False) -> Purge:
    found = node.worklist.retention.decide(
        STUDY, ROOT_OF_ALL, "a test", node.clock(), results=results, unacknowledged=timedelta(0)
    )
    assert found is not None
    return found


def send(node: WatchedNode, file: bytes) -> Arrival:
    spool = Spool(node.root, 0)
    return ingest(file, node.arrivals, spool, caller="CT1", now=node.clock())[1]


def change(node: WatchedNode, statement: sa.Update) -> None:
    engine = sa.create_engine(node.settings.url)
    with engine.begin() as db:
        db.execute(statement)
    engine.dispose()


def acknowledge(node: WatchedNode) -> None:
    node.worklist.feedback.give(STUDY, "reader", Opinion(), node.clock())


def test_pixels_go_before_results_and_rows_stay(node: WatchedNode, clock: Clock) -> None:
    read_study(node, clock)
    before = row(node)
    assert before.priority is Priority.NOT_SUSPECTED and before.state is State.DELIVERED
    report = node.root / before.folder / "report" / "sr.dcm"
    clock.wait(9 * DAY)
    assert tidying(node).by_rules() == 0 and len(received(node)) == 30
    clock.wait(2 * DAY)
    assert tidying(node).by_rules() == 1
    assert not received(node) and report.exists()
    assert row(node).purged == f"pixels purged on {clock.now:%Y-%m-%d}"
    clock.wait(90 * DAY)
    assert tidying(node).by_rules() == 1
    assert not (node.root / before.folder).exists()
    after = row(node)
    assert after.purged == f"pixels and results purged on {clock.now:%Y-%m-%d}"
    assert (after.priority, after.probability) == (before.priority, before.probability)
    assert tidying(node).by_rules() == 0
    assert after.to_json()["results_purged_at"] == clock.now.isoformat()
    told = explain_study(STUDY, node.worklist, node.settings, clock.now)
    assert told.purged == after.purged


def test_a_purge_stands_in_the_history_and_in_the_audit_trail(
    node: WatchedNode, clock: Clock
) -> None:
    read_study(node, clock)
    tidying(node).remove(decide(node))
    (event,) = (e for e in node.worklist.views.events(STUDY) if e.what == "pixels purged")
    assert event.detail == {"by": "admin", "why": "a test", "objects": 30}
    (entry,) = node.worklist.audit.entries(STUDY)
    assert (entry.what, entry.who, entry.about) == (Deed.PURGED, "admin", "pixels purged: a test")
    assert node.worklist.audit.faults()[0] == []


def test_what_was_purged_is_no_longer_offered_to_queries(node: WatchedNode, clock: Clock) -> None:
    read_study(node, clock)
    catalogue = Catalogue(node.worklist.archive, Depot(node.root))
    catalogue.require_current()
    archive = node.worklist.archive
    made = {one.sop_instance_uid for one in archive.stored([STUDY]) if one.case_id}
    assert len(archive.stored([STUDY])) == 30 + len(made)
    first = decide(node)
    assert {one.sop_instance_uid for one in archive.stored([STUDY])} == made
    tidying(node).remove(first)
    catalogue.require_current()
    assert len(archive.find(Query(Level.IMAGE, {"StudyInstanceUID": STUDY}))) == len(made)
    tidying(node).remove(decide(node, results=True))
    catalogue.require_current()
    assert not archive.stored([STUDY]) and not archive.find(Query(Level.STUDY))
    assert not list((node.root / "cache" / "dicomweb").glob("*.gz"))


PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=1)


@pytest.mark.parametrize("status", ["OWED", "DEAD", "SENT", "CANCELLED"])
def test_what_is_not_delivered_stays(status: str, node: WatchedNode, clock: Clock) -> None:
    settings = node.settings.model_copy(
        update={"deliver": node.settings.deliver.model_copy(update={"destinations": (PACS,)})}
    )
    node = WatchedNode.on(node.worklist, settings, node.detector, clock)
    read_study(node, clock)
    change(node, delivery.update().values(status=status))
    change(node, case.update().values(state="DELIVERED"))
    clock.wait(1000 * DAY)
    goes = status in ("SENT", "CANCELLED")
    assert bool(tidying(node).by_rules()) is goes
    assert bool(received(node)) is not goes


@pytest.mark.parametrize("state", ["RECEIVING", "ASSEMBLED", "TRIAGED", "REPORTED", "FAILED"])
def test_what_is_worked_on_or_failed_stays(state: str, node: WatchedNode, clock: Clock) -> None:
    read_study(node, clock)
    change(node, case.update().values(state=state, reason="a test", reason_code="INTERNAL"))
    clock.wait(1000 * DAY)
    assert tidying(node).by_rules() == 0 and len(received(node)) == 30


def test_what_failed_goes_once_a_person_has_seen_it(node: WatchedNode, clock: Clock) -> None:
    read_study(node, clock)
    change(node, case.update().values(state="FAILED", reason="a test", reason_code="INTERNAL"))
    acknowledge(node)
    clock.wait(1000 * DAY)
    assert tidying(node).by_rules() and not received(node)


def test_a_study_with_objects_in_quarantine_stays(node: WatchedNode, clock: Clock) -> None:
    read_study(node, clock)
    other = HEAD.having(PatientID="P2", SOPInstanceUID="1.2.3").build()[0]
    assert send(node, encoded(other)) is Arrival.CONFLICT
    clock.wait(1000 * DAY)
    assert tidying(node).by_rules() == 0
    found = node.worklist.retention.kept(
        STUDY, results=False, unacknowledged=timedelta(0), now=clock.now
    )
    assert found.why == "objects of it are in quarantine"


def decided_node(node: WatchedNode, days: float = 30) -> Tidying:
    changed = node.settings.retention.model_copy(update={"decided_days": days, "rules": ()})
    settings = node.settings.model_copy(update={"retention": changed})
    return Tidying(settings, node.worklist.retention, node.clock, lambda: 0)


def aside(node: WatchedNode, count: int = 1) -> list[Path]:
    """Send objects of another patient into a study; return where they lie."""
    send(node, encoded(HEAD.build()[0]))
    for number in range(count):
        other = HEAD.having(PatientID="P2", SOPInstanceUID=f"1.2.{number + 3}").build()[0]
        assert send(node, encoded(other)) is Arrival.CONFLICT
    return [written(node, one.stored.path) for one in node.worklist.quarantine.listed()]


def written(node: WatchedNode, path: str) -> Path:
    """Have a file be written now, by the clock of the test; return it."""
    os.utime(node.root / path, (node.clock().timestamp(),) * 2)
    return node.root / path


def signed(node: WatchedNode) -> Signature:
    return Signature("anna", node.clock())


def test_bytes_that_a_person_decided_not_to_file_go_and_undecided_ones_never(
    node: WatchedNode, clock: Clock
) -> None:
    discarded, undecided = aside(node, 2)
    clock.wait(10 * DAY)
    node.worklist.quarantine.discard(1, signed(node))
    clock.wait(29 * DAY)
    decided_node(node).by_rules()
    assert discarded.exists()
    clock.wait(2 * DAY)
    decided_node(node, days=0).by_rules()
    decided_node(node).by_rules(when_short=True)
    assert discarded.exists()
    clock.wait(1000 * DAY)
    decided_node(node).by_rules()
    decided_node(node).by_rules()
    assert not discarded.exists() and undecided.exists()
    gone, open_ = node.worklist.quarantine.listed(decided=True)
    assert (gone.decision, gone.decided_by, open_.decision) == (Decision.DELETED, "anna", None)
    with pytest.raises(IllegalMove):
        node.worklist.quarantine.discard(1, signed(node))
    *_, last = node.worklist.audit.entries(STUDY)
    assert (last.what, last.who, last.about) == (
        *(Deed.QUARANTINE, "ichnode"),
        "number 1 deleted: decided 30 days ago",
    )
    files = [one.path for one in node.worklist.inspection.files() if one.what == "quarantined"]
    assert files == [str(undecided.relative_to(node.root))]


def test_bytes_that_came_again_stay_until_a_person_decides_about_them(
    node: WatchedNode, clock: Clock
) -> None:
    (path,) = aside(node)
    node.worklist.quarantine.discard(1, signed(node))
    clock.wait(100 * DAY)
    assert aside(node) == [path]
    decided_node(node).by_rules()
    assert path.exists()
    node.worklist.quarantine.discard(2, signed(node))
    clock.wait(29 * DAY)
    decided_node(node).by_rules()
    assert path.exists()
    clock.wait(2 * DAY)
    decided_node(node).by_rules()
    assert not path.exists()
    both = {one.decision for one in node.worklist.quarantine.listed(decided=True)}
    assert both == {Decision.DELETED}


def test_bytes_that_are_just_being_received_again_stay(node: WatchedNode, clock: Clock) -> None:
    (path,) = aside(node)
    node.worklist.quarantine.discard(1, signed(node))
    clock.wait(100 * DAY)
    written(node, str(path.relative_to(node.root)))
    decided_node(node).by_rules()
    assert path.exists()
    (one,) = node.worklist.quarantine.listed(decided=True)
    assert one.decision is Decision.DISCARDED


def test_released_bytes_go_with_their_study_and_not_before(node: WatchedNode, clock: Clock) -> None:
    (path,) = aside(node)
    entry = node.worklist.quarantine.get(1)
    opened = open_object(BytesIO(path.read_bytes()), pixels=False)
    assert node.worklist.quarantine.release({entry.number: opened.header}, signed(node)) == {}
    clock.wait(100 * DAY)
    decided_node(node).by_rules()
    assert path.exists()


@pytest.mark.parametrize("promised", [True, False])
def test_bytes_that_another_object_replaced_go_unless_they_are_promised(
    promised: bool, node: WatchedNode, clock: Clock
) -> None:
    first, other = HEAD.build()[0], HEAD.having(ContentTime="120000").build()[0]
    assert send(node, encoded(first)) is Arrival.NEW
    (old,) = (written(node, str(path.relative_to(node.root))) for path in received(node))
    assert send(node, encoded(other)) is Arrival.CHANGED
    entry = node.worklist.quarantine.get(1)
    opened = open_object(BytesIO((node.root / entry.stored.path).read_bytes()), pixels=False)
    assert node.worklist.quarantine.release({1: opened.header}, signed(node)) == {}
    clock.wait(100 * DAY)
    if promised:
        named = [Reference(first.SOPClassUID, first.SOPInstanceUID)]
        node.worklist.commitments.keep(named, clock.now + timedelta(days=1))
    decided_node(node).by_rules()
    assert old.exists() == promised


def test_what_the_node_has_committed_itself_to_stays_until_its_term_is_over(
    node: WatchedNode, clock: Clock
) -> None:
    read_study(node, clock)
    clock.wait(999 * DAY)
    image = HEAD.build()[0]
    named = [Reference(image.SOPClassUID, image.SOPInstanceUID)]
    until = clock.now + timedelta(days=30)
    assert set(node.worklist.commitments.keep(named, until)) == {image.SOPInstanceUID}
    clock.wait(29 * DAY)
    assert tidying(node).by_rules() == 0
    found = node.worklist.retention.kept(
        STUDY, results=False, unacknowledged=timedelta(0), now=clock.now
    )
    assert found.why == "the node has committed itself to keep objects of it"
    clock.wait(2 * DAY)
    assert tidying(node).by_rules() > 0
    assert node.worklist.commitments.keep(named, until) == {}, "what was purged is not promised"


@pytest.mark.parametrize("bleed", [True])
def test_a_suspicion_that_nobody_acknowledged_keeps_its_results_and_for_some_days_its_pixels(
    bleed: bool, node: WatchedNode, clock: Clock
) -> None:
    read_study(node, clock)
    assert (row(node).priority is Priority.SUSPECTED) is bleed
    clock.wait(29 * DAY)
    assert tidying(node).by_rules() == 0 and len(received(node)) == 30
    clock.wait(2 * DAY)
    assert tidying(node).by_rules() == 1 and not received(node)
    clock.wait(1000 * DAY)
    assert tidying(node).by_rules() == 0
    assert (node.root / row(node).folder / "report" / "sr.dcm").exists()
    acknowledge(node)
    assert tidying(node).by_rules() == 1
    assert row(node).priority is Priority.SUSPECTED
    assert not (node.root / row(node).folder).exists()


@pytest.mark.parametrize(
    ("rule", "goes"),
    [
        ({"priorities": ("SUSPECTED",)}, False),
        ({"priorities": ("NOT_SUSPECTED", "NOT_ANALYSED")}, True),
        ({"states": ("SKIPPED",)}, False),
        ({"states": ("DELIVERED",)}, True),
        ({"below_free_mb": 100}, False),
        ({"below_free_mb": 101}, True),
    ],
    ids=str,
)
def test_a_rule_is_for_some_priorities_states_and_disks(
    rule: dict[str, object], goes: bool, node: WatchedNode, clock: Clock
) -> None:
    one = Rule.model_validate({"remove": "pixels", "after_days": 1, **rule})
    settings = node.settings.model_copy(update={"retention": Retention(rules=(one,))})
    read_study(node, clock)
    clock.wait(2 * DAY)
    done = Tidying(settings, node.worklist.retention, clock, lambda: 100).by_rules()
    assert bool(done) is goes is not received(node)


def test_a_crash_while_files_go_is_made_good(node: WatchedNode, clock: Clock) -> None:
    read_study(node, clock)
    one = decide(node, results=True)
    left = iter(range(7))

    def unlink(path: str) -> None:
        if next(left, None) is None:
            raise OSError(5, "Input/output error")
        (node.root / path).unlink()

    with pytest.raises(OSError, match="Input/output"):
        node.worklist.retention.remove(one, unlink)
    assert len(received(node)) == 23
    assert node.worklist.retention.under_way() == [one]
    tidying(node).by_rules()
    assert not received(node) and not (node.root / row(node).folder).exists()
    assert not node.worklist.retention.under_way()


def test_an_image_that_comes_again_is_kept_and_its_result_stands(
    node: WatchedNode, clock: Clock
) -> None:
    read_study(node, clock)
    before = row(node)
    files = [encoded(ds) for ds in HEAD.build()]
    clock.wait(60)
    one = decide(node)
    assert send(node, files[0]) is Arrival.DUPLICATE  # between the decision and the removal
    tidying(node).remove(one)
    assert len(received(node)) == 1
    clock.wait(60)
    assert row(node).pixels_purged_at is not None
    for file in files[1:]:
        assert send(node, file) is Arrival.DUPLICATE
    assert len(received(node)) == 30
    work(node, clock)
    after = row(node)
    assert (after.case_id, after.priority, after.purged) == (before.case_id, before.priority, "")
    node.worklist.cases.replay(after.case_id, State.RECEIVING, clock.now)
    work(node, clock)
    assert row(node).state is State.DELIVERED
    clock.wait(11 * DAY)
    assert tidying(node).by_rules() == 1 and not received(node)


def test_an_image_whose_bytes_are_just_being_removed_is_to_be_sent_again(
    node: WatchedNode, clock: Clock
) -> None:
    read_study(node, clock)
    tidying(node).remove(decide(node))
    (first, *_) = HEAD.build()
    series = node.arrivals.study(STUDY)[0]
    stored = series.instances[0].stored
    header = series.instances[0].header
    with pytest.raises(Retryable, match="send it again"):
        node.arrivals.add(header, stored, caller="CT1", now=clock.now, is_there=lambda: False)
    assert node.arrivals.study(STUDY)[0].instances[0].purged_at is not None
    assert send(node, encoded(first)) is Arrival.DUPLICATE
    assert node.arrivals.study(STUDY)[0].instances[0].purged_at is None


@pytest.mark.parametrize("bleed", [True, False])
def test_a_late_slice_of_a_purged_study_clears_nothing(
    bleed: bool, node: WatchedNode, clock: Clock
) -> None:
    receive(node, only=slice(0, 29))
    work(node, clock)
    first = row(node)
    tidying(node).remove(decide(node))
    clock.wait(3600)
    receive(node, only=slice(29, 30))
    work(node, clock)
    after, history = row(node), node.worklist.views.history(STUDY)
    assert len(history) == 2 and history[1].supersedes == first.case_id
    assert history[1].reason_code == "PURGED" and history[1].state is State.DELIVERED
    assert "29 of 30 images were purged on 2026-01-15" in (history[1].reason or "")
    assert after.priority is (Priority.SUSPECTED if bleed else Priority.NOT_ANALYSED)
    receive_files([encoded(ds) for ds in HEAD.build()], node)
    work(node, clock)
    read = row(node)
    assert read.priority is (Priority.SUSPECTED if bleed else Priority.NOT_SUSPECTED)
    assert read.case_id != first.case_id and read.purged == ""


def test_a_replay_says_that_pixels_were_purged(node: WatchedNode, clock: Clock) -> None:
    read_study(node, clock)
    number = row(node).case_id
    tidying(node).remove(decide(node))
    for state in (State.RECEIVING, State.ASSEMBLED, State.TRIAGED):
        with pytest.raises(IllegalMove, match="its pixels were purged on 2026-01-15"):
            node.worklist.cases.replay(number, state, clock.now)
    assert row(node).state is State.DELIVERED


def test_a_replay_of_purged_results_begins_with_assembly(node: WatchedNode, clock: Clock) -> None:
    read_study(node, clock)
    number = row(node).case_id
    tidying(node).remove(decide(node, results=True))
    receive_files([encoded(ds) for ds in HEAD.build()], node)
    with pytest.raises(IllegalMove, match="replay it from assemble"):
        node.worklist.cases.replay(number, State.TRIAGED, clock.now)
    node.worklist.cases.replay(number, State.RECEIVING, clock.now)
    work(node, clock)
    assert (row(node).state, row(node).purged) == (State.DELIVERED, "")
    assert (node.root / row(node).folder / "report" / "sr.dcm").exists()


def purging(node: WatchedNode, *words: str) -> str:
    config = node.root.parent / "ichnode.toml"
    config.write_text(f'data_dir = "{node.root}"')
    told = CliRunner().invoke(app, ["purge", *words, "--config", str(config)])
    return told.output


def test_a_person_is_told_what_would_go_before_it_goes(node: WatchedNode, clock: Clock) -> None:
    read_study(node, clock)
    size = sum(path.stat().st_size for path in received(node)) / 1e6
    said = purging(node, "--older-than", "1")
    assert f"would go: {STUDY}: 30 objects, {size:.1f} MB" in said and "--yes removes them" in said
    assert len(received(node)) == 30 and not node.worklist.audit.entries(STUDY)
    assert f"purged: {STUDY}: 30 objects" in purging(node, "--study", STUDY, "--yes")
    assert not received(node)
    (entry,) = node.worklist.audit.entries(STUDY)
    assert (entry.what, entry.address) == (Deed.PURGED, "terminal")
    assert "its files are gone" in purging(node, "--study", STUDY, "--yes")
    assert "1 of 1 studies" in purging(node, "--older-than", "1", "--results", "--yes")
    assert not (node.root / row(node).folder).exists()


@pytest.mark.parametrize("bleed", [True])
def test_a_person_is_told_why_a_study_stays(bleed: bool, node: WatchedNode, clock: Clock) -> None:
    read_study(node, clock)
    assert (row(node).priority is Priority.SUSPECTED) is bleed
    said = purging(node, "--study", STUDY, "--results", "--yes")
    assert f"stays: {STUDY}: it is suspected, and nobody acknowledged it" in said
    assert "name one study" in purging(node)
    assert len(received(node)) == 30
