"""Files from folders and media become the node's own objects, and nothing else does."""

import hashlib
import shutil
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.fileset import FileSet
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RLELossless
from typer.testing import CliRunner

from node.arrive.intake import Intake, LeftOut
from node.arrive.media import Found, file_all, find
from node.arrive.storage_scp import Receiver
from node.cli import app
from node.dicom.net.association import ACCEPTED_SOP_CLASSES
from node.dicom.net.store_scu import send_files
from node.dicom.read.dicomdir import referenced_files
from node.dicom.read.part10 import dataset_of
from node.errors import BadObject, Retryable
from node.settings import Receive, Settings
from node.worklist import Worklist
from tests.support.databases import new_database
from tests.support.peers import ct_series, ct_series_of_other_patient, peer
from training.datasets.series import Identity

STUDY = Identity.of("a").study_instance_uid
T0 = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(
        data_dir=tmp_path / "data",
        receive=Receive(min_free_mb=0, host="127.0.0.1", port=0, max_object_mb=1),
    )
    settings.data_dir.mkdir()
    new_database(settings.url)
    return settings


@pytest.fixture
def worklist(settings: Settings):
    with closing(Worklist(settings.url)) as worklist:
        yield worklist


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """A medium as pydicom writes one: DICOMDIR, and four CT images beside it."""
    files = FileSet()
    for path in ct_series(tmp_path / "source"):
        files.add(path)
    folder = tmp_path / "medium"
    files.write(folder)
    files._stage["t"].cleanup()  # pydicom leaves that to the end of the process, with a warning
    return folder


def imported(settings: Settings, worklist: Worklist, found: Found) -> Intake:
    intake = Intake(settings, worklist.arrivals, lambda: T0, kinds=ACCEPTED_SOP_CLASSES)
    assert list(file_all(found, intake)) == list(found.files)
    return intake


def held(worklist: Worklist, study: str = STUDY) -> list:
    return [i for series in worklist.arrivals.study(study) for i in series.instances]


def reasons(found: Found | Intake) -> dict[str, str]:
    return {left.name: left.reason for left in found.left_out}


def rewrite(medium: Path, file_id: str | list[str]) -> None:
    """Give the DICOMDIR's first image record another Referenced File ID, allowed or not."""
    ds = dcmread(medium / "DICOMDIR")
    record = next(r for r in ds.DirectoryRecordSequence if "ReferencedFileID" in r)
    with disable_value_validation():
        record.ReferencedFileID = file_id
        ds.save_as(medium / "DICOMDIR")


def listed(medium: Path) -> list[str]:
    return list(referenced_files(medium / "DICOMDIR"))


# Folders


def test_folder_is_filed_durably_and_released_at_the_end(settings, worklist, tmp_path) -> None:
    files = ct_series(tmp_path / "ct" / "deeper")
    before = {path: path.read_bytes() for path in files}
    intake = imported(settings, worklist, find(tmp_path / "ct"))
    assert intake.complete and not intake.left_out
    assert intake.summary.startswith("4 new objects, 1 series, 1 study; 0 already here")
    (series,) = worklist.arrivals.study(STUDY)
    assert series.released_at == T0
    for instance in series.instances:
        data = (settings.data_dir / instance.stored.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == instance.stored.sha256
    assert {path: path.read_bytes() for path in files} == before


def test_data_set_is_kept_byte_for_byte(settings, worklist, tmp_path) -> None:
    (path,) = ct_series(tmp_path / "ct", 1)
    imported(settings, worklist, find(path))
    (instance,) = held(worklist)
    kept = (settings.data_dir / instance.stored.path).read_bytes()
    source = path.read_bytes()
    start = 144 + int.from_bytes(source[140:144], "little")
    assert kept.endswith(source[start:])
    assert dcmread(settings.data_dir / instance.stored.path).file_meta.TransferSyntaxUID == (
        dcmread(path).file_meta.TransferSyntaxUID
    )


def test_object_imported_twice_is_here_already(settings, worklist, tmp_path) -> None:
    ct_series(tmp_path / "ct")
    imported(settings, worklist, find(tmp_path / "ct"))
    again = imported(settings, worklist, find(tmp_path / "ct"))
    assert again.complete and again.summary.startswith("0 new objects, 1 series, 1 study; 4 alr")
    assert len(held(worklist)) == 4


def test_object_that_came_by_c_store_is_here_already(settings, worklist, tmp_path) -> None:
    files = ct_series(tmp_path / "ct")
    with Receiver(settings, worklist.arrivals, worklist.announcements, lambda: T0) as receiver:
        sent = list(send_files(files, peer("ICHNODE", receiver.port), settings))
    assert all(result.stored for result in sent)
    intake = imported(settings, worklist, find(tmp_path / "ct"))
    assert intake.complete and "4 already here; 0 quarantined" in intake.summary


def test_junk_is_named_and_does_not_fail_the_import(settings, worklist, tmp_path) -> None:
    ct_series(tmp_path / "ct")
    (tmp_path / "ct" / "notes.txt").write_text("no DICOM")
    (tmp_path / "ct" / "empty").touch()
    intake = imported(settings, worklist, find(tmp_path / "ct"))
    assert set(reasons(intake)) == {"notes.txt", "empty"}
    assert intake.complete and intake.summary.endswith("2 no DICOM")


def test_files_without_preamble_and_file_meta_are_filed_under_ours(
    settings, worklist, tmp_path
) -> None:
    files = ct_series(tmp_path / "ct")
    whole = [path.read_bytes() for path in files]
    files[0].write_bytes(dataset_of(whole[0]))
    files[1].write_bytes(whole[1][132:])
    intake = imported(settings, worklist, find(tmp_path / "ct"))
    assert intake.complete and not intake.left_out
    kept = {(settings.data_dir / i.stored.path).read_bytes() for i in held(worklist)}
    for data in whole:
        (mine,) = (file for file in kept if dataset_of(file) == dataset_of(data))
        assert dcmread(BytesIO(mine)).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    for path, data in zip(files, whole, strict=True):
        path.write_bytes(data)
    assert "0 new objects" in imported(settings, worklist, find(tmp_path / "ct")).summary


def test_compressed_pixels_of_an_unnamed_transfer_syntax_are_a_fault(
    settings, worklist, tmp_path
) -> None:
    (path,) = ct_series(tmp_path / "ct", 1)
    ds = dcmread(path)
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    path.write_bytes(dataset_of(path.read_bytes()))
    intake = imported(settings, worklist, find(tmp_path / "ct"))
    assert not intake.complete
    assert "may be compressed" in reasons(intake)[path.name]


def test_folder_of_junk_alone_is_a_failure(settings, worklist, tmp_path) -> None:
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "notes.txt").write_text("no DICOM")
    assert not imported(settings, worklist, find(tmp_path / "junk")).complete


def test_damaged_object_goes_to_quarantine(settings, worklist, tmp_path) -> None:
    files = ct_series(tmp_path / "ct")
    files[0].write_bytes(files[0].read_bytes()[:300])
    intake = imported(settings, worklist, find(tmp_path / "ct"))
    assert not intake.complete and "1 quarantined" in intake.summary
    assert "quarantine" in reasons(intake)[files[0].name]
    (kept,) = worklist.quarantine.listed()
    assert (settings.data_dir / kept.stored.path).read_bytes() == files[0].read_bytes()


def test_object_of_another_patient_under_the_study_goes_to_quarantine(
    settings, worklist, tmp_path
) -> None:
    ct_series(tmp_path / "ct" / "1")
    ct_series_of_other_patient(tmp_path / "ct" / "2", "a")
    intake = imported(settings, worklist, find(tmp_path / "ct"))
    assert not intake.complete and "1 quarantined" in intake.summary
    assert len(held(worklist)) == 4


def test_other_bytes_of_a_known_object_go_to_quarantine(settings, worklist, tmp_path) -> None:
    (path,) = ct_series(tmp_path / "ct", 1)
    imported(settings, worklist, find(path))
    ds = dcmread(path)
    ds.SeriesDescription = "changed"
    ds.save_as(path)
    assert "1 quarantined" in imported(settings, worklist, find(path)).summary


def test_other_kinds_than_ct_are_counted_and_not_filed(settings, worklist, tmp_path) -> None:
    files = ct_series(tmp_path / "ct")
    ds = dcmread(files[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
    ds.save_as(files[0])
    intake = imported(settings, worklist, find(tmp_path / "ct"))
    assert intake.complete and "1 of other kinds than CT" in intake.summary
    assert len(held(worklist)) == 3


def test_object_over_the_limit_is_left_out(settings, worklist, tmp_path) -> None:
    (path,) = ct_series(tmp_path / "ct", 1)
    with path.open("ab") as file:
        file.write(bytes(1 << 20))
    intake = imported(settings, worklist, find(path))
    assert "max_object_mb" in reasons(intake)[path.name] and not intake.complete


def test_full_disk_ends_the_import_without_release(settings, worklist, tmp_path) -> None:
    ct_series(tmp_path / "ct")
    full = settings.model_copy(update={"receive": Receive(min_free_mb=1 << 40)})
    intake = Intake(full, worklist.arrivals, lambda: T0)
    with pytest.raises(Retryable, match="MB free"):
        list(file_all(find(tmp_path / "ct"), intake))
    assert not held(worklist)


def test_links_that_lead_outside_a_folder_are_not_followed(settings, worklist, tmp_path) -> None:
    (inside,) = ct_series(tmp_path / "ct", 1)
    (outside,) = ct_series(tmp_path / "other", 1, seed="b")
    (tmp_path / "ct" / "file.dcm").symlink_to(outside)
    (tmp_path / "ct" / "folder").symlink_to(outside.parent)
    (tmp_path / "ct" / "alias.dcm").symlink_to(inside)
    intake = imported(settings, worklist, find(tmp_path / "ct"))
    assert set(reasons(intake)) == {"file.dcm", "folder"} and not intake.complete
    assert not held(worklist, Identity.of("b").study_instance_uid) and len(held(worklist)) == 1


# Media


def test_medium_is_imported_by_its_dicomdir(settings, worklist, medium) -> None:
    intake = imported(settings, worklist, find(medium))
    assert intake.complete and len(held(worklist)) == 4 and not intake.left_out


def test_dicomdir_itself_stands_for_its_medium(medium) -> None:
    assert find(medium / "DICOMDIR") == find(medium)


def test_files_that_the_dicomdir_does_not_list_are_named(
    settings, worklist, medium, tmp_path
) -> None:
    (extra,) = ct_series(tmp_path / "more", 1, seed="b")
    shutil.copy(extra, medium / "EXTRA")
    (medium / "VIEWER.EXE").write_bytes(b"MZ")
    intake = imported(settings, worklist, find(medium))
    assert list(reasons(intake)) == ["EXTRA"] and intake.complete
    everything = imported(settings, worklist, find(medium, all_files=True))
    assert held(worklist, Identity.of("b").study_instance_uid) and everything.complete


@pytest.mark.parametrize(
    "escape",
    [
        ["..", "OUTSIDE"],
        ["SUB", "..", "..", "OUTSIDE"],
        ["", "etc", "passwd"],
        "/etc/passwd",
        "../OUTSIDE",
        ["C:", "OUTSIDE"],
        ["LINK"],
        ["FOLDER", "OUTSIDE"],
    ],
)
def test_entry_that_leads_outside_is_refused_and_the_rest_imported(
    settings, worklist, medium, tmp_path, escape
) -> None:
    (outside,) = ct_series(tmp_path / "other", 1, seed="b")
    shutil.copy(outside, tmp_path / "OUTSIDE")
    (medium / "LINK").symlink_to(tmp_path / "OUTSIDE")
    (medium / "FOLDER").symlink_to(tmp_path)
    (medium / "SUB").mkdir()
    rewrite(medium, escape)
    intake = imported(settings, worklist, find(medium))
    refused = {name: said for name, said in reasons(intake).items() if said.startswith("refused")}
    assert list(refused) == [escape if isinstance(escape, str) else "\\".join(escape)]
    assert "outside the folder" in str(refused) and not intake.complete
    assert len(held(worklist)) == 3
    assert not held(worklist, Identity.of("b").study_instance_uid)


def test_missing_files_are_named_and_counted(settings, worklist, medium) -> None:
    gone = listed(medium)[1]
    medium.joinpath(*gone.split("\\")).unlink()
    intake = imported(settings, worklist, find(medium))
    assert intake.left_out == [
        LeftOut(gone, "missing: the DICOMDIR lists it, and no such file is there")
    ]
    assert not intake.complete and len(held(worklist)) == 3


@pytest.mark.parametrize("spelled", [str.lower, lambda name: f"{name};1", lambda name: f"{name}."])
def test_file_is_found_in_small_letters_and_with_a_version(medium, spelled) -> None:
    for path in [p for p in medium.rglob("*") if p.is_file()]:
        path.rename(path.with_name(spelled(path.name) if path.name != "DICOMDIR" else "dicomdir"))
    found = find(medium)
    assert len(found.files) == 4 and not found.left_out


def test_damaged_dicomdir_means_every_file_and_says_so(settings, worklist, medium) -> None:
    index = medium / "DICOMDIR"
    index.write_bytes(index.read_bytes()[:500])
    intake = imported(settings, worklist, find(medium))
    assert "DICOMDIR" in str(intake.left_out) and not intake.complete
    assert len(held(worklist)) == 4


def test_dicomdir_that_is_no_dicom_or_lists_nothing_is_a_bad_object(tmp_path) -> None:
    path = tmp_path / "DICOMDIR"
    path.write_text("nothing")
    with pytest.raises(BadObject, match="damaged"):
        referenced_files(path)
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.1.3.10", "1.2.3"
    ds.FileSetID = "EMPTY"
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    with pytest.raises(BadObject, match="lists no file"):
        referenced_files(path)


@pytest.mark.parametrize("damage", [b"", b"MZ no DICOM", bytes(200)])
def test_a_listed_file_that_is_no_dicom_is_a_fault(settings, worklist, medium, damage) -> None:
    place = medium.joinpath(*listed(medium)[1].split("\\"))
    place.write_bytes(damage)
    intake = imported(settings, worklist, find(medium))
    ((name, reason),) = reasons(intake).items()
    assert not intake.complete and name == str(place.relative_to(medium))
    assert "though it is listed or named as DICOM" in reason and "1 no DICOM" in intake.summary


def test_dicomdirs_below_the_folder_are_held_to_as_well(settings, worklist, medium) -> None:
    gone = listed(medium)[1]
    medium.joinpath(*gone.split("\\")).unlink()
    (medium.parent / "cds").mkdir()
    medium.rename(medium.parent / "cds" / "1")
    intake = imported(settings, worklist, find(medium.parent / "cds"))
    assert reasons(intake) == {
        f"1/{gone}": "missing: the DICOMDIR lists it, and no such file is there"
    }
    assert not intake.complete


def test_a_damaged_object_of_another_kind_is_no_fault(settings, worklist, tmp_path) -> None:
    files = ct_series(tmp_path / "ct")
    ds = dcmread(files[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
    ds.save_as(files[0])
    files[0].write_bytes(files[0].read_bytes()[:500])
    intake = imported(settings, worklist, find(tmp_path / "ct"))
    assert intake.complete and "1 of other kinds than CT" in intake.summary
    everything = Intake(settings, worklist.arrivals, lambda: T0)
    list(file_all(find(tmp_path / "ct"), everything))
    assert everything.complete and [left.fault for left in everything.left_out] == [False]


# The command


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["import", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_command_says_what_became_of_each(settings, medium, monkeypatch) -> None:
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("ICHNODE_RECEIVE__MIN_FREE_MB", "0")
    code, said, _ = run(str(medium))
    assert code == 0 and said.startswith("4 new objects, 1 series, 1 study")
    rewrite(medium, ["..", "OUTSIDE"])
    code, said, error = run(str(medium))
    assert code == 1 and "3 already here" in said
    assert "..\\OUTSIDE: refused" in error


def test_command_on_a_full_disk_is_one_error_and_its_count(settings, medium, monkeypatch) -> None:
    monkeypatch.setenv("ICHNODE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("ICHNODE_RECEIVE__MIN_FREE_MB", str(1 << 40))
    code, said, error = run(str(medium))
    assert code == 2 and "MB free" in error and said.startswith("0 new objects")


def test_help_shows_how() -> None:
    _, said, _ = run("--help")
    assert "ichnode import /media/cdrom" in said
