"""The quality gate: how well a head can be analysed, measured on its pixels. Pure.

    headers (node.cases.eligibility) -> Hounsfield units (node.dicom.read.pixels)
        -> a brain in a skull (models.preprocess)
        -> how it lies, noise, metal, motion, defects (here) -> the networks

All is measured on the networks' input. No defect stops a reading: a bleed is told all the same.
Some defects forbid to clear what shows none. The limits lie above what 75 real patients and a
tilted head measure; docs/decisions.md lists these figures, and those of made defects.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.preprocess import Canvas
from models.slabs import Slabs
from node.cases.vault import Floats, defect_cm2, moved_mm, unroll
from node.states import Reason
from node.wording import counted

CLOSED, OPEN_CM2 = 0.16, 5.0  # see `_not_axial`
NOISY_HU = 8.0  # heads measure up to 3.7; the training adds up to 7 HU to the 3 HU of a head
TISSUE_HU = -200.0  # denser than fat
TOO_NOISY_HU = 20.0  # 20 HU of added noise measure so much
METAL_HU = 2500.0  # petrous bone and teeth stay below on slices of 5 mm
LONE_METAL_HU = 1100.0  # amid the brain, where calcifications stay below 900
METAL_MM2 = 4.0
MUCH_METAL_MM2 = 40.0  # more than leads and clips
MOVED_MM = 3.5  # heads measure up to 2.8
MOVED_FAR_MM = 12.0  # jumps of 20 mm measure 16 and more
DEFECT_CM2 = 25.0  # heads measure up to 16; burr holes, sutures and fractures are smaller
VESSEL_HU = (90.0, 350.0)  # a clot stays below
VESSELS_ML = 3.0  # heads measure up to 1.6
TOP_SHARE = 0.5  # heads measure up to 0.38
BOTTOM_SHARE = 0.3  # heads measure up to 0.13

BRAIN_MM2 = 2000.0
"""A slab with less brain than this counts as one without brain; its metal is ignored.

An estimate; nothing was measured.
"""


@dataclass(frozen=True, slots=True)
class Limitation:
    """What a radiologist must know of a defect of the images.

    Attributes
    ----------
    sentence
        The defect in words.
    forbids_clearing
        Why a study that shows nothing suspicious counts as not analysed; None if it does not.
    end
        "top" or "bottom" where the head goes on beyond the scan; another series may show it.
    """

    sentence: str
    forbids_clearing: Reason | None = None
    end: str = ""


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured on one series.

    Attributes
    ----------
    widest_end
        See `widest_end`.
    noise_hu
        See `noise_hu`.
    metal_slices, much_metal_slices, brain_slices
        Number of source slices with brain that show `METAL_MM2` or more of metal, that show
        `MUCH_METAL_MM2` or more, and of all.
    moved_mm
        See `node.cases.vault.moved_mm`.
    defect_cm2
        See `node.cases.vault.defect_cm2`.
    vessels_ml
        See `vessels_ml`.
    brain_ml
        Volume inside the skull that was scanned, in millilitres.
    top, bottom
        Brain on the highest and on the lowest slab, as shares of the slab that shows most.
    """

    widest_end: float
    noise_hu: float
    metal_slices: int
    much_metal_slices: int
    brain_slices: int
    moved_mm: float
    defect_cm2: float
    vessels_ml: float
    brain_ml: float
    top: float
    bottom: float


def gate(quality: Quality, *, names_contrast: bool = False) -> tuple[Limitation, ...]:
    """Return the limitations that a radiologist must know.

    Parameters
    ----------
    names_contrast
        Whether a header names a contrast agent.
    """
    found = (
        _not_axial(quality),
        _noise(quality),
        _metal(quality),
        _motion(quality),
        _defect(quality),
        _cut_off(quality.top, "top", TOP_SHARE, quality.brain_ml),
        _cut_off(quality.bottom, "bottom", BOTTOM_SHARE, quality.brain_ml),
        _contrast(quality, names_contrast=names_contrast),
    )
    return tuple(limitation for limitation in found if limitation)


def _not_axial(q: Quality) -> Limitation | None:
    """Coronal and sagittal slices go from air to air, and cut a skull that is open below.

    Axial slices, of whatever head, end in its base or its neck.
    """
    if q.widest_end >= CLOSED or q.defect_cm2 < OPEN_CM2:
        return None
    return Limitation(
        "not axial, whatever the header says: the head is narrow on both end slices, and the skull "
        "is open between them",
        Reason.NOT_AXIAL,
    )


def _noise(q: Quality) -> Limitation | None:
    if q.noise_hu >= TOO_NOISY_HU:
        return Limitation(
            f"too noisy: {q.noise_hu:.0f} HU inside the brain, less than {TOO_NOISY_HU:.0f} "
            "needed; send thicker slices or a smoother kernel",
            Reason.NOISE,
        )
    if q.noise_hu >= NOISY_HU:
        return Limitation(f"noisy: {q.noise_hu:.0f} HU inside the brain")
    return None


def _metal(q: Quality) -> Limitation | None:
    if 2 * q.much_metal_slices > q.brain_slices:
        return Limitation(
            f"metal on {q.much_metal_slices} of {q.brain_slices} slices of the brain",
            Reason.ARTEFACT,
        )
    if q.metal_slices:
        slices = counted(q.metal_slices, "slice")
        return Limitation(f"metal on {slices}: streaks may hide or imitate blood")
    return None


def _motion(q: Quality) -> Limitation | None:
    if q.moved_mm < MOVED_MM:
        return None
    return Limitation(
        f"the head moved by {q.moved_mm:.0f} mm between neighbouring slices",
        Reason.ARTEFACT if q.moved_mm >= MOVED_FAR_MM else None,
    )


def _defect(q: Quality) -> Limitation | None:
    if q.defect_cm2 < DEFECT_CM2:
        return None
    return Limitation(
        f"part of the skull is missing: {q.defect_cm2:.0f} cm2; blood along it may be missed or "
        "imitated"
    )


def _cut_off(share: float, end: str, limit: float, brain_ml: float) -> Limitation | None:
    if share < limit:
        return None
    sentence = f"the {end} of the head is cut off: {brain_ml:.0f} mL of brain were scanned"
    return Limitation(sentence, Reason.COVERAGE, end)


def _contrast(q: Quality, *, names_contrast: bool) -> Limitation | None:
    """Say what header and pixels tell of contrast agent. Beside metal no vessel is measured."""
    bright = q.vessels_ml >= VESSELS_ML
    if q.metal_slices or not (bright or names_contrast):
        return None
    if not bright:
        return Limitation(
            "the header names a contrast agent, but no vessel is as bright as with one"
        )
    but = "" if names_contrast else ", though the header names none"
    return Limitation(f"vessels are as bright as with contrast agent{but}: they look like blood")


def measure(slabs: Slabs, canvas: Canvas) -> Quality:
    """Return what `gate` judges.

    Parameters
    ----------
    slabs, canvas
        As `models.detector.Detector.preprocess` returns them.
    """
    # (s,) each: length and brain of the slabs, which of them have a brain, metal on these.
    extent_mm = _extent_mm(slabs.locations_mm)
    area_mm2 = brain_mm2(canvas)
    has_brain = area_mm2 >= BRAIN_MM2
    metal = np.where(has_brain, metal_mm2(canvas), 0)
    vault = unroll(canvas, slabs.locations_mm, extent_mm)
    top, *_, bottom = area_mm2[::-1] / area_mm2.max()
    return Quality(
        widest_end=widest_end(canvas),
        noise_hu=noise_hu(canvas),
        metal_slices=int((metal >= METAL_MM2)[slabs.of_slice].sum()),
        much_metal_slices=int((metal >= MUCH_METAL_MM2)[slabs.of_slice].sum()),
        brain_slices=int(has_brain[slabs.of_slice].sum()),
        moved_mm=moved_mm(vault),
        defect_cm2=defect_cm2(vault),
        vessels_ml=vessels_ml(canvas, extent_mm),
        brain_ml=float(area_mm2 @ extent_mm) / 1000,
        top=float(top),
        bottom=float(bottom),
    )


def _extent_mm(locations_mm: Floats) -> Floats:
    """(s,) locations -> (s,) length that each slab stands for."""
    return np.abs(np.gradient(locations_mm)) if len(locations_mm) > 1 else np.ones(1)


def brain_mm2(canvas: Canvas) -> Floats:
    """Return the (s,) area inside the skull on each slab."""
    return np.asarray((canvas.brain > 0.5).sum((1, 2)) * canvas.frame.step_mm**2, np.float64)


def widest_end(canvas: Canvas) -> float:
    """Return the tissue on the lowest or the highest slab, as a share of the slab with most.

    The end that shows more of it counts.
    """
    tissue = (canvas.hu > TISSUE_HU).sum((1, 2))
    return float(max(tissue[0], tissue[-1]) / max(tissue.max(), 1))


def noise_hu(canvas: Canvas) -> float:
    """Return the standard deviation of HU around the mean of 5 x 5 voxels, well inside the brain.

    It is a robust one, from the median of absolute deviations. Without any noise a head would
    measure about 2 HU, from grey and white matter and sulci.
    """
    # (s, y, x) HU without their local mean, and of it (n,) the voxels well inside the brain.
    fine = canvas.hu - ndimage.uniform_filter(canvas.hu, (0, 5, 5))
    fine = fine[_core(canvas.brain > 0.5, 5)]
    # 1.4826 makes the median deviation of a normal distribution its standard deviation.
    return float(1.4826 * np.median(np.abs(fine - np.median(fine)))) if fine.size else 0.0


def metal_mm2(canvas: Canvas) -> Floats:
    """Return the (s,) area of metal on each slab.

    Metal is denser than any bone, or lies amid the brain and is as dense as bone. Metal outside the
    skull counts too, since its streaks reach far.
    """
    # The skull is the largest connected piece of dense voxels; (s, y, x) numbers of the pieces.
    pieces, _ = ndimage.label(canvas.hu > 300, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())
    skull = sizes[1:].argmax() + 1 if len(sizes) > 1 else 0
    # (s, y, x) bool: within the brain and not part of the skull; metal.
    amid = _core(canvas.brain > 0.5, 3) & (pieces != skull)
    metal = (canvas.hu > METAL_HU) | (amid & (canvas.hu > LONE_METAL_HU))
    return np.asarray(metal.sum((1, 2)) * canvas.frame.step_mm**2, np.float64)


def _core(region: NDArray[np.bool_], voxels: int) -> NDArray[np.bool_]:
    """(s, y, x) bool -> the same without a margin of so many voxels within each slab."""
    core: NDArray[np.bool_] = ndimage.binary_erosion(region, np.ones((1, 3, 3)), iterations=voxels)
    return core


def vessels_ml(canvas: Canvas, extent_mm: Floats) -> float:
    """Return the volume of what looks like enhanced vessels, in the upper half of the brain.

    It is what is narrow and as bright as they are. In the lower half bone is everywhere. What is
    9 mm wide or more is a clot, a calcification or a tumour.

    Parameters
    ----------
    extent_mm
        (s,) float64, the length that each slab stands for.
    """
    # From the widest slab up to half of its brain, by the (s,) share of it on each slab.
    brain = canvas.brain > 0.5
    share = brain.sum((1, 2)) / brain.sum((1, 2)).max()
    upper = slice(np.flatnonzero(share > 0.95)[0], np.flatnonzero(share > 0.5)[-1] + 1)
    # (u, y, x) bool: brain that is 4 voxels or more away from its edge and from bone.
    square, reach = np.ones((1, 3, 3)), 4
    bone = ndimage.binary_dilation(canvas.hu[upper] > VESSEL_HU[1], square, iterations=reach)
    core = _core(brain[upper], reach) & ~bone
    # (u, y, x) bool: as bright as vessels after smoothing; the wide parts of that.
    even = ndimage.uniform_filter(canvas.hu[upper], (0, 3, 3))
    bright = core & (even > VESSEL_HU[0]) & (even < VESSEL_HU[1])
    wide = ndimage.binary_opening(bright, square, iterations=reach)
    # (u,) area of the narrow parts on each slab.
    area_mm2 = (bright & ~wide).sum((1, 2)) * canvas.frame.step_mm**2
    return float(area_mm2 @ extent_mm[upper]) / 1000
