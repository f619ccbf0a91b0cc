"""Where a network runs: torch on CUDA or CPU, or OpenVINO, behind one protocol.

Each must stay within `training.precision.LIMIT` of float32 on the CPU, where reduced precision does
not. Of 200 phantoms five moved by more, up to 0.031, when OpenVINO computed in bfloat16, in 0.6 of
the time that its float32 takes. Quantised to int8 by NNCF (3.4, 32 slabs of phantoms) the ensemble
took as long as in bfloat16 and moved a case by up to 0.038, by 0.032 with first layers, last layers
and weight model spared.

Importing this module imports neither torch nor openvino.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[np.float32]
Runtime = Literal["cuda", "openvino", "torch"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
"""Fastest first."""


class Predictor(Protocol):
    """A network without its framework."""

    def __call__(self, batch: Array) -> tuple[Array, ...]:
        """(n, ...) float32 -> the network's outputs, each (n, ...) float32."""


def available_runtimes() -> tuple[Runtime, ...]:
    """Return the runtimes of this machine, fastest first; "torch" is always among them."""
    found: list[Runtime] = ["cuda"] if has_cuda() else []
    if importlib.util.find_spec("openvino"):
        found.append("openvino")
    return (*found, "torch")


def has_cuda() -> bool:
    """Ask torch, but import it only where a driver is present."""
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
        return False
    import torch

    return torch.cuda.is_available()


def choose(wanted: str) -> Runtime:
    """Return the runtime to use.

    Parameters
    ----------
    wanted
        "cuda", "openvino", "torch", or "auto" for the fastest.

    Raises
    ------
    ValueError
        If this machine has no such runtime; the message names those that it has.
    """
    found = available_runtimes()
    if wanted == "auto":
        return found[0]
    for name in found:
        if name == wanted:
            return name
    raise ValueError(f"no runtime {wanted!r} on this machine; it has {', '.join(found)}")


def batch_size(runtime: Runtime) -> int:
    """Return how many slices to read at once: on CUDA a whole study (chosen, not yet measured)."""
    return 32 if runtime == "cuda" else 8


def device(runtime: str) -> str:
    """Return what the runtime runs on, and its precision, as in "AMD EPYC 7763, 2 cores, f32"."""
    if runtime == "cuda":
        import torch

        return f"{torch.cuda.get_device_name()}, bf16"
    name = " ".join(_openvino().Core().get_property("CPU", "FULL_DEVICE_NAME").split())
    return f"{name}, {len(os.sched_getaffinity(0))} cores, f32"


def load(
    network: Callable[[], nn.Module],
    shape: tuple[int, ...],
    runtime: Runtime,
    cache: Path | None = None,
) -> Predictor:
    """Make a network ready to run.

    Parameters
    ----------
    network
        Builds the network with its weights; not called where the cache has it converted already,
        and then torch is not imported.
    shape
        The batch, (n, ...), that every call is padded to; -1 where a side varies.
    cache
        OpenVINO's converted network, without suffix; its name must change with the weights. None
        converts anew.
    """
    if runtime == "openvino":
        return _OpenVino(network, shape, cache)
    return _Torch(network(), shape, runtime)


class _Torch:
    """Torch, channels last: float32 on the CPU, the reference; bfloat16 on CUDA.

    On CUDA every call has the same shape, for which cuDNN finds its fastest kernels once.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...], runtime: Runtime) -> None:
        import torch

        self._torch = torch
        self._device = "cuda" if runtime == "cuda" else "cpu"
        self._count = shape[0] if runtime == "cuda" else 0
        self._layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
        network.eval().to(self._device)
        self._network = network.to(memory_format=self._layout)
        if runtime == "cuda":
            torch.backends.cudnn.benchmark = True

    def __call__(self, batch: Array) -> tuple[Array, ...]:
        torch = self._torch
        image = torch.from_numpy(_padded(batch, self._count))
        with (
            torch.inference_mode(),
            torch.autocast(self._device, torch.bfloat16, enabled=self._device == "cuda"),
        ):
            outputs = self._network(image.to(self._device, memory_format=self._layout))
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(each[: len(batch)].float().cpu().numpy() for each in several)


def _padded(batch: Array, count: int) -> Array:
    """Return the batch, contiguous, with zeros up to `count`."""
    missing = max(count - len(batch), 0)
    return np.concatenate((batch, np.zeros((missing, *batch.shape[1:]), batch.dtype)))


def _openvino() -> ModuleType:
    """Import OpenVINO without its telemetry.

    The package otherwise reports each import and conversion to its maker's analytics service, from
    forked processes. A node in a hospital talks to its peers alone.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # import fails: no-op stub
    return importlib.import_module("openvino")


class _OpenVino:
    """OpenVINO on the CPU, in float32, so that a network converted and one found stored agree."""

    def __init__(
        self, network: Callable[[], nn.Module], shape: tuple[int, ...], cache: Path | None
    ) -> None:
        openvino = _openvino()
        core = openvino.Core()
        stored = cache.with_suffix(".xml") if cache else None
        if stored and stored.exists():
            model = core.read_model(stored)
        else:
            model = openvino.convert_model(_traced(network(), shape), input=[shape])
            if stored:
                _store(partial(openvino.save_model, model, compress_to_fp16=False), stored)
        self._count = shape[0]
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        self._compiled = core.compile_model(model, "CPU", hints)

    def __call__(self, batch: Array) -> tuple[Array, ...]:
        outputs = self._compiled(_padded(batch, self._count))
        return tuple(np.asarray(outputs[port])[: len(batch)] for port in self._compiled.outputs)


def _traced(network: nn.Module, shape: tuple[int, ...]) -> object:
    """Trace: OpenVINO converts that many times faster than torch's exported program."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; see above
        return torch.jit.trace(  # type: ignore[no-untyped-call]
            network.eval(), torch.zeros(1, *map(abs, shape[1:])), check_trace=False
        )


def _store(save: Callable[[Path], None], path: Path) -> None:
    """Save the .xml last and in one rename, so that no other process reads half a network."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        save(part)
        part.with_suffix(".bin").replace(path.with_suffix(".bin"))
        part.replace(path)
