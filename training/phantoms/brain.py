"""The inside of the skull: cortex, deep grey matter, ventricles, cisterns, dura and vessels."""

import numpy as np
from scipy.fft import irfftn, rfftn
from scipy.ndimage import map_coordinates

from training.phantoms.head import Head, Traits
from training.phantoms.shapes import (
    FAR,
    WHOLE,
    Field,
    Space,
    coverage,
    ellipsoid_distance,
    smooth_min,
    smooth_noise,
)

DURA_HU = 46
SINUS_HU = 52
VESSEL_HU = 46


def draw_brain(rng: np.random.Generator, h: Head, effaced: float = 0.0) -> None:
    """Fill the cranial cavity of a head.

    Parameters
    ----------
    rng
        Where folding and texture come from.
    h
        A head, cropped to its `skull_box`, with its skull drawn; its pia, ventricles,
        falx and tentorium are set here.
    effaced
        How far swelling has closed the sulci, 0..1.
    """
    _folds(rng, h)
    _ventricles(h)
    white, outside = _cerebrum(rng, h, effaced)
    _hindbrain(rng, h, white, outside)
    _fill(rng, h, white, outside)
    _dura(h)
    _vessels(rng, h)


def _folds(rng: np.random.Generator, h: Head) -> None:
    """Set the falx and the tentorium."""
    s = h.space
    h.tentorium[...] = _tentorium(s)
    bend = rng.normal(0, 1.2) * np.sin((s.y + 20) / 30) + 0.5 * smooth_noise(rng, 40, s.x.shape)
    edge = np.interp(s.y, (-85, -60, -30, 0, 30, 50, 85), (-25, -5, 24, 35, 24, 4, -16))
    reached = (s.z > edge) & (h.tentorium > 0) & (h.cavity < 0)
    h.falx[...] = np.where(reached, s.x - bend, FAR)


def _tentorium(s: Space) -> Field:
    """Return the signed height above the tentorium; positive, too, before the petrous bones."""
    x = np.abs(s.x)
    tent = 3 - 0.42 * x - 0.36 * np.maximum(s.y - 32, 0) - 0.6 * np.maximum(32 - s.y, 0)
    ridge = 0.8 * (x - 18) - 4
    return np.maximum((s.z - tent) * np.float32(0.9), ridge - s.y).astype(np.float32)


def _ventricles(h: Head) -> None:
    """Set the signed distance to the walls of the ventricles."""
    s, walls = h.space, h.ventricles
    for side, width in zip((1, -1), h.traits.ventricles, strict=True):
        horns = (
            ((5.5, -10, 11), (14, -34, 6), 3.6, 3.2, 2.2),
            ((6, -12, 13), (11, 8, 20), 4.6, 4.4, 1.3),
            ((11, 8, 20), (17, 28, 17), 4.4, 5.4, 1.2),
            ((17, 28, 17), (24, 38, 6), 5.4, 6.6, 1.4),
            ((24, 38, 6), (20, 64, 2), 5.6, 2.4, 1.7),
            ((24, 34, 2), (32, 14, -14), 3.6, 2.0, 1.2),
            ((32, 14, -14), (29, -8, -20), 1.9, 1.9, 1.0),
        )
        for a, b, start, end, tall in horns:
            ends = ((side * a[0], *a[1:]), (side * b[0], *b[1:]))
            box, horn = s.capsule(*ends, start * width, end * width, tall)
            walls[box] = smooth_min(walls[box], horn, 1.5)
    third = 1.6 + 1.8 * h.traits.atrophy
    for centre, radii in (((0, 8, -1), (third, 14, 11)), ((0, 30, -36), (6.5, 5, 9))):
        box, ventricle = s.ellipsoid(centre, radii)
        walls[box] = np.minimum(walls[box], ventricle)


def _cerebrum(rng: np.random.Generator, h: Head, effaced: float) -> tuple[Field, Field]:
    """Return depth below grey matter, and depth outside the pia, of the cerebrum, in mm."""
    s, atrophy = h.space, h.traits.atrophy
    open_ = (1 - 0.8 * effaced) * (0.35 + atrophy)
    frontal = 1 + 0.8 * coverage(s.y + 20, 40)
    depth = -h.cavity - 0.9 - 1.8 * open_ * frontal * (0.8 + 0.4 * smooth_noise(rng, 12, s.x.shape))
    depth = np.minimum(depth, h.tentorium - np.float32(1.0))
    depth = np.minimum(depth, _fissure_distance(s, h.falx, open_))
    depth = np.minimum(depth, _sylvian_distance(rng, s, open_))
    near = (depth > -3) & (depth < 24) & (h.tentorium > 0)
    wall = np.full(s.x.shape, FAR, np.float32)
    wall[near] = _sulci(rng, s, depth, near, open_)
    outside = -np.minimum(depth, wall)
    ribbon = np.float32(2.6) + 0.5 * smooth_noise(rng, 10, s.x.shape)
    return np.minimum(depth, wall) - ribbon, outside


def _fissure_distance(s: Space, falx: Field, open_: float) -> Field:
    """Return the distance to the interhemispheric fissure."""
    edge = np.interp(
        s.y, (-85, -47, -37, -20, 0, 20, 38, 47, 85), (-60, -40, 8, 23, 29, 26, 14, 6, -20)
    ).astype(np.float32)
    middle = np.where(falx < FAR, falx, s.x)
    half = 0.9 + 1.0 * open_ * coverage(s.y + 10, 50)
    surface: Field = np.maximum(np.abs(middle) - half, edge - s.z).astype(np.float32)
    return surface


def _sylvian_distance(rng: np.random.Generator, s: Space, open_: float) -> Field:
    """Return the distance to the Sylvian fissures and the insular cisterns."""
    x = np.abs(s.x)
    bend = smooth_noise(rng, 12, x.shape)
    half = np.float32(0.2 + 1.3 * open_) * (1 + 0.35 * smooth_noise(rng, 9, x.shape))
    level = s.z + 7 - 0.4 * (s.y + 10) + 2 * bend
    fissure = np.abs(level) - half * (1 - ((s.y - 2) / 36) ** 2) * (0.5 + (x - 34) / 60)
    fissure = np.maximum(fissure, np.maximum(34 - x, np.abs(s.y - 2) - 34))
    wall = 37 - 0.008 * (s.y + 2) ** 2 + 1.2 * bend
    insula = np.abs(x - wall) - half * (1 - ((s.z - 6) / 16) ** 2)
    insula = np.maximum(insula, np.maximum(np.abs(s.z - 6) - 12, np.abs(s.y + 2) - 24))
    surface: Field = np.minimum(fissure, insula)
    return surface


def _sulci(rng: np.random.Generator, s: Space, depth: Field, near: Field, open_: float) -> Field:
    """Return the distance to the nearest sulcus for the voxels `near` the surface, in mm.

    The sulci are the zero sheets of band-limited noise, stretched towards the middle of the brain
    so that they stand on the surface.
    """
    x, y, z, deep = s.x[near], s.y[near], s.z[near], depth[near]
    radius = np.sqrt(x * x + y * y + z * z) + 1
    stretch = 0.2 + 0.8 * 62 / radius
    points = np.stack((z * stretch, y * stretch, x * stretch)) / 2
    sheet = map_coordinates(_folding(rng), points, order=1, mode="grid-wrap", output=np.float32)
    reach = np.float32(13) + 5 * smooth_noise(rng, 16, s.x.shape)[near]
    half = (0.15 + 1.1 * open_) * (1 - deep / np.maximum(reach, 3))
    surface: Field = np.where(
        deep < reach, 2 * np.abs(sheet) - half, deep - reach + 2 * np.abs(sheet)
    )
    return surface


def _folding(rng: np.random.Generator, n: int = 96) -> Field:
    """Return (n, n, n) float32: distance to the zero sheets of noise of one wavelength, in voxels.

    Periodic; the wavelength is 11 voxels, so sheets lie some 5 to 6 voxels apart.
    """
    spectrum = rfftn(rng.standard_normal((n, n, n), dtype=np.float32))
    f = np.fft.fftfreq(n).astype(np.float32)
    k = np.sqrt(f[:, None, None] ** 2 + f[None, :, None] ** 2 + f[: n // 2 + 1] ** 2)
    field = irfftn(spectrum * np.exp(-(((k - 1 / 11) / 0.018) ** 2)), (n, n, n))
    slope = np.sqrt(sum(g * g for g in np.gradient(field)))
    surface: Field = (field / np.maximum(slope, 0.35 * slope.mean())).astype(np.float32)
    return surface


def _hindbrain(rng: np.random.Generator, h: Head, white: Field, outside: Field) -> None:
    """Write brain stem, cerebellum and the cisterns around them into `white` and `outside`."""
    s = h.space
    stem = np.full(s.x.shape, FAR, np.float32)
    for a, b, start, end in (
        ((0, 13, -4), (0, 12, -24), 15, 14),
        ((0, 8, -27), (0, 9, -42), 14.5, 14),
        ((0, 14, -46), (0, 24, -82), 9, 6.5),
    ):
        box, part = s.capsule(a, b, start, end)
        stem[box] = smooth_min(stem[box], part, 3)
    peduncles = s.everywhere(
        *(s.capsule((side * 12, 11, -37), (side * 27, 36, -41), 8.5) for side in (-1, 1))
    )
    below = h.tentorium < 0
    hind = np.minimum(np.minimum(stem, _cerebellum(h)), peduncles)
    outside[below] = hind[below]
    hilum = s.everywhere(s.ellipsoid((0, 40, -40), (34, 14, 11)))
    core = np.minimum(np.minimum(stem + 5, hilum), peduncles + 1)
    shells = np.sqrt(s.x**2 / 3 + (s.y - 30) ** 2 + (s.z + 38) ** 2)
    folia = np.sin(1.5 * shells + 2 * smooth_noise(rng, 6, shells.shape))
    white[below] = np.maximum(-core, 0.8 * folia - 0.7)[below]
    outside[~below] = np.maximum(outside, -_cisterns(h, stem))[~below]
    midbrain = ~below & (stem < 0) & (s.z < -2)
    outside[midbrain] = stem[midbrain]
    white[midbrain] = 0


def _cerebellum(h: Head) -> Field:
    """Return the signed distance to the surface of the cerebellum."""
    s = h.space
    distance = ellipsoid_distance([s.x / 54, (s.y - 48) / 39, (s.z + 36) / 36], (54, 39, 36))
    gap = np.float32(1.5 + 1.5 * h.traits.atrophy)
    distance = np.maximum(distance, np.maximum(h.cavity + gap, h.tentorium + 1))
    box, magna = s.ellipsoid((0, 64, -66), (9, 16, 12))
    distance[box] = np.maximum(distance[box], -magna)
    surface: Field = distance
    return surface


def _cisterns(h: Head, stem: Field) -> Field:
    """Return the signed distance to the cisterns in and above the notch of the tentorium."""
    s = h.space
    half = np.float32(1 + 0.8 * h.traits.atrophy)
    ambient = np.maximum(np.abs(stem - half) - half, np.maximum(s.z + 9, 8 - s.y))
    suprasellar = s.ellipsoid((0, -9, -25), (15, 13, 8))
    interpeduncular = s.ellipsoid((0, -1, -19), (5, 5, 7))
    quadrigeminal = s.ellipsoid((0, 32, -5), (9, 6, 8))
    surface: Field = np.minimum(ambient, s.everywhere(suprasellar, interpeduncular, quadrigeminal))
    return surface


def _fill(rng: np.random.Generator, h: Head, white: Field, outside: Field) -> None:
    """Turn distances into tissue: parenchyma, cerebrospinal fluid, ventricles."""
    t, walls = h.traits, h.ventricles
    tissue = t.grey_hu + (t.white_hu - t.grey_hu) * coverage(-white, 1.8)
    _deep_grey(h.space, tissue, t)
    tissue += 0.9 * smooth_noise(rng, 3, tissue.shape) + 0.5 * smooth_noise(rng, 14, tissue.shape)
    # Small-vessel disease darkens the white matter around the ventricles with age.
    tissue -= 6 * t.atrophy**2 * np.exp(-np.abs(walls) / 6)
    tissue -= 1.5 * coverage(h.tentorium + 2, 4)
    share = coverage(np.maximum(outside, -walls))
    inside = t.csf_hu + (tissue - t.csf_hu) * share
    # Cupping: beam hardening leaves the brain brighter next to the bone.
    inside += 3.5 * np.exp(np.minimum(h.cavity, 0) / 3.5)
    h.blend(WHOLE, coverage(h.cavity), inside.astype(np.float32))
    h.pia[...] = outside


def _deep_grey(s: Space, tissue: Field, t: Traits) -> None:
    """Draw caudate, lentiform nucleus and thalamus."""
    for side in (-1, 1):
        for a, b, start, end, tall in (
            ((11, -23, 2), (14, -8, 14), 5.5, 4.0, 1.3),
            ((25, -8, 1), (27, 6, 2), 6.5, 4.5, 1.4),
            ((9, 6, 5), (12, 18, 6), 7.0, 6.5, 1.2),
        ):
            box, nucleus = s.capsule((side * a[0], *a[1:]), (side * b[0], *b[1:]), start, end, tall)
            part = tissue[box]
            part += 0.8 * coverage(nucleus, 2) * np.maximum(t.grey_hu - part, 0)


def _dura(h: Head) -> None:
    """Draw falx and tentorium."""
    s, outside = h.space, h.cavity + 0.5
    h.paint(WHOLE, np.maximum(np.abs(h.falx) - 0.5, outside), DURA_HU)
    notch = np.sqrt((s.x / 20) ** 2 + ((s.y - 6) / 28) ** 2) * 20 - 20
    leaf = np.maximum(np.abs(h.tentorium) - 0.5, -notch)
    leaf = np.maximum(leaf, 0.5 * np.abs(s.x) - 13 - s.y)
    h.paint(WHOLE, np.maximum(leaf, outside), DURA_HU)


def _vessels(rng: np.random.Generator, h: Head) -> None:
    """Draw the dural sinuses and the large arteries."""
    s = h.space
    deep = -h.cavity
    hu = SINUS_HU + rng.normal(0, 3)
    sagittal = np.maximum(np.abs(s.x - 0.5) - 4.5 + 0.55 * deep, deep - 8)
    sagittal = np.maximum(sagittal, np.where((h.tentorium > 0) & (s.z > -8), -FAR, FAR))
    h.paint(WHOLE, np.maximum(sagittal, -deep), hu)
    # One transverse sinus is the wider one, mostly the right.
    wider = -1 if rng.random() < 0.6 else 1
    size = 4 + 1.2 * wider * np.sign(s.x)
    transverse = np.maximum(np.abs(h.tentorium) - size, deep - size - 0.5)
    transverse = np.maximum(transverse, 30 - s.y)
    h.paint(WHOLE, np.maximum(transverse, -deep), hu)
    h.paint(*s.capsule((0, 36, 3), (0, 82, -15), 1.8, 2.5), hu=hu)
    for side in (-1, 1):
        h.paint(*s.capsule((side * 9, -14, -30), (side * 8, -14, -20), 2.0), hu=VESSEL_HU)
        h.paint(*s.capsule((side * 8, -14, -20), (side * 34, -16, -10), 1.4), hu=VESSEL_HU)
    bend = rng.normal(0, 2)
    h.paint(*s.capsule((bend, -7, -28), (0, -8, -46), 1.7), hu=VESSEL_HU)
