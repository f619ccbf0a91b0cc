"""The quality gate: it names each defect, is silent on a sound head and does not clear a bad one.

All heads are phantoms, except those that are called real.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from models.detector import Detector
from models.findings import Findings
from models.preprocess import Canvas, Frame
from models.slabs import Slabs, make_slabs
from models.volume import Volume
from node.case_folder import CaseFolder
from node.cases import quality
from node.cases.quality import Quality, gate, measure
from node.cases.triage import triage
from node.outcomes import Outcome, Triaged
from node.records import SeriesPlan, SliceRef
from node.states import Priority, Reason, State
from tests.support import near_east
from tests.support.builder import HEAD, alone, series
from tests.support.reported import findings, real_tilted_head
from training.datasets import physionet
from training.phantoms import Phantom, Scanner, phantom

pytestmark = pytest.mark.slow

SCANNER = Scanner(rows=256, columns=256, spacing_mm=(0.9, 0.9))
TRAINING_PATIENTS = (51, 56, 84, 115)
"""Real heads: without a defect, with calcifications, with extracranial swelling, turned."""


def prepared(volume: Volume, brain: np.ndarray) -> tuple[Slabs, Canvas]:
    """What a detector prepares whose skull stripper is told the truth."""
    slabs = make_slabs(volume, 5.0)
    inside = replace(slabs, hu=make_slabs(replace(volume, hu=brain.astype(np.float32)), 5.0).hu)
    middle = [
        float(np.flatnonzero((inside.hu > 0.5).any(others))[[0, -1]].mean()) * mm
        for others, mm in zip(((0, 2), (0, 1)), inside.spacing_mm, strict=True)
    ]
    frame = Frame((middle[0], middle[1]), 208, 176, 1.0)
    return slabs, Canvas(frame.sample(slabs), np.clip(frame.sample(inside), 0, 1), frame)


def measured(head: Phantom) -> Quality:
    return measure(*prepared(head.volume, head.brain))


def sentences(found: Quality, *, names_contrast: bool = False) -> tuple[str, ...]:
    return tuple(each.sentence for each in gate(found, names_contrast=names_contrast))


def said(head: Phantom) -> tuple[str, ...]:
    return sentences(measured(head))


@pytest.fixture(scope="module")
def clean() -> Phantom:
    return phantom(3, confounders=("pineal", "choroid"), scanner=SCANNER)


def changed(head: Phantom, hu: np.ndarray) -> Phantom:
    """The head with other values, its stripped brain as it was."""
    return replace(head, volume=replace(head.volume, hu=hu.astype(np.float32)))


def places(head: Phantom) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mm to the top, the back and the left of the middle of the brain, each (z, y, x)."""
    middle = np.argwhere(head.brain).mean(0)
    steps = (SCANNER.slice_spacing_mm, *SCANNER.spacing_mm)
    z, y, x = (
        (np.arange(count) - at) * step
        for count, at, step in zip(head.brain.shape, middle, steps, strict=True)
    )
    return z[:, None, None], y[:, None], x


# --- what must stay silent -----------------------------------------------------------------------


def test_a_sound_head_has_no_limitation(clean: Phantom) -> None:
    found = measured(clean)
    assert sentences(found) == ()
    assert found.brain_ml == pytest.approx(
        float(clean.volume.voxel_ml @ clean.brain.sum((1, 2))), rel=0.03
    )


@pytest.mark.parametrize("subtype", ["intraparenchymal", "epidural"])
def test_a_large_bleed_is_neither_contrast_nor_any_other_defect(subtype: str) -> None:
    head = phantom(5, subtypes=(subtype,), volume_ml={subtype: 60.0}, scanner=SCANNER)
    assert head.volumes_ml[subtype] > 40
    assert said(head) == ()


def test_a_tilted_gantry_is_no_motion() -> None:
    tilted = replace(SCANNER, tilt_deg=22.0)
    assert said(phantom(7, confounders=(), scanner=tilted)) == ()


def test_a_burr_hole_is_no_missing_skull(clean: Phantom) -> None:
    z, y, x = places(clean)
    hole = (np.hypot(z - 30, y) < 8) & (x > 20) & (clean.volume.hu > 80)
    assert said(changed(clean, np.where(hole, 20, clean.volume.hu))) == ()


# --- what must be said ---------------------------------------------------------------------------


def test_noise_is_said_as_it_was_measured() -> None:
    noisy = phantom(3, confounders=(), scanner=replace(SCANNER, noise_hu=18.0))
    found = measured(noisy)
    assert quality.NOISY_HU < found.noise_hu < quality.TOO_NOISY_HU
    assert sentences(found) == (f"noisy: {found.noise_hu:.0f} HU inside the brain",)


def test_an_aneurysm_clip_is_metal_on_a_few_slices() -> None:
    clipped = phantom(8, confounders=("metal",), scanner=SCANNER)
    found = measured(clipped)
    assert 1 <= found.metal_slices <= 3
    (sentence,) = sentences(found)
    assert sentence.startswith(f"metal on {found.metal_slices} slice")


def test_metal_counts_the_slices_of_the_series_and_not_the_slabs(clean: Phantom) -> None:
    thin = replace(
        clean.volume,
        hu=np.repeat(clean.volume.hu, 4, axis=0),
        positions_mm=np.linspace(0, 1, 4 * 32)[:, None] * np.array([0, 0, 158.75]),
    )
    brain = np.repeat(clean.brain, 4, axis=0)
    thin.hu[64:72, 120:126, 120:126] = 3071
    found = measure(*prepared(thin, brain))
    assert found.metal_slices == 8
    assert found.brain_slices > 80


@pytest.mark.parametrize(("shift", "moved_mm"), [((0, 8), 7.2), ((-6, 6), 7.6)])
def test_a_head_that_jumps_between_slices_has_moved(
    clean: Phantom, shift: tuple[int, int], moved_mm: float
) -> None:
    hu = clean.volume.hu.copy()
    hu[20:26] = np.roll(hu[20:26], shift, axis=(1, 2))
    found = measured(changed(clean, hu))
    assert found.moved_mm == pytest.approx(moved_mm, abs=1.2)
    assert sentences(found) == (
        f"the head moved by {found.moved_mm:.0f} mm between neighbouring slices",
    )


def test_slices_that_show_the_head_twice_have_moved() -> None:
    jerked = phantom(3, confounders=(), scanner=replace(SCANNER, motion_mm=12.0))
    assert any(sentence.startswith("the head moved by") for sentence in said(jerked))


def test_a_craniectomy_is_a_missing_part_of_the_skull_of_its_size(clean: Phantom) -> None:
    z, y, x = places(clean)
    opened = (np.hypot(z - 25, y + 15) < 40) & (x > 20) & (clean.volume.hu > 80)
    found = measured(changed(clean, np.where(opened, 30, clean.volume.hu)))
    assert found.defect_cm2 == pytest.approx(np.pi * 4**2, rel=0.35)
    assert sentences(found) == (
        f"part of the skull is missing: {found.defect_cm2:.0f} cm2; blood along it may be missed "
        "or imitated",
    )


def test_a_missing_part_that_crosses_the_seam_of_the_ring_is_one(clean: Phantom) -> None:
    z, y, x = places(clean)
    opened = (np.hypot(z - 25, x) < 40) & (y < -20) & (clean.volume.hu > 80)
    found = measured(changed(clean, np.where(opened, 30, clean.volume.hu)))
    assert found.defect_cm2 == pytest.approx(np.pi * 4**2, rel=0.35)


def test_enhanced_vessels_are_said(clean: Phantom) -> None:
    z, y, x = places(clean)
    upper = z > -10
    tubes = [(-22, -38, 2), (22, -38, 2), (-8, 20, 2), (8, 20, 2), (0, -45, 2.5)]
    vessels = np.zeros(clean.brain.shape, bool)
    for left, back, radius in tubes:
        vessels |= (np.hypot(x - left, y - back) < radius) & upper & clean.brain
    vessels |= (np.hypot(x, y - 10) < 50) & (np.hypot(x, y - 10) > 48) & clean.brain & (z > 5)
    enhanced = changed(clean, np.where(vessels, 160, clean.volume.hu))
    found = measured(enhanced)
    assert sentences(found) == (
        "vessels are as bright as with contrast agent, though the header names none: they look "
        "like blood",
    )
    assert sentences(found, names_contrast=True) == (
        "vessels are as bright as with contrast agent: they look like blood",
    )


def test_a_header_that_names_an_agent_which_no_vessel_shows_is_contradicted(clean: Phantom) -> None:
    assert sentences(measured(clean), names_contrast=True) == (
        "the header names a contrast agent, but no vessel is as bright as with one",
    )


def test_a_calcified_tumour_is_no_vessel(clean: Phantom) -> None:
    z, y, x = places(clean)
    lump = np.sqrt((z - 20) ** 2 + (y + 10) ** 2 + (x - 25) ** 2) < 15
    assert said(changed(clean, np.where(lump, 160, clean.volume.hu))) == ()


@pytest.mark.parametrize(
    ("kept", "end"), [(slice(0, 25), "top"), (slice(12, None), "bottom")], ids=["top", "bottom"]
)
def test_a_head_that_is_cut_off_is_said_so(clean: Phantom, kept: slice, end: str) -> None:
    volume = clean.volume
    part = replace(volume, hu=volume.hu[kept], positions_mm=volume.positions_mm[kept])
    found = measure(*prepared(part, clean.brain[kept]))
    assert sentences(found) == (
        f"the {end} of the head is cut off: {found.brain_ml:.0f} mL of brain were scanned",
    )


# --- what must not be cleared, all the way through triage ----------------------------------------


@dataclass(frozen=True)
class Told:
    """A detector whose skull stripper is told the truth and whose networks say what they must."""

    brain: np.ndarray
    suspected: bool

    def preprocess(self, volume: Volume) -> tuple[Slabs, Canvas]:
        return prepared(volume, self.brain)

    def infer(self, canvas: Canvas) -> None:
        pass

    def state_findings(self, volume: Volume, *_: object) -> Findings:
        return findings(volume.hu > 2000, suspected=self.suspected)


def triaged(head: Phantom, folder: Path, *, suspected: bool = True) -> Outcome:
    ref = SliceRef("", "", "", "1.2.3", 1, None)
    refs = (ref,) * len(head.volume.hu)
    plan = SeriesPlan("1.2", "1.2.1", refs, "", limitations=("gantry tilt 4.0 degrees",))
    return triage(
        plan,
        Told(head.brain, suspected),  # type: ignore[arg-type]
        folder=CaseFolder(folder, ""),
        decode=lambda _plan, _root: head.volume,
    )


def test_limitations_of_headers_and_pixels_reach_the_worklist_and_the_findings(
    clean: Phantom, tmp_path: Path
) -> None:
    hu = clean.volume.hu.copy()
    hu[16, 120:126, 120:126] = 3071
    outcome = triaged(changed(clean, hu), tmp_path)
    metal = "metal on 1 slice: streaks may hide or imitate blood"
    assert outcome.state is State.TRIAGED
    assert outcome.limitations == ("gantry tilt 4.0 degrees", metal)
    assert CaseFolder(tmp_path, "").require_findings().limitations == (metal,)


Spoil = Callable[[np.ndarray], np.ndarray]


def noise(hu: np.ndarray) -> np.ndarray:
    return hu + np.random.default_rng(1).normal(0, 60, hu.shape)


def frame_of_metal(hu: np.ndarray) -> np.ndarray:
    hu[:, 100:114, 60:66] = 3071
    return hu


def far_jump(hu: np.ndarray) -> np.ndarray:
    hu[20:] = np.roll(hu[20:], 20, axis=2)
    return hu


SPOILT = pytest.mark.parametrize(
    ("spoil", "reason", "message"),
    [
        (noise, Reason.NOISE, r"too noisy: \d\d HU inside the brain"),
        (frame_of_metal, Reason.ARTEFACT, r"metal on \d\d of \d\d slices of the brain"),
        (far_jump, Reason.ARTEFACT, r"the head moved by 1\d mm between neighbouring slices"),
    ],
)


@SPOILT
def test_what_can_hardly_be_read_is_not_cleared_and_says_why(
    clean: Phantom, tmp_path: Path, spoil: Spoil, reason: Reason, message: str
) -> None:
    spoilt = changed(clean, spoil(clean.volume.hu.copy()))
    outcome = triaged(spoilt, tmp_path, suspected=False)
    assert isinstance(outcome, Triaged)
    assert (outcome.priority, outcome.reason_code) == (Priority.NOT_ANALYSED, reason)
    assert outcome.reason is not None
    assert re.match(f"read in part: nothing suspicious in what was seen; {message}", outcome.reason)


@SPOILT
def test_what_can_hardly_be_read_is_flagged_all_the_same(
    clean: Phantom, tmp_path: Path, spoil: Spoil, reason: Reason, message: str
) -> None:
    outcome = triaged(changed(clean, spoil(clean.volume.hu.copy())), tmp_path)
    assert reason in {Reason.NOISE, Reason.ARTEFACT}
    assert isinstance(outcome, Triaged)
    assert outcome.priority is Priority.SUSPECTED
    assert any(re.match(message, sentence) for sentence in outcome.limitations)


# --- age, by the headers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "words"), [("005M", "5 months"), ("001M", "1 month"), ("001Y", "12 months")]
)
def test_an_infant_is_not_analysed(age: str, words: str) -> None:
    outcome, plan = alone(series(HEAD.having(PatientAge=age)))
    assert (outcome.state, outcome.reason_code) == (State.NOT_ANALYSED, Reason.AGE)
    assert outcome.reason == (
        f"the patient is {words} old: the networks were not trained on children under 2 years"
    )
    assert plan is not None


@pytest.mark.parametrize(
    ("age", "limited"),
    [
        ("002Y", ("the patient is 2 years old: the networks were trained mostly on adults",)),
        ("017Y", ("the patient is 17 years old: the networks were trained mostly on adults",)),
        ("018Y", ()),
        (None, ()),
    ],
)
def test_a_child_is_read_with_a_limitation_and_an_unknown_age_says_nothing(
    age: str | None, limited: tuple[str, ...]
) -> None:
    outcome, _ = alone(series(HEAD.having(PatientAge=age, PatientBirthDate=None)))
    assert outcome.state is State.ASSEMBLED
    assert outcome.limitations == limited


# --- real heads ----------------------------------------------------------------------------------


@pytest.mark.data
def test_real_heads_are_read_without_a_limitation(
    data: Path, detector: Detector, tmp_path: Path
) -> None:
    from node.dicom.read.pixels import load_volume

    volumes = [
        physionet.load(data / "physionet_ct_ich", number).volume for number in TRAINING_PATIENTS
    ]
    volumes.append(load_volume(real_tilted_head(data, tmp_path), tmp_path))
    assert [gate(measure(*detector.preprocess(volume))) for volume in volumes] == [()] * 5


@pytest.mark.data
@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 0, 1)], ids=["coronal", "sagittal"])
@pytest.mark.parametrize("number", [51, 84])
def test_a_real_head_cut_otherwise_is_not_axial_whatever_its_header_says(
    data: Path, detector: Detector, number: int, axes: tuple[int, int, int]
) -> None:
    head = physionet.load(data / "physionet_ct_ich", number).volume
    up_mm = float(np.median(np.diff(head.positions_mm @ head.normal)))
    even = ndimage.zoom(head.hu, (up_mm, *head.spacing_mm), order=1)
    cut = even[::-1].transpose(axes)[::5]
    mislabelled = Volume(
        hu=np.ascontiguousarray(cut),
        positions_mm=np.arange(len(cut))[:, None] * [0.0, 0.0, 5.0],
        orientation=np.array([1.0, 0, 0, 0, 1, 0]),
        spacing_mm=(1.0, 1.0),
        thickness_mm=5.0,
    )
    first, *_ = gate(measure(*detector.preprocess(mislabelled)))
    assert first.forbids_clearing is Reason.NOT_AXIAL
    assert first.sentence.startswith("not axial, whatever the header says")


@pytest.mark.data
@pytest.mark.parametrize("mm", [5, 8, 20])
def test_a_real_head_that_jumps_has_moved(data: Path, detector: Detector, mm: int) -> None:
    head = physionet.load(data / "physionet_ct_ich", 70).volume
    hu = head.hu.copy()
    half = len(hu) * 2 // 3
    hu[half:] = np.roll(hu[half:], round(mm / head.spacing_mm[1]), axis=2)
    found = measure(*detector.preprocess(replace(head, hu=hu)))
    assert found.moved_mm == pytest.approx(mm, abs=2.5)


SOME = ("H8", "H13", "N3", "N16", "N17", "N20")
"""Tall heads, with neck and jaw, from the vertex down, and in another window among them."""


def is_sound(volume: Volume, detector: Detector) -> bool:
    return not any(each.forbids_clearing for each in gate(measure(*detector.preprocess(volume))))


@pytest.mark.data
@pytest.mark.parametrize("name", SOME)
def test_a_thin_series_with_neck_and_jaw_is_sound_even_upside_down(
    data: Path, detector: Detector, name: str
) -> None:
    volume = near_east.load(data / "near_east", name)
    assert is_sound(volume, detector)
    assert is_sound(replace(volume, hu=np.ascontiguousarray(volume.hu[::-1])), detector)


@pytest.mark.data
@pytest.mark.soak
@pytest.mark.timeout(900)
def test_all_other_series_of_the_near_east_are_sound(data: Path, detector: Detector) -> None:
    root = data / "near_east"
    others = [name for name in near_east.names(root) if name not in SOME]
    assert len(others) == 19
    assert [n for n in others if not is_sound(near_east.load(root, n), detector)] == []
