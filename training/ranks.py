"""Several processes that train one network, as torchrun starts them; without it, one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.nn.functional import all_gather
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(hours=12)
"""The others wait this long while the first prepares the data."""


@contextmanager
def group() -> Iterator[None]:
    """Join the processes that torchrun started, over NCCL on CUDA and gloo on CPU."""
    if "RANK" not in os.environ:
        yield
        return
    where = device()
    if where.type == "cuda":
        torch.cuda.set_device(where)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def device() -> torch.device:
    """Return this process's CUDA device, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def rank() -> int:
    """Return this process's place, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait() -> None:
    """Wait for all the others."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def first() -> Iterator[None]:
    """Let the first process go ahead and prepare what the others then find."""
    if rank() > 0:
        wait()
    yield
    if rank() == 0:
        wait()


def share(size: int) -> slice:
    """Return this process's part of a batch of `size`.

    Raises
    ------
    ValueError
        If the batch cannot be dealt out evenly.
    """
    part, rest = divmod(size, count())
    if rest:
        raise ValueError(f"a batch of {size} cannot be dealt out to {count()} processes")
    return slice(rank() * part, (rank() + 1) * part)


def joined(part: Tensor) -> Tensor:
    """Return all processes' parts of the batch, (n, ...) each, one behind the other.

    The loss of the joined batch is what one process would compute, also where it is no mean over
    the batch, such as Dice. Gradients flow back to the process that each part came from.
    """
    return torch.cat(all_gather(part.contiguous())) if count() > 1 else part  # type: ignore[no-untyped-call]


def synchronised(network: nn.Module) -> nn.Module:
    """Return the network with batch norms that see the whole batch, where torch has such.

    It has them on CUDA. timm's norms that are activations too stay as they are, since a converted
    one would lose its activation. Elsewhere each process normalises by its own part of the batch.
    """
    norms = {type(each) for each in network.modules() if isinstance(each, _BatchNorm)}
    plain = norms <= {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}
    if count() > 1 and device().type == "cuda" and plain:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return network


def spread(network: nn.Module, unused: bool) -> nn.Module:
    """Return the network with gradients averaged over the processes.

    Parameters
    ----------
    unused
        Whether a step may leave parameters without gradient.
    """
    if count() == 1:
        return network
    return DistributedDataParallel(network, find_unused_parameters=unused)
