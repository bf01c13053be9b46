"""What a request becomes before the engine sees it."""

from __future__ import annotations

import pytest

from remuda.engine import Engine, LoadSpec, Media, Piece
from remuda.errors import BadRequest, PromptTooLong
from remuda.output import Constraint
from remuda.runner.session import Session
from remuda.testing.scripted import Script, ScriptedEngine

from .conftest import job


class _Seeing(ScriptedEngine):
    """Each image takes four places."""

    def tokenize_media(self, text: str, images: list[bytes], *, bos: bool = True) -> tuple[list[int], list[Media]]:  # type: ignore[override]
        assert bos is False or text
        media = [Media(4, image) for image in images]
        return [Engine.MEDIA] * 4 * len(images) + self.tokenize(text, bos=bos), media

    def compile(self, constraint: Constraint) -> str:  # type: ignore[override]
        return f"compiled {constraint.grammar}"


@pytest.fixture
def engine() -> _Seeing:
    return _Seeing(Script(), LoadSpec(name="m", weights="", context=64, parallel=1))


def test_images_take_their_places_and_reach_the_engine(engine: _Seeing) -> None:
    sequence = Session(1, job("hi", images=[b"one", b"two"]), engine).sequence
    assert sequence.tokens == [-1] * 8 + [*map(ord, "hi")]
    assert [one.handle for one in sequence.media] == [b"one", b"two"]
    assert Session(1, job("hi"), engine).sequence.media == []


def test_images_leave_no_tokens_in_the_context_that_is_returned(engine: _Seeing) -> None:
    session = Session(1, job("hi", images=[b"one"], context=[7], want_context=True), engine)
    assert session.sequence.tokens == [7, -1, -1, -1, -1, *map(ord, "hi")]
    session.piece(Piece(1, 9, b"x"))
    assert session.done("stop").context == [7, *map(ord, "hi"), 9]


def test_a_prompt_with_images_is_never_cut(engine: _Seeing) -> None:
    assert Session(1, job("p" * 100, limit=64), engine).dropped > 0
    with pytest.raises(PromptTooLong, match="104 tokens"):
        Session(1, job("p" * 100, limit=64, images=[b"one"]), engine)


def test_a_context_must_not_name_places_of_images(engine: _Seeing) -> None:
    with pytest.raises(BadRequest, match="vocabulary"):
        Session(1, job("hi", context=[Engine.MEDIA], images=[b"one"]), engine)


def test_wishes_for_the_output_reach_the_engine(engine: _Seeing) -> None:
    constraint = Constraint(grammar="g")
    sequence = Session(1, job(constraint=constraint, logprobs=3, visible=("<a>",)), engine).sequence
    assert (sequence.constraint, sequence.compiled) == (constraint, "compiled g")
    assert (sequence.logprobs, sequence.visible) == (3, ("<a>",))
    plain = Session(1, job(), engine).sequence
    assert (plain.constraint, plain.compiled, plain.logprobs, plain.visible) == (None, None, None, ())
