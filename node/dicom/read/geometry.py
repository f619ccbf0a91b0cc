"""From frames in any order to slices in order along their normal. Pure.

Everything follows from ImagePositionPatient and ImageOrientationPatient (PS3.3 C.7.6.2.1.1).
InstanceNumber, SliceLocation and the order of arrival do not matter. Under a gantry tilt the table
moves along the patient while the slices lean, so that positions step sideways as well as along the
normal. Each slice stays where it was measured; `Stack.tilt_deg` gives the tilt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.errors import Refused
from node.records import Header
from node.states import Reason

Vector = NDArray[np.float64]

# The standard gives none of these limits. Each is an estimate of what it must exceed.
SAME_POSITION_MM = 0.1  # below any CT slice spacing, above the rounding of positions
COSINE_TOLERANCE = 0.02  # of squared lengths and the dot product, for cosines of two digits
EXACT_COSINES = 1e-5  # the same, for cosines of six digits and more
ORIENTATION_TOLERANCE = 0.0051  # of a cosine, for one slice's of two digits: 1 mm across a head
SIDEWAYS_MM = 2.0  # how far a slice may lie off the line through all
MAX_SHEAR_DEG = 35.0  # gantries tilt up to 30 degrees
FINEST_MM, COARSEST_MM = 0.01, 30.0  # PixelSpacing; a whole body's localiser has 2 mm
WIDEST_MM = 3000.0  # a field of view; the bore of a scanner is 0.8 m wide
FURTHEST_MM = 1e5  # a position; a table moves by some metres
TOUCHING = 1.1  # a gap within a tenth of what the thicknesses of its slices fill is no hole


@dataclass(frozen=True, slots=True)
class Plane:
    """What all slices of a stack have in common.

    Attributes
    ----------
    orientation
        (6,) float64, unit cosines of the row and the column direction, at right angles.
    spacing_mm
        Distance between rows and distance between columns.
    rows, columns
        Number of rows and columns of each slice.
    """

    orientation: Vector
    spacing_mm: tuple[float, float]
    rows: int
    columns: int

    @property
    def normal(self) -> Vector:
        """(3,) float64 unit slice normal: row direction x column direction."""
        return np.cross(self.orientation[:3], self.orientation[3:])


@dataclass(frozen=True, slots=True)
class FrameRef:
    """A frame, by the index of its header and its index within that header (both 0-based)."""

    header: int
    frame: int


@dataclass(frozen=True, slots=True)
class Hole:
    """A gap that is wider than the spacing around it, and that no slice thickness fills.

    Attributes
    ----------
    after
        The index of the slice below it.
    gap_mm
        Distance between the two slices, along the normal.
    unseen_mm
        What the thickness of the two slices leaves open; without a thickness, what the spacing
        around the gap leaves open.
    """

    after: int
    gap_mm: float
    unseen_mm: float


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices in order along their normal, one at each position.

    Attributes
    ----------
    plane
        What they have in common.
    slices
        In order along the normal.
    positions_mm
        (z, 3) float64, ImagePositionPatient of each, LPS.
    copies
        Further frames at those positions, whose headers do not differ from the slice there. Such a
        frame is the same image under another UID, unless their pixels differ.
    tilt_deg
        Angle between the normal and the line on which the slices lie.
    holes
        Gaps where slices are missing, from the lowest up.
    """

    plane: Plane
    slices: tuple[FrameRef, ...]
    positions_mm: Vector
    copies: tuple[FrameRef, ...]
    tilt_deg: float
    holes: tuple[Hole, ...] = ()

    @property
    def gaps_mm(self) -> Vector:
        """(z - 1,) float64, distances between neighbours along the normal."""
        gaps: Vector = np.diff(self.positions_mm @ self.plane.normal)
        return gaps

    @property
    def coverage_mm(self) -> float:
        """Length along the normal that the slices stand for, half a gap beyond either end."""
        gaps = self.gaps_mm
        return float(gaps.sum() + (gaps[0] + gaps[-1]) / 2) if len(gaps) else 0.0


def stack(headers: Sequence[Header], max_gap_factor: float) -> Stack:
    """Put the frames of one series, or of one part of it, in order along their normal.

    Parameters
    ----------
    headers
        In any order; the result does not depend on it.
    max_gap_factor
        A gap this many times as wide as the spacing around it is a missing slice. The spacing
        around it is the median of the five gaps with this one in their middle (fewer at the ends),
        so that a change from thin to thick slices is not a hole. A gap that the thickness of its
        two slices fills is not a hole either.

    Raises
    ------
    Refused
        GEOMETRY if frames lack their place, or do not form one row of parallel slices.
    """
    plane = common_plane(headers)
    placed = sorted(_placed(headers, plane.normal), key=_Placed.sort_key)
    slices, copies = _one_at_each_position(placed)
    positions = np.array([item.position for item in slices])
    tilt_deg = _tilt_deg(positions, plane.normal)
    return Stack(
        plane,
        tuple(item.ref for item in slices),
        positions,
        tuple(item.ref for item in copies),
        tilt_deg,
        _holes(slices, max_gap_factor),
    )


def common_plane(headers: Sequence[Header]) -> Plane:
    """Return the orientation, spacing and matrix that all frames share.

    Raises
    ------
    Refused
        GEOMETRY if one of them is missing, malformed, or differs between frames.
    """
    frames = [frame for header in headers for frame in header.frames]
    lost = sum(frame.position_mm is None or frame.orientation is None for frame in frames)
    if lost:
        raise _bad(f"{lost} of {len(frames)} images do not say where they lie (Image Plane module)")
    # (n, 2) distances between rows and between columns; 0 where they are missing.
    spacing = np.array([header.pixel_spacing_mm or (0, 0) for header in headers], np.float64)
    if np.any((spacing < FINEST_MM) | (spacing > COARSEST_MM)):
        raise _bad("PixelSpacing is missing, not positive or impossible")
    places = np.array([frame.position_mm for frame in frames], np.float64)
    if np.any(np.abs(places) > FURTHEST_MM):
        raise _bad("ImagePositionPatient is further away than a scanner reaches")
    if np.any(np.ptp(spacing, axis=0) > 1e-3 * spacing[0]):
        raise _bad("images of different PixelSpacing are mixed in the series")
    matrices = {(header.rows or 0, header.columns or 0) for header in headers}
    if len(matrices) > 1 or 0 in next(iter(matrices)):
        shown = ", ".join(f"{rows} x {columns}" for rows, columns in sorted(matrices))
        raise _bad(f"images of different or no matrix are mixed in the series ({shown})")
    if len({h.frame_of_reference_uid for h in headers if h.frame_of_reference_uid}) > 1:
        raise _bad("images of different frames of reference are mixed in the series")
    # (frames, 6) -> (6,)
    orientation = _unit_cosines(np.array([frame.orientation for frame in frames], np.float64))
    row_mm, column_mm = (float(value) for value in np.median(spacing, axis=0))
    rows, columns = matrices.pop()
    if max(rows * row_mm, columns * column_mm) > WIDEST_MM:
        raise _bad(f"a field of {rows * row_mm:.0f} x {columns * column_mm:.0f} mm fits no scanner")
    return Plane(orientation, (row_mm, column_mm), rows, columns)


@dataclass(frozen=True, slots=True)
class _Placed:
    """A frame and where it lies."""

    ref: FrameRef
    header: Header
    position: Vector
    location_mm: float

    def sort_key(self) -> tuple[float, int, str, int]:
        """Return what orders frames: place along the normal, then number and UID."""
        number = self.header.instance_number or 0
        return self.location_mm, number, self.header.sop_instance_uid, self.ref.frame


def _placed(headers: Sequence[Header], normal: Vector) -> Iterable[_Placed]:
    """Yield every frame with its place."""
    for index, header in enumerate(headers):
        for number, frame in enumerate(header.frames):
            position = np.array(frame.position_mm, np.float64)
            yield _Placed(FrameRef(index, number), header, position, float(position @ normal))


def _unit_cosines(orientations: Vector) -> Vector:
    """(n, 6) cosines -> (6,) their common orientation, as unit vectors at right angles.

    Cosines that are exact to `EXACT_COSINES` stay as they are, so that a report names the plane in
    the words of the image.
    """
    if np.any(np.ptp(orientations, axis=0) > ORIENTATION_TOLERANCE):
        raise _bad("images of different orientation are mixed in the series")
    # (2, 3): row and column direction. Their products, (2, 2), must be those of unit vectors.
    pair: Vector = np.median(orientations, axis=0).reshape(2, 3)
    fault = np.abs(pair @ pair.T - np.eye(2)).max()
    if not fault <= COSINE_TOLERANCE:
        raise _bad("ImageOrientationPatient is no pair of unit vectors at right angles")
    if fault <= EXACT_COSINES:
        return pair.ravel()
    # Gram and Schmidt: the row direction keeps its place.
    row = pair[0] / np.linalg.norm(pair[0])
    column = pair[1] - (pair[1] @ row) * row
    cosines: Vector = np.r_[row, column / np.linalg.norm(column)]
    return cosines


def _one_at_each_position(scan: Sequence[_Placed]) -> tuple[list[_Placed], list[_Placed]]:
    """Return the first frame at each position, and its copies."""
    slices: list[_Placed] = []
    copies: list[_Placed] = []
    for item in scan:
        new = not slices or item.location_mm - slices[-1].location_mm >= SAME_POSITION_MM
        (slices if new else copies).append(item)
    return slices, copies


def _tilt_deg(positions: Vector, normal: Vector) -> float:
    """(z, 3) positions -> angle between the normal and the line through them.

    Raises
    ------
    Refused
        GEOMETRY if they do not lie on a line, or lean more than a gantry can.
    """
    # Each position as a part along the normal, (z,), and a part at right angles to it, (z, 3).
    locations = positions @ normal
    along = locations - locations.mean()
    sideways = positions - np.outer(locations, normal)
    sideways -= sideways.mean(axis=0)
    # The line of least squares: (3,) mm sideways for each mm along.
    slope = along @ sideways / max(along @ along, 1e-9)
    off_line_mm = np.linalg.norm(sideways - np.outer(along, slope), axis=1).max()
    if off_line_mm > SIDEWAYS_MM:
        raise _bad(f"slices are shifted sideways by up to {off_line_mm:.1f} mm")
    tilt_deg = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    if tilt_deg > MAX_SHEAR_DEG:
        raise _bad(f"slices lean by {tilt_deg:.0f} degrees, more than a gantry can")
    return tilt_deg


def _holes(slices: Sequence[_Placed], max_gap_factor: float) -> tuple[Hole, ...]:
    """Return the gaps that are holes by the rule of `stack`."""
    found = []
    # (z - 1,) gaps along the normal.
    gaps = np.diff([item.location_mm for item in slices])
    for index, gap in enumerate(gaps):
        around = float(np.median(gaps[max(0, index - 2) : index + 3]))
        pair = slices[index].header, slices[index + 1].header
        filled = sum(header.slice_thickness_mm or 0.0 for header in pair) / 2
        if gap > max_gap_factor * around and gap > TOUCHING * filled:
            found.append(Hole(index, float(gap), float(gap - (filled or around))))
    return tuple(found)


def _bad(message: str) -> Refused:
    """Return the refusal of a geometry."""
    return Refused(Reason.GEOMETRY, f"the geometry is unusable: {message}")
