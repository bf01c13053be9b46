"""Only one module makes paths of digests: what a client or a registry calls a blob can get into no other path."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LAYOUT = "core/remuda/model/store/layout.py"
JOINS = {"Path", "PurePath", "joinpath", "join", "with_name", "glob", "rglob"}


def _faults(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines where a path gets a part `blobs`, or a text that is no docstring begins as a blob's name does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts: list[ast.expr] = [node.left, node.right]
        elif isinstance(node, ast.Call) and _called(node.func) in JOINS:
            parts = node.args
        else:
            parts = []
        if any(_mentions(part, "blobs") for part in parts):
            yield node.lineno, "joins a path with blobs"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("sha256-"):
            yield node.lineno, "makes a blob's name"


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _mentions(part: ast.expr, folder: str) -> bool:
    texts = part.values if isinstance(part, ast.JoinedStr) else [part]
    return any(
        isinstance(text, ast.Constant) and isinstance(text.value, str) and folder in text.value.split("/")
        for text in texts
    )


def test_only_the_layout_of_the_store_makes_paths_of_blobs(project: Path, carried: list[str]) -> None:
    sources = [
        name
        for name in carried
        if name.startswith(("core/", "plugins/", "backends/")) and name.endswith(".py") and name != LAYOUT
    ]
    assert LAYOUT in carried
    assert len(sources) > 50
    found = [
        f"{name}:{line}: {fault}"
        for name in sources
        for line, fault in _faults(ast.parse((project / name).read_text("utf-8")))
    ]
    assert not found, "\n" + "\n".join(found)


def test_the_layout_itself_would_be_found(project: Path) -> None:
    assert {fault for _, fault in _faults(ast.parse((project / LAYOUT).read_text("utf-8")))} == {
        "joins a path with blobs",
        "makes a blob's name",
    }


@pytest.mark.parametrize(
    "line",
    [
        'root / "blobs" / name',
        'root / f"blobs/{name}"',
        'os.path.join(root, "blobs", name)',
        'Path(root, "models/blobs")',
        'root.joinpath("blobs")',
        'f"sha256-{digest}"',
        '"sha256-" + digest',
        'path.with_name("sha256-%s" % digest)',
    ],
)
def test_ways_to_make_such_a_path_are_found(line: str) -> None:
    assert list(_faults(ast.parse(line)))


@pytest.mark.parametrize(
    "line", ['f"/v2/{name}/blobs/{digest}"', '@route("/api/blobs/<digest>")\ndef f(): ...', "'sha256:'"]
)
def test_urls_are_no_paths(line: str) -> None:
    assert not list(_faults(ast.parse(line)))
