"""Train the networks of a recipe: ichnode train RECIPE [STAGE ...].

Every step is a function of (seed, stage, step), so a run that was killed goes on from its last
checkpoint as if nothing had happened. It runs on CUDA if there is a device, else on the CPU; on
several devices by `torchrun --nproc-per-node 4 -m training.train RECIPE [STAGE ...]`, which deals
each batch out.
"""

import csv
import io
import json
import logging
import os
import platform
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from math import nan
from pathlib import Path
from typing import Any, Self, TextIO

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from training import ranks, stages
from training.batches import prepared
from training.metrics.figures import learning_curves
from training.recipes.cohorts import check
from training.recipes.recipe import Recipe, read
from training.recipes.stages import AnyStage
from training.stages.task import Draw, Task, weights_path

log = logging.getLogger(__name__)

RECALIBRATION_BATCHES = 60

LOG_COLUMNS = ("step", "loss", "rate", "held_out")
"""Header of a stage's `log.csv`; "held_out" is the loss of the averaged weights over slices of the
tuning patients, at each checkpoint, and nan else."""

HELD_OUT_BATCHES = 4


def train(path: Path, named: tuple[str, ...] = ()) -> None:
    """Train these stages of the recipe that are not finished yet; without names, all of them.

    Raises
    ------
    BadRecipe
        If the recipe has no stage of that name, a stage that it builds on is not finished, or what
        it learns from is not where it says: checked before the first step.
    """
    recipe = read(path)
    chosen = [recipe.named(name) for name in named] or list(recipe.stage)
    check(recipe, chosen)
    with ranks.group():
        for stage in chosen:
            fit(recipe, stage)


def fit(recipe: Recipe, stage: AnyStage) -> None:
    """Train one stage and write its averaged weights to `weights_path`.

    Beside them lie the last checkpoint, `log.csv` (`LOG_COLUMNS`), its curves as `log.png`, and
    `run.json` (seed, digest of the data, versions).
    """
    finished = weights_path(recipe, stage.name)
    if finished.exists():
        return
    torch.manual_seed(recipe.seed)
    task = stages.task(recipe, stage)
    with ranks.first():  # what it prepares, the others find
        network, draw = task.network(), task.batches
    main = ranks.rank() == 0
    state = _State.of(network, task)
    last = finished.with_name("last.pt")
    begin = state.load(last)
    objective = ranks.spread(_Objective(state.network, task.loss), unused=task.unused)
    if main:
        finished.parent.mkdir(parents=True, exist_ok=True)
        _record(finished.with_name("run.json"), task, begin)
    with _progress(main) as progress, _log(finished.with_name("log.csv"), begin, main) as file:
        bar = progress.add_task(stage.name, total=stage.steps, completed=begin, loss=0.0, rate=0.0)
        rows = csv.writer(file)
        for step, batch in enumerate(_batches(draw, task, begin), begin):
            rate = stage.rate * _schedule(step, stage.steps)
            loss, held_out = _learn(state, objective, task, batch, step, rate), nan
            if kept := (step + 1) % recipe.checkpoint_every == 0:
                held_out = _held_out(state.averaged.module, task)
            rows.writerow((step, f"{loss:.5f}", f"{rate:.3e}", f"{held_out:.5f}"))
            progress.update(bar, advance=1, loss=loss, rate=rate)
            if main and kept:
                file.flush()
                state.save(last, step + 1)
                said = (stage.name, step + 1, loss, held_out)
                log.info(
                    *("%s: step %d, loss %.4f, held out %.4f", *said),
                    extra={"action": "checkpoint"},
                )
    _recalibrate(state.averaged.module, draw, task)
    if main:
        log_file = finished.with_name("log.csv")
        log_file.with_suffix(".png").write_bytes(learning_curves(log_file, stage.name))
        torch.save(state.averaged.module.state_dict(), finished.with_suffix(".part"))
        finished.with_suffix(".part").replace(finished)
    ranks.wait()  # the next stage may build on this one


@dataclass(frozen=True, slots=True)
class _State:
    """What a checkpoint holds: the network, its running average and the optimizer."""

    network: nn.Module
    averaged: AveragedModel
    optimizer: torch.optim.Optimizer

    @classmethod
    def of(cls, network: nn.Module, task: Task[Any]) -> Self:
        """Return the state before the first step, on this process's device."""
        network = ranks.synchronised(_placed(network.train(), task))
        return cls(
            network,
            AveragedModel(network, multi_avg_fn=_ema(), use_buffers=True),
            torch.optim.AdamW(network.parameters(), lr=task.stage.rate, weight_decay=task.decay),
        )

    def load(self, path: Path) -> int:
        """Load the last checkpoint if there is one; return the step to go on with."""
        if not path.exists():
            return 0
        state = torch.load(path, map_location=ranks.device(), weights_only=True)
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def save(self, path: Path, step: int) -> None:
        """Write a checkpoint in one rename, so that a kill never leaves half of one."""
        part = path.with_suffix(".part")
        state = {
            "step": step,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, part)
        part.replace(path)


def _learn(
    state: _State, objective: nn.Module, task: Task[Any], batch: Any, step: int, rate: float
) -> float:
    """Make one step at this learning rate; return the loss before it."""
    device = ranks.device()
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    seed = f"{task.recipe.seed} {task.stage.name} {step}"
    torch.manual_seed(zlib.crc32(seed.encode()))  # for dropout
    with _precision(task):
        loss: Tensor = objective(_moved(batch, device), step)
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
    state.optimizer.step()
    state.averaged.update_parameters(state.network)
    return loss.item()


def _precision(task: Task[Any]) -> torch.autocast:
    """Return the context in which the task's network is computed."""
    enabled = task.recipe.bf16 and task.bf16
    return torch.autocast(ranks.device().type, torch.bfloat16, enabled=enabled)


class _Objective(nn.Module):
    """A network with its loss: what several processes compute side by side."""

    def __init__(self, network: nn.Module, loss: Callable[[Any, Any, int], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.loss = loss

    def forward(self, batch: Any, step: int) -> Tensor:
        """Return the loss of a batch."""
        return self.loss(self.network, batch, step)


class _Steps(Dataset[Any]):
    """The batch of each step, or this process's part of it.

    Each process draws all of it and keeps its part, so the draws do not depend on their number.
    """

    def __init__(self, draw: Draw, task: Task[Any]) -> None:
        self.draw, self.batch = draw, task.stage.batch
        self.seed = (task.recipe.seed, zlib.crc32(task.stage.name.encode()))
        self.part = ranks.share(self.batch)

    def __getitem__(self, step: int) -> Any:
        drawn = self.draw(self.batch, np.random.default_rng((*self.seed, step)))
        return type(drawn)(*(each[self.part] for each in drawn))


def _batches(draw: Draw, task: Task[Any], begin: int) -> DataLoader[Any]:
    """Batches of the steps from `begin` on; on CUDA drawn ahead by other processes."""
    cuda = torch.cuda.is_available()
    workers = max(1, (os.cpu_count() or 1) // ranks.count()) if cuda else 0
    return DataLoader(
        _Steps(draw, task),
        batch_size=None,
        sampler=range(begin, task.stage.steps),
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,  # the prepared slices stay mapped
        pin_memory=cuda,
    )


def _moved(batch: Any, device: torch.device) -> Any:
    return type(batch)(*(each.to(device, non_blocking=True) for each in batch))


def _placed(network: nn.Module, task: Task[Any]) -> nn.Module:
    """Move the network to this process's device, 2D convolutions with channels last."""
    layout = torch.channels_last if task.channels_last else torch.contiguous_format
    return network.to(ranks.device()).to(memory_format=layout)


def _ema() -> Any:
    return get_ema_multi_avg_fn(0.99)  # type: ignore[no-untyped-call]


def _recalibrate(network: nn.Module, draw: Draw, task: Task[Any]) -> None:
    """Measure the batch statistics of the averaged weights, which no step has measured."""
    norms = [each for each in network.modules() if isinstance(each, _BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain mean over the batches below
    _losses(network.train(), draw, task, RECALIBRATION_BATCHES)


def _held_out(network: nn.Module, task: Task[Any]) -> float:
    """Return the mean loss over the same batches of the tuning patients; nan without any."""
    if task.held_out is None:
        return nan
    return float(np.mean(_losses(network.eval(), task.held_out, task, HELD_OUT_BATCHES)))


def _losses(network: nn.Module, draw: Draw, task: Task[Any], count: int) -> list[float]:
    """Return the losses of the first `count` batches, which are the same at each call."""
    found, stage = [], task.stage
    part = ranks.share(stage.batch)
    for index in range(count):
        drawn = draw(stage.batch, np.random.default_rng((task.recipe.seed, index)))
        batch = type(drawn)(*(each[part] for each in drawn))
        with torch.no_grad(), _precision(task):
            found.append(task.loss(network, _moved(batch, ranks.device()), stage.steps).item())
    return found


def _schedule(step: int, steps: int) -> float:
    """Warm-up over 5 % of the steps, then a half cosine down to 2 %."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm))))


def _log(path: Path, begin: int, main: bool) -> TextIO:
    """Open the log behind its header and first `begin` rows: later steps come again."""
    if not main:
        return io.StringIO()
    file = path.open("a+", newline="")
    file.seek(0)
    for _ in range(begin + 1):
        file.readline()
    file.truncate(file.tell())
    if file.tell() == 0:
        file.write(",".join(LOG_COLUMNS) + "\r\n")
    return file


def _record(path: Path, task: Task[Any], begin: int) -> None:
    """Write down what this run depends on."""
    versions = {each: _version(each) for each in ("ichnode", "torch", "monai", "timm", "numpy")}
    recipe, patients = task.recipe, task.phantom_share < 1
    digests = {told.kind: prepared.digest(told.root) for told in recipe.patients if patients}
    found = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "from_step": begin,
        "seed": recipe.seed,
        "data_sha256": digests if patients else None,
        "versions": versions | {"python": platform.python_version()},
        "device": _device_name(),
        "processes": ranks.count(),
        "stage": task.stage.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json", exclude={"stage"}),
    }
    path.write_text(json.dumps(found, indent=2) + "\n")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _device_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(ranks.device())
    return f"CPU, {torch.get_num_threads()} threads"


def _progress(main: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}, rate {task.fields[rate]:.1e}"),
        TimeRemainingColumn(),
        disable=not (main and sys.stderr.isatty()),
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(Path(sys.argv[1]), tuple(sys.argv[2:]))
