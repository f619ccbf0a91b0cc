"""Phantoms, and real heads with hemorrhages put in, as labelled cases."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from models.preprocess import Frame
from models.slabs import make_slabs
from models.volume import Volume
from training.datasets.brain import inside_skull
from training.datasets.case import Case, DataSet, known_any, slice_labels, study_labels
from training.datasets.table import IMPLANTED
from training.phantoms import TOGETHER, Phantom, random_phantom
from training.phantoms.implant import implant
from training.phantoms.lattice import Mask

PHANTOMS = "phantoms"
"""The site of phantoms."""


def phantom_set(seeds: range) -> DataSet:
    """Return the phantoms of the training range with these seeds as a data set."""
    return DataSet(
        name="phantoms",
        citation="drawn by ichnode",
        licence="Apache-2.0",
        loaders={str(seed): [partial(_drawn, seed)] for seed in seeds},
        bleeding=dict.fromkeys(map(str, seeds), np.nan),
        site=PHANTOMS,
    )


def _drawn(seed: int) -> Case:
    return phantom_case(seed, random_phantom(seed, split="train"))


def implanted_set(heads: DataSet, times: int) -> DataSet:
    """Return the patients of a data set who do not bleed, each `times` with hemorrhages put in."""
    normal = [patient for patient, bleeds in heads.bleeding.items() if bleeds == 0]
    return DataSet(
        name=heads.name + IMPLANTED,
        citation=heads.citation,
        licence=heads.licence,
        loaders={
            patient: [
                partial(_implanted, load, seed)
                for load in heads.loaders[patient]
                for seed in range(times)
            ]
            for patient in normal
        },
        bleeding=dict.fromkeys(normal, 1.0),
        site=heads.site + IMPLANTED,
        judge_only=heads.judge_only,
    )


def _implanted(load: Callable[[], Case], seed: int) -> Case:
    return next(implanted_cases([load()], seed))


def phantom_case(seed: int, drawn: Phantom) -> Case:
    """Return a phantom as a case, labelled by its own lesions."""
    labels = slice_labels(drawn.lesions, drawn.volume.spacing_mm)
    bleeds = known_any(labels, axis=1)
    return Case(
        name=f"phantom {seed}",
        patient=str(seed),
        volume=drawn.volume,
        labels=labels,
        bleeds=bleeds,
        study=study_labels(labels, bleeds),
        mask=drawn.lesions > 0,
        kind="mask",
        site=PHANTOMS,
    )


def skull_inside(volume: Volume, step_mm: float = 1.0) -> Mask:
    """Return the inside of the skull as `implant` wants it, (z, y, x) bool, without a network."""
    source = make_slabs(volume, 5.0)
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
        Real heads. Those that bleed or may bleed are left out.
    seed
        Same seed and case, same hemorrhages; another seed, others.
    inside
        Finds the inside of the skull of a volume.

    Yields
    ------
    Case
        With the same patient, since splits must keep the two together. A slice shows a subtype
        from 10 square millimetres, as in a phantom.
    """
    for case in cases:
        if case.study[0] != 0:
            continue
        rng = np.random.default_rng([seed, *case.name.encode()])
        subtypes = list(TOGETHER)[rng.choice(len(TOGETHER), p=list(TOGETHER.values()))]
        bled = implant(case.volume, inside(case.volume), int(rng.integers(1 << 32)), subtypes)
        labels = slice_labels(bled.lesions, case.volume.spacing_mm)
        bleeds = known_any(labels, axis=1)
        yield replace(
            case,
            name=f"{case.name} implanted {seed}",
            volume=bled.volume,
            labels=labels,
            bleeds=bleeds,
            study=study_labels(labels, bleeds),
            mask=bled.lesions > 0,
            kind="mask",
        )
