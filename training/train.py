"""Train the networks of a recipe: python -m training.train RECIPE [STAGE ...].

Every step is a function of (seed, stage, step), so a run that was killed goes on from its last
checkpoint as if nothing had happened.
"""

import csv
import logging
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.ensemble import Ensemble
from models.preprocess import Grid, skull_channels
from models.skullstrip import skull_stripper
from models.unet import InceptionUNet
from models.weighting import WeightModel, fuse
from training import losses, recipe
from training.batches import Batch, HeadBatches, SliceBatches
from training.datasets import physionet, prepared
from training.datasets.prepared import Strip
from training.recipe import Recipe, Stage

log = logging.getLogger(__name__)

CHECKPOINT_EVERY = 50
RECALIBRATION_BATCHES = 60

Draw = Callable[[int, np.random.Generator], Batch]
Loss = Callable[[nn.Module, Batch, int], Tensor]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one stage's loop needs: the network, where batches come from, and the loss."""

    network: nn.Module
    draw: Draw
    loss: Loss


def train(path: Path, stages: tuple[str, ...] = ()) -> None:
    """Train the recipe's stages (all where none is named) that are not finished yet."""
    plan = recipe.read(path)
    for stage in plan.stage:
        if not stages or stage.name in stages:
            fit(plan, stage)


def fit(plan: Recipe, stage: Stage) -> None:
    """Train one stage and write its averaged weights to `weights_path`."""
    finished = weights_path(plan, stage.name)
    if finished.exists():
        return
    folder = finished.parent
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    task = _plan(plan, stage)
    network = task.network.train().to(memory_format=_layout(stage))
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=stage.rate, weight_decay=1e-4)
    begin = _resume(folder / "last.pt", network, averaged, optimizer)
    with (
        Progress(disable=not sys.stderr.isatty()) as progress,
        (folder / "log.csv").open("a") as file,
    ):
        bar = progress.add_task(stage.name, total=stage.steps, completed=begin)
        rows = csv.writer(file)
        for step in range(begin, stage.steps):
            random = np.random.default_rng((plan.seed, zlib.crc32(stage.name.encode()), step))
            batch = task.draw(stage.batch, random)
            for group in optimizer.param_groups:
                group["lr"] = stage.rate * _schedule(step, stage.steps)
            with torch.autocast("cpu", torch.bfloat16):
                loss = task.loss(network, batch, step)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            averaged.update_parameters(network)
            rows.writerow((step, f"{loss.item():.5f}"))
            progress.advance(bar)
            if (step + 1) % CHECKPOINT_EVERY == 0:
                file.flush()
                _save(folder / "last.pt", step + 1, network, averaged, optimizer)
    _recalibrate(averaged.module, task, plan.seed, stage)
    torch.save(averaged.module.state_dict(), finished.with_suffix(".part"))
    finished.with_suffix(".part").replace(finished)


def _recalibrate(network: nn.Module, task: Plan, seed: int, stage: Stage) -> None:
    """Measure the batch statistics anew: those of the averaged weights are nobody's average."""
    norms = [
        each for each in network.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)
    ]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain mean over the batches below
    network.train()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for index in range(RECALIBRATION_BATCHES):
            random = np.random.default_rng((seed, index))
            task.loss(network, task.draw(stage.batch, random), stage.steps)


def weights_path(plan: Recipe, stage: str) -> Path:
    """Return where a finished stage's weights lie."""
    return plan.runs / stage / "weights.pt"


def _schedule(step: int, steps: int) -> float:
    """Warm-up over 5 % of the steps, then a half cosine down to 2 %."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm))))


def _layout(stage: Stage) -> torch.memory_format:
    return torch.contiguous_format if stage.kind == "skullstrip" else torch.channels_last


def _resume(
    path: Path, network: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Load the last checkpoint if there is one; the step to go on with."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    network.load_state_dict(state["network"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _save(
    path: Path, step: int, network: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write a checkpoint in one rename, so that a kill never leaves half of one."""
    part = path.with_suffix(".part")
    state = {"network": network, "averaged": averaged, "optimizer": optimizer}
    torch.save({"step": step} | {name: each.state_dict() for name, each in state.items()}, part)
    part.replace(path)


def _plan(plan: Recipe, stage: Stage) -> Plan:
    return {"skullstrip": _skullstrip_plan, "base": _base_plan, "weights": _weights_plan}[
        stage.kind
    ](plan, stage)


def _skullstrip_plan(plan: Recipe, _stage: Stage) -> Plan:
    numbers = physionet.read_split(plan.split).train
    real = prepared.heads(plan.physionet, numbers, _grid(plan), plan.runs / "data" / "heads")
    drawn, _ = _phantoms(plan)
    boxes = prepared.Heads(*(np.concatenate(pair) for pair in zip(real, drawn, strict=True)))

    def loss(network: nn.Module, batch: Batch, _step: int) -> Tensor:
        return losses.segmentation(network(batch.image), batch.mask)

    return Plan(skull_stripper(), HeadBatches(boxes), loss)


def _base_plan(plan: Recipe, stage: Stage) -> Plan:
    network = InceptionUNet(plan.network.width, plan.network.depth)
    if stage.start:
        network.load_state_dict(torch.load(weights_path(plan, stage.start), weights_only=True))

    def loss(network: InceptionUNet, batch: Batch, step: int) -> Tensor:
        image = batch.image.contiguous(memory_format=torch.channels_last)
        if step < stage.encoder_steps:
            return losses.subtypes(network.name(image), batch.labels)
        segmented, named = network(image)
        return (
            losses.segmentation(segmented, batch.mask)
            + stage.presence_loss * losses.presence(segmented, batch.mask)
            + stage.subtype_loss * losses.subtypes(named, batch.labels)
        )

    draw = SliceBatches(
        sources(plan, stage), (plan.grid.rows, plan.grid.columns), stage.only, stage.small_ml
    )
    return Plan(network, draw, loss)


def _weights_plan(plan: Recipe, stage: Stage) -> Plan:
    whole = ensemble(plan, stage)

    def loss(network: nn.Module, batch: Batch, _step: int) -> Tensor:
        with torch.no_grad():
            maps, _ = whole.maps(batch.image.contiguous(memory_format=torch.channels_last))
        maps = maps.float()
        fused = fuse(maps, network(maps).float())
        return losses.fused_dice(fused, batch.mask) + stage.presence_loss * losses.presence(
            torch.logit(fused, 1e-4), batch.mask
        )

    draw = SliceBatches(sources(plan, stage), (plan.grid.rows, plan.grid.columns))
    return Plan(whole.weights, draw, loss)


def ensemble(plan: Recipe, stage: Stage) -> Ensemble:
    """Return a weights stage's frozen base networks, with the weight model if it is trained."""
    bases = []
    for name in stage.bases:
        base = InceptionUNet(plan.network.width, plan.network.depth)
        base.load_state_dict(torch.load(weights_path(plan, name), weights_only=True))
        bases.append(base.eval().to(memory_format=torch.channels_last))
    weights = WeightModel(len(bases))
    if (finished := weights_path(plan, stage.name)).exists():
        weights.load_state_dict(torch.load(finished, weights_only=True))
    return Ensemble(bases, weights, stage.bases.index(stage.names_subtypes))


def sources(plan: Recipe, stage: Stage) -> list[tuple[prepared.Slices, float]]:
    """Prepared training slices, real and phantom, each source with its share."""
    share = plan.phantoms.share if stage.phantoms is None else stage.phantoms
    parts: list[tuple[prepared.Slices, float]] = []
    if share < 1:
        everyone = tuple(physionet.patients(plan.physionet))
        real = prepared.slices(
            plan.physionet, everyone, _grid(plan), stripper(plan), plan.runs / "data" / "real"
        )
        parts.append((prepared.of_patients(real, training_patients(plan, stage)), 1 - share))
    if share > 0:
        parts.append((_phantoms(plan)[1], share))
    return parts


def training_patients(plan: Recipe, stage: Stage) -> tuple[int, ...]:
    """Return whom a stage learns from: the split's part, or all but those that it holds out."""
    if not stage.hold_out:
        return physionet.read_split(plan.split).train
    return tuple(n for n in physionet.patients(plan.physionet) if n not in stage.hold_out)


def _phantoms(plan: Recipe) -> tuple[prepared.Heads, prepared.Slices]:
    seeds = range(plan.phantoms.first_seed, plan.phantoms.first_seed + plan.phantoms.count)
    return prepared.phantoms(seeds, "train", _grid(plan), plan.runs / "data" / "phantoms")


def stripper(plan: Recipe) -> Strip:
    """Return the trained skull stripper as a function."""
    network = skull_stripper()
    network.load_state_dict(torch.load(weights_path(plan, "skullstrip"), weights_only=True))
    network.eval()

    def strip(hu: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return torch.sigmoid(network(torch.from_numpy(skull_channels(hu))))[0, 0].numpy()

    return strip


def _grid(plan: Recipe) -> Grid:
    return Grid(**plan.grid.model_dump())


def main() -> None:
    """Train what the command line names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe_path, *stages = sys.argv[1:]
    train(Path(recipe_path), tuple(stages))


if __name__ == "__main__":
    main()
