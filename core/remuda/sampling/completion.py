"""How a text that was cut short comes to match its grammar: a walk to a near end, without the model.

What the grammar forces is taken as it is. Where there is a choice, a byte that closes something comes first, then
what is likely to lead to an end: commas before digits before letters, and what opens something last. A byte gets
dearer each time it is used, so that no circle holds the walk for ever. Two things this does not find: the words of a
pattern after a part that takes any text (`.*\\.txt`), for which words of the grammar's own are tried, and the end of
a grammar in which the cheapest way asks for more and more, which is then walked in other ways.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice, zip_longest
from typing import Any, Final, cast

from .grammar import GrammarFailed, Matcher

__all__ = ["completion", "rest_of_character"]

_SECONDS: Final = 1.0
"""Of work. On a busy machine it takes longer, instead of finding less."""
_TEXT: Final = 64
"""Where so many bytes are allowed, the place is inside a text, and brackets are only characters."""
_QUOTE: Final = ord('"')
_LETTERS, _DIGITS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", b"0123456789"
_CHEAP, _DEAR = 52, 70
"""What a byte costs that closes or parts something at most, and one that nothing is known of."""


def _costs(groups: dict[int, bytes]) -> list[int]:
    costs = [_DEAR] * 256
    for cost, group in groups.items():
        for byte in group:
            costs[byte] = cost
    return costs


_OUTSIDE = _costs({0: b"}])>", 50: b",:;", _CHEAP: b'"', 60: _DIGITS, 62: _LETTERS, 120: b"[{(<", 1000: b" \t\r\n"})
_INSIDE = _costs({60: _LETTERS, 61: _DIGITS, 1000: b"\\\t\r\n"})

# Words to try: so many words of the grammar, of so many bytes, alone, in pairs, and before a run of one character.
_WORDS, _LENGTH, _RUN = 20, 64, 8
_CHARACTERS = b"0aA -_.:@\n"
_CHARACTER = re.compile(
    r"\\[xu]\{([0-9a-fA-F]{1,6})\}|\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\([^\w\s]|[nrt])|\[([^\]\\^])\]|\\?(.)",
    re.DOTALL,
)
"""What stands for itself, in one of the ways to write it, or a character that may mean something else."""
_NO_WORD = re.compile(r"\(\?[a-zA-Z-]*:|\(\?P?<\w+>|(?<!\\[xu])\{[0-9]+,?[0-9]*\}")
_QUOTED = re.compile(r'"((?:[^"\\\n]|\\.)+)"')
_MEANINGFUL = frozenset('\\.^$*+?()[]{}|"\n')

_IDLE, _NEVER, _BULK = 64, 1_000_000, 256
"""Choices in a row that close nothing: after so many a way leads nowhere. Bytes of filling that are taken at once."""

_Choose = Callable[[Matcher, list[int], list[int]], bytes]
"""From a place, the bytes that are allowed there, and how often each byte was used, to what comes next."""
_TextOf = Callable[[int], bytes | None]


def completion(matcher: Matcher, grammar: str, text_of: _TextOf) -> bytes | None:
    """The bytes from `matcher`'s place to an end of its `grammar`; None if a second of work finds none.

    `text_of` gives the text of a token, None for one that ends a text. `matcher` stays where it is.
    """
    began = time.thread_time()
    for share, most, choose in _ways(grammar, began):
        found = _walk(matcher.copy(), choose, text_of, most, began + share * _SECONDS)
        if found is not None:
            return found
    return None


def _ways(grammar: str, began: float) -> Iterator[tuple[float, int, _Choose]]:
    """For each way the part of the time by which it ends, how many idle choices it may make, and how it chooses."""
    yield 0.9, _IDLE, _cheapest
    yield 0.7, _IDLE, _by_words(list(_words(grammar)), began + 0.7 * _SECONDS)
    yield 0.8, _NEVER, _cheapest
    yield 0.85, _NEVER, _first
    yield 0.9, _NEVER, _last
    for seed in range(5):
        yield 0.9 + 0.02 * (seed + 1), _NEVER, _any(seed)


def _walk(matcher: Matcher, choose: _Choose, text_of: _TextOf, most: int, deadline: float) -> bytes | None:
    out, used, idle = bytearray(), [0] * 256, 0
    try:
        while time.thread_time() < deadline and idle <= most:
            if matcher.accepts:
                return bytes(out)
            data = matcher.forced()
            if data:
                idle = 0
            elif allowed := matcher.allowed_bytes():
                data = choose(matcher, allowed, used)
                used[data[0]] += 1
                inside = len(allowed) >= _TEXT
                idle = 0 if _OUTSIDE[data[0]] <= _CHEAP and not inside else idle + 1
                if inside:
                    data = _many(matcher, data, idle)
            if data:
                matcher.take_bytes(data)
            else:
                data = _take_special(matcher, text_of)
            out += data
    except GrammarFailed:
        return None
    return None


def _many(matcher: Matcher, data: bytes, idle: int) -> bytes:
    """`data`, or as many times as it is allowed if there was much filling before: texts may have to be long."""
    many = data * min(idle * idle // 16, _BULK)
    return many if len(many) > 1 and matcher.could_take_bytes(many) else data


def _take_special(matcher: Matcher, text_of: _TextOf) -> bytes:
    for token in (~matcher.forbidden()).nonzero()[0].tolist():
        if (data := text_of(token)) is not None:
            matcher.take(token)
            return data
    raise GrammarFailed(500, "the format leads nowhere")


# --- ways to choose ---


def _cheapest(matcher: Matcher, allowed: list[int], used: list[int]) -> bytes:
    inside = len(allowed) >= _TEXT
    if inside and _QUOTE in allowed:
        return b'"'
    costs = _INSIDE if inside else _OUTSIDE
    return bytes([min(allowed, key=lambda byte: costs[byte] + used[byte])])


def _by_words(words: list[bytes], deadline: float) -> _Choose:
    """The cheapest byte if it closes something; else the shortest of `words` that leads somewhere new.

    A place is new if other bytes are allowed there than anywhere since something was closed.
    """
    seen: set[bytes] = set()

    def choose(matcher: Matcher, allowed: list[int], used: list[int]) -> bytes:
        seen.add(bytes(allowed))
        cheapest = _cheapest(matcher, allowed, used)
        if _OUTSIDE[cheapest[0]] <= _CHEAP and _after(matcher, cheapest) != allowed:
            seen.clear()
            return cheapest
        for word in words:
            if time.thread_time() > deadline:
                break
            if not matcher.could_take_bytes(word):
                continue
            after = _after(matcher, word)
            if after is None or bytes(after) not in seen:
                # Where it was needed once it is likely to be needed again, in the next item of a list.
                words.remove(word)
                words.insert(0, word)
                return word
        return cheapest

    return choose


def _after(matcher: Matcher, data: bytes) -> list[int] | None:
    """The bytes that are allowed after `data`; None if it ends there."""
    matcher.take_bytes(data)
    after = None if matcher.accepts else matcher.allowed_bytes()
    matcher.give_back(len(data))
    return after


def _first(matcher: Matcher, allowed: list[int], used: list[int]) -> bytes:
    return bytes([min(allowed, key=_OUTSIDE.__getitem__)])


def _last(matcher: Matcher, allowed: list[int], used: list[int]) -> bytes:
    return bytes(allowed[-1:])


def _any(seed: int) -> _Choose:
    pick = random.Random(seed)
    return lambda matcher, allowed, used: bytes([pick.choice(allowed)])


# --- words ---


def _words(grammar: str) -> list[bytes]:
    """What may have to be written after a part that takes any text: shortest first, white space last."""
    # Some of each pattern: a single one may hold very many.
    ranks = zip_longest(*(_literals(text) for text in islice(_patterns(grammar), _WORDS)))
    found = dict.fromkeys(word for rank in ranks for word in rank if word)
    words = [b"", *islice(found, _WORDS)]
    runs = {word + bytes([byte]) * count for word in words for byte in _CHARACTERS for count in range(_RUN + 1)}
    pairs = {first + second for first in words for second in words}
    return sorted((runs | pairs) - {b""}, key=lambda word: (word.isspace(), len(word), word))


def _literals(pattern: str) -> Iterator[bytes]:
    """What is between quotation marks, and else the words between what is not written out."""
    for quoted in _QUOTED.findall(pattern):
        if len(data := quoted.encode("utf-8", "replace")) <= _LENGTH:
            yield data
    word, depth = "", 0
    for token in _CHARACTER.finditer(_NO_WORD.sub("(", pattern) + "$"):
        depth += (token[0] == "[") - (token[0] == "]" and depth > 0)
        if not depth and (character := _written(token)) is not None:
            word += character
            continue
        for form in (word, word.strip("/ ")):
            if 0 < len(data := form.encode("utf-8", "replace")) <= _LENGTH:
                yield data
        word = ""


def _written(token: re.Match[str]) -> str | None:
    if digits := token[1] or token[2] or token[3]:
        return chr(min(int(digits, 16), sys.maxunicode))
    if token[4]:
        return {"n": "\n", "r": "\r", "t": "\t"}.get(token[4], token[4])
    return token[5] or (token[6] if token[0] not in _MEANINGFUL and token[0] == token[6] else None)


def _patterns(grammar: str) -> Iterator[str]:
    """The regular expressions and the Lark sources in a grammar."""
    try:
        pending = deque([json.loads(grammar)])
    except (ValueError, RecursionError):
        yield grammar
        return
    while pending:
        value: Any = pending.popleft()
        if isinstance(value, dict):
            for key, child in cast(dict[str, Any], value).items():
                if key in {"pattern", "lark_grammar"} and isinstance(child, str):
                    yield child
                elif key == "patternProperties" and isinstance(child, dict):
                    yield from cast(dict[str, Any], child)
                pending.append(child)
        elif isinstance(value, list):
            pending += cast(list[Any], value)


# --- characters ---


def rest_of_character(data: bytes) -> bytes:
    """What makes the incomplete UTF-8 character at the end of `data` a whole one; empty if there is none."""
    for length in range(1, min(3, len(data)) + 1):
        first = data[-length]
        if first & 0xC0 == 0x80:
            continue
        size = 4 if 0xF0 <= first <= 0xF4 else 3 if first & 0xF0 == 0xE0 else 2 if 0xC2 <= first <= 0xDF else 1
        # A second byte lower than these would make a character that has a shorter form.
        second = {0xE0: 0xA0, 0xF0: 0x90}.get(first, 0x80)
        return bytes([second, 0x80, 0x80][length - 1 : size - 1])
    return b""
