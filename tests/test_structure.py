"""The house: imports point downwards only, between the folders and within them, and help needs no heavy ones."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "rnnbptt"
FLOORS = ("cli", "report", "study", "training", "inference", "bptt", "model", "truncation", "text", "storage", "errors")
ABOVE = {"__init__", "__main__", "notebook"}  # they may import whatever they offer


def imports(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, in functions too, as "bptt.tape"."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "rnnbptt":
            module = node.module.removeprefix("rnnbptt").removeprefix(".")
            for name in node.names:
                inner = PACKAGE / module.replace(".", "/") / f"{name.name}.py"
                yield ".".join(filter(None, (module, name.name if inner.exists() else "")))


def graph() -> dict[str, set[str]]:
    """What each module imports, but for those above all folders."""
    modules = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    return {name: set(imports(path)) for name, path in modules.items() if not name.endswith("__init__")}


def test_folders_import_only_from_folders_below() -> None:
    for name, imported in graph().items():
        floor = name.split(".")[0]
        if floor in ABOVE or floor == "version":
            continue
        for other in imported:
            below = other.split(".")[0]
            assert below == "version" or FLOORS.index(below) >= FLOORS.index(floor), f"{name} imports {other}"


def test_every_folder_has_a_floor() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == {*FLOORS} - {"errors"}


def test_there_are_no_circles() -> None:
    order = list(TopologicalSorter(graph()).static_order())
    assert order.index("errors") < order.index("bptt.network") < order.index("cli.app")


def test_the_files_that_make_folders_are_empty() -> None:
    assert all(not path.read_bytes() for path in PACKAGE.rglob("*/__init__.py") if path.parent != PACKAGE)
