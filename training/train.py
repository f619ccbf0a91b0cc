"""Train the networks of a recipe: ichnode train RECIPE [STAGE ...].

Every step is a function of (seed, stage, step), so a run that was killed goes on from its last
checkpoint as if nothing had happened. On CUDA where there is any, else on CPU; on several devices
by `torchrun --nproc-per-node 4 -m training.train RECIPE [STAGE ...]`, which deals each batch out.
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
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from training import prepared, ranks
from training.plans import Plan, plan, share_of_phantoms, weights_path
from training.recipe import Recipe, Stage, read

log = logging.getLogger(__name__)

RECALIBRATION_BATCHES = 60


def train(path: Path, stages: tuple[str, ...] = ()) -> None:
    """Train the recipe's stages (all where none is named) that are not finished yet.

    Raises
    ------
    BadRecipe
        If the recipe has no stage of that name, or a stage that it builds on is not finished.
    """
    recipe = read(path)
    chosen = [recipe.named(name) for name in stages] or recipe.stage
    with ranks.group():
        for stage in chosen:
            fit(recipe, stage)


def fit(recipe: Recipe, stage: Stage) -> None:
    """Train one stage and write its averaged weights to `weights_path`.

    Beside them lie the last checkpoint, `log.csv` (step, loss, learning rate) and `run.json`
    (seed, digest of the data, versions).
    """
    finished = weights_path(recipe, stage.name)
    if finished.exists():
        return
    torch.manual_seed(recipe.seed)
    with ranks.first():  # what it prepares, the others find
        task = plan(recipe, stage)
    device, main = ranks.device(), ranks.rank() == 0
    network = ranks.synchronised(_placed(task.network.train(), device, stage))
    averaged = AveragedModel(network, multi_avg_fn=_ema(), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=stage.rate, weight_decay=task.decay)
    last = finished.with_name("last.pt")
    begin = _resume(last, network, averaged, optimizer)
    objective = ranks.spread(_Objective(network, task.loss), unused=stage.kind == "base")
    if main:
        finished.parent.mkdir(parents=True, exist_ok=True)
        _record(finished.with_name("run.json"), recipe, stage, begin)
    with _progress(main) as progress, _log(finished.with_name("log.csv"), begin, main) as file:
        bar = progress.add_task(stage.name, total=stage.steps, completed=begin, loss=0.0, rate=0.0)
        rows = csv.writer(file)
        for step, batch in enumerate(_batches(task, recipe, stage, begin), begin):
            rate = stage.rate * _schedule(step, stage.steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(zlib.crc32(f"{recipe.seed} {stage.name} {step}".encode()))  # dropout
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16 and task.bf16):
                loss = objective(_moved(batch, device), step)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            averaged.update_parameters(network)
            rows.writerow((step, f"{loss.item():.5f}", f"{rate:.3e}"))
            progress.update(bar, advance=1, loss=loss.item(), rate=rate)
            if main and (step + 1) % recipe.checkpoint_every == 0:
                file.flush()
                _save(last, step + 1, network, averaged, optimizer)
                log.info(
                    *("%s: step %d, loss %.4f", stage.name, step + 1, loss.item()),
                    extra={"action": "checkpoint"},
                )
    _recalibrate(averaged.module, task, recipe, stage)
    if main:
        torch.save(averaged.module.state_dict(), finished.with_suffix(".part"))
        finished.with_suffix(".part").replace(finished)
    ranks.wait()  # the next stage may build on this one


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

    def __init__(self, task: Plan, recipe: Recipe, stage: Stage) -> None:
        self.draw, self.batch = task.draw, stage.batch
        self.seed = (recipe.seed, zlib.crc32(stage.name.encode()))
        self.part = ranks.share(stage.batch)

    def __getitem__(self, step: int) -> Any:
        drawn = self.draw(self.batch, np.random.default_rng((*self.seed, step)))
        return type(drawn)(*(each[self.part] for each in drawn))


def _batches(task: Plan, recipe: Recipe, stage: Stage, begin: int) -> DataLoader[Any]:
    """Batches of the steps from `begin` on; on CUDA drawn ahead by other processes."""
    cuda = torch.cuda.is_available()
    workers = max(1, (os.cpu_count() or 1) // ranks.count()) if cuda else 0
    return DataLoader(
        _Steps(task, recipe, stage),
        batch_size=None,
        sampler=range(begin, stage.steps),
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,  # the prepared slices stay mapped
        pin_memory=cuda,
    )


def _moved(batch: Any, device: torch.device) -> Any:
    return type(batch)(*(each.to(device, non_blocking=True) for each in batch))


def _placed(network: nn.Module, device: torch.device, stage: Stage) -> nn.Module:
    """Move the network to its device, 2D convolutions with channels last."""
    layout = torch.contiguous_format if stage.kind == "skullstrip" else torch.channels_last
    return network.to(device).to(memory_format=layout)  # type: ignore[call-overload, no-any-return]


def _ema() -> Any:
    return get_ema_multi_avg_fn(0.99)  # type: ignore[no-untyped-call]


def _recalibrate(network: nn.Module, task: Plan, recipe: Recipe, stage: Stage) -> None:
    """Measure the batch statistics anew: those of the averaged weights are nobody's average."""
    norms = [each for each in network.modules() if isinstance(each, _BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain mean over the batches below
    network.train()
    device, part = ranks.device(), ranks.share(stage.batch)
    precision = torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16 and task.bf16)
    for index in range(RECALIBRATION_BATCHES):
        drawn = task.draw(stage.batch, np.random.default_rng((recipe.seed, index)))
        batch = type(drawn)(*(each[part] for each in drawn))
        with torch.no_grad(), precision:
            task.loss(network, _moved(batch, device), stage.steps)


def _schedule(step: int, steps: int) -> float:
    """Warm-up over 5 % of the steps, then a half cosine down to 2 %."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm))))


def _resume(
    path: Path, network: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Load the last checkpoint if there is one; the step to go on with."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location=ranks.device(), weights_only=True)
    network.load_state_dict(state["network"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _save(
    path: Path, step: int, network: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write a checkpoint in one rename, so that a kill never leaves half of one."""
    part = path.with_suffix(".part")
    state = {
        "step": step,
        "network": network.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, part)
    part.replace(path)


def _log(path: Path, begin: int, main: bool) -> TextIO:
    """Open the log behind its first `begin` rows: the steps after the checkpoint come again."""
    if not main:
        return io.StringIO()
    file = path.open("a+", newline="")
    file.seek(0)
    for _ in range(begin):
        file.readline()
    file.truncate(file.tell())
    return file


def _record(path: Path, recipe: Recipe, stage: Stage, begin: int) -> None:
    """Write down what this run depends on."""
    versions = {each: _version(each) for each in ("ichnode", "torch", "monai", "timm", "numpy")}
    patients = share_of_phantoms(recipe, stage) < 1
    found = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "from_step": begin,
        "seed": recipe.seed,
        "data_sha256": prepared.digest(recipe.physionet) if patients else None,
        "versions": versions | {"python": platform.python_version()},
        "device": _device_name(),
        "processes": ranks.count(),
        "stage": stage.model_dump(mode="json"),
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
