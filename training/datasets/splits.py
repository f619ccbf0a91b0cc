"""Who trains and who tests: patients dealt into parts, written to TOML and read back.

A patient is in one part only; reading checks it. That holds within a data set: BHSD's images come
from RSNA 2019 (see `training.datasets.nifti.open_bhsd`), so one of them must not test a detector
that was trained on the other.
"""

import hashlib
import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Part = Literal["train", "tune", "test"]
"""A part of a split, see `Split`."""


@dataclass(frozen=True, slots=True)
class Split:
    """Patients of each part; no patient is in two.

    Attributes
    ----------
    train
        Networks are fitted to these.
    tune
        Operating points and thresholds are locked on these.
    test
        Nothing is chosen on these.
    """

    train: tuple[str, ...]
    tune: tuple[str, ...]
    test: tuple[str, ...]


def split_patients(
    bleeding: Mapping[str, float], tune: float = 0.15, test: float = 0.2, seed: int = 0
) -> Split:
    """Split patients at random, with the same share of bleeding ones in each part.

    Parameters
    ----------
    bleeding
        For each patient hemorrhage 0, 1 or NaN (unknown), as in `DataSet.bleeding`.
    tune, test
        Shares of the patients, 0..1.
    seed
        Of the random order.
    """
    dealt = _shuffled(list(bleeding), list(bleeding.values()), seed)
    parts: dict[str, list[str]] = {"train": [], "tune": [], "test": []}
    for stratum in dealt:
        first, second = round(len(stratum) * test), round(len(stratum) * (test + tune))
        parts["test"] += stratum[:first]
        parts["tune"] += stratum[first:second]
        parts["train"] += stratum[second:]
    return Split(**{name: tuple(sorted(part)) for name, part in parts.items()})


def part_of(patient: str, tune: float = 0.15, test: float = 0.2, seed: int = 0) -> Part:
    """Return the part that a patient falls into by a hash of the name, whoever else is there.

    Parameters
    ----------
    patient
        Unique among all data sets, such as "site/patient".
    tune, test
        Shares of the patients, 0..1.
    """
    digest = hashlib.sha256(f"{seed}/{patient}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test:
        return "test"
    return "tune" if place < test + tune else "train"


def folds(
    patients: Sequence[str], bleeds: Sequence[float], k: int, seed: int
) -> tuple[tuple[str, ...], ...]:
    """Deal patients into `k` folds at random, with as many bleeding ones in each as can be.

    Parameters
    ----------
    patients
        Each once.
    bleeds
        (n,) hemorrhage of each: 0, 1 or NaN (unknown).
    """
    order = [patient for stratum in _shuffled(patients, bleeds, seed) for patient in stratum]
    return tuple(tuple(sorted(order[first::k])) for first in range(k))


def rotate(parts: Sequence[Sequence[str]], fold: int) -> Split:
    """Return the split that tests on this fold, tunes on the next one and trains on the others."""
    turned = [*parts[fold:], *parts[:fold]]
    rest = sorted(patient for part in turned[2:] for patient in part)
    return Split(train=tuple(rest), tune=tuple(turned[1]), test=tuple(turned[0]))


def _shuffled(patients: Sequence[str], bleeds: Sequence[float], seed: int) -> list[list[str]]:
    """Patients of each stratum (1, 0, unknown) in an order that only the seed decides."""
    random = np.random.default_rng(seed)
    known = dict(zip(patients, bleeds, strict=True))
    if len(known) < len(patients):
        raise ValueError("a patient is there twice")
    strata = [
        sorted(p for p in known if known[p] == 1),
        sorted(p for p in known if known[p] == 0),
        sorted(p for p in known if known[p] not in (0, 1)),
    ]
    return [[stratum[i] for i in random.permutation(len(stratum))] for stratum in strata]


def write(path: Path, parts: Mapping[str, Sequence[str]], note: str, seed: int) -> None:
    """Write parts of patients to TOML, with a comment that says how they came about.

    Parameters
    ----------
    note
        Which data set, and how it was split.
    seed
        Of the random order.

    Raises
    ------
    ValueError
        If a patient is in two parts.
    """
    _refuse_shared(path, parts)
    counts = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
    lines = [f"# {line}" for line in (*note.splitlines(), f"Seed {seed}; patients: {counts}.")]
    for name, part in parts.items():
        lines += [f"{name} = [", *(f"    {json.dumps(patient)}," for patient in part), "]"]
    path.write_text("\n".join(lines) + "\n")


def read(path: Path) -> dict[str, tuple[str, ...]]:
    """Read parts of patients from TOML: arrays of names or numbers.

    Raises
    ------
    ValueError
        If a patient is in two parts, or twice in one.
    """
    parts = {
        name: tuple(str(patient) for patient in part)
        for name, part in tomllib.loads(path.read_text()).items()
    }
    _refuse_shared(path, parts)
    return parts


def read_split(path: Path) -> Split:
    """Read a split of the parts train, tune and test.

    Raises
    ------
    ValueError
        If a patient is in two parts, or the parts are others.
    """
    parts = read(path)
    if parts.keys() != {"train", "tune", "test"}:
        raise ValueError(f"{path}: parts {', '.join(parts)} instead of train, tune, test")
    return Split(**parts)


def _refuse_shared(path: Path, parts: Mapping[str, Sequence[str]]) -> None:
    times = Counter(patient for part in parts.values() for patient in part)
    if twice := [patient for patient, count in times.items() if count > 1]:
        raise ValueError(f"{path}: patients in two parts: {', '.join(twice)}")
