"""Each import contract of pyproject.toml sees what it forbids, planted among the real imports."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from shutil import copy

import pytest
from grimp import ImportGraph
from importlinter.adapters.building import GraphBuilder
from importlinter.api import use_cases
from importlinter.application.app_config import settings
from importlinter.configuration import configure

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
    "cryptography": "node/arrive/storage_scp.py",
    "dicomweb_client": "node/arrive/pull.py",
    "highdicom": "node/cases/report.py",
    "jinja2": "node/wording.py",
    "joserfc": "node/web/sign_in.py",
    "markupsafe": "node/wording.py",
    "matplotlib": "node/dicom/write/capture.py",
    "monai": "node/cases/triage.py",
    "nibabel": "models/volume.py",
    "obstore": "node/arrive/spool.py",
    "openvino": "node/cases/detector.py",
    "pyarrow": "node/records.py",
    "pydantic": "node/records.py",
    "pydantic_settings": "node/serve.py",
    "pydicom": "models/preprocess.py",
    "pynetdicom": "node/arrive/storage_scp.py",
    "python_multipart": "node/serve.py",
    "prometheus_client": "node/serve.py",
    "ray": "node/archive/finding/store.py",
    "requests": "node/deliver/loop.py",
    "rich": "node/cases/explain.py",
    "safetensors": "node/cases/manifest.py",
    "simpy": "node/archive/minutes/formulas.py",
    "sqlalchemy": "node/arrive/filing.py",
    "starlette": "node/serve.py",
    "timm": "node/cases/triage.py",
    "torch": "node/cases/triage.py",
    "typer": "node/settings/file.py",
    "uvicorn": "node/serve.py",
}
MODULES = [  # the importing file, what it imports, the contract's name
    ("models/volume.py", "training.recipes.recipe", "node, then training, then models"),
    ("training/recipes/recipe.py", "node.settings", "node, then training, then models"),
    (
        "node/serve.py",
        "training.recipes.recipe",
        "of the node the command line alone knows training",
    ),
    ("node/errors.py", "node.settings", "the node's wings point down"),
    ("node/arrive/spool.py", "node.cases.worker", "the node's wings point down"),
    ("node/dicom/read/header.py", "node.dicom.write.seg", "inside node.dicom"),
    ("node/arrive/spool.py", "node.arrive.filing", "inside node.arrive"),
    ("node/cases/eligibility.py", "node.cases.choice", "inside node.cases"),
    ("node/worklist/schema/tables.py", "node.worklist.studies.views", "inside node.worklist"),
    ("training/recipes/recipe.py", "training.train", "inside training"),
    ("training/batches/augment.py", "training.batches.slices", "inside training.batches"),
    ("training/bundles/parts.py", "training.bundles.export", "inside training.bundles"),
    ("training/metrics/tables.py", "training.metrics.scores", "inside training.metrics"),
    ("training/recipes/data.py", "training.recipes.recipe", "inside training.recipes"),
    ("training/review/readings.py", "training.review.rules", "inside training.review"),
    ("training/stages/task.py", "training.stages.base", "inside training.stages"),
    ("training/unseen/settled.py", "training.unseen.crossing", "inside training.unseen"),
    ("training/phantoms/head.py", "training.phantoms.cases", "inside training.phantoms"),
    ("models/windows.py", "models.detector", "no circles"),
    ("node/serve.py", "node.worklist.schema.tables", "the door of node.worklist is its package"),
    ("node/settings/web.py", "node.settings.file", "inside node.settings"),
    ("node/serve.py", "node.settings.web", "the door of node.settings is its package"),
    ("node/health/metrics.py", "node.health.answers", "inside node.health"),
    ("node/health/watching.py", "node.health.metrics", "inside node.health"),
    ("node/cli/watch_checks.py", "node.cli.doctor", "inside node.cli"),
    ("node/audit/syslog.py", "node.audit.forward", "inside node.audit"),
    ("node/audit/rejections.py", "node.audit.trail", "inside node.audit"),
    ("node/serve.py", "node.audit.syslog", "the door of node.audit is its package"),
    ("node/serve.py", "node.health.metrics", "the door of node.health is its package"),
    ("node/canary/phantom.py", "node.canary.flight", "inside node.canary"),
    ("node/serve.py", "node.canary.judging", "the door of node.canary is its package"),
    ("node/depot/folder.py", "node.depot.remote", "inside node.depot"),
    ("node/serve.py", "node.depot.bucket", "the door of node.depot is its package"),
    ("node/jobs/scheduler.py", "node.jobs.agenda", "inside node.jobs"),
    ("node/serve.py", "node.jobs.agenda", "the door of node.jobs is its package"),
    ("node/archive/finding/words.py", "node.archive.finding.store", "inside node.archive.finding"),
    (
        "node/serve.py",
        "node.archive.finding.words",
        "the door of node.archive.finding is its package",
    ),
    ("node/archive/reading/study.py", "node.archive.reading.stream", "inside node.archive.reading"),
    (
        "node/serve.py",
        "node.archive.reading.orders",
        "the door of node.archive.reading is its package",
    ),
    (
        "node/archive/evidence/found.py",
        "node.archive.evidence.joined",
        "inside node.archive.evidence",
    ),
    (
        "node/serve.py",
        "node.archive.evidence.found",
        "the door of node.archive.evidence is its package",
    ),
    (
        "node/archive/adjudication/decisions.py",
        "node.archive.adjudication.desk",
        "inside node.archive.adjudication",
    ),
    (
        "node/serve.py",
        "node.archive.adjudication.decisions",
        "the door of node.archive.adjudication is its package",
    ),
    (
        "node/archive/acceptance/figures.py",
        "node.archive.acceptance.report",
        "inside node.archive.acceptance",
    ),
    (
        "node/serve.py",
        "node.archive.acceptance.figures",
        "the door of node.archive.acceptance is its package",
    ),
    (
        "node/archive/comparison/sides.py",
        "node.archive.comparison.report",
        "inside node.archive.comparison",
    ),
    (
        "node/serve.py",
        "node.archive.comparison.sides",
        "the door of node.archive.comparison is its package",
    ),
    (
        "node/archive/exporting/chosen.py",
        "node.archive.exporting.images",
        "inside node.archive.exporting",
    ),
    (
        "node/serve.py",
        "node.archive.exporting.truth",
        "the door of node.archive.exporting is its package",
    ),
    ("node/shadow/pair.py", "node.shadow.loop", "inside node.shadow"),
    ("node/serve.py", "node.shadow.reading", "the doors of node.shadow"),
    ("node/watch/agreement.py", "node.watch.rounds", "inside node.watch"),
    ("node/serve.py", "node.watch.agreement", "the door of node.watch is its package"),
    (
        "node/archive/charts/run_length.py",
        "node.archive.charts.cusum",
        "inside node.archive.charts",
    ),
    (
        "node/serve.py",
        "node.archive.charts.cusum",
        "the door of node.archive.charts is its package",
    ),
    (
        "node/archive/minutes/queue.py",
        "node.archive.minutes.formulas",
        "inside node.archive.minutes",
    ),
    (
        "node/serve.py",
        "node.archive.minutes.queue",
        "the door of node.archive.minutes is its package",
    ),
    ("node/serve.py", "node.deliver.loop", "the door of node.deliver is its package"),
    ("node/serve.py", "node.web.app", "the door of node.web is its package"),
    ("node/serve.py", "node.arrive.filing", "the doors of node.arrive"),
    ("node/serve.py", "node.cases.choice", "the doors of node.cases"),
    ("node/cases/report.py", "node.dicom.write.codes", "the doors of node.dicom"),
    ("node/archive/labels/phrases.py", "node.archive.labels.context", "inside node.archive.labels"),
    (
        "node/serve.py",
        "node.archive.labels.table",
        "the door of node.archive.labels is its package",
    ),
]
WINGS = ("arrive", "canary", "cases", "cli", "deliver", "depot", "dicom", "jobs", "web", "worklist")


@pytest.fixture(scope="session")
def whole() -> ImportGraph:
    """What the packages import, as import-linter reads it."""
    return GraphBuilder().build([*PACKAGES], None, True, True)


class Planted:
    """The packages' imports and what a test adds to them: it builds import-linter's graph."""

    def __init__(self, graph: ImportGraph) -> None:
        self.graph = graph

    def build(self, **_: object) -> ImportGraph:
        """Return the graph in place of one that import-linter would build from files."""
        return self.graph

    def add_import(self, module: str, imported: str) -> None:
        """Let a module import something else too: a module of the packages, or a library."""
        if imported in LIBRARIES:
            self.graph.add_module(imported, is_squashed=True)
        assert {module, imported} <= self.graph.modules
        self.graph.add_import(importer=module, imported=imported)

    def add_newcomer(self, package: str) -> str:
        """Let a package hold a module that no contract names."""
        assert package in self.graph.modules
        self.graph.add_module(f"{package}.newcomer")
        return f"{package}.newcomer"


@pytest.fixture
def planted(whole: ImportGraph) -> Iterator[Planted]:
    """The packages as they are; import-linter reads them and what the test plants."""
    planted = Planted(deepcopy(whole))
    settings.configure(GRAPH_BUILDER=planted)
    yield planted
    configure()


def broken(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lint what is planted, and return the names of the contracts that it breaks."""
    kept = use_cases.lint_imports(str(ROOT / "pyproject.toml"), cache_dir=None, is_debug_mode=True)
    names = broken_in(capsys.readouterr().out)
    assert kept == (not names)
    return names


def broken_in(report: str) -> list[str]:
    """Return the names of the contracts that a report of import-linter calls broken."""
    assert "Contracts: " in report, report
    return re.findall(r"^(.+?) BROKEN", report, re.MULTILINE)


def contract_of(library: str) -> str:
    """Return the name of the contract that says who may import a library."""
    (name,) = (
        contract["name"]
        for contract in CONTRACTS
        if library in contract.get("protected_modules", contract.get("forbidden_modules", ()))
    )
    return str(name)


def name_of(module: str) -> str:
    """Return the dotted name of a module's file."""
    return module.removesuffix(".py").replace("/", ".")


Capture = pytest.CaptureFixture[str]


@pytest.mark.usefixtures("planted")
def test_the_packages_as_they_are_break_no_contract(capsys: Capture) -> None:
    assert broken(capsys) == []


@pytest.mark.parametrize(("library", "module"), LIBRARIES.items())
def test_a_library_is_imported_only_where_it_may_be(
    planted: Planted, capsys: Capture, library: str, module: str
) -> None:
    planted.add_import(name_of(module), library)
    assert broken(capsys) == [contract_of(library)]


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
    planted: Planted, capsys: Capture, module: str, imported: str, contract: str
) -> None:
    planted.add_import(name_of(module), imported)
    assert contract in broken(capsys)


@pytest.mark.parametrize("wing", WINGS)
def test_a_new_module_of_a_wing_is_covered_without_being_listed(
    planted: Planted, capsys: Capture, wing: str
) -> None:
    planted.add_newcomer(f"node.{wing}")
    assert broken(capsys) == [f"inside node.{wing}"]


def test_a_new_module_beside_the_wings_is_covered_without_being_listed(
    planted: Planted, capsys: Capture
) -> None:
    planted.add_newcomer("node")
    assert broken(capsys) == ["the node's wings point down"]


def test_a_new_module_of_a_wing_is_not_a_door(planted: Planted, capsys: Capture) -> None:
    planted.add_import("node.cases.report", planted.add_newcomer("node.dicom.write"))
    assert broken(capsys) == ["the doors of node.dicom"]


def test_late_imports_in_files_break_every_contract(tmp_path: Path) -> None:
    """The command that CI runs, on files: all that is planted above, inside functions."""
    copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        for module in (ROOT / package).rglob("*.py"):
            (tmp_path / module.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
            copy(module, tmp_path / module.relative_to(ROOT))
    assert lint(tmp_path) == []
    late = [(module, library) for library, module in LIBRARIES.items()]
    for module, imported in [*late, *(each[:2] for each in MODULES)]:
        with (tmp_path / module).open("a") as file:
            file.write(f"\n\ndef added() -> None:\n    import {imported}\n")
    for wing in WINGS:
        (tmp_path / "node" / wing / "newcomer.py").write_text('"""A module that is new."""\n')
    assert lint(tmp_path) == [contract["name"] for contract in CONTRACTS]


def lint(folder: Path) -> list[str]:
    """Lint the packages in a folder, and return the names of the contracts that they break."""
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    names = broken_in(run.stdout)
    assert run.returncode == (1 if names else 0)
    return names


def test_every_contract_is_tried() -> None:
    tried = {contract_of(library) for library in LIBRARIES} | {name for _, _, name in MODULES}
    tried |= {f"inside node.{wing}" for wing in WINGS}
    assert {contract["name"] for contract in CONTRACTS} == tried
