"""What a marked region may be instead of blood, or why blood may be expected there.

A sentence names what a region looks like, by its density, its shape and its place. It clears
nothing: no sentence changes a score, a priority or a mask. Where a region may as well be blood,
nothing is said. All is measured on the slabs that the networks read, about 5 mm thick.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.mimics.calcification import calcium
from models.mimics.cortex import laminar_necrosis
from models.mimics.dura import falx, sinus, tentorium
from models.mimics.head import Head, Mask, Region, head_of, largest, region_of
from models.mimics.operation import after_operation
from models.mimics.streaks import beam_hardening
from models.mimics.tumour import tumour
from models.preprocess import Canvas, Grid
from models.slabs import Slabs, make_slabs
from models.volume import Volume


def sentences(
    volume: Volume, slabs: Slabs, canvas: Canvas, mask: NDArray[np.bool_], grid: Grid
) -> tuple[str, ...]:
    """Return a sentence for each of the larger regions that looks like a known mimic.

    Parameters
    ----------
    volume, slabs, canvas
        The head, as `models.detector.Detector.preprocess` returns it.
    mask
        (z, y, x) bool, what is marked, in the geometry of the volume.
    grid
        The lattices that slabs and canvas were made with.
    """
    shares = make_slabs(replace(volume, hu=mask.astype(np.float32)), grid.slab_mm)
    marked = canvas.frame.sample(shares) > 0.5
    head = head_of(volume, slabs, canvas) if marked.any() else None
    if head is None:
        return ()
    found, pieces = [], largest(marked, head)
    for place, piece in enumerate(pieces):
        if looks := _looks_like(head, piece):
            which = "A marked region" if place else "The largest marked region"
            found.append(f"{which} ({head.ml(piece):.1f} mL) {looks}")
    return tuple(found)


def _looks_like(head: Head, marked: Mask) -> str | None:
    """Return what a region looks like; None where nothing speaks for a mimic."""
    region = region_of(head, marked)
    if not region.bright.any():
        return None
    return next((said for rule in RULES if (said := rule(head, region))), None)


RULES: tuple[Callable[[Head, Region], str | None], ...] = (
    calcium,
    falx,
    sinus,
    tentorium,
    beam_hardening,
    tumour,
    laminar_necrosis,
    after_operation,
)
"""The first rule that says something speaks."""
