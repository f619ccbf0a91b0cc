from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage, EncapsulatedPDFStorage

from models.findings import SUBTYPES, Findings
from models.side import Side
from node.dicom.write import codes
from node.dicom.write.measurement_groups import box
from node.dicom.write.seg import segmentation
from node.dicom.write.source import Algorithm, Imprint, Source, read_source
from node.dicom.write.sr import findings_report, not_analysed_report
from node.records import Predecessor
from node.wording import NOT_ANALYSED_HEADLINE
from tests.support.reported import (
    SHAPE,
    findings,
    lesion,
    plan_of,
    tilted_volume,
    write,
    write_enhanced,
)
from tests.support.validators import dciodvfy_errors, sr_validator_errors
from training.datasets.series import Identity, write_series

WHEN = datetime(2026, 11, 20, 22, 30, 15, 123456, tzinfo=UTC)
NOTHING = np.zeros(SHAPE, bool)


def report(source: Source, result: Findings, side: Side | None = None) -> Dataset:
    mark = Imprint("sr", "ICH SUSPECTED", WHEN, Algorithm.of(result))
    outlined = result.suspected and bool(result.mask.any())
    seg = segmentation(source, result.mask, replace(mark, kind="seg")) if outlined else None
    return findings_report(source, result, mark, seg, side)


def refusal(source: Source) -> Dataset:
    mark = Imprint("sr", NOT_ANALYSED_HEADLINE, WHEN, reason_code="MISSING_SLICE")
    return not_analysed_report(source, mark, "the slice at 35 mm is missing")


OLDER = Predecessor("2.25.7.1", Comprehensive3DSRStorage, "2.25.7.2", later_images=3)


def replacing(source: Source, older: Predecessor | None = OLDER) -> Source:
    """The same series, of which an earlier result was reported."""
    return replace(source, plan=replace(source.plan, replaces=older))


def items(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence") or ():
        yield item
        yield from items(item)


def groups(ds: Dataset) -> list[Dataset]:
    """The measurement groups in their order."""
    return [item for item in items(ds) if name(item) == "Measurement Group"]


def templates(ds: Dataset) -> list[str]:
    """The template of each measurement group."""
    return [group.ContentTemplateSequence[0].TemplateIdentifier for group in groups(ds)]


def labels(ds: Dataset) -> list[str]:
    """What OHIF 3.13 writes beside a report's region: its numbers, merged by tracking UID."""
    merged: dict[str, list[Dataset]] = {}
    for group in groups(ds):
        content = list(group.ContentSequence)
        (uid,) = [item.UID for item in content if name(item) == "Tracking Unique Identifier"]
        merged.setdefault(uid, []).extend(content)
    for found in merged.values():
        assert any(item.ValueType == "SCOORD" for item in found), "OHIF stays black"
    (first, *_) = merged.values()
    numbers = [item for item in first if item.ValueType == "NUM"]
    return [f"{name(i)}: {float(i.MeasuredValueSequence[0].NumericValue):.2f}" for i in numbers]


def name(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeMeaning) if names else ""


def number(ds: Dataset, concept: str) -> float:
    (item,) = [item for item in items(ds) if name(item) == concept]
    return float(item.MeasuredValueSequence[0].NumericValue)


def texts(ds: Dataset) -> list[str]:
    wanted = ("Conclusion", "Comment")
    return [item.TextValue for item in items(ds) if name(item) in wanted]


def answers(ds: Dataset) -> dict[str, str]:
    """The coded answers of the report, question and answer in words."""
    found = [item for item in items(ds) if item.ValueType == "CODE"]
    return {name(item): str(item.ConceptCodeSequence[0].CodeMeaning) for item in found}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return read_source(write(tilted_volume(), tmp_path), tmp_path)


def save(ds: Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "sr.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def test_suspected_report_gives_result_priority_probability_and_volume(source: Source) -> None:
    ds = report(source, findings(lesion()))
    assert answers(ds)["Intracranial hemorrhage"] == "Suspected"
    assert answers(ds)["Priority"] == "ACR Category 1 Actionable Finding"
    assert answers(ds)["Summary of Analyses"] == "Succeeded"
    assert number(ds, "Probability") == 0.934
    assert number(ds, "Volume") == pytest.approx(4.94, abs=0.005)
    assert texts(ds)[0] == "Intracranial hemorrhage SUSPECTED by ichnode, unverified"
    assert "RESEARCH USE ONLY - NOT FOR DIAGNOSTIC USE" in texts(ds)


def test_report_is_preliminary_complete_and_unverified(source: Source) -> None:
    ds = report(source, findings(lesion()))
    flags = (ds.PreliminaryFlag, ds.CompletionFlag, ds.VerificationFlag)
    assert flags == ("PRELIMINARY", "COMPLETE", "UNVERIFIED")


def test_each_subtype_has_its_own_probability(source: Source) -> None:
    ds = report(source, findings(lesion()))
    given = [number(ds, f"Probability, {subtype}") for subtype in SUBTYPES]
    assert given == [0.02, 0.91, 0.33, 0.12, 0.05]


def test_report_without_subtypes_names_none(source: Source) -> None:
    ds = report(source, replace(findings(lesion()), subtypes={}))
    assert templates(ds) == ["1410", "1411", "1501"]


def test_volume_refers_to_the_segment_and_evidence_holds_all(source: Source) -> None:
    result = findings(lesion())
    mark = Imprint("seg", "ICH SUSPECTED", WHEN, Algorithm.of(result))
    seg = segmentation(source, result.mask, mark)
    ds = findings_report(source, result, replace(mark, kind="sr"), seg)
    (reference,) = [item for item in items(ds) if name(item) == "Referenced Segment"]
    assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == seg.SOPInstanceUID
    (tracked,) = {group.ContentSequence[1].UID for group in groups(ds)}
    assert tracked == seg.SegmentSequence[0].TrackingUID
    evidence = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = [i.ReferencedSOPInstanceUID for s in evidence for i in s.ReferencedSOPSequence]
    assert named == [*source.headers, seg.SOPInstanceUID]


def test_box_lies_around_the_lesion_of_the_key_slice(source: Source) -> None:
    ds = report(source, findings(lesion()))
    (region,) = [item for item in items(ds) if item.ValueType == "SCOORD"]
    corners = np.array(region.GraphicData).reshape(-1, 2)
    assert corners.min(axis=0).tolist() == [27, 14]
    assert corners.max(axis=0).tolist() == [33, 23]
    assert corners[0].tolist() == corners[-1].tolist()
    image = region.ContentSequence[0].ReferencedSOPSequence[0]
    assert image.ReferencedSOPInstanceUID == source.plan.slices[3].sop_instance_uid


def test_box_of_a_single_pixel_is_that_pixel() -> None:
    mask = np.zeros((4, 7), bool)
    mask[1, 5] = True
    assert box(mask).tolist() == [[5, 1], [6, 1], [6, 2], [5, 2], [5, 1]]


def test_box_moves_to_the_largest_area_when_the_key_slice_shows_none(source: Source) -> None:
    mask = lesion()
    mask[4, 40:50, 5:20] = True
    ds = report(source, replace(findings(mask), key_slice=8))
    (region,) = [item for item in items(ds) if item.ValueType == "SCOORD"]
    image = region.ContentSequence[0].ReferencedSOPSequence[0]
    assert image.ReferencedSOPInstanceUID == source.plan.slices[4].sop_instance_uid


def test_box_on_an_enhanced_object_names_the_frame(tmp_path: Path) -> None:
    source = read_source(write_enhanced(tilted_volume(), tmp_path), tmp_path)
    ds = report(source, findings(lesion()))
    (region,) = [item for item in items(ds) if item.ValueType == "SCOORD"]
    image = region.ContentSequence[0].ReferencedSOPSequence[0]
    key = source.plan.slices[3]
    assert image.ReferencedSOPInstanceUID == key.sop_instance_uid
    assert image.ReferencedFrameNumber == key.frame_number


def test_negative_report_says_that_it_excludes_nothing(source: Source) -> None:
    ds = report(source, findings(NOTHING, suspected=False))
    assert answers(ds)["Intracranial hemorrhage"] == "NOT suspected"
    assert "Priority" not in answers(ds)
    conclusion = "No hemorrhage suspected by ichnode - this does not exclude hemorrhage"
    assert texts(ds)[0] == conclusion
    assert "1411" not in templates(ds)


@pytest.mark.parametrize("suspected", [True, False])
def test_uncertainty_is_coded_and_said_beside_the_conclusion(
    source: Source, suspected: bool
) -> None:
    ds = report(source, findings(lesion(), suspected=suspected, uncertain=True))
    assert answers(ds)["Certainty of Finding"] == "Uncertain"
    assert texts(ds)[1] == ("UNCERTAIN: the networks disagree - a person should decide soon (0.21)")


def test_a_certain_report_does_not_speak_of_certainty(source: Source) -> None:
    ds = report(source, findings(NOTHING, suspected=False))
    assert "Certainty of Finding" not in answers(ds)
    assert not [text for text in texts(ds) if "UNCERTAIN" in text]


def test_suspicion_without_an_outline_says_so(source: Source) -> None:
    ds = report(source, findings(NOTHING))
    assert "Nothing was outlined: there is no segmentation and no volume." in texts(ds)
    assert "1411" not in templates(ds)


def test_limitations_of_the_plan_stand_in_the_report(tmp_path: Path) -> None:
    paths = write_series(tilted_volume(), tmp_path / "received", Identity.of("limited"))
    limits = ("gaps of 1.1 to 7 mm", "Gap \u2265 5 mm")
    source = read_source(plan_of(paths, tmp_path, limits), tmp_path)
    said = texts(report(source, findings(lesion())))
    assert "Limitation: gaps of 1.1 to 7 mm" in said
    assert "Limitation: Gap ? 5 mm" in said


def test_what_a_region_looks_like_stands_in_the_report_beside_the_suspicion(
    source: Source,
) -> None:
    suspicious = findings(lesion())
    plain = texts(report(source, suspicious))
    said = texts(report(source, replace(suspicious, mimics=("The region: it may be calcium",))))
    assert "May look like blood: The region: it may be calcium" in said
    assert [text for text in said if "calcium" not in text] == plain


@pytest.mark.parametrize("kind", ["read", "not analysed"])
def test_a_report_that_replaces_an_earlier_one_names_it_and_says_why(
    source: Source, kind: str
) -> None:
    late = replacing(source)
    ds = refusal(late) if kind == "not analysed" else report(late, findings(lesion()))
    (study,) = ds.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == source.plan.study_instance_uid
    assert series.SeriesInstanceUID == "2.25.7.1"
    assert instance.ReferencedSOPClassUID == Comprehensive3DSRStorage
    assert instance.ReferencedSOPInstanceUID == "2.25.7.2"
    replaced = texts(ds)[1 if kind == "not analysed" else 5]
    assert replaced == (
        "Replaces ichnode's earlier result: 3 more images of the series arrived after it"
    )


def test_a_first_report_names_no_predecessor(source: Source) -> None:
    ds = report(source, findings(lesion()))
    assert "PredecessorDocumentsSequence" not in ds
    assert not [text for text in texts(ds) if "Replaces" in text]


def test_a_segmentation_that_replaces_an_earlier_result_says_so(source: Source) -> None:
    result = findings(lesion())
    mark = Imprint("seg", "ICH SUSPECTED", WHEN, Algorithm.of(result))
    first, second = (segmentation(s, result.mask, mark) for s in (source, replacing(source)))
    assert "replaces" not in first.ContentDescription
    assert "replaces an earlier result" in second.ContentDescription
    assert len(second.ContentDescription) <= 64
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID


def test_report_on_a_series_not_analysed_cannot_be_read_as_a_negative(source: Source) -> None:
    ds = refusal(source)
    assert texts(ds)[0] == (
        "NOT ANALYSED by ichnode - this is not a negative result. "
        "Reason: the slice at 35 mm is missing (MISSING_SLICE)"
    )
    assert answers(ds)["Summary of Analyses"] == "Not Attempted"
    assert "Intracranial hemorrhage" not in answers(ds)
    assert "Finding" not in answers(ds)
    assert not [item for item in items(ds) if name(item) == "Probability"]
    assert ds.CompletionFlag == "PARTIAL"
    assert ds.SeriesDescription == "ICH NOT ANALYSED, read as usual, research only"


@pytest.mark.peer
def test_series_without_geometry_or_pixels_and_of_an_odd_kind_is_reported(tmp_path: Path) -> None:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = EncapsulatedPDFStorage, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.PatientID = "P1"
    ds.PatientSex = "U"
    path = tmp_path / "odd.dcm"
    ds.save_as(path, implicit_vr=True, enforce_file_format=True)
    written = save(refusal(read_source(plan_of([path], tmp_path), tmp_path)), tmp_path)
    read = dcmread(written)
    assert (read.PatientID, read.PatientSex, read.PatientName) == ("P1", "U", "")
    assert "NOT ANALYSED" in texts(read)[0]
    (inherited,) = dciodvfy_errors(written)  # identity is copied as it is, faults included
    assert "Patient's Sex" in inherited


OUTLINED = findings(lesion())
NOT_OUTLINED = findings(NOTHING)
NEGATIVE = findings(NOTHING, suspected=False)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (
            OUTLINED,
            [
                *("Volume: 4.94", "Probability: 0.93", "Probability, intraparenchymal: 0.91"),
                *("Probability, intraventricular: 0.33", "Probability, subarachnoid: 0.12"),
            ],
        ),
        (NOT_OUTLINED, ["Probability: 0.93", "Probability, intraparenchymal: 0.91"]),
        (NEGATIVE, ["Probability: 0.03", "Probability, intraparenchymal: 0.91"]),
    ],
    ids=["suspected", "nothing outlined", "not suspected"],
)
def test_a_viewer_that_shows_regions_alone_opens_every_report_with_its_numbers_by_name(
    source: Source, result: Findings, said: list[str]
) -> None:
    ds = report(source, result)
    assert templates(ds)[0] == "1410"
    assert labels(ds)[: len(said)] == said


def test_such_a_viewer_is_told_first_what_was_not_analysed_or_read_in_part(source: Source) -> None:
    in_part = replace(source, plan=replace(source.plan, in_part="a gap of 20 mm"))
    assert labels(refusal(source)) == ["NOT ANALYSED, read as usual; images received: 9.00"]
    assert labels(report(in_part, NEGATIVE))[0] == "READ IN PART, not a negative; slices seen: 9.00"
    assert "NOT suspected" not in answers(report(in_part, NEGATIVE)).values()


@pytest.mark.parametrize("result", [NOT_OUTLINED, NEGATIVE], ids=["suspected", "not suspected"])
def test_a_region_that_outlines_nothing_is_the_left_border_and_names_no_finding(
    source: Source, result: Findings
) -> None:
    first, *others = groups(report(source, result))
    (region,) = [item for item in items(first) if item.ValueType == "SCOORD"]
    corners = np.array(region.GraphicData).reshape(-1, 2)
    assert (corners.min(axis=0).tolist(), corners.max(axis=0).tolist()) == ([0, 0], [1, SHAPE[1]])
    assert "Finding" not in answers(first)
    assert "SCOORD" not in {item.ValueType for group in others for item in items(group)}


def test_image_library_holds_what_the_regions_point_to_and_evidence_everything(
    source: Source,
) -> None:
    ds = report(source, OUTLINED)
    (library,) = [item for item in items(ds) if name(item) == "Image Library"]
    listed = [item for item in items(library) if item.ValueType == "IMAGE"]
    key = source.plan.slices[3].sop_instance_uid
    assert [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in listed] == [key]
    evidence = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    named = [item.ReferencedSOPInstanceUID for item in evidence.ReferencedSOPSequence]
    assert named == list(source.headers)


def test_numbers_stand_in_words_beside_the_conclusion(source: Source) -> None:
    assert texts(report(source, replace(OUTLINED, operating_point=0.512)))[1:5] == [
        "Probability of hemorrhage: 0.934 (suspected from 0.512 on)",
        "Outlined volume: 4.9 mL",
        "Probability of each type: intraparenchymal 0.91, intraventricular 0.33, "
        "subarachnoid 0.12, subdural 0.05, epidural 0.02",
        "Slice to look at first: image 4 of series 2",
    ]


@pytest.mark.parametrize("side", [Side.LEFT, Side.RIGHT, Side.BOTH])
def test_side_stands_as_laterality_of_the_lesion_and_in_words(source: Source, side: Side) -> None:
    ds = report(source, OUTLINED, side)
    (group,) = [g for g, tid in zip(groups(ds), templates(ds), strict=True) if tid == "1411"]
    said = {"left": "Left", "right": "Right", "both sides": "Bilateral"}[side]
    assert answers(group)["Laterality"] == said
    assert f"Side of the patient: {side} (of the outline, by the skull)" in texts(ds)


@pytest.mark.parametrize("side", [None, Side.MIDDLE])
def test_a_side_without_a_code_is_not_coded(source: Source, side: Side | None) -> None:
    ds = report(source, OUTLINED, side)
    assert "Laterality" not in answers(ds)
    told = [text for text in texts(ds) if text.startswith("Side of the patient")]
    assert told == (["Side of the patient: midline (of the outline, by the skull)"] if side else [])


def test_a_private_code_names_its_scheme(source: Source) -> None:
    ds = report(source, OUTLINED)
    private = {item.CodingSchemeDesignator for item in code_items(ds)} - {"RFC5646"}
    (scheme,) = ds.CodingSchemeIdentificationSequence
    assert {one for one in private if one.startswith("99")} == {scheme.CodingSchemeDesignator}


def test_every_number_names_the_algorithm_and_its_weights(source: Source) -> None:
    result = replace(findings(lesion()), operating_point=0.512)
    measured = [
        item
        for group in groups(report(source, result))
        for item in items(group)
        if item.ValueType == "NUM"
    ]
    assert len(measured) == 2 + len(SUBTYPES)
    for item in measured:
        said = [part.TextValue for part in item.ContentSequence]
        weights = f"weights_sha256={result.weights_sha256}"
        assert said == ["ich-ensemble", "0.1.0", weights, "operating_point=0.512"]


def test_an_operating_point_of_several_is_named(source: Source) -> None:
    result = replace(OUTLINED, operating_point=0.7, operating_point_name="quiet")
    ds = report(source, result)
    assert any('(suspected from 0.700 on, operating point "quiet")' in each for each in texts(ds))
    parameters = [
        part.TextValue
        for group in groups(ds)
        for item in items(group)
        if item.ValueType == "NUM"
        for part in item.ContentSequence
    ]
    assert "operating_point_name=quiet" in parameters


def code_items(ds: Dataset) -> Iterator[Dataset]:
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                if "CodeValue" in item:
                    yield item
                yield from code_items(item)


def test_every_code_written_is_in_the_table_or_in_the_standard(source: Source) -> None:
    result = findings(lesion(), uncertain=True)
    mark = Imprint("seg", "ICH SUSPECTED", WHEN, Algorithm.of(result))
    seg = segmentation(source, result.mask, mark)
    ours = {(code.value, code.scheme_designator): code.meaning for code in table()}
    for ds in (seg, report(source, result), refusal(source)):
        for item in code_items(ds):
            key = (item.CodeValue, item.CodingSchemeDesignator)
            if key == ("en-US", "RFC5646"):
                continue
            meanings = {ours[key]} if key in ours else standard_meanings(*key)
            assert item.CodeMeaning.lower() in {meaning.lower() for meaning in meanings}, item


def table() -> list[Code]:
    named = [value for value in vars(codes).values() if isinstance(value, Code)]
    of_subtypes = [(entry.finding, entry.probability) for entry in codes.SUBTYPES.values()]
    return [*named, *codes.SIDES.values(), *(code for pair in of_subtypes for code in pair)]


def standard_meanings(value: str, scheme: str) -> set[str]:
    return {
        meanings[value][0] for meanings in concepts.get(scheme, {}).values() if value in meanings
    }


NOT_IN_DICTIONARY = {
    "82999001": "SNOMED CT disorder",
    "274100004": "SNOMED CT disorder",
    "21454007": "SNOMED CT disorder",
    "35486000": "SNOMED CT disorder",
    "428263003": "SNOMED CT qualifier",
    "C0034375": "TID 1500, row 12",
    "en-US": "RFC 5646",
    "mL": "UCUM unit",
    "{pixels}": "TID 1602, row 11",
    "{images}": "UCUM unit",
    "{slices}": "UCUM unit",
}


@pytest.mark.parametrize("code", table(), ids=lambda code: code.meaning)
def test_a_code_means_what_the_standard_says(code: Code) -> None:
    meanings = standard_meanings(code.value, code.scheme_designator)
    if code.value in NOT_IN_DICTIONARY or code.scheme_designator == codes.OURS:
        assert not meanings, "now in the dictionary: compare it"
        return
    plain = {meaning.split(" (")[0].lower() for meaning in meanings}
    assert code.meaning.split(" (")[0].lower() in plain


def test_each_subtype_of_the_detector_has_a_code() -> None:
    assert tuple(codes.SUBTYPES) == SUBTYPES


@pytest.mark.peer
@pytest.mark.parametrize(
    "kind",
    [
        *("suspected", "enhanced", "not suspected", "uncertain", "not analysed"),
        *("replacing", "replacing, not analysed"),
    ],
)
def test_validators_find_no_error_in_a_report(kind: str, tmp_path: Path) -> None:
    volume = tilted_volume()
    plan = write_enhanced(volume, tmp_path) if kind == "enhanced" else write(volume, tmp_path)
    source = read_source(plan, tmp_path)
    if kind == "not analysed":
        ds = refusal(source)
    elif kind == "not suspected":
        ds = report(source, findings(NOTHING, suspected=False))
    elif kind == "replacing":
        ds = report(replacing(source), findings(NOTHING, suspected=False))
    elif kind == "replacing, not analysed":
        ds = refusal(replacing(source))
    elif kind == "uncertain":
        ds = report(source, findings(lesion(), uncertain=True))
    else:
        ds = report(source, findings(lesion()), Side.LEFT)
    path = save(ds, tmp_path)
    assert dciodvfy_errors(path) == []
    if kind != "enhanced":  # its tree is that of "suspected", and the validator takes its time
        assert sr_validator_errors(path) == []
