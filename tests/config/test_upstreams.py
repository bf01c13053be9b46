"""Settings of upstreams that make no sense, and secrets in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from remuda.config import load_config, load_settings, to_toml
from remuda.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "remuda.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("parallel = 0", "upstreams.a.parallel is 0: it must be from 1 to 100000"),
        ("weight = 0", "upstreams.a.weight is 0.0: it must be from 0.001 to 1000"),
        ("connect_timeout = nan", "upstreams.a.connect_timeout is nan"),
        ("stall_timeout = -1", "upstreams.a.stall_timeout is -1.0"),
        ('unsupported = "maybe"', "upstreams.a.unsupported is 'maybe': it must be one of refuse, ignore"),
        ('models = { "a b" = "c" }', """upstreams.a.models."a b": 'a b' is not a model's name"""),
        ('models = { "b" = " " }', "upstreams.a.models.b is empty: it must be the model's name there"),
        ("urls = 7", "upstreams.a.urls must be a list"),
        ("speed = 7", "upstreams.a.speed is not a setting"),
    ],
)
def test_a_bad_value_is_named(line: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, f'[upstreams.a]\nurl = "http://a"\n{line}\n')
    with pytest.raises(ConfigError) as raised:
        load_config(path, {})
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("line", ["attempts = 0", "hedge = -1", "failures = 0", "cooldown = 0", "max_line = 7"])
def test_so_is_one_of_the_whole(line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"remote.{line.partition(' ')[0]} is"):
        load_config(written(tmp_path, f"[remote]\n{line}\n"), {})


def test_headers_which_may_be_keys_are_not_shown(tmp_path: Path) -> None:
    path = written(tmp_path, '[upstreams.a]\nurl = "http://a"\nheaders = { "X-Key" = "s3cret" }\n')
    settings = load_settings(path, {})
    assert settings.config.upstreams["a"].headers == {"X-Key": "s3cret"}
    assert "s3cret" not in to_toml(settings)
    assert settings.values()["upstreams.a.headers.X-Key"] == "(not shown)"
