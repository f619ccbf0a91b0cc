import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import pack_bits

from models.volume import Volume
from node.dicom.read.pixels import load_volume
from node.dicom.write.seg import segmentation
from node.dicom.write.source import Algorithm, Imprint, Source, read_source
from tests.support.builder import alone, store
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
MARK = Imprint("seg", "ICH SUSPECTED", WHEN, Algorithm.of(findings(lesion())))
UNEVEN_MM = (5.0, 5.0, 3.0, 5.0, 5.0, 7.0, 1.5, 5.0)
DCMQI = Path(sys.executable).with_name("segimage2itkimage")


def oblique_volume() -> Volume:
    """The tilted head with its slices stepping along their normal, so that none leans."""
    upright = tilted_volume(0.0)
    tilted = tilted_volume(18.5)
    steps = np.arange(len(upright.hu))[:, None] * 3.75
    return replace(tilted, positions_mm=tilted.positions_mm[0] + steps * tilted.normal)


def downward_volume() -> Volume:
    """The oblique head with its rows the other way round, so that its slices run to the feet."""
    volume = oblique_volume()
    return replace(
        volume,
        orientation=volume.orientation * [-1, -1, -1, 1, 1, 1],
        positions_mm=volume.positions_mm[::-1],
    )


def points_mm(volume: Volume, mask: np.ndarray) -> np.ndarray:
    """(n, 3) patient coordinates of the centres of the mask's voxels, in ascending order."""
    z, y, x = np.nonzero(mask)
    rows, columns = volume.spacing_mm
    points = (
        volume.positions_mm[z]
        + (x * columns)[:, None] * volume.orientation[:3]
        + (y * rows)[:, None] * volume.orientation[3:]
    )
    return in_order(points)


def in_order(points: np.ndarray) -> np.ndarray:
    return points[np.lexsort(points.round(2).T)]


def dcmqi_points_mm(ds: Dataset, folder: Path) -> np.ndarray:
    """Where dcmqi finds the segment's voxels, in ascending order."""
    folder.mkdir()
    ds.save_as(folder / "seg.dcm", enforce_file_format=True)
    command = [DCMQI, "--inputDICOM", folder / "seg.dcm", "--outputDirectory", folder, "-t", "nrrd"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    image = SimpleITK.ReadImage(folder / "1.nrrd")
    assert "ERROR" not in run.stderr
    voxels = np.argwhere(SimpleITK.GetArrayFromImage(image))[:, ::-1]
    return in_order(np.array([image.TransformIndexToPhysicalPoint(v.tolist()) for v in voxels]))


def single_frames(ds: Dataset) -> list[Dataset]:
    """Return each frame as a segmentation of its own, its attributes untouched."""
    alone = []
    for item, pixels in zip(ds.PerFrameFunctionalGroupsSequence, ds.pixel_array, strict=True):
        one = deepcopy(ds)
        one.PerFrameFunctionalGroupsSequence = [item]
        one.NumberOfFrames = 1
        one.PixelData = pack_bits(pixels)
        alone.append(one)
    return alone


def read_back(ds: Dataset, tmp_path: Path) -> Dataset:
    """Return the object as a receiver has it."""
    ds.save_as(tmp_path / "written.dcm", enforce_file_format=True)
    return dcmread(tmp_path / "written.dcm")


def mask_of(ds: Dataset, source: Source) -> np.ndarray:
    """Return the mask that the frames' references to their source images describe."""
    mask = np.zeros(SHAPE, bool)
    places = {(r.sop_instance_uid, r.frame_number): z for z, r in enumerate(source.plan.slices)}
    for item, pixels in zip(ds.PerFrameFunctionalGroupsSequence, ds.pixel_array, strict=True):
        image = item.DerivationImageSequence[0].SourceImageSequence[0]
        z = places[image.ReferencedSOPInstanceUID, int(image.get("ReferencedFrameNumber") or 1)]
        assert list(item.PlanePositionSequence[0].ImagePositionPatient) == pytest.approx(
            source.plan.slices[z].position_mm
        )
        mask[z] = pixels
    return mask


@pytest.mark.parametrize(
    "volume",
    [tilted_volume(0.0), oblique_volume(), downward_volume()],
    ids=["axial", "oblique", "oblique, to the feet"],
)
def test_dcmqi_finds_each_voxel_where_the_mask_has_it(volume: Volume, tmp_path: Path) -> None:
    source = read_source(write(volume, tmp_path), tmp_path)
    found = dcmqi_points_mm(segmentation(source, lesion(), MARK), tmp_path / "dcmqi")
    np.testing.assert_allclose(found, points_mm(volume, lesion()), atol=0.01)


@pytest.mark.parametrize(
    "volume",
    [tilted_volume(18.5), tilted_volume(0.0, UNEVEN_MM), tilted_volume(-12.0, UNEVEN_MM)],
    ids=["tilted", "uneven", "tilted and uneven"],
)
def test_dcmqi_finds_each_voxel_frame_by_frame_under_tilt_and_uneven_gaps(
    volume: Volume, tmp_path: Path
) -> None:
    # As a whole dcmqi refuses slices that lean, and evens out uneven gaps: an ITK image has no
    # place for either. Each frame alone it puts where the frame says.
    source = read_source(write(volume, tmp_path), tmp_path)
    frames = single_frames(segmentation(source, lesion(), MARK))
    found = [dcmqi_points_mm(ds, tmp_path / str(k)) for k, ds in enumerate(frames)]
    np.testing.assert_allclose(
        in_order(np.concatenate(found)), points_mm(volume, lesion()), atol=0.01
    )


@pytest.mark.data
def test_dcmqi_finds_each_voxel_on_the_real_tilted_head(data: Path, tmp_path: Path) -> None:
    source = read_source(real_tilted_head(data, tmp_path), tmp_path)
    volume = load_volume(source.plan, tmp_path)
    mask = np.zeros(volume.hu.shape, bool)
    mask[3:26:4, 200:223, 300:307] = True
    ds = segmentation(source, mask, MARK)
    found = [dcmqi_points_mm(one, tmp_path / str(k)) for k, one in enumerate(single_frames(ds))]
    np.testing.assert_allclose(in_order(np.concatenate(found)), points_mm(volume, mask), atol=0.01)


@pytest.mark.data
def test_frames_of_the_real_tilted_head_lie_on_its_slices_one_for_one(
    data: Path, tmp_path: Path
) -> None:
    files = [path.read_bytes() for path in sorted((data / "ge_head_tilt").glob("*.dcm"))]
    _, plan = alone(store(files, tmp_path))
    assert plan is not None
    mask = np.zeros((28, 512, 512), bool)
    for z, plane in enumerate(mask):
        plane[200 : 210 + z, 300:307] = True
    ds = read_back(segmentation(read_source(plan, tmp_path), mask, MARK), tmp_path)
    images = {ref.sop_instance_uid: dcmread(tmp_path / ref.path) for ref in plan.slices}
    shared = ds.SharedFunctionalGroupsSequence[0]
    rows = dict(zip(images, (plane.sum(0).max() for plane in mask), strict=True))
    for item, pixels in zip(ds.PerFrameFunctionalGroupsSequence, ds.pixel_array, strict=True):
        named = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        image = images.pop(named)
        assert item.PlanePositionSequence[0].ImagePositionPatient == image.ImagePositionPatient
        orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        assert orientation == image.ImageOrientationPatient
        assert shared.PixelMeasuresSequence[0].PixelSpacing == image.PixelSpacing
        assert ds.FrameOfReferenceUID == image.FrameOfReferenceUID
        assert pixels.sum(0).max() == rows[named]
    assert not images


@pytest.mark.parametrize("omit_empty_frames", [True, False])
def test_frames_name_their_source_image_and_lie_in_its_place(
    tmp_path: Path, omit_empty_frames: bool
) -> None:
    source = read_source(write(tilted_volume(), tmp_path), tmp_path)
    ds = segmentation(source, lesion(), MARK, omit_empty_frames=omit_empty_frames)
    written = read_back(ds, tmp_path)
    assert written.NumberOfFrames == (4 if omit_empty_frames else 9)
    np.testing.assert_array_equal(mask_of(written, source), lesion())


def test_slices_that_run_downwards_keep_their_masks(tmp_path: Path) -> None:
    plan = write(tilted_volume(), tmp_path)
    upside_down = replace(plan, slices=plan.slices[::-1])
    source = read_source(upside_down, tmp_path)
    written = read_back(segmentation(source, lesion()[::-1], MARK), tmp_path)
    np.testing.assert_array_equal(mask_of(written, source), lesion()[::-1])


def test_frames_of_enhanced_objects_are_named_by_object_and_frame_number(tmp_path: Path) -> None:
    source = read_source(write_enhanced(tilted_volume(), tmp_path), tmp_path)
    written = read_back(segmentation(source, lesion(), MARK), tmp_path)
    np.testing.assert_array_equal(mask_of(written, source), lesion())
    assert len(written.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 2


@pytest.mark.peer
@pytest.mark.parametrize("enhanced", [False, True])
def test_dciodvfy_finds_no_error_in_a_segmentation(tmp_path: Path, enhanced: bool) -> None:
    volume = tilted_volume(18.5, UNEVEN_MM)
    plan = write_enhanced(volume, tmp_path) if enhanced else write(volume, tmp_path)
    ds = segmentation(read_source(plan, tmp_path), lesion(), MARK)
    ds.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


def test_segment_says_what_it_is_who_made_it_and_that_it_is_research(tmp_path: Path) -> None:
    source = read_source(write(tilted_volume(), tmp_path), tmp_path)
    ds = read_back(segmentation(source, lesion(), MARK), tmp_path)
    segment = ds.SegmentSequence[0]
    assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "1386000"
    assert segment.AnatomicRegionSequence[0].CodeValue == "12738006"
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("ich-ensemble", "0.1.0")
    assert findings(lesion()).weights_sha256 in algorithm.AlgorithmParameters
    assert segment.TrackingID and segment.TrackingUID
    assert ds.SeriesDescription == "ICH SUSPECTED, research only"
    assert len(ds.ContentLabel) <= 16
    assert ds.SegmentationType == "BINARY"
    assert ds.FrameOfReferenceUID == source.first.FrameOfReferenceUID
    assert ds.ContributingEquipmentSequence[0].ManufacturerModelName == "phantom"


def test_series_without_frame_of_reference_or_thickness_is_segmented_all_the_same(
    tmp_path: Path,
) -> None:
    paths = write_series(tilted_volume(), tmp_path / "received", Identity.of("bare"))
    for path in paths:
        ds = dcmread(path)
        del ds.FrameOfReferenceUID, ds.SliceThickness, ds.AccessionNumber, ds.StudyID
        ds.save_as(path)
    source = read_source(plan_of(paths, tmp_path), tmp_path)
    written = read_back(segmentation(source, lesion(), MARK), tmp_path)
    np.testing.assert_array_equal(mask_of(written, source), lesion())
    assert written.AccessionNumber == ""


def test_an_empty_mask_is_refused(tmp_path: Path) -> None:
    source = read_source(write(tilted_volume(), tmp_path), tmp_path)
    with pytest.raises(ValueError, match="empty mask"):
        segmentation(source, np.zeros(SHAPE, bool), MARK)
