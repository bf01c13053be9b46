"""The reference says what the code says."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from remuda import wire
from remuda.cli import make_cli
from remuda.config import VARIABLES, load_config
from remuda.config.reload import LIVE
from remuda.plugins import Plugins

from .conftest import ROOT, Block, blocks, pages

REFERENCE = ROOT / "docs" / "reference"
SETTINGS = {"ServerConfig", "LimitsConfig", "ModelConfig", "MessageConfig", "RouteConfig"}
SETTINGS |= {"StoreConfig", "RegistryConfig", "ResidencyConfig", "ResidencyRule"}
SETTINGS |= {"UpstreamConfig", "RemoteConfig", "PluginsConfig"}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_is_stale(page: Path, generate: ModuleType) -> None:
    text = page.read_text("utf-8")
    assert generate.render(text) == text, "run `python docs/generate.py`"


def test_a_changed_table_would_be_noticed(generate: ModuleType) -> None:
    text = (REFERENCE / "options.md").read_text("utf-8")
    assert generate.render(text.replace("| `top_k` | integer | `40` |", "| `top_k` | integer | `41` |")) == text


@pytest.mark.parametrize(
    ("page", "kind", "arguments"),
    [
        ("options", "options", {""}),
        ("errors", "errors", {""}),
        ("configuration", "settings", SETTINGS),
        ("cli", "command", {"", *make_cli(Plugins).commands}),
    ],
)
def test_the_reference_has_every_part(page: str, kind: str, arguments: set[str]) -> None:
    text = (REFERENCE / f"{page}.md").read_text("utf-8")
    assert {match or "" for match in re.findall(rf"<!-- generated: {kind}(?: (\S+))? -->", text)} == arguments


def test_every_hook_has_a_section_with_its_signature(generate: ModuleType) -> None:
    text = (REFERENCE / "hooks.md").read_text("utf-8")
    for name in generate.hook_names():
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert generate.hook(name) in section, f"docs/reference/hooks.md lacks a section for {name}"
        assert f"def {name}(" in generate.hook(name)


def test_every_hook_has_a_test_named_after_it(generate: ModuleType) -> None:
    tree = ast.parse((ROOT / "tests" / "plugins" / "test_hooks.py").read_text("utf-8"))
    tests = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    assert {f"test_{name}" for name in generate.hook_names()} <= tests


def test_the_examples_of_all_hooks_are_one_good_plugin(generate: ModuleType, tmp_path: Path) -> None:
    module = ModuleType("remuda_steam_plugin")
    module.__file__ = str(tmp_path / "plugin.py")
    sys.modules[module.__name__] = module
    code = "".join(block.code for block in blocks("plugin", "docs/reference/hooks.md"))
    exec(compile(code, "hooks.md", "exec", dont_inherit=True), vars(module))
    plugins = Plugins()
    plugin = plugins.add(module, "steam")
    plugins.register_commands(make_cli(lambda: plugins))
    plugins.lifespans(None)
    assert plugin.fault == ""
    assert plugin.hooks == sorted(generate.hook_names())
    assert plugin.provides == [
        "backend steam",
        "template engine plain",
        "format haiku",
        "parser asides",
        "filter redact",
        "model steam:tiny",
    ]


FIELDS = [
    ("POST /api/generate", wire.GenerateRequest),
    ("POST /api/generate", wire.GenerateResponse),
    ("POST /api/chat", wire.ChatRequest),
    ("POST /api/chat", wire.ChatMessage),
    ("POST /api/chat", wire.ChatResponse),
    ("POST /api/chat", wire.ReplyMessage),
    ("POST /api/embed", wire.EmbedRequest),
    ("POST /api/embed", wire.EmbedResponse),
    ("POST /api/embeddings", wire.EmbeddingsRequest),
    ("POST /api/embeddings", wire.EmbeddingsResponse),
    ("POST /api/show", wire.ShowRequest),
    ("POST /api/show", wire.ShowResponse),
    ("POST /api/create", wire.CreateRequest),
    ("POST /api/copy", wire.CopyRequest),
    ("POST /api/pull", wire.TransferRequest),
    ("Progress", wire.ProgressResponse),
    ("GET /api/tags", wire.TagsModel),
    ("GET /api/tags", wire.TagsDetails),
    ("GET /api/ps", wire.PsResponse),
    ("GET /api/ps", wire.PsModel),
    ("GET /api/ps", wire.PsWaiting),
    ("GET /api/upstreams", wire.UpstreamState),
    ("GET /api/plugins", wire.PluginState),
    ("GET /api/plugins", wire.PluginCost),
]


@pytest.mark.parametrize(("section", "struct"), FIELDS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_http_page_has_every_field(section: str, struct: type) -> None:
    text = (REFERENCE / "http.md").read_text("utf-8")
    part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    missing = [name for name in struct.__struct_encode_fields__ if f"`{name}`" not in part]
    assert missing == []


@pytest.mark.parametrize("block", blocks("config"), ids=lambda block: f"{block.page}:{block.number}")
def test_every_configuration_shown_is_valid(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "remuda.toml"
    path.write_text(block.code)
    assert load_config(path, {}) != load_config(None, {})


def test_the_reference_has_every_variable_and_every_key_that_can_be_reloaded() -> None:
    text = (REFERENCE / "configuration.md").read_text("utf-8")
    reloading, _, environment = text.partition("\n## Reloading\n")[2].partition("\n## Environment\n")
    assert set(re.findall(r"`([a-z_.]+)`", reloading)) == LIVE
    assert re.findall(r"^\| `([A-Z]+_\w+)`", environment, re.MULTILINE) == list(VARIABLES)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", text):
        assert "://" in target or target == "" or (page.parent / target).is_file(), target
    for target, anchor in re.findall(r"\]\(([^)#]*)#([^)]*)\)", text):
        linked = page if not target else page.parent / target
        headings = re.findall(r"^#+ (.*)$", linked.read_text("utf-8"), re.MULTILINE)
        assert anchor in {_anchor(heading) for heading in headings}, f"{target}#{anchor}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
