"""The sampler in numpy leaves the tokens that llama.cpp's chain leaves, each as likely."""

from __future__ import annotations

import ctypes
import random
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from remuda import Constraint, Sequence
from remuda.sampling import Sampler
from remuda.wire import Options

_ENTRY = np.dtype([("token", np.int32), ("logit", np.float32), ("chance", np.float32)])
_CONTEXT = 64

Native = Callable[[Sequence, np.ndarray], tuple[np.ndarray, int]]


@pytest.fixture(scope="module")
def native() -> Iterator[Native]:
    """The entries that the chain leaves of a row of logits, and the token that it chooses."""
    llama = pytest.importorskip("llama_cpp.llama_cpp")
    from remuda_llamacpp.sampler import Sampler as Chain

    def run(sequence: Sequence, logits: np.ndarray) -> tuple[np.ndarray, int]:
        entries = np.zeros(len(logits), _ENTRY)
        entries["token"], entries["logit"] = np.arange(len(logits)), logits
        address = entries.ctypes.data_as(ctypes.POINTER(llama.llama_token_data))
        array = llama.llama_token_data_array(address, len(logits), -1, False)
        chain = Chain(sequence, _CONTEXT, len(logits), [])
        llama.llama_sampler_apply(chain._chain, ctypes.byref(array))
        chain.close()
        return entries[: array.size], int(entries["token"][array.selected])

    yield run
    # Opened when it is imported, and left to the interpreter's last moments, which complain.
    utils = sys.modules["llama_cpp._utils"]
    for file in (utils.outnull_file, utils.errnull_file):
        file.close()


def case(seed: int) -> tuple[Sequence, np.ndarray]:
    """Some options, some logits: tied, masked, far apart. No option says exactly what equal tokens add up to."""
    pick, numbers = random.Random(seed), np.random.default_rng(seed)
    size = pick.choice([1, 7, 60, 400, 1200])
    logits = numbers.normal(0, pick.choice([0.3, 3, 12]), size).astype(np.float32)
    if pick.random() < 0.2:
        logits = np.round(logits)
    constraint = None
    if pick.random() < 0.3:
        constraint = Constraint(grammar="")
        masked = numbers.random(size) < pick.choice([0.1, 0.9, 0.99])
        masked[pick.randrange(size)] = False
        logits[masked] = -np.inf
    options = Options(
        temperature=pick.choice([0.0, 0.1, 0.8, 1.0, 2.0, 5.0]),
        top_k=pick.choice([0, 1, 3, 40, 200, 10**6]),
        top_p=pick.choice([0.0, 0.133, 0.547, 0.913, 1.0]),
        min_p=pick.choice([0.0, 0.0, 0.013, 0.31, 1.0]),
        typical_p=pick.choice([0.0, 0.217, 0.713, 0.947, 1.0, 1.0, 1.0]),
        repeat_penalty=pick.choice([1.0, 1.1, 2.0, 0.7]),
        frequency_penalty=pick.choice([0.0, 0.5, -1.0]),
        presence_penalty=pick.choice([0.0, 0.0, 1.5]),
        repeat_last_n=pick.choice([0, -1, 4, 64, 1000]),
    )
    tokens = [pick.randrange(-1, size) for _ in range(pick.randrange(1, _CONTEXT))]
    sequence = Sequence(id=1, tokens=tokens, options=options, seed=1, limit=_CONTEXT, constraint=constraint)
    return sequence, logits


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_the_same_are_left_and_each_is_as_likely(native, seed):
    wrong = []
    for number in range(seed * 250, seed * 250 + 250):
        sequence, logits = case(number)
        entries, chosen = native(sequence, logits)
        if sequence.options.temperature <= 0:
            assert Sampler(sequence, _CONTEXT, len(logits)).sample(logits) == chosen, number
        elif not same(entries, *left(sequence, logits)):
            wrong.append(number)
    # llama.cpp sums in float32: once in a thousand cases it counts one token more or less.
    assert len(wrong) <= 2, wrong


def left(sequence: Sequence, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that are left, and how likely each is."""
    sampler = Sampler(sequence, _CONTEXT, len(logits))
    tokens, weights = sampler._weigh(logits if sampler._penalties is None else sampler._penalties.applied(logits))
    return tokens, weights / weights.sum()


def same(entries: np.ndarray, tokens: np.ndarray, chances: np.ndarray) -> bool:
    """By how likely they are: llama.cpp does not say which of equals it leaves."""
    return len(entries) == len(tokens) and np.allclose(
        np.sort(chances), np.sort(entries["chance"]), rtol=1e-3, atol=1e-7
    )


def test_cases_are_of_every_kind():
    cases = [case(number) for number in range(1000)]
    assert sum(sequence.options.temperature <= 0 for sequence, _ in cases) > 50
    assert sum(sequence.constraint is not None for sequence, _ in cases) > 50
    assert sum(bool((logits == np.round(logits)).all()) and len(logits) > 1 for _, logits in cases) > 50
