from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import RLELossless

from models.findings import Findings
from models.volume import Volume
from node.dicom.write.canvas import BLACK, SIZE, WORDS
from node.dicom.write.capture import capture, labels
from node.dicom.write.picture import (
    AMBER,
    FOOTER_Y,
    LARGE,
    MONTAGE,
    draw,
    draw_not_analysed,
    shown_slices,
)
from node.dicom.write.source import Algorithm, Imprint, read_source
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
from tests.support.validators import dciodvfy_errors
from training.datasets.series import Identity, write_series

WHEN = datetime(2026, 11, 20, 22, 30, 15, 123456, tzinfo=UTC)
NOTHING = np.zeros(SHAPE, bool)


def picture(volume: Volume, result: Findings) -> np.ndarray:
    """(y, x, 3) uint8, the picture of a result on the whole volume."""
    shown = shown_slices(result)
    few = sorted(shown)
    loaded = replace(volume, hu=volume.hu[few], positions_mm=volume.positions_mm[few])
    drawn = draw(loaded, result, shown, [f"image {index + 1}" for index in shown], ["small print"])
    return np.asarray(drawn.convert("RGB"))


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


def test_a_negative_is_grey_and_shows_no_outline_and_no_warning_sign() -> None:
    pixels = picture(tilted_volume(), findings(lesion(), suspected=False))
    assert (pixels == pixels[..., :1]).all()
    assert pixels[10:30, WORDS[0] + 5 : WORDS[0] + 15].min() > 128  # the research-use notice


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
    header = slice(37, LARGE[1])
    ends = [np.flatnonzero(each[header].any(axis=(1, 2))).max() for each in (certain, uncertain)]
    assert ends[1] >= ends[0] + 18  # a line more


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
    assert long[FOOTER_Y + 60 :].any() and long[998:].max() == 0


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


REFUSED = ("A slice arrived damaged. Read this study as usual.", "no codec (UNDECODABLE)", ["note"])


@pytest.mark.parametrize(
    "drawn",
    [
        lambda: picture(tilted_volume(), replace(findings(lesion(), uncertain=True))),
        lambda: picture(tilted_volume(), findings(NOTHING, suspected=False)),
        lambda: np.asarray(draw_not_analysed(*REFUSED).convert("RGB")),
    ],
    ids=["suspected", "not suspected", "not analysed"],
)
def test_the_corners_are_left_to_the_viewer(drawn: Callable[[], np.ndarray]) -> None:
    pixels = drawn()
    left, right = slice(0, WORDS[0] - 60), slice(WORDS[1] + 60, None)
    for rows in (slice(0, LARGE[1]), slice(LARGE[3] + 1, None)):
        for columns in (left, right):
            assert (pixels[rows, columns] == BLACK).all()


def test_a_series_not_analysed_gets_words_alone_in_grey() -> None:
    drawn = draw_not_analysed(*REFUSED)
    assert (drawn.mode, drawn.size) == ("L", SIZE)
    other = draw_not_analysed("The software failed. Read this study as usual.", *REFUSED[1:])
    assert (np.asarray(drawn) != np.asarray(other)).any()
    limits = [f"Limitation {number}: " + "words " * 30 for number in range(40)]
    assert np.asarray(draw_not_analysed(*REFUSED[:2], limits)).shape == (SIZE[1], SIZE[0])


def test_every_slice_has_a_caption_also_without_a_number(tmp_path: Path) -> None:
    paths = write_series(tilted_volume(), tmp_path / "received", Identity.of("unnumbered"))
    for path in paths:
        ds = dcmread(path)
        del ds.InstanceNumber
        ds.save_as(path)
    source = read_source(plan_of(paths, tmp_path), tmp_path)
    assert labels(source, [3, 0]) == ["slice 4 of 9", "slice 1 of 9"]


def test_slices_are_called_what_a_viewer_calls_them(tmp_path: Path) -> None:
    single = read_source(write(tilted_volume(), tmp_path), tmp_path)
    frames = read_source(write_enhanced(tilted_volume(), tmp_path), tmp_path)
    assert labels(single, [3, 0]) == ["image 4", "image 1"]
    assert labels(frames, [3, 0]) == ["frame 2", "frame 1"]


CAPTURES = {
    "suspected": (findings(lesion()), "RGB", 3),
    "not suspected": (findings(NOTHING, suspected=False), "MONOCHROME2", 1),
    "not analysed": (None, "MONOCHROME2", 1),
}


@pytest.mark.peer
@pytest.mark.parametrize(("result", "meaning", "samples"), CAPTURES.values(), ids=CAPTURES)
def test_dciodvfy_finds_no_error_in_a_capture_and_its_pixels_are_the_picture(
    tmp_path: Path, result: Findings | None, meaning: str, samples: int
) -> None:
    source = read_source(write(tilted_volume(), tmp_path), tmp_path)
    if result is None:
        mark = Imprint("capture", NOT_ANALYSED_HEADLINE, WHEN, reason_code="UNDECODABLE")
        drawn, shown = draw_not_analysed(*REFUSED), ()
    else:
        shown = shown_slices(result)
        mark = Imprint("capture", "ICH SUSPECTED", WHEN, Algorithm.of(result))
        pixels = picture(tilted_volume(), result)
        drawn = Image.fromarray(pixels if samples == 3 else pixels[..., 0])
    file = BytesIO()
    capture(source, drawn, shown, mark).save_as(file, enforce_file_format=True)
    path = tmp_path / "capture.dcm"
    path.write_bytes(file.getvalue())
    written = dcmread(path)
    np.testing.assert_array_equal(written.pixel_array, np.asarray(drawn))
    assert written.file_meta.TransferSyntaxUID == RLELossless
    assert len(file.getvalue()) < 1_000_000
    assert (written.PhotometricInterpretation, written.SamplesPerPixel) == (meaning, samples)
    assert "NumberOfFrames" not in written and written.Modality == "DOC"  # no viewer plays it
    named = [item.ReferencedSOPInstanceUID for item in written.get("SourceImageSequence") or ()]
    assert named == [source.plan.slices[index].sop_instance_uid for index in shown]
    assert dciodvfy_errors(path) == []
