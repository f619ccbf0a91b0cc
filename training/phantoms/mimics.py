"""Normal heads with one mimic of blood each, and its pixels: phantoms, and real heads.

Real heads take the mimics that are a body at a place that the standard head's coordinates name:
calcium, and a meningioma. The others, as a dense sinus does, follow what nobody outlined.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.preprocess import Array
from models.volume import Volume
from training.datasets.case import Case
from training.phantoms import phantom
from training.phantoms.cases import skull_inside
from training.phantoms.lattice import Mask
from training.phantoms.scene import BONE_HU, Scene, scene_of
from training.phantoms.shapes import coverage

NAMES: Mapping[str, str] = {
    "pineal": "calcium of the pineal gland",
    "choroid": "calcium of the choroid plexus",
    "basal_ganglia": "calcium of the basal ganglia",
    "falx": "dense falx",
    "sinus": "dense venous sinuses",
    "vessels": "dense basal arteries",
    "meningioma": "meningioma",
    "metastasis": "tumour with oedema",
    "laminar": "laminar necrosis",
    "pseudo_sah": "swollen brain",
    "postoperative": "after an operation",
    "metal": "metal with streaks",
    "beam_hardening": "beam hardening at the base",
    "contrast": "contrast medium",
}
"""The mimics of `training.phantoms.confounders` that can be taken for blood, in words."""

NONE = "none"
"""A head without any mimic, to compare with."""

CALCIUM_HU, MENINGIOMA_HU = (90.0, 300.0), (46.0, 60.0)
"""Attenuations, as in the phantoms."""

Body = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Centre and half axes of an ellipsoid, mm of the standard head."""

Bodies = Callable[[np.random.Generator], list[Body]]


def _pineal(rng: np.random.Generator) -> list[Body]:
    return [(np.array((0.0, 29, 0)), rng.uniform(1.5, 3.5, 3))]


def _choroid(rng: np.random.Generator) -> list[Body]:
    sides = (-1, 1)
    return [(rng.normal((side * 19, 33, 9), 1), rng.uniform(1.5, 4, 3)) for side in sides]


def _basal_ganglia(rng: np.random.Generator) -> list[Body]:
    radii = rng.uniform(2.5, 5.5, 3)
    return [(np.array((side * 20.0, -4, 0)), radii) for side in (-1, 1)]


def _falx(rng: np.random.Generator) -> list[Body]:
    centre = np.array((0, rng.uniform(-55, 0), rng.uniform(35, 55)))
    return [(centre, np.array((2.2, rng.uniform(4, 10), rng.uniform(3, 7))))]


def _meningioma(rng: np.random.Generator) -> list[Body]:
    radius = rng.uniform(10, 15)
    places = ((60 - radius / 2, -20, 30), (50 - radius / 2, -48, 22))
    centre = np.array(places[rng.choice(2)], float)
    centre[0] *= rng.choice((-1, 1))
    return [(centre, radius * rng.uniform(0.9, 1.1, 3))]


BODIES: Mapping[str, tuple[tuple[float, float], Bodies]] = {
    "pineal": (CALCIUM_HU, _pineal),
    "choroid": (CALCIUM_HU, _choroid),
    "basal_ganglia": (CALCIUM_HU, _basal_ganglia),
    "falx": (CALCIUM_HU, _falx),
    "meningioma": (MENINGIOMA_HU, _meningioma),
}
"""What real heads take: between which attenuations, and where."""


@dataclass(frozen=True, slots=True)
class Mimicked:
    """A normal head with a mimic: `mimic` is (z, y, x) bool, where it is denser for it."""

    volume: Volume
    mimic: Mask


def implant_mimic(volume: Volume, inside: Mask, seed: int, name: str) -> Mimicked:
    """Return a scan with one of the `BODIES` put in.

    Parameters
    ----------
    volume
        A head CT without hemorrhage.
    inside
        (z, y, x) bool, the inside of its skull; some of it is true.
    seed
        Same seed and arguments, same body.
    """
    rng = np.random.default_rng(seed)
    scene, hu = scene_of(volume, inside), volume.hu.copy()
    between_hu, bodies = BODIES[name]
    mimic_hu, mimic = rng.uniform(*between_hu), np.zeros(hu.shape, bool)
    for centre, radii in bodies(rng):
        surface = _ellipsoid(scene, centre, radii)
        for z in range(len(hu)):
            share = _share(scene, surface, z) * (inside[z] & (volume.hu[z] < BONE_HU))
            hu[z] += share * np.maximum(mimic_hu - hu[z], 0)
            mimic[z] |= share > 0.5
    return Mimicked(replace(volume, hu=hu), mimic)


def _ellipsoid(scene: Scene, centre: NDArray[np.float64], radii: NDArray[np.float64]) -> Array:
    """Return about the signed distance to an ellipsoid on the lattice, mm, negative inside."""
    offsets = (scene.x - centre[0], scene.y - centre[1], scene.z - centre[2])
    scaled = sum((offset / radius) ** 2 for offset, radius in zip(offsets, radii, strict=True))
    return np.asarray((np.sqrt(scaled) - 1) * radii.min(), np.float32)


def _share(scene: Scene, surface: Array, z: int) -> Array:
    """Return how much of each voxel of slice z lies within the surface, (y, x) 0..1."""
    thirds = scene.lattice.thirds(surface, z)
    share: Array = np.mean([coverage(third) for third in thirds], axis=0)
    return share


def drawn(name: str, seed: int) -> Mimicked:
    """Return a normal phantom of the test range with this mimic and no other, or with `NONE`."""
    head = phantom(seed, confounders=() if name == NONE else (name,), split="test")
    return Mimicked(head.volume, head.denser & head.brain)


def implanted(case: Case, name: str) -> Mimicked:
    """Return a patient's normal head with this mimic put in, or with `NONE`."""
    inside = skull_inside(case.volume)
    if name == NONE or not inside.any():
        return Mimicked(case.volume, np.zeros(case.volume.hu.shape, bool))
    seed = np.random.default_rng([*name.encode(), *case.name.encode()]).integers(1 << 32)
    return implant_mimic(case.volume, inside, int(seed), name)
