"""Where a network runs: torch on CUDA or CPU, or OpenVINO, behind one protocol.

Each runtime must stay within `training.precision.LIMIT` of float32 on the CPU. OpenVINO's reduced
precision does not. In bfloat16 the probabilities of five of 200 phantoms moved by more than the
limit, up to 0.031; it took 0.6 of the time of float32. In int8 (NNCF 3.4, calibrated on 32 slabs of
phantoms) the ensemble took as long as in bfloat16 and moved a case by up to 0.038; with the first
layers, the last layers and the weight model in float32, by up to 0.032.

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

_HINTS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
"""How OpenVINO compiles a network."""


class Predictor(Protocol):
    """A network, called with arrays, whatever its framework is."""

    def __call__(self, batch: Array) -> tuple[Array, ...]:
        """(n, ...) float32 -> the network's outputs, each (n, ...) float32."""


def available_runtimes() -> tuple[Runtime, ...]:
    """Return the runtimes of this machine, fastest first; "torch" is always among them."""
    found: list[Runtime] = ["cuda"] if has_cuda() else []
    if importlib.util.find_spec("openvino"):
        found.append("openvino")
    return (*found, "torch")


def has_cuda() -> bool:
    """Return whether torch finds CUDA; torch is imported only if there is a driver."""
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
    """Return how many slices to run at once: on CUDA a whole study of 5 mm slices.

    An estimate; nothing was measured.
    """
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
        Builds the network with its weights. It is not called if the cache has the converted
        network, and then torch is not imported.
    shape
        The shape, (n, ...), to which every batch is padded; -1 for a side that varies.
    cache
        Path of OpenVINO's converted network, without suffix; its name must change with the
        weights. With None the network is converted at each call.
    """
    if runtime == "openvino":
        return _OpenVino(network, shape, cache)
    return _Torch(network(), shape, runtime)


def load_onnx(path: Path) -> Predictor:
    """Make a network in an ONNX file ready to run, by OpenVINO on the CPU in float32."""
    core = _openvino().Core()
    compiled = core.compile_model(core.read_model(path), "CPU", _HINTS)

    def predict(batch: Array) -> tuple[Array, ...]:
        outputs = compiled(batch)
        return tuple(np.asarray(outputs[port]) for port in compiled.outputs)

    return predict


class _Torch:
    """Torch, channels last: in float32 on the CPU, which is the reference; in bfloat16 on CUDA.

    On CUDA every call has the same shape, so that cuDNN looks for its fastest kernels only once.
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
    """Return OpenVINO, imported without its telemetry.

    With it the package reports each import and conversion to its maker's analytics service, from
    forked processes. A node in a hospital connects to its peers only.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # import fails: no-op stub
    return importlib.import_module("openvino")


class _OpenVino:
    """OpenVINO on the CPU, in float32, so that a stored network computes what a new one does."""

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
        self._compiled = core.compile_model(model, "CPU", _HINTS)

    def __call__(self, batch: Array) -> tuple[Array, ...]:
        outputs = self._compiled(_padded(batch, self._count))
        return tuple(np.asarray(outputs[port])[: len(batch)] for port in self._compiled.outputs)


def _traced(network: nn.Module, shape: tuple[int, ...]) -> object:
    """Return a trace: OpenVINO converts it many times faster than torch's exported program."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; see above
        return torch.jit.trace(  # type: ignore[no-untyped-call]
            network.eval(), torch.zeros(1, *map(abs, shape[1:])), check_trace=False
        )


def _store(save: Callable[[Path], None], path: Path) -> None:
    """Save the network; the .xml comes last and in one rename, so that nobody loads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        save(part)
        part.with_suffix(".bin").replace(path.with_suffix(".bin"))
        part.replace(path)
