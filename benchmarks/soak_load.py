"""Requests at random, and whether their answers are whole: what eight clients of a busy day might send.

Long and short prompts, some that share a beginning and some that come again; raw, through the template and as chats;
with all kinds of options and formats; streamed and in one piece. Some clients close the connection midway.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from random import Random
from typing import Any

import httpx
from msgspec import Struct, field

from .prompts import fresh_prompts, shared_prompts

__all__ = ["Outcome", "client", "outcome_of", "random_request"]

_OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0},
    {"temperature": 0.8, "top_k": 20, "top_p": 0.9},
    {"temperature": 1.3, "min_p": 0.1},
    {"typical_p": 0.8},
    {"repeat_penalty": 1.2, "repeat_last_n": 32},
    {"repeat_penalty": 1.1, "repeat_last_n": -1},
    {"presence_penalty": 0.5, "frequency_penalty": 0.5},
    {"seed": 42, "temperature": 1.0},
    {"num_keep": 8},
]
_STOPS = [" the", "\n", "."]
_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array"}},
    "required": ["name", "age"],
}
_PREFIXES = 6
_CANCELLED = 0.15
_PATIENCE = 120.0
_MOST_FAULTS = 50


class Outcome(Struct):
    """What came of the requests of one client, or of several."""

    answered: int = 0
    cancelled: int = 0
    tokens: int = 0
    """Of those that were answered."""
    kinds: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])

    def add(self, other: Outcome) -> None:
        self.answered += other.answered
        self.cancelled += other.cancelled
        self.tokens += other.tokens
        self.kinds += other.kinds
        self.faults += other.faults


async def client(http: httpx.AsyncClient, model: str, seed: int, until: float, most: int) -> Outcome:
    """One request after another until that moment of `time.monotonic`, at most so many."""
    chance, outcome, known = Random(seed), Outcome(), list[str]()
    for _ in range(most):
        if time.monotonic() > until or len(outcome.faults) > _MOST_FAULTS:
            break
        kind, path, body = random_request(chance, model, known)
        outcome.kinds[kind] += 1
        cancel = chance.random() < _CANCELLED
        try:
            if cancel:
                await _begin(http, path, body, chance)
                outcome.cancelled += 1
            else:
                async with asyncio.timeout(_PATIENCE):
                    reply = await http.post(path, json=body)
                outcome.add(outcome_of(reply.status_code, reply.text, body))
        except (httpx.HTTPError, TimeoutError) as error:
            outcome.faults.append(f"{kind}: {error!r}")
    return outcome


async def _begin(http: httpx.AsyncClient, path: str, body: dict[str, Any], chance: Random) -> None:
    """Asks, reads some lines at most, and leaves."""
    lines = chance.randrange(12)
    try:
        async with asyncio.timeout(chance.uniform(0.01, 4.0)), http.stream("POST", path, json=body) as reply:
            async for _ in reply.aiter_lines():
                lines -= 1
                if lines < 0:
                    break
    except TimeoutError:
        pass


def outcome_of(status: int, text: str, body: dict[str, Any]) -> Outcome:
    """What the whole `text` of an answer to the request `body` is worth: whole is one end, and that at the end."""
    if status != 200:
        return Outcome(faults=[f"{status}: {text[:200]}"])
    try:
        parts: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines() if line]
        fault = _fault(parts, body)
    except (ValueError, KeyError) as error:
        return Outcome(faults=[f"{error!r} in {text[-200:]!r}"])
    if fault:
        return Outcome(faults=[f"{fault}: {text[-200:]!r}"])
    return Outcome(answered=1, tokens=parts[-1].get("eval_count", 0))


def _fault(parts: list[dict[str, Any]], body: dict[str, Any]) -> str:
    ends = [number for number, part in enumerate(parts) if part.get("done")]
    if any("error" in part for part in parts):
        return "an error"
    if ends != [len(parts) - 1]:
        return f"{len(parts)} parts, of which those at {ends} say that they are the last"
    if parts[-1]["done_reason"] not in {"stop", "length", "repeat"}:  # small models repeat themselves
        return f"it ended with {parts[-1]['done_reason']}"
    if parts[-1].get("eval_count", 0) > body["options"]["num_predict"]:
        return "more tokens than were asked for"
    if body.get("format"):
        json.loads("".join(part["message"]["content"] if "message" in part else part["response"] for part in parts))
    return ""


def random_request(chance: Random, model: str, known: list[str]) -> tuple[str, str, dict[str, Any]]:
    """The kind of a request, its path and its body. `known` are prompts that were sent before."""
    kind, prompt = _prompt(chance, known)
    known.append(prompt)
    del known[:-20]
    options = {**chance.choice(_OPTIONS), "num_predict": 300 if chance.random() < 0.03 else chance.randint(1, 64)}
    body: dict[str, Any] = {"model": model, "options": options, "stream": chance.random() < 0.85}
    if chance.random() < 0.2:
        body["format"] = chance.choice(["json", _SCHEMA])
    elif chance.random() < 0.2:
        options["stop"] = chance.sample(_STOPS, 2)
    if chance.random() < 0.1:
        body |= {"logprobs": True, "top_logprobs": chance.randint(0, 5)}
    if chance.random() < 0.3:
        return kind, "/api/chat", {**body, "messages": [{"role": "user", "content": prompt}]}
    return kind, "/api/generate", {**body, "prompt": prompt, "raw": chance.random() < 0.7}


def _prompt(chance: Random, known: list[str]) -> tuple[str, str]:
    draw, seed = chance.random(), chance.randrange(10**6)
    if draw < 0.4:
        return "short", fresh_prompts(1, chance.randint(1, 30), seed)[0]
    if draw < 0.7:
        number = chance.randrange(_PREFIXES)
        return "shared", shared_prompts(1, 150 + 100 * number, number, round=seed)[0]
    if draw < 0.8 and known:
        return "again", chance.choice(known)
    if draw < 0.97:
        return "middling", fresh_prompts(1, chance.randint(30, 400), seed)[0]
    return "long", fresh_prompts(1, chance.randint(800, 1500), seed)[0]
