"""Lists and descriptions of models as servers of any age, or of bad will, send them."""

from __future__ import annotations

import json
from array import array
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from remuda.wire import Details, PsModel, ShowMessage, TagsDetails, TagsModel, encode
from remuda_remote.ollama.library import listed, running, shown
from remuda_remote.ollama.vectors import embedded, longest

DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama", "clip"],
    "parameter_size": "1.2B",
    "quantization_level": "Q4_K_M",
}
NEVER = "0001-01-01T00:00:00Z"
ZEROS = "0" * 64
THERE = "2026-01-02T03:04:05.678901234+01:00"


def body(*models: Any) -> bytes:
    return json.dumps({"models": list(models)}).encode()


def test_all_that_is_told_is_kept() -> None:
    tag = {
        "name": "a:latest",
        "model": "a:latest",
        "modified_at": THERE,
        "size": 10,
        "digest": "0123456789abcdef" * 4,
        "details": {**DETAILS, "context_length": 2048, "embedding_length": 64},
        "capabilities": ["completion", "vision"],
    }
    [model] = listed(body(tag))
    assert model.there == "a:latest"
    assert json.loads(encode(model.tag)) == tag
    ps = {**tag, "details": DETAILS, "expires_at": THERE, "size_vram": 9, "context_length": 4096, "running": 2}
    del ps["modified_at"], ps["capabilities"]
    [loaded] = running(body({**ps, "waiting": 1, "state": "draining"}))
    assert json.loads(encode(loaded)) == {**ps, "waiting": 1, "state": "draining"}
    assert running(body(ps))[0].state == "ready"


def test_what_older_servers_do_not_tell() -> None:
    nothing = TagsDetails()
    bare = TagsModel(name="a", model="a", modified_at=NEVER, size=0, digest=ZEROS, details=nothing, capabilities=[])
    assert [each.tag for each in listed(body({"name": "a"}))] == [bare]
    assert [each.tag for each in listed(body({"model": "a", "details": None}))] == [bare]
    loaded = PsModel(
        name="a", model="a", size=0, digest=ZEROS, details=Details(), expires_at=NEVER, size_vram=0, context_length=0
    )
    assert running(body({"name": "a"})) == [loaded]
    for empty in (b"{}", b'{"models":null}', b'{"models":[]}'):
        assert listed(empty) == running(empty) == []


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("size", -1, 0),
        ("size", 10**40, 2**63 - 1),
        ("size", 1.5e9, 1_500_000_000),
        ("size", "big", 0),
        ("size", True, 0),
        ("digest", "sha256:" + "AB" * 32, "ab" * 32),
        ("digest", "../../x", ZEROS),
        ("digest", 5, ZEROS),
        ("modified_at", "yesterday", NEVER),
        ("modified_at", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("capabilities", "all", []),
        ("capabilities", ["a", 5, None, "b"], ["a", "b"]),
        ("capabilities", ["x" * 9999], ["x" * 512]),
        ("capabilities", ["x"] * 9999, ["x"] * 256),
        ("details", [1], TagsDetails()),
        ("details", {"family": 5, "families": "llama", "context_length": -3}, TagsDetails()),
    ],
)
def test_what_makes_no_sense_costs_that_field_only(field: str, value: Any, told: Any) -> None:
    one, two = listed(body({"name": "a", field: value}, {"name": "b"}))
    assert getattr(one.tag, field) == told
    assert two.there == "b"


def test_models_without_a_name_and_too_many_models() -> None:
    nameless: list[Any] = [5, None, {}, {"name": ""}, {"name": 5}, {"name": "x" * 513}, []]
    assert [each.there for each in listed(body(*nameless, {"name": "a"}))] == ["a"]
    assert len(listed(body(*[{"name": "a"}] * 10_001))) == 10_000


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b'{"models":{}}', b'{"models":"x"}', b"[" * 9999, b"\xff"])
@pytest.mark.parametrize("read", [listed, running])
def test_what_is_no_list_of_models(read: Any, data: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        read(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "family", "x"]), inner),
    max_leaves=6,
)
fields = st.dictionaries(st.sampled_from([*TagsModel.__struct_fields__, *PsModel.__struct_fields__]), json_values)


@settings(max_examples=50, deadline=None)
@given(st.lists(fields, max_size=3))
def test_whatever_comes_out_can_be_told_again(models: list[dict[str, Any]]) -> None:
    for each in listed(body(*models)):
        assert msgspec.json.decode(encode(each.tag), type=TagsModel) == each.tag
    for model in running(body(*models)):
        assert msgspec.json.decode(encode(model), type=PsModel) == model


def test_a_model_is_shown_as_it_is_told() -> None:
    told = {
        "license": "MIT",
        "modelfile": "FROM a\n" * 1000,
        "parameters": "stop x",
        "template": "{{ .Prompt }}",
        "system": "S",
        "details": DETAILS,
        "messages": [{"role": "user", "content": "hi"}],
        "remote_model": "r",
        "remote_host": "https://r.example",
        "model_info": {"general.architecture": "llama", "tokens": ["a", None], "big": 12345678901234567890},
        "projector_info": {"clip": 1.5},
        "tensors": [{"name": "t", "type": "F16", "shape": [1, 2]}],
        "capabilities": ["completion"],
        "modified_at": THERE,
        "requires": "0.9",
    }
    assert json.loads(encode(shown(json.dumps(told).encode()))) == told


def test_what_other_servers_show() -> None:
    least = {"details": json.loads(encode(Details())), "model_info": {}, "modified_at": NEVER}
    assert json.loads(encode(shown(b"{}"))) == least
    odd = {
        "license": ["MIT", "BSD"],
        "details": 5,
        "messages": [{"role": 5}],
        "model_info": None,
        "projector_info": [],
        "tensors": {},
        "capabilities": [],
        "modified_at": 0,
        "template": None,
    }
    assert json.loads(encode(shown(json.dumps(odd).encode()))) == {"license": "MIT\nBSD", **least}
    assert shown(b'{"messages":[{"role":"a","content":"b","x":1}]}').messages == [ShowMessage("a", "b")]


def test_vectors_are_float32() -> None:
    made = embedded(b'{"model":"m","embeddings":[[0.1, -1e-7, 3],[1, 2, 3]],"prompt_eval_count":7}')
    assert made.tokens == 7
    assert made.vectors == [array("f", [0.1, -1e-7, 3]).tobytes(), array("f", [1, 2, 3]).tobytes()]
    assert embedded(b"{}") == embedded(b'{"embeddings":[]}')


@pytest.mark.parametrize("vector", ["null", '"x"', "[null]", "[true]", "{}", "[[1]]", "[1e400]"])
def test_what_is_no_vector(vector: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        embedded(f'{{"embeddings":[{vector}]}}'.encode())


def test_the_longest_reply_with_vectors() -> None:
    assert 9 * 4096 * 16 < longest(9) < longest(16_384) <= 2**29
