"""The rules that the tests themselves keep, read from their source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGES = ("node", "models", "training")
FILES = sorted((ROOT / "tests").rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Each module that is imported, and the name taken from it; "" if it is the module itself."""
    for found in ast.walk(tree):
        match found:
            case ast.Import(names=names):
                yield from ((name.name, "") for name in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from ((module, name.name) for name in names)


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def private_names(tree: ast.AST) -> Iterator[str]:
    """Private names of the three packages: imported, read from a module, or patched in one."""
    modules = set()
    for module, name in imported(tree):
        if module.split(".")[0] in PACKAGES:
            modules |= {name} if name.islower() else set()
            if any(map(private, (*module.split("."), name))):
                yield f"{module}.{name}"
    for found in ast.walk(tree):
        match found:
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in modules:
                if private(name):
                    yield f"{module}.{name}"
            case ast.Call(args=[ast.Name(id=module), ast.Constant(value=str(name)), *_]):
                if module in modules and private(name):
                    yield f"{module}.{name}"


def modules_of_tests(tree: ast.AST) -> Iterator[str]:
    """Test modules that a module imports."""
    for module, name in imported(tree):
        words = [*module.split("."), name]
        if words[0] == "tests" and any(word.startswith("test_") for word in words):
            yield ".".join(words)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_test_takes_a_private_name_or_imports_another_test_module(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert [*private_names(tree), *modules_of_tests(tree)] == []


def test_what_the_rules_forbid_is_seen() -> None:
    tree = ast.parse("""
from models import unet
from models._hidden import shown
from node.worklist.store import Store, _index
from tests.node.test_spine import push
from tests.support import ROOT
unet._relu(), Store._fields
monkeypatch.setattr(unet, "_relu", None)
""")
    assert [*private_names(tree)] == [
        *("models._hidden.shown", "node.worklist.store._index", "unet._relu", "unet._relu")
    ]
    assert [*modules_of_tests(tree)] == ["tests.node.test_spine.push"]
