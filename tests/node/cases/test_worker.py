"""The worker over the real stages, store and spool; only the networks and the clock are fakes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ImplicitVRLittleEndian

from models.findings import Unreadable
from node.cases.pipeline import STAGES
from node.cases.worker import work_once
from node.cli.pacs import archive
from node.records import SeriesPlan
from node.settings import Destination, Settings
from node.states import Priority, Reason, State
from tests.support.builder import HEAD, INTERCEPT, Scan, again, encoded, pixels
from tests.support.watched import WatchedNode
from tests.support.working import Clock, Predictor, receive, receive_files, work

NOT_READ = {"sr.dcm", "text.dcm", "capture.dcm"}
"""The report of a series that was not analysed."""


def test_released_series_goes_all_the_way(node: WatchedNode, clock: Clock) -> None:
    receive(node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.priority, row.state, row.bundle) == (
        Priority.SUSPECTED,
        State.DELIVERED,
        "fake@1",
    )
    assert row.volume_ml and 2 < row.volume_ml < 20
    folder = node.folder(node.worklist.cases.get(row.case_id)).path
    assert {p.name for p in (folder / "report").iterdir()} >= {"seg.dcm", "sr.dcm", "capture.dcm"}


def test_disagreement_of_the_networks_travels_to_the_worklist(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    predictor.uncertainty = 0.3
    receive(node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.uncertain, row.uncertainty) == (True, 0.3)


def test_flag_does_not_wait_for_the_idle_timer(node: WatchedNode, clock: Clock) -> None:
    receive(node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.door_to_flag_s is not None and row.door_to_flag_s <= 3


def test_reader_that_sees_no_brain_gives_not_analysed_and_a_report(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    predictor.failures = [Unreadable("no brain found: 3 mL inside a skull")]
    receive(node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.priority, row.reason_code) == (Priority.NOT_ANALYSED, Reason.UNREADABLE)
    assert row.reason == "no brain found: 3 mL inside a skull"
    folder = node.folder(node.worklist.cases.get(row.case_id)).path
    assert {p.name for p in (folder / "report").iterdir()} == NOT_READ


@pytest.mark.parametrize(
    ("scan", "only", "reason"),
    [
        (HEAD, slice(0, 2), Reason.TOO_FEW_SLICES),
        (HEAD.having(Modality="MR"), slice(None), Reason.NOT_CT),
        (HEAD.having(PixelData=None), slice(None), Reason.NO_PIXEL_DATA),
        (HEAD.having(RescaleIntercept=None, RescaleSlope=None), slice(None), Reason.NOT_HOUNSFIELD),
        (HEAD.having(ImagePositionPatient=None), slice(None), Reason.GEOMETRY),
    ],
    ids=lambda value: str(value) if isinstance(value, Reason) else "",
)
def test_bad_input_is_kept_and_reported_as_not_analysed(
    node: WatchedNode, clock: Clock, scan: Scan, only: slice, reason: Reason
) -> None:
    receive(node, scan=scan, only=only)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.priority, row.reason_code) == (Priority.NOT_ANALYSED, reason)
    assert row.reason and row.probability is None
    folder = node.folder(node.worklist.cases.get(row.case_id)).path
    assert {path.name for path in (folder / "report").iterdir()} == NOT_READ
    (series,) = node.worklist.arrivals.study(row.study_instance_uid)
    assert all((node.root / instance.stored.path).exists() for instance in series.instances)


def test_truncated_slice_is_named_and_its_study_never_cleared(
    node: WatchedNode, clock: Clock
) -> None:
    images = HEAD.build()
    files = [encoded(ds) for ds in images]
    files[7] = files[7][:-3000]
    receive_files(files, node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is not Priority.NOT_SUSPECTED and row.quarantined == 1
    (entry,) = node.worklist.quarantine.listed(row.study_instance_uid)
    assert (entry.code, entry.sop_instance_uid) == ("CUT_SHORT", images[7].SOPInstanceUID)


def with_metal(stored: np.ndarray) -> np.ndarray:
    stored = stored.copy()
    stored[..., 20:24, 34:40] = 4095
    return stored


def test_what_the_pixels_limit_stands_in_the_report_and_in_the_worklist(
    node: WatchedNode, clock: Clock
) -> None:
    images = pixels(with_metal, 14, 15)(HEAD.build())
    receive_files([encoded(ds) for ds in images], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    metal = "metal on 2 slices: streaks may hide or imitate blood"
    assert (row.priority, row.limitations) == (Priority.SUSPECTED, (metal,))
    report = dcmread(node.folder(node.worklist.cases.get(row.case_id)).report / "sr.dcm")
    assert f"Limitation: {metal}" in report.to_json()


def lost_in_noise(stored: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 110, (HEAD.rows, HEAD.columns))
    return np.maximum(stored + noise, 0)


def without_a_bleed(stored: np.ndarray) -> np.ndarray:
    bleeds = (stored >= 70 - INTERCEPT) & (stored <= 75 - INTERCEPT)
    return np.where(bleeds, 80 - INTERCEPT, stored)


def test_a_head_lost_in_noise_is_not_cleared_and_its_report_says_why(
    node: WatchedNode, clock: Clock
) -> None:
    images = pixels(lambda stored: without_a_bleed(lost_in_noise(stored).astype(int)))(HEAD.build())
    receive_files([encoded(ds) for ds in images], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.priority, row.reason_code) == (Priority.NOT_ANALYSED, Reason.NOISE)
    report = dcmread(node.folder(node.worklist.cases.get(row.case_id)).report / "sr.dcm")
    said = "read in part: nothing suspicious in what was seen; too noisy"
    assert said in report.to_json()


def test_a_bleed_in_a_head_lost_in_noise_is_flagged_with_that_limitation(
    node: WatchedNode, clock: Clock
) -> None:
    images = pixels(lost_in_noise)(HEAD.build())
    receive_files([encoded(ds) for ds in images], node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is Priority.SUSPECTED
    assert any(sentence.startswith("too noisy") for sentence in row.limitations)


def test_passing_failure_is_tried_again(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    predictor.failures = [RuntimeError("a mistake of ours")]
    receive(node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is Priority.SUSPECTED and len(predictor.read_volumes) == 2


def test_lasting_failure_is_shown_as_not_analysed_with_its_reason(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    predictor.failures = [RuntimeError("a mistake of ours")] * 10
    receive(node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.priority, row.state) == (Priority.NOT_ANALYSED, State.FAILED)
    assert row.reason == "RuntimeError: a mistake of ours"
    assert len(predictor.read_volumes) == node.settings.work.max_attempts


def test_suspicion_outlives_a_report_that_cannot_be_written(
    node: WatchedNode, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    receive(node)
    monkeypatch.setattr("node.cases.pipeline.write_report", full_disk)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.priority, row.state) == (Priority.SUSPECTED, State.FAILED)
    assert "no space left" in str(row.reason)


def die_reading(node: WatchedNode, clock: Clock, times: int) -> None:
    """Let workers claim the case to read it, and die of what nobody sees."""
    for _ in range(times):
        assert node.worklist.cases.claim([State.ASSEMBLED], "dies", 60, clock.now)
        clock.wait(61)


def test_workers_killed_from_outside_cost_the_case_no_attempt(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    receive(node)
    clock.wait(10)
    work_once(node, "worker")
    die_reading(node, clock, node.settings.work.max_interruptions)
    predictor.failures = [RuntimeError("one attempt")] * (node.settings.work.max_attempts - 1)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.priority, row.state) == (Priority.SUSPECTED, State.DELIVERED)


def test_case_that_kills_its_workers_is_given_up(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    receive(node)
    clock.wait(10)
    work_once(node, "worker")
    die_reading(node, clock, node.settings.work.max_interruptions + 1)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.state is State.FAILED and not predictor.read_volumes
    assert str(row.reason).startswith("ASSEMBLED was interrupted 21 times: its worker was killed")


def test_interruptions_of_one_stage_do_not_count_in_the_next(
    node: WatchedNode, clock: Clock
) -> None:
    receive(node)
    for _ in range(node.settings.work.max_interruptions):
        assert node.worklist.cases.claim([State.RECEIVING], "dies", 60, clock.now)
        clock.wait(61)
    work_once(node, "worker")
    die_reading(node, clock, node.settings.work.max_interruptions)
    work(node, clock)
    assert node.worklist.views.worklist(clock.now)[0].priority is Priority.SUSPECTED


def test_memory_that_is_gone_for_a_while_costs_the_case_no_attempt(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    predictor.failures = [MemoryError("out of memory")] * node.settings.work.max_attempts
    receive(node)
    work(node, clock)
    assert node.worklist.views.worklist(clock.now)[0].priority is Priority.SUSPECTED


def test_a_reading_that_always_takes_too_much_memory_ends(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    predictor.failures = [MemoryError("out of memory")] * 1000
    receive(node)
    for _ in range(100):
        clock.wait(900)
        work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert (row.priority, row.state) == (Priority.NOT_ANALYSED, State.FAILED)
    assert "interrupted" in str(row.reason) and "MemoryError" in str(row.reason)


def test_a_case_that_hangs_its_worker_costs_attempts_and_ends(
    node: WatchedNode, clock: Clock
) -> None:
    receive(node)
    clock.wait(10)
    work_once(node, "worker")
    for _ in range(node.settings.work.max_attempts):
        assert node.worklist.cases.claim([State.ASSEMBLED], "hangs", 60, clock.now)
        node.worklist.cases.give_back("hangs", attempts=1)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.state is State.FAILED
    assert row.reason == "ASSEMBLED hung, or failed, in each of 3 attempts; see the log"


def test_case_of_a_dead_worker_is_taken_up_where_it_stood(node: WatchedNode, clock: Clock) -> None:
    receive(node)
    clock.wait(10)
    work_once(node, "worker")
    assert node.worklist.cases.claim([State.ASSEMBLED], "dies", 60, clock.now)
    assert not work_once(node, "worker")
    clock.wait(61)
    work(node, clock)
    assert node.worklist.views.worklist(clock.now)[0].priority is Priority.SUSPECTED


def sending(node: WatchedNode, *send: str) -> WatchedNode:
    """The same node with a PACS as destination, which gets these kinds or the usual ones."""
    chosen = {"send": send} if send else {}
    pacs = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, **chosen)
    deliver = node.settings.deliver.model_copy(update={"destinations": (pacs,)})
    return replace(node, settings=node.settings.model_copy(update={"deliver": deliver}))


def delivered(node: WatchedNode, clock: Clock) -> dict[str, Dataset]:
    """Let the PACS take all that is owed to it; return the objects by kind."""
    objects = {}
    while batch := node.worklist.outbox.claim("d", 60, clock.now):
        for owed in batch:
            node.worklist.outbox.delivered(owed, "d", 0, clock.now)
            path = node.root / owed.parcel.path
            assert path.stem not in objects
            objects[path.stem] = dcmread(path)
    return objects


def test_a_destination_gets_what_it_chose_and_no_more(node: WatchedNode, clock: Clock) -> None:
    node = sending(node, "text", "gsps", "key")
    receive(node)
    work(node, clock)
    assert set(delivered(node, clock)) == {"text", "gsps", "key"}


def test_a_plain_report_alone_is_named_as_the_one_that_is_replaced(
    node: WatchedNode, clock: Clock
) -> None:
    node = sending(node, "text")
    receive(node, only=slice(0, 27))
    work(node, clock)
    before = delivered(node, clock)["text"]
    receive(node, only=slice(27, None))
    work(node, clock)
    after = delivered(node, clock)["text"]
    assert predecessor(after) == uids(before)
    assert ", replaces older, " in after.SeriesDescription
    assert (before.SeriesNumber, after.SeriesNumber) == (9904, 9914)


def predecessor(report: Dataset) -> tuple[str, str, str]:
    """The study, series and instance of the one report that this one names as its predecessor."""
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    return (
        study.StudyInstanceUID,
        series.SeriesInstanceUID,
        instance.ReferencedSOPInstanceUID,
    )


def uids(report: Dataset) -> tuple[str, str, str]:
    return report.StudyInstanceUID, report.SeriesInstanceUID, report.SOPInstanceUID


SUPERSEDED: list[tuple[str, list[Dataset], int, Priority, set[str]]] = [
    ("missing slices", HEAD.build(), 27, Priority.SUSPECTED, {"seg", "sr", "text", "capture"}),
    ("a copy", again(12)(HEAD.build()), 30, Priority.SUSPECTED, {"seg", "sr", "text", "capture"}),
    (
        "another image at the place of one",
        pixels(lambda p: p + 1, 30)(again(12)(HEAD.build())),
        30,
        Priority.SUSPECTED,
        {"seg", "sr", "text", "capture"},
    ),
]


@pytest.mark.parametrize(
    ("images", "first", "result", "kinds"),
    [row[1:] for row in SUPERSEDED],
    ids=[row[0] for row in SUPERSEDED],
)
def test_a_late_slice_sends_new_objects_whose_report_names_the_one_it_replaces(
    node: WatchedNode,
    clock: Clock,
    images: list[Dataset],
    first: int,
    result: Priority,
    kinds: set[str],
) -> None:
    node = sending(node)
    files = [encoded(ds) for ds in images]
    receive_files(files[:first], node)
    work(node, clock)
    before = delivered(node, clock)
    assert "PredecessorDocumentsSequence" not in before["sr"]
    receive_files(files[first:], node)
    work(node, clock)
    after = delivered(node, clock)
    assert set(after) == kinds
    assert predecessor(after["sr"]) == uids(before["sr"])
    for kind, ds in after.items():
        assert not {*uids(ds)[1:]} & {*uids(before[kind])[1:]}
    more = "1 more image" if len(files) - first == 1 else "3 more images"
    assert f"Replaces ichnode's earlier result: {more} of the series" in after["sr"].to_json()
    newest = node.worklist.cases.get(2)
    assert (newest.supersedes, newest.priority) == (1, result)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.priority is Priority.SUSPECTED


def test_late_slices_are_read_again_though_a_better_series_came_meanwhile(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    bone = HEAD(name="bone", description="Head 5.0 H60s", kernel="H60s")
    receive(node, scan=bone, only=slice(0, 27))
    work(node, clock)
    receive(node)
    receive(node, scan=bone, only=slice(27, None))
    work(node, clock)
    assert [len(volume.hu) for volume in predictor.read_volumes] == [27, 30, 30]


def test_the_same_study_again_changes_nothing_and_sends_nothing(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    node = sending(node)
    receive(node)
    work(node, clock)
    assert set(delivered(node, clock)) == {"seg", "sr", "text", "capture"}
    (before,) = node.worklist.views.worklist(clock.now)
    for half in (slice(0, 15), slice(15, None)):
        receive(node, only=half)
    receive_files([encoded(ds, ImplicitVRLittleEndian) for ds in HEAD.build()], node)
    work(node, clock)
    assert delivered(node, clock) == {}
    (after,) = node.worklist.views.worklist(clock.now)
    assert after == replace(before, quarantined=30)
    assert len(predictor.read_volumes) == 1


def test_a_prior_is_read_and_told_as_one(node: WatchedNode, clock: Clock) -> None:
    node = sending(node)
    receive(node, scan=HEAD.having(StudyDate="20230103"))
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    said = "acquired on 2023-01-03, 1108 days before it arrived: a prior study"
    assert (row.priority, row.prior, row.limitations) == (Priority.SUSPECTED, True, (said,))
    assert f"Limitation: {said}" in delivered(node, clock)["sr"].to_json()


def test_the_time_budget_says_how_the_series_was_closed(node: WatchedNode, clock: Clock) -> None:
    receive(node)
    work(node, clock)
    (row,) = node.worklist.views.worklist(clock.now)
    assert row.closed_by == "complete: contiguous over a head, and the association was released"
    assert row.saved_s == 58.0
    plan = SeriesPlan.read(node.root / row.folder / "series.json")
    assert (plan.closed_by, plan.saved_s) == (row.closed_by, row.saved_s)


def test_late_slices_supersede_the_result(
    node: WatchedNode, clock: Clock, predictor: Predictor
) -> None:
    receive(node, only=slice(0, 27))
    work(node, clock)
    (first,) = node.worklist.views.worklist(clock.now)
    receive(node, only=slice(27, None))
    work(node, clock)
    (second,) = node.worklist.views.worklist(clock.now)
    assert second.case_id != first.case_id
    assert [len(volume.hu) for volume in predictor.read_volumes] == [27, 30]


@pytest.mark.parametrize("stage", STAGES)
def test_replay_gives_the_same_result(node: WatchedNode, clock: Clock, stage: str) -> None:
    receive(node)
    work(node, clock)
    (before,) = node.worklist.views.worklist(clock.now)
    case = node.worklist.cases.get(before.case_id)
    plan = node.folder(case).require_plan()
    seg = (node.folder(case).report / "seg.dcm").read_bytes()
    node.worklist.cases.replay(case.id, STAGES[stage], clock.now)
    work(node, clock)
    (after,) = node.worklist.views.worklist(clock.now)
    assert (after.priority, after.volume_ml) == (before.priority, before.volume_ml)
    assert node.folder(case).require_plan().slices == plan.slices
    assert (node.folder(case).report / "seg.dcm").read_bytes() == seg


def test_incomplete_series_waits_for_the_idle_timer(node: WatchedNode, clock: Clock) -> None:
    receive(node, released=False)
    clock.wait(10)
    while work_once(node, "worker"):
        pass
    assert node.worklist.views.worklist(clock.now)[0].state is State.RECEIVING
    work(node, clock)
    assert node.worklist.views.worklist(clock.now)[0].priority is Priority.SUSPECTED


def test_archive_of_the_demo_keeps_what_it_is_sent(tmp_path: Path) -> None:
    from node.dicom.net.store_scu import send_files
    from tests.support.peers import ct_series, peer

    (tmp_path / "received").mkdir()
    files = ct_series(tmp_path / "sent", 3)
    with archive("DEMO_PACS", tmp_path / "received") as port:
        sent = list(send_files([*files, files[0]], peer("DEMO_PACS", port), Settings()))
    assert all(item.stored for item in sent)
    assert len(list((tmp_path / "received").iterdir())) == 3
