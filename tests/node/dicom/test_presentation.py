import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom import dcmread
from pydicom.dataset import Dataset

from models.findings import Findings
from node.dicom.write.presentation import MOST_POINTS, outlines, presentation
from node.dicom.write.seg import segmentation
from node.dicom.write.source import Algorithm, Imprint, Source, read_source
from node.records import Predecessor
from tests.conftest import require_program
from tests.support.reported import (
    SHAPE,
    findings,
    lesion,
    plan_of,
    tilted_volume,
    write,
    write_enhanced,
)
from tests.support.validators import dciodvfy_errors
from training.datasets.series import Identity, write_series

WHEN = datetime(2026, 11, 20, 22, 30, 15, 123456, tzinfo=UTC)


def state(source: Source, result: Findings) -> Dataset:
    mark = Imprint("gsps", "ICH SUSPECTED 4.9 mL", WHEN, Algorithm.of(result))
    ds = presentation(source, result, mark)
    assert ds is not None
    return ds


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return read_source(write(tilted_volume(), tmp_path), tmp_path)


def filled(lines: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """(y, x) bool, the pixels whose middle the lines enclose."""
    found = Image.new("L", (shape[1] * 8, shape[0] * 8))
    for line in lines:
        inside = Image.new("L", found.size)
        ImageDraw.Draw(inside).polygon([(x * 8, y * 8) for x, y in line], fill=1)
        found = Image.fromarray(np.asarray(found) ^ np.asarray(inside))
    return np.asarray(found)[4::8, 4::8].astype(bool)


RING = np.zeros((12, 15), bool)
RING[2:9, 3:11] = True
RING[4:6, 5:8] = False
CORNER = np.zeros((12, 15), bool)
CORNER[:3, 11:] = True
TWO = np.zeros((12, 15), bool)
TWO[1:4, 1:5] = TWO[6:11, 8:12] = True


@pytest.mark.parametrize(
    ("mask", "count"), [(RING, 2), (CORNER, 1), (TWO, 2)], ids=["hole", "border", "two"]
)
def test_outlines_close_around_the_pixels_of_the_lesion(mask: np.ndarray, count: int) -> None:
    lines = outlines(mask)
    assert len(lines) == count
    assert all((line[0] == line[-1]).all() for line in lines)
    np.testing.assert_array_equal(filled(lines, mask.shape), mask)


def test_a_very_long_outline_is_thinned_and_still_closed() -> None:
    comb = np.zeros((300, 300), bool)
    comb[1:299, 1:299:2] = True
    comb[150] = True
    (line, *_) = sorted(outlines(comb), key=len, reverse=True)
    assert 2 < len(line) <= MOST_POINTS + 1
    assert (line[0] == line[-1]).all()


def test_each_slice_with_a_lesion_has_its_outline_and_its_label(source: Source) -> None:
    result = findings(lesion())
    ds = state(source, result)
    by_image = {
        item.ReferencedImageSequence[0].ReferencedSOPInstanceUID: item
        for item in ds.GraphicAnnotationSequence
    }
    shown = [2, 3, 4, 5]
    assert list(by_image) == [source.plan.slices[index].sop_instance_uid for index in shown]
    for index, item in zip(shown, by_image.values(), strict=True):
        lines = [np.array(one.GraphicData).reshape(-1, 2) for one in item.GraphicObjectSequence]
        np.testing.assert_array_equal(filled(lines, SHAPE[1:]), result.mask[index])
    said = [item.TextObjectSequence[0].UnformattedTextValue for item in by_image.values()]
    assert said[1] == "KEY SLICE: ICH SUSPECTED 4.9 mL, unverified, research only"
    assert said[0] == said[2] == said[3] == "ICH suspected, unverified, research only"


def test_all_slices_are_shown_in_the_brain_window_in_hounsfield_units(source: Source) -> None:
    ds = state(source, findings(lesion()))
    (series,) = ds.ReferencedSeriesSequence
    named = [item.ReferencedSOPInstanceUID for item in series.ReferencedImageSequence]
    assert named == list(source.headers)
    assert (ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType) == (1, -1024, "HU")
    (window,) = ds.SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth) == (40, 80)


def test_outline_segment_and_report_are_tracked_as_one_finding(source: Source) -> None:
    result = findings(lesion())
    mark = Imprint("seg", "ICH SUSPECTED", WHEN, Algorithm.of(result))
    seg = segmentation(source, result.mask, mark)
    (graphic,) = state(source, result).GraphicAnnotationSequence[0].GraphicObjectSequence
    assert graphic.TrackingUID == seg.SegmentSequence[0].TrackingUID


def test_it_says_what_it_is_and_what_it_replaces(source: Source) -> None:
    older = Predecessor("2.25.7.1", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.7.2", later_images=1)
    late = replace(source, plan=replace(source.plan, replaces=older))
    first, second = (state(each, findings(lesion())) for each in (source, late))
    assert first.ContentDescription == ("Suspected intracranial hemorrhage. Research use only")
    assert "replaces an earlier result" in second.ContentDescription
    assert (first.SeriesNumber, second.SeriesNumber) == ("9905", "9915")
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_slices_with_rescales_of_their_own_get_none(tmp_path: Path) -> None:
    paths = write_series(tilted_volume(), tmp_path / "received", Identity.of("mixed"))
    ds = dcmread(paths[2])
    ds.RescaleIntercept = -1000
    ds.save_as(paths[2])
    mixed = read_source(plan_of(paths, tmp_path), tmp_path)
    result = findings(lesion())
    assert presentation(mixed, result, Imprint("gsps", "", WHEN, Algorithm.of(result))) is None


def test_frames_of_an_enhanced_object_are_named(tmp_path: Path) -> None:
    source = read_source(write_enhanced(tilted_volume(), tmp_path), tmp_path)
    for item in state(source, findings(lesion())).GraphicAnnotationSequence:
        named = item.ReferencedImageSequence[0]
        assert named.ReferencedSOPInstanceUID in source.headers
        assert named.ReferencedFrameNumber >= 1


@pytest.mark.peer
def test_dcmtk_shows_the_outlined_slice_in_the_window_and_reads_the_outline(
    source: Source, tmp_path: Path
) -> None:
    require_program("dcmp2pgm")
    result = findings(lesion())
    state(source, result).save_as(tmp_path / "gsps.dcm", enforce_file_format=True)
    image = tmp_path / source.plan.slices[3].path
    run = subprocess.run(
        ["dcmp2pgm", "-v", "--pstate", tmp_path / "gsps.dcm", image, tmp_path / "shown.pgm"],
        capture_output=True,
        text=True,
        check=True,
    )
    said = run.stdout + run.stderr
    assert 'text 1: "KEY SLICE: ICH SUSPECTED 4.9 mL, unverified, research only"' in said
    assert 'window center=40 width=80 description="brain"' in said
    (line,) = re.findall(r"coordinates: (.*), ", said)
    points = np.array([point.split("\\") for point in line.split(", ")], float)
    np.testing.assert_array_equal(filled([points], SHAPE[1:]), result.mask[3])
    with Image.open(tmp_path / "shown.pgm") as shown:
        assert int(np.asarray(shown)[18, 30]) == pytest.approx(217, abs=2)  # 68 HU


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["single frames", "enhanced"])
def test_dciodvfy_finds_no_error_in_a_presentation_state(kind: str, tmp_path: Path) -> None:
    volume = tilted_volume()
    plan = write_enhanced(volume, tmp_path) if kind == "enhanced" else write(volume, tmp_path)
    path = tmp_path / "gsps.dcm"
    ds = state(read_source(plan, tmp_path), findings(lesion()))
    ds.save_as(path, enforce_file_format=True)
    assert dciodvfy_errors(path) == []
