"""Nothing imports upwards, not even inside a function, and no modules import each other in a circle."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FLOORS = (
    ("scicevpr.errors", "scicevpr.progress"),
    ("scicevpr.config", "scicevpr.losses"),
    ("scicevpr.files",),
    ("scicevpr.models", "scicevpr.datasets"),
    ("scicevpr.descriptors", "scicevpr.retrieval"),
    ("scicevpr.local_features",),
    ("scicevpr.hub", "scicevpr.evaluation", "scicevpr.explanations"),
    ("scicevpr.figures", "scicevpr.external_models", "scicevpr.packs", "scicevpr.cluster"),
    ("scicevpr.milvus",),
    ("scicevpr.cli",),
    ("scicevpr.__main__",),
    ("training",),
    ("app",),
)
"""From the ground up. A package may import from those below it and from itself, not from those beside or above it."""

FREE = {"scicevpr"}  # the version, and the public names, which are looked up by text when they are first used
PACKAGES = [package for floor in FLOORS for package in floor]


@cache
def _modules() -> dict[str, Path]:
    found = {}
    for top in ("scicevpr", "training", "app"):
        for path in (ROOT / top).rglob("*.py"):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


@cache
def _imports(module: str) -> tuple[tuple[str, int, bool], ...]:
    """(What a module imports of ours, line, whether when it is loaded); what is for type checkers alone is left out."""
    found: list[tuple[str, int, bool]] = []

    def visit(node: ast.AST, at_once: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        names = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{name.name}" for name in node.names]
            names = [name if name in _modules() else node.module for name in inner]
        found.extend((name, node.lineno, at_once) for name in names if name in _modules())
        for child in ast.iter_child_nodes(node):
            visit(child, at_once and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    visit(ast.parse(_modules()[module].read_text(encoding="utf-8")), True)
    return tuple(found)


def _package(module: str) -> str | None:
    return next((name for name in PACKAGES if module == name or module.startswith(f"{name}.")), None)


def test_every_module_has_a_floor():
    assert [module for module in _modules() if _package(module) is None and module not in FREE] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_imported_from_beside_or_above(package):
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    broken = [
        f"{module}, line {line}: {other}"
        for module in _modules()
        if _package(module) == package
        for other, line, _ in _imports(module)
        if other not in FREE and _package(other) != package and floor[_package(other)] >= floor[package]
    ]
    assert broken == []


def test_no_modules_import_each_other_in_a_circle():
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        if module in path:
            return [path[path.index(module) :]]
        if module in done:
            return []
        circles = []
        for other, _, at_once in _imports(module):
            if at_once and other != module:
                circles += walk(other, (*path, module))
        done.add(module)
        return circles

    assert [circle for module in _modules() for circle in walk(module, ())] == []
