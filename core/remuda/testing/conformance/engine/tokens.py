"""Text to tokens and back."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Final

import pytest

from remuda.errors import BadRequest

from .driver import Driver
from .fixtures import EngineFixtures

__all__ = ["TokenTests"]

_TEXTS: Final = {
    "empty": "",
    "ascii": 'The quick brown fox, "jumps" over 13 lazy dogs!',
    "spaces": "two  spaces,   three, and\n\na blank line\t\ttabs ",
    "two bytes": "naïve café, Ελλάδα, здравствуй",
    "three bytes": "日本語 and ₹ and ﷽",
    "four bytes": "🦄👩\u200d👩\u200d👧 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "control": "".join(map(chr, range(1, 32))) + "\x7f\x85",
    "markup": "<b>&amp;</b> <|not a token|> [INST] {{ x }} \\n",
}
_BEGINNINGS: Final = ("<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>", "<|startoftext|>", "[CLS]")
"""How vocabularies write their beginning-of-sequence token."""
_LONG: Final = 100_000
_LONG_SECONDS: Final = 30.0


class TokenTests(EngineFixtures):
    @pytest.mark.parametrize("text", _TEXTS.values(), ids=_TEXTS)
    def test_a_text_comes_back_from_its_tokens(self, driver: Driver, text: str) -> None:
        """`detokenize`: the bytes that tokens stand for. A space before them may be the vocabulary's own."""
        tokens = driver.engine.tokenize(text, bos=False)
        assert _bare(driver.engine.detokenize(tokens)) == _bare(text.encode())

    def test_a_zero_byte_is_a_character_like_any_other(self, driver: Driver) -> None:
        """`tokenize`: tokens of the text, all of it."""
        tokens = driver.engine.tokenize("before\0after", bos=False)
        assert _bare(driver.engine.detokenize(tokens)) == b"before\0after"

    @pytest.mark.parametrize("bos", [True, False])
    def test_tokens_are_in_the_vocabulary(self, driver: Driver, bos: bool) -> None:
        """`vocabulary`: ids run from 0 to one less."""
        engine = driver.engine
        for text in _TEXTS.values():
            assert all(0 <= token < engine.vocabulary for token in engine.tokenize(text, bos=bos))

    def test_the_beginning_of_sequence_comes_once(self, driver: Driver) -> None:
        """`tokenize`: it comes first if the model wants one and the text does not already begin with it."""
        engine = driver.engine
        start = engine.tokenize("", bos=True)[:1]
        assert engine.tokenize("", bos=False) == []
        tokens, bare = engine.tokenize("word", bos=True), engine.tokenize("word", bos=False)
        assert tokens[:1] == start or not start
        assert len(tokens) >= len(bare)
        for written in _BEGINNINGS if start else ():
            if engine.tokenize(written, bos=False) == start:
                assert engine.tokenize(f"{written}word", bos=True).count(start[0]) == 1

    def test_a_long_text_is_tokenized_in_bounded_time(self, driver: Driver) -> None:
        """A prompt of a book's length must not keep the thread of all prompts for minutes."""
        text = " ".join(driver.prompts)
        text = (text * (_LONG // len(text) + 1))[:_LONG]
        began = time.perf_counter()
        tokens = driver.engine.tokenize(text, bos=False)
        assert time.perf_counter() - began < _LONG_SECONDS
        assert _bare(driver.engine.detokenize(tokens)) == text.encode()

    def test_text_that_is_no_unicode_fails_alone(self, driver: Driver) -> None:
        """An exception from a method about tokens fails that one request, and the engine goes on."""
        expected = driver.engine.tokenize("word")
        with suppress(Exception):
            driver.engine.tokenize("\ud800 word \udfff")
        assert driver.engine.tokenize("word") == expected

    def test_tokens_from_another_thread_during_steps(self, driver: Driver) -> None:
        """`tokenize`: any thread may call it at any time."""
        prompt = driver.lasting(24)
        expected_text = driver.alone(prompt, most=24).data
        expected = {text: driver.engine.tokenize(text) for text in _TEXTS.values()}
        wrong: list[str] = []
        done = threading.Event()

        def tokenize() -> None:
            while not done.is_set():
                for text, tokens in expected.items():
                    try:
                        same = driver.engine.tokenize(text) == tokens
                    except Exception as error:
                        same = bool(wrong.append(repr(error)))
                    if not same:
                        wrong.append(text)

        other = threading.Thread(target=tokenize)
        other.start()
        try:
            texts = [driver.alone(prompt, most=24).data for _ in range(3)]
        finally:
            done.set()
            other.join()
        assert texts == [expected_text] * 3
        assert not wrong

    def test_an_image_that_cannot_be_read_is_a_bad_request(self, driver: Driver) -> None:
        """`tokenize_media`: so it is for a model that takes no images, and for an image that is none."""
        with pytest.raises(BadRequest):
            driver.engine.tokenize_media("[img-0]What is this?", [b"\x89PNG\r\n\x1a\n, and nothing of an image"])


def _bare(data: bytes) -> bytes:
    return data.removeprefix(b" ")
