"""What a recipe learns from is opened, checked and split before the first step."""

import logging
from pathlib import Path

import pytest

from tests.support import ROOT
from training.datasets.physionet import read_split
from training.recipes import cohorts as module
from training.recipes import recipe
from training.recipes.cohorts import check, cohorts
from training.recipes.data import Data, spelled_out
from training.recipes.recipe import BadRecipe, Recipe

STAGE = """
[[stage]]
name = "all"
kind = "base"
steps = 1
batch = 1
rate = 1e-3
"""


def written(folder: Path, data: str, top: str = "", stage: str = STAGE) -> Recipe:
    """A recipe in a folder of its own."""
    folder.mkdir(exist_ok=True)
    path = folder / "recipe.toml"
    path.write_text(f'name = "own"\nseed = 1\nruns = "runs"\n{top}\n{data}\n{stage}')
    return recipe.read(path)


def told(kind: str, root: str, more: str = "") -> str:
    return f'[[data]]\nkind = "{kind}"\nroot = "{root}"\n{more}\n'


@pytest.fixture
def near_east(tmp_path: Path) -> str:
    folder = tmp_path / "near_east"
    folder.mkdir()
    rows = "H1/1.jpg,H1,1,1,\nN1/1.jpg,N1,0,1,\n"
    (folder / "series.csv").write_text(f"file,patient,series_bleeds,order,window\n{rows}")
    return "../near_east"


@pytest.fixture
def slices(tmp_path: Path) -> str:
    folder = tmp_path / "rsna"
    folder.mkdir()
    rows = [f"ID_{n}.jpg,{n % 2},0,0,0,0,{n % 2}" for n in range(200)]
    head = "file,any,epidural,intraparenchymal,intraventricular,subarachnoid,subdural"
    (folder / "slices.csv").write_text("\n".join([head, *rows]) + "\n")
    return "../rsna"


def test_paths_count_from_the_recipe_wherever_it_is_called(
    tmp_path: Path, slices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = written(tmp_path / "own", told("rsna", slices))
    monkeypatch.chdir("/")
    assert found.runs == tmp_path / "own" / "runs"
    (cohort,) = cohorts(found)
    assert cohort.told.root == tmp_path / "rsna"
    assert len(cohort.data_set.patients()) == 200
    assert found.bundle == ROOT / "models" / "bundles" / "ich-ensemble"
    assert found.as_written["runs"] == "runs", "no path of this machine"


def test_without_a_split_patients_fall_into_parts_by_their_names(
    tmp_path: Path, slices: str
) -> None:
    found = written(tmp_path / "own", told("rsna", slices))
    (cohort,) = cohorts(found)
    parts = [cohort.part(found, found.stage[0], part) for part in ("train", "tune", "test")]
    assert sorted(each for part in parts for each in part) == sorted(cohort.data_set.patients())
    assert all(len(part) > 15 for part in parts)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (told("rsna", "../nowhere"), "rsna: no folder .*nowhere"),
        (told("rsna", "."), "stage_2_train.csv"),
        (told("near_east", "."), "series.csv"),
        (told("physionet", "."), "slices.csv"),
        (told("rsna", "../rsna", 'split = "none.toml"'), "none.toml"),
    ],
)
@pytest.mark.usefixtures("slices")
def test_a_path_that_is_not_there_is_said_before_the_first_step(
    tmp_path: Path, data: str, complaint: str
) -> None:
    found = written(tmp_path / "own", data)
    with pytest.raises(BadRecipe, match=complaint):
        check(found, found.stage)
    assert not (tmp_path / "own" / "runs").exists()


def test_training_stops_before_the_first_step_too(tmp_path: Path) -> None:
    from training.train import train

    written(tmp_path / "own", told("rsna", "../nowhere"))
    with pytest.raises(BadRecipe, match="nowhere"):
        train(tmp_path / "own" / "recipe.toml")
    assert not (tmp_path / "own" / "runs").exists()


def test_a_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own" / "images").mkdir(parents=True)
    found = written(tmp_path / "own", told("bhsd", "."))
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(BadRecipe, match=r"bhsd needs nibabel: pip install 'ichnode\[train\]'"):
        check(found, found.stage)


def test_published_weights_must_be_there(tmp_path: Path, slices: str) -> None:
    classifier = (
        STAGE.replace("base", "classifier") + 'backbone = "resnet18"\nimagenet = "no.bin"\n'
    )
    found = written(tmp_path / "own", told("rsna", slices), stage=classifier)
    with pytest.raises(BadRecipe, match=r"'all': no file .*own/no.bin"):
        check(found, found.stage)


def test_data_whose_terms_are_not_stated_judge_alone_unless_nothing_is_shipped(
    tmp_path: Path, near_east: str, slices: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    train, judge = told("near_east", near_east), told("near_east", near_east, 'role = "judge"')
    with pytest.raises(BadRecipe, match="terms not stated.*judge.*shipped = false"):
        cohorts(written(tmp_path / "own", train))
    judged = written(tmp_path / "own", judge + told("rsna", slices))
    check(judged, judged.stage)
    assert "Near East: 2 patients, role judge; terms not stated" in caplog.text
    assert [each.told.kind for each in cohorts(judged, "train")] == ["rsna"]
    (own,) = cohorts(written(tmp_path / "own", train, "shipped = false"))
    assert own.told.role == "train"


def test_weights_that_are_not_to_be_shipped_are_not_exported(
    tmp_path: Path, near_east: str
) -> None:
    from training.bundles.export import export

    written(tmp_path / "own", told("near_east", near_east), "shipped = false")
    with pytest.raises(BadRecipe, match="not exported"):
        export(tmp_path / "own" / "recipe.toml", tmp_path / "bundle", "0.0.1")


def test_who_only_judges_teaches_nothing(tmp_path: Path, near_east: str) -> None:
    with pytest.raises(BadRecipe, match="learns from patients"):
        written(tmp_path / "own", told("near_east", near_east, 'role = "judge"'))


def test_an_adapter_needs_its_mapping_and_no_other_kind_takes_one(tmp_path: Path) -> None:
    for data in (told("adapter", "."), told("rsna", ".", 'mapping = "m.toml"')):
        with pytest.raises(BadRecipe, match="mapping"):
            written(tmp_path / "own", data)


def test_patients_that_are_held_out_are_all_who_test(tmp_path: Path, slices: str) -> None:
    held = STAGE + 'hold_out = ["ID_3", "ID_4"]\n'
    found = written(tmp_path / "own", told("rsna", slices), stage=held)
    (cohort,) = cohorts(found)
    assert set(cohort.part(found, found.stage[0], "test")) == {"ID_3", "ID_4"}
    assert len(cohort.part(found, found.stage[0], "train")) == 198
    assert not cohort.part(found, found.stage[0], "tune")


def test_short_forms_are_spelled_out() -> None:
    stages = [
        {"name": "p", "kind": "base", "phantoms": 1.0},
        {"name": "a", "kind": "base", "start": "p", "steps": 5},
        {"name": "w", "kind": "weights", "bases": ["a", "p"], "names_subtypes": "a"},
    ]
    found = spelled_out({"folds": 2, "each": {"base": {"steps": 3}}, "stage": stages})["stage"]
    assert [each["name"] for each in found] == ["p", "a-0", "w-0", "a-1", "w-1"]
    assert found[0] == {"name": "p", "kind": "base", "phantoms": 1.0, "steps": 3}
    assert found[1]["start"] == "p" and found[1]["steps"] == 5
    assert found[4]["bases"] == ["a-1", "p"] and found[4]["names_subtypes"] == "a-1"
    assert found[4]["fold"] == 1


def test_a_stage_has_a_twin_for_each_site_that_is_left_out() -> None:
    shares = {"a": 0.5, "b": 0.3, "a implanted": 0.2}
    stages = [
        {"name": "first", "kind": "lite", "shares": shares},
        {"name": "second", "kind": "lite", "shares": shares, "mines": "first"},
    ]
    found = spelled_out({"leave_site_out": ["a", "b"], "stage": stages})["stage"]
    assert found[:2] == stages
    twins = {each["name"]: each for each in found[2:]}
    assert list(twins) == [f"{name}-without-{x}" for x in "ab" for name in ("first", "second")]
    assert twins["second-without-a"]["mines"] == "first-without-a"
    assert twins["first-without-a"]["shares"] == {"b": 0.3}
    assert twins["first-without-b"]["shares"] == {"a": 0.5, "a implanted": 0.2}


def test_a_data_set_s_own_split_is_kept(data: Path) -> None:
    split = ROOT / "config" / "recipes" / "physionet-split.toml"
    found = recipe.read(ROOT / "config" / "recipes" / "transfer.toml")
    there = Data(kind="physionet", root=data / "physionet_ct_ich", split=split)
    found = found.model_copy(update={"data": (there,)})
    (cohort,) = cohorts(found)
    assert cohort.part(found, found.stage[0], "test") == tuple(map(str, read_split(split).test))
