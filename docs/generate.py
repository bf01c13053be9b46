"""Writes the parts of the documentation that the code knows better: `python docs/generate.py`.

A page holds them between `<!-- generated: KIND ARGUMENT -->` and `<!-- end -->`; everything else on it is written by
hand. A test fails while a page is stale.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import msgspec

from remuda import config, errors, hookspecs, output, wire
from remuda.cli import make_cli
from remuda.plugins import Plugins
from remuda.wire.options import ALIASES

__all__ = ["PAGES", "hook_names", "render"]

ROOT = Path(__file__).resolve().parent
PAGES = (ROOT.parent / "README.md", *sorted(ROOT.rglob("*.md")))

_PART = re.compile(r"(<!-- generated: (\S+)(?: (\S+))? -->\n).*?(<!-- end -->)", re.DOTALL)
_WIDTH = 90


def render(text: str) -> str:
    """A page with its generated parts made anew."""
    return _PART.sub(lambda part: part[1] + _KINDS[part[2]](part[3] or "").strip() + "\n" + part[4], text)


def hook_names() -> list[str]:
    """Every hook, in the order in which `remuda.hookspecs` has them."""
    return [name for name in vars(hookspecs.HookSpecs) if name.startswith("remuda_")]


def options(_: str) -> str:
    """A table of `remuda.wire.RULES`."""
    defaults = wire.Options()
    also = {proper: alias for alias, proper in ALIASES.items()}
    rows: list[tuple[str, ...]] = []
    for rule in wire.RULES:
        default = getattr(defaults, rule.name)
        shown = "none" if default == () else "the engine's" if default is None else f"`{_json(default)}`"
        name = f"`{rule.name}`" + (f", `{also[rule.name]}`" if rule.name in also else "")
        rows.append((name, rule.kind, shown, _range(rule), rule.acts, rule.meaning))
    return _table(("Option", "Type", "Default", "Range", "Acts", "Meaning"), rows)


def settings(name: str) -> str:
    """A table of the keys of one Struct of `remuda.config`."""
    struct = getattr(config, name)
    notes = _field_notes(sys.modules[struct.__module__], name)
    written = {field.name: (field, note) for field, note in zip(msgspec.structs.fields(struct), notes, strict=True)}
    rows: list[tuple[str, ...]] = []
    for field, (annotation, note) in written.values():
        rows.append((f"`{field.name}`", f"`{annotation}`", _default(field), note))
    return _table(("Key", "Type", "Default", "Meaning"), rows)


def hook(name: str) -> str:
    """The signature of one hook, and what its declaration says."""
    [function] = _definitions(hookspecs, "HookSpecs", name)
    function.args.args = [argument for argument in function.args.args if argument.arg != "self"]
    first = any("firstresult" in ast.unparse(decorator) for decorator in function.decorator_list)
    text = ast.get_docstring(function) or ""
    function.body, function.decorator_list = [ast.Expr(ast.Constant(...))], []
    signature = ast.unparse(function).replace(":\n    ...", ": ...")
    lines = ["```python", signature, "```", "", _plain(text)]
    if first:
        lines += ["", "The first implementation that returns something decides; those after it are not called."]
    return "\n".join(lines)


def kind(name: str) -> str:
    """The source of one class that hooks speak of."""
    found = getattr(hookspecs, name, None) or getattr(output, name)
    return f"```python\n{inspect.getsource(found).rstrip()}\n```"


def error_table(_: str) -> str:
    """The tree of `remuda.errors`, flat."""
    drawn = re.findall(r"^ {4}[│├└─ ]*(\w+) +(\d{3}) *(.*)$", errors.__doc__ or "", re.MULTILINE)
    rows: list[tuple[str, ...]] = []
    for name, _status, meaning in drawn:
        error = getattr(errors, name)
        base = error.__bases__[0].__name__
        rows.append((f"`{name}`", f"`{base}`", str(error.status), meaning or _plain(vars(error).get("__doc__") or "")))
    return _table(("Error", "Is a", "Status", "Meaning"), rows)


def command(name: str) -> str:
    """What `remuda NAME --help` prints."""
    cli = make_cli(Plugins)
    top = click.Context(cli, info_name="remuda", terminal_width=_WIDTH, help_option_names=["-h", "--help"])
    if not name:
        return f"```text\n{cli.get_help(top)}\n```"
    found = cli.get_command(top, name)
    assert found is not None, name
    page = found.get_help(click.Context(found, info_name=name, parent=top, terminal_width=_WIDTH))
    return f"```text\n{page}\n```"


_KINDS: dict[str, Callable[[str], str]] = {
    "command": command,
    "errors": error_table,
    "hook": hook,
    "options": options,
    "settings": settings,
    "type": kind,
}


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _range(rule: wire.OptionRule) -> str:
    if rule.kind == "boolean":
        return "true, false"
    if rule.kind == "strings":
        return f"up to {rule.high:.0f}"
    if rule.high >= 2**31 - 1:
        exponent = round(rule.high).bit_length()
        low = f"-2^{exponent}" if rule.low < -(2**31) else f"{rule.low:.0f}"
        return f"{low} to 2^{exponent} - 1"
    return f"{rule.low:g} to {rule.high:g}"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or value in ((), {}):
        return "none"
    return "see below" if isinstance(value, msgspec.Struct) else f"`{_json(value)}`"


def _field_notes(module: ModuleType, name: str) -> Iterator[tuple[str, str]]:
    """`(annotation, docstring)` of every field of a class; Python keeps neither as it was written."""
    [struct] = [node for node in _tree(module).body if isinstance(node, ast.ClassDef) and node.name == name]
    for node, after in zip(struct.body, [*struct.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            note = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            yield ast.unparse(node.annotation), _plain(str(note))


def _definitions(module: ModuleType, owner: str, name: str) -> list[ast.FunctionDef]:
    [struct] = [node for node in _tree(module).body if isinstance(node, ast.ClassDef) and node.name == owner]
    return [node for node in struct.body if isinstance(node, ast.FunctionDef) and node.name == name]


def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def _plain(text: str) -> str:
    """A docstring as one paragraph."""
    return " ".join(inspect.cleandoc(text).split())


def main() -> None:
    """Write every page anew, and say which changed."""
    for page in PAGES:
        text = page.read_text("utf-8")
        fresh = render(text)
        if fresh != text:
            page.write_text(fresh, "utf-8")
            sys.stdout.write(f"{page.relative_to(ROOT.parent)}\n")


if __name__ == "__main__":
    main()
