"""Variety for the training slices: pose, scanner, and lesions painted into real normal anatomy."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from models.findings import SUBTYPES

Random = np.random.Generator

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]


def pose(planes: Tensor, size: tuple[int, ...], random: Random, turn_deg: float = 20.0) -> Tensor:
    """Flip left-right, turn, scale, shear and shift; crop to `size`.

    Parameters
    ----------
    planes
        (n, c, y, x) or (n, c, z, y, x) float32; what lies outside is 0, so pass HU above air.
    size
        Shape of the crop, (y, x) or (z, y, x).
    turn_deg
        Largest in-plane rotation.

    Returns
    -------
    Tensor
        (n, c, *size).
    """
    whole, crop = np.array(planes.shape[:1:-1], float), np.array(size[::-1], float)  # x, y(, z)
    theta = []
    for _ in planes:
        turn = np.deg2rad(random.uniform(-turn_deg, turn_deg))
        matrix = np.eye(len(size))
        matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        matrix[:2, :2] *= random.uniform(0.9, 1.25) * random.uniform(0.92, 1.08, size=2)
        matrix[0, 1] += random.normal(0, 0.05)
        matrix[:, 0] *= random.choice([-1, 1])
        if len(size) == 3:  # a gantry tilt shears rows along z; table steps vary
            matrix[1, 2] = random.normal(0, 0.3)
            matrix[2, 2] = random.uniform(0.85, 1.15)
        # affine_grid counts in half images: x_in / whole = matrix @ (x_out / crop)
        shift = random.normal(0, 0.03, size=(len(size), 1))
        theta.append(np.hstack((matrix * crop / whole[:, None], shift)))
    grid = nn.functional.affine_grid(
        torch.tensor(np.stack(theta), dtype=torch.float32), [len(planes), 1, *size], False
    )
    return nn.functional.grid_sample(planes, grid, align_corners=False)


def scanner(hu: Tensor, random: Random) -> Tensor:
    """Another scanner's look: calibration, kernel and noise.

    Parameters
    ----------
    hu
        (n, 1, y, x) float32, HU.
    """
    varied = []
    for image in hu:
        image = image[None]
        if random.random() < 0.7:  # kernel: soft or sharp
            smooth = _blur(image, random.uniform(0.4, 1.2))
            image = (
                smooth
                if random.random() < 0.6
                else image + random.uniform(0, 0.8) * (image - smooth)
            )
        if random.random() < 0.7:
            noise = torch.from_numpy(random.normal(size=image.shape).astype(np.float32))
            if random.random() < 0.6:
                noise = _blur(noise, random.uniform(0.5, 1.2))
                noise = noise / noise.std()
            image = image + noise * random.uniform(0, 7)
        varied.append(image * random.uniform(0.93, 1.07) + random.normal(0, 2.5))
    return torch.cat(varied)


def _blur(image: Tensor, sigma: float) -> Tensor:
    reach = torch.arange(-3, 4, dtype=torch.float32)
    kernel = torch.exp(-(reach**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    image = nn.functional.conv2d(
        nn.functional.pad(image, (3, 3, 0, 0), "replicate"), kernel.view(1, 1, 1, 7)
    )
    return nn.functional.conv2d(
        nn.functional.pad(image, (0, 0, 3, 3), "replicate"), kernel.view(1, 1, 7, 1)
    )


def paint(
    hu: NDArray[np.float32], brain: NDArray[np.float32], subtype: str, random: Random, small: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Paint a hemorrhage of this subtype into a normal slice.

    Parameters
    ----------
    hu, brain
        (y, x) float32 on a 1 mm lattice: HU, and the inside of the skull 0..1.
    subtype
        One of `SUBTYPES`.
    small
        Keep the lesion to a few millimetres.

    Returns
    -------
    hu, mask
        (y, x) float32 each; the mask is empty where the slice offers no place.
    """
    # Distance to the skull within the slice, (y, x) mm.
    inside = brain > 0.5
    depth = ndimage.distance_transform_edt(inside)
    if inside.sum() < 2000 or depth.max() < 12:
        return hu, np.zeros_like(hu)
    # The shape with soft edges, (y, x) 0..1, inside the skull alone.
    drawn = SHAPES[subtype](hu, inside, depth, subtype, random, small)
    shape = np.clip(
        ndimage.gaussian_filter(drawn.astype(np.float32), random.uniform(0.5, 1.3)), 0, 1
    )
    shape *= inside | (ndimage.gaussian_filter(brain, 1.0) > 0.4)
    # The blood's own density, uneven, with the noise of the slice it replaces.
    density = random.uniform(47, 78) + 5 * _clouds(hu.shape, random, 4)
    if subtype == "intraparenchymal" and random.random() < 0.5:  # oedema rim
        rim = np.clip(ndimage.gaussian_filter(shape, random.uniform(3, 6)) * 1.5, 0, 1) * inside
        hu = hu - random.uniform(4, 14) * rim
    texture = np.clip(hu - ndimage.gaussian_filter(hu, 1.5), -12, 12)  # bone next to it is none
    painted = hu + shape * (density + texture - hu)
    return painted.astype(np.float32), (shape > 0.5).astype(np.float32)


def _clouds(shape: tuple[int, ...], random: Random, sigma: float) -> NDArray[np.float32]:
    """(y, x) smooth noise of standard deviation 1."""
    noise = ndimage.gaussian_filter(random.normal(size=shape), sigma)
    scaled: Plane = (noise / noise.std()).astype(np.float32)
    return scaled


def _place(allowed: NDArray[np.bool_], random: Random) -> tuple[int, int]:
    rows, columns = np.nonzero(allowed)
    pick = random.integers(len(rows))
    return int(rows[pick]), int(columns[pick])


def _blob(
    _hu: Plane, inside: Mask, depth: Plane, _subtype: str, random: Random, small: bool
) -> Mask:
    """A blob anywhere in the brain, of a warped outline."""
    # A point away from the skull, and a radius in pixels, drawn on a log scale.
    y, x = _place(depth > 6, random)
    radius = random.uniform(2, 6) if small else np.exp(random.uniform(np.log(3), np.log(28)))
    rows, columns = np.indices(inside.shape)
    # A turned ellipse, (y, x): 1 in its middle, 0 on its rim, made uneven by noise.
    angle, stretch = random.uniform(0, np.pi), random.uniform(0.6, 1.0)
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    level = 1 - np.hypot(along, across / stretch) / radius
    blob: Mask = (
        (level + 0.3 * _clouds(inside.shape, random, max(1.0, radius / 3)) > 0)
        & inside
        & (level > -1)
    )
    return blob


def _crescent(
    _hu: Plane, inside: Mask, depth: Plane, subtype: str, random: Random, small: bool
) -> Mask:
    """A lens or a crescent along the skull."""
    y, x = _place((depth > 0) & (depth < 2), random)
    # Each pixel's bearing from the middle of the brain, against that of the point, 0..pi.
    middle = np.argwhere(inside).mean(0)
    rows, columns = np.indices(inside.shape)
    bearing = np.arctan2(rows - middle[0], columns - middle[1])
    apart = np.abs(np.angle(np.exp(1j * (bearing - np.arctan2(y - middle[0], x - middle[1])))))
    # How deep the blood reaches there: a short lens or a long crescent.
    thick = random.uniform(2, 4) if small else random.uniform(2.5, 14)
    if subtype == "epidural":
        profile = 1 - (apart / random.uniform(0.15, 0.5)) ** 2
        thick = 1.4 * thick
    else:
        profile = np.clip(1.5 - apart / random.uniform(0.4, 1.3), 0, 1)
    limit = thick * profile * (1 + 0.15 * _clouds(inside.shape, random, 5))
    crescent: Mask = inside & (depth < limit) & (depth > 0)
    return crescent


def _flood(
    hu: Plane, inside: Mask, depth: Plane, subtype: str, random: Random, small: bool
) -> Mask:
    """Blood in place of the fluid around a point."""
    # Fluid in the middle of the brain for the ventricles, else all of it off the bone.
    smooth = ndimage.gaussian_filter(hu, 1.0)
    central = depth > 0.45 * depth.max()
    fluid = inside & (smooth < random.uniform(16, 22)) & (smooth > -5)
    fluid &= central if subtype == "intraventricular" else depth > 1
    if fluid.sum() < 10:
        return np.zeros(hu.shape, bool)
    # Blood takes the fluid within an uneven circle around a random point of it.
    y, x = _place(fluid, random)
    rows, columns = np.indices(hu.shape)
    reach = random.uniform(6, 12) if small else random.uniform(12, 50)
    near = np.hypot(rows - y, columns - x) < reach * (1 + 0.2 * _clouds(hu.shape, random, 6))
    if subtype == "intraventricular":  # blood settles: keep the posterior part
        near &= rows > y - reach / 3
    flooded: Mask = ndimage.binary_dilation(fluid & near)
    return flooded


Shape = Callable[[Plane, Mask, Plane, str, Random, bool], Mask]
SHAPES: Mapping[str, Shape] = {
    "epidural": _crescent,
    "subdural": _crescent,
    "intraparenchymal": _blob,
    "subarachnoid": _flood,
    "intraventricular": _flood,
}
"""How each subtype is painted, from (hu, inside, depth, subtype, random, small), (y, x) each."""


def one_hot(subtype: str) -> NDArray[np.float32]:
    """(5,) float32, 1 at the subtype's place in `SUBTYPES`."""
    return np.array([name == subtype for name in SUBTYPES], np.float32)
