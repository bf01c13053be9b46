"""A hook that nobody uses or explains is not there for anybody: each is in a plugin of this project and on a page."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import ROOT

SOURCES = ("plugins", "backends", "examples")
GUIDES = ("how-to", "tutorial")


def implemented(tree: ast.AST) -> Iterator[str]:
    """The hooks that a module implements: functions with `hookimpl` among what decorates them."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            marks = (mark.func if isinstance(mark, ast.Call) else mark for mark in node.decorator_list)
            if any(ast.unparse(mark).rpartition(".")[2] == "hookimpl" for mark in marks):
                yield node.name


def sources() -> Iterator[Path]:
    """The plugins that are built in and those that are examples, without their tests."""
    for root in SOURCES:
        for path in sorted((ROOT / root).rglob("*.py")):
            if "tests" not in path.relative_to(ROOT).parts:
                yield path


@pytest.fixture(scope="module")
def used() -> set[str]:
    return {name for path in sources() for name in implemented(ast.parse(path.read_text("utf-8")))}


@pytest.fixture(scope="module")
def guides() -> str:
    pages = [page for folder in GUIDES for page in sorted((ROOT / "docs" / folder).glob("*.md"))]
    return "\n".join(page.read_text("utf-8") for page in pages)


def test_every_hook_is_used_by_a_plugin_of_ours(generate: ModuleType, used: set[str]) -> None:
    assert [name for name in generate.hook_names() if name not in used] == []


def test_every_hook_has_a_guide(generate: ModuleType, guides: str) -> None:
    assert [name for name in generate.hook_names() if f"hooks.md#{name})" not in guides] == []


def test_no_plugin_uses_a_hook_that_is_none(generate: ModuleType, used: set[str]) -> None:
    assert used - set(generate.hook_names()) == set()


def test_only_what_is_marked_is_an_implementation() -> None:
    code = """
@hookimpl
def one(): ...
def two(): ...
class Plugin:
    @remuda.hookimpl(tryfirst=True)
    async def three(self): ...
    @other
    def four(self): ...
"""
    assert list(implemented(ast.parse(code))) == ["one", "three"]
