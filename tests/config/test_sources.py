"""Values, and where each comes from."""

from __future__ import annotations

import math

import pytest

from remuda.config import Config, ResidencyConfig, ResidencyRule, load_config, load_settings

from .conftest import File


def test_nothing_is_set() -> None:
    settings = load_settings(None, {})
    assert settings.config == Config()
    assert settings.file is None
    assert set(settings.sources.values()) == {"default"}
    assert settings.values(changed=True) == {}
    assert settings.sources.keys() == settings.values().keys()


def test_each_value_knows_its_source(file: File) -> None:
    path = file("""
auto_pull = true
[server]
port = 1
host = "localhost"
max_body = 2048
[models.x]
path = "x"
options = { temperature = 0.5 }
[[routes]]
model = "*"
backend = "b"
[[residency.models]]
model = "*"
keep_alive = 5
[aliases]
"gpt-4" = "x"
[backends.llamacpp]
threads = { decode = 2 }
[backends.empty]
""")
    environ = {"OLLAMA_HOST": "127.0.0.1:2", "OLLAMA_KV_CACHE_TYPE": "f16"}
    settings = load_settings(path, environ, {"--host": None, "--port": 3})
    assert settings.file == path
    shown = {key: (value, settings.sources[key]) for key, value in settings.values(changed=True).items()}
    source = f"file {path}"
    assert shown == {
        "server.host": ("127.0.0.1", "OLLAMA_HOST"),
        "server.port": (3, "--port"),
        "server.max_body": (2048, source),
        'models."x".path': ("x", source),
        'models."x".options.temperature': (0.5, source),
        "routes[0].model": ("*", source),
        "routes[0].backend": ("b", source),
        "residency.models[0].model": ("*", source),
        "residency.models[0].keep_alive": (5, source),
        'aliases."gpt-4"': ("x", source),
        "auto_pull": (True, source),
        "backends.llamacpp.threads": ({"decode": 2}, source),
        "backends.llamacpp.kv_cache_type": ("f16", "OLLAMA_KV_CACHE_TYPE"),
        "backends.empty": ({}, source),
    }
    assert settings.sources['models."x".format'] == "default"
    assert settings.sources["residency.models[0].policy"] == "default"
    assert load_config(path, environ) == load_settings(path, environ).config


@pytest.mark.parametrize(
    ("value", "seconds"), [("5m", 300), (90, 90), (0, math.inf), ("0", math.inf), ("-1m", math.inf), (-1, math.inf)]
)
def test_the_load_timeout(value: float | str, seconds: float) -> None:
    assert Config(residency=ResidencyConfig(load_timeout=value)).load_timeout == seconds


def test_the_first_rule_that_matches() -> None:
    rules = tuple(ResidencyRule(model=glob) for glob in ("llama*:1b", "LLAMA*", "me/*"))
    config = Config(residency=ResidencyConfig(models=rules))
    assert config.residency_rule("llama3.2:1b") is rules[0]
    assert config.residency_rule("Llama3.2:latest") is rules[1]
    assert config.residency_rule("me/x:latest") is rules[2]
    assert config.residency_rule("other:latest") is None
