"""The detector: it turns a volume into findings, with the paper's post-processing (Kang 2023)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models import mimics
from models.findings import SUBTYPES, Findings, SliceFinding
from models.preprocess import (
    Array,
    Canvas,
    channels,
    coarse_head,
    confirm_head,
    make_canvas,
    neighbour_channels,
    neighbours,
    skull_channels,
)
from models.rules import Settings
from models.runtime import Predictor, Runtime, batch_size
from models.slabs import Slabs, make_slabs
from models.volume import Volume


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
    labels
        (s, 6) float32, probability of any hemorrhage and of each of `SUBTYPES` by the network of
        slices, 0..1; None without it.
    lesion
        (s, rows, columns) float32, its probability on the canvas, 0..1; None without it.
    """

    fused: Array
    subtypes: Array
    peaks: Array
    base_peaks: Array
    study_input: Array
    attention: Array | None = None
    labels: Array | None = None
    lesion: Array | None = None

    @property
    def bleeding(self) -> Array | None:
        """(s,) float32, probability of any hemorrhage by the network of slices."""
        return None if self.labels is None else self.labels[:, 0]


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
    predict_slices
        The network of slices, another kind than the ensemble's: (n, 4, rows, columns), see
        `models.preprocess.neighbour_channels` -> labels (n, 6) and map (n, rows, columns), see
        `models.lite.SlicesReader`; None if the bundle has none.
    """

    name: str
    weights_sha256: str
    runtime: Runtime
    settings: Settings
    strip: Predictor
    predict: Predictor
    predict_study: Predictor | None = None
    predict_slices: Predictor | None = None

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
        """Run the networks: those of slices batch by batch, then the study model over all."""
        parts, named, size, count = [], [], batch_size(self.runtime), len(canvas.hu)
        beside = neighbours(canvas.hu)  # of the whole series: a batch's ends have neighbours too
        for start in range(0, count, size):
            part = slice(start, start + size)
            parts.append(self.predict(channels(canvas.hu[part], canvas.brain[part])))
            if self.predict_slices:
                seen = neighbour_channels(*(planes[part] for planes in beside))
                named.append(self.predict_slices(seen))
            if progress:
                progress(min(start + size, count), count)
        fused, subtypes, peaks, study_input = _joined(parts)
        output = DetectorOutput(fused, subtypes, peaks[:, 0], peaks[:, 1:], study_input)
        return self._with_slices(self._with_study(output), named)

    def _with_slices(
        self, output: DetectorOutput, batches: Sequence[tuple[Array, ...]]
    ) -> DetectorOutput:
        """Add what the network of slices gives, if there is one; its subtypes if asked for."""
        if not batches:
            return output
        labels, lesion = _joined(batches)
        if self.settings.subtypes == "slices":
            output = replace(output, subtypes=labels[:, 1:])
        return replace(output, labels=labels, lesion=lesion)

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
        scores = rules.calibrate(output.peaks, output.bleeding)
        probability = rules.triage(scores)
        uncertainty = rules.uncertainty(output.peaks, output.base_peaks, output.bleeding)
        suspected = probability >= rules.operating_point
        marked = rules.mixed(output.fused, output.lesion)
        heat = canvas.at_voxels(marked, slabs)
        mask = _mask(heat, rules.mask_threshold, suspected=suspected)
        named = mimics.sentences(volume, slabs, canvas, mask, rules.grid) if suspected else ()
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
            key_slice=_key_slice(marked, output.attention, scores, rules, slabs.of_slice),
            mask=mask,
            heat=heat,
            bundle=self.name,
            weights_sha256=self.weights_sha256,
            operating_point=rules.operating_point,
            operating_point_name=rules.point if rules.operating_points else None,
            mimics=named,
        )


def _joined(batches: Sequence[tuple[Array, ...]]) -> tuple[Array, ...]:
    """Return each output of a network over all batches together."""
    return tuple(np.concatenate(each) for each in zip(*batches, strict=True))


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
    marked: Array,
    attention: Array | None,
    scores: Array,
    rules: Settings,
    of_slice: NDArray[np.intp],
) -> int | None:
    """Return the index of the source slice to show first; None if no slab shows any lesion.

    It is the middle one of the source slices in the slab with most lesion or most attention.
    """
    # (s,) how much lesion each slab shows: by its map, or by its score if no map shows any.
    shown = np.where(marked >= rules.mask_threshold, marked, 0).sum((1, 2))
    if not shown.any():
        shown = np.where(scores >= rules.tau, scores, 0)
    if not shown.any():
        return None
    if rules.key_slice == "attention" and attention is not None:
        shown = attention
    members = np.flatnonzero(of_slice == shown.argmax())
    return int(members[len(members) // 2])
