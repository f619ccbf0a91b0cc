"""Laminar necrosis: a thin, winding, dense band of cortex in an infarct.

From about two weeks after an infarct the cortex may be dense as a ribbon, without blood or calcium,
most at one to two months (Siskas et al. 2003, Neuroradiology 45:283-288). Blood between the gyri is
as thin and as winding, but the brain around it is no darker than that of the other side; blood on
the brain's surface does not wind. The limits are estimates: real bleeds stay away from them, and
half of the phantoms do not reach them.
"""

import numpy as np
from scipy import ndimage

from models.mimics.dark import dark_around
from models.mimics.head import Head, Region
from models.preprocess import Array

RIBBON_MM = 7
"""The ribbon is no wider on a slab, with both banks of a sulcus."""
WIDER = 0.15
"""So much of it at most is wider."""
LEAST_POINTS = 200
"""Shorter ones, of 40 mm and 5 mm wide, have no form."""
RIBBON_HU = 58.0
"""Its 90th percentile; blood in an infarct is mostly denser."""
WINDS_MM = 10.0
"""Its depth below the skull varies by so much, from the 10th to the 90th percentile."""
CORTEX_MM = 35.0
"""It reaches no deeper below the skull."""
INFARCT_ML, INFARCT_RATIO = 6.0, 2.0
"""Dark brain around it: so much more than on the other side, and so many times as much."""


def laminar_necrosis(head: Head, region: Region) -> str | None:
    """Say that a region is a thin, winding band of cortex in a dark part of the brain."""
    band = region.bright
    if band.sum() < LEAST_POINTS:
        return None
    wide = ndimage.binary_opening(band, np.ones((1, RIBBON_MM + 1, RIBBON_MM + 1)))
    hu = float(np.percentile(head.even[band], 90))
    low, high = np.percentile(_depth(head)[band], (10, 90))
    if wide.sum() > WIDER * band.sum() or hu > RIBBON_HU:
        return None
    if high - low < WINDS_MM or high > CORTEX_MM:
        return None
    dark = dark_around(head, band)
    if dark.more_ml < INFARCT_ML or dark.here_ml < INFARCT_RATIO * dark.there_ml:
        return None
    return (
        f"is a thin, winding band of cortex, at most {hu:.0f} HU, in dark brain as after an "
        "infarct: it may be laminar necrosis"
    )


def _depth(head: Head) -> Array:
    """Return how far each point lies from the skull on its slab, mm."""
    planes = [ndimage.distance_transform_edt(~plane) for plane in head.skull]
    return np.stack(planes).astype(np.float32)
