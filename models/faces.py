"""Heads that nobody can recognise: what lies far outside of the skull becomes air. Pure.

A face can be drawn from a head CT and matched with a photograph (Schwarz et al., NEJM 2019,
doi:10.1056/NEJMc1908881, of MRI). Nose, lips, eyes, ears and jaw lie far from the brain.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.preprocess import Array, Canvas
from models.slabs import AIR, Slabs
from models.volume import Volume

KEPT_MM = 15.0
"""So far from the inside of the skull an image is kept. Chosen: the vault and most of the scalp lie
within, and a nose does not."""


def without_face(volume: Volume, slabs: Slabs, canvas: Canvas) -> Array:
    """Return the slices with air where no brain is near.

    Couch, head holder and whatever is written beside the head go, too. Slices that show no brain
    become air whole.

    Returns
    -------
    NDArray
        (z, y, x) float32, HU.
    """
    # (s, rows, columns) bool, near the inside of the skull.
    near = _near(canvas.brain > 0.5, slabs.locations_mm, canvas.frame.step_mm)
    kept = canvas.at_voxels(near.astype(np.float32), slabs) > 127  # (z, y, x)
    return np.where(kept, volume.hu, AIR)


def _near(
    inside: NDArray[np.bool_], locations_mm: NDArray[np.float64], step_mm: float
) -> NDArray[np.bool_]:
    """(s, rows, columns) inside of the skull -> what lies within `KEPT_MM` of it."""
    apart_mm = float(np.median(np.diff(locations_mm))) if len(locations_mm) > 1 else step_mm
    distance_mm = ndimage.distance_transform_edt(~inside, sampling=(apart_mm, step_mm, step_mm))
    near: NDArray[np.bool_] = distance_mm <= KEPT_MM
    return near
