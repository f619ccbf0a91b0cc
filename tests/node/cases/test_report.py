import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from models.findings import Findings
from node.case_folder import CaseFolder
from node.cases.report import write_report
from node.dicom.read.header import read_header
from node.dicom.read.identity import read_identity
from node.errors import Permanent, Retryable
from node.outcomes import NotAnalysed
from node.records import Predecessor, ReportObject, SeriesPlan
from node.states import Reason
from tests.support.reported import (
    SHAPE,
    findings,
    lesion,
    plan_of,
    real_tilted_head,
    tilted_volume,
    write,
    write_enhanced,
)
from tests.support.validators import dciodvfy_errors
from training.datasets.series import Identity, write_series

WHEN = datetime(2026, 11, 20, 22, 30, 15, 123456, tzinfo=UTC)
NOTHING = np.zeros(SHAPE, bool)
MISSING = NotAnalysed(Reason.MISSING_SLICE, "the slice at 35 mm is missing")

OLDER = Predecessor("2.25.7.1", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.7.2", later_images=1)


ALL = ["seg", "sr", "text", "capture", "gsps", "key"]


def reported(
    plan: SeriesPlan, result: Findings | NotAnalysed, root: Path, case: str = "1"
) -> dict[str, Dataset]:
    """Write the report with all that can be asked for; return its objects by kind."""
    objects = write_report(plan, result, CaseFolder(root, f"cases/{case}"), WHEN, also=ALL)
    return {Path(item.path).stem: dcmread(root / item.path) for item in objects}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("result", "kinds"),
    [
        (findings(lesion()), ALL),
        (findings(NOTHING), ["sr", "text", "capture", "key"]),
        (findings(lesion(), suspected=False), ["sr", "text", "capture"]),
        (MISSING, ["sr", "text", "capture"]),
    ],
    ids=["suspected", "nothing outlined", "not suspected", "not analysed"],
)
def test_each_result_gets_its_objects_and_no_other(
    tmp_path: Path, result: Findings | NotAnalysed, kinds: list[str]
) -> None:
    plan = write(tilted_volume(), tmp_path)
    assert list(reported(plan, result, tmp_path)) == kinds
    pictures = ["capture.png"] if isinstance(result, Findings) else []
    expected = sorted([f"{kind}.dcm" for kind in kinds] + pictures)
    assert sorted(contents(tmp_path / "cases/1/report")) == expected


def test_objects_returned_lie_where_they_say_under_the_uids_they_say(tmp_path: Path) -> None:
    plan = write(tilted_volume(), tmp_path)
    objects = write_report(plan, findings(lesion()), CaseFolder(tmp_path, "cases/7"), WHEN)
    for item in objects:
        ds = dcmread(tmp_path / item.path)
        uids = (ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID)
        assert item == ReportObject(item.kind, item.path, *uids)
        assert item.path.startswith("cases/7/report/")


def test_the_same_result_written_again_is_the_same_to_the_byte(tmp_path: Path) -> None:
    plan = write(tilted_volume(), tmp_path)
    first, again = (
        write_report(plan, findings(lesion()), CaseFolder(tmp_path, case), WHEN, also=ALL)
        for case in ("first", "again")
    )
    assert [item.sop_instance_uid for item in first] == [item.sop_instance_uid for item in again]
    assert contents(tmp_path / "first/report") == contents(tmp_path / "again/report")


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    plan = write(tilted_volume(), tmp_path)
    plan.write(tmp_path / "series.json")
    reported(plan, MISSING, tmp_path, "here")
    script = f"""
from datetime import datetime
from pathlib import Path
from node.case_folder import CaseFolder
from node.records import SeriesPlan
from node.cases.report import write_report
from node.outcomes import NotAnalysed
root = Path({str(tmp_path)!r})
result = NotAnalysed({MISSING.reason_code.value!r}, {MISSING.reason!r})
when = datetime.fromisoformat({WHEN.isoformat()!r})
plan = SeriesPlan.read(root / "series.json")
write_report(plan, result, CaseFolder(root, "cases/there"), when)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    there = contents(tmp_path / "cases/there/report")
    assert there == contents(tmp_path / "cases/here/report")


@pytest.mark.parametrize(
    "change",
    [
        lambda plan, result: (replace(plan, slices=plan.slices[:-1]), _without_last(result)),
        lambda plan, result: (plan, replace(result, weights_sha256="0" * 64)),
        lambda plan, result: (plan, replace(result, bundle="ich-ensemble@0.2.0")),
        lambda plan, _: (plan, MISSING),
        lambda plan, result: (replace(plan, replaces=OLDER), result),
    ],
    ids=["other slices", "other weights", "other version", "not analysed", "images not read"],
)
def test_another_source_or_reader_gets_other_uids(
    tmp_path: Path,
    change: Callable[[SeriesPlan, Findings], tuple[SeriesPlan, Findings | NotAnalysed]],
) -> None:
    plan = write(tilted_volume(), tmp_path)
    before = reported(plan, findings(lesion()), tmp_path)["sr"]
    after = reported(*change(plan, findings(lesion())), tmp_path)["sr"]
    assert before.SOPInstanceUID != after.SOPInstanceUID
    assert before.SeriesInstanceUID != after.SeriesInstanceUID


def _without_last(result: Findings) -> Findings:
    return replace(result, slices=result.slices[:-1], mask=result.mask[:-1])


def test_a_plan_keeps_the_report_it_replaces_and_how_its_series_was_closed(tmp_path: Path) -> None:
    plan = write(tilted_volume(), tmp_path)
    late = replace(plan, replaces=OLDER, closed_by="complete: all came", saved_s=58.0)
    for written in (plan, late):
        written.write(tmp_path / "series.json")
        assert SeriesPlan.read(tmp_path / "series.json") == written


def test_objects_go_into_series_of_their_own_in_the_same_study(tmp_path: Path) -> None:
    objects = reported(write(tilted_volume(), tmp_path), findings(lesion()), tmp_path)
    assert len({ds.SeriesInstanceUID for ds in objects.values()}) == len(objects)
    assert {kind: ds.SeriesNumber for kind, ds in objects.items()} == {
        "seg": 9901,
        "sr": 9902,
        "capture": 9903,
        "text": 9904,
        "gsps": 9905,
        "key": 9906,
    }
    for ds in objects.values():
        assert ds.StudyInstanceUID == Identity.of("case").study_instance_uid
        assert ds.SeriesDescription == "ICH SUSPECTED 4.9 mL, research only"


@pytest.mark.parametrize(
    ("result", "in_part", "said"),
    [
        (findings(lesion()), "", "ICH SUSPECTED 4.9 mL, replaces older, research only"),
        (
            findings(NOTHING, suspected=False),
            "",
            "ICH not suspected, replaces older, research only",
        ),
        (
            findings(NOTHING, suspected=False),
            "a gap of 20 mm",
            "ICH NOT ANALYSED, read as usual, replaces older, research only",
        ),
        (MISSING, "", "ICH NOT ANALYSED, read as usual, replaces older, research only"),
    ],
    ids=["suspected", "not suspected", "read in part", "not analysed"],
)
def test_a_set_that_replaces_one_says_so_and_has_new_series_numbers(
    tmp_path: Path, result: Findings | NotAnalysed, in_part: str, said: str
) -> None:
    plan = replace(write(tilted_volume(), tmp_path), in_part=in_part)
    first = reported(plan, result, tmp_path)
    third = reported(replace(plan, replaces=replace(OLDER, ordinal=2)), result, tmp_path)
    for kind, ds in third.items():
        assert ds.SeriesDescription == said
        assert ds.SeriesNumber == first[kind].SeriesNumber + 20


CHARACTER_SETS = pytest.mark.parametrize(
    ("charset", "name", "words"),
    [
        ("ISO_IR 192", "Grün^Zoë=王^小東", "Schädel 頭部 Голова"),
        ("ISO_IR 100", "Müller^Jürgen", "Tête größer"),
        ("ISO_IR 144", "Люкceмбypг", "Голова"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "頭部 CT"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "두부 CT"),
        ("GB18030", "Wang^XiaoDong=王^小东", "头部平扫"),
    ],
    ids=["UTF-8", "Latin-1", "Cyrillic", "Japanese", "Korean", "GB18030"],
)
"""Names as in PS3.5 annexes H, I and J, and what stands in the other text of the images."""


def written_in(charset: str | list[str], name: str, words: str, root: Path) -> list[Path]:
    """Write a series whose identity is in a character set."""
    paths = write_series(tilted_volume(), root / "received", Identity.of("names"))
    for path in paths:
        ds = dcmread(path)
        ds.SpecificCharacterSet = charset
        ds.PatientName = name
        ds.PatientID, ds.StudyDescription = f"{words} 1", words
        ds.IssuerOfPatientID = "HOSPITAL"
        ds.save_as(path)
    return paths


@CHARACTER_SETS
def test_identity_and_character_set_are_those_of_the_source(
    tmp_path: Path, charset: str | list[str], name: str, words: str
) -> None:
    paths = written_in(charset, name, words, tmp_path)
    source = dcmread(paths[0])
    for ds in reported(plan_of(paths, tmp_path), findings(lesion()), tmp_path).values():
        for keyword in ("PatientName", "PatientID", "StudyDescription", "SpecificCharacterSet"):
            tag = Tag(keyword)
            assert ds.get_item(tag).value == dcmread(paths[0]).get_item(tag).value, keyword
        assert ds.SpecificCharacterSet == source.SpecificCharacterSet
        assert str(ds.PatientName) == name
        assert (ds.PatientID, ds.StudyDescription) == (f"{words} 1", words)
        for keyword in (
            *("PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
            *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "StudyDescription"),
        ):
            assert ds[keyword].value == source[keyword].value
    assert_identity_is_that_of(paths[0], tmp_path)


def assert_identity_is_that_of(image: Path, root: Path) -> None:
    """What is checked before sending agrees with what the worklist knows of the image."""
    known = read_header(image)
    for kind in ALL:
        held, _ = read_identity(root / f"cases/1/report/{kind}.dcm")
        assert held.study_instance_uid == known.study_instance_uid
        assert held.patient.patient_id == known.patient_id
        assert held.patient.birth_date == known.patient_birth_date


@pytest.mark.filterwarnings("ignore:Failed to decode byte string")
def test_a_name_in_a_wrongly_declared_character_set_is_copied_byte_for_byte(
    tmp_path: Path,
) -> None:
    paths = write_series(tilted_volume(), tmp_path / "received", Identity.of("latin"))
    number = Identity.of("latin").patient_id.encode()
    for path in paths:  # declared as UTF-8, sent as Latin-1
        sent = path.read_bytes().replace(b"Phantom^latin", b"M\xfcller^J\xe9r\xf4me")
        path.write_bytes(sent.replace(number, b"\xd6" + number[1:]))
    reported(plan_of(paths, tmp_path), findings(lesion()), tmp_path)
    for kind in ALL:
        written = (tmp_path / f"cases/1/report/{kind}.dcm").read_bytes()
        assert b"PN\x0e\x00M\xfcller^J\xe9r\xf4me " in written
        assert b"\xd6" + number[1:] in written
    assert_identity_is_that_of(paths[0], tmp_path)


def test_a_malformed_birth_date_is_copied_and_never_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = write_series(tilted_volume(), tmp_path / "received", Identity.of("dates"))
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"19550401", b"1955-4-1"))
    plan = plan_of(paths, tmp_path)
    caplog.clear()
    reported(plan, findings(lesion()), tmp_path)
    assert "1955" not in caplog.text
    for kind in ALL:
        assert b"DA\x08\x001955-4-1" in (tmp_path / f"cases/1/report/{kind}.dcm").read_bytes()
    assert_identity_is_that_of(paths[0], tmp_path)


@pytest.mark.parametrize(
    "keyword", ["PatientID", "PatientName", "PatientBirthDate", "AccessionNumber"]
)
@pytest.mark.parametrize("result", [findings(lesion()), MISSING], ids=["read", "not read"])
def test_nothing_is_written_when_the_instances_name_different_patients(
    tmp_path: Path, keyword: str, result: Findings | NotAnalysed
) -> None:
    paths = write_series(tilted_volume(), tmp_path / "received", Identity.of("mixed"))
    ds = dcmread(paths[5])
    setattr(ds, keyword, "19991231")
    ds.save_as(paths[5])
    with pytest.raises(Permanent, match=f"disagree about {keyword}"):
        reported(plan_of(paths, tmp_path), result, tmp_path)
    assert not (tmp_path / "cases").exists()


def test_a_source_file_that_is_gone_is_named(tmp_path: Path) -> None:
    plan = write(tilted_volume(), tmp_path)
    (tmp_path / plan.slices[4].path).unlink()
    with pytest.raises(Permanent, match=r"0005\.dcm"):
        reported(plan, MISSING, tmp_path)


def test_a_disk_that_takes_no_more_is_worth_another_try(tmp_path: Path) -> None:
    plan = write(tilted_volume(), tmp_path)
    (tmp_path / "cases").write_text("a file where the folder should be")
    with pytest.raises(Retryable, match="cannot write"):
        reported(plan, MISSING, tmp_path)


def test_findings_of_another_plan_are_refused(tmp_path: Path) -> None:
    plan = write(tilted_volume(), tmp_path)
    with pytest.raises(Permanent, match="9 slices were read, 8 are planned"):
        reported(replace(plan, slices=plan.slices[1:]), findings(lesion()), tmp_path)


def test_a_later_result_leaves_nothing_of_the_earlier_one(tmp_path: Path) -> None:
    plan = write(tilted_volume(), tmp_path)
    reported(plan, findings(lesion()), tmp_path)
    reported(plan, MISSING, tmp_path)
    assert list(contents(tmp_path / "cases/1/report")) == ["sr.dcm", "text.dcm", "capture.dcm"]


def test_picture_for_the_page_is_the_capture(tmp_path: Path) -> None:
    ds = reported(write(tilted_volume(), tmp_path), findings(lesion()), tmp_path)["capture"]
    with Image.open(tmp_path / "cases/1/report/capture.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), ds.pixel_array)


@pytest.mark.parametrize("suspected", [True, False])
def test_side_of_what_is_outlined_is_told_in_both_reports(tmp_path: Path, suspected: bool) -> None:
    longer = replace(tilted_volume(), spacing_mm=(2.9, 1.7))  # than wide, as heads are
    plan = write(longer, tmp_path)
    objects = reported(plan, findings(lesion(), suspected=suspected), tmp_path)
    for kind in ("sr", "text"):
        said = "Side of the patient: left (of the outline, by the skull)"
        assert (said in objects[kind].to_json()) is suspected


def test_times_are_on_the_clock_of_the_source(tmp_path: Path) -> None:
    paths = write_series(tilted_volume(), tmp_path / "received", Identity.of("clock"))
    for path in paths:
        ds = dcmread(path)
        ds.TimezoneOffsetFromUTC = "-0330"
        ds.save_as(path)
    ds = reported(plan_of(paths, tmp_path), MISSING, tmp_path)["sr"]
    assert ds.TimezoneOffsetFromUTC == "-0330"
    here = WHEN - timedelta(hours=3, minutes=30)
    assert (ds.ContentDate, ds.ContentTime) == (f"{here:%Y%m%d}", f"{here:%H%M%S.%f}")


@pytest.mark.parametrize("offset", ["", "here", "+0"])
def test_times_are_on_this_machines_clock_where_the_source_names_none(
    tmp_path: Path, offset: str
) -> None:
    paths = write_series(tilted_volume(), tmp_path / "received", Identity.of("clock"))
    for path in paths:
        ds = dcmread(path)
        del ds.TimezoneOffsetFromUTC
        if offset:
            ds.add_new("TimezoneOffsetFromUTC", "SH", offset)
        ds.save_as(path)
    ds = reported(plan_of(paths, tmp_path), MISSING, tmp_path)["sr"]
    assert ds.ContentTime == f"{WHEN.astimezone():%H%M%S.%f}"


@pytest.mark.peer
@CHARACTER_SETS
def test_text_in_any_character_set_passes_dciodvfy(
    tmp_path: Path, charset: str | list[str], name: str, words: str
) -> None:
    paths = written_in(charset, name, words, tmp_path)
    reported(plan_of(paths, tmp_path), findings(lesion()), tmp_path)
    for kind in ALL:
        assert dciodvfy_errors(tmp_path / f"cases/1/report/{kind}.dcm") == []


def test_enhanced_series_is_reported_whole(tmp_path: Path) -> None:
    plan = write_enhanced(tilted_volume(), tmp_path)
    assert list(reported(plan, findings(lesion()), tmp_path)) == ALL


@pytest.mark.parametrize("also", ["gsps", "key"])
def test_outline_and_key_slice_are_made_only_if_asked_for(tmp_path: Path, also: str) -> None:
    plan = write(tilted_volume(), tmp_path)
    folder = CaseFolder(tmp_path, "cases/1")
    usual, more = (
        [item.kind for item in write_report(plan, findings(lesion()), folder, WHEN, also=asked)]
        for asked in ((), (also,))
    )
    assert usual == ["seg", "sr", "text", "capture"]
    assert more == [*usual, also]


@pytest.mark.peer
@pytest.mark.data
def test_report_on_the_real_tilted_head_passes_dciodvfy(data: Path, tmp_path: Path) -> None:
    plan = real_tilted_head(data, tmp_path)
    ds = dcmread(tmp_path / plan.slices[0].path)
    mask = np.zeros((len(plan.slices), ds.Rows, ds.Columns), bool)
    mask[12:15, 200:230, 300:320] = True
    reported(plan, replace(findings(mask), key_slice=13), tmp_path)
    for kind in ALL:
        assert dciodvfy_errors(tmp_path / f"cases/1/report/{kind}.dcm") == []
