"""The detector: it turns a volume into findings, with the paper's post-processing (Kang 2023)."""

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
    channels,
    coarse_head,
    confirm_head,
    make_canvas,
    skull_channels,
)
from models.runtime import Predictor, Runtime, batch_size
from models.slabs import Slabs, make_slabs
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
        Triage score from which a volume is suspected, 0..1; locked on the tuning patients.
    mask_threshold
        Fused probability from which a voxel belongs to the lesion, 0..1.
    slope, intercept
        Of the calibration of a slice's peak, see `calibrate`.
    score
        How slice scores become the triage score, see `triage_score`.
    tau
        Slice score from which a slice counts as one with hemorrhage. The paper states no value;
        this one is ours.
    top_k
        Slices averaged by the score "top-k mean".
    uncertain_from
        Disagreement of the base networks from which a volume is uncertain; locked on the tuning
        patients.
    subtypes
        Which network names subtypes: the head of one base network, or the sequence model.
    key_slice
        Which slice to show first: the one with most lesion, or the one with most attention.
    least_brain_ml, least_bone
        What counts as a head, see `models.preprocess.confirm_head`.
    grid
        The lattices on which the networks' input is sampled.
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
        """Return the probability that a slice bleeds, from its peak.

        It is Platt's logistic on the logit of the peak (ours): the largest of many pixels is not a
        probability, and networks trained with Dice push it towards 1. The bundle's slope and
        intercept are fitted on the tuning cases; slope 1 and intercept 0 change nothing.

        Parameters
        ----------
        peaks
            (s,) float32, 0..1.

        Returns
        -------
        NDArray
            (s,) float32, 0..1.
        """
        # The logit of 0 and of 1 is infinite.
        bounded = np.clip(peaks.astype(np.float64), 1e-6, 1 - 1e-6)
        logits = self.slope * np.log(bounded / (1 - bounded)) + self.intercept
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)

    def triage(self, slice_scores: Array) -> float:
        """Return the triage score of calibrated slice scores, see `triage_score`."""
        return triage_score(slice_scores, self.score, self.tau, self.top_k)

    def disagreement(self, base_peaks: Array) -> float:
        """Return how far the base networks disagree (ours), 0..0.5.

        It is the standard deviation of the triage scores that each of them would give alone.

        Parameters
        ----------
        base_peaks
            (s, N) float32, 0..1; N base networks.
        """
        alone = [self.triage(self.calibrate(peaks)) for peaks in base_peaks.T]
        return float(np.std(alone))


def triage_score(slice_scores: Array, score: Score, tau: float, top_k: int) -> float:
    """Return the score of a volume from the scores of its slices.

    "paper" is the mean over the slices with hemorrhage, which score `tau` or more. If no slice
    scores that much, it is the largest score. This score is not monotone: one more weak slice
    lowers it. "max" and "top-k mean" (ours) are monotone.

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
class DetectorOutput:
    """What the networks give for a canvas of s slabs.

    Attributes
    ----------
    fused
        (s, rows, columns) float32, fused probability on the canvas, 0..1.
    subtypes
        (s, 5) float32, probability of each of `SUBTYPES`, 0..1.
    peaks
        (s,) float32, 0..1, each slab's peak of the fused map (`models.ensemble.peak`).
    base_peaks
        (s, N) float32, 0..1, the peaks of each base network's own map.
    study_input
        (s, F + 6) float32, the study model's input of each slab (`models.ensemble.Ensemble`).
    attention
        (s,) float32, sums to 1; None without a study model.
    """

    fused: Array
    subtypes: Array
    peaks: Array
    base_peaks: Array
    study_input: Array
    attention: Array | None = None


@dataclass(frozen=True, slots=True)
class Detector:
    """The networks and the rules that turn their output into findings.

    Attributes
    ----------
    name
        "name@version" of the bundle.
    weights_sha256
        Digest of its weights, 64 hex digits.
    runtime
        Where the networks run: "cuda", "openvino" or "torch".
    settings
        What the bundle fixes beside the weights.
    strip
        The skull stripper: (1, 2, z, y, x) -> probability of the inside of the skull, of shape
        (1, 1, z, y, x).
    predict
        The ensemble: (n, 4, rows, columns), n up to `models.runtime.batch_size` -> fused
        probability (n, rows, columns), subtype probabilities (n, 5), peaks (n, 1 + N) of the fused
        and of the base networks' maps, and the study model's input (n, F + 6).
    predict_study
        The study model: (1, s, F + 6) -> subtype probabilities (1, s, 5) and attention (1, s);
        None if the bundle has no study model.
    """

    name: str
    weights_sha256: str
    runtime: Runtime
    settings: Settings
    strip: Predictor
    predict: Predictor
    predict_study: Predictor | None = None

    @property
    def operating_point(self) -> float:
        """Triage score from which a volume is suspected."""
        return self.settings.operating_point

    def detect(
        self, volume: Volume, progress: Callable[[int, int], None] | None = None
    ) -> Findings:
        """Return the findings of one volume.

        Parameters
        ----------
        progress
            Called after each batch with the number of slabs done and the number of all slabs.

        Raises
        ------
        Unreadable
            If no brain is found; the message says what was measured.
        """
        slabs, canvas = self.preprocess(volume)
        return self.state_findings(volume, slabs, canvas, self.infer(canvas, progress))

    def preprocess(self, volume: Volume) -> tuple[Slabs, Canvas]:
        """Return the slabs of the volume, and the canvas that is the ensemble's input.

        Raises
        ------
        Unreadable
            If no brain is found; the message says what was measured.
        """
        grid = self.settings.grid
        slabs = make_slabs(volume, grid.slab_mm)
        head = coarse_head(slabs, grid)
        (inside,) = self.strip(skull_channels(head.hu))
        confirm_head(head, inside[0, 0], self.settings.least_brain_ml, self.settings.least_bone)
        return slabs, make_canvas(slabs, head, inside[0, 0], grid)

    def infer(
        self, canvas: Canvas, progress: Callable[[int, int], None] | None = None
    ) -> DetectorOutput:
        """Run the networks: the ensemble batch by batch, then the study model over all slabs."""
        parts, size, count = [], batch_size(self.runtime), len(canvas.hu)
        for start in range(0, count, size):
            part = slice(start, start + size)
            parts.append(self.predict(channels(canvas.hu[part], canvas.brain[part])))
            if progress:
                progress(min(start + size, count), count)
        fused, subtypes, peaks, study_input = (
            np.concatenate(each) for each in zip(*parts, strict=True)
        )
        output = DetectorOutput(fused, subtypes, peaks[:, 0], peaks[:, 1:], study_input)
        return self._with_study(output)

    def _with_study(self, output: DetectorOutput) -> DetectorOutput:
        """Add what the study model gives, if there is one: attention, and subtypes if asked for."""
        if not self.predict_study:
            return output
        subtypes, attention = self.predict_study(output.study_input[None])
        if self.settings.subtypes == "sequence":
            output = replace(output, subtypes=subtypes[0])
        return replace(output, attention=attention[0])

    def state_findings(
        self, volume: Volume, slabs: Slabs, canvas: Canvas, output: DetectorOutput
    ) -> Findings:
        """Return the findings, with the networks' output brought back to the source slices."""
        rules = self.settings
        scores = rules.calibrate(output.peaks)
        probability = rules.triage(scores)
        uncertainty = rules.disagreement(output.base_peaks)
        suspected = probability >= rules.operating_point
        heat = _heat(output.fused, slabs, canvas)
        mask = _mask(heat, rules.mask_threshold, suspected=suspected)
        return Findings(
            probability=probability,
            suspected=suspected,
            uncertainty=uncertainty,
            uncertain=uncertainty >= rules.uncertain_from,
            volume_ml=float((mask.sum((1, 2)) * volume.voxel_ml).sum()),
            subtypes=_by_name(output.subtypes.max(0)),
            slices=tuple(
                SliceFinding(float(scores[slab]), _by_name(output.subtypes[slab]))
                for slab in slabs.of_slice
            ),
            key_slice=_key_slice(output, scores, rules, slabs.of_slice),
            mask=mask,
            heat=heat,
            bundle=self.name,
            weights_sha256=self.weights_sha256,
            operating_point=rules.operating_point,
        )


def _heat(fused: Array, slabs: Slabs, canvas: Canvas) -> NDArray[np.uint8]:
    """(s, rows, columns) fused probability -> (z, y, x) 0..255 in the source's geometry."""
    # Back to the pixels of the slabs: (s, y, x), 0..255.
    planes = canvas.frame.spread(fused * 255, slabs.hu.shape[1:], slabs.spacing_mm)
    # One plane for each source slice, in the source's orientation: (z, y, x).
    return slabs.restore(np.rint(planes, out=planes).astype(np.uint8)[slabs.of_slice])


def _mask(heat: NDArray[np.uint8], threshold: float, *, suspected: bool) -> NDArray[np.bool_]:
    """(z, y, x) bool, where the heat reaches the threshold.

    A suspected volume always marks a place: if nothing reaches the threshold, the hottest voxels.
    """
    limit = np.uint8(np.ceil(threshold * 255))
    if suspected:
        limit = min(limit, heat.max())
    mask: NDArray[np.bool_] = np.greater_equal(heat, limit)
    return mask


def _by_name(probabilities: Array) -> Mapping[str, float]:
    return dict(zip(SUBTYPES, map(float, probabilities), strict=True))


def _key_slice(
    output: DetectorOutput, scores: Array, rules: Settings, of_slice: NDArray[np.intp]
) -> int | None:
    """Return the index of the source slice to show first; None if no slab shows any lesion.

    It is the middle one of the source slices in the slab with most lesion or most attention.
    """
    fused = output.fused
    # (s,) how much lesion each slab shows: by its map, or by its score if no map shows any.
    shown = np.where(fused >= rules.mask_threshold, fused, 0).sum((1, 2))
    if not shown.any():
        shown = np.where(scores >= rules.tau, scores, 0)
    if not shown.any():
        return None
    if rules.key_slice == "attention" and output.attention is not None:
        shown = output.attention
    members = np.flatnonzero(of_slice == shown.argmax())
    return int(members[len(members) // 2])
