from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from remuda.runner.text import TextGate


def _pour(gate: TextGate, chunks: list[bytes]) -> list[str]:
    out = [gate.feed(chunk) for chunk in chunks]
    return [*out, gate.finish()]


def test_characters_leave_whole() -> None:
    gate = TextGate()
    assert [gate.feed(bytes([byte])) for byte in "é😀".encode()] == ["", "é", "", "", "", "😀"]


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    assert "".join(_pour(TextGate(), [b"a\xff", b"b\xe2\x82"])) == "a\ufffdb\ufffd"


def test_a_stop_string_is_held_back_across_tokens_and_never_leaks() -> None:
    gate = TextGate(["STOP"])
    assert _pour(gate, [b"one S", b"TO", b"P two"]) == ["one ", "", "", ""]
    assert gate.stopped


def test_what_only_began_like_a_stop_string_is_let_go() -> None:
    gate = TextGate(["STOP"])
    assert _pour(gate, [b"ST", b"ART", b" S"]) == ["", "START", " ", "S"]


def test_the_earliest_stop_string_wins_and_empty_ones_are_nothing() -> None:
    assert "".join(_pour(TextGate(["b", "abc", ""]), [b"xabc"])) == "x"


@pytest.mark.parametrize(
    ("chunks", "tail", "text"),
    [
        ([b"ab"], b"", "ab"),
        ([b"a\xf0\x9f"], b"\xa6\x84}", "a🦄}"),
        ([b"a S"], b"TOP}", "a STOP}"),
        ([b"a S"], b"", "a S"),
        ([b"STOP"], b"}", ""),
    ],
)
def test_a_tail_completes_the_text_whatever_stop_string_it_completes(
    chunks: list[bytes], tail: bytes, text: str
) -> None:
    gate = TextGate(["STOP"])
    assert "".join(map(gate.feed, chunks)) + gate.finish(tail) == text


@given(
    st.text(alphabet="abé", max_size=30),
    st.lists(st.text(alphabet="abé", min_size=1, max_size=4), max_size=3),
    st.data(),
)
def test_however_it_is_cut_the_text_is_what_comes_before_the_first_stop(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    chunks = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    gate = TextGate(stops)
    out = "".join(_pour(gate, chunks))
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    if found:
        # Token boundaries may show a later stop string first, when an earlier one is still incomplete.
        assert gate.stopped
        assert text.startswith(out)
        assert not any(stop in out for stop in stops)
    else:
        assert out == text
