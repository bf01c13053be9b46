"""A constraint that begins after thinking, stage by stage; the tokens are chosen here, not by a model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from llguidance import LLMatcher

from remuda import Constraint
from remuda.sampling import Guide, Vocabulary, compile_constraint, rest_of_character

JSON = LLMatcher.grammar_from_json_schema('{"type": "object"}')
DIGITS = LLMatcher.grammar_from_regex("[0-9]{3}")


class Writer:
    """Feeds a text of its own choice to a guide."""

    def __init__(self, vocabulary: Vocabulary, guide: Guide) -> None:
        self.vocabulary, self.guide = vocabulary, guide
        self.text = b""

    def allowed(self) -> np.ndarray:
        logits = np.zeros(self.vocabulary.size, np.float32)
        self.guide.mask(logits)
        return logits == 0

    def token(self, token: int) -> bool:
        if not self.allowed()[token] or not self.guide.take(token):
            return False
        self.text += self.guide.text_of(token) or b""
        return True

    def write(self, text: str, *, small: bool = False) -> bool:
        """Whether all of it was allowed: as the model would write it, or in the smallest tokens that are allowed."""
        if not small:
            return all(self.token(token) for token in self.vocabulary.tokenize(text, bos=False))
        rest = text.encode()
        while rest:
            allowed = np.flatnonzero(self.allowed()).tolist()
            texts = [(self.guide.text_of(token) or b"", token) for token in allowed]
            pieces = [(len(data), token) for data, token in texts if data and rest.startswith(data)]
            if not pieces or not self.token(min(pieces)[1]):
                return False
            rest = rest[min(pieces)[0] :]
        return True

    @property
    def whole(self) -> str:
        return (self.text + self.guide.completion()).decode()


@pytest.fixture
def writer(vocabulary, grammars):
    def make(grammar=JSON, visible=(), **fields):
        compiled = compile_constraint(Constraint(grammar=grammar, **fields), grammars)
        return Writer(vocabulary, Guide(compiled, vocabulary, vocabulary.visible(visible)))

    return make


@pytest.fixture
def thinker(writer):
    return lambda grammar=JSON, **more: writer(grammar, **{"open": "<think>", "close": "</think>", **more})


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("lead", ["", "\n", " \n\n"])
@pytest.mark.parametrize("gap", ["", "\n\n", " "])
def test_thinking_is_free_and_what_follows_is_bound(thinker, small, lead, gap):
    one = thinker()
    assert one.write(f'{lead}<think>no }} JSON </thin> "at all" 日本 </think>{gap}{{"a": 1', small=small)
    assert not one.write("x")
    assert one.write("}")
    assert one.guide.ended
    assert one.guide.completion() == b""


def test_any_other_text_is_bound_from_its_start(thinker):
    one = thinker()
    assert one.write('{"<think>": "<think>"}')
    assert one.guide.ended
    for text in ("no", "<thinking", "<b>", "think>", "</think>{}"):
        assert not thinker().write(text)


@pytest.mark.parametrize("fields", [{"open": ""}, {"close": ""}, {"open": "", "close": ""}])
def test_without_both_tags_it_is_bound_from_its_start(thinker, fields):
    assert not thinker(**fields).write("<think>")
    assert thinker(**fields).write("{}")


def test_a_prompt_that_opened_the_thinking_leaves_the_text_free(thinker):
    one = thinker(opened=True)
    assert one.write("anything <think> at all\n</think>\n\n{}")
    assert one.guide.ended


def test_a_text_may_still_become_either(thinker):
    tagged = LLMatcher.grammar_from_regex("<(three|thinker)>")
    one = thinker(tagged)
    assert one.write("<thin", small=True)
    assert one.write("ker>", small=True)
    assert one.guide.ended
    one = thinker(tagged)
    assert one.write("<think>x</think><three>", small=True)
    assert one.guide.ended


def test_what_opens_thinking_wins_over_a_grammar_that_allows_it_too(thinker):
    one = thinker(LLMatcher.grammar_from_regex(r"<think>[0-9]+"))
    assert one.write("<think>free</think><think>12", small=True)
    assert not one.guide.ended
    assert one.guide.completion() == b""


def test_thinking_must_not_end_the_text(thinker):
    one = thinker(opened=True)
    assert one.write("Hm")
    assert not one.allowed()[one.guide._compiled.kinds.ends].any()
    assert one.allowed().sum() == one.vocabulary.size - len(one.guide._compiled.kinds.ends)


def test_a_token_that_closes_and_goes_on_wrongly_is_not_taken(thinker):
    # `>` and a line end are one token in many vocabularies, and `></` is one in this.
    one = thinker(opened=True, close="</b>")
    (wrong,) = one.vocabulary.tokenize("></", bos=False)
    assert one.write("Hm</b")
    assert one.allowed()[wrong]
    before = one.guide.completion()
    assert not one.guide.take(wrong)
    assert one.guide.completion() == before
    assert one.write(">{}")


def test_a_token_that_closes_and_goes_on_rightly_is_taken(thinker):
    one = thinker(LLMatcher.grammar_from_regex("</[a-z]+>"), opened=True, close="</b>")
    (token,) = one.vocabulary.tokenize("></", bos=False)
    assert one.write("Hm</b")
    assert one.token(token)
    assert one.write("x>")
    assert one.guide.ended


def test_white_space_before_and_after_thinking_comes_to_an_end(thinker):
    one = thinker(DIGITS)
    assert not one.write("\n" * 40, small=True)
    assert one.text == b"\n" * 16
    assert one.write("<think></think>")
    assert not one.write("\n" * 40, small=True)
    assert one.write("123")


def test_white_space_that_the_grammar_wants_is_not_passed_over_for_nothing(thinker):
    one = thinker(LLMatcher.grammar_from_regex(" x"), opened=True)
    assert one.write("</think>")
    assert one.write(" x")
    assert one.guide.ended


@pytest.mark.parametrize(
    ("written", "tail"),
    [
        ("", "000"),
        ("1", "00"),
        ("\n", "<think>\n</think>\n\n000"),
        ("<", "think>\n</think>\n\n000"),
        ("<think>", "\n</think>\n\n000"),
        ("<think>Hm", "\n</think>\n\n000"),
        ("<think>Hm</thi", "\n</think>\n\n000"),
        ("<think>Hm</think>", "000"),
        ("<think>Hm</think>\n", "000"),
        ("<think>Hm</think>\n12", "0"),
    ],
)
def test_a_text_is_completed_from_every_stage(thinker, written, tail):
    one = thinker(DIGITS)
    assert one.write(written, small=True)
    lead, _, digits = one.guide.completion().decode().rpartition("\n")
    wanted, _, shape = tail.rpartition("\n")
    assert lead == wanted
    assert len(digits) == len(shape)
    assert digits.isdigit()


@pytest.mark.parametrize("text", ["é", "日", "🦄", "\U0010ffff", "\u0800", "\U00010000"])
def test_half_a_character_of_a_thought_is_made_whole(thinker, text):
    for cut in range(1, len(text.encode())):
        part = text.encode()[:cut]
        whole = part + rest_of_character(part)
        assert len(whole.decode()) == 1
        assert rest_of_character(b"abc" + part) == rest_of_character(part)
    assert rest_of_character(text.encode()) == b""
    assert rest_of_character(b"a\xff") == b""


def test_half_a_character_is_made_whole_where_the_engine_cuts(thinker):
    for prefix in ("<think>", '{"a": "'):
        one = thinker()
        assert one.write(prefix)
        first = one.vocabulary.tokenize("🦄", bos=False)[0]
        assert one.token(first)
        with pytest.raises(UnicodeDecodeError):
            one.text.decode()
        _, _, answer = one.whole.rpartition("</think>")
        assert isinstance(json.loads(answer), dict)


def test_control_tokens_that_are_visible_open_and_close(thinker):
    one = thinker(open="<tag_open>", close="<tag_close>", visible=("<tag_open>", "<tag_close>"))
    start, end = (one.vocabulary.tokenize(tag, bos=False)[0] for tag in ("<tag_open>", "<tag_close>"))
    assert one.token(start)
    assert one.write("Hm")
    assert one.token(end)
    assert one.write("{}")
    assert one.text == b"<tag_open>Hm<tag_close>{}"


def test_control_tokens_that_are_visible_are_text_for_the_grammar_too(writer):
    grammar = LLMatcher.grammar_from_regex("<tag_close>[0-9]")
    (token,) = writer().vocabulary.tokenize("<tag_close>", bos=False)
    assert not writer(grammar).allowed()[token]
    one = writer(grammar, visible=("<tag_close>",))
    assert one.token(token)
    assert one.write("7")
    assert one.guide.ended
    assert writer(grammar).write("<tag_c", small=True)


def test_control_tokens_that_the_grammar_names_are_taken(writer):
    one = writer('start: "a" <tag_close> "b"')
    (token,) = one.vocabulary.tokenize("<tag_close>", bos=False)
    assert one.guide.completion() == b"ab"
    assert one.write("a")
    assert one.token(token)
    assert one.write("b")
    assert one.text == b"ab"
    one = writer('start: "a" <tag_close> "b"', visible=("<tag_close>",))
    assert one.guide.completion() == b"a<tag_close>b"
