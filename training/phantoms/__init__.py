"""Analytic head phantoms with known hemorrhages: built in, seeded, hard enough to train on.

A phantom is a head (`head`, `skull`, `brain`) with hemorrhages (`lesions`) and look-alikes
(`confounders`), seen by a scanner (`scanner`). Whatever is measured on phantoms must be labelled
"phantom".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.findings import SUBTYPES
from models.volume import Volume
from training.phantoms import lesions
from training.phantoms.brain import draw_brain
from training.phantoms.confounders import CONFOUNDERS, random_confounders
from training.phantoms.head import Head, random_traits
from training.phantoms.scanner import Beam, Scanner, beam, random_scanner, scan
from training.phantoms.shapes import Field, space
from training.phantoms.skull import draw_skull

__all__ = [
    "Phantom",
    "Scanner",
    "demo_pair",
    "phantom",
    "random_phantom",
    "random_scanner",
    "subtypes_of",
]

FRESH_HU = {"train": (62.0, 7.0), "test": (59.0, 8.0)}
"""Attenuation of fresh clots in either split, mean and standard deviation."""

DENSER_HU = 8.0
"""What a look-alike makes so much denser can be taken for blood (ours)."""

SPLITS = tuple(FRESH_HU)


@dataclass(frozen=True, slots=True)
class Phantom:
    """A head CT whose truth is known.

    Attributes
    ----------
    volume
        The series.
    lesions
        (z, y, x) uint8, 0 where there is no blood, else 1 + the subtype's index in
        `models.findings.SUBTYPES`.
    brain
        (z, y, x) bool, all inside the inner table of the skull: the truth of skull stripping.
    volumes_ml
        Labelled volume of each subtype that the slices show; empty for a normal head.
    confounders
        Names of the look-alikes and artefacts drawn, from `confounders.CONFOUNDERS`.
    denser
        (z, y, x) bool, what they made denser by `DENSER_HU` or more.
    """

    volume: Volume
    lesions: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    volumes_ml: Mapping[str, float]
    confounders: tuple[str, ...]
    denser: NDArray[np.bool_]


def phantom(
    seed: int,
    *,
    subtypes: tuple[str, ...] = (),
    volume_ml: Mapping[str, float] | None = None,
    confounders: tuple[str, ...] | None = None,
    scanner: Scanner | None = None,
    split: str = "train",
) -> Phantom:
    """Return the phantom that belongs to `seed`, of these subtypes.

    Parameters
    ----------
    seed
        Same seed and arguments, same phantom.
    subtypes
        Hemorrhages to draw, each one of `models.findings.SUBTYPES`; empty for a normal head.
    volume_ml
        Volume of each of these subtypes, where it should not be drawn at random.
    confounders
        Look-alikes to draw; None draws them at random.
    scanner
        What scans the head; None takes the standard scanner.
    split
        "train" or "test": the same seed gives unrelated heads, and clots of other densities.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    wanted = volume_ml or {}
    planned = [
        lesions.plan(rng, subtype, wanted.get(subtype), FRESH_HU[split]) for subtype in subtypes
    ]
    if confounders is None:
        confounders = random_confounders(rng)
    head, labels, rise = _head(rng, planned, confounders)
    scanner = scanner or Scanner()
    volume, seen = scan(rng, scanner, head.hu), beam(scanner)
    label_map = _label_map(seen, labels, volume.voxel_ml)
    volumes = {
        SUBTYPES[code - 1]: float(volume.voxel_ml @ (label_map == code).sum(axis=(1, 2)))
        for code in np.unique(label_map[label_map > 0])
    }
    brain = seen.sample(head.intracranial) > 0.5
    denser = seen.sample(rise) > DENSER_HU
    return Phantom(volume, label_map, brain, volumes, confounders, denser)


def _head(
    rng: np.random.Generator, planned: Sequence[lesions.Lesion], confounders: tuple[str, ...]
) -> tuple[Head, NDArray[np.uint8], Field]:
    """Return a head with these lesions and look-alikes.

    Beside it, on its grid, are the lesions' labels, and how much denser the look-alikes made it.
    """
    push, effaced = lesions.mass_effect(rng, planned)
    traits = random_traits(rng)
    coordinates = space(
        rng, size=traits.size, pose_deg=traits.pose_deg, warp_mm=traits.warp_mm, push=push
    )
    head = draw_skull(rng, coordinates, traits)
    box = head.skull_box
    inside = head.crop(box)
    draw_brain(rng, inside, effaced)
    rise, before = np.zeros(head.hu.shape, np.float32), inside.hu.copy()
    for name in confounders:
        CONFOUNDERS[name][1](rng, inside)
    rise[box] = inside.hu - before
    labels = np.zeros(head.hu.shape, np.uint8)
    labels[box] = lesions.draw(rng, inside, planned)
    return head, labels, rise


def _label_map(
    seen: Beam, labels: NDArray[np.uint8], voxel_ml: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Return the labels in the slices: for each subtype as many voxels as hold its blood.

    A limit of half a voxel would lose sheets thinner than a voxel, and much blood lies in such.
    """
    found = np.zeros(seen.shape, np.uint8)
    codes = np.unique(labels[labels > 0])
    shares = [seen.sample(labels == code) for code in codes]
    for code, share in zip(codes, shares, strict=True):
        most = (share > 0) & np.logical_and.reduce([share >= other for other in shares])
        count = round(float(share.sum(axis=(1, 2)) @ voxel_ml) / float(voxel_ml.mean()))
        ranked = np.sort(share[most])[::-1][: max(count, 1)]
        if ranked.size:  # else it lies beyond the first or the last slice
            found[most & (share >= ranked[-1])] = code
    return found


def random_phantom(seed: int, *, split: str = "train", matrix: int | None = None) -> Phantom:
    """Return a phantom with everything drawn at random; about half of them bleed.

    Parameters
    ----------
    seed
        Same seed and split, same phantom.
    split
        "train" or "test": other heads, and other ranges of scanners.
    matrix
        Rows and columns of the slices, where they should not be drawn.
    """
    scanner, subtypes = _drawn(seed, split, matrix)
    return phantom(seed, subtypes=subtypes, scanner=scanner, split=split)


def subtypes_of(seed: int, split: str) -> tuple[str, ...]:
    """Return the hemorrhages that `random_phantom` draws."""
    return _drawn(seed, split, None)[1]


def _drawn(seed: int, split: str, matrix: int | None) -> tuple[Scanner, tuple[str, ...]]:
    rng = np.random.default_rng([seed, SPLITS.index(split), 1])
    scanner = random_scanner(rng, split=split, matrix=matrix)
    return scanner, random_subtypes(rng)


TOGETHER = {
    ("intraparenchymal",): 0.2,
    ("intraparenchymal", "intraventricular"): 0.1,
    ("intraventricular",): 0.07,
    ("subarachnoid",): 0.16,
    ("subarachnoid", "intraventricular"): 0.05,
    ("subdural",): 0.2,
    ("subdural", "subarachnoid"): 0.08,
    ("epidural",): 0.08,
    ("epidural", "subarachnoid"): 0.03,
    ("subdural", "intraparenchymal", "subarachnoid"): 0.03,
}
"""How often subtypes occur together among heads that bleed. An estimate; nothing was measured."""


def random_subtypes(rng: np.random.Generator) -> tuple[str, ...]:
    """Return the subtypes of a random head: none in half of them."""
    if rng.random() < 0.5:
        return ()
    return list(TOGETHER)[rng.choice(len(TOGETHER), p=list(TOGETHER.values()))]


def demo_pair() -> tuple[Phantom, Phantom]:
    """Return the demo's two heads: a parenchymal bleed that broke into the ventricles; a normal."""
    scanner = Scanner(tilt_deg=8.0)
    bleeding = phantom(
        49,
        subtypes=("intraparenchymal", "intraventricular"),
        volume_ml={"intraparenchymal": 20.0, "intraventricular": 4.0},
        confounders=("pineal", "choroid"),
        scanner=scanner,
    )
    normal = phantom(71, confounders=("pineal", "choroid"), scanner=replace(scanner, tilt_deg=5.0))
    return bleeding, normal
