"""From a native volume to the networks' grids and back: the only preprocessing there is.

    Volume -> slabs (canonical orientation, about 5 mm thick) -> coarse box (skull stripping)
                                                              -> fine canvas (the ensemble)

A gantry tilt is left as it is: slices are stacked along the table, in whose direction a head
stands nearly straight, and the networks are trained on tilted heads.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.findings import Unreadable
from models.volume import Volume
from models.windows import BONE, BRAIN, STROKE

AIR = np.float32(-1000)
"""HU outside the image."""

DENSEST = np.float32(4000)
"""HU to which metal is clipped."""

PADDING = np.float32(20000)
"""Nothing is as dense as this: such values are a scanner's padding and count as air."""

HEAD_MM2 = 1000.0
"""A slab with less tissue than this lies above the vertex."""

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Grid:
    """The lattices that the networks read, fixed in the bundle.

    Attributes
    ----------
    rows, columns, step_mm
        The fine canvas of one slice, centred on the brain.
    slab_mm
        Thinner slices are averaged to about this thickness.
    coarse
        (z, y, x) shape of the skull stripper's box, centred on the head, top at the vertex.
    coarse_mm
        (z, y, x) steps of that box.
    """

    rows: int = 208
    columns: int = 176
    step_mm: float = 1.0
    slab_mm: float = 5.0
    coarse: tuple[int, int, int] = (40, 64, 64)
    coarse_mm: tuple[float, float, float] = (5.0, 4.0, 4.0)


@dataclass(frozen=True, slots=True)
class Slabs:
    """A volume in canonical orientation, thin slices averaged.

    Attributes
    ----------
    hu
        (s, y, x) float32, HU; s towards the head, y towards posterior, x towards the patient's
        left.
    locations_mm
        (s,) float64, increasing towards the head.
    spacing_mm
        Distance between rows and between columns, after the transpose if there was one.
    of_slice
        (z,) int, the slab that each source slice went into.
    restore
        Takes an array (z, y, x) in canonical in-plane orientation, one plane for each source
        slice in source order, back to the orientation of the source.
    """

    hu: Array
    locations_mm: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    of_slice: NDArray[np.intp]
    restore: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def slabs(volume: Volume, slab_mm: float) -> Slabs:
    """Turn the volume to canonical orientation and average thin slices into slabs.

    Slices are told apart by the length that they stand for: one of 0.7 `slab_mm` or more stands
    alone, thinner neighbours join until their slab is about `slab_mm` thick, from the feet upwards
    whichever way the normal points.
    """
    row, column = volume.orientation[:3], volume.orientation[3:]
    transposed = abs(row[0]) < abs(column[0])
    across, along = (column, row) if transposed else (row, column)
    flips = tuple(slice(None, None, -1 if cosine < 0 else 1) for cosine in (along[1], across[0]))
    upwards = slice(None, None, 1 if volume.normal[2] >= 0 else -1)

    def canonical(planes: Array) -> Array:
        return (planes.swapaxes(1, 2) if transposed else planes)[:, *flips]

    def restore(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        planes = planes[:, *flips]
        return planes.swapaxes(1, 2) if transposed else planes

    hu, locations = _plain(volume.hu)[upwards], upwards.step * volume.locations_mm[upwards]
    of_slice = _group(volume.slice_extent_mm[upwards], slab_mm)
    if of_slice[-1] + 1 < len(hu):
        starts = np.flatnonzero(np.diff(of_slice, prepend=-1))
        sizes = np.diff(np.r_[starts, len(of_slice)])
        hu = np.add.reduceat(hu, starts, axis=0)
        hu /= sizes[:, None, None].astype(np.float32)
        locations = np.add.reduceat(locations, starts) / sizes
    spacing = volume.spacing_mm[::-1] if transposed else volume.spacing_mm
    return Slabs(canonical(hu), locations, spacing, of_slice[upwards], restore)


def _plain(hu: Array) -> Array:
    """HU between air and `DENSEST`, padding of either sign as air."""
    plain = np.clip(hu, AIR, DENSEST)
    plain[hu > PADDING] = AIR
    return plain


def _group(extent_mm: NDArray[np.float64], slab_mm: float) -> NDArray[np.intp]:
    """(z,) index of the slab of each slice, starting at 0."""
    index = np.zeros(len(extent_mm), np.intp)
    thickness = extent_mm[0]
    for z in range(1, len(extent_mm)):
        joined = thickness + extent_mm[z]
        apart = extent_mm[z] >= 0.7 * slab_mm or abs(joined - slab_mm) > abs(thickness - slab_mm)
        index[z] = index[z - 1] + apart
        thickness = extent_mm[z] if apart else joined
    return index


def resampling(targets: NDArray[np.float64], count: int, spacing: float, step: float) -> Array:
    """(targets, count) float32 matrix that samples a line of `count` values.

    Parameters
    ----------
    targets
        Positions in mm, 0 at the first value.
    count, spacing
        The line's values and their distance in mm.
    step
        Distance between targets in mm; the triangular kernel is as wide as the coarser of the
        two lattices, so that nothing aliases. What lies outside the line counts as 0.
    """
    reach = max(step, spacing)

    def kernel(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(0, 1 - np.abs(offsets) / reach)

    around = np.arange(-np.ceil(reach / spacing) - 1, np.ceil(reach / spacing) + 2) * spacing
    endless = kernel((targets % spacing)[:, None] - around).sum(1, keepdims=True)
    weights = kernel(targets[:, None] - _pixels(count, spacing)) / endless
    return np.asarray(weights, np.float32)


def _pixels(count: int, spacing: float) -> NDArray[np.float64]:
    return np.arange(count, dtype=np.float64) * np.float64(spacing)


def lattice(centre_mm: float, count: int, step: float) -> NDArray[np.float64]:
    """(count,) float64 positions in mm, symmetric around the centre."""
    return centre_mm + (np.arange(count, dtype=np.float64) - (count - 1) / 2) * np.float64(step)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a lattice lies on the slabs: centre in mm from the first voxel, (y, x)."""

    centre_mm: tuple[float, float]
    rows: int
    columns: int
    step_mm: float

    @property
    def corner_mm(self) -> tuple[float, float]:
        """Where its first point lies, (y, x) in mm."""
        return (
            float(lattice(self.centre_mm[0], self.rows, self.step_mm)[0]),
            float(lattice(self.centre_mm[1], self.columns, self.step_mm)[0]),
        )

    def sample(self, source: Slabs) -> Array:
        """(s, rows, columns) float32 HU of the slabs; outside is air."""
        down, across = (
            resampling(lattice(centre, count, self.step_mm), size, spacing, self.step_mm)
            for centre, count, size, spacing in zip(
                self.centre_mm,
                (self.rows, self.columns),
                source.hu.shape[1:],
                source.spacing_mm,
                strict=True,
            )
        )
        covered = np.outer(down.sum(1), across.sum(1))
        sampled: Array = np.matmul(np.matmul(down, source.hu), across.T)
        sampled += AIR * (1 - covered)
        return sampled

    def spread(
        self, planes: Array, shape: tuple[int, ...], spacing_mm: tuple[float, float]
    ) -> Array:
        """(s, rows, columns) values of this frame interpolated at pixels of `shape`; 0 outside."""
        down, across = (
            resampling(_pixels(size, spacing) - corner, count, self.step_mm, spacing)
            for corner, count, size, spacing in zip(
                self.corner_mm, (self.rows, self.columns), shape, spacing_mm, strict=True
            )
        )
        spread: Array = np.matmul(np.matmul(down, planes), across.T)
        return spread


@dataclass(frozen=True, slots=True)
class CoarseHead:
    """The head in the skull stripper's box.

    Attributes
    ----------
    hu
        Shape `Grid.coarse` float32, HU; the last plane is the highest.
    frame
        Its in-plane lattice.
    heights_mm
        (z,) float64, the location of each plane on the slabs' axis.
    """

    hu: Array
    frame: Frame
    heights_mm: NDArray[np.float64]

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        between = float(self.heights_mm[1] - self.heights_mm[0])
        return between * self.frame.step_mm**2 / 1000


def coarse_head(source: Slabs, grid: Grid) -> CoarseHead:
    """Find the head and sample it at coarse resolution.

    Raises
    ------
    Unreadable
        If nothing as dense as tissue and as large as a head is in the volume.
    """
    step = grid.coarse_mm[1]
    extent = [
        (size - 1) * spacing
        for size, spacing in zip(source.hu.shape[1:], source.spacing_mm, strict=True)
    ]
    middle = (extent[0] / 2, extent[1] / 2)
    whole = Frame(middle, int(extent[0] / step) + 1, int(extent[1] / step) + 1, step)
    planes = whole.sample(source)
    tissue = ndimage.binary_opening(planes > -300, np.ones((1, 3, 3)))
    pieces, _ = ndimage.label(tissue, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=2)
    head = pieces == 1 + sizes[1:].argmax()
    wide = np.flatnonzero(head.sum((1, 2)) * step**2 > HEAD_MM2)
    if len(wide) == 0:
        raise Unreadable("no tissue as wide as a head found: the series is not a head CT")
    top = source.locations_mm[wide[-1]]
    rows = lattice(middle[0], whole.rows, step)
    columns = lattice(middle[1], whole.columns, step)
    heights = top + grid.coarse_mm[0] * (np.arange(grid.coarse[0]) - grid.coarse[0] + 1.0)
    upper = head[source.locations_mm >= heights[0]]
    centre = (
        float(np.average(rows, weights=upper.sum((0, 2)))),
        float(np.average(columns, weights=upper.sum((0, 1)))),
    )
    frame = Frame(centre, *grid.coarse[1:], step)
    hu = _between(frame.sample(source), source.locations_mm, heights, outside=AIR)
    return CoarseHead(hu, frame, heights)


def _between(
    planes: Array, at_mm: NDArray[np.float64], wanted_mm: NDArray[np.float64], outside: np.float32
) -> Array:
    """(s, y, x) planes interpolated linearly at other locations; `outside` beyond the ends."""
    upper = np.clip(np.searchsorted(at_mm, wanted_mm), 1, max(len(at_mm) - 1, 1))
    lower = upper - 1
    upper = np.minimum(upper, len(at_mm) - 1)
    gap = np.where(upper > lower, at_mm[upper] - at_mm[lower], 1.0)
    part = np.clip((wanted_mm - at_mm[lower]) / gap, 0, 1).astype(np.float32)[:, None, None]
    found = planes[lower] * (1 - part) + planes[upper] * part
    margin = 0.5 * (np.median(np.diff(at_mm)) if len(at_mm) > 1 else 5.0)
    beyond = (wanted_mm < at_mm[0] - margin) | (wanted_mm > at_mm[-1] + margin)
    found[beyond] = outside
    return found


@dataclass(frozen=True, slots=True)
class Canvas:
    """What the ensemble reads.

    Attributes
    ----------
    hu
        (s, rows, columns) float32, HU on the fine lattice.
    brain
        (s, rows, columns) float32, probability of the inside of the skull, 0..1.
    frame
        The fine lattice.
    """

    hu: Array
    brain: Array
    frame: Frame


def confirm_head(head: CoarseHead, inside: Array, least_ml: float, least_bone: float) -> None:
    """Make sure that what the skull stripper found is a brain inside a skull.

    Parameters
    ----------
    inside
        Shape of `head.hu` float32, the skull stripper's probabilities.
    least_ml
        Smallest volume that counts as a brain.
    least_bone
        Smallest share of its outline that bone must follow: 0.88 and more in adult heads here,
        0.55 in an infant, 0.1 in a body.

    Raises
    ------
    Unreadable
        If it is not; the message says what was measured.
    """
    brain = inside > 0.5
    brain_ml = float(brain.sum()) * head.voxel_ml
    if brain_ml < least_ml:
        raise Unreadable(
            f"no brain found: {brain_ml:.0f} mL inside a skull, {least_ml:.0f} mL needed; "
            "the series is not a head CT or shows too little of the head"
        )
    near = np.ones((1, 3, 3))
    outline = ndimage.binary_dilation(brain, near) & ~brain
    share = float(ndimage.binary_dilation(head.hu > 200, near)[outline].mean())
    if share < least_bone:
        raise Unreadable(
            f"no skull found: bone follows {share:.0%} of the outline of what might be a brain "
            f"({brain_ml:.0f} mL), {least_bone:.0%} needed; the series is not a head CT"
        )


def canvas(source: Slabs, head: CoarseHead, inside: Array, grid: Grid) -> Canvas:
    """Centre the fine lattice on the brain and sample it.

    Parameters
    ----------
    inside
        Shape of `head.hu` float32, the skull stripper's probabilities; not empty.
    """
    brain, (top, left) = inside > 0.5, head.frame.corner_mm
    centre = (
        top + _middle(brain.sum((0, 2))) * head.frame.step_mm,
        left + _middle(brain.sum((0, 1))) * head.frame.step_mm,
    )
    frame = Frame(centre, grid.rows, grid.columns, grid.step_mm)
    at_slabs = _between(inside, head.heights_mm, source.locations_mm, outside=np.float32(0))
    (y, x), (top, left) = head.frame.centre_mm, frame.corner_mm
    seen_from_frame = replace(head.frame, centre_mm=(y - top, x - left))
    fine = seen_from_frame.spread(at_slabs, (grid.rows, grid.columns), (grid.step_mm, grid.step_mm))
    return Canvas(frame.sample(source), np.clip(fine, 0, 1), frame)


def _middle(profile: NDArray[np.intp]) -> float:
    """Index half way between the first and last position that hold 1 % of the profile."""
    part = np.cumsum(profile) / profile.sum()
    return float(np.searchsorted(part, 0.01) + np.searchsorted(part, 0.99)) / 2


def channels(hu: Array, brain: Array) -> Array:
    """Kang's four input channels.

    Parameters
    ----------
    hu, brain
        (s, y, x) float32, HU and probability of the inside of the skull.

    Returns
    -------
    NDArray
        (s, 4, y, x) float32, 0..1: stroke window, brain window, bone window, brain window with
        the skull stripped.
    """
    soft = BRAIN(hu)
    return np.stack((STROKE(hu), soft, BONE(hu), soft * (brain > 0.5)), axis=1)


def skull_channels(hu: Array) -> Array:
    """(z, y, x) HU of a coarse box -> (1, 2, z, y, x) float32 0..1: brain and bone window."""
    return np.stack((BRAIN(hu), BONE(hu)))[None]
