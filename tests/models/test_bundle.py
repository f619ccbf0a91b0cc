"""Bundles: written, verified, and the same results in every runtime."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from models.bundle import (
    GOLDEN,
    METADATA,
    SUMS,
    WEIGHTS,
    BundleError,
    golden_output,
    load_detector,
    operating_points,
    read_settings,
    study_shape,
)
from models.detector import Detector
from models.networks import build_network, empty_networks
from models.preprocess import Grid
from models.rules import Opinion, Settings
from models.runtime import available_runtimes, choose, load, load_onnx
from training.bundles.export import write_bundle
from training.bundles.onnx_files import write_onnx

pytestmark = pytest.mark.networks

SIZES = {
    "width": 8,
    "depth": 2,
    "bases": ["a", "b"],
    "names_subtypes": "b",
    "literal_weights": False,
}
GRID = Grid(rows=64, columns=48, coarse=(16, 32, 32))


def tensors(sizes: dict[str, Any]) -> dict[str, np.ndarray]:
    torch.manual_seed(3)
    found = {}
    for part, network in empty_networks(sizes).items():
        for name, tensor in network.state_dict().items():
            if tensor.dtype == torch.float32:
                found[f"{part}.{name}"] = tensor.half().numpy()
    return found


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of tiny random networks."""
    return written(tmp_path / "tiny", Settings(operating_point=0.6, grid=GRID), SIZES)


@pytest.fixture(scope="module")
def with_slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a network of slices, which counts, and with two operating points."""
    points = {"sensitive": 0.2, "balanced": 0.6}
    settings = Settings(0.6, slices_slope=0.5, grid=GRID, operating_points=points)
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    return written(folder, settings, SIZES | {"slices": {"rows": 32, "columns": 32}})


def written(folder: Path, settings: Settings, sizes: dict[str, Any]) -> Path:
    weights = tensors(sizes)
    canvases = (8, 4, GRID.rows, GRID.columns)
    shapes = {"skullstrip": (1, 2, *GRID.coarse), "ensemble": canvases}
    shapes |= {"slices": canvases} if "slices" in sizes else {}
    parts = {
        part: load(lambda part=part: build_network(part, sizes, weights), shape, "torch")
        for part, shape in shapes.items()
    }
    detector = Detector(
        *("", "", "torch", settings, parts["skullstrip"], parts["ensemble"]),
        predict_slices=parts.get("slices"),
    )
    random = np.random.default_rng(0)
    golden = {
        "coarse_hu": random.integers(-1000, 1000, GRID.coarse).astype(np.int16),
        "hu": random.integers(-50, 120, (2, GRID.rows, GRID.columns)).astype(np.int16),
        "brain": np.ones((2, GRID.rows, GRID.columns), np.uint8),
    }
    golden |= golden_output(detector, golden)
    metadata = {
        "name": "tiny",
        "version": "0.0.1",
        "networks": sizes,
        "reader": asdict(settings),
    }
    write_bundle(folder, metadata, weights, golden, "# tiny\n")
    return folder


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_a_bundle_is_read_by_each_runtime(bundle: Path, runtime: str, tmp_path: Path) -> None:
    detector = load_detector(bundle, runtime, tmp_path / "cache")
    assert detector.name == "tiny@0.0.1"
    assert detector.runtime == runtime
    assert detector.operating_point == 0.6
    fused, subtypes, peaks, study_input = detector.predict(
        np.random.default_rng(1).random((3, 4, 64, 48), np.float32)
    )
    assert fused.shape == (3, 64, 48)
    assert subtypes.shape == (3, 5)
    assert peaks.shape == (3, 1 + len(SIZES["bases"]))
    assert study_input.shape == (3, study_shape(SIZES)[2])


@pytest.mark.parametrize(
    ("choice", "has"),
    [
        ({"subtypes": "sequence"}, "ensemble"),
        ({"subtypes": "slices"}, "ensemble"),
        ({"key_slice": "attention"}, "lesion"),
    ],
)
def test_a_network_that_the_bundle_lacks_is_refused_and_what_it_has_is_named(
    bundle: Path, choice: dict[str, Any], has: str
) -> None:
    with pytest.raises(BundleError, match=f"tiny has no .* network .*it has '{has}'"):
        load_detector(bundle, "torch", **choice)


def test_another_network_than_the_bundles_own_choice_is_told_in_the_name(bundle: Path) -> None:
    same = load_detector(bundle, "torch", subtypes="ensemble", key_slice="lesion")
    assert same.name == "tiny@0.0.1"
    metadata = json.loads((bundle / METADATA).read_text())
    metadata["reader"] |= {"subtypes": "sequence", "key_slice": "attention"}
    with pytest.raises(BundleError, match="it has 'ensemble'"):
        load_detector(altered(bundle, metadata), "torch", key_slice="lesion")
    other = load_detector(bundle, "torch", subtypes="ensemble", key_slice="lesion")
    assert (other.settings.subtypes, other.settings.key_slice) == ("ensemble", "lesion")
    assert other.name == "tiny@0.0.1+ensemble+lesion"


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_a_network_of_slices_is_read_by_each_runtime(
    with_slices: Path, runtime: str, tmp_path: Path
) -> None:
    for _ in range(2):  # the second time from the cache
        detector = load_detector(with_slices, runtime, tmp_path, subtypes="slices")
        assert detector.name == "tiny@0.0.1+slices"
        assert detector.predict_slices is not None
        labels, lesion = detector.predict_slices(
            np.random.default_rng(1).random((3, 4, GRID.rows, GRID.columns), np.float32)
        )
        assert labels.shape == (3, 6)
        assert lesion.shape == (3, GRID.rows, GRID.columns)
        assert (lesion[:, 16:48, 8:40] > 0).all() and lesion[:, :16].max() == 0


def test_the_networks_as_onnx_give_what_torch_gives(with_slices: Path, tmp_path: Path) -> None:
    written = write_onnx(with_slices, tmp_path)
    assert [path.name for path in written] == ["skullstrip.onnx", "ensemble.onnx", "slices.onnx"]
    image = np.random.default_rng(4).random((5, 4, GRID.rows, GRID.columns), np.float32)
    detector = load_detector(with_slices, "torch")
    assert detector.predict_slices is not None
    for path, network in zip(written[1:], (detector.predict, detector.predict_slices), strict=True):
        for found, wanted in zip(load_onnx(path)(image), network(image), strict=True):
            assert found.shape == wanted.shape, "of a batch of another size"
            assert np.abs(found - wanted).max() < 1e-3


def test_an_onnx_file_that_computes_something_else_is_not_left_unsaid(
    with_slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.bundles.onnx_files.LIMIT", -1.0)
    with pytest.raises(BundleError, match="inside differs from torch by"):
        write_onnx(with_slices, tmp_path)


def test_a_network_of_slices_that_computes_something_else_fails_the_golden_check(
    with_slices: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "tiny"
    shutil.copytree(with_slices, bundle)
    golden = load_file(bundle / GOLDEN)
    golden["labels"] = golden["labels"] + np.float32(0.2)
    save_file(golden, bundle / GOLDEN)
    seal(bundle, GOLDEN)
    with pytest.raises(BundleError, match=r"golden output \(labels"):
        load_detector(bundle, "torch")


def test_rules_that_count_on_a_network_of_slices_need_it(bundle: Path) -> None:
    metadata = json.loads((bundle / METADATA).read_text())
    metadata["reader"] |= {"slices_slope": 0.5}
    with pytest.raises(BundleError, match="network of slices that it lacks"):
        load_detector(altered(bundle, metadata), "torch")


def test_an_operating_point_is_chosen_by_name_and_one_that_is_not_there_is_refused(
    with_slices: Path, bundle: Path
) -> None:
    assert operating_points(with_slices) == {"sensitive": 0.2, "balanced": 0.6}
    assert operating_points(bundle) == {"balanced": 0.6}
    chosen = load_detector(with_slices, "torch", operating_point="sensitive")
    assert chosen.operating_point == 0.2
    assert chosen.name == "tiny@0.0.1+sensitive"
    with pytest.raises(BundleError, match="no operating point 'quiet'; it has 'sensitive', 'bal"):
        load_detector(with_slices, "torch", operating_point="quiet")
    with pytest.raises(BundleError, match="is no bundle"):
        operating_points(bundle / "docs")


def altered(bundle: Path, metadata: dict[str, Any]) -> Path:
    """Write other metadata into the bundle, and its digest."""
    (bundle / METADATA).write_text(json.dumps(metadata))
    seal(bundle, METADATA)
    return bundle


def seal(bundle: Path, name: str) -> None:
    """List a file's digest as it is now."""
    digest = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    lines = (bundle / SUMS).read_text().splitlines()
    sealed = [f"{digest}  {name}" if name in line else line for line in lines]
    (bundle / SUMS).write_text("\n".join(sealed) + "\n")


def test_runtimes_agree_on_the_same_weights(bundle: Path) -> None:
    image = np.random.default_rng(2).random((5, 4, 64, 48), np.float32)
    expected = load_detector(bundle, "torch").predict(image)
    for found, wanted in zip(
        load_detector(bundle, "openvino").predict(image), expected, strict=True
    ):
        assert np.abs(found - wanted).mean() < 0.01


def test_cached_networks_need_neither_torch_nor_timm(with_slices: Path, tmp_path: Path) -> None:
    load_detector(with_slices, "openvino", tmp_path)
    code = (
        "import sys; from pathlib import Path; from models.bundle import load_detector;"
        f"load_detector(Path({str(with_slices)!r}), 'openvino', Path({str(tmp_path)!r}));"
        "sys.exit(bool({'torch', 'timm'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_importing_the_loader_and_the_runtime_imports_no_framework() -> None:
    code = (
        "import sys, models.bundle, models.runtime;"
        "sys.exit(bool({'torch', 'openvino', 'monai'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_changed_file_is_refused_by_name(bundle: Path) -> None:
    path = bundle / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x00")
    with pytest.raises(BundleError, match=r"model\.safetensors is not the file"):
        load_detector(bundle, "torch")


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / GOLDEN).unlink()
    with pytest.raises(BundleError, match=r"golden\.safetensors is missing"):
        load_detector(bundle, "torch")


def test_a_folder_without_digests_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle"):
        load_detector(tmp_path, "torch")


def test_an_unlisted_file_is_not_trusted(bundle: Path) -> None:
    lines = (bundle / SUMS).read_text().splitlines()
    (bundle / SUMS).write_text("\n".join(line for line in lines if WEIGHTS not in line) + "\n")
    with pytest.raises(BundleError, match=r"does not list models/model\.safetensors"):
        load_detector(bundle, "torch")


def test_weights_that_compute_something_else_fail_the_golden_check(bundle: Path) -> None:
    golden = load_file(bundle / GOLDEN)
    golden["fused"] = golden["fused"] + np.float32(0.2)
    save_file(golden, bundle / GOLDEN)
    seal(bundle, GOLDEN)
    with pytest.raises(BundleError, match="golden output"):
        load_detector(bundle, "torch")


def test_settings_survive_json() -> None:
    settings = Settings(
        operating_point=0.7,
        mask_threshold=0.4,
        score="paper",
        grid=GRID,
        slices_alone=Opinion(0.5, -1.0),
        operating_points={"balanced": 0.7, "quiet": 0.9},
    )
    assert read_settings(json.loads(json.dumps(asdict(settings)))) == settings


def test_auto_takes_the_fastest_runtime_and_an_absent_one_is_refused() -> None:
    assert available_runtimes()[-1] == "torch"
    assert choose("auto") == available_runtimes()[0]
    with pytest.raises(ValueError, match="it has"):
        choose("abacus")


def test_openvino_comes_without_its_telemetry() -> None:
    """A node talks only to its peers, and OpenVINO's maker is not a peer."""
    code = (
        "import sys; from models.runtime import device; device('openvino'); "
        "print([name for name in sys.modules if name.startswith('openvino_telemetry.')], "
        "sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] None"
