"""Every public module says in `__all__` what it offers, and offers what it says.

Read from the source and not by importing: some modules need an engine that may not be installed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOTS = ("core/", "plugins/", "backends/")


def test_public_modules_declare_the_names_they_define(project: Path, carried: list[str]) -> None:
    modules = [name for name in carried if name.endswith(".py") and name.startswith(ROOTS) and _is_public(name)]
    assert modules
    complaints = [
        f"{name}: {complaint}"
        for name in modules
        for complaint in _complaints(ast.parse((project / name).read_text("utf-8")))
    ]
    assert not complaints, "\n" + "\n".join(complaints)


def _is_public(name: str) -> bool:
    module = name.removesuffix(".py").removesuffix("/__init__")
    return not any(part.startswith("_") for part in module.split("/"))


def _complaints(module: ast.Module) -> Iterator[str]:
    bound = set(_bound(module.body))
    if not bound:
        return  # nothing but a docstring: nothing to declare
    if "*" in bound:
        yield "imports with a star: which names there are cannot be read"
    if "__all__" not in bound:
        yield "no __all__"
        return
    declared = [
        node.value for node in module.body if _assigns_all(node) and isinstance(node, ast.Assign | ast.AnnAssign)
    ]
    if len(declared) != 1 or (names := _texts(declared[0])) is None:
        yield "__all__ is not one list or tuple of names, written out at the top level"
        return
    for name in names:
        if name not in bound:
            yield f"__all__ names {name!r}, which is not there"
    if len(set(names)) != len(names):
        yield "__all__ names something twice"


def _assigns_all(node: ast.stmt) -> bool:
    return "__all__" in _bound([node])


def _texts(value: ast.expr | None) -> list[str] | None:
    if not isinstance(value, ast.List | ast.Tuple):
        return None
    texts = [each.value for each in value.elts if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return texts if len(texts) == len(value.elts) else None


def _bound(statements: list[ast.stmt]) -> Iterator[str]:
    """The names that running these statements at the top level of a module binds."""
    for node in statements:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.ImportFrom(module="__future__"):
                pass
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in aliases)
            case _:
                yield from _targets(node)
                for inner in ("body", "orelse", "finalbody"):
                    yield from _bound(getattr(node, inner, []))
                for handler in getattr(node, "handlers", []):
                    yield from _bound(handler.body)


def _targets(node: ast.stmt) -> Iterator[str]:
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    for target in targets:
        if target is not None:
            yield from (
                each.id for each in ast.walk(target) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            )
