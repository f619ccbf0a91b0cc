"""Hemorrhages: where each subtype bleeds, how much, how dense, and what it pushes aside.

A hemorrhage is grown, not drawn: of the voxels that its compartment allows, it takes those where a
field that falls towards its focus is lowest, as many as its volume needs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.findings import SUBTYPES
from training.phantoms.head import Head
from training.phantoms.shapes import Field, smooth_noise
from training.phantoms.skull import coronal, lambdoid

VOLUMES_ML = {
    "epidural": (1.2, 12.7, 40.0),
    "intraparenchymal": (0.4, 7.8, 59.0),
    "intraventricular": (0.2, 2.5, 19.0),
    "subarachnoid": (0.3, 0.8, 4.6),
    "subdural": (0.6, 5.9, 56.0),
}
"""5th, 50th and 95th percentile of each subtype's volume in a phantom, mL; an estimate."""

MEASURED_ML = {
    "epidural": (0.45, 5.1, 38.0),
    "intraparenchymal": (0.35, 9.3, 83.0),
    "intraventricular": (0.14, 2.3, 45.0),
    "subarachnoid": (0.21, 1.95, 44.0),
    "subdural": (0.7, 6.0, 74.0),
}
"""5th, 50th and 95th percentile of a patient's total of each subtype, mL.

Measured by the FDA's DIDSR (2025) under the masks of BHSD, 192 patients.
"""

MEASURED_HU = {
    "epidural": (40.0, 58.0, 70.0),
    "intraparenchymal": (36.0, 49.0, 60.0),
    "intraventricular": (29.0, 41.0, 56.0),
    "subarachnoid": (33.0, 44.0, 57.0),
    "subdural": (30.0, 51.0, 68.0),
}
"""5th, 50th and 95th percentile of the mean HU under the mask of lesions of 0.3 mL and more.

As above, 914 lesions of BHSD and 53 of PhysioNet CT-ICH. A mask's edges are part of these means.
"""

MEASURED_PIECES = {
    "epidural": (0.85, 0.1, 0.05),
    "intraparenchymal": (0.6, 0.2, 0.2),
    "intraventricular": (1.0, 0.0, 0.0),
    "subarachnoid": (0.25, 0.2, 0.55),
    "subdural": (0.4, 0.25, 0.35),
}
"""How many patients have one, two, and three or more lesions of a subtype, 0..1.

As above, rounded. Blood of several ventricles is one lesion here.
"""

LEAST_ML = 0.05
"""No smaller bleed is put into a head, mL: 10 square mm of a slab of 5 mm."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lesion:
    """One hemorrhage before it is drawn.

    Attributes
    ----------
    subtype
        One of `models.findings.SUBTYPES`.
    volume_ml
        How much blood.
    focus
        Anatomical coordinates (x, y, z) that it starts from, mm.
    place
        The compartment's part, such as "falx" for a subdural or "pons" for a parenchymal bleed.
    hu
        Mean attenuation of the blood.
    oedema_mm
        Width of the dark rim of a parenchymal bleed.
    """

    subtype: str
    volume_ml: float
    focus: tuple[float, float, float]
    place: str
    hu: float
    oedema_mm: float = 0.0

    @property
    def side(self) -> float:
        """1 on the left, -1 on the right."""
        return 1.0 if self.focus[0] >= 0 else -1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a subtype bleeds: how often, around which point on the left, with how much room."""

    name: str
    share: float
    focus: tuple[float, float, float]
    spread_mm: float
    most_ml: float = np.inf


PLACES = {
    "epidural": (
        Place("temporal", 0.5, (60, 12, -8), 8),
        Place("parietal", 0.25, (55, 28, 42), 10),
        Place("frontal", 0.25, (38, -66, 18), 8),
    ),
    "intraparenchymal": (
        Place("basal ganglia", 0.38, (27, -1, 3), 3),
        Place("thalamus", 0.12, (13, 12, 5), 2, 12),
        Place("lobar", 0.35, (40, 5, 25), 18),
        Place("pons", 0.05, (2, 8, -35), 2, 6),
        Place("cerebellum", 0.10, (22, 50, -42), 6, 25),
    ),
    "intraventricular": (
        Place("horns", 0.6, (21, 58, 3), 2),
        Place("cast", 0.4, (10, 5, 17), 5),
    ),
    "subarachnoid": (
        Place("suprasellar", 0.35, (2, -8, -23), 3),
        Place("sylvian", 0.25, (42, -4, -2), 5),
        Place("convexity", 0.4, (48, 10, 40), 16),
    ),
    "subdural": (
        Place("convexity", 0.7, (60, 5, 22), 14),
        Place("falx", 0.15, (1, 10, 35), 20, 12),
        Place("tentorium", 0.15, (28, 50, -12), 8, 12),
    ),
}
"""The places of each subtype; a hemorrhage larger than `most_ml` bleeds at another place.

The shares and points are estimates; nothing was measured.
"""


def plan(
    rng: np.random.Generator,
    subtype: str,
    volume_ml: float | None = None,
    fresh_hu: tuple[float, float] = (62, 7),
) -> Lesion:
    """Return a random hemorrhage of a subtype.

    Parameters
    ----------
    rng
        Where the choices come from.
    subtype
        One of `models.findings.SUBTYPES`.
    volume_ml
        How much blood; None draws it.
    fresh_hu
        Mean and standard deviation of fresh clots; one bleed in eight is older or thinner.
    """
    if volume_ml is None:
        volume_ml = random_volume_ml(rng, VOLUMES_ML[subtype])
    places = [place for place in PLACES[subtype] if place.most_ml >= volume_ml]
    shares = np.array([place.share for place in places])
    place = places[rng.choice(len(places), p=shares / shares.sum())]
    side = float(rng.choice((-1.0, 1.0)))
    focus = rng.normal(place.focus, place.spread_mm)
    if place.name == "lobar":  # under the cortex, not on the table
        focus *= min(1.0, 0.62 / float(np.linalg.norm(focus / (67, 85, 71))))
    x, y, z = focus.tolist()
    hu = float(np.clip(rng.normal(*fresh_hu), 50, 80))
    if rng.random() < 0.12:
        hu = float(rng.uniform(36, 50))  # anaemia, or a bleed of a week ago
    elif subtype == "subdural" and rng.random() < 0.2:
        hu = float(rng.uniform(20, 30))  # chronic
    oedema = float(rng.choice((0.0, rng.uniform(1.5, 6))))
    return Lesion(subtype, volume_ml, (side * abs(x), y, z), place.name, hu, oedema)


def random_volume_ml(rng: np.random.Generator, percentiles: tuple[float, float, float]) -> float:
    """Draw a volume from two half log-normals that meet the 5th, 50th and 95th percentile."""
    low, median, high = percentiles
    z = np.clip(rng.normal(), -2, 2) / 1.645
    return float(median * (median / low if z < 0 else high / median) ** z)


def random_hu(rng: np.random.Generator, subtype: str) -> float:
    """Draw a mean density from two half normals that meet the percentiles of `MEASURED_HU`."""
    low, median, high = MEASURED_HU[subtype]
    z = np.clip(rng.normal(), -2, 2) / 1.645
    return float(median + z * (median - low if z < 0 else high - median))


def as_measured(rng: np.random.Generator, subtype: str) -> list[Lesion]:
    """Return the hemorrhages of a subtype that a patient has: as many, large and dense as measured.

    Volumes, densities and numbers are drawn from `MEASURED_ML`, `MEASURED_HU`, `MEASURED_PIECES`.
    """
    total_ml = random_volume_ml(rng, MEASURED_ML[subtype])
    pieces = 1 + int(rng.choice(3, p=MEASURED_PIECES[subtype]))
    parts = rng.dirichlet(np.ones(pieces))
    return [
        replace(plan(rng, subtype, float(part * total_ml)), hu=random_hu(rng, subtype))
        for part in parts
        if part * total_ml > LEAST_ML
    ]


def mass_effect(
    rng: np.random.Generator, lesions: Sequence[Lesion]
) -> tuple[tuple[float, tuple[float, float, float]] | None, float]:
    """Return the midline shift with its centre (None without one), and how far sulci close."""
    masses = [
        k
        for k in lesions
        if k.subtype in ("epidural", "intraparenchymal", "subdural")
        and k.place not in ("pons", "cerebellum", "tentorium")
    ]
    if not masses:
        return None, 0.0
    largest = max(masses, key=lambda k: k.volume_ml)
    shift = np.clip(0.15 * (largest.volume_ml - 8), 0, 12) * rng.uniform(0.6, 1.3)
    effaced = float(np.clip(sum(k.volume_ml for k in masses) / 70, 0, 0.9))
    if shift < 0.5:
        return None, effaced
    return (-largest.side * float(shift), (0.0, 0.6 * largest.focus[1], 12.0)), effaced


def draw(rng: np.random.Generator, head: Head, lesions: Sequence[Lesion]) -> NDArray[np.uint8]:
    """Bleed into a head, cropped to its `skull_box`, and return the label map on that part.

    Returns
    -------
    NDArray[np.uint8]
        (z, y, x), 0 where there is no blood, else 1 + the subtype's index in `SUBTYPES`.
    """
    labels = np.zeros(head.hu.shape, np.uint8)
    for lesion in sorted(lesions, key=lambda k: SUBTYPES.index(k.subtype)):
        field, allowed = GROWTH[lesion.subtype](rng, head, lesion)
        blood = _lowest(field, allowed & (labels == 0), lesion.volume_ml)
        labels[blood] = SUBTYPES.index(lesion.subtype) + 1
        if lesion.oedema_mm and lesion.subtype == "intraparenchymal":
            _oedema(head, lesion, field, blood)
        clot = np.float32(lesion.hu) + 3.5 * smooth_noise(rng, 4, labels.shape)[blood]
        head.hu[blood] = clot
    return labels


def _lowest(field: Field, allowed: Mask, volume_ml: float) -> Mask:
    """Return the voxels of 1 mm that fill `volume_ml` where the field is lowest, if any is."""
    values = field[allowed]
    if not values.size:
        return allowed
    count = min(values.size, max(1, round(1000 * volume_ml)))
    level = np.partition(values, count - 1)[count - 1]
    lowest: Mask = allowed & (field <= level)
    return lowest


def _distance(head: Head, focus: Sequence[float]) -> Field:
    """Return the distance to a point, (z, y, x) float32, mm."""
    s = head.space
    square = (s.x - focus[0]) ** 2 + (s.y - focus[1]) ** 2 + (s.z - focus[2]) ** 2
    away: Field = np.sqrt(square).astype(np.float32)
    return away


def _on_table(head: Head, focus: Sequence[float]) -> tuple[float, float, float]:
    """Return the point of the inner table nearest to a focus."""
    box = head.space.box(focus, 30)
    s, rim = head.space, np.abs(head.cavity[box]) < 1
    square = sum((a[box] - c) ** 2 for a, c in zip((s.x, s.y, s.z), focus, strict=True))
    at = np.unravel_index(np.argmin(np.where(rim, square, np.inf)), rim.shape)
    return tuple(float(a[box][at]) for a in (s.x, s.y, s.z))  # type: ignore[return-value]


def _epidural(rng: np.random.Generator, head: Head, lesion: Lesion) -> tuple[Field, Mask]:
    """A lens on the inner table that no suture lets through."""
    s, focus = head.space, _on_table(head, lesion.focus)
    flatness = rng.uniform(0.28, 0.42)
    radius = (2 * lesion.volume_ml * 1000 / (np.pi * flatness)) ** (1 / 3)
    field = (_distance(head, focus) / radius) ** 2 - head.cavity / np.float32(flatness * radius)
    centre = head.space.box(focus, 0)
    allowed = (head.cavity < 0) & (s.x * lesion.side > 0) & (head.tentorium > 0)
    for suture in (coronal(s), lambdoid(s)):
        allowed &= np.sign(suture) == np.sign(np.median(suture[centre]))
    return field, allowed


def _subdural(rng: np.random.Generator, head: Head, lesion: Lesion) -> tuple[Field, Mask]:
    """A crescent over the convexity, or a sheet on the falx or the tentorium."""
    s, inside = head.space, head.cavity < 0
    # Thick enough to be seen beside the bone; what is larger is thicker and wider.
    thickness = 3.2 + 0.12 * lesion.volume_ml
    radius = rng.uniform(1.0, 1.4) * np.sqrt(lesion.volume_ml * 1000 / (0.6 * np.pi * thickness))
    if lesion.place == "falx":
        depth, inside = head.falx * lesion.side, inside & (head.falx < 90)
        focus = lesion.focus
    elif lesion.place == "tentorium":
        depth, focus = head.tentorium, lesion.focus
        inside &= (s.x * lesion.side > 2) & (s.y > 20)
    else:
        depth, focus = -head.cavity, _on_table(head, lesion.focus)
        inside &= (s.x * lesion.side > 2) & (head.tentorium > 1)
    taper = 1 - (_distance(head, focus) / np.float32(radius)) ** 3
    taper *= 1 + 0.25 * smooth_noise(rng, 15, head.hu.shape)
    return depth / np.maximum(taper, 0.05), inside & (depth > 0.4) & (taper > 0.05)


def _intraventricular(rng: np.random.Generator, head: Head, lesion: Lesion) -> tuple[Field, Mask]:
    """Blood that settles into the occipital horns of a patient who lies on the back, or a cast."""
    s = head.space
    room = head.ventricles < 0
    stretched = np.float32(max(0.0, 1000 * lesion.volume_ml / max(room.sum(), 1) - 0.7))
    allowed = (head.ventricles < 2.5 * stretched) & (head.cavity < -5)
    if lesion.place == "horns":
        field = -s.y + np.where(s.x * lesion.side > 0, 0, np.float32(rng.uniform(0, 25)))
    else:
        field = _distance(head, lesion.focus)
    return (field + 2 * smooth_noise(rng, 5, head.hu.shape)).astype(np.float32), allowed


def _subarachnoid(rng: np.random.Generator, head: Head, lesion: Lesion) -> tuple[Field, Mask]:
    """Blood that floods cisterns and sulci around its focus."""
    patchy = rng.uniform(4, 16) * smooth_noise(rng, 6, head.hu.shape)
    field = _distance(head, lesion.focus) + patchy
    allowed = (head.pia > -0.7) & (head.cavity < -1) & (head.ventricles > 2)
    return field, allowed & (head.space.z > -72)


def _intraparenchymal(rng: np.random.Generator, head: Head, lesion: Lesion) -> tuple[Field, Mask]:
    """A warped ellipsoid that keeps to its side of falx and tentorium."""
    s = head.space
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.75, 1.3, 3)
    rel = [a - np.float32(c) for a, c in zip((s.x, s.y, s.z), lesion.focus, strict=True)]
    square = sum(
        sum(np.float32(w) * r for w, r in zip(row, rel, strict=True)) ** 2 for row in turn.T
    )
    radius = (lesion.volume_ml * 240) ** (1 / 3)
    warp = 1 + 0.16 * smooth_noise(rng, max(5, 0.8 * radius), head.hu.shape)
    field = np.sqrt(square) * np.maximum(warp, 0.4)
    allowed = (head.cavity < -1.5) & (head.ventricles > 0.5) & (head.pia < 1.5)
    if lesion.place == "cerebellum":
        return field, allowed & (head.tentorium < -1)
    if lesion.place == "pons":
        return field, allowed & (s.z < 0)
    return field, allowed & (head.tentorium > 1) & (s.x * lesion.side > 1)


def _oedema(head: Head, lesion: Lesion, field: Field, blood: Mask) -> None:
    """Darken the tissue around a parenchymal bleed, fading over the rim's width."""
    edge = field[blood].max()
    beyond = (field - edge) / np.float32(lesion.oedema_mm)
    share = 0.85 * np.clip(1.3 - beyond, 0, 1) * (head.pia < 0) * (head.ventricles > 0.5)
    share *= head.cavity < -1
    head.hu[...] += share * (np.float32(17) - head.hu)


Growth = Callable[[np.random.Generator, Head, Lesion], tuple[Field, Mask]]
GROWTH: Mapping[str, Growth] = {
    "epidural": _epidural,
    "intraparenchymal": _intraparenchymal,
    "intraventricular": _intraventricular,
    "subarachnoid": _subarachnoid,
    "subdural": _subdural,
}
"""How each subtype grows: the field that is lowest at its focus, and where blood may go."""
