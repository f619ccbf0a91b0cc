from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.dicom.write.key_object import key_object
from node.dicom.write.seg import segmentation
from node.dicom.write.source import Algorithm, Imprint, Source, read_source
from node.dicom.write.sr import findings_report
from tests.support.reported import SHAPE, findings, lesion, tilted_volume, write, write_enhanced
from tests.support.validators import dciodvfy_errors, sr_validator_errors

WHEN = datetime(2026, 11, 20, 22, 30, 15, 123456, tzinfo=UTC)


def made(source: Source, *, outlined: bool = True) -> list[Dataset]:
    """The key object note, and the objects to which it points."""
    result = findings(lesion() if outlined else np.zeros(SHAPE, bool))
    mark = Imprint("seg", "ICH SUSPECTED 4.9 mL", WHEN, Algorithm.of(result))
    others = [segmentation(source, result.mask, mark)] if outlined else []
    seg = others[0] if others else None
    others.append(findings_report(source, result, replace(mark, kind="sr"), seg))
    return [key_object(source, result, replace(mark, kind="key"), others), *others]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return read_source(write(tilted_volume(), tmp_path), tmp_path)


def pointed(ds: Dataset) -> list[str]:
    """What the content points to."""
    found = [item for item in ds.ContentSequence if "ReferencedSOPSequence" in item]
    return [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in found]


@pytest.mark.parametrize("outlined", [True, False])
def test_note_points_to_the_key_slice_then_to_the_report(source: Source, outlined: bool) -> None:
    note, *others = made(source, outlined=outlined)
    key = source.plan.slices[3].sop_instance_uid
    assert pointed(note) == [key, *(ds.SOPInstanceUID for ds in others)]
    evidence = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = [i.ReferencedSOPInstanceUID for s in evidence for i in s.ReferencedSOPSequence]
    assert named == pointed(note)


def test_note_says_why(source: Source) -> None:
    note = made(source)[0]
    assert note.ConceptNameCodeSequence[0].CodeMeaning == "Of Interest"
    texts = [item for item in note.ContentSequence if item.ValueType == "TEXT"]
    (said,) = [i.TextValue for i in texts if i.ConceptNameCodeSequence[0].CodeValue == "113012"]
    assert said == ("ICH SUSPECTED 4.9 mL, unverified. RESEARCH USE ONLY - NOT FOR DIAGNOSTIC USE")
    assert (note.Modality, note.SeriesNumber) == ("KO", "9906")


def test_note_on_an_enhanced_object_names_the_frame(tmp_path: Path) -> None:
    source = read_source(write_enhanced(tilted_volume(), tmp_path), tmp_path)
    (image, *_) = [i for i in made(source)[0].ContentSequence if i.ValueType == "IMAGE"]
    ref = source.plan.slices[3]
    item = image.ReferencedSOPSequence[0]
    assert item.ReferencedSOPInstanceUID == ref.sop_instance_uid
    assert item.ReferencedFrameNumber == ref.frame_number


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["single frames", "enhanced", "not outlined"])
def test_validators_find_no_error_in_a_key_object_note(kind: str, tmp_path: Path) -> None:
    volume = tilted_volume()
    plan = write_enhanced(volume, tmp_path) if kind == "enhanced" else write(volume, tmp_path)
    path = tmp_path / "key.dcm"
    note = made(read_source(plan, tmp_path), outlined=kind != "not outlined")[0]
    note.save_as(path, enforce_file_format=True)
    assert dciodvfy_errors(path) == []
    assert sr_validator_errors(path, "TID_2010") == []
