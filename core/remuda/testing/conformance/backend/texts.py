"""Answers: their events, how they end, and what they say of themselves."""

from __future__ import annotations

from typing import Any

import pytest

from remuda.backend import Generates, Tokenizes
from remuda.errors import BadRequest, PromptTooLong

from .conversations import Conversing
from .fixtures import BackendFixtures, read

__all__ = ["TextTests"]


class TextTests(BackendFixtures):
    async def test_texts_come_and_one_done_last(self, model: Generates) -> None:
        """`generate`, and what `Done` counts. Durations are nanoseconds, and never 0: clients divide by them."""
        reply = await read(model, self.job(most=12))
        done = reply.done
        assert reply.text
        assert done.reason in {"stop", "length"}
        assert 0 <= done.cached_tokens <= done.prompt_tokens
        assert (done.context, done.dropped_tokens) == (None, 0)
        assert all(not text.logprobs for text in reply.texts)
        if isinstance(model, Conversing):
            return  # what such a model does not count, the flow fills in
        assert 0 < done.prompt_tokens < self.context
        assert 0 < done.output_tokens <= 12
        assert done.prompt_ns > 0
        assert done.output_ns > 0

    @pytest.mark.parametrize("most", [1, 5])
    async def test_an_answer_has_no_more_tokens_than_were_asked_for(self, prompted: Generates, most: int) -> None:
        """The option num_predict; the answer then ends with "length"."""
        done = (await read(prompted, self.job(most=most))).done
        assert (done.reason, done.output_tokens) == ("length", most)

    async def test_no_tokens_may_be_asked_for(self, prompted: Generates) -> None:
        """The option num_predict at 0: the prompt is read, and that is all."""
        reply = await read(prompted, self.job(most=0))
        assert (reply.text, reply.done.reason, reply.done.output_tokens) == ("", "length", 0)
        assert reply.done.prompt_tokens > 0

    async def test_a_stop_string_ends_an_answer_and_is_not_in_it(self, prompted: Generates) -> None:
        """The option stop, with something that the model says of itself, across the border of two tokens or not."""
        whole = (await read(prompted, self.job(most=20))).text
        for start, end in ((1, 2), (2, 6), (len(whole) // 2, len(whole) // 2 + 3)):
            stop = whole[start:end]
            reply = await read(prompted, self.job(most=20, options={"stop": ("never said \0", stop)}))
            assert (reply.text, reply.done.reason) == (whole[: whole.find(stop)], "stop")

    async def test_without_shift_an_answer_ends_where_the_limit_is(self, prompted: Generates) -> None:
        """`GenerateJob.limit`: tokens of prompt and output together."""
        tokens = (await read(prompted, self.job(most=1))).done.prompt_tokens
        done = (await read(prompted, self.job(most=-1, limit=tokens + 6, shift=False))).done
        assert (done.reason, done.output_tokens) == ("length", 6)

    async def test_a_seed_gives_the_same_answer_again(self, prompted: Generates) -> None:
        """The option seed; without temperature the answer is always the same."""
        for options in ({"temperature": 1.0, "seed": 42}, {}):
            texts = [(await read(prompted, self.job(options=options))).text for _ in range(2)]
            assert texts[0] == texts[1]

    async def test_a_repetition_may_end_an_answer(self, prompted: Generates) -> None:
        """`GenerateJob.repeat_limit`: with "repeat", after more equal tokens in a row than that; 0 never does."""
        options = {"repeat_penalty": 0.01, "presence_penalty": -100.0, "repeat_last_n": -1}
        plain = (await read(prompted, self.job(most=24, options=options, want_context=True))).done
        assert plain.reason in {"stop", "length"}
        written = (plain.context or [])[plain.prompt_tokens :]
        ends = [end for end in range(3, len(written) + 1) if len(set(written[end - 3 : end])) == 1]
        done = (await read(prompted, self.job(most=24, options=options, repeat_limit=2))).done
        if ends:
            assert done.reason == "repeat"
            assert done.output_tokens <= ends[0]

    async def test_an_answer_can_be_continued_from_its_context(self, prompted: Generates) -> None:
        """`want_context`: the tokens of prompt and output, which a later job's `context` begins with."""
        whole = await read(prompted, self.job(most=16))
        half = await read(prompted, self.job(most=8, want_context=True))
        context = half.done.context
        assert context is not None
        assert len(context) == half.done.prompt_tokens + half.done.output_tokens
        rest = await read(prompted, self.job("", most=8, context=context, want_context=True))
        assert half.text + rest.text == whole.text
        assert rest.done.prompt_tokens == len(context)
        assert (rest.done.context or [])[: len(context)] == context

    async def test_a_context_of_other_tokens_is_a_bad_request(self, prompted: Generates) -> None:
        """Tokens come from a client, and may be any numbers."""
        expected = (await read(prompted, self.job())).text
        for context in ([-1], [2**31 - 1], [1, 2**62]):
            with pytest.raises(BadRequest):
                await read(prompted, self.job(context=context))
        assert (await read(prompted, self.job())).text == expected

    async def test_a_prompt_that_is_too_long_is_cut(self, prompted: Generates) -> None:
        """`truncate`: and `Done` says how much was dropped."""
        done = (await read(prompted, self.job(self.long_prompt(), most=2))).done
        assert done.dropped_tokens > 0
        assert done.prompt_tokens < self.context

    async def test_a_prompt_that_may_not_be_cut_is_refused(self, prompted: Generates) -> None:
        """`truncate`: else raise `PromptTooLong`."""
        with pytest.raises(PromptTooLong):
            await read(prompted, self.job(self.long_prompt(), truncate=False))
        assert (await read(prompted, self.job(truncate=False))).text

    @pytest.mark.parametrize("most", [0, 5])
    async def test_log_probabilities_are_told_for_each_token(self, prompted: Generates, most: int) -> None:
        """`GenerateJob.logprobs`: how many of the likeliest are told with each token's."""
        reply = await read(prompted, self.job(most=8, logprobs=most))
        if not reply.logprobs:
            pytest.skip("this model tells no log probabilities")
        assert len(reply.logprobs) == reply.done.output_tokens
        assert all(told.logprob <= 1e-3 and len(told.top) == most for told in reply.logprobs)
        assert reply.text == (await read(prompted, self.job(most=8))).text


class CharacterTests(BackendFixtures):
    @pytest.mark.parametrize("seed", range(3))
    async def test_characters_leave_whole(self, model: Generates, seed: int) -> None:
        """`Text`: whole characters. What is no UTF-8 in all of the answer's bytes is U+FFFD, and nothing else is."""
        options: dict[str, Any] = {"temperature": 3.0, "top_k": 0, "top_p": 1.0, "seed": seed}
        reply = await read(model, self.job(most=48, want_context=True, options=options))
        assert all(text.text.encode() for text in reply.texts if text.text)
        if isinstance(model, Tokenizes) and reply.done.context:
            written = reply.done.context[reply.done.prompt_tokens :]
            assert reply.text.removeprefix(" ") == (await model.detokenize(written)).removeprefix(" ")

    async def test_a_text_comes_back_from_its_tokens(self, model: Generates) -> None:
        """`Tokenizes`; a space before the text may be the vocabulary's own, and what marks its beginning is no text."""
        if not isinstance(model, Tokenizes):
            pytest.skip("this model does not tokenize")
        for text in ("plain, and \n more", "é 日本語 🦄", ""):
            assert (await model.detokenize(await model.tokenize(text))).removeprefix(" ") == text
        assert await model.detokenize([]) == ""
