"""Conversations told apart into turns."""

from __future__ import annotations

import pytest

from remuda.errors import BadRequest
from remuda.job import Message
from remuda.output import ToolCall
from remuda_llm.turns import Reply, turns_of


def test_each_answer_ends_a_turn() -> None:
    system, turns = turns_of(
        [
            Message("system", "be brief"),
            Message("user", "hi"),
            Message("user", "there", images=(b"1",)),
            Message("assistant", "hello", thinking="hm"),
            Message("system", "be kind"),
            Message("user", "and now?"),
        ]
    )
    assert system == "be brief\n\nbe kind"
    assert [(turn.text, turn.images, turn.answer, turn.answered) for turn in turns] == [
        ("hi\n\nthere", [b"1"], "hello", True),
        ("and now?", [], "", False),
    ]


def test_replies_find_their_calls() -> None:
    """By id, by name, and in order where there is neither."""
    calls = tuple(ToolCall(name=name, arguments={}) for name in ("a", "b", "c"))
    _, turns = turns_of(
        [
            Message("user", "go"),
            Message("assistant", "", tool_calls=calls),
            Message("tool", "of b", tool_name="b"),
            Message("tool", "of c", tool_call_id="call_3"),
            Message("tool", "of a"),
            Message("tool", "of none", tool_call_id="x", tool_name="d"),
        ]
    )
    assert [call.id for call in turns[0].calls] == ["call_1", "call_2", "call_3"]
    assert turns[1].replies == [
        Reply("b", "call_2", "of b"),
        Reply("c", "call_3", "of c"),
        Reply("a", "call_1", "of a"),
        Reply("d", "x", "of none"),
    ]


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (Message("assistant", "hel"), "the last one must be of a user or a tool"),
        (Message("king", ""), '"king" is none'),
    ],
)
def test_what_llm_has_no_place_for_is_refused(message: Message, fault: str) -> None:
    with pytest.raises(BadRequest, match=fault):
        turns_of([Message("user", "hi"), message])
