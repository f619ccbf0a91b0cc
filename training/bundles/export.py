"""Make a bundle of a finished recipe: python -m training.bundles.export RECIPE FOLDER.

Locks calibration and operating point, measures the held-out patients, writes the bundle and reads
it back. No figure in a bundle is written by hand.
"""

import hashlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

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
from models.detector import Detector
from models.networks import build_network
from models.preprocess import Grid
from models.rules import Settings
from training.batches import prepared
from training.bundles.card import failures_picture, model_card
from training.bundles.parts import Parts, Tensors, parts
from training.datasets.case import Case
from training.metrics.locking import lock, uncertain_from
from training.metrics.measure import (
    Result,
    figures,
    measured_cohorts,
    phantom_cases,
    phantom_seeds,
    read_cases,
)
from training.phantoms import demo_pair, subtypes_of
from training.recipes import recipe
from training.recipes.recipe import BadRecipe, Recipe
from training.unseen.settled import Settled, read_settled
from training.unseen.stacking import STACK

log = logging.getLogger(__name__)

FAILURES = "docs/failures.png"

TEST_PHANTOMS = 100
UNLEARNT = 1_000_000
"""Seed of the first phantom to tune on."""

LOCKED_ON = (
    "the tuning patients too",
    "the {patients} patients that are not held out, each read by the network of the "
    "cross-validation that had not seen it",
)
"""For the model card: whose scores the operating point follows from."""

DESCRIPTION = "Weighted ensemble of five Inception U-Nets after Kang 2023"
BESIDE = ", and beside it a U-Net of slices between their neighbours over EfficientNet-Lite0"


def export(path: Path, folder: Path, bundle_version: str) -> None:
    """Lock, measure and write the bundle of the recipe at `path` into `folder`."""
    plan = recipe.read(path)
    if not plan.shipped:
        raise BadRecipe(f"{plan.name} says shipped = false: its weights are not exported")
    held, count = parts(plan), min(TEST_PHANTOMS, plan.test_phantoms)
    settled = read_settled(plan.runs / STACK) if plan.slices else None
    detector = _detector(held, held.rules)
    tuning = read_cases(detector, _tuning_cases(plan, count))
    settings, locked_on = _locked(plan, detector.settings, tuning, settled)
    detector = _detector(held, settings)
    phantoms = read_cases(detector, phantom_cases(phantom_seeds(count), "test"))
    held_out = [
        result
        for cohort in measured_cohorts(plan)
        for result in read_cases(detector, cohort.data_set.cases(cohort.split.test))
    ]
    measured = {
        "tuning": figures(tuning, settings),
        "held-out": figures(held_out or phantoms, settings),
        "held-out phantoms": figures(phantoms, settings),
    }
    if crossed := _crossed(plan):
        measured["cross-validation, model 1 alone"] = crossed["figures"]
    metadata = _metadata(plan, bundle_version, held, settings, measured)
    metadata["operating_point_locked_on"] = locked_on
    metadata["settled_figures"] = settled.figures if settled else {}
    metadata["settled_tables"] = [asdict(each) for each in settled.tables] if settled else []
    write_bundle(
        folder,
        metadata,
        held.tensors,
        _golden(held, settings),
        model_card(metadata),
        failures_picture(detector, phantoms),
    )
    log.info("%s", load_detector(folder).name, extra={"action": "exported"})


def _locked(
    plan: Recipe, settings: Settings, tuning: Sequence[Result], settled: Settled | None
) -> tuple[Settings, str]:
    """Return the locked settings, and for the model card whose scores they follow from."""
    settings = lock(settings, tuning)
    if settled:
        settings = settled.settle(settings)
        if "uncertain_from" not in settled.values:
            settings = replace(settings, uncertain_from=uncertain_from(settings, tuning))
        return settings, settled.locked_on
    if crossed := _crossed(plan):
        locked = crossed["locked"]
        settings = replace(settings, operating_point=locked["operating_point"])
        return settings, LOCKED_ON[1].format(**locked)
    return settings, LOCKED_ON[0]


def _crossed(plan: Recipe) -> dict[str, Any] | None:
    """Return what the cross-validation of the recipe's ensemble gave, if there was one."""
    folds = plan.cross_validation
    if not folds or not folds.exists():
        return None
    found: dict[str, Any] = json.loads(folds.read_text())
    return found


def _tuning_cases(plan: Recipe, count: int) -> Iterator[Case]:
    """Patients to tune on; without data sets of patients, phantoms that no recipe learns from."""
    found = measured_cohorts(plan)
    if not found:
        seeds = range(UNLEARNT, UNLEARNT + 10 * count)
        bleeding = [seed for seed in seeds if subtypes_of(seed, "train")][: -(-count // 2)]
        normal = [seed for seed in seeds if not subtypes_of(seed, "train")][: count // 2]
        return phantom_cases(bleeding + normal, "train")
    return chain.from_iterable(each.data_set.cases(each.split.tune) for each in found)


def _detector(held: Parts, settings: Settings, where: str = "auto") -> Detector:
    """Return a detector with these weights before they are a bundle."""
    sizes, grid, chosen = held.sizes, settings.grid, runtimes.choose(where)
    canvases = (runtimes.batch_size(chosen), 4, grid.rows, grid.columns)

    def predictor(part: str, shape: tuple[int, ...]) -> runtimes.Predictor:
        return runtimes.load(lambda: build_network(part, sizes, held.tensors), shape, chosen)

    return Detector(
        name="unpublished@0",
        weights_sha256="0" * 64,
        runtime=chosen,
        settings=settings,
        strip=predictor("skullstrip", (1, 2, *grid.coarse)),
        predict=predictor("ensemble", canvases),
        predict_study=predictor("study", study_shape(sizes)) if "study" in sizes else None,
        predict_slices=predictor("slices", canvases) if "slices" in sizes else None,
    )


def _golden(held: Parts, settings: Settings) -> Tensors:
    """Two slabs and the coarse box of the demo's bleeding phantom, and torch's output for them."""
    detector = _detector(held, settings, "torch")
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
    held: Parts,
    settings: Settings,
    measured: Mapping[str, object],
) -> dict[str, object]:
    return {
        "name": held.name(plan),
        "version": bundle_version,
        "changelog": {bundle_version: "see CHANGELOG.md of ichnode"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"safetensors": version("safetensors")},
        "task": "Triage of intracranial hemorrhage on non-contrast head CT",
        "description": DESCRIPTION + (BESIDE if "slices" in held.sizes else "") + ".",
        "authors": "The ichnode authors",
        "copyright": "Copyright the ichnode authors, Apache-2.0",
        "intended_use": "Research use only. Not a medical device.",
        "references": ["Kang et al., Front Neurol 2023, 14:1321964"],
        "data_source": held.data_source,
        "sources": held.sources,
        "data_sha256": ", ".join(prepared.digest(told.root) for told in plan.patients) or "none",
        "recipe": {"history": "", "caveat": ""} | plan.as_written,
        "ensemble": held.origin,
        "networks": held.sizes,
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
