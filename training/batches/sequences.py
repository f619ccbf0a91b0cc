"""Whole scans as sequences of features: read once by a trained network, then drawn from."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.preprocess import Array
from models.slabs import AIR
from training.batches import augment
from training.batches.augment import Random
from training.batches.drawing import fitted
from training.batches.prepared import Slices
from training.batches.slices import Windows
from training.datasets.case import known_any

log = logging.getLogger(__name__)

SLICES_AT_ONCE = 16

Extractor = Callable[[Tensor], tuple[Tensor, Tensor]]
"""(n, c, y, x) windows -> features (n, F) and probabilities (n, 6), as in `Scans`."""


class Scans(NamedTuple):
    """What a network gave for each slice of some scans.

    Attributes
    ----------
    features
        (n, F) float32.
    probabilities
        (n, 6) float32 of `models.classifiers.LABELS`.
    labels
        (n, 6) float32 of `models.classifiers.LABELS`; 0, 1 or NaN where unknown.
    patient
        (n,) int32, see `training.batches.prepared.Slices`.
    copy
        (n,) int32, 0 for the scan as it is and from 1 on for varied copies. A scan's slices stand
        together, from the feet to the head.
    """

    features: Array
    probabilities: Array
    labels: Array
    patient: NDArray[np.int32]
    copy: NDArray[np.int32]

    def chosen(self, rows: NDArray[np.bool_]) -> "Scans":
        """Return these slices (n,) alone, which are whole scans."""
        return Scans(*(array[rows] for array in self))  # type: ignore[arg-type]

    def parts(self) -> list[slice]:
        """Where each scan begins and ends."""
        return _runs(self.patient, self.copy)


def _runs(*keys: NDArray[np.int32]) -> list[slice]:
    """Stretches over which all keys, (n,) each, stay the same."""
    change = np.any([np.diff(key) != 0 for key in keys], axis=0)
    edges = [0, *(np.flatnonzero(change) + 1), len(keys[0])]
    return [slice(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True)]


def scans(
    slices: Slices,
    extract: Extractor,
    windows: Windows,
    size: tuple[int, int],
    copies: int,
    cache: Path,
) -> Scans:
    """Read the scans of prepared slices with a trained network, from the cache if there.

    Parameters
    ----------
    extract
        The network's features and probabilities.
    windows
        Its input channels.
    size
        (rows, columns) of its canvas.
    copies
        How often each scan is read: once as it is, then with one random pose and one random
        scanner's look for the whole scan.
    cache
        Folder of the arrays.
    """
    done = cache / f"{Scans._fields[-1]}.npy"
    if not done.exists():
        read = list(_read(slices, extract, windows, size, copies))
        cache.mkdir(parents=True, exist_ok=True)
        for name, parts in zip(Scans._fields, zip(*read, strict=True), strict=True):
            np.save(cache / f"{name}.npy", np.concatenate(parts))
        log.info("read %d scans in %s", len(read), cache, extra={"action": "scans_read"})
    return Scans(*(np.load(cache / f"{name}.npy") for name in Scans._fields))


def _read(
    slices: Slices, extract: Extractor, windows: Windows, size: tuple[int, int], copies: int
) -> Iterator[Scans]:
    for part in track(_runs(slices.patient), "reading scans", transient=True):
        labels, patient = slices.labels[part], slices.patient[part]
        six = np.column_stack((known_any(labels, 1), labels))
        hu, brain = (
            slices.hu[part].astype(np.float32),
            slices.brain[part].astype(np.float32) / np.float32(255),
        )
        for copy in range(copies):
            if copy == 0:
                seen = (fitted(hu, size), fitted(brain, size))
            else:
                seen = _varied(hu, brain, size, np.random.default_rng((int(patient[0]), copy)))
            image = torch.from_numpy(windows(*seen))
            with torch.inference_mode():
                found = [extract(some) for some in torch.split(image, SLICES_AT_ONCE)]
            features, probabilities = (
                torch.cat(each).float().cpu().numpy() for each in zip(*found, strict=True)
            )
            yield Scans(features, probabilities, six, patient, np.full_like(patient, copy))


def _varied(hu: Array, brain: Array, size: tuple[int, int], random: Random) -> tuple[Array, Array]:
    """HU and brain (s, *size) of the scan as another pose and scanner would give it."""
    count = len(hu)
    channels = np.concatenate((hu - AIR, brain))[None]  # all slices as one image: one pose
    posed = augment.pose(torch.from_numpy(channels), size, random)[0]
    tall = posed[:count].reshape(1, 1, count * size[0], size[1])  # likewise: one scanner
    scanned = augment.scanner(tall + float(AIR), random).reshape(count, *size)
    return scanned.numpy(), posed[count:].numpy()


class ScanBatch(NamedTuple):
    """Scans, each padded at its end to the longest.

    Attributes
    ----------
    features
        (n, s, F) float32.
    probabilities
        (n, s, 6) float32.
    labels
        (n, s, 6) float32, 0, 1 or NaN: unknown, or padding.
    present
        (n, s) bool, False for padding.
    """

    features: Tensor
    probabilities: Tensor
    labels: Tensor
    present: Tensor


@dataclass(frozen=True, slots=True)
class ScanBatches:
    """Draws scans, each as likely as the others of its source.

    Attributes
    ----------
    sources
        Scans with their share.
    """

    sources: Sequence[tuple[Scans, float]]

    def __call__(self, count: int, random: Random) -> ScanBatch:
        """Draw `count` scans."""
        drawn = [self._draw(random) for _ in range(count)]
        features, probabilities, labels, present = (
            [torch.from_numpy(each) for each in part] for part in zip(*drawn, strict=True)
        )
        return ScanBatch(
            pad_sequence(features, batch_first=True),
            pad_sequence(probabilities, batch_first=True),
            pad_sequence(labels, batch_first=True, padding_value=torch.nan),
            pad_sequence(present, batch_first=True),
        )

    def _draw(self, random: Random) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        found = self.sources[random.choice(len(self.sources), p=[p for _, p in self.sources])][0]
        parts = found.parts()
        part = parts[int(random.integers(len(parts)))]
        labels = found.labels[part]
        return found.features[part], found.probabilities[part], labels, np.ones(len(labels), bool)
