"""A reader: volume in, findings out, with the paper's post-processing (Kang 2023)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.findings import SUBTYPES, Findings, SliceFinding
from models.preprocess import (
    Array,
    Canvas,
    Grid,
    Slabs,
    canvas,
    channels,
    coarse_head,
    confirm_head,
    skull_channels,
    slabs,
)
from models.runtime import Predictor, Runtime, batch_size
from models.volume import Volume

Score = Literal["paper", "max", "top-k mean"]
Subtypes = Literal["ensemble", "sequence"]
KeySlice = Literal["lesion", "attention"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the bundle fixes beside the weights.

    Attributes
    ----------
    operating_point
        Triage score from which a volume is suspected; locked on the tuning patients.
    mask_threshold
        Fused probability from which a voxel belongs to the lesion.
    slope, intercept
        Calibrate a slice's peak, see `calibrate`.
    score
        How slice scores become the triage score, see `triage_score`.
    tau
        Slice score from which a slice counts as one with hemorrhage (ours; the paper states none).
    top_k
        Slices averaged by the score "top-k mean".
    uncertain_from
        Disagreement of the base networks from which a volume is uncertain; locked on the tuning
        patients.
    subtypes
        Who names subtypes: the head of one base network, or the sequence reader.
    key_slice
        Which slice to show first: the one with most lesion, or the one most attended to.
    least_brain_ml, least_bone
        What counts as a head, see `models.preprocess.confirm_head`.
    grid
        The networks' lattices.
    """

    operating_point: float
    mask_threshold: float = 0.5
    slope: float = 1.0
    intercept: float = 0.0
    score: Score = "top-k mean"
    tau: float = 0.1
    top_k: int = 3
    uncertain_from: float = 1.0
    subtypes: Subtypes = "ensemble"
    key_slice: KeySlice = "lesion"
    least_brain_ml: float = 200.0
    least_bone: float = 0.4
    grid: Grid = field(default_factory=Grid)

    def calibrate(self, peaks: Array) -> Array:
        """Probability that a slice bleeds, from its peak.

        Platt's logistic on the logit (ours): the largest of many pixels is no probability, and
        networks trained with Dice push it towards 1. The bundle's values are fitted on the tuning
        cases; slope 1 and intercept 0 leave the peak as it is.

        Parameters
        ----------
        peaks
            (s,) float32, 0..1.
        """
        bounded = np.clip(peaks.astype(np.float64), 1e-6, 1 - 1e-6)
        logits = self.slope * np.log(bounded / (1 - bounded)) + self.intercept
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)

    def triage(self, slice_scores: Array) -> float:
        """Triage score of calibrated slice scores, see `triage_score`."""
        return triage_score(slice_scores, self.score, self.tau, self.top_k)

    def disagreement(self, base_peaks: Array) -> float:
        """Standard deviation of the triage scores that the base networks give alone (ours), 0..0.5.

        Parameters
        ----------
        base_peaks
            (s, N) float32, 0..1.
        """
        alone = [self.triage(self.calibrate(peaks)) for peaks in base_peaks.T]
        return float(np.std(alone))


def triage_score(slice_scores: Array, score: Score, tau: float, top_k: int) -> float:
    """Score of a volume from the scores of its slices.

    "paper" is the mean over slices with hemorrhage, those that score `tau` or more; where there is
    none it is the largest score. It is not monotone: one more weak slice lowers it. "max" and
    "top-k mean" (ours) are.

    Parameters
    ----------
    slice_scores
        (s,) float32, each slice's calibrated probability, 0..1.
    """
    ordered = np.sort(slice_scores)[::-1]
    if score == "top-k mean":
        return float(ordered[:top_k].mean())
    bleeding = ordered[ordered >= tau]
    if score == "max" or len(bleeding) == 0:
        return float(ordered[0])
    return float(bleeding.mean())


@dataclass(frozen=True, slots=True)
class Reading:
    """What the networks saw on the slabs.

    Attributes
    ----------
    fused
        (s, rows, columns) float32, fused probability on the canvas.
    subtypes
        (s, 5) float32, probability of `SUBTYPES`.
    peaks
        (s,) float32, each slab's peak of the fused map (`models.ensemble.peak`).
    base_peaks
        (s, N) float32, the peaks of each base network's own map.
    seen
        (s, F + 6) float32, what the study reader reads of each slab (`models.ensemble.Ensemble`).
    attention
        (s,) float32, sums to 1; None without a study reader.
    """

    fused: Array
    subtypes: Array
    peaks: Array
    base_peaks: Array
    seen: Array
    attention: Array | None = None


@dataclass(frozen=True, slots=True)
class Detector:
    """The weighted ensemble, ready to read.

    Attributes
    ----------
    name
        "name@version" of the bundle.
    weights_sha256
        Digest of its weights, 64 hex digits.
    runtime
        Where it runs: "cuda", "openvino" or "torch".
    settings
        What the bundle fixes beside the weights.
    strip
        (1, 2, z, y, x) -> probability of the inside of the skull (1, 1, z, y, x).
    predict
        (n, 4, rows, columns), n up to `models.runtime.batch_size` -> fused probability
        (n, rows, columns), subtype probabilities (n, 5), peaks (n, 1 + N) of the fused and of the
        base networks' maps, and what the study reader reads (n, F + 6).
    follow
        The study reader: (1, s, F + 6) -> subtype probabilities (1, s, 5) and attention (1, s);
        None where the bundle has none.
    """

    name: str
    weights_sha256: str
    runtime: Runtime
    settings: Settings
    strip: Predictor
    predict: Predictor
    follow: Predictor | None = None

    @property
    def operating_point(self) -> float:
        """Triage score from which a volume is suspected."""
        return self.settings.operating_point

    def read(self, volume: Volume, progress: Callable[[int, int], None] | None = None) -> Findings:
        """Read one volume.

        Parameters
        ----------
        progress
            Called with slabs read and slabs in all.

        Raises
        ------
        Unreadable
            If no brain is found; the message says what was measured.
        """
        source, seen = self.prepare(volume)
        return self.judge(volume, source, seen, self.look(seen, progress))

    def prepare(self, volume: Volume) -> tuple[Slabs, Canvas]:
        """Slabs of the volume, and the canvas that the ensemble reads."""
        grid = self.settings.grid
        source = slabs(volume, grid.slab_mm)
        head = coarse_head(source, grid)
        (inside,) = self.strip(skull_channels(head.hu))
        confirm_head(head, inside[0, 0], self.settings.least_brain_ml, self.settings.least_bone)
        return source, canvas(source, head, inside[0, 0], grid)

    def look(self, seen: Canvas, progress: Callable[[int, int], None] | None = None) -> Reading:
        """Run the ensemble over the canvas, batch by batch."""
        parts, size = [], batch_size(self.runtime)
        for start in range(0, len(seen.hu), size):
            part = slice(start, start + size)
            parts.append(self.predict(channels(seen.hu[part], seen.brain[part])))
            if progress:
                progress(min(start + size, len(seen.hu)), len(seen.hu))
        fused, subtypes, peaks, found = (np.concatenate(each) for each in zip(*parts, strict=True))
        reading = Reading(fused, subtypes, peaks[:, 0], peaks[:, 1:], found)
        if not self.follow:
            return reading
        named, attention = self.follow(found[None])
        if self.settings.subtypes == "sequence":
            reading = replace(reading, subtypes=named[0])
        return replace(reading, attention=attention[0])

    def judge(self, volume: Volume, source: Slabs, seen: Canvas, reading: Reading) -> Findings:
        """Bring the reading back to the source slices and state the findings."""
        rules = self.settings
        scores = rules.calibrate(reading.peaks)
        probability = rules.triage(scores)
        uncertainty = rules.disagreement(reading.base_peaks)
        suspected = probability >= rules.operating_point
        planes = seen.frame.spread(reading.fused * 255, source.hu.shape[1:], source.spacing_mm)
        heat = source.restore(np.rint(planes, out=planes).astype(np.uint8)[source.of_slice])
        limit = np.uint8(np.ceil(rules.mask_threshold * 255))
        if suspected:  # whatever is suspected marks a place, be it below the threshold
            limit = min(limit, heat.max())
        mask: NDArray[np.bool_] = np.greater_equal(heat, limit)
        named = reading.subtypes
        return Findings(
            probability=probability,
            suspected=suspected,
            uncertainty=uncertainty,
            uncertain=uncertainty >= rules.uncertain_from,
            volume_ml=float((mask.sum((1, 2)) * volume.voxel_ml).sum()),
            subtypes=_by_name(named.max(0)),
            slices=tuple(
                SliceFinding(float(scores[slab]), _by_name(named[slab])) for slab in source.of_slice
            ),
            key_slice=_key_slice(reading, scores, rules, source.of_slice),
            mask=mask,
            heat=heat,
            bundle=self.name,
            weights_sha256=self.weights_sha256,
        )


def _by_name(probabilities: Array) -> Mapping[str, float]:
    return dict(zip(SUBTYPES, map(float, probabilities), strict=True))


def _key_slice(
    reading: Reading, scores: Array, rules: Settings, of_slice: NDArray[np.intp]
) -> int | None:
    """Source slice amid the slab that shows most lesion; None where no slab shows any."""
    fused = reading.fused
    shown = np.where(fused >= rules.mask_threshold, fused, 0).sum((1, 2))
    if not shown.any():
        shown = np.where(scores >= rules.tau, scores, 0)
    if not shown.any():
        return None
    if rules.key_slice == "attention" and reading.attention is not None:
        shown = reading.attention
    members = np.flatnonzero(of_slice == shown.argmax())
    return int(members[len(members) // 2])
