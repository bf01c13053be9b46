from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from remuda.errors import BadRequest
from remuda.wire import GenerateRequest, GenerateResponse, decode, encode, encode_line, error_body, parse_options


def test_keys_match_in_any_case_and_unknown_ones_are_ignored() -> None:
    request = decode(b'{"Model":"m","PROMPT":"p","nonsense":[1,{}],"_debug_render_only":true}', GenerateRequest)
    assert (request.model, request.prompt, request.debug_render_only) == ("m", "p", True)


@pytest.mark.parametrize("tail", [b" ", b"\n{}", b"garbage", b"]", b'{"model":"other"}', b"\xff"])
def test_only_the_first_value_is_read(tail: bytes) -> None:
    assert decode(b'{"model":"m"}' + tail, GenerateRequest).model == "m"


def test_null_leaves_a_field_unset_and_a_bom_is_tolerated() -> None:
    assert decode(b'\xef\xbb\xbf{"model":null,"stream":null}', GenerateRequest) == GenerateRequest()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "missing request body"),
        (b" \n", "missing request body"),
        (b"[]", "must be a JSON object"),
        (b"3", "must be a JSON object"),
        (b'{"model"', "invalid JSON"),
        (b'{"model":NaN}', "invalid JSON"),
        (b"nonsense", "invalid JSON"),
        (b"\xff\xfe", "invalid JSON"),
        (b'{"model":"\xed\xa0\x80"}', "invalid JSON"),
        (b'{"model":"\\ud800 "}', "half of a surrogate pair"),
        (b'{"model":"\\udc00 abcdef"}', "surrogate pair"),
        (b'{"model":"\\\\ud800 ",}', "trailing comma"),
        (b'{"model":1}', "$.model"),
        (b'{"stream":"yes"}', "$.stream"),
        (b'{"context":["x"]}', "$.context"),
        (b'{"options":[]}', "$.options"),
        (b"[" * 200_000, "must be a JSON object"),
        (b'{"a":' * 200_000, "deep"),
        (b'{"options":{"a":' + b"[" * 200_000, "deep"),
    ],
)
def test_malformed_bodies_are_refused_by_name(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(body, GenerateRequest)
    assert message in str(caught.value)


def test_a_number_beyond_all_bounds_is_left_to_the_option_that_can_name_it() -> None:
    request = decode(b'{"options":{"seed":1e400}}', GenerateRequest)
    with pytest.raises(BadRequest, match='option "seed" must be a finite number'):
        parse_options(request.options or {})


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_bad_request(body: bytes) -> None:
    try:
        assert isinstance(decode(body, GenerateRequest), GenerateRequest)
    except BadRequest as error:
        assert str(error)


@given(
    st.dictionaries(st.text(max_size=8), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
)
def test_any_json_object_is_decoded_or_refused(value: dict[str, object]) -> None:
    try:
        decode(json.dumps(value).encode(), GenerateRequest)
    except BadRequest as error:
        assert str(error)


def test_responses_keep_the_protocols_order_and_leave_out_what_is_empty() -> None:
    response = GenerateResponse(model="m", created_at="t", response="<é>", done=False)
    assert encode(response) == '{"model":"m","created_at":"t","response":"<é>","done":false}'.encode()
    final = GenerateResponse(
        model="m",
        created_at="t",
        response="",
        done=True,
        done_reason="stop",
        context=[1],
        total_duration=3,
        eval_count=2,
    )
    expected = (
        b'{"model":"m","created_at":"t","response":"","done":true,"done_reason":"stop","context":[1],'
        b'"total_duration":3,"eval_count":2}\n'
    )
    assert encode_line(final) == expected


def test_an_error_body_survives_text_that_is_not_unicode() -> None:
    assert json.loads(error_body("bad \ud800 name")) == {"error": "bad ? name"}
