"""The networks of a bundle: those that a recipe trained or the shipped ones, and their sources."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn

from models.bundle import METADATA, WEIGHTS, read_settings
from models.rules import Settings
from training.datasets.table import IMPLANTED
from training.phantoms.cases import PHANTOMS
from training.recipes.cohorts import cohorts
from training.recipes.recipe import BadRecipe, Recipe
from training.recipes.stages import AnyStage, Lite, Study, Weights
from training.stages import heads, task
from training.stages.weights import WeightsTask

Tensors = Mapping[str, NDArray[np.generic]]

IMAGENET = (
    "ImageNet ILSVRC 2012, by the published weights of EfficientNet-Lite0 (Tan and Le, ICML 2019, "
    "arXiv:1905.11946; licence of the weights: Apache-2.0)"
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a bundle holds of networks.

    Attributes
    ----------
    sizes
        metadata.json's "networks", see `models.networks.empty_networks`.
    tensors
        Their weights, named "part.parameter": floats as float16, batch statistics as float32.
    rules
        Settings that are not locked yet.
    sources
        What the ensemble and the other networks learnt from: each data set with its licence.
    origin
        Name, digest and recipe of the bundle that the ensemble was taken from; empty if the recipe
        trained it.
    """

    sizes: Mapping[str, Any]
    tensors: Tensors
    rules: Settings
    sources: Mapping[str, Sequence[str]]
    origin: Mapping[str, Any] = field(default_factory=dict)

    def name(self, plan: Recipe) -> str:
        """Return what the bundle is called: as the one whose ensemble it holds, or the recipe."""
        return str(self.origin.get("name", plan.name)).partition("@")[0]

    @property
    def data_source(self) -> str:
        """All sources, each once."""
        return "; ".join(dict.fromkeys(each for part in self.sources.values() for each in part))


def parts(plan: Recipe) -> Parts:
    """Return the networks that the recipe's bundle holds.

    Raises
    ------
    BadRecipe
        If a stage that it needs is not there or not finished.
    """
    found = _shipped(plan) if plan.ensemble == "shipped" else _own(plan)
    if not plan.slices:
        return found
    stages = [each for each in plan.every(Lite) if each.name in plan.slices]
    several, (rows, columns) = len(stages) > 1, stages[0].size
    tensors = dict(found.tensors)
    for place, stage in enumerate(stages):
        part = f"slices.network.networks.{place}" if several else "slices.network"
        tensors |= _halved(part, task(plan, stage).trained())
    sources = dict.fromkeys(chain.from_iterable(_of_sites(plan, each) for each in stages))
    size = {"rows": rows, "columns": columns, "networks": len(stages)}
    return replace(
        found,
        sizes={**found.sizes, "slices": size},
        tensors=tensors,
        sources={**found.sources, "slices": list(sources)},
    )


def _own(plan: Recipe) -> Parts:
    """Return the ensemble, the models of scans and the skull stripper that the recipe trained."""
    if not plan.every(Weights):
        raise BadRecipe(f'{plan.name} has no stage of kind "weights": say ensemble = "shipped"')
    stage, *_ = plan.every(Weights)
    whole = WeightsTask(plan, stage).trained()
    sizes: dict[str, object] = {
        "width": plan.network.width,
        "depth": plan.network.depth,
        "bases": list(stage.bases),
        "names_subtypes": stage.names_subtypes,
        "literal_weights": whole.weights.literal,
    }
    networks: dict[str, nn.Module] = {
        "ensemble": whole,
        "skullstrip.network": heads.skull_network(plan),
    }
    models = _study_models(plan, stage)
    networks |= {f"study.{kind}": task(plan, each).trained() for kind, each in models.items()}
    if models:
        features = whole.bases[0].classify.in_features
        sizes["study"] = {
            kind: each.sizes(features) for kind, each in models.items() if isinstance(each, Study)
        }
    tensors: dict[str, NDArray[np.generic]] = {}
    for part, network in networks.items():
        tensors |= _halved(part, network)
    rules = Settings(
        operating_point=0.5,
        subtypes="sequence" if models else "ensemble",
        grid=plan.grid.lattice,
    )
    sets = [_said(cohort.data_set) for cohort in cohorts(plan, "train")]
    return Parts(sizes, tensors, rules, {"ensemble": [*sets, PHANTOMS]})


def _study_models(plan: Recipe, ensemble: Weights) -> dict[str, AnyStage]:
    """Return the sequence and the attention model that read the ensemble; none without both."""
    found: dict[str, AnyStage] = {
        each.kind: each
        for each in plan.stage
        if isinstance(each, Study) and each.reads in (ensemble.name, ensemble.names_subtypes)
    }
    return found if len(found) == 2 else {}


def _shipped(plan: Recipe) -> Parts:
    """Return everything of the recipe's bundle but a network of slices."""
    told = json.loads((plan.bundle / METADATA).read_text())
    rules = replace(
        read_settings(told["reader"]).without_slices(), operating_points={}, point="balanced"
    )
    origin = {
        "name": f"{told['name']}@{told['version']}",
        "weights_sha256": hashlib.sha256((plan.bundle / WEIGHTS).read_bytes()).hexdigest(),
        "recipe": told["recipe"],
        "data_sha256": told["data_sha256"],
    }
    return Parts(
        {part: size for part, size in told["networks"].items() if part != "slices"},
        {
            name: tensor
            for name, tensor in load_file(plan.bundle / WEIGHTS).items()
            if not name.startswith("slices.")
        },
        rules,
        {"ensemble": told.get("sources", {}).get("ensemble") or [told["data_source"]]},
        told.get("ensemble") or origin,
    )


def _halved(part: str, network: nn.Module) -> dict[str, NDArray[np.generic]]:
    """Return a network's weights as a bundle holds them."""
    found = {}
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        half = tensor.dtype == torch.float32 and "running" not in name
        found[f"{part}.{name}"] = (tensor.half() if half else tensor).contiguous().numpy()
    return found


def _of_sites(plan: Recipe, stage: Lite) -> list[str]:
    """Return what a network of slices learnt from, its start included."""
    sites = {share.removesuffix(IMPLANTED) for share in stage.shares}
    sets = [cohort.data_set for cohort in cohorts(plan, "train")]
    found = [_said(each) for each in sets if each.site in sites]
    drawn = PHANTOMS in stage.shares or any(each.endswith(IMPLANTED) for each in stage.shares)
    return [*found, *([PHANTOMS] if drawn else []), *([IMAGENET] if stage.imagenet else [])]


def _said(data_set: Any) -> str:
    return f"{data_set.name} ({data_set.citation}; licence: {data_set.licence})"
