"""Writes the parts of the documentation that the code knows better: `python docs/generate.py`.

A page holds them between `<!-- generated: KIND ARGUMENTS -->` and `<!-- end -->`; everything else on it is written by
hand. `docs/llms.txt` is generated whole, from the order of the pages in mkdocs.yml and how each begins. A test fails
while any of it is stale.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import msgspec
import yaml
from describe import fields, find, plain, sections, table

from remuda import config, errors, hookspecs, output, wire
from remuda.cli import make_cli
from remuda.cli.scaffold import parse_plugin_name, project_files
from remuda.plugins import Plugins
from remuda.wire.options import ALIASES

__all__ = ["LLMS", "PAGES", "hook_names", "llms", "nav", "render"]

ROOT = Path(__file__).resolve().parent
PAGES = (ROOT.parent / "README.md", *sorted(ROOT.rglob("*.md")))
LLMS = ROOT / "llms.txt"

_PART = re.compile(r"(<!-- generated: (\S+)(?: ([^\n]+?))? -->\n).*?(<!-- end -->)", re.DOTALL)
_LANGUAGES = {".py": "python", ".toml": "toml", ".md": "markdown", ".json": "json"}
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
    return table(("Option", "Type", "Default", "Range", "Acts", "Meaning"), rows)


def settings(name: str) -> str:
    """A table of the keys of one Struct of `remuda.config`."""
    struct = getattr(config, name)
    written = fields(find(struct.__module__, name))
    rows: list[tuple[str, ...]] = []
    for field, (_, annotation, _, note) in zip(msgspec.structs.fields(struct), written, strict=True):
        rows.append((f"`{field.name}`", f"`{annotation}`", _default(field), note))
    return table(("Key", "Type", "Default", "Meaning"), rows)


def hook(name: str) -> str:
    """The signature of one hook, and what its declaration says."""
    [function] = _definitions(hookspecs, "HookSpecs", name)
    function.args.args = [argument for argument in function.args.args if argument.arg != "self"]
    first = any("firstresult" in ast.unparse(decorator) for decorator in function.decorator_list)
    text = ast.get_docstring(function) or ""
    function.body, function.decorator_list = [ast.Expr(ast.Constant(...))], []
    signature = ast.unparse(function).replace(":\n    ...", ": ...")
    lines = ["```python", signature, "```", "", _blocks(text)]
    if first:
        lines += ["", "The first implementation that returns something decides; those after it are not called."]
    return "\n".join(lines)


def kind(name: str) -> str:
    """The source of one class that hooks speak of."""
    found = getattr(hookspecs, name, None) or getattr(output, name)
    return f"```python\n{inspect.getsource(found).rstrip()}\n```"


def api(arguments: str) -> str:
    """Sections for names of a module: `MODULE NAME ...`."""
    module, *names = arguments.split()
    return sections(module, names)


def source(where: str) -> str:
    """A file of this project, or of a Python file one definition: `PATH` or `PATH:name`, `PATH:Class.method`."""
    name, _, inside = where.partition(":")
    text = (ROOT.parent / name).read_text("utf-8")
    if inside:
        text = _definition(text, inside)
    return _fenced(text, name)


def scaffold(arguments: str) -> str:
    """A file of what `remuda new-plugin NAME --kind KIND` writes: `KIND NAME PATH`."""
    kind, name, path = arguments.split()
    return _fenced(project_files(parse_plugin_name(name), kind)[path], path)


def error_table(_: str) -> str:
    """The tree of `remuda.errors`, flat."""
    drawn = re.findall(r"^ {4}[│├└─ ]*(\w+) +(\d{3}) *(.*)$", errors.__doc__ or "", re.MULTILINE)
    rows: list[tuple[str, ...]] = []
    for name, _status, meaning in drawn:
        error = getattr(errors, name)
        base = error.__bases__[0].__name__
        rows.append((f"`{name}`", f"`{base}`", str(error.status), meaning or plain(vars(error).get("__doc__") or "")))
    return table(("Error", "Is a", "Status", "Meaning"), rows)


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
    "api": api,
    "command": command,
    "errors": error_table,
    "hook": hook,
    "options": options,
    "scaffold": scaffold,
    "settings": settings,
    "source": source,
    "type": kind,
}


def _blocks(text: str) -> str:
    """A docstring with its paragraphs, and the items of its lists, a line each."""
    paragraphs = (re.split(r"^(?=- )", part, flags=re.MULTILINE) for part in inspect.cleandoc(text).split("\n\n"))
    return "\n\n".join("\n".join(plain(item) for item in items if item) for items in paragraphs)


def _fenced(text: str, path: str) -> str:
    """A file as a block, between more backticks than it has itself."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"^`{3,}", text, re.MULTILINE)), default=0))
    return f"{fence}{_LANGUAGES.get(Path(path).suffix, 'text')}\n{text.rstrip()}\n{fence}"


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


def _definition(text: str, path: str) -> str:
    """The lines of one definition in `text`, with what decorates it; `StopIteration` if it is not there."""
    body = ast.parse(text).body
    for name in path.split("."):
        node = next(node for node in body if _defines(node, name))
        body = node.body if isinstance(node, ast.ClassDef) else []
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    return textwrap.dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))


def _defines(node: ast.stmt, name: str) -> bool:
    if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return node.name == name
    return isinstance(node, (ast.Assign, ast.AnnAssign)) and re.match(r"\w+", ast.unparse(node))[0] == name


def _definitions(module: ModuleType, owner: str, name: str) -> list[ast.FunctionDef]:
    [struct] = [node for node in _tree(module).body if isinstance(node, ast.ClassDef) and node.name == owner]
    return [node for node in struct.body if isinstance(node, ast.FunctionDef) and node.name == name]


def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def nav() -> dict[str, list[str]]:
    """The pages of the site in their order, by section; those above all sections by ""."""
    pages: dict[str, list[str]] = {"": []}
    for entry in yaml.safe_load((ROOT.parent / "mkdocs.yml").read_text("utf-8"))["nav"]:
        [(section, within)] = entry.items()
        if isinstance(within, str):
            pages[""].append(within)
        else:
            pages[section] = within
    return pages


def llms() -> str:
    """What `docs/llms.txt` must hold (https://llmstxt.org): every page, and how it begins."""
    [home] = nav()[""]
    title, first = _beginning(home)
    parts = [f"# {title}", f"> {first}"]
    for section, within in nav().items():
        if section:
            parts.append(f"## {section}")
            begun = {page: _beginning(page) for page in within}
            parts.append("\n".join(f"- [{title}]({page}): {first}" for page, (title, first) in begun.items()))
    return "\n\n".join(parts) + "\n"


def _beginning(page: str) -> tuple[str, str]:
    """A page's title, and its first sentence."""
    heading, paragraph = (ROOT / page).read_text("utf-8").split("\n\n", 2)[:2]
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", plain(paragraph))
    return heading.removeprefix("# "), re.split(r"(?<=\.) ", text)[0]


def main() -> None:
    """Write every page anew, and say which changed."""
    for page in PAGES:
        text = page.read_text("utf-8")
        fresh = render(text)
        if fresh != text:
            page.write_text(fresh, "utf-8")
            sys.stdout.write(f"{page.relative_to(ROOT.parent)}\n")
    LLMS.write_text(llms(), "utf-8")


if __name__ == "__main__":
    main()
