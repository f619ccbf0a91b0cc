"""What each kind of stage trains: its network, where its batches come from, and its loss."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.attention import AttentionModel
from models.classifiers import LABELS, SliceClassifier
from models.ensemble import Ensemble, peak
from models.preprocess import Grid, skull_channels
from models.selection import fit as fit_selection
from models.sequence import SequenceModel
from models.skullstrip import skull_stripper
from models.unet import InceptionUNet
from models.weighting import WeightModel, fuse
from training import losses, prepared, ranks
from training import recipe as recipes
from training.augment import Random
from training.batches import WINDOWS, Batch, HeadBatches, SliceBatches, Source
from training.datasets import physionet
from training.phantoms.cases import implanted_cases
from training.prepared import Heads, Slices, Strip
from training.ranks import joined
from training.recipe import (
    Attention,
    BadRecipe,
    Base,
    Classifier,
    Recipe,
    Sequence,
    SkullStrip,
    Weights,
)
from training.sequences import Look, ScanBatch, ScanBatches, Scans, scans

FITTED_SLICES = 64
"""Slices over which a classifier's channels are standardised."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one stage's loop needs.

    Attributes
    ----------
    network
        To be trained.
    draw
        (count, random) -> a NamedTuple of tensors, all of length `count`.
    loss
        (network, batch, step) -> the loss of the batch, over all processes (`ranks.joined`).
    decay
        Weight decay; 0 makes AdamW the papers' Adam.
    bf16
        Whether it may be computed in bfloat16.
    """

    network: nn.Module
    draw: Callable[[int, Random], Any]
    loss: Callable[[Any, Any, int], Tensor]
    decay: float = 1e-4
    bf16: bool = True


def plan(recipe: Recipe, stage: recipes.Stage) -> Plan:
    """Return the plan of a stage; the stages that it builds on must be finished."""
    match stage:
        case SkullStrip():
            return _skullstrip(recipe, stage)
        case Base():
            return _base(recipe, stage)
        case Weights():
            return _weights(recipe, stage)
        case Classifier():
            return _classifier(recipe, stage)
        case Sequence():
            return _sequence(recipe, stage)
        case Attention():
            return _attention(recipe, stage)


def _skullstrip(recipe: Recipe, stage: SkullStrip) -> Plan:
    boxes, _ = _phantoms(recipe)
    if share_of_phantoms(recipe, stage) < 1:
        numbers = physionet.read_split(recipe.split).train
        cache = recipe.runs / "data" / "heads"
        real = prepared.heads(recipe.physionet, numbers, _grid(recipe), cache)
        boxes = Heads(*(np.concatenate(pair) for pair in zip(real, boxes, strict=True)))

    def loss(network: nn.Module, batch: Batch, _step: int) -> Tensor:
        return losses.segmentation(joined(network(batch.image)), joined(batch.mask))

    return Plan(skull_stripper(), HeadBatches(boxes), loss)


def _base(recipe: Recipe, stage: Base) -> Plan:
    network = InceptionUNet(recipe.network.width, recipe.network.depth)
    if stage.start:
        network.load_state_dict(_weights_of(recipe, stage.start))

    def loss(network: InceptionUNet, batch: Batch, step: int) -> Tensor:
        image = batch.image.contiguous(memory_format=torch.channels_last)
        mask, labels = joined(batch.mask), joined(batch.labels)
        if step < stage.encoder_steps:
            return losses.named(joined(network.name(image)), labels)
        segmented, named = map(joined, network(image))
        return (
            losses.segmentation(segmented, mask)
            + stage.presence_loss * losses.presence(segmented, mask)
            + stage.subtype_loss * losses.named(named, labels)
        )

    draw = SliceBatches(sources(recipe, stage), _size(recipe), stage.only, stage.small_ml)
    return Plan(network, draw, loss)


def _weights(recipe: Recipe, stage: Weights) -> Plan:
    whole = ensemble(recipe, stage)

    def loss(network: WeightModel, batch: Batch, _step: int) -> Tensor:
        image = batch.image.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            maps, _ = whole.to(image.device).maps(image)
        maps = maps.float()
        fused, mask = joined(fuse(maps, network(maps).float())), joined(batch.mask)
        return losses.fused_dice(fused, mask) + stage.presence_loss * losses.presence(
            torch.logit(fused, 1e-4), mask
        )

    return Plan(whole.weights, SliceBatches(sources(recipe, stage), _size(recipe)), loss)


def _classifier(recipe: Recipe, stage: Classifier) -> Plan:
    network = _slice_classifier(stage)
    draw = SliceBatches(
        sources(recipe, stage),
        _size(recipe),
        windows=WINDOWS[stage.windows],
        located=False,
        exclusive=stage.exclusive,
    )
    image = draw(FITTED_SLICES, np.random.default_rng(recipe.seed)).image
    network.standardise(image.mean((0, 2, 3)), image.std((0, 2, 3)))

    def loss(network: SliceClassifier, batch: Batch, _step: int) -> Tensor:
        image = batch.image.contiguous(memory_format=torch.channels_last)
        labels = joined(batch.labels)
        if stage.exclusive:
            return losses.exclusive(joined(network(image)), labels)
        logits, activation = network.read(image)
        return losses.named(
            joined(logits), losses.with_any(labels)
        ) + stage.location * losses.location(joined(activation[:, :1]), joined(batch.mask), labels)

    return Plan(network, draw, loss, decay=0.0)


def _sequence(recipe: Recipe, stage: Sequence) -> Plan:
    sources = study_sources(recipe, stage)
    features = np.concatenate([found.features for found, _ in sources])
    network = SequenceModel(features.shape[1], **stage.sizes(features.shape[1]))
    weight = None
    if stage.selection in ("largest", "smallest"):
        weight = _naming_weights(recipe, stage.reads)
    network.select(fit_selection(features, stage.selection, stage.selected, weight))

    def loss(network: SequenceModel, batch: ScanBatch, _step: int) -> Tensor:
        logits = network(batch.features, batch.probabilities, batch.present)
        return losses.named(joined(logits), joined(batch.labels))

    return Plan(network, ScanBatches(sources), loss, decay=0.0, bf16=False)


def _attention(recipe: Recipe, stage: Attention) -> Plan:
    sources = study_sources(recipe, stage)
    network = AttentionModel(sources[0][0].features.shape[1], **stage.sizes())

    def loss(network: AttentionModel, batch: ScanBatch, _step: int) -> Tensor:
        logits, _ = network(batch.features, batch.present)
        some = torch.where(batch.present, batch.labels[..., 0], 0.0)
        return losses.named(joined(logits), joined(losses.known_any(some)))

    return Plan(network, ScanBatches(sources), loss, decay=0.0, bf16=False)


def weights_path(recipe: Recipe, stage: str) -> Path:
    """Return where a finished stage's weights lie."""
    return recipe.runs / stage / "weights.pt"


def _weights_of(recipe: Recipe, stage: str) -> dict[str, Tensor]:
    """Return a finished stage's weights.

    Raises
    ------
    BadRecipe
        If it is not finished.
    """
    path = weights_path(recipe, stage)
    if not path.exists():
        raise BadRecipe(f"no {path}: train the stage {stage!r} first")
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def trained(recipe: Recipe, name: str) -> Any:
    """Return the network of a finished stage, ready to read; of a weights stage the `Ensemble`."""
    stage = recipe.named(name)
    if isinstance(stage, Weights):
        return ensemble(recipe, stage).eval()
    weights = _weights_of(recipe, name)
    network: nn.Module
    match stage:
        case SkullStrip():
            network = skull_stripper()
        case Base():
            network = InceptionUNet(recipe.network.width, recipe.network.depth)
        case Classifier():
            network = _slice_classifier(stage.model_copy(update={"imagenet": ""}))
        case Sequence():
            features = len(weights["mean"])
            network = SequenceModel(features, **stage.sizes(features))
        case Attention():
            network = AttentionModel(weights["lstm.weight_ih_l0"].shape[1], **stage.sizes())
    network.load_state_dict(weights)
    return network.eval()


def ensemble(recipe: Recipe, stage: Weights) -> Ensemble:
    """Return a weights stage's frozen base networks, with the weight model if it is trained."""
    bases = []
    for name in stage.bases:
        base = InceptionUNet(recipe.network.width, recipe.network.depth)
        base.load_state_dict(_weights_of(recipe, name))
        bases.append(base.eval().to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    weights = WeightModel(len(bases))
    if weights_path(recipe, stage.name).exists():
        weights.load_state_dict(_weights_of(recipe, stage.name))
    return Ensemble(bases, weights, stage.bases.index(stage.names_subtypes))


def stripper(recipe: Recipe) -> Strip:
    """Return the trained skull stripper as a function."""
    network = skull_stripper()
    network.load_state_dict(_weights_of(recipe, "skullstrip"))
    network.eval()

    def strip(hu: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            inside = torch.sigmoid(network(torch.from_numpy(skull_channels(hu))))[0, 0]
        return np.asarray(inside.numpy(), np.float32)

    return strip


def look(recipe: Recipe, name: str) -> Look:
    """Return how the network of a finished stage sees slices, for the readers of whole scans."""
    stage, network = recipe.named(name), trained(recipe, name).to(ranks.device())

    def of_ensemble(image: Tensor) -> tuple[Tensor, Tensor]:
        seen = network(image)[3]
        return seen[:, : -len(LABELS)], seen[:, -len(LABELS) :]

    def of_base(image: Tensor) -> tuple[Tensor, Tensor]:
        segmented, features = network.read(image)
        subtypes = torch.sigmoid(network.classify(features))
        return features, torch.cat((peak(torch.sigmoid(segmented)), subtypes), 1)

    def of_classifier(image: Tensor) -> tuple[Tensor, Tensor]:
        features = network.features(image)
        return features, probabilities(network.classify(features), stage)

    kinds = {"weights": of_ensemble, "base": of_base, "classifier": of_classifier}

    def see(image: Tensor) -> tuple[Tensor, Tensor]:
        image = image.to(ranks.device()).contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=recipe.bf16):
            return kinds[stage.kind](image)

    return see


def probabilities(logits: Tensor, stage: Classifier) -> Tensor:
    """(n, 6) logits of a classifier -> (n, 6) probabilities of `LABELS`.

    Of exclusive classes "any" is all but normal.
    """
    if not stage.exclusive:
        return torch.sigmoid(logits)
    classes = logits.softmax(1)
    return torch.cat((1 - classes[:, :1], classes[:, 1:]), 1)


def _slice_classifier(stage: Classifier) -> SliceClassifier:
    nothing = np.zeros((1, 1, 1), np.float32)
    return SliceClassifier(
        stage.backbone,
        len(losses.CLASSES if stage.exclusive else LABELS),
        WINDOWS[stage.windows](nothing, nothing).shape[1],
        Path(stage.imagenet) if stage.imagenet else None,
    )


def _naming_weights(recipe: Recipe, name: str) -> NDArray[np.float32]:
    """(labels, F) weights of the layer that names subtypes from features."""
    network = trained(recipe, name)
    if isinstance(network, Ensemble):
        network = network.bases[network.names_subtypes]
    return np.asarray(network.classify.weight.detach().numpy(), np.float32)


def sources(recipe: Recipe, stage: recipes.Stage) -> list[Source]:
    """Prepared training slices, of patients, implants and phantoms, each source with its share."""
    share, painted = share_of_phantoms(recipe, stage), stage.implants == 0
    parts = []
    if share < 1:
        heads = [(patients(recipe), (1 - share) * (1 - stage.implants))]
        if stage.implants > 0:
            heads.append((implants(recipe), (1 - share) * stage.implants))
        parts += [
            Source(each, part, rows(recipe, stage, each.patient), painted) for each, part in heads
        ]
    if share > 0:
        drawn = _unseen(recipe, stage) if isinstance(stage, Weights) else _phantoms(recipe)[1]
        parts.append(Source(drawn, share, np.ones(len(drawn.hu), bool), painted))
    return parts


def patients(recipe: Recipe) -> Slices:
    """Return the prepared slices of all patients."""
    numbers = physionet.patients(recipe.physionet)
    cache = recipe.runs / "data" / "real"
    return prepared.slices(recipe.physionet, numbers, _grid(recipe), stripper(recipe), cache)


def implants(recipe: Recipe) -> Slices:
    """Return the prepared slices of all normal patients with hemorrhages put in, several times."""
    numbers = physionet.patients(recipe.physionet)
    cases = (
        case
        for seed in range(recipe.implants)
        for case in implanted_cases((physionet.load(recipe.physionet, n) for n in numbers), seed)
    )
    cache = recipe.runs / "data" / "implants"
    return prepared.slices_of(cases, _grid(recipe), stripper(recipe), cache)


def rows(
    recipe: Recipe, stage: recipes.Stage, patient: NDArray[np.int32], part: str = "train"
) -> NDArray[np.bool_]:
    """Which of the slices belong to a part of the stage's split.

    Parameters
    ----------
    patient
        (n,) whose each slice is.
    part
        "train", "tune" or "test". A fold has no part to tune on.

    Returns
    -------
    NDArray
        (n,) bool.
    """
    if isinstance(stage, Classifier) and stage.split_by == "image":
        dealt = np.random.default_rng(recipe.seed).permutation(len(patient)) / len(patient)
        low, high = {"train": (0.0, 0.8), "tune": (0.8, 0.9), "test": (0.9, 1.0)}[part]
        chosen: NDArray[np.bool_] = (low <= dealt) & (dealt < high)
        return chosen
    if stage.hold_out:
        held = np.isin(patient, stage.hold_out)
        return {"train": ~held, "tune": np.zeros_like(held), "test": held}[part]
    return np.isin(patient, getattr(physionet.read_split(recipe.split), part))


def training_patients(recipe: Recipe, stage: recipes.Stage) -> tuple[int, ...]:
    """Return whom a stage learns from: the split's part, or all but those that it holds out."""
    numbers = np.array(physionet.patients(recipe.physionet), np.int32)
    return tuple(map(int, numbers[rows(recipe, stage, numbers)]))


def study_sources(recipe: Recipe, stage: Sequence | Attention) -> list[tuple[Scans, float]]:
    """Scans of patients, implants and phantoms as the stage's network saw them, with shares."""
    share = share_of_phantoms(recipe, stage)
    parts = []
    if share < 1:
        heads = [
            (patient_scans(recipe, stage.reads, stage.copies), (1 - share) * (1 - stage.implants))
        ]
        if stage.implants > 0:
            bled = _scans(recipe, stage.reads, implants(recipe), 1, "implants")
            heads.append((bled, (1 - share) * stage.implants))
        parts += [(each.chosen(rows(recipe, stage, each.patient)), part) for each, part in heads]
    if share > 0:
        parts.append((_scans(recipe, stage.reads, _phantoms(recipe)[1], 1, "phantoms"), share))
    return parts


def patient_scans(recipe: Recipe, reads: str, copies: int) -> Scans:
    """Return all patients' scans as the stage `reads` sees them."""
    return _scans(recipe, reads, patients(recipe), copies, f"real-{copies}")


def _scans(recipe: Recipe, reads: str, slices: Slices, copies: int, name: str) -> Scans:
    stage = recipe.named(reads)
    windows = WINDOWS[stage.windows if isinstance(stage, Classifier) else "kang"]
    cache = recipe.runs / "data" / reads / name
    return scans(slices, look(recipe, reads), windows, _size(recipe), copies, cache)


def _phantoms(recipe: Recipe) -> tuple[Heads, Slices]:
    first = recipe.phantoms.first_seed
    seeds = range(first, first + recipe.phantoms.count)
    return prepared.phantoms(seeds, "train", _grid(recipe), recipe.runs / "data" / "phantoms")


def _unseen(recipe: Recipe, stage: Weights) -> Slices:
    """Return slices of the phantoms that follow those which the base networks saw."""
    first = recipe.phantoms.first_seed + recipe.phantoms.count
    cache = recipe.runs / "data" / f"{stage.name}-phantoms"
    return prepared.phantoms(range(first, first + stage.unseen), "train", _grid(recipe), cache)[1]


def share_of_phantoms(recipe: Recipe, stage: recipes.Stage) -> float:
    """Return the share of phantoms that a stage learns from, 0..1."""
    return recipe.phantoms.share if stage.phantoms is None else stage.phantoms


def _grid(recipe: Recipe) -> Grid:
    return Grid(**recipe.grid.model_dump())


def _size(recipe: Recipe) -> tuple[int, int]:
    return recipe.grid.rows, recipe.grid.columns
