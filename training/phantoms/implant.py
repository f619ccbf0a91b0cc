"""Hemorrhages put into real normal heads: real anatomy and a real scanner, known blood.

The scan is looked at on a coarse lattice along its own axes, where a gantry tilt is a shift of each
slice and every distance is true. There a hemorrhage grows, as a surface in mm; each slice then
takes the share of it that its voxels hold. What is fluid and what is inside the skull is read from
the full-resolution slices, so blood follows the sulci and the inner table of this very head.

Three things are simplified. Blood pushes nothing aside: the midline stays, and so do the sulci.
Sutures are not found: an epidural is only limited in width. A subdural that is planned on the
tentorium lies on the occipital convexity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.findings import SUBTYPES
from models.preprocess import Array
from models.volume import Volume
from training.phantoms.growth import EDGE_MM, GROWTH, Growth
from training.phantoms.lattice import STEP_MM, Mask
from training.phantoms.lesions import Lesion, as_measured, plan
from training.phantoms.scene import BONE_HU, Scene, scene_of, soft_tissue_mean
from training.phantoms.shapes import Box, Field, coverage

DENSEST_HU = 90.0
"""No clot is denser (ours): retracted clots of a high hematocrit reach some 85 HU."""

MOST_ABOVE_BRAIN_HU = 12.0
"""Soft tissue is at most this much denser than the brain's median: what exceeds it is bone."""


@dataclass(frozen=True, slots=True)
class Implanted:
    """A real scan with hemorrhages put in.

    Attributes
    ----------
    volume
        The scan, in the geometry it had.
    lesions
        (z, y, x) uint8, 0 where there is no blood, else 1 + the subtype's index in
        `models.findings.SUBTYPES`: voxels that are blood by more than half.
    volumes_ml
        Labelled volume of each subtype; one that found no place is missing.
    """

    volume: Volume
    lesions: NDArray[np.uint8]
    volumes_ml: Mapping[str, float]


def implant(
    volume: Volume,
    inside: Mask,
    seed: int,
    subtypes: tuple[str, ...],
    volume_ml: Mapping[str, float] | None = None,
    hu: Mapping[str, float] | None = None,
) -> Implanted:
    """Return the scan with these hemorrhages in it.

    Volume, density and number are drawn as they were measured (`lesions.as_measured`).

    Parameters
    ----------
    volume
        A head CT without hemorrhage.
    inside
        (z, y, x) bool, the inside of its skull.
    seed
        Same seed and arguments, same hemorrhages.
    subtypes
        Hemorrhages to draw, each one of `models.findings.SUBTYPES`.
    volume_ml
        Volume of each of these subtypes, where it should not be drawn at random: it is then one
        bleed. A head that has less room, such as small ventricles, takes less.
    hu
        Mean density under the label of each of these subtypes, where it should not be drawn.
    """
    rng = np.random.default_rng(seed)
    bled, labels = volume.hu.copy(), np.zeros(volume.hu.shape, np.uint8)
    if inside.any():
        box = _around(inside, volume)
        scene = scene_of(_cropped(volume, box), inside[box])
        for subtype in sorted(subtypes, key=SUBTYPES.index):
            for lesion in _lesions(rng, subtype, volume_ml or {}, hu or {}):
                _bleed(rng, scene, lesion, bled[box], labels[box])
    volumes = {
        SUBTYPES[code - 1]: float(volume.voxel_ml @ (labels == code).sum(axis=(1, 2)))
        for code in np.unique(labels[labels > 0])
    }
    return Implanted(replace(volume, hu=bled), labels, volumes)


def _lesions(
    rng: np.random.Generator,
    subtype: str,
    volume_ml: Mapping[str, float],
    hu: Mapping[str, float],
) -> list[Lesion]:
    """Return what a patient has of a subtype; what is not given is drawn as measured."""
    drawn = as_measured(rng, subtype)
    if subtype in volume_ml:
        drawn = [replace(plan(rng, subtype, volume_ml[subtype]), hu=drawn[0].hu)]
    return [replace(lesion, hu=hu.get(subtype, lesion.hu)) for lesion in drawn]


def _around(inside: Mask, volume: Volume, margin_mm: float = 8.0) -> Box:
    """Return the rows and columns of the inside of the skull, all slices, with its bone."""
    box = [slice(None)]
    for axes, step in zip(((0, 2), (0, 1)), volume.spacing_mm, strict=True):
        held, margin = np.flatnonzero(inside.any(axis=axes)), round(margin_mm / step)
        box.append(slice(max(held[0] - margin, 0), held[-1] + margin + 1))
    return box[0], box[1], box[2]


def _cropped(volume: Volume, box: Box) -> Volume:
    """Return some rows and columns of all slices."""
    right, down = volume.orientation[:3], volume.orientation[3:]
    corner = (
        box[1].start * volume.spacing_mm[0] * down + box[2].start * volume.spacing_mm[1] * right
    )
    return replace(volume, hu=volume.hu[box], positions_mm=volume.positions_mm + corner)


def _bleed(
    rng: np.random.Generator, scene: Scene, lesion: Lesion, hu: Array, labels: NDArray[np.uint8]
) -> None:
    """Put one hemorrhage into `hu` and `labels`, or leave both alone where it finds no place.

    Parameters
    ----------
    rng
        Where the choices come from.
    scene
        The head.
    lesion
        What to put in.
    hu, labels
        (z, y, x) float32 HU and uint8 codes of the scene's volume; both are changed.
    """
    # The surface of the blood, (w, v, u) mm.
    growth = GROWTH[lesion.subtype](rng, scene, lesion)
    surface = None if growth is None else _filled(scene, growth, lesion.volume_ml)
    if growth is None or surface is None:
        return
    # How much of each voxel is blood, (y, x) 0..1 for each slice that shows any.
    shares = {
        z: blood
        for z in range(len(hu))
        if (blood := _share(scene, growth, surface, z, labels[z])) is not None
    }
    if not any((blood > 0.5).any() for blood in shares.values()):
        return
    # The rim is darkened first; the blood lies on top of it.
    if lesion.oedema_mm and lesion.subtype == "intraparenchymal":
        for z in range(len(hu)):
            _darken(scene, surface, lesion.oedema_mm, z, hu[z])
    soft_hu = scene.brain_hu + MOST_ABOVE_BRAIN_HU  # a voxel's bone stays, on top of the blood
    tissue = {z: np.minimum(_without_noise(scene, hu[z]), soft_hu) for z in shares}
    # The clot is uneven: (w, v, u) HU.
    clot = _level(lesion.hu, shares, tissue, hu) + 3.5 * scene.noise(rng, 6)
    # Each voxel rises from its tissue to the clot by its share; half a share is labelled.
    for z, blood in shares.items():
        hu[z] += blood * (scene.lattice.on_slice(clot, z) - tissue[z])
        labels[z][blood > 0.5] = SUBTYPES.index(lesion.subtype) + 1


def _level(
    wanted_hu: float, shares: Mapping[int, Array], tissue: Mapping[int, Array], hu: Array
) -> float:
    """Return the density of the blood with which its label has this mean.

    Real means were measured under masks, whose edges are partly tissue: the blood itself is denser.

    Parameters
    ----------
    shares, tissue
        How much of each voxel is blood, 0..1, and the HU that it replaces; (y, x) for each slice.
        At least one voxel is blood by more than half.
    hu
        (z, y, x) the slices without the blood.
    """
    labelled = [(z, each > 0.5) for z, each in shares.items()]
    blood = np.concatenate([shares[z][where] for z, where in labelled])
    # What stays of each labelled voxel: tissue that the blood shares it with, bone and noise.
    stays = np.concatenate([(hu[z] - shares[z] * tissue[z])[where] for z, where in labelled])
    return min(float((wanted_hu - stays.mean()) / blood.mean()), DENSEST_HU)


def _filled(scene: Scene, growth: Growth, volume_ml: float) -> Field | None:
    """Return the signed distance to the blood's surface, negative in it; None without room."""
    # The cells that blood may take, (n,), with their share of room.
    share = scene.flooded if growth.floods else scene.room
    open_ = (growth.wall < 0) & (share > 0)
    values, shares = growth.field[open_], share[open_]
    if not values.size:
        return None
    # They fill from the lowest value up until the volume is reached.
    order = np.argsort(values)
    filled_ml = np.cumsum(shares[order]) * STEP_MM**3 / 1000
    last = min(int(np.searchsorted(filled_ml, volume_ml)), len(order) - 1)
    surface: Field = np.maximum(growth.field - values[order[last]], growth.wall)
    return surface


def _share(
    scene: Scene, growth: Growth, surface: Field, z: int, labels: NDArray[np.uint8]
) -> Array | None:
    """Return how much of each voxel of slice z is blood, (y, x) 0..1; None without blood."""
    thirds = scene.lattice.thirds(surface, z)
    if min(third.min() for third in thirds) > growth.edge_mm:
        return None
    # A wide fringe lies mostly beyond the surface.
    shift = np.float32((growth.edge_mm - EDGE_MM) / 4)
    blood: Array = np.mean([coverage(third - shift, growth.edge_mm) for third in thirds], axis=0)
    # Only where this head has room: in fluid or inside the skull, off bone and older blood.
    blood *= scene.fluid[z] if growth.floods else scene.inside[z]
    blood[(labels > 0) | (scene.lattice.volume.hu[z] > BONE_HU)] = 0
    if growth.floods:  # a sulcus bleeds and is labelled, or it is left alone
        pieces, _ = ndimage.label(blood > 0)
        blood *= np.isin(pieces, pieces[blood > 0.5])
    return blood


def _without_noise(scene: Scene, hu: Array) -> Array:
    """Return a slice (y, x) without its noise: soft tissue is moved towards its local mean."""
    limit = 2 * scene.noise_hu
    mean = soft_tissue_mean(hu, scene.lattice.volume.spacing_mm, 1.2)
    kept: Array = hu - np.clip(hu - mean, -limit, limit)
    return kept


def _darken(scene: Scene, surface: Field, rim_mm: float, z: int, hu: Array) -> None:
    """Turn the tissue around a parenchymal bleed into oedema, fading over the rim's width."""
    # Distance from the blood in widths of the rim, (y, x); the rim ends at 1.3.
    beyond = scene.lattice.on_slice(surface, z) / np.float32(rim_mm)
    if beyond.min() > 1.3:
        return
    # Tissue denser than 18 HU falls towards it; fluid, bone and blood stay.
    share = 0.85 * np.clip(1.3 - beyond, 0, 1) * (1 - scene.fluid[z]) * scene.inside[z]
    hu += share * np.minimum(18 - _without_noise(scene, hu), 0) * (hu < 60)
