"""Make a bundle of a finished recipe: python -m training.export RECIPE FOLDER.

Locks calibration and operating point, measures the held-out patients, writes the bundle and reads
it back. No figure in a bundle is written by hand.
"""

import hashlib
import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import nn

from models import runtime as runtimes
from models.bundle import (
    CARD,
    GOLDEN,
    METADATA,
    SUMS,
    WEIGHTS,
    golden_output,
    load_detector,
    study_shape,
)
from models.detector import Detector, Settings, Subtypes
from models.networks import build_network
from models.preprocess import Grid
from training import prepared, recipe
from training.card import failures_picture, model_card
from training.datasets import physionet
from training.locking import lock
from training.measure import CROSS_VALIDATION, figures, phantom_cases, read_cases, real_cases
from training.phantoms import demo_pair
from training.recipe import Recipe, Study, Weights
from training.stages import task
from training.stages.weights import WeightsTask

log = logging.getLogger(__name__)

FAILURES = "docs/failures.png"

TEST_PHANTOMS = range(100)

LOCKED_ON = (
    "the tuning patients too",
    "the {patients} patients that are not held out, each read by the network of the "
    "cross-validation that had not seen it",
)
"""For the model card: whose scores the operating point follows from."""

Tensors = Mapping[str, NDArray[np.generic]]


def export(path: Path, folder: Path, bundle_version: str) -> None:
    """Lock, measure and write the bundle of the recipe at `path` into `folder`."""
    plan = recipe.read(path)
    sizes, tensors = _tensors(plan)
    split = physionet.read_split(plan.split)
    grid = plan.grid.lattice
    named_by: Subtypes = "sequence" if "study" in sizes else "ensemble"
    unlocked = Settings(operating_point=0.5, subtypes=named_by, grid=grid)
    detector = _detector(sizes, tensors, unlocked)
    tuning = read_cases(detector, real_cases(plan.physionet, split.tune))
    settings, locked_on = lock(detector.settings, tuning), LOCKED_ON[0]
    if (folds := plan.runs / CROSS_VALIDATION).exists():
        crossed = json.loads(folds.read_text())
        settings = replace(settings, operating_point=crossed["locked"]["operating_point"])
        locked_on = LOCKED_ON[1].format(**crossed["locked"])
    detector = _detector(sizes, tensors, settings)
    held_out = read_cases(detector, real_cases(plan.physionet, split.test))
    phantoms = read_cases(detector, phantom_cases(TEST_PHANTOMS, "test"))
    measured = {
        "tuning": figures(tuning, settings),
        "held-out": figures(held_out, settings),
        "held-out phantoms": figures(phantoms, settings),
    }
    if folds.exists():
        measured["cross-validation, model 1 alone"] = crossed["figures"]
    metadata = _metadata(plan, bundle_version, sizes, settings, measured)
    metadata["operating_point_locked_on"] = locked_on
    write_bundle(
        folder,
        metadata,
        tensors,
        _golden(sizes, tensors, settings),
        model_card(metadata),
        failures_picture(detector, phantoms),
    )
    log.info("%s", load_detector(folder).name, extra={"action": "exported"})


def _tensors(plan: Recipe) -> tuple[dict[str, object], Tensors]:
    """Sizes and weights of the networks; floats as float16, batch statistics as float32."""
    stage, *_ = plan.every(Weights)
    whole = WeightsTask(plan, stage).trained()
    sizes: dict[str, object] = {
        "width": plan.network.width,
        "depth": plan.network.depth,
        "bases": list(stage.bases),
        "names_subtypes": stage.names_subtypes,
        "literal_weights": whole.weights.literal,
    }
    stripper = task(plan, plan.named("skullstrip")).trained()
    parts: dict[str, nn.Module] = {"ensemble": whole, "skullstrip.network": stripper}
    models = [each for each in plan.stage if isinstance(each, Study)]
    parts |= {f"study.{each.kind}": task(plan, each).trained() for each in models}
    if models:
        features = whole.bases[0].classify.in_features
        sizes["study"] = {each.kind: each.sizes(features) for each in models}
    tensors = {}
    for part, network in parts.items():
        for name, tensor in network.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            half = tensor.dtype == torch.float32 and "running" not in name
            tensors[f"{part}.{name}"] = (tensor.half() if half else tensor).contiguous().numpy()
    return sizes, tensors


def _detector(
    sizes: Mapping[str, object], tensors: Tensors, settings: Settings, where: str = "auto"
) -> Detector:
    """Return a detector with these weights before they are a bundle."""
    grid, chosen = settings.grid, runtimes.choose(where)

    def predictor(part: str, shape: tuple[int, ...]) -> runtimes.Predictor:
        return runtimes.load(lambda: build_network(part, sizes, tensors), shape, chosen)

    return Detector(
        name="unpublished@0",
        weights_sha256="0" * 64,
        runtime=chosen,
        settings=settings,
        strip=predictor("skullstrip", (1, 2, *grid.coarse)),
        predict=predictor("ensemble", (runtimes.batch_size(chosen), 4, grid.rows, grid.columns)),
        predict_study=predictor("study", study_shape(sizes)) if "study" in sizes else None,
    )


def _golden(sizes: Mapping[str, object], tensors: Tensors, settings: Settings) -> Tensors:
    """Two slabs and the coarse box of the demo's bleeding phantom, and torch's output for them."""
    detector = _detector(sizes, tensors, settings, "torch")
    volume = demo_pair()[0].volume
    _, seen = detector.preprocess(volume)
    pick = np.sort(np.argsort(detector.infer(seen).peaks)[[0, -1]])
    golden: dict[str, NDArray[Any]] = {
        "coarse_hu": prepared.coarse_box(volume, settings.grid),
        "hu": np.round(seen.hu[pick]).astype(np.int16),
        "brain": (seen.brain[pick] > 0.5).astype(np.uint8),
    }
    outputs = golden_output(detector, golden)
    return golden | {name: found.astype(np.float16) for name, found in outputs.items()}


def _metadata(
    plan: Recipe,
    bundle_version: str,
    sizes: Mapping[str, object],
    settings: Settings,
    measured: Mapping[str, object],
) -> dict[str, object]:
    return {
        "name": plan.name,
        "version": bundle_version,
        "changelog": {bundle_version: "see CHANGELOG.md of ichnode"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"safetensors": version("safetensors")},
        "task": "Triage of intracranial hemorrhage on non-contrast head CT",
        "description": "Weighted ensemble of five Inception U-Nets after Kang 2023.",
        "authors": "The ichnode authors",
        "copyright": "Copyright the ichnode authors, Apache-2.0",
        "intended_use": "Research use only. Not a medical device.",
        "references": ["Kang et al., Front Neurol 2023, 14:1321964"],
        "data_source": "PhysioNet CT-ICH 1.0.0, doi 10.3390/data5010014, CC BY 4.0; phantoms",
        "data_sha256": prepared.digest(plan.physionet),
        "recipe": plan.model_dump(mode="json"),
        "networks": sizes,
        "reader": asdict(settings),
        "measured": measured,
        "network_data_format": _data_format(settings.grid),
    }


def _data_format(grid: Grid) -> dict[str, object]:
    """Return what goes into the ensemble and comes out of it, in MONAI's words."""
    return {
        "inputs": {
            "image": {
                "type": "image",
                "format": "hounsfield",
                "modality": "CT",
                "num_channels": 4,
                "spatial_shape": [grid.rows, grid.columns],
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": False,
                "channel_def": {
                    "0": "stroke window W40/L40",
                    "1": "brain window W80/L40",
                    "2": "bone window W3000/L500",
                    "3": "brain window, skull stripped",
                },
            }
        },
        "outputs": {
            "pred": {
                "type": "image",
                "format": "probability",
                "num_channels": 1,
                "spatial_shape": [grid.rows, grid.columns],
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": False,
                "channel_def": {"0": "intracranial hemorrhage"},
            }
        },
    }


def write_bundle(
    folder: Path,
    metadata: Mapping[str, object],
    tensors: Tensors,
    golden: Tensors,
    card: str,
    picture: bytes = b"",
) -> None:
    """Write the bundle's files and their digests into `folder`."""
    files = {
        METADATA: (json.dumps(metadata, indent=2) + "\n").encode(),
        WEIGHTS: save(dict(tensors)),
        GOLDEN: save(dict(golden)),
        CARD: card.encode(),
    }
    if picture:
        files[FAILURES] = picture
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    sums = (f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in files.items())
    (folder / SUMS).write_text("\n".join(sums) + "\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    export(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "0.1.0")
