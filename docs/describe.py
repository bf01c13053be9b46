"""What the Python reference says of a name, read from the source: its signature, its docstring, its fields.

The source is parsed and never imported, so nothing that a module needs has to be installed, and everything is shown as
somebody wrote it: annotations, defaults, and the texts under fields, which Python itself does not keep.

    sections("remuda", ["Backend", "LoadWish"])   # Markdown, a heading for each name
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from msgspec import Struct

__all__ = ["Found", "fields", "find", "plain", "public", "sections", "table"]

SOURCES = Path(__file__).resolve().parents[1] / "core"

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Assign | ast.AnnAssign


class Found(Struct, frozen=True):
    """Where a name is defined, whatever module offers it."""

    module: str
    node: Definition
    text: str
    """The docstring, as Markdown; empty if there is none."""


def public(module: str) -> list[str]:
    """`__all__` of a module."""
    found = _defined(module)["__all__"].node
    assert isinstance(found, ast.Assign)
    return ast.literal_eval(found.value)


def find(module: str, name: str) -> Found:
    """The definition of `name`, through as many modules as pass it on. Raises `KeyError`."""
    if (found := _defined(module).get(name)) is not None:
        return found
    return find(_passed_on(module)[name], name)


def sections(module: str, names: Iterable[str]) -> str:
    """A section for each name that `module` offers."""
    return "\n\n".join(f"### {name}\n\n{_section(find(module, name))}".rstrip() for name in names)


def fields(found: Found) -> Iterator[tuple[str, str, str, str]]:
    """`(name, annotation, default, text)` of the public fields of a class; of a Struct's some are "required"."""
    assert isinstance(found.node, ast.ClassDef)
    bare = "required" if "Struct" in map(ast.unparse, found.node.bases) else ""
    for node, text in _noted(found.node.body):
        if isinstance(node, ast.AnnAssign) and not (name := ast.unparse(node.target)).startswith("_"):
            yield name, ast.unparse(node.annotation), bare if node.value is None else _default(node.value), plain(text)


def plain(text: str) -> str:
    """A docstring as one paragraph."""
    return " ".join(inspect.cleandoc(text).split())


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _section(found: Found) -> str:
    where = f"Source: `{_path(found.module).relative_to(SOURCES.parent)}`"
    if not isinstance(found.node, ast.ClassDef):
        return "\n\n".join(part for part in (_code(_signature(found)), found.text, where) if part)
    parts = [_code(_signature(found)), found.text]
    if rows := [(f"`{name}`", f"`{kind}`", _quoted(default), note) for name, kind, default, note in fields(found)]:
        parts.append(table(("Field", "Type", "Default", "Meaning"), rows))
    for method in _methods(found.node):
        parts += [_code(_signature(Found(found.module, method, ""))), inspect.cleandoc(ast.get_docstring(method) or "")]
    return "\n\n".join(part for part in (*parts, where) if part)


def _methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Those that say something of their own: what only keeps a promise of a base is told there."""
    protocol = "Protocol" in map(ast.unparse, node.bases)
    for each in node.body:
        if not isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)) or each.name.startswith("_") > (
            each.name in {"__init__", "__call__"}
        ):
            continue
        abstract = any("abstractmethod" in ast.unparse(decorator) for decorator in each.decorator_list)
        if ast.get_docstring(each) or abstract or protocol or (each.name == "__init__" and len(each.args.args) > 1):
            yield each


def _signature(found: Found) -> str:
    """The lines of a definition before its body, as they are written."""
    node, lines = found.node, _lines(found.module)
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        return "\n".join(lines[first - 1 : node.end_lineno])
    body = node.body[0]
    if body.lineno > node.lineno:
        text = "\n".join(lines[first - 1 : body.lineno - 1])
    else:
        text = "\n".join([*lines[first - 1 : node.lineno - 1], lines[node.lineno - 1][: body.col_offset]])
    text = textwrap.dedent(text).strip()
    return text if isinstance(node, ast.ClassDef) else f"{text} ..."


def _default(value: ast.expr) -> str:
    """As a reader would write it, also where a function makes it."""
    made = [each.value for each in getattr(value, "keywords", []) if each.arg == "default_factory"]
    if not made:
        return ast.unparse(value)
    if isinstance(made[0], ast.Lambda):
        return ast.unparse(made[0].body)
    name = ast.unparse(made[0]).partition("[")[0]
    return {"list": "[]", "dict": "{}", "tuple": "()"}.get(name, f"{name}()")


def _quoted(text: str) -> str:
    return f"`{text}`" if text not in {"", "required"} else text


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _noted(body: Sequence[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Each statement with the text that stands under it."""
    for node, after in zip(body, [*body[1:], None], strict=True):
        noted = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        yield node, str(after.value.value) if noted else ""  # type: ignore[union-attr]


@cache
def _lines(module: str) -> list[str]:
    return _path(module).read_text("utf-8").splitlines()


def _path(module: str) -> Path:
    path = SOURCES / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse("\n".join(_lines(module)))


@cache
def _defined(module: str) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for node, text in _noted(_tree(module).body):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found[node.name] = Found(module, node, ast.get_docstring(node) or "")
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            found[ast.unparse(target)] = Found(module, node, inspect.cleandoc(text))
    return found


@cache
def _passed_on(module: str) -> dict[str, str]:
    """Names that a module imports from another one of Remuda's, and that one's name."""
    package = _path(module).name == "__init__.py"
    names: dict[str, str] = {}
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom):
            up = module.split(".")[: len(module.split(".")) + package - node.level] if node.level else []
            origin = ".".join([*up, *filter(None, [node.module])])
            names |= {alias.asname or alias.name: origin for alias in node.names if origin.startswith("remuda")}
    return names
