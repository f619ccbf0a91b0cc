"""Tumours: a dense, even mass on the dura; a small mass in much oedema of the white matter.

A meningioma is round or a half sphere, sharp, even, of the density of cortex or denser, on a broad
base at the dura (Huang et al. 2019, Neuro-Oncology 21 Suppl 1:i44-i61, doi 10.1093/neuonc/noy143).
Around a metastasis the oedema of the white matter spares the cortex and may be much larger than the
tumour (Schneider et al. 2017, PLOS ONE 12:e0177217). Around a bleed it is not: 5 to 8 mL beside 12
to 19 mL of blood within six hours (Lv et al. 2021, doi 10.1155/2021/6249509), and 7.7 mL and 0.64
of the blood in its first week (Carhuapoma et al. 2003, J Neurosurg Anesthesiol 15:230-233). The
limits stand well beyond these, and are estimates.
"""

from models.mimics.dark import dark_around
from models.mimics.head import Head, Region, wider
from models.mimics.masses import Mass, mass_of

MENINGIOMA_ML = (0.7, 60.0)
"""Smaller ones have no form on slabs of 5 mm."""
MENINGIOMA_HU = (42.0, 58.0)
"""The inside of a meningioma without calcium; a fresh clot's is mostly denser."""
EVEN_HU = 5.0
"""Its inside spreads no further, from the 10th to the 90th percentile."""
PALES_HU = 3.5
"""A clot that is taken up pales from its edge; the outer shell of a tumour is hardly paler."""
ROUND, FILLS, TALL = 0.6, 0.93, 0.45
"""A crescent or a lens of blood is longer, hollow or flatter."""
BASE_MM, BASE = 8.0, 0.4
"""A base on the dura is at least as broad, also as a part of the long axis."""
ONE_BODY = 0.75
"""So much of what is dense in and around the region is the mass: else there is blood beside it."""

CORTEX_MM = 5
"""The cortex, which oedema of the white matter spares and an infarct does not."""
CORTEX_SHARE = 0.15
"""So much of the oedema lies there at most."""
LEAST_OEDEMA_ML, LEAST_RATIO = 15.0, 4.0
"""More than around a bleed, see above; the ratio is to the dense mass."""
ALL_AROUND = 0.15
"""So much of what lies 4 to 8 mm around the mass on its slabs is oedema."""
MASS_HU = 62.0
"""A fresh clot's inside is mostly denser."""


def tumour(head: Head, region: Region) -> str | None:
    """Say that a region is one dense mass that looks like a tumour."""
    mass = mass_of(head, region)
    if mass is None or not _one_body(head, region, mass):
        return None
    return _oedema(head, mass) or _meningioma(mass)


def _meningioma(mass: Mass) -> str | None:
    """Say that a mass is even and round, on a broad base at the dura."""
    low, high = MENINGIOMA_HU
    even = low <= mass.hu <= high and mass.spread_hu <= EVEN_HU and mass.pales_hu <= PALES_HU
    formed = mass.round >= ROUND and mass.fills >= FILLS and mass.tall >= TALL
    based = mass.base_mm >= max(BASE_MM, BASE * mass.long_mm)
    least, most = MENINGIOMA_ML
    if not (even and formed and based and least <= mass.ml <= most):
        return None
    return (
        f"is a round mass of {mass.ml:.0f} mL on the dura, evenly {mass.hu:.0f} HU: it may be a "
        "tumour such as a meningioma"
    )


def _oedema(head: Head, mass: Mass) -> str | None:
    """Say that a mass lies amid much more oedema than a bleed has, the cortex spared."""
    if mass.hu > MASS_HU:
        return None
    dark = dark_around(head, mass.where)
    if dark.more_ml < max(LEAST_OEDEMA_ML, LEAST_RATIO * mass.ml):
        return None
    around = wider(mass.where, 8) & ~wider(mass.where, 3)
    cortex = wider(~head.inside | head.rim, CORTEX_MM)
    if dark.where[around].mean() < ALL_AROUND:
        return None
    if head.ml(dark.where & cortex) > CORTEX_SHARE * dark.here_ml:
        return None
    return (
        f"is a mass of {mass.ml:.1f} mL amid about {dark.more_ml:.0f} mL of oedema in the white "
        "matter, more than a bleed of this size has: it may be a tumour, which may have bled"
    )


def _one_body(head: Head, region: Region, mass: Mass) -> bool:
    """Whether hardly anything else in and around the region is as dense as blood."""
    beside = region.bright & ~wider(mass.where, 2)
    return head.ml(beside) <= (1 - ONE_BODY) * head.ml(region.bright)
