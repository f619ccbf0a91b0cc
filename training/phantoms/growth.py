"""How each subtype grows in a real head: the field that blood follows, and its walls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from training.phantoms.lattice import STEP_MM
from training.phantoms.lesions import Lesion
from training.phantoms.scene import Scene
from training.phantoms.shapes import FAR, Field

EDGE_MM = 1.2
"""Width over which blood fades into tissue, about a scanner's point spread."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How a hemorrhage fills its place; fields are (w, v, u), mm.

    Attributes
    ----------
    field
        Blood takes what is lowest.
    wall
        Where blood must not go: positive there.
    floods
        Whether it takes the place of fluid alone.
    edge_mm
        Width over which it fades out; a wide fringe lies mostly beyond the surface.
    """

    field: Field
    wall: Field
    floods: bool = False
    edge_mm: float = EDGE_MM


def _on_table(scene: Scene, lesion: Lesion) -> tuple[float, float, float] | None:
    """Return the point of the inner table, on the lesion's side, that is nearest to its focus."""
    table = (
        scene.table & (scene.depth < 1.5 * STEP_MM) & (scene.x * lesion.side > 5) & (scene.z > -30)
    )
    if not table.any():
        return None
    nearest = np.argmin(np.where(table, scene.distance(lesion.focus), np.inf))
    return _place(scene, nearest)


def _place(scene: Scene, index: np.intp) -> tuple[float, float, float]:
    """Return the standard head's coordinates of a point of the lattice, by its flat index."""
    return float(scene.x.flat[index]), float(scene.y.flat[index]), float(scene.z.flat[index])


def _beside(scene: Scene, lesion: Lesion) -> Field:
    """Return a wall at the midline, some millimetres on the lesion's side of it."""
    return 2 - scene.x * np.float32(lesion.side)


def _epidural(rng: np.random.Generator, scene: Scene, lesion: Lesion) -> Growth | None:
    """A lens on the inner table: the farther from its focus, the thinner."""
    focus = _on_table(scene, lesion)
    if focus is None:
        return None
    # A cap of this flatness holds the volume at this radius; its field bends away from the bone.
    flatness = rng.uniform(0.35, 0.5)
    radius = (2 * lesion.volume_ml * 1000 / (np.pi * flatness)) ** (1 / 3)
    bowl = np.float32(flatness / radius) * scene.distance(focus) ** 2
    # It stays on its side and above the skull base.
    wall = np.maximum(_beside(scene, lesion), -35 - scene.z)
    return Growth(scene.depth + bowl, np.maximum(wall, _outside(scene)))


def _subdural(rng: np.random.Generator, scene: Scene, lesion: Lesion) -> Growth | None:
    """A crescent over the convexity, or a sheet on one side of the falx."""
    focus = lesion.focus if lesion.place == "falx" else _on_table(scene, lesion)
    if focus is None:
        return None
    # What is larger is thicker and wider.
    thickness = 3.2 + 0.12 * lesion.volume_ml
    radius = rng.uniform(1.0, 1.4) * np.sqrt(lesion.volume_ml * 1000 / (0.6 * np.pi * thickness))
    # Blood is low on the bone, or on the falx where it lies there.
    depth, wall = scene.depth, np.maximum(_beside(scene, lesion), -28 - scene.z)
    if lesion.place == "falx":
        depth = scene.x * np.float32(lesion.side)
        wall = np.maximum(0.5 - depth, scene.depth - 45)
    # It thins out towards its rim, here more, there less.
    taper = 1 - (scene.distance(focus) / np.float32(radius)) ** 3
    taper *= 1 + 0.25 * scene.noise(rng, 15)
    wall = np.maximum(wall, 6 * (0.1 - taper))
    return Growth(depth / np.maximum(taper, 0.1), np.maximum(wall, _outside(scene)))


def _outside(scene: Scene) -> Field:
    """Return a wall around the inside of the skull, a cell beyond it: the slices cut it sharp."""
    return np.where(ndimage.maximum_filter(scene.depth, 3) > 0, -FAR, FAR)


def _intraventricular(rng: np.random.Generator, scene: Scene, lesion: Lesion) -> Growth:
    """Blood that has sunk to the back of the ventricles, more of it on one side."""
    # The other ventricle fills later, by a random number of mm.
    other = np.where(scene.x * lesion.side > 0, 0, np.float32(rng.uniform(0, 25)))
    field = other - scene.back + 1.5 * scene.noise(rng, 10)
    return Growth(field, scene.ventricles - 2.5, floods=True)


def _wettest(scene: Scene, focus: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return a point near the focus with much fluid around it: young heads have few wide sulci."""
    # Fluid of the sulci and cisterns within 16 mm, less the farther from the focus.
    sulci = scene.flooded * ((scene.ventricles > 8) & (scene.z > -40))
    amount = ndimage.uniform_filter(sulci, round(16 / STEP_MM)) * np.exp(
        -scene.distance(focus) / 10
    )
    best = np.argmax(amount)
    return _place(scene, best)


def _subarachnoid(rng: np.random.Generator, scene: Scene, lesion: Lesion) -> Growth:
    """Blood that floods the sulci and cisterns around its focus, here more, there less."""
    focus = _wettest(scene, lesion.focus)
    field = scene.distance(focus) + rng.uniform(5, 12) * scene.noise(rng, 10)
    # Walls around the third ventricle, the other ventricles, the skull base and what is far off.
    third = 8 - np.maximum(np.maximum(np.abs(scene.x), np.abs(scene.y + 5) - 9), -12 - scene.z)
    walls = (5 - scene.ventricles, third, -45 - scene.z, field - 45)
    return Growth(field, np.maximum.reduce(walls), floods=True, edge_mm=6)


def _intraparenchymal(rng: np.random.Generator, scene: Scene, lesion: Lesion) -> Growth:
    """A warped ellipsoid that keeps to its side and out of the ventricles."""
    # A random turn and stretch of space, (3, 3).
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.75, 1.3, 3)
    rel = np.stack(
        [a - np.float32(c) for a, c in zip((scene.x, scene.y, scene.z), lesion.focus, strict=True)]
    )
    # Distance in the turned space, (w, v, u), made uneven by two fields of noise.
    radius = (lesion.volume_ml * 240) ** (1 / 3)
    norm = np.linalg.norm(np.tensordot(turn.T.astype(np.float32), rel, 1), axis=0)
    warp = 1 + 0.16 * scene.noise(rng, max(6, 0.8 * radius)) + 0.07 * scene.noise(rng, 5)
    field = norm * np.maximum(warp, 0.4)
    # It stays off the bone and the ventricles, and on its side of the falx.
    wall = np.maximum.reduce((2.5 - scene.depth, 1 - scene.ventricles, field - 2 * radius))
    if lesion.place not in ("pons", "cerebellum"):
        wall = np.maximum(wall, _beside(scene, lesion))
    return Growth(field, wall)


GROWTH: Mapping[str, Callable[[np.random.Generator, Scene, Lesion], Growth | None]] = {
    "epidural": _epidural,
    "intraparenchymal": _intraparenchymal,
    "intraventricular": _intraventricular,
    "subarachnoid": _subarachnoid,
    "subdural": _subdural,
}
"""How each subtype grows in a real head; None where it has no place."""
