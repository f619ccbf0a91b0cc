"""Why a series is read and the others are not: told as it was decided, whichever way it came."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rich.console import Console

from node.arrive.filing import ingest
from node.arrive.spool import Spool
from node.cases.explain import NOT_WAITED_FOR, Explanation, Told, explain_study
from node.cases.pipeline import STAGES
from node.cases.worker import work_once
from node.cli.console.explanation import explained
from node.errors import Refused
from node.records import SeriesPlan
from node.states import Priority, Reason, State
from node.worklist import NotFound
from tests.support import ROOT
from tests.support.builder import HEAD, Scan, encoded, uid
from tests.support.databases import OwnDatabase
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive, receive_files, work, working_node

SOFT = HEAD(gaps_mm=(10.0,) * 14)
BONE = SOFT(name="bone", description="Head 5.0 H60s", kernel="H60s")
CTA = SOFT(name="cta", description="Head CTA 5.0").having(ContrastBolusAgent="Iomeprol")
SCOUT = SOFT(name="scout", description="Topogram", gaps_mm=())
CORONAL = SOFT(name="coronal", description="Head cor", orientation=(1, 0, 0, 0, 0, -1))
STUDY = (SOFT, BONE, CTA, SCOUT, CORONAL)


def images(*scans: Scan) -> list[bytes]:
    return [encoded(ds) for scan in scans for ds in scan.build()]


def told(node: WatchedNode, clock: Clock, name: str = uid("study")) -> Explanation:
    return explain_study(name, node.worklist, node.settings, clock.now)


def of(explanation: Explanation, scan: Scan) -> Told:
    wanted = uid(scan.study, scan.name)
    return next(one for one in explanation.series if one.series_instance_uid == wanted)


def test_each_series_says_what_it_is_and_why_it_is_read_or_not(
    node: WatchedNode, clock: Clock
) -> None:
    receive_files(images(*STUDY), node)
    work(node, clock)
    found = told(node, clock)
    assert len(found.series) == len(STUDY)
    read = found.series[0]
    assert read is of(found, SOFT)
    assert (read.taken, read.images, read.thickness_mm, read.coverage_mm) == (True, 15, 5.0, 150.0)
    assert (read.kernel, read.contrast) == ("H31s", False)
    assert read.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert read.decision is not None and "is read: 15 axial slices over 150 mm" in read.decision
    assert "'Topogram' (a localiser)" in read.decision
    assert {one.taken for one in found.series[1:]} == {False}
    assert {of(found, scan).reason_code for scan in (CTA, SCOUT, CORONAL)} == {
        Reason.CONTRAST,
        Reason.LOCALISER,
        Reason.NOT_AXIAL,
    }
    assert of(found, CTA).contrast and of(found, CTA).coverage_mm == 150.0
    bone = of(found, BONE)
    assert (bone.reason_code, bone.decision) == (Reason.OTHER_SERIES_READ, None)
    assert bone.reason == "series 'Head 5.0 H31s' is read instead: soft-tissue kernel"
    assert bone.lost_to is not None
    assert (bone.lost_to.line, bone.lost_to.to_series) == (
        "soft-tissue kernel",
        read.series_instance_uid,
    )


def test_the_decision_told_is_the_one_that_was_made_whatever_the_settings_say_now(
    node: WatchedNode, clock: Clock
) -> None:
    receive_files(images(SOFT, CTA), node)
    work(node, clock)
    before = told(node, clock)
    assemble = node.settings.assemble.model_copy(update={"read_contrast": True, "min_slices": 40})
    node = replace(node, settings=node.settings.model_copy(update={"assemble": assemble}))
    assert told(node, clock) == before


def test_a_series_that_closed_on_evidence_says_which_and_what_it_saved(
    node: WatchedNode, clock: Clock
) -> None:
    began = clock.now
    receive_files(images(SOFT, SCOUT), node)
    work(node, clock)
    found = told(node, clock)
    read, scout = of(found, SOFT), of(found, SCOUT)
    assert (read.closed_at, read.saved_s) == (began.replace(second=2), 58.0)
    assert read.closed_by == "complete: contiguous over a head, and the association was released"
    assert (scout.closed_at, scout.closed_by) == (None, NOT_WAITED_FOR)


def test_a_series_that_still_arrives_says_until_when_it_is_waited_for(
    node: WatchedNode, clock: Clock
) -> None:
    receive(node, scan=SOFT, only=slice(0, 2), released=False)
    clock.wait(1)
    (one,) = told(node, clock).series
    assert (one.taken, one.reason_code, one.closed_at) == (None, Reason.TOO_FEW_SLICES, None)
    assert one.reason is not None
    assert one.reason.startswith("not yet readable: too few slices: 2 received, 3 needed")
    assert one.reason.endswith("another image may still come until 08:31:00 UTC")


def test_a_series_that_waits_for_a_better_one_names_it(node: WatchedNode, clock: Clock) -> None:
    receive(node, scan=BONE)
    receive(node, scan=SOFT, only=slice(0, 9), released=False)
    clock.wait(3)
    found = told(node, clock)
    assert of(found, BONE).reason == (
        "complete; series 'Head 5.0 H31s' still arrives and may be the better one"
    )
    assert {one.taken for one in found.series} == {None}


def test_superseded_cases_stay_in_the_account(node: WatchedNode, clock: Clock) -> None:
    receive(node, scan=SOFT, only=slice(0, 12))
    work(node, clock)
    receive(node, scan=SOFT, only=slice(12, None))
    work(node, clock)
    found = told(node, clock)
    ((first, second),) = [one.cases for one in found.series]
    assert (first.supersedes, second.supersedes) == (None, first.case_id)
    assert second.case_id == found.case_id
    assert {first.priority, second.priority} == {Priority.SUSPECTED}


def test_a_study_that_cannot_be_read_speaks_through_its_best_series(
    node: WatchedNode, clock: Clock
) -> None:
    receive_files(images(CTA, SCOUT), node)
    work(node, clock)
    found = told(node, clock)
    assert found.priority is Priority.NOT_ANALYSED
    speaker = of(found, CTA)
    assert (speaker.taken, speaker.reason_code) == (False, Reason.CONTRAST)
    assert speaker.decision is not None and "cannot be read" in speaker.decision
    assert of(found, SCOUT).cases[0].state is State.SKIPPED


def test_the_time_budget_adds_up_to_the_time_from_the_last_slice(
    node: WatchedNode, clock: Clock
) -> None:
    receive(node, scan=SOFT)
    for _ in range(5):
        clock.wait(1)
        work_once(node, "worker")
    found = told(node, clock)
    names = [step.step for step in found.time_budget]
    assert names == ["last slice", "assembled", "triaged", "flagged", "reported", "delivered"]
    assert [step.seconds for step in found.time_budget] == [0, 2, 1, 0, 1, 0]
    assert found.door_to_flag_s == 3.0


@pytest.mark.parametrize(
    ("stage", "steps"),
    [
        ("assemble", ["replayed", "assembled", "triaged", "reported", "delivered"]),
        ("triage", ["replayed", "triaged", "reported", "delivered"]),
        ("report", ["replayed", "reported", "delivered"]),
    ],
)
def test_after_a_replay_the_time_budget_is_that_of_the_replay_alone(
    node: WatchedNode, clock: Clock, stage: str, steps: list[str]
) -> None:
    receive(node, scan=SOFT)
    work(node, clock)
    first = told(node, clock)
    clock.wait(3600)
    began = clock.now
    node.worklist.cases.replay(1, STAGES[stage], began)
    work(node, clock)
    again = told(node, clock)
    assert [step.step for step in again.time_budget] == steps
    assert again.time_budget[0].at == began
    assert all(0 <= step.seconds < 60 for step in again.time_budget)
    assert again.door_to_flag_s == first.door_to_flag_s  # the suspicion stood all the time
    assert again.series[0].taken is True


def test_a_replay_that_takes_the_flag_down_raises_it_in_its_own_run(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    predictor.failures = [ValueError("broke")] * 3
    receive(node, scan=SOFT)
    work(node, clock)
    clock.wait(3600)
    node.worklist.cases.replay(1, STAGES["triage"], clock.now)
    work(node, clock)
    found = told(node, clock)
    names = [step.step for step in found.time_budget]
    assert names == ["replayed", "triaged", "flagged", "reported", "delivered"]
    assert found.door_to_flag_s is not None and found.door_to_flag_s > 3600


# --- what was chosen and then was not read -------------------------------------------------------


def page(found: Explanation) -> str:
    written = StringIO()
    Console(file=written, width=200).print(explained(found))
    return " ".join(written.getvalue().replace("│", " ").split())


def undecodable(*_: object) -> Any:
    raise Refused(Reason.UNDECODABLE, "the pixels of slice 3 are damaged")


def test_a_series_whose_pixels_cannot_be_decoded_is_not_read(
    node: WatchedNode, clock: Clock
) -> None:
    receive_files(images(SOFT, SCOUT), node)
    work(replace(node, decode=undecodable), clock)
    found = told(node, clock)
    assert found.priority is Priority.NOT_ANALYSED
    chosen = of(found, SOFT)
    assert (chosen.taken, chosen.reason_code) == (False, Reason.UNDECODABLE)
    assert (chosen.reason, chosen.decision) == ("the pixels of slice 3 are damaged", None)
    assert {one.taken for one in found.series} == {False}
    assert "▶ read" not in page(found) and page(found).count("– not read") == 2
    assert "UNDECODABLE: the pixels of slice 3 are damaged" in page(found)


def test_the_next_best_series_is_told_as_the_one_that_is_read(
    node: WatchedNode, clock: Clock
) -> None:
    def decode(plan: SeriesPlan, root: Path) -> Any:
        soft = plan.series_instance_uid == uid(SOFT.study, SOFT.name)
        return undecodable() if soft else node.decode(plan, root)

    receive_files(images(SOFT, BONE), node)
    work(replace(node, decode=decode), clock)
    found = told(node, clock)
    assert found.priority is Priority.SUSPECTED
    assert (of(found, SOFT).taken, of(found, BONE).taken) == (False, True)
    assert of(found, SOFT).reason_code == Reason.UNDECODABLE and page(found).count("▶ read") == 1


def test_a_series_passed_over_for_one_that_a_replay_could_not_read_is_tried_itself(
    node: WatchedNode, clock: Clock
) -> None:
    receive_files(images(SOFT, BONE), node)
    work(node, clock)
    node.worklist.cases.replay(told(node, clock).case_id, STAGES["triage"], clock.now)
    node = replace(node, decode=undecodable)
    while work_once(node, "worker"):
        pass
    found = told(node, clock)
    other = of(found, BONE)
    assert {one.taken for one in found.series} == {False}
    assert other.reason == "the pixels of slice 3 are damaged"


@pytest.mark.parametrize("error", [ValueError("the network broke"), ZeroDivisionError()])
def test_a_series_whose_reading_failed_is_not_read(
    node: WatchedNode, clock: Clock, predictor: Predictor, error: Exception
) -> None:
    predictor.failures = [error] * 3
    receive(node, scan=SOFT)
    work(node, clock)
    found = told(node, clock)
    (one,) = found.series
    assert (one.taken, one.reason_code, one.decision) == (False, Reason.INTERNAL, None)
    assert type(error).__name__ in page(found) and "▶ read" not in page(found)


def test_a_series_that_was_read_and_not_reported_says_both(
    node: WatchedNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("node.cases.pipeline.write_report", fail)
    receive(node, scan=SOFT)
    work(node, clock)
    found = told(node, clock)
    assert found.series[0].taken is True and found.priority is Priority.SUSPECTED
    assert "▶ read" in page(found) and "INTERNAL: OSError: no space left" in page(found)


def test_a_series_that_is_chosen_and_waits_is_not_yet_read(node: WatchedNode, clock: Clock) -> None:
    receive(node, scan=SOFT)
    clock.wait(2)
    work_once(node, "worker")
    found = told(node, clock)
    assert found.priority is Priority.PENDING and found.series[0].taken is True
    assert "▶ chosen" in page(found) and "▶ read" not in page(found)


def test_what_a_peer_sent_is_text_on_the_page(node: WatchedNode, clock: Clock) -> None:
    hostile = "x[/z]\u202e:bomb:"
    scan = SOFT(description=hostile, kernel="H31[i]s").having(AccessionNumber="A[b]1")
    receive(node, scan=scan)
    work(node, clock)
    text = page(told(node, clock))
    assert "x[/z]�:bomb:" in text and "H31[i]s" in text and "A[b]1" in text
    assert told(node, clock).series[0].description == hostile


def test_a_study_is_found_by_its_uid_its_accession_number_or_a_case(
    node: WatchedNode, clock: Clock
) -> None:
    receive(node, scan=SOFT)
    work(node, clock)
    by_uid = told(node, clock)
    assert told(node, clock, "A1") == by_uid == told(node, clock, str(by_uid.case_id))
    assert {node.worklist.views.find_case(name) for name in ("A1", "1", uid("study"))} == {1}
    with pytest.raises(NotFound, match="no study, accession number or case 77"):
        told(node, clock, "77")
    receive(node, scan=SOFT(study="another"))
    with pytest.raises(NotFound, match="2 studies have the accession number A1"):
        told(node, clock, "A1")


def test_a_name_of_two_studies_means_neither(node: WatchedNode, clock: Clock) -> None:
    receive(node, scan=SOFT)
    receive(node, scan=SOFT(study="another").having(AccessionNumber="1"))
    with pytest.raises(NotFound, match="accession number of study .* number of a case of study"):
        told(node, clock, "1")
    with pytest.raises(NotFound, match="name the study by its UID"):
        node.worklist.views.find_case("1")
    assert told(node, clock, uid("another")).accession_number == "1"
    assert told(node, clock, "2").accession_number == "1"


def test_the_case_of_a_study_is_the_one_that_can_be_replayed(
    node: WatchedNode, clock: Clock
) -> None:
    receive(node, scan=SOFT, only=slice(0, 12))
    work(node, clock)
    receive(node, scan=SOFT, only=slice(12, None))
    assert told(node, clock).case_id == 1  # its suspicion stands until case 2 is read
    assert node.worklist.views.find_case(uid("study")) == 2
    assert node.worklist.views.find_case("1") == 1


def test_json_is_plain_and_documented(node: WatchedNode, clock: Clock) -> None:
    receive_files(images(SOFT, BONE), node)
    work(node, clock)
    plain = told(node, clock).to_json()
    assert json.loads(json.dumps(plain)) == plain
    documented = (ROOT / "docs" / "json.md").read_text()
    _, _, section = documented.partition("`ichnode explain --json`")
    keys = [*plain, *plain["series"][0], *plain["series"][1]["lost_to"]]
    keys += [*plain["series"][0]["cases"][0], *plain["time_budget"][0]]
    assert [key for key in keys if f"`{key}`" not in section] == []


def test_the_page_reads_without_knowing_any_code(node: WatchedNode, clock: Clock) -> None:
    receive_files(images(SOFT, BONE, SCOUT), node)
    work(node, clock)
    written = StringIO()
    Console(file=written, width=160).print(explained(told(node, clock)))
    page = " ".join(written.getvalue().split())
    assert "RESEARCH USE ONLY" in page and "SUSPECTED" in page
    assert page.count("▶ read") == 1 and page.count("– not read") == 2
    assert "lost to 'Head 5.0 H31s' by: soft-tissue kernel" in page
    assert "LOCALISER: a localiser" in page
    assert "door to flag" in page


# --- arrival -------------------------------------------------------------------------------------


def outcome(
    files: Sequence[bytes], order: random.Random | None, own_database: OwnDatabase
) -> tuple[Any, dict[str, str]]:
    """The explanation, case numbers left out, and the digests of the report, of a study that comes.

    With `order` its images are shuffled, some sent twice, and dealt to up to three associations.
    """
    clock = Clock()
    with (
        TemporaryDirectory() as folder,
        working_node(own_database(Path(folder, "data")), clock, Predictor()) as node,
    ):
        if order is None:
            receive_files(list(files), node)
        else:
            receive_interleaved(files, node, order)
        for _ in range(4):
            clock.wait(20)
            while work_once(node, "worker"):
                pass
        found = told(node, clock).to_json()
        report = sorted((node.root / f"cases/{found['case_id']}/report").iterdir())
        digests = {path.name: sha256(path.read_bytes()).hexdigest() for path in report}
    del found["case_id"]
    for one in found["series"]:
        for case in one["cases"]:
            del case["case_id"]
    return found, digests


def receive_interleaved(files: Sequence[bytes], node: WatchedNode, order: random.Random) -> None:
    sent = [*files, *order.sample(list(files), 5)]
    order.shuffle(sent)
    associations = [order.randrange(3) for _ in sent]
    spool = Spool(node.root, min_free_mb=0)
    carried: dict[int, set[str]] = {0: set(), 1: set(), 2: set()}
    for place, (data, association) in enumerate(zip(sent, associations, strict=True)):
        header, _ = ingest(data, node.worklist.arrivals, spool, caller="CT1", now=node.clock())
        carried[association].add(header.series_instance_uid)
        if association not in associations[place + 1 :]:
            node.worklist.arrivals.release(carried[association], node.clock())


FEW = (15.0,) * 8
FILES = images(SOFT(gaps_mm=FEW), BONE(gaps_mm=FEW), SCOUT, CORONAL(gaps_mm=()))
EXPECTED: list[tuple[Any, dict[str, str]]] = []


@given(order=st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=4, deadline=None)
def test_neither_order_nor_associations_nor_duplicates_change_result_or_explanation(
    own_database: OwnDatabase, order: random.Random
) -> None:
    if not EXPECTED:
        EXPECTED.append(outcome(FILES, None, own_database))
    assert outcome(FILES, order, own_database) == EXPECTED[0]
