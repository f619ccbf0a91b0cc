"""Make a bundle of a finished recipe: python -m training.export RECIPE FOLDER.

Locks the operating point on the tuning patients, measures the held-out ones, writes the bundle and
reads it back. No figure in a bundle is written by hand.
"""

import hashlib
import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from string import Template

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from models import runtime as runtimes
from models.bundle import CARD, GOLDEN, METADATA, SUMS, WEIGHTS, golden_output, load_reader
from models.ensemble import PEAK_PIXELS
from models.networks import build_network, empty_networks
from models.preprocess import Grid
from models.reader import BATCH, Reader, Settings
from training import evaluate, recipe
from training.datasets import physionet, prepared
from training.phantoms import demo_pair
from training.recipe import Recipe
from training.train import ensemble, weights_path

log = logging.getLogger(__name__)

CARD_TEMPLATE = Path(__file__).with_name("model_card.md")

TEST_PHANTOMS = range(24)

Tensors = Mapping[str, NDArray[np.generic]]


def export(path: Path, folder: Path, bundle_version: str) -> None:
    """Lock, measure and write the bundle of the recipe at `path` into `folder`."""
    plan = recipe.read(path)
    sizes, tensors = _tensors(plan)
    split = physionet.read_split(plan.split)
    grid = Grid(**plan.grid.model_dump())
    reader = _reader(sizes, tensors, Settings(operating_point=0.5, grid=grid))
    tuning = evaluate.read_cases(reader, evaluate.real_cases(plan.physionet, split.tune))
    settings = evaluate.lock(reader.settings, tuning)
    reader = _reader(sizes, tensors, settings)
    held_out = evaluate.read_cases(reader, evaluate.real_cases(plan.physionet, split.test))
    phantoms = evaluate.read_cases(reader, evaluate.phantom_cases(TEST_PHANTOMS, "test"))
    measured = {
        "tuning": evaluate.figures(tuning, settings),
        "held-out": evaluate.figures(held_out, settings),
        "held-out phantoms": evaluate.figures(phantoms, settings),
    }
    metadata = _metadata(plan, bundle_version, sizes, settings, measured)
    write_bundle(folder, metadata, tensors, _golden(sizes, tensors, settings), _card(metadata))
    log.info("%s", load_reader(folder).name, extra={"action": "exported"})


def _tensors(plan: Recipe) -> tuple[dict[str, object], Tensors]:
    """Sizes and weights of the networks; floats as float16, batch statistics as float32."""
    stage = next(each for each in plan.stage if each.kind == "weights")
    whole = ensemble(plan, stage)
    sizes = {
        "width": plan.network.width,
        "depth": plan.network.depth,
        "bases": list(stage.bases),
        "names_subtypes": stage.bases[whole.names_subtypes],
        "literal_weights": whole.weights.literal,
    }
    networks = empty_networks(sizes)
    networks["ensemble"].load_state_dict(whole.state_dict())
    strip = torch.load(weights_path(plan, "skullstrip"), weights_only=True)
    networks["skullstrip"].network.load_state_dict(strip)
    tensors = {}
    for part, network in networks.items():
        for name, tensor in network.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            half = tensor.dtype == torch.float32 and "running" not in name
            tensors[f"{part}.{name}"] = (tensor.half() if half else tensor).contiguous().numpy()
    return sizes, tensors


def _reader(
    sizes: Mapping[str, object], tensors: Tensors, settings: Settings, where: str = "auto"
) -> Reader:
    """Return a reader of these weights before they are a bundle."""
    grid, chosen = settings.grid, runtimes.choose(where)
    shapes = {"skullstrip": (1, 2, *grid.coarse), "ensemble": (BATCH, 4, grid.rows, grid.columns)}
    strip, predict = (
        runtimes.load(lambda part=part: build_network(part, sizes, tensors), shape, chosen)
        for part, shape in shapes.items()
    )
    return Reader("unpublished@0", "0" * 64, chosen, settings, strip, predict)


def _golden(sizes: Mapping[str, object], tensors: Tensors, settings: Settings) -> Tensors:
    """Two slabs and the coarse box of the demo's bleeding phantom, and what plain torch sees."""
    reader = _reader(sizes, tensors, settings, "torch")
    volume = demo_pair()[0].volume
    _, seen = reader.prepare(volume)
    pick = np.sort(np.argsort(reader.look(seen).peaks)[[0, -1]])
    golden = {
        "coarse_hu": prepared.coarse_box(volume, settings.grid),
        "hu": np.round(seen.hu[pick]).astype(np.int16),
        "brain": (seen.brain[pick] > 0.5).astype(np.uint8),
    }
    return golden | {
        name: found.astype(np.float16) for name, found in golden_output(reader, golden).items()
    }


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
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield",
                    "modality": "CT",
                    "num_channels": 4,
                    "spatial_shape": [settings.grid.rows, settings.grid.columns],
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
                    "spatial_shape": [settings.grid.rows, settings.grid.columns],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": "intracranial hemorrhage"},
                }
            },
        },
    }


def _card(metadata: Mapping[str, object]) -> str:
    """Fill the model card's template with what was measured."""
    measured, rules = metadata["measured"], metadata["reader"]
    rows = "\n".join(_row(name, figures) for name, figures in measured.items())
    return Template(CARD_TEMPLATE.read_text()).substitute(
        name=metadata["name"],
        version=metadata["version"],
        figures=rows,
        score=rules["score"],
        top_k=rules["top_k"],
        operating_point=f"{rules['operating_point']:.3f}",
        mask_threshold=f"{rules['mask_threshold']:.3f}",
        peak_pixels=PEAK_PIXELS,
        slope=f"{rules['slope']:.3f}",
        intercept=f"{rules['intercept']:.3f}",
        tau=rules["tau"],
        missed=_numbers(measured["held-out"]["missed"]),
        false_alarms=_numbers(measured["held-out"]["false_alarms"]),
        data_sha256=metadata["data_sha256"],
        seed=metadata["recipe"]["seed"],
        caveat=metadata["recipe"]["caveat"].strip(),
        history=metadata["recipe"]["history"].strip(),
    )


def _numbers(cases: list[int]) -> str:
    return ", ".join(map(str, cases)) or "none"


def _row(name: str, found: Mapping[str, object]) -> str:
    def cell(figure: Mapping[str, object]) -> str:
        low, high = figure["interval"]
        if low is None:
            return "n/a"
        count = f" ({figure['count']})" if "count" in figure else ""
        return f"{figure['value']:.3f}{count}, {low:.3f} to {high:.3f}"

    cells = [cell(found[key]) for key in ("case_auc", "sensitivity", "specificity", "slice_auc")]
    return (
        f"| {name} | {found['cases']} ({found['bleeding']}) | "
        + " | ".join(
            [*cells, "n/a" if found["median_dice"] is None else f"{found['median_dice']:.2f}"]
        )
        + " |"
    )


def write_bundle(
    folder: Path, metadata: Mapping[str, object], tensors: Tensors, golden: Tensors, card: str
) -> None:
    """Write the bundle's files and their digests into `folder`."""
    for name in (METADATA, WEIGHTS, GOLDEN, CARD):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / METADATA).write_text(json.dumps(metadata, indent=2) + "\n")
    (folder / WEIGHTS).write_bytes(save(dict(tensors)))
    (folder / GOLDEN).write_bytes(save(dict(golden)))
    (folder / CARD).write_text(card)
    sums = (
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}"
        for name in (METADATA, WEIGHTS, GOLDEN, CARD)
    )
    (folder / SUMS).write_text("\n".join(sums) + "\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    export(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "0.1.0")
