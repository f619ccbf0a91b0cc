"""The loop: every kind of stage learns, and a killed run goes on as if nothing had happened."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.bundle import CARD, METADATA, load_detector
from models.classifiers import LABELS
from tests.support import ROOT
from tests.support.recipes import SMALL, small_recipe
from tests.support.sharing import shared
from training import stages, train
from training.batches.sequences import scans
from training.batches.slices import WINDOWS
from training.bundles.export import export
from training.bundles.onnx_files import write_onnx
from training.datasets.case import DataSet
from training.datasets.splits import Split
from training.phantoms import demo_pair, phantom
from training.phantoms.cases import phantom_case
from training.recipes import recipe
from training.recipes.cohorts import Cohort
from training.recipes.data import Data
from training.recipes.recipe import Recipe
from training.stages import classifier, heads
from training.stages.task import Prepared, weights_path

pytestmark = pytest.mark.networks

DYING = """
import os, signal, sys
from pathlib import Path
from training.batches import slices as batches
from training import train

draw, left = batches.SliceBatches.__call__, int(sys.argv[2])

def dying(self, count, random):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(self, count, random)

batches.SliceBatches.__call__ = dying
train.train(Path(sys.argv[1]), ("all",))
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The small recipe with a folder of its own; on one thread, so that sums keep their order."""
    folder = tmp_path_factory.mktemp("small")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(train, "RECALIBRATION_BATCHES", 1)
        patch.setattr(classifier, "FITTED_SLICES", 4)
        yield small_recipe(folder)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    del small  # its patches, which make training quick, hold here as well
    pytest.importorskip("timm")
    with shared(tmp_path_factory, "small-recipe") as folder:
        path = small_recipe(folder)
        train.train(path)
        return recipe.read(path)


def losses_of(found: Recipe, stage: str) -> list[float]:
    with (found.runs / stage / "log.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(train.LOG_COLUMNS)
    assert [int(row[0]) for row in rows] == list(range(found.named(stage).steps))
    return [float(row[1]) for row in rows]


def test_a_killed_training_goes_on_to_the_same_loss_curve(small: Path) -> None:
    found = recipe.read(small)
    train.train(small, ("all",))
    folder = found.runs / "all"
    straight = folder.rename(folder.with_name("straight"))
    last = random.randrange(1, found.named("all").steps)
    died = subprocess.run(
        [sys.executable, "-c", DYING, str(small), str(last)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL and not (folder / "weights.pt").exists()
    train.train(small, ("all",))
    assert (folder / "log.csv").read_text() == (straight / "log.csv").read_text(), f"step {last}"
    resumed, expected = (
        torch.load(each / "weights.pt", weights_only=True) for each in (folder, straight)
    )
    for name, tensor in expected.items():
        torch.testing.assert_close(resumed[name], tensor, msg=name)


@pytest.mark.parametrize("stage", [each.name for each in recipe.read(SMALL).stage])
def test_every_kind_of_stage_learns(trained: Recipe, stage: str) -> None:
    assert np.isfinite(losses_of(trained, stage)).all()
    torch.manual_seed(trained.seed)
    task = stages.task(trained, trained.named(stage))
    before = task.network().state_dict()
    after = torch.load(weights_path(trained, stage), weights_only=True)
    assert all(tensor.isfinite().all() for tensor in after.values())
    if stage != "weights":  # whose network is the finished network already
        moved = [name for name, tensor in before.items() if not tensor.equal(after[name])]
        assert any(name.endswith("weight") for name in moved)
    task.trained()


@pytest.mark.parametrize("stage", ["all", "weights", "weak", "exclusive"])
def test_whatever_a_model_of_scans_builds_on_gives_features_and_six_probabilities(
    trained: Recipe, stage: str
) -> None:
    channels = 3 if stage == "exclusive" else 4
    with torch.inference_mode():
        features, probabilities = stages.task(trained, trained.named(stage)).extractor()(
            torch.rand(2, channels, 208, 176)
        )
    assert features.shape[0] == 2 and probabilities.shape == (2, len(LABELS))
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_whole_scans_are_read_once_and_their_copies_are_varied(trained: Recipe) -> None:
    stage = trained.named("attention")
    ((found, share),) = stages.task(trained, stage).sources()
    assert share == 1 and len(found.parts()) == trained.phantoms.count
    assert (found.labels[:, 0] == (found.labels[:, 1:] == 1).any(1)).all()
    whole = stages.task(trained, trained.named("all"))
    slices = whole.sources()[0].slices
    head = type(slices)(*(each[slices.patient == slices.patient[0]] for each in slices))
    twice = scans(
        head,
        whole.extractor(),
        WINDOWS["kang"],
        (208, 176),
        2,
        trained.runs / "data" / "twice",
    )
    first, second = (twice.features[part] for part in twice.parts())
    np.testing.assert_allclose(first, found.features[: len(first)], rtol=1e-4, atol=1e-5)
    assert first.shape == second.shape and np.abs(first - second).max() > 1e-3


def test_implants_of_training_patients_alone_take_the_place_of_painted_lesions(
    trained: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    head = phantom_case(3, phantom(3))
    held_out, trains = 49, 50
    loaders = {
        str(number): [partial(replace, head, patient=str(number))] for number in (held_out, trains)
    }
    known = DataSet("Two", "", "", loaders, dict.fromkeys(loaders, 0.0))
    split = Split((str(trains),), (), (str(held_out),))
    cohort = Cohort(Data(kind="physionet", root=tmp_path), known, split)
    monkeypatch.setattr(heads, "cohorts", lambda *_: [cohort])
    monkeypatch.setattr(heads, "stripper", lambda _: lambda hu: (hu > 0).astype(np.float32))
    stage = trained.named("all").model_copy(update={"phantoms": 0.5, "implants": 0.4})
    real, bled, phantoms = stages.task(trained.model_copy(update={"implants": 2}), stage).sources()
    assert (real.share, bled.share, phantoms.share) == pytest.approx((0.3, 0.2, 0.5))
    assert not any(each.painted for each in (real, bled, phantoms))
    assert set(bled.slices.patient) == {held_out, trains}
    assert set(bled.slices.patient[bled.rows]) == {trains}
    assert len(bled.slices.hu) == 2 * len(real.slices.hu), "two of each head"
    assert bled.slices.mask.any() and not real.slices.mask.any()


def test_a_stage_is_watched_on_its_tuning_patients(
    trained: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    head = phantom_case(3, phantom(3, subtypes=("subdural",)))
    loaders = {name: [partial(replace, head, patient=name)] for name in ("49", "50")}
    known = DataSet("Two", "", "", loaders, dict.fromkeys(loaders, 1.0))
    cohort = Cohort(Data(kind="physionet", root=tmp_path), known, Split(("49",), ("50",), ()))
    monkeypatch.setattr(heads, "cohorts", lambda *_: [cohort])
    monkeypatch.setattr(heads, "stripper", lambda _: lambda hu: (hu > 0).astype(np.float32))
    patients = trained.model_copy(update={"runs": tmp_path})
    stage = trained.named("all").model_copy(update={"phantoms": 0.5, "name": "watched", "steps": 2})
    watched = stages.task(patients, stage).held_out
    (source,) = watched.sources
    assert set(source.slices.patient[source.rows]) == {50} and not source.painted
    train.fit(patients, stage)
    with (tmp_path / "watched" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [np.isfinite(float(row["held_out"])) for row in rows] == [False, True]
    assert (tmp_path / "watched" / "log.png").read_bytes().startswith(b"\x89PNG")
    alone = stage.model_copy(update={"phantoms": 1.0})
    assert stages.task(patients, alone).held_out is None


def test_the_weight_model_learns_from_phantoms_that_its_base_networks_did_not_see(
    trained: Recipe,
) -> None:
    weighing = trained.named("weights")
    seen = {
        int(seed)
        for base in weighing.bases
        for source in stages.task(trained, trained.named(base)).sources()
        for seed in source.slices.patient
    }
    (source,) = stages.task(trained, weighing).sources()
    assert seen == {1000, 1001, 1002} and set(source.slices.patient) == {1003, 1004}


def test_a_split_by_image_tests_on_patients_that_it_learnt_from(tmp_path: Path) -> None:
    found = recipe.read(SMALL.with_name("transfer.toml"))
    patient = np.repeat(np.arange(50, 100, dtype=np.int32), 20)
    names = [str(number) for number in range(50, 100)]
    known = DataSet("Fifty", "", "", dict.fromkeys(names, ()), dict.fromkeys(names, 0.0))
    split = Split(tuple(names[:40]), (), tuple(names[40:]))
    cohort = Cohort(Data(kind="physionet", root=tmp_path), known, split)
    numbers = {name: int(name) for name in names}
    prepared = Prepared(cohort, SimpleNamespace(patient=patient), numbers)

    def parts(name: str) -> list[np.ndarray]:
        task = stages.task(found, found.named(name))
        return [task.rows(prepared, part) for part in ("train", "tune", "test")]

    by_image = parts("resnet18-by-image")
    assert [part.sum() for part in by_image] == [800, 100, 100]
    assert (np.sum(by_image, axis=0) == 1).all()
    assert set(patient[by_image[2]]) <= set(patient[by_image[0]])
    honest = parts("resnet18-by-patient")
    assert not set(patient[honest[2]]) & set(patient[honest[0]])


def test_a_run_says_what_it_depends_on(trained: Recipe) -> None:
    run = json.loads((trained.runs / "all" / "run.json").read_text())
    assert run["seed"] == trained.seed and run["versions"]["torch"] == version("torch")
    assert run["data_sha256"] is None, "it learns from phantoms alone"
    assert run["stage"]["steps"] == 8 and run["processes"] == 1


def test_a_stage_whose_base_is_not_trained_says_which(small: Path, tmp_path: Path) -> None:
    found = recipe.read(small).model_copy(update={"runs": tmp_path})
    with pytest.raises(recipe.BadRecipe, match="'all' first"):
        train.fit(found, found.named("subtypes"))


def test_the_small_recipe_becomes_a_bundle_that_reads(
    trained: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    pair = demo_pair()  # drawn once, for the golden output as well
    cases = [phantom_case(seed, drawn) for seed, drawn in enumerate(pair)]
    monkeypatch.setattr("training.bundles.export.demo_pair", lambda: pair)
    monkeypatch.setattr("training.bundles.export.phantom_cases", lambda *_: iter(cases))
    monkeypatch.setattr("training.bundles.card.SHOWN", 0)
    path = small_recipe(tmp_path)
    path.write_text(path.read_text().replace(str(tmp_path / "runs"), str(trained.runs)))
    export(path, tmp_path / "bundle", "0.0.1")
    metadata = json.loads((tmp_path / "bundle" / METADATA).read_text())
    assert metadata["name"] == "small" and metadata["data_source"] == "phantoms"
    assert str(tmp_path) not in json.dumps(metadata["recipe"]["data"])
    assert metadata["measured"]["held-out phantoms"]["bleeding"] == 1
    assert metadata["networks"]["slices"] == {"rows": 64, "columns": 64, "networks": 1}
    assert metadata["sources"]["slices"] == ["phantoms"]
    card = (tmp_path / "bundle" / CARD).read_text()
    assert "sees the middle 64 x 64" in card and "The network of slices (recipe" in card
    detector = load_detector(tmp_path / "bundle", "torch")
    assert detector.predict_slices is not None
    assert detector.settings.slope >= 0 and detector.settings.slices_slope >= 0
    found = detector.detect(pair[0].volume)
    assert 0 <= found.probability <= 1
    written = write_onnx(tmp_path / "bundle", tmp_path / "onnx")
    parts = {"skullstrip", "ensemble", "slices"} | metadata["networks"].keys() & {"study"}
    assert {path.stem for path in written} == parts
