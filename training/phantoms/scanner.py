"""The scanner: a head on its grid becomes the slices of a CT series."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift
from scipy.sparse import csr_array
from scipy.spatial.transform import Rotation

from models.volume import Volume
from training.phantoms.shapes import ORIGIN_MM, SHAPE, Field

AIR_HU = -1000
HIGHEST_HU = 3071


@dataclass(frozen=True, slots=True)
class Scanner:
    """How a head is scanned and its slices are reconstructed.

    Attributes
    ----------
    rows, columns
        Matrix of each slice.
    spacing_mm
        Distance between rows and between columns.
    slices, top_mm, slice_spacing_mm, thickness_mm
        How many slices, how high the topmost lies over the middle of the head, the table's step
        between them, and how thick each is.
    psf_mm
        Standard deviation of the in-plane point spread, set by the kernel.
    noise_hu
        Standard deviation of the noise in one pixel.
    tilt_deg
        Gantry tilt; a positive tilt moves the anterior edge of the slice towards the head.
    oblique_deg
        Rotation of the whole series in patient coordinates, about x, y and z.
    centre_mm
        Where the middle of the head's grid lies in patient coordinates (x, y, z).
    padding_hu
        Value outside the circle of reconstruction; None where there is no such circle.
    motion_mm
        How far the head jerks while a run of slices is taken, which show it twice.
    """

    rows: int = 512
    columns: int = 512
    spacing_mm: tuple[float, float] = (0.45, 0.45)
    slices: int = 32
    top_mm: float = 80.0
    slice_spacing_mm: float = 5.0
    thickness_mm: float = 5.0
    psf_mm: float = 0.7
    noise_hu: float = 3.0
    tilt_deg: float = 0.0
    oblique_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    padding_hu: int | None = None
    motion_mm: float = 0.0


@dataclass(frozen=True, slots=True)
class Beam:
    """The linear map from the grid to the slices of one scanner.

    The gantry tilts about the x axis, so it splits: `rows` mixes the grid's lines along x into the
    lines of the slices, `columns` resamples along each line.

    Attributes
    ----------
    rows
        (slices * rows, z * y) float32: slice averaging, tilt and point spread along the rows' axis.
    columns
        (columns, x) float32: point spread and sampling along each row.
    shape
        Slices, rows, columns.
    """

    rows: csr_array
    columns: Field
    shape: tuple[int, int, int]

    def sample(self, field: Field | NDArray[np.bool_]) -> Field:
        """Return the slices of `field`, (z, y, x) float32; 0 beyond the sides of the grid."""
        lines = self.rows @ np.ascontiguousarray(field, np.float32).reshape(-1, SHAPE[2])
        slices: Field = (lines @ self.columns.T).reshape(self.shape)
        return slices


@lru_cache(maxsize=2)
def beam(s: Scanner) -> Beam:
    """Return what a scanner does to a field on the grid."""
    column = (np.arange(s.columns) - (s.columns - 1) / 2) * s.spacing_mm[1] - ORIGIN_MM[2]
    margin = int(np.ceil(s.columns * s.spacing_mm[1]))
    columns = _spread(np.arange(-margin, SHAPE[2] + margin) - column[:, None], s.psf_mm)
    columns = columns[:, margin:-margin].astype(np.float32)
    return Beam(_rows(s), columns, (s.slices, s.rows, s.columns))


def _rows(s: Scanner) -> csr_array:
    """Return the weights of the grid's lines in each row of each slice.

    A row is the mean of samples through the slice's thickness, two a millimetre; each sample is
    linear between two planes of the grid, and spread over its lines by the kernel.
    """
    y, z = _samples(s)
    reach = int(np.ceil(2.5 * s.psf_mm))
    line = np.floor(y)[..., None] + np.arange(-reach, reach + 2)
    spread = _spread(line - y[..., None], s.psf_mm) / y.shape[-1]
    spread *= (line >= 0) & (line < SHAPE[1])
    low = np.clip(np.floor(z), 0, SHAPE[0] - 2)
    up = np.clip(z - low, 0, 1)  # beyond its ends the grid goes on as it ends
    weight = np.stack([(1 - up)[..., None] * spread, up[..., None] * spread])
    source = np.stack([low, low + 1])[..., None] * SHAPE[1] + np.clip(line, 0, SHAPE[1] - 1)
    target = np.arange(s.slices * s.rows).reshape(s.slices, s.rows, 1, 1)
    target = np.broadcast_to(target, weight.shape)
    return csr_array(
        (weight.astype(np.float32).ravel(), (target.ravel(), source.astype(np.int32).ravel())),
        shape=(s.slices * s.rows, SHAPE[0] * SHAPE[1]),
    )


def _samples(s: Scanner) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return y and z of the samples, (slice, row, sample) each, in voxels of the grid."""
    centre, normal, down = _frame(s)
    count = max(2, round(2 * s.thickness_mm))
    within = ((np.arange(count) + 0.5) / count - 0.5) * s.thickness_mm
    row = (np.arange(s.rows) - (s.rows - 1) / 2)[:, None] * s.spacing_mm[0]
    y, z = (
        centre[:, axis, None, None] + row * down[axis] + within * normal[axis] - ORIGIN_MM[2 - axis]
        for axis in (1, 2)
    )
    return y, z


def _spread(d: NDArray[np.float64], sd: float) -> NDArray[np.float64]:
    """Return the weights of grid points `d` mm away, of sum 1 along the last axis.

    A narrow kernel sampled at 1 mm sums to a little more or less, and 1 % of the step from air to
    brain is as much as blood: hence the division.
    """
    weight = np.exp(-((d / sd) ** 2) / 2)
    weights: NDArray[np.float64] = weight / weight.sum(axis=-1, keepdims=True)
    return weights


def _frame(s: Scanner) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return slice centres (z, 3), slice normal and column direction, in the grid's coordinates."""
    tilt = np.radians(s.tilt_deg)
    normal = np.array([0, np.sin(tilt), np.cos(tilt)])
    down = np.array([0, np.cos(tilt), -np.sin(tilt)])
    height = s.top_mm + (np.arange(s.slices) - s.slices + 1) * s.slice_spacing_mm
    centre = np.stack([np.zeros(s.slices), np.full(s.slices, -6.0), height], axis=1)
    return centre, normal, down


def geometry(s: Scanner) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions (z, 3) and orientation (6,) of the slices in patient coordinates, mm."""
    centre, _, down = _frame(s)
    across = np.array([1.0, 0, 0])
    corner = centre - across * (s.columns - 1) / 2 * s.spacing_mm[1]
    corner = corner - down * (s.rows - 1) / 2 * s.spacing_mm[0]
    turn = Rotation.from_euler("xyz", s.oblique_deg, degrees=True)
    return turn.apply(corner) + s.centre_mm, np.concatenate(turn.apply([across, down]))


def scan(rng: np.random.Generator, s: Scanner, hu: Field) -> Volume:
    """Return the series that `s` makes of a head, whole Hounsfield units.

    Parameters
    ----------
    rng
        Where the noise comes from.
    s
        The scanner.
    hu
        (z, y, x) float32, the head on its grid.
    """
    slices = beam(s).sample(hu - AIR_HU) + np.float32(AIR_HU)
    slices = np.maximum(slices, _headrest(s))
    if s.motion_mm:
        _jerk(rng, slices, s)
    slices += _noise(rng, s)
    slices = np.clip(np.rint(slices), AIR_HU - 24, HIGHEST_HU)
    if s.padding_hu is not None:
        slices[:, _outside_circle(s)] = s.padding_hu
    positions, orientation = geometry(s)
    return Volume(slices, positions, orientation, s.spacing_mm, s.thickness_mm)


def _jerk(rng: np.random.Generator, slices: Field, s: Scanner) -> None:
    """Let the head move during a quarter of the slices."""
    first = rng.integers(s.slices - s.slices // 4)
    angle = rng.uniform(0, 2 * np.pi)
    step = s.motion_mm * np.array([np.cos(angle), np.sin(angle)]) / s.spacing_mm
    for image in slices[first : first + s.slices // 4]:
        image += 0.5 * (shift(image, step, order=1, mode="nearest") - image)


def _noise(rng: np.random.Generator, s: Scanner) -> Field:
    """Return the noise of the slices, (z, y, x) float32, HU.

    The kernel sets its grain; filtered back projection leaves nothing of the lowest frequencies.
    """
    white = rng.standard_normal((s.slices, s.rows, s.columns), dtype=np.float32)
    fine, coarse = (
        gaussian_filter(white, (0, *(sd * s.psf_mm / np.asarray(s.spacing_mm))), truncate=3)
        for sd in (0.65, 1.9)
    )
    fine -= coarse
    fine *= np.float32(s.noise_hu) / fine.std()
    noise: Field = fine
    return noise


def _headrest(s: Scanner) -> Field:
    """Return the cradle under the head, (y, x) float32, HU: two thin shells around foam."""
    y = (np.arange(s.rows) - (s.rows - 1) / 2)[:, None] * s.spacing_mm[0]
    x = (np.arange(s.columns) - (s.columns - 1) / 2) * s.spacing_mm[1]
    r = np.sqrt(x**2 + (0.9 * (y + 8)) ** 2)
    shell = np.exp(-(((r - 118) / 1.0) ** 2)) + 0.8 * np.exp(-(((r - 127) / 1.0) ** 2))
    foam = 60 * ((r > 118) & (r < 127))
    return np.where(y > 15, AIR_HU + foam + 1100 * shell, AIR_HU).astype(np.float32)


def _outside_circle(s: Scanner) -> NDArray[np.bool_]:
    """Return where no ray of the reconstruction passes, (y, x) bool."""
    y = (np.arange(s.rows) - (s.rows - 1) / 2)[:, None] / (s.rows / 2)
    x = (np.arange(s.columns) - (s.columns - 1) / 2) / (s.columns / 2)
    return x**2 + y**2 > 1


def random_scanner(
    rng: np.random.Generator, *, split: str = "train", matrix: int | None = None
) -> Scanner:
    """Return a random scanner; the two splits differ in their ranges.

    Parameters
    ----------
    rng
        Where the choice comes from.
    split
        "train" or "test".
    matrix
        Rows and columns, where they should not be drawn.
    """
    train = split == "train"
    rows = matrix or int(rng.choice((256, 320, 512)))
    columns = rows if matrix or rng.random() < 0.8 else rows - 32
    field = rng.uniform(215, 250)
    step = float(
        rng.choice((2.5, 3.0, 4.0, 5.0, 5.0, 5.0, 7.0) if train else (2.0, 3.75, 5.0, 6.0))
    )
    spacing = float(field / rows)
    return Scanner(
        rows=rows,
        columns=columns,
        spacing_mm=(spacing, spacing),
        slices=round(rng.uniform(148, 165) / step) + 1,
        top_mm=float(rng.uniform(78, 90)),
        slice_spacing_mm=step,
        thickness_mm=float(step * rng.choice((1.0, 1.0, 1.0, 0.8, 1.25))),
        psf_mm=float(rng.uniform(0.5, 0.95) if train else rng.uniform(0.6, 1.05)),
        noise_hu=float(rng.uniform(2.2, 4.0) if train else rng.uniform(2.5, 4.5)),
        tilt_deg=float(rng.choice((0.0, rng.uniform(-8, 25)))),
        oblique_deg=tuple((rng.choice((0.0, 1.0)) * rng.normal(0, 2, 3)).tolist()),
        centre_mm=tuple(rng.uniform(-60, 60, 3).tolist()),
        padding_hu=None if rng.random() < 0.6 else -1024,
        motion_mm=float(rng.uniform(1, 4)) if rng.random() < 0.07 else 0.0,
    )
