from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from models.findings import Findings
from models.volume import Volume
from node.dicom.write.capture import (
    AMBER,
    LARGE,
    MONTAGE,
    SIZE,
    capture,
    draw,
    labels,
    shown_slices,
)
from node.dicom.write.source import Algorithm, Imprint, read_source
from tests.support.reported import SHAPE, findings, lesion, tilted_volume, write, write_enhanced
from tests.support.validators import dciodvfy_errors

WHEN = datetime(2026, 11, 20, 22, 30, 15, 123456, tzinfo=UTC)
NOTHING = np.zeros(SHAPE, bool)


def picture(volume: Volume, result: Findings) -> np.ndarray:
    """(y, x, 3) uint8, the picture of a result on the whole volume."""
    shown = shown_slices(result)
    few = sorted(shown)
    loaded = replace(volume, hu=volume.hu[few], positions_mm=volume.positions_mm[few])
    drawn = draw(loaded, result, shown, [f"image {index + 1}" for index in shown], ["small print"])
    return np.asarray(drawn)


def part(pixels: np.ndarray, place: tuple[int, int, int, int]) -> np.ndarray:
    """The part of the picture that lies in a place."""
    left, top, right, bottom = place
    return pixels[top:bottom, left:right]


def large(pixels: np.ndarray) -> np.ndarray:
    """The part of the picture that shows the slice to look at first."""
    return part(pixels, LARGE)


def amber(pixels: np.ndarray) -> np.ndarray:
    """(y, x) bool, where the outline's colour is."""
    return (pixels == AMBER).all(axis=-1)


def centre(found: np.ndarray) -> np.ndarray:
    """(row, column) in the middle of the True pixels, as a fraction of the picture."""
    where = np.argwhere(found)
    return (where.min(axis=0) + where.max(axis=0) + 1) / 2 / found.shape


def test_lesion_is_outlined_where_it_lies_and_its_pixels_are_left_alone() -> None:
    pixels = large(picture(tilted_volume(), findings(lesion())))
    row, column = centre(amber(pixels))
    assert row < 0.45  # anterior is up
    assert column > 0.6  # the patient's left is on the right
    inside = amber(pixels)
    rows, columns = np.nonzero(inside)
    middle = pixels[(rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2]
    assert middle.tolist() == [217, 217, 217]  # 68 HU in the window 40/80


def test_pixels_that_are_not_square_are_shown_in_proportion() -> None:
    pixels = large(picture(tilted_volume(), findings(lesion())))
    rows, columns = np.nonzero(amber(pixels))
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert wide / high == pytest.approx((6 * 2.9) / (9 * 1.7), rel=0.05)


def test_sides_are_written_where_the_orientation_puts_them() -> None:
    volume = tilted_volume()
    air = replace(volume, hu=np.full_like(volume.hu, -1000))
    mirrored = replace(
        air,
        orientation=air.orientation * [-1, 1, 1, 1, 1, 1],
        positions_mm=air.positions_mm[::-1],
    )
    usual, other = (
        large(picture(seen, findings(NOTHING, suspected=False))) for seen in (air, mirrored)
    )
    right, left = glyph(usual[300:460, :100]), glyph(usual[300:460, -100:])
    assert right.shape != left.shape or (right != left).any()
    np.testing.assert_array_equal(glyph(other[300:460, :100]), left)
    np.testing.assert_array_equal(glyph(other[300:460, -100:]), right)
    np.testing.assert_array_equal(other[:30], usual[:30])  # anterior stays up


def glyph(pixels: np.ndarray) -> np.ndarray:
    """The smallest part that holds everything that is not black."""
    rows, columns = np.nonzero(pixels.any(axis=-1))
    return pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def test_a_negative_shows_no_outline_and_no_warning_sign() -> None:
    pixels = picture(tilted_volume(), findings(lesion(), suspected=False))
    assert not amber(pixels[45:]).any()
    assert amber(pixels[:40]).any()  # the research-use notice


def test_probability_map_of_the_key_slice_lies_over_it_where_it_is_probable() -> None:
    volume, result = tilted_volume(), findings(lesion(), suspected=False, uncertain=True)
    place = (MONTAGE[0], MONTAGE[1], MONTAGE[0] + 160, MONTAGE[1] + 180)  # the first small one
    warm, cold = (
        part(picture(volume, replace(result, heat=heat)), place).astype(int)
        for heat in (result.heat, np.zeros_like(result.heat))
    )
    changed = (warm != cold).any(axis=-1)
    row, column = centre(changed)
    assert row < 0.45 and column > 0.6  # where the lesion lies
    assert changed.mean() < 0.2
    assert (warm - cold)[changed][:, 2].max() <= 0  # grey turns amber: blue goes


def test_an_uncertain_result_says_so_in_words() -> None:
    certain, uncertain = (
        picture(tilted_volume(), findings(NOTHING, suspected=False, uncertain=uncertain))
        for uncertain in (False, True)
    )
    line = slice(92, 116)
    assert not certain[line].any() and uncertain[line].any()


def test_a_series_without_any_bright_pixel_is_drawn() -> None:
    volume = tilted_volume()
    air = replace(volume, hu=np.full_like(volume.hu, -1000))
    assert picture(air, findings(lesion())).shape == (SIZE[1], SIZE[0], 3)


def test_more_limitations_than_fit_end_in_a_pointer_to_the_report() -> None:
    volume, result = tilted_volume(), findings(NOTHING, suspected=False)
    shown = shown_slices(result)
    many = [f"Limitation {number}: " + "words " * 30 for number in range(9)]
    short, long = (
        np.asarray(draw(volume, result, shown, [""] * len(shown), notes))
        for notes in (many[:1], many)
    )
    assert short[985:].max() == 0
    assert long[925:].any() and long[998:].max() == 0


def test_montage_takes_the_lesion_first_then_its_neighbours() -> None:
    mask = np.zeros((60, 8, 8), bool)
    mask[20:31] = True
    mask[25, 1] = False
    result = replace(
        findings(lesion()), mask=mask, key_slice=25, slices=(findings(lesion()).slices[0],) * 60
    )
    first, *others = shown_slices(result)
    assert first == 25
    assert others == [19, *range(20, 25), *range(26, 31)]  # the probability map has a place


def test_montage_of_a_negative_covers_the_whole_head() -> None:
    result = replace(
        findings(NOTHING, suspected=False), slices=(findings(lesion()).slices[0],) * 40
    )
    first, *others = shown_slices(result)
    assert first == 20  # the middle of the equally probable
    assert others[0] == 0 and others[-1] == 39 and len(others) == 12
    assert max(np.diff(others)) <= 5


def test_slices_are_called_what_a_viewer_calls_them(tmp_path: Path) -> None:
    single = read_source(write(tilted_volume(), tmp_path), tmp_path)
    frames = read_source(write_enhanced(tilted_volume(), tmp_path), tmp_path)
    assert labels(single, [3, 0]) == ["image 4", "image 1"]
    assert labels(frames, [3, 0]) == ["frame 2", "frame 1"]


@pytest.mark.peer
def test_dciodvfy_finds_no_error_in_a_capture_and_its_pixels_are_the_picture(
    tmp_path: Path,
) -> None:
    source = read_source(write(tilted_volume(), tmp_path), tmp_path)
    result = findings(lesion())
    pixels = picture(tilted_volume(), result)
    mark = Imprint("capture", "ICH SUSPECTED", WHEN, Algorithm.of(result))
    ds = capture(source, Image.fromarray(pixels), shown_slices(result), mark)
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    path = tmp_path / "capture.dcm"
    path.write_bytes(file.getvalue())
    written = dcmread(path)
    np.testing.assert_array_equal(written.pixel_array, pixels)
    assert written.BurnedInAnnotation == "NO"
    assert written.SeriesDescription == "ICH SUSPECTED, research only"
    first = written.SourceImageSequence[0].ReferencedSOPInstanceUID
    assert first == source.plan.slices[3].sop_instance_uid
    assert dciodvfy_errors(path) == []
