"""Bundles: a folder of weights and what belongs to them, verified before it reads a patient.

    configs/metadata.json       MONAI bundle metadata; "reader" holds the reader's settings
    models/model.safetensors    every network, float16
    models/golden.safetensors   an input, and what the networks made of it when they were exported
    docs/README.md              the model card
    SHA256SUMS                  digest of each file above, as sha256sum writes it

Importing this module imports no torch; neither does loading a bundle whose converted networks
are in the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from models import runtime as runtimes
from models.detector import Detector, KeySlice, Settings, Subtypes
from models.findings import SUBTYPES
from models.preprocess import Grid, channels, skull_channels

if TYPE_CHECKING:
    from torch import nn

METADATA = "configs/metadata.json"
WEIGHTS = "models/model.safetensors"
GOLDEN = "models/golden.safetensors"
CARD = "docs/README.md"
SUMS = "SHA256SUMS"

TOLERANCE = 0.05
"""Largest difference from the golden probabilities; bfloat16, as on CUDA, stays well below it."""


class BundleError(Exception):
    """The bundle is incomplete, changed, or computes something else than when exported."""


def load_detector(
    folder: Path,
    runtime: str = "auto",
    cache_dir: Path | None = None,
    *,
    subtypes: Subtypes | Literal["auto"] = "auto",
    key_slice: KeySlice | Literal["auto"] = "auto",
) -> Detector:
    """Return the bundle's reader, verified.

    Parameters
    ----------
    folder
        The bundle.
    runtime
        "cuda", "openvino", "torch", or "auto" for the fastest on this machine.
    cache_dir
        Where OpenVINO's converted networks are kept between runs; None converts each time.
    subtypes, key_slice
        Who names subtypes and who picks the key slice, see `models.detector.Settings`; "auto" is as
        the bundle says. Another choice is told in the reader's name, as "name@version+choice".

    Raises
    ------
    BundleError
        If a file's digest is wrong, a file is missing, the golden output is not reproduced, or the
        bundle lacks the reader that is asked for.
    ValueError
        If this machine lacks the runtime.
    """
    verify(folder)
    metadata = json.loads((folder / METADATA).read_text())
    where = runtimes.choose(runtime)
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    shipped = read_settings(metadata["reader"])
    settings = replace(
        shipped,
        subtypes=shipped.subtypes if subtypes == "auto" else subtypes,
        key_slice=shipped.key_slice if key_slice == "auto" else key_slice,
    )
    grid = settings.grid
    cache = cache_dir / f"{metadata['name']}-{digest[:16]}" if cache_dir else None

    networks = metadata["networks"]
    _require_detectors(metadata["name"], settings, networks)

    def build(part: str) -> nn.Module:
        from models.networks import build_network  # torch is imported here and not before

        return build_network(part, networks, load_file(folder / WEIGHTS))

    def predictor(part: str, shape: tuple[int, ...]) -> runtimes.Predictor:
        return runtimes.load(lambda: build(part), shape, where, cache and cache / part)

    detector = Detector(
        name="+".join((f"{metadata['name']}@{metadata['version']}", *_choices(shipped, settings))),
        weights_sha256=digest,
        runtime=where,
        settings=settings,
        strip=predictor("skullstrip", (1, 2, *grid.coarse)),
        predict=predictor("ensemble", (runtimes.batch_size(where), 4, grid.rows, grid.columns)),
        follow=predictor("study", study_shape(networks)) if networks.get("study") else None,
    )
    _check_golden(detector, load_file(folder / GOLDEN))
    return detector


def _require_detectors(bundle: str, settings: Settings, networks: Mapping[str, Any]) -> None:
    if networks.get("study"):
        return
    for what, wanted, has in (
        ("subtypes", settings.subtypes, "ensemble"),
        ("key_slice", settings.key_slice, "lesion"),
    ):
        if wanted != has:
            raise BundleError(f"bundle {bundle} has no {what} reader {wanted!r}; it has {has!r}")


def _choices(shipped: Settings, chosen: Settings) -> list[str]:
    """Return the readers that are not the bundle's own choice: other results need other names."""
    pairs = ((shipped.subtypes, chosen.subtypes), (shipped.key_slice, chosen.key_slice))
    return [detector for own, detector in pairs if detector != own]


def study_shape(networks: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the study reader's input, (1, s, F + 6) for any s; F is `InceptionUNet.pool`'s."""
    return 1, -1, 2 * (networks["width"] << networks["depth"]) + 1 + len(SUBTYPES)


def verify(folder: Path) -> None:
    """Compare every file of the bundle with its digest.

    Raises
    ------
    BundleError
        If one is missing, differs, or is not listed.
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
    return Settings(**{**fields, "grid": Grid(**lattices)})


def golden_output(
    detector: Detector, golden: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Run every network on the golden input: "inside", "fused" and "subtypes"."""
    (inside,) = detector.strip(skull_channels(golden["coarse_hu"].astype(np.float32)))
    image = channels(golden["hu"].astype(np.float32), golden["brain"].astype(np.float32))
    fused, subtypes, *_ = detector.predict(image)
    return {"inside": inside[0, 0], "fused": fused, "subtypes": subtypes}


def _check_golden(detector: Detector, golden: Mapping[str, NDArray[Any]]) -> None:
    for name, found in golden_output(detector, golden).items():
        apart = np.abs(found - golden[name].astype(np.float32))
        if not apart.mean() <= TOLERANCE / 10 or not np.quantile(apart, 0.999) <= TOLERANCE:
            raise BundleError(
                f"{detector.name} on {detector.runtime} differs from its golden output "
                f"({name}: up to {apart.max():.3f}); use another runtime"
            )
