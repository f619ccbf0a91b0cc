"""A result was sent in error and is withdrawn: what leaves, what does not, and what comes after."""

import html
import json
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from node.arrive.adt import PatientIndex
from node.arrive.catalogue import Catalogue
from node.cases.explain import explain_study
from node.cli.app import app
from node.errors import Outage, Permanent
from node.hl7 import Received
from node.jobs import purge_by_hand
from node.states import Priority, Reason, State
from node.worklist import Actor, IllegalMove, NotFound, Opinion
from tests.node.web.conftest import client
from tests.support.listed import NOW
from tests.support.listeners import ack, mllp_peer
from tests.support.peers import free_port, orthanc, peer
from tests.support.speaking import hl7
from tests.support.withdrawing import (
    STUDY,
    WHY,
    Withdrawing,
    predecessors,
    spoken,
    withdrawing,
)
from tests.support.working import receive

PACS = peer("PACS", 104)
WITHDRAWN = "WITHDRAWN: an earlier result of ichnode was sent in error"


def sent(node: Withdrawing, case: int) -> None:
    """Have every destination take all that it is owed of a case."""
    for owed in node.worklist.outbox.claim("test", 60, node.clock(), 50):
        assert owed.case_id == case
        node.worklist.outbox.delivered(owed, "test", 0, node.clock())


def test_a_withdrawn_suspicion_is_not_analysed_and_no_negative(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        assert node.read().priority is Priority.SUSPECTED
        node.withdraw()
        row = node.row()
        assert (row.priority, row.state) == (Priority.NOT_ANALYSED, State.NOT_ANALYSED)
        assert row.reason_code == Reason.WITHDRAWN and row.probability is None
        said = f"withdrawn by anna on 2026-01-15 at {node.clock():%H:%M} UTC: {WHY}"
        assert (row.reason, str(row.withdrawn), row.why) == (said, said, said)
        assert row.door_to_flag_s is None, "a person's withdrawal is no reading in time"
        assert node.work().priority is Priority.NOT_ANALYSED
        counted = node.worklist.statistics.studies(row.first_received_at)
        assert [(one.priority, one.door_to_flag_s) for one in counted] == [
            (Priority.NOT_ANALYSED, None)
        ]


def test_an_archive_gets_a_report_that_says_why_and_names_what_is_withdrawn(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        first = node.read().case_id
        sent(node, first)
        node.withdraw()
        case = node.work().case_id
        assert node.owed(case) == [(PACS.name, kind, "OWED") for kind in ("sr", "text", "capture")]
        gone = {kind: node.made(first, kind) for kind in ("seg", "sr", "text", "capture")}
        for kind in ("sr", "text"):
            ds = node.made(case, kind)
            said = " ".join(spoken(ds))
            assert WITHDRAWN in said and "By anna" not in said
            assert f"Withdrawn by anna on 2026-01-15 at {node.row().withdrawn.at:%H:%M}" in said
            assert WHY in said and "RESEARCH USE ONLY" in said
            assert all(str(one.SOPInstanceUID) in said for one in gone.values())
            assert predecessors(ds) == {gone["sr"].SOPInstanceUID, gone["text"].SOPInstanceUID}
            assert ds.SeriesDescription.startswith("ICH WITHDRAWN, read as usual")
            assert (ds.CompletionFlag, ds.PatientID) == ("PARTIAL", gone["sr"].PatientID)
            assert len(ds.SeriesDescription) <= 64


def test_what_has_not_left_never_leaves(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        first = node.read().case_id
        assert {line[2] for line in node.owed(first)} == {"OWED"}
        node.withdraw()
        assert {line[2] for line in node.owed(first)} == {"CANCELLED"}
        case = node.work().case_id
        assert {owed.case_id for owed in node.worklist.outbox.claim("x", 60, node.clock(), 50)} == {
            case
        }
        numbers = range(1, 5)
        assert not node.worklist.deliveries.retry(numbers, Actor("x", "terminal"), node.clock())


def test_what_is_claimed_to_be_sent_and_then_withdrawn_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender holds a batch; the person is faster."""
    with mllp_peer(ack("AA")) as ris, withdrawing(tmp_path, hl7(ris.port)) as node:
        node.read()
        claim = node.worklist.outbox.claim

        def claimed_then_withdrawn(*asked: object, **more: object) -> list[object]:
            batch = claim(*asked, **more)
            if batch and not node.row().withdrawn:
                node.withdraw()
            return batch

        monkeypatch.setattr(node.worklist.outbox, "claim", claimed_then_withdrawn)
        node.drain()
    assert [b"WITHDRAWN" in message for message in ris.messages] in ([], [True])
    assert node.owed(1) == [("ris", "message", "CANCELLED")]


def test_an_object_that_fails_for_good_after_its_withdrawal_stays_cancelled(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        first = node.read().case_id
        (owed, *_) = node.worklist.outbox.claim("x", 60, node.clock(), 1)
        node.withdraw()
        node.worklist.outbox.failed(owed, "x", None, "no answer", None, node.clock())
        assert {line[2] for line in node.owed(first)} == {"CANCELLED"}


def test_a_withdrawal_waits_for_the_object_that_is_on_its_way(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        node.read()
        (slow, *_) = node.worklist.outbox.claim("slow", 6000, node.clock(), 1)
        node.withdraw()
        case = node.work().case_id
        assert node.worklist.outbox.claim("x", 60, node.clock(), 50) == []
        node.worklist.outbox.delivered(slow, "slow", 0, node.clock())
        found = node.worklist.outbox.claim("x", 60, node.clock(), 50)
        assert [one.case_id for one in found] == [case] * 3


def test_a_later_result_does_not_pass_the_withdrawal_on_its_way_to_an_archive(
    tmp_path: Path,
) -> None:
    with withdrawing(tmp_path, PACS) as node:
        sent(node, node.read().case_id)
        node.withdraw()
        case = node.work().case_id
        node.worklist.cases.replay(case, State.RECEIVING, node.clock())
        again = node.work()
        assert (again.priority, again.supersedes) == (Priority.SUSPECTED, case)
        first = node.worklist.outbox.claim("x", 60, node.clock(), 50)
        assert {one.case_id for one in first} == {case}, "though the other is urgent"
        for one in first:
            node.worklist.outbox.delivered(one, "x", 0, node.clock())
        then = node.worklist.outbox.claim("x", 60, node.clock(), 50)
        assert {one.case_id for one in then} == {again.case_id}


def test_a_replay_makes_a_result_that_replaces_the_withdrawal(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        sent(node, node.read().case_id)
        node.withdraw()
        with pytest.raises(IllegalMove, match="not reported yet"):
            node.worklist.cases.replay(node.row().case_id, State.RECEIVING, node.clock())
        case = node.work().case_id
        with pytest.raises(IllegalMove, match="superseded by case 2"):
            node.worklist.cases.replay(1, State.RECEIVING, node.clock())
        with pytest.raises(IllegalMove, match="replay it from assemble"):
            node.worklist.cases.replay(case, State.ASSEMBLED, node.clock())
        assert node.worklist.cases.replay(case, State.RECEIVING, node.clock()) == 3
        row = node.work()
        assert (row.case_id, row.priority, row.withdrawn) == (3, Priority.SUSPECTED, None)
        report = node.made(3, "sr")
        assert predecessors(report) == {node.made(case, "sr").SOPInstanceUID}
        assert "Replaces ichnode's withdrawn result: the series was read again" in spoken(report)
        again = node.withdraw("once more", by="ben")
        assert [one.shown.case_id for one in again.taken] == [3]
        assert [one.who for one in again.before] == ["anna"]
        assert node.work().withdrawn.who == "ben"
        assert predecessors(node.made(4, "sr")) == set(), "nothing of the second result had left"


def test_a_late_slice_makes_a_result_that_replaces_the_withdrawal(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        sent(node, node.read(only=slice(0, 29)).case_id)
        node.withdraw()
        receive_last(node)
        assert node.row().priority is Priority.PENDING, "what was withdrawn is not shown again"
        row = node.work()
        assert (row.priority, row.supersedes) == (Priority.SUSPECTED, 2)
        assert {line[2] for line in node.owed(2)} == {"OWED"}, "whoever has it must hear of it"
        report = node.made(row.case_id, "sr")
        assert predecessors(report) == {node.made(2, "sr").SOPInstanceUID}


def receive_last(node: Withdrawing) -> None:
    receive(node.node, only=slice(29, 30))


def test_a_reading_that_a_late_slice_began_is_void_and_nothing_of_it_is_shown(
    tmp_path: Path,
) -> None:
    with withdrawing(tmp_path, PACS) as node:
        node.read(only=slice(0, 29))
        receive_last(node)
        assert node.row().priority is Priority.SUSPECTED
        node.withdraw()
        row = node.work()
        assert (row.case_id, row.supersedes, row.priority) == (3, 2, Priority.NOT_ANALYSED)
        node.worklist.cases.replay(3, State.RECEIVING, node.clock())
        assert node.work().priority is Priority.SUSPECTED
        assert len(node.predictor.read_volumes[-1].hu) == 30


def test_a_report_that_is_being_made_is_void(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        node.read()
        case = node.row().case_id
        node.worklist.cases.replay(case, State.TRIAGED, node.clock())
        held = node.worklist.cases.claim({State.TRIAGED}, "busy", 600, node.clock())
        assert held is not None
        node.withdraw()
        assert not node.worklist.cases.renew(case, "busy", 600, node.clock())
        assert node.work().state is State.REPORTED
        assert {line[2] for line in node.owed(case)} == {"CANCELLED"}


def test_a_second_call_says_that_it_is_withdrawn_already(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        node.read()
        node.withdraw()
        before = node.history()
        again = node.withdraw("another reason", by="ben")
        assert (again.taken, [one.why for one in again.before]) == ((), [WHY])
        assert node.history() == before
        told = [line for line in node.worklist.audit.entries(STUDY) if line.what == "RETRACTED"]
        assert [(one.who, one.address, one.about) for one in told] == [
            ("anna", "terminal", f"cases 2: {WHY}")
        ]


def test_a_withdrawal_that_is_cut_off_before_its_end_has_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with withdrawing(tmp_path, PACS, hl7(free_port())) as node:
        node.read()
        before = node.history(), node.worklist.views.events(STUDY)

        def full(*_: object) -> None:
            raise Outage("the disk is full")

        monkeypatch.setattr("node.case_folder.CaseFolder.write_message", full)
        told = {line[0]: line for line in node.owed(1)}
        assert told["ris"] == ("ris", "message", "OWED")
        (owed,) = [o for o in node.worklist.outbox.claim("x", 1, node.clock(), 50) if o.id == 1]
        node.worklist.outbox.delivered(owed, "x", 0, node.clock())
        node.worklist.outbox.give_back("x")
        before = node.history(), node.worklist.views.events(STUDY)
        with pytest.raises(Outage):
            node.withdraw()
        assert (node.history(), node.worklist.views.events(STUDY)) == before
        monkeypatch.undo()
        assert len(node.withdraw().taken) == 1


def test_a_study_without_a_result_and_an_unknown_one_are_refused(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        with pytest.raises(NotFound):
            node.withdraw()
        receive(node.node, released=False)
        with pytest.raises(IllegalMove, match="no result yet"):
            node.withdraw()


def test_a_destination_that_got_nothing_gets_nothing(tmp_path: Path) -> None:
    """It was set after the result had left."""
    with withdrawing(tmp_path, PACS) as node:
        sent(node, node.read().case_id)
        later = PACS.model_copy(update={"name": "LATER"})
        deliver = node.node.settings.deliver.model_copy(update={"destinations": (PACS, later)})
        settings = node.node.settings.model_copy(update={"deliver": deliver})
        object.__setattr__(node.node, "settings", settings)
        node.withdraw()
        case = node.work().case_id
        assert {line[0] for line in node.owed(case)} == {PACS.name}


def test_an_archive_that_takes_no_report_gets_the_one_that_withdraws(tmp_path: Path) -> None:
    only_outlines = PACS.model_copy(update={"send": ("seg",)})
    with withdrawing(tmp_path, only_outlines) as node:
        sent(node, node.read().case_id)
        node.withdraw()
        assert node.owed(node.work().case_id) == [(PACS.name, "sr", "OWED")]


def test_a_rejection_note_goes_only_to_who_asks_for_one(tmp_path: Path) -> None:
    asking = PACS.model_copy(update={"name": "IOCM", "rejection_note": True})
    with withdrawing(tmp_path, PACS, asking) as node:
        first = node.read().case_id
        for owed in node.worklist.outbox.claim("x", 60, node.clock(), 50):
            node.worklist.outbox.delivered(owed, "x", 0, node.clock())
        for owed in node.worklist.outbox.claim("x", 60, node.clock(), 50):
            node.worklist.outbox.delivered(owed, "x", 0, node.clock())
        node.withdraw()
        case = node.work().case_id
        noted = [line for line in node.owed(case) if line[1] == "rejection"]
        assert noted == [("IOCM", "rejection", "OWED")]
        note = node.made(case, "rejection")
        title = note.ConceptNameCodeSequence[0]
        assert (title.CodeValue, title.CodingSchemeDesignator) == ("113037", "DCM")
        gone = {node.made(first, kind).SOPInstanceUID for kind in ("seg", "sr", "text", "capture")}
        content = {
            item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            for item in note.ContentSequence
            if "ReferencedSOPSequence" in item
        }
        evidence = {
            one.ReferencedSOPInstanceUID
            for series in note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
            for one in series.ReferencedSOPSequence
        }
        assert content == evidence == gone


def test_the_archive_of_the_node_offers_what_is_withdrawn_no_longer(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        first = node.read().case_id
        Catalogue(node.worklist.archive, node.node.depot).require_current()
        offered = {one.case_id for one in node.worklist.archive.stored([STUDY])}
        assert first in offered
        node.withdraw()
        assert {one.case_id for one in node.worklist.archive.stored([STUDY])} == {None}
        case = node.work().case_id
        Catalogue(node.worklist.archive, node.node.depot).require_current()
        assert {one.case_id for one in node.worklist.archive.stored([STUDY])} == {None, case}


def test_a_study_whose_images_were_purged_is_withdrawn_with_the_identity_of_its_report(
    tmp_path: Path,
) -> None:
    with withdrawing(tmp_path, PACS) as node:
        first = node.read().case_id
        sent(node, first)
        purge(node, results=False)
        node.withdraw()
        row = node.work()
        assert row.state is State.REPORTED, row.reason
        mine, theirs = node.made(row.case_id, "sr"), node.made(first, "sr")
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID"):
            assert mine[keyword].value == theirs[keyword].value
        assert "ContributingEquipmentSequence" not in mine
        assert drainable(node) == 3


def purge(node: Withdrawing, *, results: bool) -> None:
    seen = Opinion(agrees=True)
    node.worklist.feedback.give(STUDY, "anna", seen, node.clock())
    settings = node.node.settings
    lines = [
        *purge_by_hand(settings, node.worklist, [STUDY], node.clock(), results=results, yes=True)
    ]
    assert "purged" in " ".join(lines), lines


def drainable(node: Withdrawing) -> int:
    return len(node.worklist.outbox.claim("x", 60, node.clock(), 50))


def test_where_results_were_purged_too_a_person_is_told_to_delete_them_at_the_archive(
    tmp_path: Path,
) -> None:
    with withdrawing(tmp_path, PACS) as node:
        sent(node, node.read().case_id)
        purge(node, results=True)
        node.withdraw()
        row = node.work()
        assert row.state is State.FAILED and row.withdrawn
        assert "delete" in row.why and "at each archive" in row.why and WHY in row.why


def test_a_withdrawal_whose_report_failed_is_reported_when_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with withdrawing(tmp_path, PACS) as node:
        sent(node, node.read().case_id)
        node.withdraw()

        def broken(*_: object, **__: object) -> None:
            raise Permanent("broken")

        monkeypatch.setattr("node.cases.pipeline.write_withdrawal", broken)
        failed = node.work()
        assert failed.state is State.FAILED and failed.priority is Priority.NOT_ANALYSED
        monkeypatch.undo()
        node.worklist.cases.try_failed(failed.case_id, "anna", node.clock())
        row = node.work()
        assert (row.state, row.why) == (State.REPORTED, str(row.withdrawn))


def test_a_study_under_another_patient_is_withdrawn_as_that_patients(tmp_path: Path) -> None:
    """The patient index corrects whose it is after the withdrawal was reported."""
    with withdrawing(tmp_path, PACS) as node:
        sent(node, node.read().case_id)
        node.withdraw()
        case = node.work().case_id
        before = node.made(case, "sr").SOPInstanceUID
        correct(node)
        row = node.work()
        assert (row.case_id, row.priority) == (case, Priority.NOT_ANALYSED)
        report = node.made(case, "sr")
        assert report.PatientID == "P2" and report.SOPInstanceUID != before
        assert "WITHDRAWN" in " ".join(spoken(report))


def correct(node: Withdrawing) -> None:
    """Give the study to the patient P2."""
    message = (
        "MSH|^~\\&|ADT|H|ICHNODE|H|20260115||ADT^A40^ADT_A39|1|P|2.5.1\r"
        "EVN||20260115\rPID|1||P2^^^^MR||Doe^Jane\rMRG|P1^^^^MR\r"
    )
    index = PatientIndex(node.node.settings, node.worklist.patients, node.clock)
    index.take(Received.of(message.encode()), message.encode())


def test_explain_tells_who_withdrew_what_and_why(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        node.read()
        node.withdraw()
        node.work()
        told = explain_study(STUDY, node.worklist, node.node.settings, node.clock())
        assert told.is_withdrawn
        assert [(one.who, one.why) for one in told.withdrawn] == [("anna", WHY)]
        (series,) = told.series
        assert [line.withdraws for line in series.cases] == [False, True]
        assert told.to_json()["withdrawn"][0]["who"] == "anna"


def shown(folder: Path, *arguments: str) -> str:
    settings = folder / "node.toml"
    settings.write_text(f'data_dir = "{folder / "node"}"\n')
    command = [*arguments, "--config", str(settings)]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_the_command_says_what_it_would_do_then_does_it_and_does_it_once(tmp_path: Path) -> None:
    with withdrawing(tmp_path, PACS) as node:
        sent(node, node.read().case_id)
        ask = ("retract", STUDY, "--reason", f" {WHY}\n", "--by", "anna")
        said = shown(tmp_path, *ask)
        assert f"case 1 (SUSPECTED) would be withdrawn; what it sent is at {PACS.name}" in said
        assert "nothing was withdrawn yet: add --yes" in said
        assert node.row().priority is Priority.SUSPECTED
        assert "case 1 (SUSPECTED) is withdrawn by case 2" in shown(tmp_path, *ask, "--yes")
        again = shown(tmp_path, *ask, "--yes")
        assert again.startswith("withdrawn already: withdrawn by anna on ") and WHY in again
        listed = shown(tmp_path, "worklist")
        assert "WITHDRAWN" in listed and "anna" in listed and "wrong" in listed
        (row,) = json.loads(
            CliRunner()
            .invoke(app, ["worklist", "--json", "--config", str(tmp_path / "node.toml")])
            .stdout
        )
        assert (row["priority"], row["withdrawn"]["who"]) == ("NOT_ANALYSED", "anna")
        explained = shown(tmp_path, "explain", STUDY)
        assert "WITHDRAWN" in explained and "withdraws case 1" in explained


@pytest.mark.parametrize("reason", ["", "  \n", "a\x1bb", "a" * 501])
def test_a_reason_is_one_line_that_says_something(tmp_path: Path, reason: str) -> None:
    with withdrawing(tmp_path, PACS) as node:
        node.read()
        (tmp_path / "node.toml").write_text(f'data_dir = "{tmp_path / "node"}"\n')
        command = ["retract", STUDY, "--reason", reason, "--yes"]
        result = CliRunner().invoke(app, [*command, "--config", str(tmp_path / "node.toml")])
        assert result.exit_code == 2 and "--reason is one line" in result.output
        assert node.row().priority is Priority.SUSPECTED


def observed(message: bytes) -> list[str]:
    """Return the status of each observation, OBX-11."""
    lines = message.decode().split("\r")
    return [line.split("|")[11] for line in lines if line.startswith("OBX")]


@pytest.mark.peer
def test_a_real_pacs_an_hl7_peer_and_the_page_see_that_a_result_is_withdrawn(
    tmp_path: Path,
) -> None:
    with (
        orthanc(tmp_path / "orthanc") as pacs,
        mllp_peer(ack("AA")) as ris,
        withdrawing(
            tmp_path,
            pacs.destination.model_copy(update={"rejection_note": True}),
            hl7(ris.port),
            timeout_s=20.0,
        ) as node,
    ):
        node.clock.now = NOW - timedelta(minutes=30)  # the page's night
        node.read()
        node.drain()
        assert node.row().state is State.DELIVERED
        before = set(pacs.instances(STUDY))
        node.withdraw()
        node.work()
        node.drain()
        assert node.row().state is State.DELIVERED, node.owed(2)
        there = [dcmread(BytesIO(pacs.file(one))) for one in pacs.instances(STUDY).values()]
        new = {ds.Modality: ds for ds in there if ds.SOPInstanceUID not in before}
        reports = [ds for ds in there if ds.SOPInstanceUID not in before and ds.Modality == "SR"]
        assert len(before) == 4 and len(there) == 8
        assert set(new) == {"SR", "DOC", "KO"}
        for ds in reports:
            assert WITHDRAWN in " ".join(spoken(ds)) and predecessors(ds) <= before
        tags = pacs.json(f"/instances/{pacs.instances(STUDY)[reports[0].SOPInstanceUID]}/tags")
        assert WHY in json.dumps(tags), "Orthanc reads it as we wrote it"
        flagged, withdrawn = (Received.of(message) for message in ris.messages)
        assert (flagged.value("OBR", 25), withdrawn.value("OBR", 25)) == ("P", "C")
        assert observed(ris.messages[1]) == ["W"] * 6
        page = client(node.worklist, node.node.root)
        for path in ("/", f"/studies/{node.row().case_id}", "/studies/1"):
            text = html.unescape(page.get(path).text)
            assert "WITHDRAWN" in text and "withdrawn by anna" in text and WHY in text
            assert 'class="badge SUSPECTED"' not in text
