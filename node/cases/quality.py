"""The quality gate: what the pixels say of how well a head can be read. Pure.

    headers (node.cases.eligibility) -> Hounsfield units (node.dicom.read.pixels)
        -> a brain in a skull (models.preprocess)
        -> how it lies, noise, metal, motion, defects (here) -> reader

Everything is measured on what the networks are about to read. The limits below are chosen; what
real heads and phantoms measure stands in docs/decisions.md.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.preprocess import Array, Canvas
from models.slabs import Slabs
from node.errors import NotAnalysed
from node.states import Reason

TALL, OPEN_CM2 = 0.95, 5.0  # see `gate`
NOISY_HU = 8.0  # the training adds up to 7 HU to the 3 HU that a head has
TOO_NOISY_HU = 20.0
METAL_HU = 2500.0  # petrous bone and teeth stay below on slices of 5 mm
LONE_METAL_HU = 1100.0  # amid the brain, where calcifications stay below 900
METAL_MM2 = 4.0
MUCH_METAL_MM2 = 40.0  # more than leads and clips
MOVED_MM = 3.5
MOVED_FAR_MM = 12.0
BONE_HU = 200.0
THIN_BONE_HU = 120.0  # growing bone too; a clot stays below
DEFECT_CM2 = 25.0  # burr holes, sutures and fractures are smaller
VESSEL_HU = (90.0, 350.0)
VESSELS_ML = 3.0
TOP_SHARE = 0.5
BOTTOM_SHARE = 0.3

BRAIN_MM2 = 2000.0
"""A slab with less brain than this is not judged."""

_ANGLES = np.radians(np.arange(0.0, 360.0, 3.0))
_RADII_MM = np.arange(0.0, 125.0)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured on one series.

    Attributes
    ----------
    tallness
        See `tallness`.
    noise_hu
        See `noise_hu`.
    metal_slices, much_metal_slices, brain_slices
        Source slices with brain that show `METAL_MM2` or more of metal, `MUCH_METAL_MM2` or more,
        and all of them.
    moved_mm
        See `moved_mm`.
    defect_cm2
        See `defect_cm2`.
    vessels_ml
        See `vessels_ml`.
    brain_ml
        Volume inside the skull that was scanned, in millilitres.
    top, bottom
        Brain on the highest and on the lowest slab, as shares of the slab that shows most.
    """

    tallness: float
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


def gate(quality: Quality) -> tuple[str, ...]:
    """Return what a reader of the result must know, as `node.cases.eligibility.limitations` does.

    An axial head is lower than long, and its skull closed all around; of coronal slices under an
    axial header neither holds (47 of 50 real heads, cut so, and none of the 50 as they are).

    Raises
    ------
    NotAnalysed
        NOT_AXIAL, NOISE or ARTEFACT if the series cannot be read.
    """
    q = quality
    if q.tallness >= TALL and q.defect_cm2 >= OPEN_CM2:
        raise NotAnalysed(
            Reason.NOT_AXIAL,
            "not axial, whatever the header says: the brain is longest across the slices, and the "
            "skull is open within them",
        )
    if q.noise_hu >= TOO_NOISY_HU:
        raise NotAnalysed(
            Reason.NOISE,
            f"too noisy: {q.noise_hu:.0f} HU inside the brain, less than {TOO_NOISY_HU:.0f} "
            "needed; send thicker slices or a smoother kernel",
        )
    if 2 * q.much_metal_slices > q.brain_slices:
        raise NotAnalysed(
            Reason.ARTEFACT,
            f"metal on {q.much_metal_slices} of {q.brain_slices} slices of the brain",
        )
    if q.moved_mm >= MOVED_FAR_MM:
        raise NotAnalysed(
            Reason.ARTEFACT,
            f"the head moved by {q.moved_mm:.0f} mm between neighbouring slices",
        )
    said = (
        (q.noise_hu >= NOISY_HU, f"noisy: {q.noise_hu:.0f} HU inside the brain"),
        (
            q.metal_slices > 0,
            f"metal on {q.metal_slices} slice{'' if q.metal_slices == 1 else 's'}: streaks may "
            "hide or imitate blood",
        ),
        (
            q.moved_mm >= MOVED_MM,
            f"the head moved by {q.moved_mm:.0f} mm between neighbouring slices",
        ),
        (
            q.defect_cm2 >= DEFECT_CM2,
            f"part of the skull is missing: {q.defect_cm2:.0f} cm2; blood along it may be missed "
            "or imitated",
        ),
        (
            q.vessels_ml >= VESSELS_ML and not q.metal_slices,
            "vessels are as bright as with contrast agent: they look like blood",
        ),
        (
            q.top >= TOP_SHARE,
            f"the top of the head is cut off: {q.brain_ml:.0f} mL of brain were scanned",
        ),
        (
            q.bottom >= BOTTOM_SHARE,
            f"the bottom of the head is cut off: {q.brain_ml:.0f} mL of brain were scanned",
        ),
    )
    return tuple(sentence for holds, sentence in said if holds)


def measure(source: Slabs, seen: Canvas) -> Quality:
    """Measure what `gate` judges.

    Parameters
    ----------
    source, seen
        As `models.detector.Reader.prepare` returns them; every value is in the frame of `seen`.
    """
    extent_mm = _extent_mm(source.locations_mm)
    area_mm2 = brain_mm2(seen)
    has_brain = area_mm2 >= BRAIN_MM2
    metal = np.where(has_brain, metal_mm2(seen), 0)
    vault = unroll(seen, source.locations_mm)
    top, *_, bottom = area_mm2[::-1] / area_mm2.max()
    return Quality(
        tallness=tallness(seen, extent_mm),
        noise_hu=noise_hu(seen),
        metal_slices=int((metal >= METAL_MM2)[source.of_slice].sum()),
        much_metal_slices=int((metal >= MUCH_METAL_MM2)[source.of_slice].sum()),
        brain_slices=int(has_brain[source.of_slice].sum()),
        moved_mm=moved_mm(vault),
        defect_cm2=defect_cm2(vault),
        vessels_ml=vessels_ml(seen, extent_mm),
        brain_ml=float(area_mm2 @ extent_mm) / 1000,
        top=float(top),
        bottom=float(bottom),
    )


def _extent_mm(locations_mm: Floats) -> Floats:
    """(s,) length that each slab stands for."""
    return np.abs(np.gradient(locations_mm)) if len(locations_mm) > 1 else np.ones(1)


def brain_mm2(seen: Canvas) -> Floats:
    """(s,) area inside the skull on each slab."""
    return np.asarray((seen.brain > 0.5).sum((1, 2)) * seen.frame.step_mm**2, np.float64)


def tallness(seen: Canvas, extent_mm: Floats) -> float:
    """Length of the brain across the slabs, in lengths of its longest way within them.

    A length is the standard deviation of where the brain's voxels lie. A brain is longest from
    front to back, however the head is turned in an axial slice; that is across coronal slices.

    Parameters
    ----------
    extent_mm
        (s,) float64, the length that each slab stands for.
    """
    slab, row, column = np.nonzero(seen.brain > 0.5)
    across_mm = (np.cumsum(extent_mm) - extent_mm / 2)[slab]
    within_mm = np.stack((row, column)) * seen.frame.step_mm
    middle = np.average(across_mm, weights=extent_mm[slab])
    across = np.average((across_mm - middle) ** 2, weights=extent_mm[slab])
    longest = np.linalg.eigvalsh(np.cov(within_mm, aweights=extent_mm[slab]))[-1]
    return float(np.sqrt(across / longest))


def noise_hu(seen: Canvas) -> float:
    """Robust standard deviation of what a mean over 5 x 5 voxels leaves, well inside the brain.

    A head without any noise would measure about 2 HU: grey and white matter, sulci.
    """
    fine = seen.hu - ndimage.uniform_filter(seen.hu, (0, 5, 5))
    fine = fine[_core(seen.brain > 0.5, 5)]
    return float(1.4826 * np.median(np.abs(fine - np.median(fine)))) if fine.size else 0.0


def metal_mm2(seen: Canvas) -> Floats:
    """(s,) area of metal on each slab: denser than bone, or amid the brain as dense as bone.

    Metal outside the skull counts too: its streaks reach far.
    """
    pieces, _ = ndimage.label(seen.hu > 300, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())
    skull = sizes[1:].argmax() + 1 if len(sizes) > 1 else 0
    amid = _core(seen.brain > 0.5, 3) & (pieces != skull)
    metal = (seen.hu > METAL_HU) | (amid & (seen.hu > LONE_METAL_HU))
    return np.asarray(metal.sum((1, 2)) * seen.frame.step_mm**2, np.float64)


def _core(region: NDArray[np.bool_], voxels: int) -> NDArray[np.bool_]:
    """The region without its margin, within each slab."""
    core: NDArray[np.bool_] = ndimage.binary_erosion(region, np.ones((1, 3, 3)), iterations=voxels)
    return core


@dataclass(frozen=True, slots=True)
class Vault:
    """The vault of the skull, unrolled: one row a slab, one column each three degrees.

    It begins where the slabs hold three quarters of the largest slab's brain, above the base, and
    ends below the vertex, where the skull lies flat in the slab.

    Attributes
    ----------
    locations_mm, extent_mm
        (s,) float64, where each slab lies and how much it stands for.
    brain_mm
        (s, angle) float64, how far the brain reaches from the middle of the head.
    bone_mm
        (s, angle) float64, how far from there the bone lies, its middle; nan where there is none.
    densest_hu
        (s, angle) float64, the densest value around the edge of the brain.
    """

    locations_mm: Floats
    extent_mm: Floats
    brain_mm: Floats
    bone_mm: Floats
    densest_hu: Floats


def unroll(seen: Canvas, locations_mm: Floats) -> Vault:
    """Unroll the vault around the brain.

    Parameters
    ----------
    locations_mm
        (s,) float64, of the slabs.
    """
    inside = seen.brain > 0.5
    share = inside.sum((1, 2)) / inside.sum((1, 2)).max()
    slabs = np.arange(np.flatnonzero(share > 0.75)[0], np.flatnonzero(share > 0.35)[-1] + 1)
    middle = np.array(ndimage.center_of_mass(inside[slabs]))[1:]
    radii = _RADII_MM[:, None] / seen.frame.step_mm
    rays = middle[:, None, None] + radii * np.array([-np.cos(_ANGLES), np.sin(_ANGLES)])[:, None]
    rows = [_along(rays, seen.hu[slab], seen.brain[slab]) for slab in slabs]
    brain_mm, bone_mm, densest_hu = (np.array(each) for each in zip(*rows, strict=True))
    return Vault(
        locations_mm[slabs], _extent_mm(locations_mm)[slabs], brain_mm, bone_mm, densest_hu
    )


def _along(rays: Floats, hu: Array, brain: Array) -> tuple[Floats, Floats, Floats]:
    """(angle,) each: edge of the brain, middle of the bone, densest value, see `Vault`."""
    values = ndimage.map_coordinates(hu, rays, order=1, mode="nearest")
    inside = ndimage.map_coordinates(brain, rays, order=1) > 0.5
    edge = np.where(inside, _RADII_MM[:, None], 0).max(0)
    beyond = _RADII_MM[:, None] - edge
    weight = np.where((beyond > -15) & (beyond < 25), np.clip(values - BONE_HU, 0, 800), 0)
    bone = (weight * _RADII_MM[:, None]).sum(0) / np.maximum(weight.sum(0), 1)
    near = np.where((beyond > -7) & (beyond < 15), values, -np.inf)
    return edge, np.where(weight.sum(0) > 400, bone, np.nan), near.max(0)


def moved_mm(vault: Vault) -> float:
    """Largest jump of the skull between neighbouring slabs, in the plane.

    The difference of the bone's distance, around the head, is a change of size and of shape and a
    shift; of the shift, what is usual around there for such a gap is no jump but the slope of the
    head, or the tilt of the gantry. 0 where the bone cannot be followed.
    """
    around = np.column_stack(
        [wave(k * _ANGLES) for wave, k in ((np.cos, 0), (np.cos, 1), (np.sin, 1), (np.cos, 2))]
        + [np.sin(2 * _ANGLES)]
    )
    shifts = np.array([_shift(change, around) for change in np.diff(vault.bone_mm, axis=0)])
    if not np.isfinite(shifts).any():
        return 0.0
    gaps = np.diff(vault.locations_mm)[:, None]
    usual = np.array(
        [
            np.median(near, axis=0) if len(near) else np.zeros(2)
            for near in (
                _finite((shifts / gaps)[max(row - 2, 0) : row + 3]) for row in range(len(shifts))
            )
        ]
    )
    return float(np.nanmax(np.linalg.norm(shifts - usual * gaps, axis=1)))


def _finite(rows: Floats) -> Floats:
    return rows[np.isfinite(rows).all(1)]


def _shift(change_mm: Floats, around: Floats) -> Floats:
    """(2,) shift of a ring whose distance changed so, outliers left out; nan if it has gaps."""
    followed = np.isfinite(change_mm)
    kept = followed
    for _ in range(4):
        if kept.sum() < len(_ANGLES) / 2:
            return np.full(2, np.nan)
        fit = np.linalg.lstsq(around[kept], change_mm[kept], rcond=None)[0]
        off = np.abs(change_mm - around @ fit)
        kept = followed & (off < 2.5 * max(1.4826 * float(np.median(off[kept])), 0.3))
    return np.asarray(fit[1:3], np.float64)


def defect_cm2(vault: Vault) -> float:
    """Largest connected part of the vault that bone does not follow."""
    cell = vault.brain_mm * _ANGLES[1] * vault.extent_mm[:, None] / 100
    holes, count = ndimage.label(np.tile(vault.densest_hu < THIN_BONE_HU, 2))
    # The vault is a ring: in two turns each hole lies whole at least once.
    areas = ndimage.sum_labels(np.tile(cell, 2), holes, range(1, count + 1))
    return float(min(np.max(areas, initial=0.0), cell.sum()))


def vessels_ml(seen: Canvas, extent_mm: Floats) -> float:
    """Volume of narrow things as bright as enhanced vessels, in the upper half of the brain.

    Lower, bone is everywhere. What is 9 mm wide or more is no vessel but a clot, calcification or
    a tumour; a clot stays below 90 HU in any case.

    Parameters
    ----------
    extent_mm
        (s,) float64, the length that each slab stands for.
    """
    brain = seen.brain > 0.5
    share = brain.sum((1, 2)) / brain.sum((1, 2)).max()
    upper = slice(np.flatnonzero(share > 0.95)[0], np.flatnonzero(share > 0.5)[-1] + 1)
    square, reach = np.ones((1, 3, 3)), 4
    bone = ndimage.binary_dilation(seen.hu[upper] > VESSEL_HU[1], square, iterations=reach)
    core = _core(brain[upper], reach) & ~bone
    even = ndimage.uniform_filter(seen.hu[upper], (0, 3, 3))
    bright = core & (even > VESSEL_HU[0]) & (even < VESSEL_HU[1])
    wide = ndimage.binary_opening(bright, square, iterations=reach)
    area_mm2 = (bright & ~wide).sum((1, 2)) * seen.frame.step_mm**2
    return float(area_mm2 @ extent_mm[upper]) / 1000
