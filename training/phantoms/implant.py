"""Hemorrhages put into real normal heads: real anatomy and a real scanner, known blood.

The scan is looked at on a coarse lattice along its own axes, where a gantry tilt is a shift of each
slice and every distance is true. There a hemorrhage grows, as a surface in mm; each slice then
takes the share of it that its voxels hold. What is fluid and what is inside the skull is read from
the full-resolution slices, so blood follows the sulci and the inner table of this very head.

Three things are simplified: nothing is pushed aside (no midline shift, no effaced sulci), sutures
are not found (an epidural is only limited in width), and no subdural lies on the tentorium: one
that is planned there lies on the occipital convexity.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.findings import SUBTYPES
from models.preprocess import Array, Frame, resampling, slabs
from models.volume import Volume
from training.datasets.brain import inside_skull
from training.datasets.case import Case, known_any, study_labels
from training.phantoms import TOGETHER
from training.phantoms.lesions import Lesion, plan
from training.phantoms.shapes import FAR, Field, coverage, smooth_noise

STEP_MM = 2.0
"""Step of the lattice on which blood grows."""

CSF_HU = 9.0
"""Attenuation of cerebrospinal fluid."""

LEAST_POOL_MM2 = 10.0
"""Dark spots of a slice smaller than this are noise and no sulci."""

LEAST_RISE_HU = 15.0
"""Blood is at least this much denser than what it replaces, else nobody could label it."""

MOST_ABOVE_BRAIN_HU = 12.0
"""Soft tissue is at most this much denser than the brain's median: what exceeds it is bone."""

BONE_HU = 90.0
"""What is denser stays as it is: bone, its rim, and calcifications."""

EDGE_MM = 1.2
"""Width over which blood fades into tissue, about a scanner's point spread."""

BRAIN_MM = (67.0, 85.0, 72.0)
"""Half width, half length and height above the middle of the standard head's cavity."""

IN_PLANE = np.array([0, 1, 0], bool)[:, None, None]
"""Neighbours in the same slice, for a structuring element of three dimensions."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Implanted:
    """A real scan that bleeds now.

    Attributes
    ----------
    volume
        The scan, in the geometry it had.
    lesions
        (z, y, x) uint8, 0 where there is no blood, else 1 + the subtype's index in
        `models.findings.SUBTYPES`: voxels that are blood by more than half.
    volumes_ml
        Labelled volume of each subtype; one that found no place is missing.
    """

    volume: Volume
    lesions: NDArray[np.uint8]
    volumes_ml: Mapping[str, float]


def implant(
    volume: Volume,
    inside: Mask,
    seed: int,
    subtypes: tuple[str, ...],
    volume_ml: Mapping[str, float] | None = None,
) -> Implanted:
    """Return the scan with these hemorrhages in it.

    Parameters
    ----------
    volume
        A head CT without hemorrhage.
    inside
        (z, y, x) bool, the inside of its skull.
    seed
        Same seed and arguments, same hemorrhages.
    subtypes
        Hemorrhages to draw, each one of `models.findings.SUBTYPES`.
    volume_ml
        Volume of each of these subtypes, where it should not be drawn at random. A head that has
        less room, such as small ventricles, takes less.
    """
    rng = np.random.default_rng(seed)
    hu, labels = volume.hu.copy(), np.zeros(volume.hu.shape, np.uint8)
    if inside.any():
        box = _around(inside, volume)
        scene = look(_cropped(volume, box), inside[box])
        for subtype in sorted(subtypes, key=SUBTYPES.index):
            lesion = plan(rng, subtype, (volume_ml or {}).get(subtype))
            _bleed(rng, scene, lesion, hu[box], labels[box])
    volumes = {
        SUBTYPES[code - 1]: float(volume.voxel_ml @ (labels == code).sum(axis=(1, 2)))
        for code in np.unique(labels[labels > 0])
    }
    return Implanted(replace(volume, hu=hu), labels, volumes)


def skull_inside(volume: Volume, step_mm: float = 1.0) -> Mask:
    """Return the inside of the skull as `implant` wants it, (z, y, x) bool, without a network."""
    source = slabs(volume, 5.0)
    size_mm = [(n - 1) * d for n, d in zip(source.hu.shape[1:], source.spacing_mm, strict=True)]
    rows, columns = (int(length / step_mm) + 1 for length in size_mm)
    frame = Frame((size_mm[0] / 2, size_mm[1] / 2), rows, columns, step_mm)
    inside = inside_skull(frame.sample(source), step_mm).astype(np.float32)
    native = frame.spread(inside, source.hu.shape[1:], source.spacing_mm) > 0.5
    return source.restore(native[source.of_slice].astype(np.uint8)) > 0


def implanted_cases(
    cases: Iterable[Case], seed: int, inside: Callable[[Volume], Mask] = skull_inside
) -> Iterator[Case]:
    """Yield each case that is known not to bleed with random hemorrhages in it.

    Parameters
    ----------
    cases
        Real heads; those that bleed, or of which that is not known, are left out.
    seed
        Same seed and case, same hemorrhages; another seed, others.
    inside
        Finds the inside of the skull of a volume.

    Yields
    ------
    Case
        Of the same patient, for splits must keep the two together. A slice shows a subtype from
        10 square millimetres, as a phantom does.
    """
    for case in cases:
        if case.study[0] != 0:
            continue
        rng = np.random.default_rng([seed, *case.name.encode()])
        subtypes = list(TOGETHER)[rng.choice(len(TOGETHER), p=list(TOGETHER.values()))]
        bled = implant(case.volume, inside(case.volume), int(rng.integers(1 << 32)), subtypes)
        pixel_mm2 = case.volume.spacing_mm[0] * case.volume.spacing_mm[1]
        codes = np.arange(1, len(SUBTYPES) + 1)
        area = np.stack([(bled.lesions == code).sum((1, 2)) for code in codes], axis=1) * pixel_mm2
        labels = (area >= 10).astype(np.float32)
        bleeds = known_any(labels, axis=1)
        yield replace(
            case,
            name=f"{case.name} implanted {seed}",
            volume=bled.volume,
            labels=labels,
            bleeds=bleeds,
            study=study_labels(labels, bleeds),
            mask=bled.lesions > 0,
        )


def _around(inside: Mask, volume: Volume, margin_mm: float = 8.0) -> tuple[slice, slice, slice]:
    """Return the rows and columns of the inside of the skull, all slices, with its bone."""
    box = [slice(None)]
    for axes, step in zip(((0, 2), (0, 1)), volume.spacing_mm, strict=True):
        held, margin = np.flatnonzero(inside.any(axis=axes)), round(margin_mm / step)
        box.append(slice(max(held[0] - margin, 0), held[-1] + margin + 1))
    return box[0], box[1], box[2]


def _cropped(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """Return some rows and columns of all slices."""
    right, down = volume.orientation[:3], volume.orientation[3:]
    corner = (
        box[1].start * volume.spacing_mm[0] * down + box[2].start * volume.spacing_mm[1] * right
    )
    return replace(volume, hu=volume.hu[box], positions_mm=volume.positions_mm + corner)


@dataclass(frozen=True, slots=True)
class Lattice:
    """A cubic lattice along a scan's own axes: slice normal (w), columns (v) and rows (u).

    Attributes
    ----------
    volume
        The scan.
    start_mm
        Where the first point lies on w, v, u.
    shape
        Points along w, v, u, `STEP_MM` apart.
    """

    volume: Volume
    start_mm: NDArray[np.float64]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, volume: Volume) -> "Lattice":
        """Return the lattice that holds all of a scan."""
        extent = (np.array(volume.hu.shape[1:]) - 1) * volume.spacing_mm
        first = cls._corners(volume)
        half = volume.slice_extent_mm[[0, -1]] / 2
        low = first.min(axis=0) - (half[0], STEP_MM, STEP_MM)
        high = first.max(axis=0) + (half[1], *(extent + STEP_MM))
        shape = np.ceil((high - low) / STEP_MM).astype(int) + 1
        return cls(volume, low, tuple(shape.tolist()))

    @staticmethod
    def _corners(volume: Volume) -> NDArray[np.float64]:
        """Return where the first voxel of each slice lies on w, v, u."""
        axes = (volume.normal, volume.orientation[3:], volume.orientation[:3])
        return volume.positions_mm @ np.array(axes).T

    @property
    def patient_mm(self) -> NDArray[np.float32]:
        """(3, w, v, u) float32, patient coordinates x, y, z."""
        w, v, u = (
            start + STEP_MM * np.arange(n)
            for start, n in zip(self.start_mm, self.shape, strict=True)
        )
        axes = (self.volume.normal, self.volume.orientation[3:], self.volume.orientation[:3])
        parts = (w[:, None, None], v[:, None], u)
        return np.stack(
            [sum(p * a[i] for p, a in zip(parts, axes, strict=True)) for i in range(3)]
        ).astype(np.float32)

    def planes(self, values: Array | Mask) -> Array:
        """(z, v, u) float32, means of (z, y, x) values around the lattice's lines."""
        sampled = []
        for plane, corner in zip(values, self._corners(self.volume), strict=True):
            down, across = (
                resampling(
                    self.start_mm[1 + i] + STEP_MM * np.arange(self.shape[1 + i]) - corner[1 + i],
                    plane.shape[i],
                    self.volume.spacing_mm[i],
                    STEP_MM,
                )
                for i in (0, 1)
            )
            sampled.append(down @ plane.astype(np.float32) @ across.T)
        return np.stack(sampled)

    def between(self, planes: Array) -> Array:
        """(w, v, u) values interpolated between (z, v, u) planes; end planes go on outside."""
        at = self.volume.locations_mm
        w = self.start_mm[0] + STEP_MM * np.arange(self.shape[0])
        index = np.interp(w, at, np.arange(len(at)))
        lower = np.minimum(index.astype(int), max(len(at) - 2, 0))
        part = (index - lower).astype(np.float32)[:, None, None]
        upper = np.minimum(lower + 1, len(at) - 1)
        blended: Array = planes[lower] * (1 - part) + planes[upper] * part
        return blended

    def on_slice(self, field: Field, z: int, offset_mm: float = 0.0) -> Array:
        """(y, x) values of a (w, v, u) field on slice z, or a little above it."""
        w, v, u = self._corners(self.volume)[z] - self.start_mm
        index = np.clip((w + offset_mm) / STEP_MM, 0, self.shape[0] - 1.001)
        part = np.float32(index - int(index))
        plane = field[int(index)] * (1 - part) + field[int(index) + 1] * part
        rows, columns = self.volume.hu.shape[1:]
        dy, dx = self.volume.spacing_mm
        down = resampling(v + dy * np.arange(rows), self.shape[1], STEP_MM, dy)
        across = resampling(u + dx * np.arange(columns), self.shape[2], STEP_MM, dx)
        sampled: Array = down @ plane @ across.T
        return sampled


@dataclass(frozen=True, slots=True)
class Scene:
    """What hemorrhages need to know of a real head; fields are (w, v, u) on the lattice.

    Attributes
    ----------
    lattice
        Where the fields lie.
    inside
        (z, y, x) bool, inside of the skull.
    fluid
        (z, y, x) float32, share of each voxel that blood can flood, 0..1: cerebrospinal fluid,
        and half a millimetre around it, since blood widens the space that it runs into.
    brain_hu, noise_hu
        Median attenuation of the brain, and the scan's noise in it (standard deviation).
    x, y, z
        Coordinates of the standard head, mm to the left, to the back and to the top.
    back
        Patient coordinate to the back, mm: where blood sinks to.
    depth
        Distance to what is not inside, mm; the neck does not count as outside.
    table
        bool, inside within two steps of bone.
    room, flooded
        Share of each cell that is inside and no bone, and that is more than half fluid.
    ventricles
        Distance to the ventricles, mm, 0 in them.
    """

    lattice: Lattice
    inside: Mask
    fluid: Array
    brain_hu: float
    noise_hu: float
    x: Field
    y: Field
    z: Field
    back: Field
    depth: Field
    table: Mask
    room: Field
    flooded: Field
    ventricles: Field

    def distance(self, focus: tuple[float, float, float]) -> Field:
        """Return the distance to a point of the standard head, mm."""
        x, y, z = (a - np.float32(c) for a, c in zip((self.x, self.y, self.z), focus, strict=True))
        away: Field = np.sqrt(x * x + y * y + z * z)
        return away

    def noise(self, rng: np.random.Generator, knot_mm: float) -> Field:
        """Return a smooth random field of standard deviation 1."""
        return smooth_noise(rng, knot_mm / STEP_MM, self.depth.shape)


def look(volume: Volume, inside: Mask) -> Scene:
    """Find the places of a head where blood can go.

    Parameters
    ----------
    volume
        A scan cropped to the skull.
    inside
        (z, y, x) bool, the inside of the skull; some of it is true.
    """
    lattice = Lattice.of(volume)
    smooth = _tissue(volume.hu, volume.spacing_mm, 0.8)
    smooth = np.where(volume.hu > BONE_HU, volume.hu, smooth)
    deep = inside & (np.abs(smooth - 30) < 20)
    brain_hu = float(np.median(smooth[deep]))
    noise_hu = 1.48 * float(np.median(np.abs(volume.hu - smooth)[deep]))
    fluid = _fluid(smooth, brain_hu, volume.spacing_mm) * inside
    surface = lattice.between(_signed(lattice.planes(inside) > 0.5))
    depth = _depth(surface > 0, volume.normal[2] >= 0)
    bone = lattice.between(lattice.planes(volume.hu > 150)) > 0.3
    flooded = lattice.between(lattice.planes(fluid > 0.5))
    patient = lattice.patient_mm
    x, y, z = _standard(patient, depth)
    ventricles = _ventricles(flooded, depth, x, y, z)
    return Scene(
        lattice, inside, fluid, brain_hu, noise_hu, x, y, z, patient[1], depth,
        (depth > 0) & ndimage.maximum_filter(bone, 5),
        lattice.between(lattice.planes(inside & (volume.hu <= BONE_HU))), flooded, ventricles,
    )  # fmt: skip


def _tissue(hu: Array, spacing_mm: tuple[float, float], sigma_mm: float) -> Array:
    """Return the mean of the soft tissue around each voxel in its plane: bone does not count."""
    sigma = [sigma_mm / step for step in spacing_mm]
    soft = ((hu > -30) & (hu < BONE_HU)).astype(np.float32)
    total, weight = (
        ndimage.gaussian_filter(values, sigma, truncate=2.5, axes=(-2, -1))
        for values in (hu * soft, soft)
    )
    mean: Array = total / np.maximum(weight, 1e-3)
    return mean


def _fluid(smooth: Array, brain_hu: float, spacing_mm: tuple[float, float]) -> Array:
    """Return the share of each voxel that blood can flood, from slices without noise."""
    fluid = np.clip((brain_hu - smooth) / (brain_hu - CSF_HU), 0, 1)
    fluid *= np.clip(5 * fluid - 1.5, 0, 1)  # white matter is a little darker, too
    fluid[smooth < -12] = 0  # fat, where the mask of the inside is rough
    pieces, _ = ndimage.label(fluid > 0.2, ndimage.generate_binary_structure(3, 2) & IN_PLANE)
    area_mm2 = np.bincount(pieces.ravel()) * spacing_mm[0] * spacing_mm[1]
    fluid *= (area_mm2 >= LEAST_POOL_MM2)[pieces]
    reach = [2 * round(0.5 / step) + 1 for step in spacing_mm]
    wide: Array = ndimage.maximum_filter(np.minimum(2 * fluid, 1), reach, axes=(1, 2))
    return wide


def _signed(planes: Mask) -> Array:
    """Return (z, v, u) the distance to each slice's outline, mm, positive inside.

    Interpolated between slices it gives the shape between them (Raya and Udupa 1990, IEEE TMI
    9:32-42).
    """
    signed = np.full(planes.shape, -STEP_MM, np.float32)
    for out, plane in zip(signed, planes, strict=True):
        if plane.any():
            edge = ndimage.distance_transform_edt
            out[...] = STEP_MM * (edge(plane) - edge(~plane))
    return signed


def _depth(cavity: Mask, upward: bool) -> Field:
    """Return the distance to what is not the cavity, which goes on below the lowest slice."""
    below = ((40, 0) if upward else (0, 40), (0, 0), (0, 0))
    depth = ndimage.distance_transform_edt(np.pad(cavity, below, "edge"))
    depth = depth[40:] if upward else depth[:-40]
    smooth: Field = ndimage.gaussian_filter((STEP_MM * depth).astype(np.float32), 0.7)
    smooth = np.maximum(smooth - STEP_MM / 2, 0.1)
    smooth[~cavity] = 0
    return smooth


def _standard(patient: NDArray[np.float32], depth: Field) -> tuple[Field, Field, Field]:
    """Return the coordinates of the standard head: its cavity laid over this head's.

    The midline is the plane across the narrowest of the cavity's principal axes; the vault, which
    every head scan shows, gives the scale.
    """
    top = np.quantile(patient[2][depth > 0], 0.999)
    vault = patient[:, (depth > 0) & (patient[2] > top - 90)]
    middle = vault.mean(axis=1, dtype=np.float64)
    axes = np.linalg.eigh(np.cov(vault))[1].T
    left = axes[np.argmax(np.abs(axes[:, 0]))]
    left = left * np.sign(left[0])
    up = np.array([0, 0, 1.0]) - left[2] * left
    up /= np.linalg.norm(up)
    turned = np.array([left, np.cross(up, left), up])
    low, high = np.quantile(turned @ (vault - middle[:, None]), (0.002, 0.998), axis=1)
    scale = 2 * np.array(BRAIN_MM) / (high - low)
    scale[2] = scale[:2].mean()
    centre = (low + high) / 2
    centre[2] = high[2] - BRAIN_MM[2] / scale[2]
    flat = turned @ (patient.reshape(3, -1) - middle[:, None])
    x, y, z = ((flat - centre[:, None]) * scale[:, None]).astype(np.float32).reshape(patient.shape)
    return x, y, z


def _ventricles(flooded: Field, depth: Field, x: Field, y: Field, z: Field) -> Field:
    """Return the distance to the large fluid spaces in the middle of the brain, mm."""
    middle = (np.abs(x) < 42) & (y > -50) & (y < 68) & (z > -12) & (z < 40) & (depth > 22)
    middle &= (np.abs(x) < 24) | (y > 0)  # not the Sylvian fissure
    middle &= (np.abs(x) > 14) | (y < 5) | (z > 8)  # nor the cisterns behind the midbrain
    spaces = (flooded > 0.5) & middle
    pieces, count = ndimage.label(spaces, np.ones((3, 3, 3)))
    if count:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        spaces = (sizes >= max(0.2 * sizes.max(), 300 / STEP_MM**3))[pieces]
    if not spaces.any():
        return np.full(depth.shape, FAR)
    away: Field = np.float32(STEP_MM) * ndimage.distance_transform_edt(~spaces)
    return away


@dataclass(frozen=True, slots=True)
class Growth:
    """How a hemorrhage fills its place; fields are (w, v, u), mm.

    Attributes
    ----------
    field
        Blood takes what is lowest.
    wall
        Where blood must not go: positive there.
    floods
        Whether it takes the place of fluid alone.
    edge_mm
        Width over which it fades out; a wide fringe lies mostly beyond the surface.
    """

    field: Field
    wall: Field
    floods: bool = False
    edge_mm: float = EDGE_MM


def _bleed(
    rng: np.random.Generator, scene: Scene, lesion: Lesion, hu: Array, labels: NDArray[np.uint8]
) -> None:
    """Put one hemorrhage into `hu` and `labels`, or leave both alone where it finds no place."""
    growth = GROWTH[lesion.subtype](rng, scene, lesion)
    surface = None if growth is None else _filled(scene, growth, lesion.volume_ml)
    if growth is None or surface is None:
        return
    shares = {
        z: blood
        for z in range(len(hu))
        if (blood := _share(scene, growth, surface, z, labels[z])) is not None
    }
    soft_hu = scene.brain_hu + MOST_ABOVE_BRAIN_HU  # a voxel's bone stays, on top of the blood
    bled = [np.minimum(hu[z][blood > 0.5], soft_hu) for z, blood in shares.items()]
    if not any(part.size for part in bled):
        return
    around_hu = max(scene.brain_hu, float(np.median(np.concatenate(bled))))
    clot = max(lesion.hu, around_hu + LEAST_RISE_HU) + 3.5 * scene.noise(rng, 6)
    if lesion.oedema_mm and lesion.subtype == "intraparenchymal":
        for z in range(len(hu)):
            _darken(scene, surface, lesion.oedema_mm, z, hu[z])
    for z, blood in shares.items():
        old = np.minimum(_without_noise(scene, hu[z]), soft_hu)
        rise = scene.lattice.on_slice(clot, z) - old
        hu[z] += blood * np.maximum(rise, 0)
        labels[z][blood > 0.5] = SUBTYPES.index(lesion.subtype) + 1


def _filled(scene: Scene, growth: Growth, volume_ml: float) -> Field | None:
    """Return the signed distance to the blood's surface, negative in it; None without room."""
    share = scene.flooded if growth.floods else scene.room
    open_ = (growth.wall < 0) & (share > 0)
    values, shares = growth.field[open_], share[open_]
    if not values.size:
        return None
    order = np.argsort(values)
    filled_ml = np.cumsum(shares[order]) * STEP_MM**3 / 1000
    last = min(int(np.searchsorted(filled_ml, volume_ml)), len(order) - 1)
    surface: Field = np.maximum(growth.field - values[order[last]], growth.wall)
    return surface


def _share(
    scene: Scene, growth: Growth, surface: Field, z: int, labels: NDArray[np.uint8]
) -> Array | None:
    """Return how much of each voxel of slice z is blood, (y, x) 0..1; None where there is none."""
    reach = scene.lattice.volume.slice_extent_mm[z] / 3
    thirds = [scene.lattice.on_slice(surface, z, offset) for offset in (-reach, 0, reach)]
    if min(third.min() for third in thirds) > growth.edge_mm:
        return None
    shift = np.float32((growth.edge_mm - EDGE_MM) / 4)
    blood: Array = np.mean([coverage(third - shift, growth.edge_mm) for third in thirds], axis=0)
    blood *= scene.fluid[z] if growth.floods else scene.inside[z]
    blood[(labels > 0) | (scene.lattice.volume.hu[z] > BONE_HU)] = 0
    if growth.floods:  # a sulcus bleeds and is labelled, or it is left alone
        pieces, _ = ndimage.label(blood > 0)
        blood *= np.isin(pieces, pieces[blood > 0.5])
    return blood


def _without_noise(scene: Scene, hu: Array) -> Array:
    """Return a slice less its noise: what its voxels hold, where that is soft tissue."""
    limit = 2 * scene.noise_hu
    mean = _tissue(hu, scene.lattice.volume.spacing_mm, 1.2)
    kept: Array = hu - np.clip(hu - mean, -limit, limit)
    return kept


def _darken(scene: Scene, surface: Field, rim_mm: float, z: int, hu: Array) -> None:
    """Turn the tissue around a parenchymal bleed into oedema, fading over the rim's width."""
    beyond = scene.lattice.on_slice(surface, z) / np.float32(rim_mm)
    if beyond.min() > 1.3:
        return
    share = 0.85 * np.clip(1.3 - beyond, 0, 1) * (1 - scene.fluid[z]) * scene.inside[z]
    hu += share * np.minimum(18 - _without_noise(scene, hu), 0) * (hu < 60)


def _on_table(scene: Scene, lesion: Lesion) -> tuple[float, float, float] | None:
    """Return the point of the inner table, on the lesion's side, that is nearest to its focus."""
    table = (
        scene.table & (scene.depth < 1.5 * STEP_MM) & (scene.x * lesion.side > 5) & (scene.z > -30)
    )
    if not table.any():
        return None
    nearest = np.argmin(np.where(table, scene.distance(lesion.focus), np.inf))
    return tuple(float(a.flat[nearest]) for a in (scene.x, scene.y, scene.z))  # type: ignore[return-value]


def _beside(scene: Scene, lesion: Lesion) -> Field:
    """Return a wall at the midline, some millimetres on the lesion's side of it."""
    return 2 - scene.x * np.float32(lesion.side)


def _epidural(rng: np.random.Generator, scene: Scene, lesion: Lesion) -> Growth | None:
    """A lens on the inner table: the farther from its focus, the thinner."""
    focus = _on_table(scene, lesion)
    if focus is None:
        return None
    flatness = rng.uniform(0.35, 0.5)
    radius = (2 * lesion.volume_ml * 1000 / (np.pi * flatness)) ** (1 / 3)
    bowl = np.float32(flatness / radius) * scene.distance(focus) ** 2
    wall = np.maximum(_beside(scene, lesion), -35 - scene.z)
    return Growth(scene.depth + bowl, np.maximum(wall, _outside(scene)))


def _subdural(rng: np.random.Generator, scene: Scene, lesion: Lesion) -> Growth | None:
    """A crescent over the convexity, or a sheet on one side of the falx."""
    focus = lesion.focus if lesion.place == "falx" else _on_table(scene, lesion)
    if focus is None:
        return None
    thickness = 3.2 + 0.12 * lesion.volume_ml
    radius = rng.uniform(1.0, 1.4) * np.sqrt(lesion.volume_ml * 1000 / (0.6 * np.pi * thickness))
    depth, wall = scene.depth, np.maximum(_beside(scene, lesion), -28 - scene.z)
    if lesion.place == "falx":
        depth = scene.x * np.float32(lesion.side)
        wall = np.maximum(0.5 - depth, scene.depth - 45)
    taper = 1 - (scene.distance(focus) / np.float32(radius)) ** 3
    taper *= 1 + 0.25 * scene.noise(rng, 15)
    wall = np.maximum(wall, 6 * (0.1 - taper))
    return Growth(depth / np.maximum(taper, 0.1), np.maximum(wall, _outside(scene)))


def _outside(scene: Scene) -> Field:
    """Return a wall around the inside of the skull, a cell beyond it: the slices cut it sharp."""
    return np.where(ndimage.maximum_filter(scene.depth, 3) > 0, -FAR, FAR)


def _intraventricular(rng: np.random.Generator, scene: Scene, lesion: Lesion) -> Growth:
    """Blood that has sunk to the back of the ventricles, more of it on one side."""
    other = np.where(scene.x * lesion.side > 0, 0, np.float32(rng.uniform(0, 25)))
    field = other - scene.back + 1.5 * scene.noise(rng, 10)
    return Growth(field, scene.ventricles - 2.5, floods=True)


def _wettest(scene: Scene, focus: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return a point near the focus with much fluid around it: young heads have few wide sulci."""
    sulci = scene.flooded * ((scene.ventricles > 8) & (scene.z > -40))
    amount = ndimage.uniform_filter(sulci, round(16 / STEP_MM)) * np.exp(
        -scene.distance(focus) / 10
    )
    best = np.argmax(amount)
    return tuple(float(a.flat[best]) for a in (scene.x, scene.y, scene.z))  # type: ignore[return-value]


def _subarachnoid(rng: np.random.Generator, scene: Scene, lesion: Lesion) -> Growth:
    """Blood that floods the sulci and cisterns around its focus, here more, there less."""
    focus = _wettest(scene, lesion.focus)
    field = scene.distance(focus) + rng.uniform(5, 12) * scene.noise(rng, 10)
    third = 8 - np.maximum(np.maximum(np.abs(scene.x), np.abs(scene.y + 5) - 9), -12 - scene.z)
    walls = (5 - scene.ventricles, third, -45 - scene.z, field - 45)
    return Growth(field, np.maximum.reduce(walls), floods=True, edge_mm=6)


def _intraparenchymal(rng: np.random.Generator, scene: Scene, lesion: Lesion) -> Growth:
    """A warped ellipsoid that keeps to its side and out of the ventricles."""
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.75, 1.3, 3)
    rel = np.stack(
        [a - np.float32(c) for a, c in zip((scene.x, scene.y, scene.z), lesion.focus, strict=True)]
    )
    radius = (lesion.volume_ml * 240) ** (1 / 3)
    norm = np.linalg.norm(np.tensordot(turn.T.astype(np.float32), rel, 1), axis=0)
    warp = 1 + 0.16 * scene.noise(rng, max(6, 0.8 * radius)) + 0.07 * scene.noise(rng, 5)
    field = norm * np.maximum(warp, 0.4)
    wall = np.maximum.reduce((2.5 - scene.depth, 1 - scene.ventricles, field - 2 * radius))
    if lesion.place not in ("pons", "cerebellum"):
        wall = np.maximum(wall, _beside(scene, lesion))
    return Growth(field, wall)


GROWTH: Mapping[str, Callable[[np.random.Generator, Scene, Lesion], Growth | None]] = {
    "epidural": _epidural,
    "intraparenchymal": _intraparenchymal,
    "intraventricular": _intraventricular,
    "subarachnoid": _subarachnoid,
    "subdural": _subdural,
}
"""How each subtype grows in a real head; None where it has no place."""
