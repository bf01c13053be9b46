"""A file that is wrong: the error names the key and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from remuda.config import load_config, load_settings
from remuda.errors import ConfigError

from .conftest import File

BOUNDS = [
    ("server.port", "65536", "0 to 65535"),
    ("server.port", "-1", "0 to 65535"),
    ("server.max_body", "1", "1024 to"),
    ("server.drain_timeout", "-0.5", "0 to 86400"),
    ("server.drain_timeout", "inf", "0 to 86400"),
    ("server.write_timeout", "nan", "0.01 to 86400"),
    ("limits.context", "3", "4 to 2147483647"),
    ("limits.parallel", "0", "1 to 256"),
    ("limits.queue", "0", "1 to 1000000"),
    ("limits.queue_timeout", "-1.0", "0 to 86400"),
    ("limits.template_timeout", "0.0", "0.01 to 600"),
    ("limits.format_timeout", "601.5", "0.01 to 600"),
    ("limits.repeat", "-1", "0 to 2147483647"),
    ("registry.stall_timeout", "0.0", "0.1 to 3600"),
    ("registry.retries", "0", "1 to 100"),
    ("residency.max_loaded", "-1", "0 to 10000"),
    ("residency.memory_reserve", "-1", "0 to"),
    ("residency.gpu_overhead", "-1", "0 to"),
    ("residency.stall_timeout", "0.0", "0.1 to 86400"),
    ("residency.quarantine", "-1.0", "0 to 86400"),
    ("residency.runner_memory", "-1", "0 to"),
    ("residency.runner_nice", "-21", "-20 to 19"),
    ("plugins.budget", "0.0", "0.01 to 600"),
    ("plugins.faults", "0", "1 to 1000000"),
    ("plugins.cooldown", "nan", "0.01 to 86400"),
    ("plugins.start_timeout", "0.0", "0.1 to 3600"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), BOUNDS)
def test_a_number_out_of_range(file: File, key: str, value: str, allowed: str) -> None:
    section, _, name = key.partition(".")
    path = file(f"[{section}]\n{name} = {value}")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    message = caught.value.message
    assert message.startswith(f"{key} is {value}: it must be from {allowed}")
    assert message.endswith(f"(file {path})")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server = 3", "server must be a table"),
        ("models = 3", "models must be a table"),
        ("routes = 3", "routes must be a list"),
        ("zzz = 1", "zzz is not a setting: there are server, limits,"),
        ("sever = 1", "sever is not a setting: is server meant?"),
        ("[server]\nprot = 1", "server.prot is not a setting: is server.port meant?"),
        ("[server]\norigins = 'a'", "server.origins must be a list"),
        ("[server]\norigins = ['a', 1]", "server.origins[1]: Expected `str`, got `int`"),
        ("[limits]\ncontext = '4k'", "limits.context: Expected `int`, got `str`"),
        ("[limits]\ncontext = true", "limits.context: Expected `int`, got `bool`"),
        ("[limits]\ncontext = 1979-05-27", "limits.context: Expected `int`, got `date`"),
        ("[limits]\nkeep_alive = 'soon'", "limits.keep_alive is 'soon': it must be seconds or a duration such as"),
        ("[limits]\nkeep_alive = nan", "limits.keep_alive is nan: it must be seconds or a duration"),
        ("[server]\nlog_level = 'loud'", "server.log_level is 'loud': it must be one of debug, info, warning, error"),
        ("[server]\nready_model = '../x'", "server.ready_model: '../x' is not a model's name"),
        ("[models.x]", 'models."x".path is missing'),
        ("[models.x]\npth = 'a'", 'models."x".pth is not a setting: is models."x".path meant?'),
        ("[models.'a:b']\npath = 1", 'models."a:b".path: Expected `str`, got `int`'),
        ("[models.'a/../b']\npath = 'x'", "models.\"a/../b\": 'a/../b' is not a model's name"),
        (
            "[models.x]\npath = 'x'\nmessages = [{ role = 'user', content = 'a' }, { role = 'user' }]",
            'models."x".messages[1].content is missing',
        ),
        ("[[routes]]\nmodel = 'a'\nbackend = 'b'\n[[routes]]\nmodel = 'a'", "routes[1].backend is missing"),
        ("routes = [{}, 3]", "routes[0].model is missing"),
        ("[residency]\nload_timeout = '5 minutes'", "residency.load_timeout is '5 minutes'"),
        ("[residency]\npolicy = ''", "residency.policy is '': it must be a word"),
        ("[residency]\npolicy = 'two words'", "residency.policy is 'two words': it must be a word"),
        ("[residency]\npreload = ['a', '']", "residency.preload[1]: '' is not a model's name"),
        (
            "[[residency.models]]\nmodel = '*'\n[[residency.models]]\nmodel = 'x'\nkeep_alive = 'x'",
            "residency.models[1].keep_alive is 'x'",
        ),
        ("[[residency.models]]\nmodel = 'x'\npolicy = ' '", "residency.models[0].policy is ' '"),
        ("[aliases]\na = 1", 'aliases."a": Expected `str`, got `int`'),
        ("[aliases]\n'a b' = 'x'", "aliases.\"a b\": 'a b' is not a model's name"),
        ("[aliases]\na = ''", "aliases.\"a\": '' is not a model's name"),
        ("[aliases]\na = 'b'\nb = 'c'", 'aliases."a" leads to aliases."b": it must lead to a model'),
        ("[aliases]\na = 'A:latest'", 'aliases."a" leads to aliases."a": it must lead to a model'),
        ("[aliases]\na = 'x'\n'A:LATEST' = 'x'", 'aliases."A:LATEST" is the same name as aliases."a"'),
        (
            "[aliases]\n'library/X' = 'y'\n[models.x]\npath = 'x'",
            'aliases."library/X" is the name of models."x" already',
        ),
        (
            "[models.x]\npath = 'x'\nformat = 'ggml'\nmodel_type = 'bert'",
            "models.\"x\".model_type is 'bert': it must be one of dolly-v2, falcon, gpt2, ",
        ),
        ("[backends]\nllamacpp = 3", "backends.llamacpp must be a table"),
    ],
)
def test_the_key_is_named(file: File, text: str, message: str) -> None:
    path = file(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert caught.value.message.startswith(message)
    assert caught.value.message.endswith(f"(file {path})")


@pytest.mark.parametrize("content", [b"port", b"a = 1\na = 2", b"a = \xff", b"a = " + b"9" * 5000])
def test_what_is_no_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^the configuration file .*settings.toml is not TOML: "):
        load_config(path, {})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"^cannot read the configuration file {path}: {why}"):
            load_config(path, {})


def test_an_option_out_of_range_is_named() -> None:
    with pytest.raises(ConfigError, match=r"server\.port is 70000: .* \(--port\)$"):
        load_settings(None, {}, {"--port": 70000})
