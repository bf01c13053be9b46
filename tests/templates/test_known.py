"""Known families of templates (Ollama API, section 8.5)."""

from __future__ import annotations

import random
import time

import pytest

from remuda_plugins.templates.go import ollama
from remuda_plugins.templates.jinja_render import render
from remuda_plugins.templates.known import match_known
from remuda_plugins.templates.known.distance import distance
from remuda_plugins.templates.known.marks import MARKS, SIGNS
from remuda_plugins.templates.known.templates import STOPS, TEMPLATES

SYSTEM = {"role": "system", "content": "SYS"}
CHAT = [
    {"role": "user", "content": "u1"},
    {"role": "assistant", "content": "a1"},
    {"role": "user", "content": "u2"},
]

NAMES = {
    "alfred", "alpaca", "chatml", "chatqa", "codellama-70b-instruct", "command-r", "falcon-instruct", "gemma-instruct",
    "gemma3-instruct", "granite-instruct", "llama2-chat", "llama3-instruct", "magicoder", "mistral-instruct",
    "openchat", "phi-3", "solar-instruct", "starcoder2-instruct", "vicuna", "zephyr",
}  # fmt: skip


def plainly(one: str, other: str) -> int:
    """The distance by the definition."""
    row = list(range(len(other) + 1))
    for index, left in enumerate(one, 1):
        before, row[0] = row[0], index
        for place, right in enumerate(other, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (left != right))
    return row[-1]


def test_the_distance_is_levenshteins() -> None:
    chance = random.Random(1)
    for _ in range(300):
        one, other = ("".join(chance.choices("abç", k=chance.randrange(40))) for _ in range(2))
        for limit in (1, 5, 20, 100):
            assert distance(one, other, limit) == min(plainly(one, other), limit)


def test_the_distance_of_long_texts_is_quick() -> None:
    one, other = "ab" * 20_000, "ba" * 20_000
    began = time.perf_counter()
    assert distance(one, other, 100) == 2
    assert distance(one, "x" * 40_000, 100) == distance(one, "", 100) == 100
    assert time.perf_counter() - began < 10


def test_every_family_has_a_template_stops_a_sign_and_a_mark() -> None:
    assert set(TEMPLATES) == set(STOPS) == set(SIGNS) == {name for _, name in MARKS} == NAMES
    assert all(STOPS.values())


@pytest.mark.parametrize(("mark", "name"), MARKS, ids=[f"{name}-{number}" for number, (_, name) in enumerate(MARKS)])
def test_a_mark_is_recognised_also_when_it_was_changed_a_little(mark: str, name: str) -> None:
    for text in (mark, mark + "\n", "{# made by us #}" + mark, mark.replace("\\n", "\n")):
        known = match_known(text)
        assert known is not None
        assert (known.name, known.template, known.stops) == (name, TEMPLATES[name], STOPS[name])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 200,
        "{% for message in messages %}{{ message['content'] }}{% endfor %}",
        MARKS[0][0].replace("<|im_start|>", "<|turn|>"),
        MARKS[0][0] + "x" * 100,
        MARKS[0][0] * 1000,
    ],
)
def test_what_is_of_no_family_is_not_recognised(text: str) -> None:
    assert match_known(text) is None


def test_the_nearest_family_is_taken() -> None:
    by_name = {name: mark for mark, name in MARKS}
    assert distance(by_name["magicoder"], by_name["starcoder2-instruct"], 100) < 100
    one, other = match_known(by_name["magicoder"]), match_known(by_name["starcoder2-instruct"])
    assert one is not None
    assert other is not None
    assert (one.name, other.name) == ("magicoder", "starcoder2-instruct")


def _comparable(mark: str, name: str) -> bool:
    """Others begin with words of their own, or write nothing between an answer and the next question."""
    others = {"alpaca", "chatqa", "codellama-70b-instruct", "llama2-chat", "magicoder", "mistral-instruct"}
    others |= {"solar-instruct", "starcoder2-instruct", "zephyr"}
    return name not in others and not any(sign in mark for sign in ("\n{%", "helpful assistant", "content + "))


@pytest.mark.parametrize(("mark", "name"), [pair for pair in MARKS if _comparable(*pair)])
def test_the_go_template_writes_what_the_published_one_writes(mark: str, name: str) -> None:
    published = render(mark, {"messages": CHAT, "bos_token": "", "eos_token": "</s>"})
    assert ollama.render(TEMPLATES[name], {"messages": CHAT}).split() == published.split()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_template_says_all_and_ends_where_the_answer_begins(name: str) -> None:
    prompt = ollama.render(TEMPLATES[name], {"messages": [SYSTEM, *CHAT]})
    places = [prompt.index(word) for word in ("SYS", "u1", "a1", "u2")]
    assert places == sorted(places)
    begun = ollama.render(TEMPLATES[name], {"messages": [SYSTEM, *CHAT, {"role": "assistant", "content": "Well"}]})
    assert begun.startswith(prompt)
    assert begun.removeprefix(prompt).strip() == "Well"
    assert "no value" not in prompt
