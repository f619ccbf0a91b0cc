"""Bundles: a folder of weights and what belongs to them, verified before any patient is analysed.

    configs/metadata.json       MONAI bundle metadata; "reader" holds the detector's settings
    models/model.safetensors    every network, float16
    models/golden.safetensors   an input, and what the networks gave for it at their export
    docs/README.md              the model card
    SHA256SUMS                  digest of each file above, as sha256sum writes it

Importing this module does not import torch. Loading a bundle does not import it either if the
converted networks are in the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from models import runtime as runtimes
from models.detector import Detector
from models.findings import SUBTYPES
from models.preprocess import Grid, channels, neighbour_channels, neighbours, skull_channels
from models.rules import KeySlice, Opinion, PointName, Settings, Subtypes
from models.runtime import Runtime

if TYPE_CHECKING:
    from torch import nn

METADATA = "configs/metadata.json"
WEIGHTS = "models/model.safetensors"
GOLDEN = "models/golden.safetensors"
CARD = "docs/README.md"
SUMS = "SHA256SUMS"

CHOICES = {"subtypes": Subtypes, "key_slice": KeySlice}
"""What may be chosen of networks, whatever the bundle says."""

TOLERANCE = 0.05
"""Largest difference of 99.9 % of the golden probabilities; their mean may differ by a tenth of it.

It must exceed what bfloat16 on CUDA changes, which stays well below.
"""


class BundleError(Exception):
    """The bundle is incomplete, was changed, or computes something else than at its export."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which bundle one is.

    Attributes
    ----------
    digest
        SHA-256 of its list of digests, and so of all that belongs to it; 64 hex digits.
    """

    name: str
    version: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def identity(folder: Path) -> Identity:
    """Return which bundle a folder holds, by its list of digests; its files are not compared.

    Raises
    ------
    BundleError
        If the folder is no bundle.
    """
    try:
        digest = hashlib.sha256((folder / SUMS).read_bytes()).hexdigest()
        told = json.loads((folder / METADATA).read_text())
        return Identity(str(told["name"]), str(told["version"]), digest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder} is no bundle: {error}") from error


def load_detector(
    folder: Path,
    runtime: str = "auto",
    cache_dir: Path | None = None,
    *,
    subtypes: Subtypes | Literal["auto"] = "auto",
    key_slice: KeySlice | Literal["auto"] = "auto",
    operating_point: PointName = "balanced",
) -> Detector:
    """Return the bundle's detector, verified.

    Parameters
    ----------
    folder
        The bundle.
    runtime
        "cuda", "openvino", "torch", or "auto" for the fastest on this machine.
    cache_dir
        Where OpenVINO's converted networks are kept between runs; with None they are converted at
        each call.
    subtypes, key_slice
        Which network names subtypes and which picks the key slice, see `models.rules.Settings`;
        "auto" takes the bundle's own choice.
    operating_point
        Which of the bundle's operating points is in force. Any other choice than the bundle's own
        is added to the detector's name, as in "name@version+choice".

    Raises
    ------
    BundleError
        If a file's digest is wrong, a file is missing, the golden output is not reproduced, or the
        bundle lacks the network or the operating point that is asked for.
    ValueError
        If this machine lacks the runtime.
    """
    verify(folder)
    metadata = json.loads((folder / METADATA).read_text())
    where = runtimes.choose(runtime)
    shipped = read_settings(metadata["reader"])
    settings = replace(
        shipped,
        subtypes=shipped.subtypes if subtypes == "auto" else subtypes,
        key_slice=shipped.key_slice if key_slice == "auto" else key_slice,
    )
    if operating_point not in settings.points:
        raise BundleError(
            f"bundle {metadata['name']} has no operating point {operating_point!r}; "
            f"it has {', '.join(map(repr, settings.points))}"
        )
    settings = settings.at(operating_point)
    _require_networks(metadata["name"], settings, metadata["networks"])
    detector = _connect(folder, metadata, where, cache_dir, settings)
    chosen = "".join(f"+{choice}" for choice in _other_choices(shipped, settings))
    detector = replace(detector, name=f"{metadata['name']}@{metadata['version']}{chosen}")
    _check_golden(detector, load_file(folder / GOLDEN))
    return detector


def _connect(
    folder: Path,
    metadata: Mapping[str, Any],
    runtime: Runtime,
    cache_dir: Path | None,
    settings: Settings,
) -> Detector:
    """Return the detector with its networks loaded into the runtime."""
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    cache = cache_dir / f"{metadata['name']}-{digest[:16]}" if cache_dir else None
    networks, grid = metadata["networks"], settings.grid

    def build(part: str) -> nn.Module:
        from models.networks import build_network  # torch is imported here and not before

        return build_network(part, networks, load_file(folder / WEIGHTS))

    def predictor(part: str, shape: tuple[int, ...]) -> runtimes.Predictor:
        return runtimes.load(lambda: build(part), shape, runtime, cache and cache / part)

    canvases = (runtimes.batch_size(runtime), 4, grid.rows, grid.columns)

    return Detector(
        name=metadata["name"],
        weights_sha256=digest,
        runtime=runtime,
        settings=settings,
        strip=predictor("skullstrip", (1, 2, *grid.coarse)),
        predict=predictor("ensemble", canvases),
        predict_study=predictor("study", study_shape(networks)) if networks.get("study") else None,
        predict_slices=predictor("slices", canvases) if networks.get("slices") else None,
    )


def _require_networks(bundle: str, settings: Settings, networks: Mapping[str, Any]) -> None:
    """Raise `BundleError` if a choice or a rule needs a network that the bundle lacks."""
    for what, wanted, needs in (
        ("subtypes", settings.subtypes, {"sequence": "study", "slices": "slices"}),
        ("key_slice", settings.key_slice, {"attention": "study"}),
    ):
        lacking = [choice for choice, part in needs.items() if not networks.get(part)]
        if wanted in lacking:
            has = [own for own in get_args(CHOICES[what]) if own not in lacking]
            raise BundleError(
                f"bundle {bundle} has no {what} network {wanted!r}; "
                f"it has {', '.join(map(repr, has))}"
            )
    if settings.hears_slices and not networks.get("slices"):
        raise BundleError(f"bundle {bundle} counts on a network of slices that it lacks")


def _other_choices(shipped: Settings, settings: Settings) -> list[str]:
    """Return the choices that differ from the bundle's own: they give other results."""
    pairs = (
        (shipped.subtypes, settings.subtypes),
        (shipped.key_slice, settings.key_slice),
        (shipped.point, settings.point),
    )
    return [choice for own, choice in pairs if choice != own]


def operating_points(folder: Path) -> Mapping[str, float]:
    """Return the operating points that a bundle offers, by their names; nothing is verified.

    Raises
    ------
    BundleError
        If the folder is no bundle.
    """
    try:
        return read_settings(json.loads((folder / METADATA).read_text())["reader"]).points
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder} is no bundle: {METADATA} cannot be read ({error})") from error


def study_shape(networks: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the shape of the study model's input, (1, s, F + 6); s is -1, since it varies.

    F is the number of features that `models.unet.InceptionUNet.pool` gives.
    """
    return 1, -1, 2 * (networks["width"] << networks["depth"]) + 1 + len(SUBTYPES)


def verify(folder: Path) -> None:
    """Compare every file of the bundle with its digest.

    Raises
    ------
    BundleError
        If a file is missing, differs from its digest, or is not listed.
    """
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except FileNotFoundError:
        raise BundleError(f"{folder} is no bundle: it has no {SUMS}") from None
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name, expected in listed.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path} is missing: install the bundle again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise BundleError(f"{path} is not the file that was released: install the bundle again")
    if missing := {METADATA, WEIGHTS, GOLDEN} - listed.keys():
        raise BundleError(f"{folder / SUMS} does not list {', '.join(sorted(missing))}")


def read_settings(fields: Mapping[str, Any]) -> Settings:
    """Return the settings that metadata.json holds under "reader"."""
    lattices: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in fields["grid"].items()
    }
    alone = {
        key: Opinion(**fields[key]) for key in ("ensemble_alone", "slices_alone") if key in fields
    }
    return Settings(**{**fields, **alone, "grid": Grid(**lattices)})


def golden_output(
    detector: Detector, golden: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return what the networks give for the golden input.

    These are "inside", "fused" and "subtypes", and "labels" and "lesion" of a network of slices.
    """
    (inside,) = detector.strip(skull_channels(golden["coarse_hu"].astype(np.float32)))
    hu = golden["hu"].astype(np.float32)
    fused, subtypes, *_ = detector.predict(channels(hu, golden["brain"].astype(np.float32)))
    found = {"inside": inside[0, 0], "fused": fused, "subtypes": subtypes}
    if detector.predict_slices:
        labels, lesion = detector.predict_slices(neighbour_channels(*neighbours(hu)))
        found |= {"labels": labels, "lesion": lesion}
    return found


def _check_golden(detector: Detector, golden: Mapping[str, NDArray[Any]]) -> None:
    """Raise `BundleError` unless the networks reproduce the golden output within `TOLERANCE`."""
    for name, found in golden_output(detector, golden).items():
        apart = np.abs(found - golden[name].astype(np.float32))
        if not apart.mean() <= TOLERANCE / 10 or not np.quantile(apart, 0.999) <= TOLERANCE:
            raise BundleError(
                f"{detector.name} on {detector.runtime} differs from its golden output "
                f"({name}: up to {apart.max():.3f}); use another runtime"
            )
