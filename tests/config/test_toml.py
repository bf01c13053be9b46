"""What is written as TOML is read as the same settings."""

from __future__ import annotations

import tempfile
from datetime import UTC
from pathlib import Path
from typing import Any

from hypothesis import given, settings as bounded, strategies as st

from remuda.config import (
    Config,
    LimitsConfig,
    MessageConfig,
    ModelConfig,
    ResidencyConfig,
    ResidencyRule,
    RouteConfig,
    ServerConfig,
    Settings,
    load_config,
    load_settings,
    to_toml,
)
from remuda.config.keys import dotted, leaves

from .conftest import File

TEXT = st.text(max_size=12)
NAME = st.from_regex(r"[a-w0-9][a-w0-9.-]{0,5}(:[a-w0-9][a-w0-9.]{0,3})?", fullmatch=True)
"""Of a model; none is an alias too."""
SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | TEXT
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.times()
)
ANY = st.recursive(SCALARS, lambda some: st.lists(some, max_size=3) | st.dictionaries(TEXT, some, max_size=3))
TABLES: st.SearchStrategy[dict[str, Any]] = st.dictionaries(TEXT, ANY, max_size=3)
DURATIONS = st.sampled_from(["5m", "-1", "1h30m"]) | st.floats(0, 1e9)


def tuples(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=2).map(tuple)


MODELS = st.builds(
    ModelConfig,
    path=TEXT,
    backend=st.none() | TEXT,
    system=st.none() | TEXT,
    messages=tuples(st.builds(MessageConfig, role=TEXT, content=TEXT)),
    options=TABLES,
)
CONFIGS = st.builds(
    Config,
    server=st.builds(ServerConfig, host=TEXT, port=st.integers(0, 65535), origins=tuples(TEXT)),
    limits=st.builds(LimitsConfig, keep_alive=DURATIONS, template_timeout=st.floats(0.01, 600)),
    models=st.dictionaries(NAME, MODELS, max_size=2),
    routes=tuples(st.builds(RouteConfig, model=TEXT, backend=TEXT)),
    residency=st.builds(
        ResidencyConfig,
        models=tuples(st.builds(ResidencyRule, model=TEXT, keep_alive=st.none() | DURATIONS)),
        preload=tuples(NAME),
    ),
    aliases=st.dictionaries(st.sampled_from(["x", "me/x", "x:1b"]), NAME, max_size=2),
    auto_pull=st.booleans(),
    go_template=st.none() | st.booleans(),
    backends=st.dictionaries(TEXT, TABLES, max_size=2),
)


@bounded(max_examples=50, deadline=None)
@given(CONFIGS, st.text(max_size=5))
def test_what_is_written_is_read_again(config: Config, source: str) -> None:
    usual = {dotted(key): value for key, value in leaves(Config(), Config)}
    sources = {
        dotted(key): "default" if (dotted(key), value) in usual.items() else f"file {source}"
        for key, value in leaves(config, Config)
    }
    shown = Settings(config=config, sources=sources, file=None)
    with tempfile.NamedTemporaryFile() as file:
        for changed in (False, True):
            Path(file.name).write_bytes(to_toml(shown, changed=changed).encode())
            assert load_config(Path(file.name), {}) == config


def test_it_is_written_in_the_order_of_the_structs_with_sources(file: File) -> None:
    path = file("""
[backends.z]
[limits]
keep_alive = 60
[[models."a:b".messages]]
role = "user"
content = "\\u0001\\u007f\\n😀"
[models."a:b"]
path = "x"
[models."a:b".options]
stop = ["a"]
[server]
port = 1
""")
    settings = load_settings(path, {"OLLAMA_DEBUG": "1"})
    assert (
        to_toml(settings, changed=True)
        == f"""[server]
port = 1  # file {path}
log_level = "debug"  # OLLAMA_DEBUG

[limits]
keep_alive = 60.0  # file {path}

[models."a:b"]
path = "x"  # file {path}

[[models."a:b".messages]]
role = "user"  # file {path}
content = "\\u0001\\u007f\\n😀"  # file {path}

[models."a:b".options]
stop = ["a"]  # file {path}

[backends.z]
"""
    )
    whole = to_toml(settings)
    assert "# go_template is not set\n" in whole
    assert 'policy = "fixed"  # default\n' in whole
    assert whole.index("[server]") < whole.index("[limits]") < whole.index("[store]") < whole.index("[residency]")


def test_a_variable_that_is_no_text_does_not_break_it(file: File) -> None:
    settings = load_settings(None, {"OLLAMA_MODELS": "/srv/\udcff"})
    assert load_config(file(to_toml(settings)), {}).store.path == "/srv/?"
