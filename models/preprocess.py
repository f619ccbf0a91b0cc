"""From slabs to the networks' lattices and back.

    Volume -> slabs, about 5 mm thick (models.slabs) -> coarse box (skull stripping)
                                                     -> fine canvas (the ensemble)

A gantry tilt is not corrected. Slices are stacked along the table, in whose direction a head lies
nearly straight, and the networks are trained on tilted heads.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.findings import Unreadable
from models.slabs import AIR, Slabs
from models.windows import BONE, BRAIN, STROKE

HEAD_MM2 = 1000.0
"""A slab with no more tissue than this, in square mm, lies above the vertex.

An estimate; nothing was measured.
"""

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Grid:
    """The lattices on which the networks' input is sampled, fixed in the bundle.

    Attributes
    ----------
    rows, columns, step_mm
        Size and step of the fine canvas of one slab, centred on the brain.
    slab_mm
        Thinner slices are averaged to about this thickness.
    coarse
        (z, y, x) shape of the skull stripper's box, centred on the head; its top is at the vertex.
    coarse_mm
        (z, y, x) steps of that box; those of y and x are equal.
    """

    rows: int = 208
    columns: int = 176
    step_mm: float = 1.0
    slab_mm: float = 5.0
    coarse: tuple[int, int, int] = (40, 64, 64)
    coarse_mm: tuple[float, float, float] = (5.0, 4.0, 4.0)


def resampling(targets: NDArray[np.float64], count: int, spacing: float, step: float) -> Array:
    """Return the (t, count) float32 matrix that samples a line of `count` values at t targets.

    What lies outside the line counts as 0.

    Parameters
    ----------
    targets
        (t,) float64, positions in mm, 0 at the first value.
    count, spacing
        Number of values on the line, and their distance in mm.
    step
        Distance between targets in mm. The triangular kernel is as wide as the coarser of the two
        lattices, so that there is no aliasing.
    """
    reach = max(step, spacing)

    def kernel(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(0, 1 - np.abs(offsets) / reach)

    # (k,) the values around a target on a line without ends, and (t, 1) the sum of their weights.
    around = np.arange(-np.ceil(reach / spacing) - 1, np.ceil(reach / spacing) + 2) * spacing
    endless = kernel((targets % spacing)[:, None] - around).sum(1, keepdims=True)
    # (t, count): each weight as a part of that sum, so that values beyond the ends count as 0.
    weights = kernel(targets[:, None] - _pixels(count, spacing)) / endless
    return np.asarray(weights, np.float32)


def _pixels(count: int, spacing: float) -> NDArray[np.float64]:
    """(count,) float64 positions in mm, the first one at 0."""
    return np.arange(count, dtype=np.float64) * np.float64(spacing)


def lattice(centre_mm: float, count: int, step: float) -> NDArray[np.float64]:
    """(count,) float64 positions in mm, symmetric around the centre."""
    return centre_mm + (np.arange(count, dtype=np.float64) - (count - 1) / 2) * np.float64(step)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a lattice lies on the slabs.

    Attributes
    ----------
    centre_mm
        (y, x) of its centre, in mm from the centre of the first voxel.
    rows, columns, step_mm
        Its size and step.
    """

    centre_mm: tuple[float, float]
    rows: int
    columns: int
    step_mm: float

    @property
    def corner_mm(self) -> tuple[float, float]:
        """(y, x) of its first point, in mm from the centre of the first voxel."""
        return (
            float(lattice(self.centre_mm[0], self.rows, self.step_mm)[0]),
            float(lattice(self.centre_mm[1], self.columns, self.step_mm)[0]),
        )

    def sample(self, slabs: Slabs) -> Array:
        """(s, y, x) HU of the slabs -> (s, rows, columns) float32, HU; air outside the slabs."""
        # (rows, y) and (columns, x) matrices.
        down, across = (
            resampling(lattice(centre, count, self.step_mm), size, spacing, self.step_mm)
            for centre, count, size, spacing in zip(
                self.centre_mm,
                (self.rows, self.columns),
                slabs.hu.shape[1:],
                slabs.spacing_mm,
                strict=True,
            )
        )
        # (rows, y) x (s, y, x) x (x, columns) -> (s, rows, columns); outside counted as 0.
        sampled: Array = np.matmul(np.matmul(down, slabs.hu), across.T)
        # (rows, columns), the part of each point's weight that lies inside; the rest is air.
        covered = np.outer(down.sum(1), across.sum(1))
        sampled += AIR * (1 - covered)
        return sampled

    def spread(
        self, planes: Array, shape: tuple[int, ...], spacing_mm: tuple[float, float]
    ) -> Array:
        """(s, rows, columns) on this frame -> (s, y, x), interpolated at pixels; 0 outside.

        Parameters
        ----------
        shape, spacing_mm
            (y, x) number of the pixels and their distances; the first lies at 0, 0 mm.
        """
        # (y, rows) and (x, columns) matrices.
        down, across = (
            resampling(_pixels(size, spacing) - corner, count, self.step_mm, spacing)
            for corner, count, size, spacing in zip(
                self.corner_mm, (self.rows, self.columns), shape, spacing_mm, strict=True
            )
        )
        # (y, rows) x (s, rows, columns) x (columns, x) -> (s, y, x).
        spread: Array = np.matmul(np.matmul(down, planes), across.T)
        return spread


@dataclass(frozen=True, slots=True)
class CoarseHead:
    """The head in the skull stripper's box.

    Attributes
    ----------
    hu
        (z, y, x) float32, of shape `Grid.coarse`, HU; the last plane is the highest.
    frame
        The in-plane lattice.
    heights_mm
        (z,) float64, the location of each plane along the slabs' normal.
    """

    hu: Array
    frame: Frame
    heights_mm: NDArray[np.float64]

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        between = float(self.heights_mm[1] - self.heights_mm[0])
        return between * self.frame.step_mm**2 / 1000


def coarse_head(slabs: Slabs, grid: Grid) -> CoarseHead:
    """Find the head and return it at coarse resolution.

    Raises
    ------
    Unreadable
        If the volume holds no tissue as wide as a head.
    """
    step = grid.coarse_mm[1]
    whole = _whole_frame(slabs, step)
    head = _largest_tissue(whole.sample(slabs))  # (s, rows, columns)
    # The vertex is the highest slab that shows enough of the head; (z,) planes hang down from it.
    wide = np.flatnonzero(head.sum((1, 2)) * step**2 > HEAD_MM2)
    if len(wide) == 0:
        raise Unreadable("no tissue as wide as a head found: the series is not a head CT")
    top = slabs.locations_mm[wide[-1]]
    heights = top + grid.coarse_mm[0] * (np.arange(grid.coarse[0]) - grid.coarse[0] + 1.0)
    # The centre of mass of what lies within these heights, in mm.
    rows = lattice(whole.centre_mm[0], whole.rows, step)
    columns = lattice(whole.centre_mm[1], whole.columns, step)
    upper = head[slabs.locations_mm >= heights[0]]
    centre = (
        float(np.average(rows, weights=upper.sum((0, 2)))),
        float(np.average(columns, weights=upper.sum((0, 1)))),
    )
    frame = Frame(centre, *grid.coarse[1:], step)
    # (s, y, x) on the slabs -> (z, y, x) at the heights of the box.
    hu = _between(frame.sample(slabs), slabs.locations_mm, heights, outside=AIR)
    return CoarseHead(hu, frame, heights)


def _whole_frame(slabs: Slabs, step_mm: float) -> Frame:
    """Return the lattice that covers the whole of the slabs."""
    extent = [
        (size - 1) * spacing
        for size, spacing in zip(slabs.hu.shape[1:], slabs.spacing_mm, strict=True)
    ]
    middle = (extent[0] / 2, extent[1] / 2)
    return Frame(middle, int(extent[0] / step_mm) + 1, int(extent[1] / step_mm) + 1, step_mm)


def _largest_tissue(hu: Array) -> NDArray[np.bool_]:
    """(s, y, x) HU -> (s, y, x) bool, the largest connected piece that is denser than fat.

    The opening cuts thin bridges, such as those to the headrest.
    """
    tissue = ndimage.binary_opening(hu > -300, np.ones((1, 3, 3)))
    pieces, _ = ndimage.label(tissue, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=2)  # of the background, then of each piece
    largest: NDArray[np.bool_] = pieces == 1 + sizes[1:].argmax()
    return largest


def _between(
    planes: Array, at_mm: NDArray[np.float64], wanted_mm: NDArray[np.float64], outside: np.float32
) -> Array:
    """(s, y, x) planes at (s,) locations -> (z, y, x), interpolated linearly at (z,) others.

    Locations further than half a gap beyond the first or last plane get `outside`.
    """
    # (z,) the planes below and above each wanted location; both are 0 if there is one plane.
    upper = np.clip(np.searchsorted(at_mm, wanted_mm), 1, max(len(at_mm) - 1, 1))
    lower = upper - 1
    upper = np.minimum(upper, len(at_mm) - 1)
    # (z, 1, 1) how far each location is on the way from the lower to the upper plane, 0..1.
    gap = np.where(upper > lower, at_mm[upper] - at_mm[lower], 1.0)
    part = np.clip((wanted_mm - at_mm[lower]) / gap, 0, 1).astype(np.float32)[:, None, None]
    found = planes[lower] * (1 - part) + planes[upper] * part
    margin = 0.5 * (np.median(np.diff(at_mm)) if len(at_mm) > 1 else 5.0)
    beyond = (wanted_mm < at_mm[0] - margin) | (wanted_mm > at_mm[-1] + margin)
    found[beyond] = outside
    return found


@dataclass(frozen=True, slots=True)
class Canvas:
    """The input of the ensemble.

    Attributes
    ----------
    hu
        (s, rows, columns) float32, HU on the fine lattice.
    brain
        (s, rows, columns) float32, probability of the inside of the skull, 0..1.
    frame
        Where the fine lattice lies on the slabs.
    """

    hu: Array
    brain: Array
    frame: Frame

    def at_voxels(self, planes: Array, slabs: Slabs) -> NDArray[np.uint8]:
        """(s, rows, columns) 0..1 on the canvas -> (z, y, x) 0..255 in the source's geometry."""
        # Back to the pixels of the slabs: (s, y, x), 0..255.
        spread = self.frame.spread(planes * 255, slabs.hu.shape[1:], slabs.spacing_mm)
        # One plane for each source slice, in the source's orientation: (z, y, x).
        return slabs.restore(np.rint(spread, out=spread).astype(np.uint8)[slabs.of_slice])


def confirm_head(head: CoarseHead, inside: Array, least_ml: float, least_bone: float) -> None:
    """Check that the skull stripper found a brain inside a skull.

    Parameters
    ----------
    inside
        (z, y, x) float32, the skull stripper's probabilities, 0..1.
    least_ml
        Smallest volume that counts as a brain.
    least_bone
        Smallest share of its outline that bone must follow. Measured here: 0.88 and more in adult
        heads, 0.55 in an infant, 0.1 in a body.

    Raises
    ------
    Unreadable
        If it did not; the message says what was measured.
    """
    brain = inside > 0.5
    brain_ml = float(brain.sum()) * head.voxel_ml
    if brain_ml < least_ml:
        raise Unreadable(
            f"no brain found: {brain_ml:.0f} mL inside a skull, {least_ml:.0f} mL needed; "
            "the series is not a head CT or shows too little of the head"
        )
    # The voxels around the brain, and whether bone lies at or beside each; all (z, y, x) bool.
    near = np.ones((1, 3, 3))
    outline = ndimage.binary_dilation(brain, near) & ~brain
    share = float(ndimage.binary_dilation(head.hu > 200, near)[outline].mean())
    if share < least_bone:
        raise Unreadable(
            f"no skull found: bone follows {share:.0%} of the outline of what might be a brain "
            f"({brain_ml:.0f} mL), {least_bone:.0%} needed; the series is not a head CT"
        )


def make_canvas(slabs: Slabs, head: CoarseHead, inside: Array, grid: Grid) -> Canvas:
    """Return the slabs sampled on the fine lattice, which is centred on the brain.

    Parameters
    ----------
    inside
        (z, y, x) float32, the skull stripper's probabilities, 0..1; at least one above 0.5.
    """
    # The middle of the brain in mm: from rows (y,) and columns (x,) of the coarse box.
    brain, (top, left) = inside > 0.5, head.frame.corner_mm
    centre = (
        top + _middle(brain.sum((0, 2))) * head.frame.step_mm,
        left + _middle(brain.sum((0, 1))) * head.frame.step_mm,
    )
    frame = Frame(centre, grid.rows, grid.columns, grid.step_mm)
    # Probabilities at the slabs' locations: (z, y, x) -> (s, y, x), still on the coarse lattice.
    at_slabs = _between(inside, head.heights_mm, slabs.locations_mm, outside=np.float32(0))
    # The coarse lattice as it lies on the fine one, whose corner is the new origin.
    (y, x), (top, left) = head.frame.centre_mm, frame.corner_mm
    shifted = replace(head.frame, centre_mm=(y - top, x - left))
    # (s, y, x) -> (s, rows, columns).
    fine = shifted.spread(at_slabs, (grid.rows, grid.columns), (grid.step_mm, grid.step_mm))
    return Canvas(frame.sample(slabs), np.clip(fine, 0, 1), frame)


def _middle(profile: NDArray[np.intp]) -> float:
    """(n,) counts -> the index half way between their 1 % and their 99 % quantile."""
    part = np.cumsum(profile) / profile.sum()
    return float(np.searchsorted(part, 0.01) + np.searchsorted(part, 0.99)) / 2


def channels(hu: Array, brain: Array) -> Array:
    """Return Kang's four input channels.

    Parameters
    ----------
    hu, brain
        (s, y, x) float32, HU and probability of the inside of the skull, 0..1.

    Returns
    -------
    NDArray
        (s, 4, y, x) float32, 0..1: stroke window, brain window, bone window, brain window with
        the skull stripped.
    """
    soft = BRAIN(hu)
    return np.stack((STROKE(hu), soft, BONE(hu), soft * (brain > 0.5)), axis=1)


def neighbour_channels(below: Array, hu: Array, above: Array) -> Array:
    """Return the input channels of a network that sees a slice between its neighbours.

    Parameters
    ----------
    below, hu, above
        (s, y, x) float32, HU of the slices nearer to the feet, of the slices and of those nearer to
        the vertex.

    Returns
    -------
    NDArray
        (s, 4, y, x) float32, 0..1: below, slice and above in the brain window, then the slice in
        the stroke window.
    """
    return np.stack((BRAIN(below), BRAIN(hu), BRAIN(above), STROKE(hu)), axis=1)


def neighbours(hu: Array) -> tuple[Array, Array, Array]:
    """(s, y, x) -> the slices below, the slices, and those above; the ends are their own."""
    return np.concatenate((hu[:1], hu[:-1])), hu, np.concatenate((hu[1:], hu[-1:]))


def skull_channels(hu: Array) -> Array:
    """(z, y, x) HU of a coarse box -> (1, 2, z, y, x) float32 0..1: brain and bone window."""
    return np.stack((BRAIN(hu), BONE(hu)))[None]
