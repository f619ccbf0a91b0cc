"""Coordinates of a standard head, so that places in the brain have numbers.

x runs to the patient's left, y to the back and z to the top, in mm from the middle of the brain;
the line from anterior to posterior commissure lies near z = 0.
"""

import numpy as np
from numpy.typing import NDArray

from models.preprocess import Array, Canvas, lattice
from models.slabs import Slabs
from models.volume import Volume

BRAIN_MM = (67.0, 85.0, 72.0)
"""Half width, half length and height above the middle of the standard head's cavity."""

VAULT_MM = 90.0
"""The upper part of the cavity that every head scan shows."""


def standard(patient: Array, inside: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Return the coordinates of the standard head: its cavity laid over this head's.

    The midline is the plane across the narrowest of the cavity's principal axes; the vault, which
    every head scan shows, gives the scale.

    Parameters
    ----------
    patient
        (3, ...) float32, patient coordinates x, y, z (LPS, mm) of points.
    inside
        (...) bool, which of them lie inside the skull; some do.

    Returns
    -------
    tuple
        x, y and z in the standard head, (...) float32 each, mm.
    """
    # The vault: points (3, n) of the cavity within 90 mm of its top.
    top = np.quantile(patient[2][inside], 0.999)
    vault = patient[:, inside & (patient[2] > top - VAULT_MM)]
    middle = vault.mean(axis=1, dtype=np.float64)
    # The narrowest principal axis runs from right to left.
    axes = np.linalg.eigh(np.cov(vault))[1].T
    left = axes[np.argmax(np.abs(axes[:, 0]))]
    left = left * np.sign(left[0])
    # Up is the patient's, made perpendicular to it; the rows of `turned` are left, back and up.
    up = np.array([0, 0, 1.0]) - left[2] * left
    up /= np.linalg.norm(up)
    turned = np.array([left, np.cross(up, left), up])
    # The vault's extent along these axes gives the scale and the middle, (3,) each.
    low, high = np.quantile(turned @ (vault - middle[:, None]), (0.002, 0.998), axis=1)
    scale = 2 * np.array(BRAIN_MM) / (high - low)
    scale[2] = scale[:2].mean()
    centre = (low + high) / 2
    centre[2] = high[2] - BRAIN_MM[2] / scale[2]
    # Every point, (3, n), in the standard head's millimetres.
    flat = turned @ (patient.reshape(3, -1) - middle[:, None])
    x, y, z = ((flat - centre[:, None]) * scale[:, None]).astype(np.float32).reshape(patient.shape)
    return x, y, z


def patient_mm(volume: Volume, slabs: Slabs, canvas: Canvas) -> Array:
    """Return where the points of the canvas lie in the patient, a gantry tilt and all.

    Returns
    -------
    NDArray
        (3, s, rows, columns) float32, LPS, mm.
    """
    # The volume's axes as the slabs have them: down to the back, across to the patient's left.
    row, column = volume.orientation[:3], volume.orientation[3:]
    sizes, steps = volume.hu.shape[:0:-1], volume.spacing_mm[::-1]  # across, then down
    source = [(row, sizes[0], steps[0]), (column, sizes[1], steps[1])]
    if abs(row[0]) < abs(column[0]):
        source.reverse()
    # The first voxel of each slab, (s, 3): of its slices the mean, at the canonical corner.
    corner = np.array([volume.positions_mm[slabs.of_slice == s].mean(0) for s in _each(slabs)])
    axes = []
    for (axis, size, step), lps in zip(source, (0, 1), strict=True):
        if axis[lps] < 0:
            corner += (size - 1) * step * axis
            axis = -axis
        axes.append(axis)
    across, down = axes
    frame = canvas.frame
    y = lattice(frame.centre_mm[0], frame.rows, frame.step_mm)[:, None]
    x = lattice(frame.centre_mm[1], frame.columns, frame.step_mm)
    points = [
        corner[:, i, None, None] + y * np.float64(down[i]) + x * np.float64(across[i])
        for i in range(3)
    ]
    return np.stack(points).astype(np.float32)


def _each(slabs: Slabs) -> range:
    return range(len(slabs.hu))
