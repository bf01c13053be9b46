"""Every variable of the environment: what it sets, and what it is when it is wrong."""

from __future__ import annotations

import re
from typing import Any

import pytest

from remuda.config import VARIABLES, Config, load_config, load_settings
from remuda.errors import ConfigError

from .conftest import File

CASES: list[tuple[str, str, str, Any]] = [
    ("OLLAMA_HOST", "10.0.0.7:80", "server.host", "10.0.0.7"),
    ("OLLAMA_HOST", "10.0.0.7:80", "server.port", 80),
    ("OLLAMA_HOST", ":8080", "server.host", "0.0.0.0"),
    ("OLLAMA_HOST", "[::1]", "server.port", 11434),
    ("OLLAMA_ORIGINS", "https://a.example,app://*", "server.origins", ("https://a.example", "app://*")),
    ("OLLAMA_DEBUG", "1", "server.log_level", "debug"),
    ("OLLAMA_DEBUG", "2", "server.log_level", "debug"),
    ("OLLAMA_DEBUG", "please", "server.log_level", "debug"),
    ("OLLAMA_DEBUG", "-1", "server.log_level", "warning"),
    ("OLLAMA_DEBUG", "-2", "server.log_level", "error"),
    ("OLLAMA_CONTEXT_LENGTH", "8192", "limits.context", 8192),
    ("OLLAMA_NUM_PARALLEL", "'7'", "limits.parallel", 7),
    ("OLLAMA_MAX_QUEUE", ' "9" ', "limits.queue", 9),
    ("OLLAMA_KEEP_ALIVE", "1h30m", "limits.keep_alive", "1h30m"),
    ("OLLAMA_KEEP_ALIVE", "-1", "limits.keep_alive", "-1"),
    ("OLLAMA_MODELS", " /srv/models ", "store.path", "/srv/models"),
    ("OLLAMA_NOPRUNE", "true", "store.prune", False),
    ("OLLAMA_NOPRUNE", "0", "store.prune", True),
    ("OLLAMA_MAX_LOADED_MODELS", "3", "residency.max_loaded", 3),
    ("OLLAMA_MAX_LOADED_MODELS", "0", "residency.max_loaded", 0),
    ("OLLAMA_GPU_OVERHEAD", "1073741824", "residency.gpu_overhead", 2**30),
    ("OLLAMA_LOAD_TIMEOUT", "90s", "residency.load_timeout", "90s"),
    ("OLLAMA_GO_TEMPLATE", "F", "go_template", False),
    ("OLLAMA_GO_TEMPLATE", "fAlSe", "go_template", True),
    ("OLLAMA_FLASH_ATTENTION", "FALSE", "backends.llamacpp.flash_attention", False),
    ("OLLAMA_FLASH_ATTENTION", "1", "backends.llamacpp.flash_attention", True),
    ("OLLAMA_FLASH_ATTENTION", "auto", "backends.llamacpp.flash_attention", "auto"),
    ("OLLAMA_KV_CACHE_TYPE", "q8_0", "backends.llamacpp.kv_cache_type", "q8_0"),
    ("REMUDA_PLUGINS_DIR", "/srv/plugins", "plugins.dir", "/srv/plugins"),
]


@pytest.mark.parametrize(("variable", "text", "key", "value"), CASES)
def test_a_variable_sets_its_key_and_is_its_source(variable: str, text: str, key: str, value: Any) -> None:
    settings = load_settings(None, {variable: text})
    assert settings.values()[key] == value
    assert settings.sources[key] == variable
    assert set(settings.values(changed=True)) <= {name for other, _, name, _ in CASES if other == variable}


def test_every_variable_has_a_case() -> None:
    assert {variable for variable, *_ in CASES} == set(VARIABLES)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("text", ["", "  ", '""'])
def test_an_empty_variable_is_not_set(variable: str, text: str) -> None:
    assert load_settings(None, {variable: text}) == load_settings(None, {})


@pytest.mark.parametrize("variable", ["OLLAMA_CONTEXT_LENGTH", "OLLAMA_NUM_PARALLEL", "OLLAMA_MAX_QUEUE"])
def test_zero_is_not_set(variable: str) -> None:
    assert load_config(None, {variable: "0"}) == Config()


@pytest.mark.parametrize("text", ["0", "false", "-0"])
def test_debug_that_is_off_says_nothing(text: str, file: File) -> None:
    path = file('[server]\nlog_level = "error"')
    assert load_config(path, {"OLLAMA_DEBUG": text}).server.log_level == "error"


@pytest.mark.parametrize(
    ("variable", "text", "key"),
    [
        ("OLLAMA_CONTEXT_LENGTH", "many", "limits.context"),
        ("OLLAMA_CONTEXT_LENGTH", "3", "limits.context"),
        ("OLLAMA_CONTEXT_LENGTH", "9" * 5000, "limits.context"),
        ("OLLAMA_NUM_PARALLEL", "-1", "limits.parallel"),
        ("OLLAMA_NUM_PARALLEL", "257", "limits.parallel"),
        ("OLLAMA_MAX_QUEUE", "1.5", "limits.queue"),
        ("OLLAMA_MAX_LOADED_MODELS", "-2", "residency.max_loaded"),
        ("OLLAMA_MAX_LOADED_MODELS", "²", "residency.max_loaded"),
        ("OLLAMA_GPU_OVERHEAD", "1GB", "residency.gpu_overhead"),
        ("OLLAMA_KEEP_ALIVE", "soon", "limits.keep_alive"),
        ("OLLAMA_LOAD_TIMEOUT", "5 minutes", "residency.load_timeout"),
    ],
)
def test_a_bad_value_is_an_error_that_names_variable_and_key(variable: str, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)^(?=.*{variable}).*{re.escape(key)}") as caught:
        load_config(None, {variable: text})
    assert len(caught.value.message) < 250


def test_the_environment_wins_over_the_file(file: File) -> None:
    path = file(
        "[limits]\nparallel = 2\nqueue = 3\n[backends.llamacpp]\nflash_attention = true\nkv_cache_type = 'f16'\n"
        "[store]\nprune = false\n"
    )
    environ = {"OLLAMA_NUM_PARALLEL": "8", "OLLAMA_FLASH_ATTENTION": "0", "OLLAMA_NOPRUNE": "0"}
    config = load_config(path, environ)
    assert (config.limits.parallel, config.limits.queue, config.store.prune) == (8, 3, True)
    assert config.backends == {"llamacpp": {"flash_attention": False, "kv_cache_type": "f16"}}


def test_origins_are_added_to_those_of_the_file(file: File) -> None:
    path = file('[server]\norigins = ["a://*"]')
    settings = load_settings(path, {"OLLAMA_ORIGINS": "b://*,c://*"})
    assert settings.config.server.origins == ("a://*", "b://*", "c://*")
    assert settings.sources["server.origins"] == f"file {path} and OLLAMA_ORIGINS"


def test_variables_without_effect_are_named() -> None:
    environ = {
        "OLLAMA_SCHED_SPREAD": "1",
        "OLLAMA_LLM_LIBRARY": "",
        "OLLAMA_MAX_QUEU": "5",
        "REMUDA_CONFG": "x",
        "REMUDA_STEAM_TOKEN": "a plugin's",
        "OLLAMA_MAX_QUEUE": "5",
        "OLLAMA_NO_CLOUD": "1",
        "PATH": "/bin",
    }
    assert load_settings(None, environ).idle == (
        "OLLAMA_MAX_QUEU has no effect: is OLLAMA_MAX_QUEUE meant?",
        "OLLAMA_SCHED_SPREAD has no effect on this server",
        "REMUDA_CONFG has no effect: is REMUDA_CONFIG meant?",
    )
