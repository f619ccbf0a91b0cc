"""One head on the 1 mm grid: how it differs from others, and what is drawn into it.

Coordinates are anatomical (x left, y back, z up, mm from the middle of the brain; the line from
anterior to posterior commissure lies near z = 0). Every structure is a smooth implicit shape; what
differs from head to head is in `Traits` and in the warp of `shapes.space`.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.phantoms.shapes import Box, Field, Space, coverage


@dataclass(frozen=True, slots=True)
class Traits:
    """How one head differs from the next.

    Attributes
    ----------
    size
        Scale along x, y, z.
    pose_deg
        Nod, lean and turn of the head in its rest.
    warp_mm
        Strength of the smooth warp.
    atrophy
        0 (young, narrow sulci) to 1 (old, wide sulci and ventricles).
    ventricles
        Widths of the left and the right lateral ventricle against the standard.
    skull_mm, scalp_mm
        Thickness of the vault and of what covers it.
    white_hu, grey_hu, csf_hu
        Attenuation of white matter, grey matter and cerebrospinal fluid.
    """

    size: tuple[float, float, float]
    pose_deg: tuple[float, float, float]
    warp_mm: float
    atrophy: float
    ventricles: tuple[float, float]
    skull_mm: float
    scalp_mm: float
    white_hu: float
    grey_hu: float
    csf_hu: float


def random_traits(rng: np.random.Generator) -> Traits:
    """Return the traits of a random adult."""
    atrophy = float(rng.beta(1.3, 1.6))
    width = 0.75 + 0.8 * atrophy + rng.normal(0, 0.1)
    white = float(rng.uniform(26.0, 29.5))
    return Traits(
        size=tuple((rng.normal(0.955, 0.03) * rng.normal(1, 0.02, 3)).tolist()),
        pose_deg=tuple(rng.normal(0, (4, 2.5, 3.5)).tolist()),
        warp_mm=float(rng.uniform(0.8, 1.6)),
        atrophy=atrophy,
        ventricles=tuple(np.clip(width + rng.normal(0, 0.08, 2), 0.55, 1.8).tolist()),
        skull_mm=float(rng.uniform(5.5, 8.5)),
        scalp_mm=float(rng.uniform(4.5, 8)),
        white_hu=white,
        grey_hu=white + float(rng.uniform(7.0, 9.5)),
        csf_hu=float(rng.uniform(7, 13)),
    )


@dataclass(frozen=True, slots=True)
class Head:
    """A drawn head on the 1 mm grid; lesions and confounders are drawn into `hu`.

    Attributes
    ----------
    space
        Anatomical coordinates of each voxel.
    hu
        (z, y, x) float32, Hounsfield units.
    cavity
        (z, y, x) float32, signed distance to the inner table in mm, negative inside.
    pia
        (z, y, x) float32, signed distance to the surface of the parenchyma in mm, negative inside;
        positive in cisterns, fissures and sulci.
    ventricles
        (z, y, x) float32, signed distance to the walls of the ventricles in mm.
    falx, tentorium
        (z, y, x) float32, distance to the middle of either dural fold in mm, signed (positive to
        the left of the falx, above the tentorium) and far where the fold does not reach.
    traits
        What it was drawn from.
    """

    space: Space
    hu: Field
    cavity: Field
    pia: Field
    ventricles: Field
    falx: Field
    tentorium: Field
    traits: Traits

    @property
    def skull_box(self) -> Box:
        """The part of the grid that holds the vault of the skull and all inside it."""
        vault = (self.cavity < 9) & (self.space.z > -82)
        spans = []
        for axis in range(3):
            others = tuple(k for k in range(3) if k != axis)
            reached = np.flatnonzero(vault.any(axis=others))
            spans.append(slice(int(reached[0]), int(reached[-1]) + 1))
        return tuple(spans)  # type: ignore[return-value]

    def crop(self, box: Box) -> Self:
        """Return a part of the head; what is drawn into it is drawn into the whole."""
        fields = ("hu", "cavity", "pia", "ventricles", "falx", "tentorium")
        views = {name: getattr(self, name)[box] for name in fields}
        return replace(self, space=self.space.crop(box), **views)

    def paint(self, box: Box, distance: Field, hu: float | Field, edge_mm: float = 1.0) -> None:
        """Fill a shape, given by the signed distance to its surface, with an attenuation."""
        self.blend(box, coverage(distance, edge_mm), hu)

    def blend(self, box: Box, share: Field, hu: float | Field) -> None:
        """Mix an attenuation in, `share` of it in each voxel."""
        part = self.hu[box]
        change: Field = hu - part
        change *= share
        part += change

    @property
    def intracranial(self) -> NDArray[np.bool_]:
        """(z, y, x) bool, what skull stripping should leave: all inside the inner table."""
        return (self.cavity < 0) & (self.space.z > -74)
