"""Quarantine as an administrator meets it: a real receiver, the command, and what goes out then."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from node.arrive.storage_scp import Receiver
from node.cases.pipeline import Node
from node.cases.worker import work_once
from node.cli.app import app
from node.cli.pacs import archive
from node.deliver.sending import drain
from node.dicom.net.association import Status
from node.dicom.net.store_scu import send_files
from node.settings import Assemble, Deliver, Destination, Receive, Settings
from node.states import Priority, Reason
from node.worklist import Decision, Row, Worklist
from tests.support.builder import HEAD, each, encoded, uid
from tests.support.databases import new_database
from tests.support.peers import peer, wait_until
from tests.support.working import Predictor

STUDY = uid("study")
P2 = HEAD(name="other", patient="P2")
CORRECTED = HEAD(patient="P1-CORRECTED")


def now() -> datetime:
    return datetime.now(UTC)


def later() -> datetime:
    """A time at which no series waits for further images."""
    return now() + timedelta(hours=1)


@dataclass
class Hospital:
    """A node that listens, and the PACS that it sends to."""

    settings: Settings
    worklist: Worklist
    port: int
    pacs: Path
    folder: Path

    def push(self, *images: Dataset) -> list[int | None]:
        """Send images over one association; return the status of each."""
        files = []
        for number, ds in enumerate(images):
            files.append(self.folder / f"{number:03}.dcm")
            files[-1].write_bytes(encoded(ds))
        answers = [s.status for s in send_files(files, peer("ICHNODE", self.port), self.settings)]
        wait_until(lambda: all(s.released_at for s in self.worklist.arrivals.study(STUDY)))
        return answers

    def work(self) -> Row:
        """Let the node read and send all there is; return the study's row."""
        node = Node.on(self.worklist, self.settings, lambda: Predictor(), later)  # type: ignore[arg-type,return-value]
        while work_once(node, "worker"):
            pass
        drain(self.settings, self.worklist.outbox, later, "deliver")
        (row,) = self.worklist.views.worklist(later())
        return row

    def sent(self) -> list[Dataset]:
        """What the PACS has, by arrival."""
        files = sorted(self.pacs.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [dcmread(path) for path in files]


@contextmanager
def listening(folder: Path) -> Iterator[Hospital]:
    pacs = folder / "pacs"
    pacs.mkdir()
    (folder / "images").mkdir()
    with archive("PACS", pacs) as port:
        destination = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)
        settings = Settings(
            data_dir=folder / "data",
            receive=Receive(host="127.0.0.1", port=0, min_free_mb=0),
            assemble=Assemble(grace_s=0.0),
            deliver=Deliver(destinations=(destination,)),
        )
        new_database(settings.url)
        with (
            closing(Worklist(settings.url)) as worklist,
            Receiver(settings, worklist.arrivals, worklist.announcements, now) as receiver,
        ):
            yield Hospital(settings, worklist, receiver.port, pacs, folder / "images")


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hospital]:
    (tmp_path / "ichnode.toml").write_text(f'data_dir = "{tmp_path / "data"}"\n')
    monkeypatch.setenv("ICHNODE_CONFIG", str(tmp_path / "ichnode.toml"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("node.log.configure", lambda *_, **__: None)  # pytest's log stays
    with listening(tmp_path) as hospital:
        yield hospital


def ichnode(*arguments: str) -> tuple[int, str]:
    """Run `ichnode quarantine ...`; return its status and what it says."""
    done = CliRunner().invoke(app, ("quarantine", *arguments))
    return done.exit_code, done.stdout + done.stderr


def listed(*options: str) -> list[dict[str, object]]:
    code, text = ichnode("list", "--json", *options)
    assert code == 0
    return list(json.loads(text))


# Two patients under one study


def test_a_second_patient_of_a_study_waits_in_one_line_and_is_not_in_the_result(
    hospital: Hospital,
) -> None:
    assert set(hospital.push(*HEAD.build())) == {Status.SUCCESS}
    assert set(hospital.push(*P2.build())) == {Status.IDENTITY_CONFLICT}
    code, table = ichnode("list")
    assert code == 0
    (line,) = (line for line in table.splitlines() if "MIXED_IDENTITY" in line)
    assert "1-30" in line and table.count("open") == 1
    assert len(listed()) == 30
    row = hospital.work()
    assert (row.priority, row.quarantined) == (Priority.SUSPECTED, 30)
    assert {ds.PatientID for ds in hospital.sent()} == {"P1"}
    assert len(hospital.sent()) == 4


def test_a_discarded_study_is_no_longer_listed_but_its_bytes_and_rows_stay(
    hospital: Hospital,
) -> None:
    hospital.push(*HEAD.build()[:2])
    hospital.push(*P2.build()[:3])
    why = ("--by", "A. Admin", "--why", "test phantom")
    code, text = ichnode("discard", "--study", STUDY, *why)
    assert code == 0 and text.count("is discarded: its bytes stay at") == 3
    assert ichnode("list") == (0, "nothing is in quarantine\n")
    entries = listed("--all")
    assert {(e["decision"], e["decided_by"], e["why"]) for e in entries} == {
        ("DISCARDED", "A. Admin", "test phantom")
    }
    assert all((hospital.settings.data_dir / str(e["path"])).exists() for e in entries)
    noted = hospital.worklist.audit.entries(STUDY)
    assert [(e.what, e.who, e.address, e.about) for e in noted] == [
        ("QUARANTINE", "A. Admin", "terminal", f"number {e['number']} discarded") for e in entries
    ]
    assert hospital.worklist.views.worklist(now())[0].quarantined == 0


@pytest.mark.parametrize("name", ["A1", "1", STUDY])
def test_a_study_is_named_by_uid_accession_number_or_case(hospital: Hospital, name: str) -> None:
    hospital.push(*HEAD.build()[:2])
    hospital.push(*P2.build()[:3])
    code, text = ichnode("discard", "--study", name)
    assert code == 0 and text.count("is discarded") == 3


def test_a_released_series_of_one_identity_is_read_and_its_result_carries_that_identity(
    hospital: Hospital,
) -> None:
    bone = HEAD(name="bone", description="Bone 5.0 H60s", kernel="H60s")
    hospital.push(*bone.build())
    hospital.push(*P2.build())
    code, text = ichnode("release", "--study", STUDY)
    assert code == 0 and text.count("is filed") == 30
    row = hospital.work()
    assert row.series_instance_uid == uid("study", "other")
    assert (row.priority, row.quarantined) == (Priority.SUSPECTED, 0)
    assert {ds.PatientID for ds in hospital.sent()} == {"P2"}


def test_a_series_that_mixes_identities_is_not_analysed_and_nothing_is_sent(
    hospital: Hospital,
) -> None:
    mixed = each(PatientID=lambda index: "P1" if index < 20 else "P2")(HEAD.build())
    assert hospital.push(*mixed).count(Status.IDENTITY_CONFLICT) == 10
    ichnode("release", "--study", STUDY)
    row = hospital.work()
    assert row.priority is Priority.NOT_ANALYSED
    assert "disagree about PatientID" in str(row.reason)
    codes = [event.detail.get("reason_code") for event in hospital.worklist.views.events(STUDY)]
    assert Reason.MIXED_IDENTITY in codes
    assert hospital.sent() == []


def test_an_identity_corrected_at_the_console_replaces_the_result_under_it(
    hospital: Hospital,
) -> None:
    hospital.push(*HEAD.build())
    hospital.work()
    before = hospital.sent()
    assert set(hospital.push(*CORRECTED.build())) == {Status.IDENTITY_CONFLICT}
    ichnode("release", "--study", STUDY, "--why", "ID corrected at CT1")
    row = hospital.work()
    assert (row.patient_id, row.priority) == ("P1-CORRECTED", Priority.SUSPECTED)
    assert row.supersedes is not None
    after = hospital.sent()[len(before) :]
    assert [ds.PatientID for ds in before] == ["P1"] * 4
    assert [ds.PatientID for ds in after] == ["P1-CORRECTED"] * 4
    assert not {ds.SOPInstanceUID for ds in before} & {ds.SOPInstanceUID for ds in after}
    decisions = [entry.decision for entry in hospital.worklist.quarantine.listed(decided=True)]
    assert decisions == [Decision.RELEASED] * 30 + [Decision.REPLACED] * 30


def test_a_changed_object_takes_the_place_of_the_one_filed_and_is_read(
    hospital: Hospital,
) -> None:
    images = HEAD.build()
    hospital.push(*images)
    before = hospital.work()
    changed = HEAD.having(ImageComments="corrected").build()[12]
    assert hospital.push(changed) == [Status.SUCCESS]
    assert ichnode("release", "1") == (0, "1 is filed\n")
    after = hospital.work()
    assert after.supersedes == before.case_id
    (series,) = hospital.worklist.arrivals.study(STUDY)
    paths = [hospital.settings.data_dir / i.stored.path for i in series.instances]
    comments = [dcmread(path).get("ImageComments") for path in paths]
    assert len(comments) == 30 and comments.count("corrected") == 1
    (replaced,) = (e for e in listed("--all") if e["decision"] == "REPLACED")
    assert (hospital.settings.data_dir / str(replaced["path"])).exists()


# One object


def test_show_says_whose_it_is_and_how_that_differs_and_no_name(hospital: Hospital) -> None:
    hospital.push(*HEAD.build()[:1])
    hospital.push(P2.having(PatientBirthDate="19610101").build()[0])
    code, text = ichnode("show", "1")
    assert code == 0
    for said in (
        "1, open",
        "MIXED_IDENTITY",
        "not the study's PatientID and PatientBirthDate",
        f"study {STUDY}",
        "PatientID there 'P1', here 'P2'",
        "PatientBirthDate there '19600101', here '19610101'",
        uid("study", "other"),
        "ICHNODE",
    ):
        assert said in text
    assert "Test" not in text and "AccessionNumber" not in text


def test_what_cannot_be_read_stays_and_the_release_fails(hospital: Hospital) -> None:
    hospital.push(*HEAD.build()[:1])
    assert hospital.push(HEAD.having(SeriesInstanceUID="").build()[1]) == [Status.CANNOT_UNDERSTAND]
    code, text = ichnode("release", "1")
    assert code == 1 and "1 stays in quarantine: the object has no SeriesInstanceUID" in text
    assert "no SeriesInstanceUID" in ichnode("show", "1")[1]
    assert [entry["decision"] for entry in listed()] == [None]


def test_bytes_that_are_not_those_received_are_not_filed(hospital: Hospital) -> None:
    hospital.push(*HEAD.build()[:1])
    hospital.push(*P2.build()[:1])
    (entry,) = hospital.worklist.quarantine.listed()
    path = hospital.settings.data_dir / entry.stored.path
    path.write_bytes(path.read_bytes()[:-2] + b"\1\1")
    code, text = ichnode("release", "1")
    assert code == 1 and "is not what was received: its SHA-256 differs" in text
    path.unlink()
    code, text = ichnode("release", "1")
    assert code == 1 and "No such file" in text


@pytest.mark.parametrize(
    ("age_s", "decision", "says"),
    [(600, "DELETED", "its bytes are deleted"), (0, "DISCARDED", "its bytes came just now")],
    ids=["settled", "just received"],
)
def test_bytes_are_deleted_when_asked_for_and_settled_and_the_row_stays(
    hospital: Hospital, age_s: float, decision: str, says: str
) -> None:
    hospital.push(*HEAD.build()[:1])
    hospital.push(*P2.build()[:1])
    path = hospital.settings.data_dir / hospital.worklist.quarantine.listed()[0].stored.path
    written = time.time() - age_s
    os.utime(path, (written, written))
    code, text = ichnode("discard", "1", "--delete")
    assert code == 0 and says in text
    assert path.exists() == (decision == "DISCARDED")
    assert [entry["decision"] for entry in listed("--all")] == [decision]
    what = [event.what for event in hospital.worklist.views.events(STUDY)]
    assert what == ["quarantined", f"quarantine: {decision.lower()}"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("release",), "either objects by their NUMBERS or a study's by --study UID"),
        (("discard", "1", "--study", "1.2"), "either objects by their NUMBERS"),
        (("release", "7"), "quarantine has no number 7"),
        (("show", "7"), "quarantine has no number 7"),
        (("discard", "--study", "1.2"), "nothing of study 1.2 waits"),
    ],
)
@pytest.mark.usefixtures("hospital")
def test_a_wrong_choice_is_one_clear_line(arguments: tuple[str, ...], says: str) -> None:
    code, text = ichnode(*arguments)
    assert code == 2 and says in text and text.count("\n") == 1


def test_help_says_what_release_and_discard_do() -> None:
    assert "you vouch" in ichnode("release", "--help")[1]
    assert "nothing brings them back" in ichnode("discard", "--help")[1]


def test_an_image_cut_short_is_acknowledged_and_replaced_by_a_whole_one(
    hospital: Hospital,
) -> None:
    whole, short = HEAD.build(), HEAD.build()
    short[4].PixelData = short[4].PixelData[:-1000]
    assert hospital.push(*short) == [Status.SUCCESS] * 30
    (entry,) = listed()
    assert (entry["code"], entry["sop_instance_uid"]) == ("CUT_SHORT", short[4].SOPInstanceUID)
    assert "7960 bytes, and its images take 8960" in str(entry["reason"])
    assert hospital.work().quarantined == 1
    code, text = ichnode("release", str(entry["number"]), "--why", "try")
    assert "send the whole object" in text and len(listed()) == 1
    assert hospital.push(whole[4]) == [Status.SUCCESS]
    row = hospital.work()
    assert (row.priority, row.quarantined) == (Priority.SUSPECTED, 0)
    (entry,) = listed("--all")
    assert (entry["decision"], entry["decided_by"]) == ("REPLACED", "ichnode")
