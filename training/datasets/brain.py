"""Labels for the skull stripper: the inside of the skull, found without learning."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def inside_skull(hu: NDArray[np.float32], step_mm: float) -> NDArray[np.bool_]:
    """Find the inside of the skull on slabs of about 5 mm.

    Soft tissue is eroded until the skull's holes close, its largest piece is the brain, and it
    grows back to the bone. On each slab a piece stays only if bone surrounds most of it, which
    cuts the neck off. Rough at the skull base; the network that learns from it evens that out.

    Parameters
    ----------
    hu
        (s, y, x) float32, HU, s towards the head.
    step_mm
        Pixel distance within a slab.

    Returns
    -------
    NDArray
        (s, y, x) bool.
    """
    # Bone and soft tissue, (s, y, x) bool, from slabs without speckles.
    radius = max(1, round(6 / step_mm))
    ball = _disc(radius)[None]
    smooth = ndimage.median_filter(hu, (1, 3, 3))
    bone = smooth > 130
    soft = (smooth > -30) & ~bone
    # Eroded by 6 mm, soft tissue falls apart; its largest piece in three dimensions is the brain.
    core = ndimage.binary_erosion(soft, ball)
    pieces, count = ndimage.label(core, ndimage.generate_binary_structure(3, 1))
    if count == 0:
        return np.zeros_like(soft)
    brain = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    # It grows back to the bone.
    brain = ndimage.binary_dilation(brain, _disc(radius + 1)[None]) & ~bone & (smooth > -30)
    # On each slab, (y, x), a piece stays if bone within 5 mm surrounds 70 % of its edge.
    around = ndimage.binary_dilation(bone, _disc(max(1, round(5 / step_mm)))[None])
    for plane, near in zip(brain, around, strict=True):
        plane[:] = ndimage.binary_fill_holes(plane)
        parts, count = ndimage.label(plane)
        for part in range(1, count + 1):
            piece = parts == part
            edge = piece & ~ndimage.binary_erosion(piece)
            if near[edge].mean() < 0.7 or piece.sum() * step_mm**2 < 150:
                plane[piece] = False
    found: NDArray[np.bool_] = brain
    return found


def _disc(radius: int) -> NDArray[np.bool_]:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(y * y + x * x <= radius * radius)
