from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage

from models.findings import Findings
from node.dicom.write.source import Algorithm, Imprint, Source, read_source
from node.dicom.write.text_sr import findings_text, not_analysed_text
from node.records import Predecessor
from node.wording import NOT_ANALYSED_HEADLINE, RESEARCH_USE_ONLY
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
NEGATIVE = findings(NOTHING, suspected=False)
OLDER = Predecessor("2.25.7.1", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.7.2", later_images=3)


def report(source: Source, result: Findings) -> Dataset:
    return findings_text(
        source, result, Imprint("text", "ICH SUSPECTED", WHEN, Algorithm.of(result))
    )


def refusal(source: Source) -> Dataset:
    mark = Imprint("text", NOT_ANALYSED_HEADLINE, WHEN, reason_code="MISSING_SLICE")
    return not_analysed_text(source, mark, "the slice at 35 mm is missing")


def sections(ds: Dataset) -> dict[str, list[str]]:
    """The sentences under each heading, in their order."""
    headed = [item for item in ds.ContentSequence if item.ValueType == "CONTAINER"]
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: [t.TextValue for t in item.ContentSequence]
        for item in headed
    }


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return read_source(write(tilted_volume(), tmp_path), tmp_path)


def test_verdict_stands_first_then_numbers_with_their_names(source: Source) -> None:
    said = sections(report(source, replace(findings(lesion()), operating_point=0.512)))
    assert said == {
        "Conclusions": [
            "Intracranial hemorrhage SUSPECTED by ichnode, unverified.",
            f"{RESEARCH_USE_ONLY}.",
        ],
        "Findings": [
            "Probability of hemorrhage: 0.934 (suspected from 0.512 on).",
            "Outlined volume: 4.9 mL.",
            "Probability of each type: intraparenchymal 0.91, intraventricular 0.33, "
            "subarachnoid 0.12, subdural 0.05, epidural 0.02.",
            "Slice to look at first: image 4 of series 2.",
        ],
    }


def test_a_series_not_analysed_says_what_happened_in_plain_words_before_the_reason(
    source: Source,
) -> None:
    ds = refusal(source)
    assert sections(ds) == {
        "Conclusions": [
            "NOT ANALYSED by ichnode - this is not a negative result.",
            "A slice is missing. Read this study as usual.",
            f"{RESEARCH_USE_ONLY}.",
        ],
        "Findings": ["Reason: the slice at 35 mm is missing (MISSING_SLICE)."],
    }
    assert (ds.CompletionFlag, ds.PreliminaryFlag) == ("PARTIAL", "PRELIMINARY")


def test_a_series_read_in_part_is_no_negative(source: Source) -> None:
    in_part = replace(source, plan=replace(source.plan, in_part="a gap of 20 mm"))
    ds = report(in_part, NEGATIVE)
    assert sections(ds)["Conclusions"][:2] == [
        "READ IN PART by ichnode - this is not a negative result.",
        "a gap of 20 mm.",
    ]
    assert ds.CompletionFlag == "PARTIAL"


def test_limitations_scans_and_what_is_replaced_are_told(tmp_path: Path) -> None:
    paths = write_series(tilted_volume(), tmp_path / "received", Identity.of("limited"))
    plan = plan_of(paths, tmp_path, ("gaps of 1.1 to 7 mm",))
    source = read_source(replace(plan, replaces=OLDER, scans=("scan 1 of 2",)), tmp_path)
    ds = report(source, findings(NOTHING))
    said = sections(ds)
    assert "Limitation: gaps of 1.1 to 7 mm." in said["Findings"]
    assert "Nothing was outlined: there is no segmentation and no volume." in said["Findings"]
    assert said["Conclusions"][1:3] == [
        "Replaces ichnode's earlier result: 3 more images of the series arrived after it.",
        "scan 1 of 2.",
    ]
    named = ds.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.7.2"


def test_what_a_region_looks_like_is_told_and_clears_nothing(source: Source) -> None:
    suspicious = findings(lesion())
    said = sections(report(source, replace(suspicious, mimics=("The region: it may be calcium",))))
    assert "May look like blood: The region: it may be calcium." in said["Findings"]
    assert said["Conclusions"] == sections(report(source, suspicious))["Conclusions"]


def test_plain_report_is_a_basic_text_sr_of_its_own(source: Source) -> None:
    ds = report(source, NEGATIVE)
    assert ds.SOPClassUID == BasicTextSRStorage
    title = ds.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("18748-4", "LN")
    assert ds.SeriesNumber == "9904"
    assert {item.ValueType for item in items(ds)} <= {
        "CODE",
        "CONTAINER",
        "IMAGE",
        "TEXT",
        "UIDREF",
    }


def items(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence") or ():
        yield item
        yield from items(item)


@pytest.mark.peer
@pytest.mark.parametrize(
    "kind", ["suspected", "enhanced", "read in part", "not analysed", "replacing"]
)
def test_validators_find_no_error_in_a_plain_report(kind: str, tmp_path: Path) -> None:
    volume = tilted_volume()
    plan = write_enhanced(volume, tmp_path) if kind == "enhanced" else write(volume, tmp_path)
    plan = replace(plan, replaces=OLDER) if kind == "replacing" else plan
    plan = replace(plan, in_part="a gap of 20 mm") if kind == "read in part" else plan
    source = read_source(plan, tmp_path)
    result = NEGATIVE if kind == "read in part" else findings(lesion())
    ds = refusal(source) if kind in ("not analysed", "replacing") else report(source, result)
    path = tmp_path / "text.dcm"
    ds.save_as(path, enforce_file_format=True)
    assert dcmread(path).SOPClassUID == BasicTextSRStorage
    assert dciodvfy_errors(path) == []
    assert sr_validator_errors(path, "TID_2000") == []
