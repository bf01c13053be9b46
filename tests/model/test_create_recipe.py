"""What a request for a new model is read as, before any file is looked at."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from remuda.errors import BadRequest
from remuda.model import parse_digest
from remuda.model.create import QUANTIZATIONS, Recipe, parse_recipe
from remuda.wire import CreateRequest, ShowMessage

DIGEST = f"sha256-{'AB' * 32}"


def recipe(**fields: Any) -> Recipe:
    return parse_recipe(CreateRequest(**{"model": "new", "base": "old", **fields}))


def test_the_old_names_of_fields_count_where_the_new_ones_are_empty() -> None:
    assert str(recipe(model="", name="x").name) == "x:latest"
    assert str(recipe(model="y", name="x").name) == "y:latest"
    assert recipe(quantization="q8_0").quantization == "Q8_0"
    assert recipe(quantize="q4_K", quantization="q8_0").quantization == "Q4_K_M"


def test_every_kind_of_quantization_can_be_written_in_any_case() -> None:
    for written, meant in QUANTIZATIONS.items():
        assert recipe(quantize=written.lower()).quantization == meant


def test_digests_are_read_in_both_forms() -> None:
    assert recipe(files={"a.gguf": DIGEST}).files == {"a.gguf": parse_digest(DIGEST)}


def test_a_license_may_be_one_text_or_several() -> None:
    assert recipe(license="MIT").licenses == ["MIT"]
    assert recipe(license=["MIT", "", "GPL"]).licenses == ["MIT", "GPL"]
    assert recipe(license="").licenses == recipe(license=None).licenses == []


def test_known_options_are_checked_and_others_kept_as_they_are() -> None:
    given = {"stop": "a", "num_ctx": 1, "max_tokens": 3, "other": [None, {"x": 1.5}], "seed": None}
    kept = {"stop": ["a"], "num_ctx": 1, "max_tokens": 3, "other": [None, {"x": 1.5}]}
    assert recipe(parameters=given).parameters == kept


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(BadRequest, match="parameters cannot be kept: they are nested too deeply"):
        recipe(parameters={"other": deep})


def test_messages_keep_their_order() -> None:
    messages = [ShowMessage("system", "a"), ShowMessage("assistant", "b"), ShowMessage("user", "")]
    assert recipe(messages=messages).messages == messages


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ollama.com", "https://ollama.com:443"),
        ("https://ollama.com/", "https://ollama.com:443"),
        ("http://Localhost", "http://localhost:80"),
        ("10.0.0.1:11434", "https://10.0.0.1:11434"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_remote_host_is_written_out(written: str, meant: str) -> None:
    config = recipe(remote_host=written).config
    assert (config.remote_host, config.remote_model) == (meant, "old")


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30) | st.lists(st.sampled_from(["a", "..", ".", "", "b.gguf"])).map("/".join))
def test_a_file_s_path_stays_inside_its_folder(path: str) -> None:
    try:
        recipe(files={path: DIGEST})
    except BadRequest as error:
        assert error.message == "file path must be relative"
    else:
        inside = PurePosixPath("/folder") / path
        assert str(inside) == f"/folder/{path}"
        assert path.isprintable()
        assert ".." not in inside.parts


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(CreateRequest.__struct_fields__), st.none() | st.text(max_size=8)))
def test_whatever_comes_is_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        request = msgspec.convert(fields, CreateRequest)
    except msgspec.ValidationError:
        return
    try:
        parse_recipe(request)
    except BadRequest as error:
        assert error.message
