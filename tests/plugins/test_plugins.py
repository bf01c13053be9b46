"""One broken plugin is told by name; the others go on."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from remuda import Asking, hookimpl
from remuda.errors import BadRequest, PluginError
from remuda.plugins import Plugins, load_plugins
from remuda.plugins.record import brief
from remuda.registry import Offer, Registry


def _point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group="remuda")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An importable module `strangers_plugin`."""
    made = ModuleType("strangers_plugin")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_the_built_in_plugins_provide_what_they_should() -> None:
    provided = {plugin.name: plugin.provides for plugin in load_plugins().describe()}
    assert "backend llamacpp" in provided["llamacpp"]
    assert "template engine jinja" in provided["templates"]
    assert not any(plugin.fault for plugin in load_plugins().describe())


def test_one_that_cannot_be_imported_is_told_with_traceback_and_fix(module: ModuleType) -> None:
    module.remuda_register_backends = hookimpl(lambda register: register("good", dict))  # type: ignore[attr-defined]
    plugins = load_plugins([_point("absent", "no_such_module"), _point("good", "strangers_plugin")])
    absent, good = plugins.describe()
    assert "ModuleNotFoundError" in absent.fault
    assert "Fix: repair or uninstall" in absent.fault
    assert good.provides == ["backend good"]


def test_its_traceback_begins_with_its_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import remuda\n@remuda.hookimpl\ndef remuda_register_backends(register):\n    1 / 0\n"
    (tmp_path / "divides_plugin.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    [plugin] = load_plugins([_point("divides", "divides_plugin")]).describe()
    first, frame, *_, last, _fix = plugin.fault.splitlines()
    assert (first, last) == ("Traceback (most recent call last):", "ZeroDivisionError: division by zero")
    assert "divides_plugin.py" in frame


def test_a_package_whose_entry_points_cannot_be_read_is_told_and_the_others_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, points in {"torn": b"[remuda]\ntorn = \xff\xfe\n", "whole": b"[remuda]\nwhole = whole_plugin\n"}.items():
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_bytes(points)
    (tmp_path / "whole_plugin.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {plugin.name: plugin for plugin in load_plugins().describe()}
    assert "entry_points.txt cannot be read" in found["torn"].fault
    assert found["torn"].fault.endswith("Fix: repair or uninstall 'torn'")
    assert (found["whole"].version, found["whole"].fault) == ("1.0", "")
    assert "backend llamacpp" in found["llamacpp"].provides


def test_what_a_backend_lacks_is_told_with_its_own_advice() -> None:
    plugins = Plugins()
    needy = SimpleNamespace(
        remuda_register_backends=hookimpl(lambda register: register("needy", "no_such:Thing", hint="pip install thing"))
    )
    plugin = plugins.add(needy, "needy")
    assert plugins.backend_formats() == {"needy": frozenset()}
    assert plugin.fault.endswith("\nFix: pip install thing")


def test_one_that_exits_while_it_is_imported_does_not_take_the_server_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rude_plugin.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    [rude] = load_plugins([_point("rude", "rude_plugin")]).describe()
    assert "SystemExit" in rude.fault


def test_a_misspelt_hook_is_an_error() -> None:
    plugins = Plugins()
    plugin = SimpleNamespace(remuda_register_backend=hookimpl(lambda register: None))
    assert "remuda_register_backend" in plugins.add(plugin, "misspelt").fault
    assert plugins.add(SimpleNamespace(), "next").fault == ""


def test_a_wrong_argument_is_an_error() -> None:
    plugin = SimpleNamespace(remuda_register_backends=hookimpl(lambda registrar: None))
    assert "registrar" in Plugins().add(plugin, "wrong").fault


def test_a_hook_that_raises_is_told_and_the_others_are_called() -> None:
    def explode(register: Any) -> None:
        register("half", dict)
        raise RuntimeError("boom")

    plugins = Plugins()
    bad = plugins.add(SimpleNamespace(remuda_register_backends=hookimpl(explode)), "bad")
    good = plugins.add(
        SimpleNamespace(remuda_register_backends=hookimpl(lambda register: register("ok", dict))), "good"
    )
    assert "RuntimeError: boom" in bad.fault
    assert bad.provides == ["backend half"]
    assert good.provides == ["backend ok"]
    assert plugins.backends.names() == ["half", "ok"]


def test_a_duplicate_names_both_plugins() -> None:
    plugins = Plugins()
    for name in ("first", "second"):
        plugins.add(SimpleNamespace(remuda_register_backends=hookimpl(lambda register: register("same", dict))), name)
    fault = plugins.describe()[1].fault
    assert "'first'" in fault
    assert "'second'" in fault


def test_two_plugins_of_one_name() -> None:
    plugins = Plugins()
    plugins.add(SimpleNamespace(), "twin")
    assert "twin" in plugins.add(SimpleNamespace(), "twin").fault


def test_a_model_name_is_checked_and_taken_once(tmp_path: Path) -> None:
    def models(*names: str) -> SimpleNamespace:
        def register_all(register: Any) -> None:
            for name in names:
                register(name, tmp_path / "w")

        return SimpleNamespace(remuda_register_models=hookimpl(register_all))

    plugins = Plugins()
    assert plugins.add(models("ok:1", "no//name"), "a").provides == ["model ok:1"]
    assert "invalid model name" in plugins.describe()[0].fault
    assert "registered twice" in plugins.add(models("OK:1"), "b").fault


def test_a_model_s_type_must_be_known(tmp_path: Path) -> None:
    def register_one(register: Any) -> None:
        register("old:1", tmp_path / "w", format="ggml", model_type="bert")

    plugins = Plugins()
    plugin = plugins.add(SimpleNamespace(remuda_register_models=hookimpl(register_one)), "a")
    assert "model 'old:1': model_type is 'bert'; it must be one of dolly-v2, falcon" in plugin.fault
    assert (plugin.provides, plugins.models) == ([], {})


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        (3, {}, "a model is registered as 3"),
        ("no//name", {}, "invalid model name: 'no//name'"),
        ("m", {"capabilities": "tools"}, "model 'm': Expected `array`, got `str` - at `$.capabilities`"),
        ("m", {"capabilities": [1]}, "model 'm': Expected `str`, got `int` - at `$.capabilities[0]`"),
        ("m", {"context_length": "4096"}, "model 'm': Expected `int`, got `str` - at `$.context_length`"),
        ("m", {"context_length": -1}, "model 'm': Expected `int` >= 0 - at `$.context_length`"),
        ("m", {"format": None}, "model 'm': Expected `str`, got `null` - at `$.format`"),
        ("m", {"template": 3}, "model 'm': Expected `str | null`, got `int` - at `$.template`"),
        ("m", {"model_type": 3}, "model 'm': Expected `str | null`, got `int` - at `$.model_type`"),
    ],
)
def test_what_is_told_of_a_model_must_have_the_right_type(name: Any, fields: Any, message: str) -> None:
    plugins = Plugins()
    register_one = hookimpl(lambda register: register(name, **fields))
    plugin = plugins.add(SimpleNamespace(remuda_register_models=register_one), "a")
    first, fix = plugin.fault.splitlines()
    assert (first, fix.partition(" ")[0], plugins.models) == (message, "Fix:", {})


def test_what_a_model_can_do_may_be_any_sequence() -> None:
    plugins = Plugins()
    register_one = hookimpl(lambda register: register("m", capabilities=["completion", "tools"]))
    assert plugins.add(SimpleNamespace(remuda_register_models=register_one), "a").fault == ""
    assert plugins.models["registry.ollama.ai/library/m:latest"].capabilities == ("completion", "tools")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ValueError: bad \udcff name\nFix: rename it", "ValueError: bad ? name; Fix: rename it"),
        ("  | ValueError: inside\n  +-----\nFix: repair", "ValueError: inside; Fix: repair"),
        ("a\n---\n", "a"),
    ],
)
def test_a_fault_in_one_line(text: str, said: str) -> None:
    assert brief(text) == said


def test_a_registry_makes_things_once_and_says_what_it_knows() -> None:
    registry: Registry[Any] = Registry("thing")
    registry.add(Offer("a", dict, "", "p"))
    registry.add(Offer("b", "no_such_module:Thing", "pip install thing", "p"))
    registry.add(Offer("c", "json:no_such_attribute", "", "p"))
    assert registry.get("a") is registry.get("a")
    with pytest.raises(BadRequest, match=r"unknown thing 'x'; known: a, b, c"):
        registry.get("x")
    with pytest.raises(PluginError, match="pip install thing"):
        registry.get("b")
    with pytest.raises(PluginError, match="no_such_attribute"):
        registry.get("c")


def test_one_module_under_two_names_is_reported_and_works_once(plugins: Plugins) -> None:
    class Module:
        @hookimpl
        def remuda_priority(self) -> int:
            return 3

    module = Module()
    assert plugins.add(module, "one").fault == ""
    assert "'one' once more" in plugins.add(module, "two").fault
    assert [plugin.name for plugin in plugins.describe() if plugin.fault] == ["two"]
    assert plugins.priority(Asking(request_id="", endpoint="", model="", address="", key="")) == 3
