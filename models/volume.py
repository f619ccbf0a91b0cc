"""A head CT as Hounsfield values, with the place of each voxel in the patient."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Volume:
    """Native slices of one series, sorted along the slice normal.

    The slices are the scanner's own, never resampled: only `positions_mm` shows a gantry tilt, and
    the spacing between slices may vary. All coordinates are DICOM patient coordinates (LPS, mm;
    PS3.3 C.7.6.2.1.1).

    Attributes
    ----------
    hu
        (z, y, x) float32, Hounsfield units; z runs along `normal` (from the feet to the head for
        an axial series), y down the image's columns, x along its rows.
    positions_mm
        (z, 3) float64, centre of the first voxel of each slice (ImagePositionPatient).
    orientation
        (6,) float64, unit cosines of the row direction (x index grows) and the column direction
        (y index grows), the same for all slices (ImageOrientationPatient).
    spacing_mm
        Distance between rows and distance between columns (PixelSpacing).
    thickness_mm
        SliceThickness, or None if the series does not state one.
    """

    hu: NDArray[np.float32]
    positions_mm: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    thickness_mm: float | None = None

    def __post_init__(self) -> None:
        """Check the shapes and the order of the slices.

        Raises
        ------
        ValueError
            If the arrays differ in their number of slices, or the slices are not in order.
        """
        if self.hu.ndim != 3 or self.positions_mm.shape != (len(self.hu), 3):
            raise ValueError(f"{self.hu.shape} voxels, {self.positions_mm.shape} positions")
        if np.any(np.diff(self.locations_mm) <= 0):
            raise ValueError("slices are not sorted along their normal")

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) float64 unit slice normal: row direction x column direction."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def locations_mm(self) -> NDArray[np.float64]:
        """(z,) float64, each slice's position along `normal`, strictly increasing."""
        return self.positions_mm @ self.normal

    @property
    def slice_extent_mm(self) -> NDArray[np.float64]:
        """(z,) float64, the length along the normal that each slice stands for.

        A slice stands for half of the gap to either neighbour, the first and the last one for their
        whole gap. A single slice stands for its thickness, or for 1 mm if that is unknown.
        """
        if len(self.hu) == 1:
            return np.array([self.thickness_mm or 1.0])
        gaps = np.diff(self.locations_mm)  # (z - 1,)
        # The mean of the gaps below and above, each end gap repeated: (z,).
        extent: NDArray[np.float64] = (np.r_[gaps[0], gaps] + np.r_[gaps, gaps[-1]]) / 2
        return extent

    @property
    def voxel_ml(self) -> NDArray[np.float64]:
        """(z,) float64, volume of one voxel of each slice in millilitres."""
        return self.slice_extent_mm * self.spacing_mm[0] * self.spacing_mm[1] / 1000.0
