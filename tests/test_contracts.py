"""Each import contract of pyproject.toml sees what it forbids, in a copy of the packages."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy

import pytest

from tests.support import ROOT

PACKAGES = ("node", "models", "training")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
LIBRARIES = {  # where its import is forbidden, of all the modules that may not import it
    "PIL": "node/serve.py",
    "alembic": "node/serve.py",
    "apscheduler": "node/cases/worker.py",
    "argon2": "node/web/sign_in.py",
    "authlib": "node/web/sign_in.py",
    "contourpy": "node/cases/report.py",
    "dicomweb_client": "node/arrive/pull.py",
    "highdicom": "node/cases/report.py",
    "jinja2": "node/wording.py",
    "joserfc": "node/web/sign_in.py",
    "matplotlib": "node/dicom/write/capture.py",
    "monai": "node/cases/triage.py",
    "nibabel": "models/volume.py",
    "openvino": "node/cases/detector.py",
    "pydantic": "node/records.py",
    "pydantic_settings": "node/serve.py",
    "pydicom": "models/preprocess.py",
    "pynetdicom": "node/arrive/storage_scp.py",
    "python_multipart": "node/serve.py",
    "prometheus_client": "node/serve.py",
    "requests": "node/deliver/loop.py",
    "rich": "node/cases/explain.py",
    "safetensors": "node/cases/manifest.py",
    "sqlalchemy": "node/arrive/filing.py",
    "starlette": "node/serve.py",
    "torch": "node/cases/triage.py",
    "typer": "node/settings/file.py",
    "uvicorn": "node/serve.py",
}
MODULES = [  # the importing file, what it imports, the contract's name
    ("models/volume.py", "training.recipe", "node, then training, then models"),
    ("training/recipe.py", "node.settings", "node, then training, then models"),
    ("node/serve.py", "training.recipe", "of the node the command line alone knows training"),
    ("node/errors.py", "node.settings", "the node's wings point down"),
    ("node/arrive/spool.py", "node.cases.worker", "the node's wings point down"),
    ("node/dicom/read/header.py", "node.dicom.write.seg", "inside node.dicom"),
    ("node/arrive/spool.py", "node.arrive.filing", "inside node.arrive"),
    ("node/cases/eligibility.py", "node.cases.choice", "inside node.cases"),
    ("node/worklist/tables.py", "node.worklist.views", "inside node.worklist"),
    ("training/recipe.py", "training.train", "inside training"),
    ("training/stages/task.py", "training.stages.base", "inside training.stages"),
    ("training/phantoms/head.py", "training.phantoms.cases", "inside training.phantoms"),
    ("models/windows.py", "models.detector", "no circles"),
    ("node/serve.py", "node.worklist.tables", "the door of node.worklist is its package"),
    ("node/settings/web.py", "node.settings.file", "inside node.settings"),
    ("node/serve.py", "node.settings.web", "the door of node.settings is its package"),
    ("node/health/metrics.py", "node.health.answers", "inside node.health"),
    ("node/serve.py", "node.health.metrics", "the door of node.health is its package"),
    ("node/serve.py", "node.deliver.loop", "the door of node.deliver is its package"),
    ("node/serve.py", "node.web.app", "the door of node.web is its package"),
    ("node/serve.py", "node.arrive.filing", "the doors of node.arrive"),
    ("node/serve.py", "node.cases.choice", "the doors of node.cases"),
    ("node/cases/report.py", "node.dicom.write.codes", "the doors of node.dicom"),
]
WINGS = ["arrive", "cases", "cli", "deliver", "dicom", "web", "worklist"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages' modules and of their contracts."""
    root = tmp_path_factory.mktemp("house")
    copy(ROOT / "pyproject.toml", root)
    for package in PACKAGES:
        for module in (ROOT / package).rglob("*.py"):
            (root / module.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            copy(module, root / module.relative_to(ROOT))
    return root


@contextmanager
def importing(module: Path, imported: str) -> Iterator[None]:
    """Let a module import something else too, as late imports do: inside a function."""
    text = module.read_text()
    module.write_text(f"{text}\n\ndef added() -> None:\n    import {imported}\n")
    try:
        yield
    finally:
        module.write_text(text)


@contextmanager
def newcomer(folder: Path) -> Iterator[None]:
    """Let a folder hold a module that no contract names."""
    (folder / "newcomer.py").write_text('"""A module that is new."""\n')
    try:
        yield
    finally:
        (folder / "newcomer.py").unlink()


def broken(house: Path) -> list[str]:
    """Lint the copy, and return the names of the contracts that it breaks."""
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts: " in run.stdout, run.stdout + run.stderr
    names = re.findall(r"^(.+?) BROKEN", run.stdout, re.MULTILINE)
    assert run.returncode == (1 if names else 0)
    return names


def contract_of(library: str) -> str:
    """Return the name of the contract that says who may import a library."""
    (name,) = (
        contract["name"]
        for contract in CONTRACTS
        if library in contract.get("protected_modules", contract.get("forbidden_modules", ()))
    )
    return str(name)


def test_the_packages_as_they_are_break_no_contract(house: Path) -> None:
    assert broken(house) == []


@pytest.mark.parametrize(("library", "module"), LIBRARIES.items())
def test_a_library_is_imported_only_where_it_may_be(house: Path, library: str, module: str) -> None:
    with importing(house / module, library):
        assert broken(house) == [contract_of(library)]


def test_every_protected_library_is_tried() -> None:
    named = {
        module
        for contract in CONTRACTS
        for key in ("protected_modules", "forbidden_modules")
        for module in contract.get(key, ())
        if module.split(".")[0] not in PACKAGES
    }
    assert named == set(LIBRARIES)


@pytest.mark.parametrize(("module", "imported", "contract"), MODULES)
def test_a_module_is_imported_only_from_above_and_through_a_door(
    house: Path, module: str, imported: str, contract: str
) -> None:
    with importing(house / module, imported):
        assert contract in broken(house)


@pytest.mark.parametrize("wing", WINGS)
def test_a_new_module_of_a_wing_is_covered_without_being_listed(house: Path, wing: str) -> None:
    with newcomer(house / "node" / wing):
        assert broken(house) == [f"inside node.{wing}"]


def test_a_new_module_beside_the_wings_is_covered_without_being_listed(house: Path) -> None:
    with newcomer(house / "node"):
        assert broken(house) == ["the node's wings point down"]


def test_a_new_module_of_a_wing_is_not_a_door(house: Path) -> None:
    with (
        newcomer(house / "node/dicom/write"),
        importing(house / "node/cases/report.py", "node.dicom.write.newcomer"),
    ):
        assert broken(house) == ["the doors of node.dicom"]


def test_every_contract_is_tried() -> None:
    tried = {contract_of(library) for library in LIBRARIES} | {name for _, _, name in MODULES}
    tried |= {f"inside node.{wing}" for wing in WINGS}
    assert {contract["name"] for contract in CONTRACTS} == tried
