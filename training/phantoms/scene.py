"""What a hemorrhage needs to know of a real head: where its fluid, its bone and its middle are."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from models.preprocess import Array
from models.standard_head import standard
from models.volume import Volume
from training.phantoms.lattice import STEP_MM, Lattice, Mask
from training.phantoms.shapes import FAR, Field, smooth_noise

CSF_HU = 9.0
"""Attenuation of cerebrospinal fluid."""

LEAST_POOL_MM2 = 10.0
"""Dark spots of a slice smaller than this are taken for noise (ours)."""

BONE_HU = 90.0
"""Voxels denser than this stay as they are: bone, its rim, and calcifications."""

IN_PLANE = np.array([0, 1, 0], bool)[:, None, None]
"""Neighbours in the same slice, for a structuring element of three dimensions."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What hemorrhages need to know of a real head; fields are (w, v, u) on the lattice.

    Attributes
    ----------
    lattice
        Where the fields lie.
    inside
        (z, y, x) bool, inside of the skull.
    fluid
        (z, y, x) float32, share of each voxel that blood can flood, 0..1: cerebrospinal fluid,
        and half a millimetre around it, since blood widens the space that it runs into.
    brain_hu, noise_hu
        Median attenuation of the brain, and the scan's noise in it (standard deviation).
    x, y, z
        Coordinates of the standard head, mm to the left, to the back and to the top.
    back
        Patient coordinate to the back, mm: where blood sinks to.
    depth
        Distance to what is not inside, mm; the neck does not count as outside.
    table
        bool, inside within two steps of bone.
    room, flooded
        Share of each cell that is inside and no bone, and that is more than half fluid.
    ventricles
        Distance to the ventricles, mm, 0 in them.
    """

    lattice: Lattice
    inside: Mask
    fluid: Array
    brain_hu: float
    noise_hu: float
    x: Field
    y: Field
    z: Field
    back: Field
    depth: Field
    table: Mask
    room: Field
    flooded: Field
    ventricles: Field

    def distance(self, focus: tuple[float, float, float]) -> Field:
        """Return the distance to a point of the standard head, mm."""
        x, y, z = (a - np.float32(c) for a, c in zip((self.x, self.y, self.z), focus, strict=True))
        away: Field = np.sqrt(x * x + y * y + z * z)
        return away

    def noise(self, rng: np.random.Generator, knot_mm: float) -> Field:
        """Return a smooth random field of standard deviation 1."""
        return smooth_noise(rng, knot_mm / STEP_MM, self.depth.shape)


def scene_of(volume: Volume, inside: Mask) -> Scene:
    """Return the places of a head where blood can go.

    Parameters
    ----------
    volume
        A scan cropped to the skull.
    inside
        (z, y, x) bool, the inside of the skull; some of it is true.
    """
    lattice = Lattice.of(volume)
    # Slices without noise, (z, y, x) HU; bone keeps its own values.
    smooth = soft_tissue_mean(volume.hu, volume.spacing_mm, 0.8)
    smooth = np.where(volume.hu > BONE_HU, volume.hu, smooth)
    # Brain and noise of this scan, from voxels that look like brain.
    deep = inside & (np.abs(smooth - 30) < 20)
    brain_hu = float(np.median(smooth[deep]))
    noise_hu = 1.48 * float(np.median(np.abs(volume.hu - smooth)[deep]))
    fluid = _fluid(smooth, brain_hu, volume.spacing_mm) * inside
    # From here on all is on the lattice, (w, v, u): the cavity's shape between the slices first.
    surface = lattice.between(_signed(lattice.planes(inside) > 0.5))
    depth = _depth(surface > 0, volume.normal[2] >= 0)
    bone = lattice.between(lattice.planes(volume.hu > 150)) > 0.3
    flooded = lattice.between(lattice.planes(fluid > 0.5))
    # The standard head's coordinates name the places, such as the ventricles.
    patient = lattice.patient_mm
    x, y, z = standard(patient, depth > 0)
    return Scene(
        lattice=lattice,
        inside=inside,
        fluid=fluid,
        brain_hu=brain_hu,
        noise_hu=noise_hu,
        x=x,
        y=y,
        z=z,
        back=patient[1],
        depth=depth,
        table=(depth > 0) & ndimage.maximum_filter(bone, 5),
        room=lattice.between(lattice.planes(inside & (volume.hu <= BONE_HU))),
        flooded=flooded,
        ventricles=_ventricles(flooded, depth, x, y, z),
    )


def soft_tissue_mean(hu: Array, spacing_mm: tuple[float, float], sigma_mm: float) -> Array:
    """Return the mean of the soft tissue around each voxel in its plane, without bone and air.

    Parameters
    ----------
    hu
        (z, y, x) or (y, x) float32, HU.
    spacing_mm
        Distance of rows and of columns.
    sigma_mm
        Standard deviation of the Gaussian that weighs the neighbours.

    Returns
    -------
    NDArray
        float32 HU in the shape of `hu`.
    """
    sigma = [sigma_mm / step for step in spacing_mm]
    # A Gaussian over the soft voxels alone: the smoothed sum over the smoothed count.
    soft = ((hu > -30) & (hu < BONE_HU)).astype(np.float32)
    total, weight = (
        ndimage.gaussian_filter(values, sigma, truncate=2.5, axes=(-2, -1))
        for values in (hu * soft, soft)
    )
    mean: Array = total / np.maximum(weight, 1e-3)
    return mean


def _fluid(smooth: Array, brain_hu: float, spacing_mm: tuple[float, float]) -> Array:
    """Return the share of each voxel that blood can flood, (z, y, x) 0..1.

    Parameters
    ----------
    smooth
        (z, y, x) HU without noise.
    brain_hu
        Median attenuation of the brain.
    spacing_mm
        Distance of rows and of columns.
    """
    # A voxel between brain and cerebrospinal fluid is a mixture of both.
    fluid = np.clip((brain_hu - smooth) / (brain_hu - CSF_HU), 0, 1)
    fluid *= np.clip(5 * fluid - 1.5, 0, 1)  # white matter is a little darker, too
    fluid[smooth < -12] = 0  # fat, where the mask of the inside is rough
    # Pieces of one slice that are too small are noise.
    pieces, _ = ndimage.label(fluid > 0.2, ndimage.generate_binary_structure(3, 2) & IN_PLANE)
    area_mm2 = np.bincount(pieces.ravel()) * spacing_mm[0] * spacing_mm[1]
    fluid *= (area_mm2 >= LEAST_POOL_MM2)[pieces]
    # Blood widens the space that it runs into, by half a millimetre on each side.
    reach = [2 * round(0.5 / step) + 1 for step in spacing_mm]
    wide: Array = ndimage.maximum_filter(np.minimum(2 * fluid, 1), reach, axes=(1, 2))
    return wide


def _signed(planes: Mask) -> Array:
    """Return (z, v, u) the distance to each slice's outline, mm, positive inside.

    Interpolated between slices it gives the shape between them (Raya and Udupa 1990, IEEE TMI
    9:32-42).
    """
    signed = np.full(planes.shape, -STEP_MM, np.float32)
    for out, plane in zip(signed, planes, strict=True):
        if plane.any():
            edge = ndimage.distance_transform_edt
            out[...] = STEP_MM * (edge(plane) - edge(~plane))
    return signed


def _depth(cavity: Mask, upward: bool) -> Field:
    """Return the distance to what is not the cavity, which goes on below the lowest slice."""
    # The lowest slice goes on for 40 steps: the neck counts as inside.
    below = ((40, 0) if upward else (0, 40), (0, 0), (0, 0))
    depth = ndimage.distance_transform_edt(np.pad(cavity, below, "edge"))
    depth = depth[40:] if upward else depth[:-40]
    # In mm to the surface, which lies half a step before the first cell outside.
    smooth: Field = ndimage.gaussian_filter((STEP_MM * depth).astype(np.float32), 0.7)
    smooth = np.maximum(smooth - STEP_MM / 2, 0.1)
    smooth[~cavity] = 0
    return smooth


def _ventricles(flooded: Field, depth: Field, x: Field, y: Field, z: Field) -> Field:
    """Return the distance to the large fluid spaces in the middle of the brain, mm."""
    # Fluid deep in the middle of the brain, (w, v, u).
    middle = (np.abs(x) < 42) & (y > -50) & (y < 68) & (z > -12) & (z < 40) & (depth > 22)
    middle &= (np.abs(x) < 24) | (y > 0)  # without the Sylvian fissure
    middle &= (np.abs(x) > 14) | (y < 5) | (z > 8)  # and without the cisterns behind the midbrain
    spaces = (flooded > 0.5) & middle
    # Of its connected pieces the large ones: a fifth of the largest, and at least 300 cubic mm.
    pieces, count = ndimage.label(spaces, np.ones((3, 3, 3)))
    if count:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        spaces = (sizes >= max(0.2 * sizes.max(), 300 / STEP_MM**3))[pieces]
    if not spaces.any():
        return np.full(depth.shape, FAR)
    away: Field = np.float32(STEP_MM) * ndimage.distance_transform_edt(~spaces)
    return away
