from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from remuda.cli.values import format_from, option_from, think_from, unicode


@pytest.mark.parametrize(
    ("texts", "value"),
    [(["1"], 1), (["END"], ["END"]), (["END", "1.5.0"], ["END", "1.5.0"]), (['["a", "b"]'], ["a", "b"])],
)
def test_an_option_is_json_or_text(texts: list[str], value: Any) -> None:
    name = "seed" if value == 1 else "stop"
    proper, checked = option_from(name, texts)
    assert proper == name
    assert (list(checked) if name == "stop" else checked) == value


def test_an_option_by_another_name() -> None:
    assert option_from("max_tokens", ["5"]) == ("num_predict", 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("false", False), *((level, level) for level in ("high", "medium", "low", "max"))],
)
def test_levels_of_thinking(text: str, value: bool | str) -> None:
    assert think_from(text, "--think") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("json", "json"),
        ("my-format_2", "my-format_2"),
        ("{}", {}),
        (' {"b": 1, "a": [null]}', {"b": 1, "a": [None]}),
    ],
)
def test_formats(text: str, value: Any) -> None:
    assert format_from(text, "--format") == value


def test_a_schema_keeps_the_order_of_its_keys() -> None:
    assert list(format_from('{"b": 1, "a": 2}', "--format")) == ["b", "a"]


def test_a_schema_in_a_file_of_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "s.json").write_text('{"type": "string", "title": "ä"}', encoding="utf-8")
    assert format_from("@~/s.json", "--format") == {"type": "string", "title": "ä"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema.json", '"schema.json" (must be json, a JSON Schema, or @FILE with one)'),
        ("[1]", '"[1]" (must be json, '),
        ("{", "the text is not a JSON object: Input data was truncated"),
        ('{"a": NaN}', "the text is not a JSON object: JSON is malformed"),
        ('{"a": 1} b', "the text is not a JSON object: JSON is malformed"),
        ('{"a": "\udcff"}', "the text is not a JSON object: "),
        ('{"a":' * 5000, "the text is not a JSON object: nested too deeply"),
        ("@{folder}/none", "/none' cannot be read: No such file or directory"),
        ("@{folder}", "' cannot be read: Is a directory"),
        ("@\0", "cannot be read: embedded null byte"),
        ("@{folder}/list", "/list' is not a JSON object: Expected `object`, got `array`"),
        ("@{folder}/latin", "/latin' is not a JSON object: "),
    ],
)
def test_no_format(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list").write_text("[1]")
    (tmp_path / "latin").write_bytes(b'{"a": "\xe4"}')
    with pytest.raises(click.ClickException) as caught:
        format_from(text.replace("{folder}", str(tmp_path)), "--format")
    assert caught.value.message.startswith("invalid value for --format: ")
    assert message in caught.value.message


def test_bytes_that_are_not_text() -> None:
    assert unicode("a\udcffb") == "a\ufffdb"
