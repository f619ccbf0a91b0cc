"""What looks like blood, and what hides it: calcium, sinuses, tumours, artefacts.

Each confounder draws into a head that is cropped to its `skull_box`; motion is the scanner's.
"""

from collections.abc import Callable, Mapping

import numpy as np

from training.phantoms.head import Head
from training.phantoms.shapes import WHOLE, coverage, smooth_noise

Draw = Callable[[np.random.Generator, Head], None]


def _calcium(rng: np.random.Generator) -> float:
    return float(rng.uniform(90, 300))


def pineal(rng: np.random.Generator, h: Head) -> None:
    """Calcify the pineal gland."""
    h.paint(*h.space.ellipsoid((0, 29, 0), rng.uniform(1.2, 3.5, 3)), hu=_calcium(rng))


def choroid(rng: np.random.Generator, h: Head) -> None:
    """Calcify the choroid plexus of both atria, unevenly."""
    for side in (-1, 1):
        centre = rng.normal((side * 19, 33, 9), 1)
        h.paint(*h.space.ellipsoid(centre, rng.uniform(1.2, 4, 3)), hu=_calcium(rng))


def basal_ganglia(rng: np.random.Generator, h: Head) -> None:
    """Calcify both globi pallidi in specks."""
    hu = rng.uniform(55, 160)
    for side in (-1, 1):
        box, shape = h.space.ellipsoid((side * 20, -4, 0), rng.uniform(2.5, 5.5, 3))
        speckle = np.clip(0.6 + 0.5 * smooth_noise(rng, 2, shape.shape), 0, 1)
        h.blend(box, coverage(shape, 2) * speckle, hu)


def falx(rng: np.random.Generator, h: Head) -> None:
    """Thicken the falx, dense, with a plaque of calcium at times."""
    inside = np.maximum(np.abs(h.falx) - rng.uniform(0.8, 1.6), h.cavity + 0.5)
    h.paint(WHOLE, inside, rng.uniform(55, 80))
    if rng.random() < 0.5:
        centre = (0, rng.uniform(-55, 0), rng.uniform(35, 55))
        box, plaque = h.space.ellipsoid(centre, (2.2, rng.uniform(4, 10), rng.uniform(3, 7)))
        h.paint(box, plaque, _calcium(rng))


def sinus(rng: np.random.Generator, h: Head) -> None:
    """Make the blood in the venous sinuses dense, as dehydration and polycythaemia do."""
    deep = -h.cavity
    s = h.space
    above = np.maximum(np.abs(s.x) - 5 + 0.55 * deep, deep - 9)
    above = np.maximum(above, np.where((h.tentorium > 0) & (s.z > -8), -9, 9))
    across = np.maximum(np.maximum(np.abs(h.tentorium) - 4, deep - 5), 30 - s.y)
    inside = np.maximum(np.minimum(above, across), 0.2 - deep)
    h.paint(WHOLE, inside.astype(np.float32), rng.uniform(62, 76))


def vessels(rng: np.random.Generator, h: Head) -> None:
    """Make the basal arteries dense and wide, with calcium in their walls at times."""
    hu, width = rng.uniform(55, 72), rng.uniform(1.6, 2.6)
    h.paint(*h.space.capsule((0, -7, -26), (0, -8, -46), width + 0.5), hu=hu)
    for side in (-1, 1):
        h.paint(*h.space.capsule((side * 8, -14, -20), (side * 34, -16, -10), width), hu=hu)
        if rng.random() < 0.5:
            h.paint(*h.space.ellipsoid((side * 9, -14, -28), (2, 2, 3)), hu=_calcium(rng))


def meningioma(rng: np.random.Generator, h: Head) -> None:
    """Grow a dense, smooth tumour from the dura."""
    side = rng.choice((-1, 1))
    centre = np.array(
        ((side * 52, -20, 34), (side * 8, -30, 56), (side * 34, -58, 20))[rng.choice(3)]
    )
    box, ball = h.space.ellipsoid(centre, rng.uniform(6, 15) * rng.uniform(0.85, 1.15, 3))
    ball = np.maximum(ball, h.cavity[box] + 0.5)
    h.paint(box, ball, rng.uniform(46, 60))


def metastasis(rng: np.random.Generator, h: Head) -> None:
    """Grow a small dense tumour in the white matter, with oedema that spares the cortex."""
    side, radius = rng.choice((-1, 1)), rng.uniform(6, 10)
    centre = np.array((side * 32, -32, 28)) + rng.normal(0, 4, 3)
    box, around = h.space.ellipsoid(centre, rng.uniform(27, 34, 3))
    fingers = around + 7 * smooth_noise(rng, 9, around.shape)
    white = np.maximum(h.pia[box] + 3.2, 2 - h.ventricles[box])
    h.paint(box, np.maximum(fingers, white).astype(np.float32), rng.uniform(14, 19), edge_mm=2)
    h.paint(*h.space.ellipsoid(centre, radius * rng.uniform(0.9, 1.1, 3)), hu=rng.uniform(46, 58))


def laminar(rng: np.random.Generator, h: Head) -> None:
    """Leave an infarct of some weeks: dark, a layer of its cortex dense."""
    side = rng.choice((-1, 1))
    centre = np.array((side * 48, rng.uniform(-25, 25), 26))
    box, territory = h.space.ellipsoid(centre, rng.uniform(18, 26, 3))
    brain = np.maximum(territory, h.pia[box])
    h.paint(box, brain.astype(np.float32), rng.uniform(15, 21), edge_mm=2)
    layer = np.maximum(territory, np.abs(h.pia[box] + 1.5) - 0.9)
    h.paint(box, layer.astype(np.float32), rng.uniform(56, 70))


def pseudo_sah(rng: np.random.Generator, h: Head) -> None:
    """Swell the brain: dark, even parenchyma beside which cisterns and dura look bright."""
    inside = coverage(h.cavity + 1.5)
    swollen = 0.8 * inside * coverage(h.pia)
    h.hu[...] += swollen * (rng.uniform(18, 25) - h.hu)
    subarachnoid = coverage(np.maximum(-h.pia, h.cavity + 0.5)) * (h.ventricles > 2)
    h.hu[...] += rng.uniform(0.5, 0.9) * subarachnoid * inside * np.maximum(42 - h.hu, 0)


def infarct(rng: np.random.Generator, h: Head) -> None:
    """Leave an old infarct: a dark wedge of one territory."""
    side = rng.choice((-1, 1))
    centre = ((side * 48, -5, 12), (side * 25, 68, 8), (side * 14, -55, 35), (side * 25, 55, -45))
    radii = rng.uniform(9, 26) * rng.uniform(0.7, 1.2, 3)
    box, shape = h.space.ellipsoid(centre[rng.choice(4)], radii)
    ragged = shape + 3 * smooth_noise(rng, 6, shape.shape)
    ragged = np.maximum(ragged, h.cavity[box] + 1.0)
    h.paint(box, ragged.astype(np.float32), rng.uniform(9, 22), edge_mm=3)


def postoperative(rng: np.random.Generator, h: Head) -> None:
    """Cut a bone flap, with fluid and at times air under it."""
    side, s = rng.choice((-1, 1)), h.space
    centre = np.array((side * 66, rng.uniform(-25, 25), rng.uniform(5, 35)))
    size = rng.uniform(16, 30)
    box = s.box(centre, size + 12)
    rel = np.sqrt((s.y[box] - centre[1]) ** 2 + (s.z[box] - centre[2]) ** 2)
    mine = s.x[box] * side > 20
    bone = (h.cavity[box] > 0) & (h.hu[box] > 200) & mine
    h.hu[box] = np.where(bone & (np.abs(rel - size) < 1.2), 30, h.hu[box])
    layer = coverage(np.maximum(-h.cavity[box] - rng.uniform(1.5, 5), rel - size + 2))
    layer *= (h.cavity[box] < 0) & mine
    h.blend(box, layer.astype(np.float32), rng.uniform(8, 32))
    if rng.random() < 0.4:
        box, bubble = s.ellipsoid((side * 30, -70, rng.uniform(15, 40)), (6, 3, 6))
        h.paint(box, np.maximum(bubble, h.cavity[box] + 0.5), -900)


def burr_hole(rng: np.random.Generator, h: Head) -> None:
    """Drill a hole through the vault."""
    side, s = rng.choice((-1, 1)), h.space
    y, z = rng.uniform(-30, 30), rng.uniform(22, 42)
    box = s.box((side * 66, y, z), 20)
    away = np.sqrt((s.y[box] - y) ** 2 + (s.z[box] - z) ** 2)
    hole = (away < rng.uniform(6.5, 8)) & (s.x[box] * side > 20) & (h.cavity[box] > -1)
    h.hu[box] = np.where(hole & (h.hu[box] > 100), 30, h.hu[box])


def metal(rng: np.random.Generator, h: Head) -> None:
    """Clip an aneurysm: metal with streaks through its slices."""
    side = rng.choice((-1, 1))
    centre = np.array((side * rng.uniform(4, 30), rng.uniform(-20, -5), rng.uniform(-24, -8)))
    s = h.space
    box = s.box([centre - (90, 90, 0), centre + (90, 90, 0)], 5)
    x, y, z = (a[box] - np.float32(c) for a, c in zip((s.x, s.y, s.z), centre, strict=True))
    radius = np.sqrt(x * x + y * y) + 1
    angle = np.arctan2(y, x)
    waves = sum(
        rng.normal() * np.cos(k * angle + np.float32(rng.uniform(0, 6.3))) for k in (2, 4, 7, 11)
    )
    streaks = rng.uniform(60, 160) * waves * np.exp(-radius / 25) * np.exp(-((z / 3) ** 2))
    h.hu[box] += (streaks * (h.hu[box] > -500)).astype(np.float32)
    h.paint(*s.ellipsoid(centre, (4, 1.8, 2.5)), hu=3000)


def beam_hardening(rng: np.random.Generator, h: Head) -> None:
    """Darken a band between the petrous bones, with streaks beside it."""
    s = h.space
    box = s.box([(-50, 5, -40), (50, 5, -40)], 22)
    y, z = s.y[box] - 6, s.z[box] + 40
    across = np.exp(-((s.x[box] / 40) ** 4))
    band = -np.exp(-((y / 5) ** 2)) + 0.7 * np.cos(y / np.float32(rng.uniform(2, 3.5))) * np.exp(
        -((y / 14) ** 2)
    )
    depth = rng.uniform(10, 28) * band * across * np.exp(-((z / 10) ** 2))
    h.hu[box] += (depth * (h.cavity[box] < 0)).astype(np.float32)


def contrast(rng: np.random.Generator, h: Head) -> None:
    """Leave contrast medium in vessels, sinuses and choroid, as after an angiogram."""
    sinus(rng, h)
    vessels(rng, h)
    h.hu[...] += np.float32(rng.uniform(1, 3)) * coverage(h.pia) * coverage(h.cavity)
    for side in (-1, 1):
        h.paint(
            *h.space.capsule((side * 19, 33, 8), (side * 13, 22, 17), 2.2), hu=rng.uniform(55, 80)
        )


CONFOUNDERS: Mapping[str, tuple[float, Draw]] = {
    "pineal": (0.6, pineal),
    "choroid": (0.5, choroid),
    "basal_ganglia": (0.15, basal_ganglia),
    "falx": (0.25, falx),
    "sinus": (0.2, sinus),
    "vessels": (0.15, vessels),
    "meningioma": (0.06, meningioma),
    "pseudo_sah": (0.06, pseudo_sah),
    "infarct": (0.15, infarct),
    "postoperative": (0.06, postoperative),
    "metal": (0.04, metal),
    "beam_hardening": (0.5, beam_hardening),
    "contrast": (0.04, contrast),
    "metastasis": (0, metastasis),
    "laminar": (0, laminar),
    "burr_hole": (0, burr_hole),
}
"""How often each confounder occurs in a random phantom, and what draws it.

What never occurs is drawn where it is asked for: random phantoms are as they were before it came.
"""


def random_confounders(rng: np.random.Generator) -> tuple[str, ...]:
    """Return which confounders a random head has."""
    occur = ((name, often) for name, (often, _) in CONFOUNDERS.items() if often)
    return tuple(name for name, often in occur if rng.random() < often)
