"""`[plugins]`: which plugins there are, in which order, and their own tables."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct, field

from remuda import hookimpl
from remuda.config import Config, PluginsConfig, load_settings, to_toml
from remuda.errors import ConfigError
from remuda.plugins import Plugins, load_plugins


class Limits(Struct, frozen=True):
    most: Annotated[int, Meta(ge=1)] = 3


class Redact(Struct, frozen=True):
    words: list[str] = field(default_factory=list[str])
    mark: str = "..."
    limits: Limits = field(default_factory=Limits)
    spare: Limits | None = None

    def __post_init__(self) -> None:
        if self.mark in self.words:
            raise ValueError("mark is one of the words")


class _Reading:
    @hookimpl
    def remuda_configure(self, settings: Any) -> None:
        self.read = settings(Redact)

    @hookimpl
    def remuda_register_parsers(self, register: Any) -> None:
        register(self.read.mark, dict)


Load = Callable[[str], Plugins]
SPARE = "plugins.settings.redact.spare"


@pytest.fixture
def reading() -> _Reading:
    return _Reading()


@pytest.fixture
def load(tmp_path: Path, reading: _Reading) -> Load:
    """The plugins `redact`, which reads settings, and `plain`, with a configuration file of that text."""

    def make(text: str) -> Plugins:
        path = tmp_path / "remuda.toml"
        path.write_text(text)
        settings = load_settings(path, {})
        extra = [("plain", SimpleNamespace()), ("redact", reading)]
        return load_plugins([], extra, config=settings.config, sources=settings.sources)

    return make


def test_a_plugin_reads_its_own_table_before_all_else(load: Load, reading: _Reading) -> None:
    plugins = load("[plugins.settings.redact]\nmark = 'X'\nlimits = { most = 1 }")
    assert reading.read == Redact(mark="X", limits=Limits(most=1))
    assert plugins.parsers.names() == ["X"]


def test_without_a_table_there_are_the_defaults(load: Load, reading: _Reading) -> None:
    load("")
    assert reading.read == Redact()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wrods = []", "plugins.settings.redact.wrods is not a setting: is plugins.settings.redact.words meant?"),
        ("zzz = 1", "plugins.settings.redact.zzz is not a setting: there are words, mark, limits, spare"),
        ("words = 3", "plugins.settings.redact.words must be a list"),
        ("words = ['a', 3]", "plugins.settings.redact.words[1]: Expected `str`, got `int`"),
        ("spare = { msot = 1 }", f"{SPARE}.msot is not a setting: is {SPARE}.most meant?"),
        ("spare = 3", "plugins.settings.redact.spare: Expected `object | null`, got `int`"),
        ("limits = { most = 0 }", "plugins.settings.redact.limits.most: Expected `int` >= 1"),
        ("words = ['...']", "plugins.settings.redact: mark is one of the words"),
    ],
)
def test_a_wrong_table_is_an_error_that_names_key_and_file(load: Load, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"[plugins.settings.redact]\n{text}")
    assert str(caught.value) == f"{message} (file {tmp_path / 'remuda.toml'})"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[plugins.settings.plain]\na = 1", "plugins.settings.plain: the plugin 'plain' takes no settings"),
        ("[plugins.settings.redcat]\na = 1", "plugins.settings.redcat: no plugin is named 'redcat': is redact meant?"),
        ("[plugins]\nenable = ['redcat']", "plugins.enable[0]: no plugin is named 'redcat': is redact meant?"),
        ("[plugins]\ndisable = ['p*', 'z']", "plugins.disable[1]: no plugin is named 'z': there are plain, redact"),
        ("[plugins]\norder = ['pl*']", "plugins.order[0]: no plugin is named 'pl*': there are plain, redact"),
        ("[plugins]\norder = ['plian']", "plugins.order[0]: no plugin is named 'plian': is plain meant?"),
        ("[plugins]\ndir = '/none'", "plugins.dir: there is no folder '/none'"),
        ("[plugins]\nfolder = 'x'", "plugins.folder is not a setting"),
    ],
)
def test_names_that_lead_nowhere(load: Load, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("remuda.toml)")


def test_a_plugin_that_catches_the_error_cannot_hide_it(tmp_path: Path) -> None:
    def configure(settings: Any) -> None:
        try:
            settings(Redact)
        except Exception:
            return

    config = Config(plugins=PluginsConfig(settings={"p": {"wrods": 1}}))
    with pytest.raises(ConfigError, match=r"plugins\.settings\.p\.wrods is not a setting"):
        Plugins(config).add(SimpleNamespace(remuda_configure=hookimpl(configure)), "p")


def test_a_plugin_may_refuse_values_itself() -> None:
    def configure(settings: Any) -> None:
        raise ConfigError("words and mark do not fit together")

    with pytest.raises(ConfigError, match=r"^plugins\.settings\.p: words and mark do not fit together$"):
        Plugins().add(SimpleNamespace(remuda_configure=hookimpl(configure)), "p")


def test_a_plugin_whose_configure_fails_is_left_out() -> None:
    plugins = Plugins(Config(plugins=PluginsConfig(settings={"p": {}})))
    boom = hookimpl(lambda settings: settings(dict))
    good = hookimpl(lambda register: register("mine", dict))
    info = plugins.add(SimpleNamespace(remuda_configure=boom, remuda_register_parsers=good), "p")
    assert "settings are asked for as <class 'dict'>\nFix: ask for them as a subclass of msgspec.Struct" in info.fault
    assert plugins.parsers.names() == []


def _names(plugins: Plugins) -> list[str]:
    return [f"{info.name}{' (disabled)' if info.disabled else ''}" for info in plugins.describe()]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (PluginsConfig(), ["own", "a", "b", "c"]),
        (PluginsConfig(order=("c", "b")), ["own", "c", "b", "a"]),
        (PluginsConfig(enable=("b", "c*")), ["own", "a (disabled)", "b", "c"]),
        (PluginsConfig(enable=()), ["own", "a (disabled)", "b (disabled)", "c (disabled)"]),
        (PluginsConfig(disable=("b",)), ["own", "a", "b (disabled)", "c"]),
        (PluginsConfig(disable=("own",)), ["own (disabled)", "a", "b", "c"]),
    ],
)
def test_which_and_in_which_order(settings: PluginsConfig, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Point(SimpleNamespace):
        def load(self) -> object:
            return SimpleNamespace()

    own: Any = Point(name="own", value="v", dist=SimpleNamespace(name="remuda", version="1"))
    other: Any = Point(name="a", value="v", dist=SimpleNamespace(name="remuda-a", version="1"))
    points: list[EntryPoint] = [other, own]
    extra = [("b", SimpleNamespace()), ("c", SimpleNamespace())]
    assert _names(load_plugins(points, extra, config=Config(plugins=settings))) == names


def test_what_may_be_a_secret_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "remuda.toml"
    path.write_text("[plugins.settings.p]\napi_key = 'k'\nmost = 1\n[plugins.settings.p.tokens]\nmine = 'k'\n")
    values = load_settings(path, {}).values(changed=True)
    assert values == {
        "plugins.settings.p.api_key": "(not shown)",
        "plugins.settings.p.most": 1,
        "plugins.settings.p.tokens": "(not shown)",
    }


def test_nor_is_one_deeper_inside_or_in_a_backends_table(tmp_path: Path) -> None:
    path = tmp_path / "remuda.toml"
    path.write_text(
        "[plugins.settings.p]\nauth = 's'\nauthor = 'me'\nsub = { key = 's', deep = { password = 's', most = 1 } }\n"
        "[[plugins.settings.p.all]]\nsecret = 's'\nurl = 'u'\n"
        "[backends.llm]\napi_key = 's'\nthreads = 2\n[backends.llm.cloud]\ntoken = 's'\n"
    )
    settings = load_settings(path, {})
    hidden = "(not shown)"
    assert settings.values(changed=True) == {
        "backends.llm.api_key": hidden,
        "backends.llm.threads": 2,
        "backends.llm.cloud": {"token": hidden},
        "plugins.settings.p.auth": hidden,
        "plugins.settings.p.author": "me",
        "plugins.settings.p.sub": {"key": hidden, "deep": {"password": hidden, "most": 1}},
        "plugins.settings.p.all": [{"secret": hidden, "url": "u"}],
    }
    assert '"s"' not in to_toml(settings)
