"""Streaks of beam hardening between the petrous bones. The numbers are estimates."""

import numpy as np

from models.mimics.head import Head, Region

STREAK_HU = 50.0
"""Streaks between the petrous bones stay below; fresh blood mostly does not."""


def beam_hardening(head: Head, region: Region) -> str | None:
    """Say that a region lies between the petrous bones and is hardly denser than brain."""
    x, y, z = head.middle(region.bright)
    if abs(x) > 25 or not -15 < y < 40 or not -65 < z < -18:
        return None
    at = np.unique(np.nonzero(region.marked)[0])
    petrous = head.skull[at] & (np.abs(head.y[at] - y) < 20) & (np.abs(head.x[at]) < 50)
    both = all((petrous & (side * head.x[at] > 15)).sum() > 100 for side in (-1, 1))
    hu = float(np.percentile(head.even[region.bright], 90))
    if not both or hu > STREAK_HU:
        return None
    return (
        f"lies between the petrous bones and measures at most {hu:.0f} HU, less than fresh blood: "
        "it may be beam hardening"
    )
