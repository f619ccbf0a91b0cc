"""The networks of a bundle as ONNX files, for who runs them elsewhere; each is checked.

They are in float32 and so larger than the bundle, of which they are no part. Preprocessing, rules
and the way back to the slices are not in them.
"""

import importlib
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn

from models import runtime as runtimes
from models.bundle import GOLDEN, METADATA, WEIGHTS, BundleError, verify
from models.networks import build_network
from models.preprocess import channels, neighbour_channels, neighbours, skull_channels

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

LIMIT = 1e-4
"""Largest difference from torch, of values beyond 1 as a part of them (ours)."""

OPSET = 17
"""Of ONNX 1.12, 2022; chosen, so that older runtimes read the files."""

OUTPUTS = {
    "skullstrip": ("inside",),
    "ensemble": ("fused", "subtypes", "peaks", "study_input"),
    "slices": ("labels", "lesion"),
    "study": ("subtypes", "attention"),
}
"""Names of each network's outputs, as `models.detector.Detector` describes them."""

VARIES = {"skullstrip": {}, "ensemble": {0: "n"}, "slices": {0: "n"}, "study": {1: "s"}}
"""Sides of the input whose length is free."""


def write_onnx(bundle: Path, folder: Path) -> list[Path]:
    """Write PART.onnx for each network of a bundle into `folder`.

    Raises
    ------
    BundleError
        If the bundle is damaged, or a file does not give what torch gives for the golden input.
    ModuleNotFoundError
        If onnx is not installed.
    """
    importlib.import_module("onnx")  # torch would say it in other words
    verify(bundle)
    sizes = json.loads((bundle / METADATA).read_text())["networks"]
    tensors, golden = load_file(bundle / WEIGHTS), load_file(bundle / GOLDEN)
    folder.mkdir(parents=True, exist_ok=True)
    written, inputs = [], _inputs(golden)
    for part in (each for each in OUTPUTS if each in ("skullstrip", "ensemble") or sizes.get(each)):
        network = build_network(part, sizes, tensors)
        if part == "ensemble":
            inputs["study"] = _run(network, inputs["ensemble"])[3][None]
        path = folder / f"{part}.onnx"
        _export(network, inputs[part], part, path)
        _check(path, network, inputs[part])
        log.info("%s gives what torch gives", path, extra={"action": "onnx"})
        written.append(path)
    return written


def _inputs(golden: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """Return the golden input of each network that reads a head."""
    hu = golden["hu"].astype(np.float32)
    return {
        "skullstrip": skull_channels(golden["coarse_hu"].astype(np.float32)),
        "ensemble": channels(hu, golden["brain"].astype(np.float32)),
        "slices": neighbour_channels(*neighbours(hu)),
    }


def _run(network: nn.Module, batch: Floats) -> tuple[Floats, ...]:
    with torch.inference_mode():
        found = network(torch.from_numpy(batch))
    several = found if isinstance(found, tuple) else (found,)
    return tuple(np.asarray(each.numpy()) for each in several)


def _export(network: nn.Module, batch: Floats, part: str, path: Path) -> None:
    """Write the file by the exporter that traces: the newer one needs one package more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated; see above
        torch.onnx.export(
            network,
            (torch.from_numpy(batch),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=list(OUTPUTS[part]),
            dynamic_axes={"input": VARIES[part]} if VARIES[part] else None,
        )


def _check(path: Path, network: nn.Module, batch: Floats) -> None:
    found = runtimes.load_onnx(path)(batch)
    for name, given, wanted in zip(OUTPUTS[path.stem], found, _run(network, batch), strict=True):
        apart = float((np.abs(given - wanted) / np.maximum(1, np.abs(wanted))).max())
        if not apart <= LIMIT:
            raise BundleError(f"{path}: {name} differs from torch by {apart:.1e}, over {LIMIT}")
