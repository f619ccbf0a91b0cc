"""The head around the brain: scalp, skull, face and the top of the neck."""

import numpy as np
from numpy.typing import NDArray

from training.phantoms.head import Head, Traits
from training.phantoms.shapes import (
    FAR,
    SHAPE,
    Box,
    Field,
    Space,
    coverage,
    ellipsoid_distance,
    smooth_max,
    smooth_min,
    smooth_noise,
)

AIR_HU = -1000
FAT_HU = -100
SKIN_HU = 60
MUSCLE_HU = 53


def draw_skull(rng: np.random.Generator, space: Space, traits: Traits) -> Head:
    """Return a head with everything but the brain drawn."""
    cavity = _cavity(space)
    hu = _soft_tissue(rng, space, cavity, traits)
    pia, ventricles, falx, tentorium = (np.full(SHAPE, FAR) for _ in range(4))
    h = Head(space, hu, cavity, pia, ventricles, falx, tentorium, traits)
    _vault(rng, h)
    _base(rng, h)
    _face(rng, h)
    return h


def _cavity(s: Space) -> Field:
    """Return the signed distance to the inner table of the skull, negative inside."""
    # Wider behind than in front, as a skull is.
    x = s.x / (1 + np.float32(0.06) * np.clip(s.y / 60, -1, 1))
    vault = ellipsoid_distance([x / 67, (s.y - 1) / 85, (s.z - 3) / 71], (67, 85, 71))
    cavity: Field = vault.copy()
    box = s.box([(-70, -86, -70), (70, 86, -24)], 8)
    lateral, y, z = np.abs(s.x[box]), s.y[box], s.z[box]
    roof = np.exp(-(((lateral - 30) / 15) ** 2) - ((y + 62) / 24) ** 2)
    cavity[box] = smooth_max(cavity[box], 10 * roof - 31 - z, 4)
    box, posterior = s.ellipsoid((0, 40, -35), (56, 43, 36))
    cavity[box] = smooth_min(cavity[box], posterior, 4)
    for side in (-1, 1):
        box, temporal = s.ellipsoid((side * 39, -12, -27), (25, 31, 24))
        cavity[box] = smooth_min(cavity[box], temporal, 4)
    box, canal = s.capsule((0, 24, -62), (0, 32, -104), 15, 11)
    cavity[box] = smooth_min(cavity[box], canal, 3)
    return cavity


def _soft_tissue(rng: np.random.Generator, s: Space, cavity: Field, traits: Traits) -> Field:
    """Return air outside, and a head of skin, fat and muscle inside."""
    outside = cavity - np.float32(traits.skull_mm + traits.scalp_mm)
    low = s.box([(-90, -120, -100), (90, 100, -20)], 0)
    x, y, z = s.x[low], s.y[low], s.z[low]
    face = ellipsoid_distance([x / 62, (y + 44) / 62, (z + 62) / 62], (62, 62, 62))
    neck = np.sqrt((x / 64) ** 2 + ((y - 12) / 66) ** 2) * 60 - 60
    neck = smooth_max(neck, z + 45, 15)
    outside[low] = smooth_min(smooth_min(outside[low], face, 10), neck, 12)
    box, nose = s.capsule((0, -90, -28), (0, -112, -58), 7, 10)
    outside[box] = smooth_min(outside[box], nose, 5)
    for side in (-1, 1):
        box, ear = s.ellipsoid((side * 84, 22, -38), (5, 14, 24))
        outside[box] = smooth_min(outside[box], ear, 2)
    muscle = np.zeros(SHAPE, np.float32)
    planes = np.abs(smooth_noise(rng, 11, x.shape))
    muscle[low] = coverage(0.6 - 4 * planes, 1.5) * coverage(z + 30, 20)
    muscle[low] *= coverage(outside[low] + 6, 3)
    for side in (-1, 1):
        box, temporalis = s.ellipsoid((side * 68, -18, -14), (9.5, 36, 42))
        muscle[box] = np.maximum(muscle[box], coverage(temporalis, 2))
    hu = FAT_HU + (MUSCLE_HU - FAT_HU) * muscle
    hu += (SKIN_HU - hu) * coverage(-2.2 - outside)
    hu += (AIR_HU - hu) * coverage(-outside)
    return hu


def _vault(rng: np.random.Generator, h: Head) -> None:
    """Draw the skull around the cavity: two tables, diploe between, sutures."""
    near = (h.cavity > -2) & (h.cavity < 15) & (h.space.z > -84)
    s = Space(h.space.x[near], h.space.y[near], h.space.z[near], h.space.affine)
    cavity = h.cavity[near]
    thickness = h.traits.skull_mm + smooth_noise(rng, 18)[near]
    thickness += 4 * np.exp(-((s.x / 14) ** 2) - ((s.y - 82) / 14) ** 2 - ((s.z + 18) / 14) ** 2)
    thickness += 2 * np.exp(-((s.x / 30) ** 2) - ((s.y + 84) / 18) ** 2)
    thickness -= 2.5 * coverage(s.z - 15, 20) * coverage(62 - np.abs(s.x), 14)
    # The roofs of the orbits and of the nose are thin.
    thickness -= 4.5 * coverage(s.z + 16, 6) * coverage(s.y + 25, 12) * coverage(-84 - s.y, 10)
    thickness = np.maximum(thickness, 2)
    # Under the brain stem the canal leaves the skull.
    bone = np.maximum(smooth_max(cavity - thickness, -78 - s.z, 3), -cavity)
    middle = np.abs(cavity - thickness / 2) - thickness / 2 + 1.6
    diploe = 620 + 130 * smooth_noise(rng, 3)[near]
    inside = 1250 + (diploe - 1250) * coverage(middle, 1.5)
    inside -= 600 * _sutures(rng, s, near)
    part = h.hu[near]
    h.hu[near] = part + coverage(bone) * (inside - part)


def _sutures(rng: np.random.Generator, s: Space, near: NDArray[np.bool_]) -> Field:
    """Return how much of each voxel `near` the skull is suture, 0..1."""
    sagittal = np.where((s.y > -24) & (s.z > 30), np.abs(s.x), FAR)
    gap = np.minimum(np.minimum(np.abs(coronal(s)), np.abs(lambdoid(s))), sagittal)
    gap += 1.2 * np.abs(smooth_noise(rng, 3)[near])
    return coverage(gap - 1) * coverage(-5 - s.z, 4)


def coronal(s: Space) -> Field:
    """Return the signed distance to the coronal suture, positive behind it, in mm."""
    return s.y + 18 + 0.22 * (70 - s.z)


def lambdoid(s: Space) -> Field:
    """Return the signed distance to the lambdoid suture, positive behind it, in mm."""
    return (s.y - 84 + 0.55 * np.abs(s.x)) * 0.88


def _base(rng: np.random.Generator, h: Head) -> None:
    """Draw the base of the skull: clivus, sphenoid with its wings, petrous bones."""
    s = h.space
    clivus = s.capsule((0, -6, -38), (0, 12, -74), 7)
    sphenoid = s.ellipsoid((0, -30, -42), (19, 20, 13))
    h.paint(*_outside(h, clivus), hu=700)
    h.paint(*_outside(h, sphenoid), hu=650)
    for side in (-1, 1):
        wing = s.capsule((side * 6, -26, -24), (side * 50, -32, -21), 2.5)
        h.paint(*_outside(h, wing), hu=900)
        _petrous(rng, h, side)


def _petrous(rng: np.random.Generator, h: Head, side: int) -> None:
    """Draw one petrous bone: ridge, mastoid with its air cells, ear canals and cochlea."""
    s = h.space
    box, ridge = s.capsule((side * 18, -2, -42), (side * 58, 30, -38), 8, 13)
    ridge = np.maximum(ridge, -63 - s.z[box])
    h.paint(box, ridge, 1050 + 150 * smooth_noise(rng, 3, ridge.shape))
    h.cavity[box] = np.maximum(h.cavity[box], -ridge)
    box, mastoid = s.ellipsoid((side * 63, 32, -46), (11, 15, 17))
    air = coverage(2 * smooth_noise(rng, 2.5, mastoid.shape) - 0.5)
    h.paint(box, np.maximum(mastoid - 3, 2 - h.cavity[box]), 700)
    h.blend(box, coverage(np.maximum(mastoid, 3 - h.cavity[box])) * air, AIR_HU)
    h.paint(*s.capsule((side * 52, 14, -44), (side * 90, 16, -46), 3.5), hu=AIR_HU)
    h.paint(*s.ellipsoid((side * 32, 10, -41), (7, 5, 5)), hu=1500)
    h.paint(*s.capsule((side * 12, 12, -42), (side * 30, 12, -41), 2.5), hu=15)


def _outside(h: Head, shape: tuple[Box, Field]) -> tuple[Box, Field]:
    """Cut off what reaches into the cavity."""
    box, distance = shape
    return box, np.maximum(distance, -h.cavity[box])


def _face(rng: np.random.Generator, h: Head) -> None:
    """Draw orbits, sinuses, nose, jaws and the top of the neck."""
    for side in (-1, 1):
        _orbit(h, side)
        _jaw(h, side)
    _nose(rng, h)
    s = h.space
    for centre, radii in (  # the sphenoid sinus and the frontal sinus
        ((0, -31, -42), (14, 14, 9)),
        ((rng.normal(0, 3), -87, -14), (14, 4, 11)),
    ):
        box, sinus = s.ellipsoid(centre, radii)
        septum = np.abs(s.x[box] - rng.normal(0, 2)) - 0.7
        h.paint(box, np.maximum(np.maximum(sinus, -septum), 1.5 - h.cavity[box]), AIR_HU)
    pharynx = s.capsule((0, -28, -66), (0, -14, -110), 9)
    h.paint(*pharynx, hu=AIR_HU)
    box, atlas = s.ellipsoid((0, 22, -92), (28, 24, 8))
    h.paint(box, np.maximum(atlas, 1 - h.cavity[box]), 700)
    dens = s.capsule((0, 2, -82), (0, 4, -110), 5)
    h.paint(*dens, hu=850)


def _orbit(h: Head, side: int) -> None:
    """Draw one orbit: its wall, fat, muscles, optic nerve, globe and lens."""
    s = h.space
    box, orbit = s.ellipsoid((side * 32, -68, -38), (20, 27, 18))
    wall = np.maximum(np.abs(orbit - 1.5) - 1.5, -h.cavity[box])
    h.paint(box, np.maximum(wall, -88 - s.y[box]), 800)
    h.paint(*_outside(h, (box, orbit)), hu=FAT_HU)
    for up, out in ((9, 0), (-9, 0), (0, 11), (0, -9)):
        start = (side * (33 + out), -80, -38 + up)
        h.paint(*s.capsule(start, (side * 14, -42, -37), 2.0), hu=50)
    h.paint(*s.capsule((side * 33, -70, -38), (side * 12, -38, -35), 2.2), hu=38)
    h.paint(*s.ellipsoid((side * 33, -81, -38), (13, 13, 13)), hu=40)
    h.paint(*s.ellipsoid((side * 33, -81, -38), (11.5, 11.5, 11.5)), hu=8)
    h.paint(*s.ellipsoid((side * 33, -91, -38), (5, 2.5, 5)), hu=75)


def _jaw(h: Head, side: int) -> None:
    """Draw one side's maxillary sinus, cheek bone, mandible and pterygoid."""
    s = h.space
    box, antrum = s.ellipsoid((side * 29, -62, -68), (16, 18, 18))
    h.paint(box, antrum - 2, 750)
    h.paint(box, antrum, AIR_HU)
    h.paint(*s.capsule((side * 50, -50, -60), (side * 66, -10, -48), 3), hu=850)
    h.paint(*s.capsule((side * 47, -22, -60), (side * 46, -28, -110), 5), hu=900)
    h.paint(*s.capsule((side * 52, -86, -30), (side * 51, -84, -58), 4), hu=800)
    h.paint(*s.capsule((side * 18, -35, -62), (side * 17, -36, -100), 3), hu=700)


def _nose(rng: np.random.Generator, h: Head) -> None:
    """Draw the nasal cavity with its cells, the palate and the tongue."""
    s = h.space
    box, cavity = _outside(h, s.ellipsoid((0, -62, -50), (15, 34, 24)))
    walls = 0.7 - 2.5 * np.abs(smooth_noise(rng, 4, cavity.shape))
    h.paint(box, cavity - 1.5, 600)
    h.paint(box, np.maximum(cavity, walls), AIR_HU)
    h.paint(*s.ellipsoid((0, -70, -88), (26, 30, 4)), hu=700)
    h.paint(*s.ellipsoid((0, -62, -104), (24, 26, 14)), hu=60)
