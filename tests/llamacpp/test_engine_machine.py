"""Whatever is submitted, cancelled and interrupted in whatever order: every text is its own, and no cell is lost.

Each text is compared with what an engine gives that computes it alone, without reuse and without guesses.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from foretelling import Oracle
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from llguidance import LLMatcher
from tiny_engine import PLAIN, TinyEngine, letters
from tiny_memories import write_exact_llama, write_tiny_hybrid, write_tiny_mamba, write_tiny_window

from remuda import Constraint
from remuda_llamacpp import _native
from remuda_llamacpp.drafts.payoff import Payoff
from remuda_llamacpp.texts import reuse, writer

pytestmark = pytest.mark.usefixtures("load")

CONTEXT, PARALLEL, MOST = 256, 3, 60
PATTERN = "([a-f]{4} ){2,9}z"
WISHES = (
    {},
    {},
    {"temperature": 1.0, "seed": 5},
    {"temperature": 0.8, "repeat_penalty": 1.5, "repeat_last_n": -1, "logprobs": 2},
    {"constraint": Constraint(grammar=LLMatcher.grammar_from_regex(PATTERN))},
    {"shift": True, "limit": 160, "keep": 20},
    {"limit": CONTEXT},
)
BASES = [letters(200, seed) for seed in range(3)]


class Reference:
    """Texts that were computed alone."""

    def __init__(self, weights):
        self.engine = TinyEngine(weights, context=CONTEXT, parallel=1, **PLAIN)
        self._known = {}
        self.latest = {}

    def of(self, prompt, wish):
        """What it said, or the first `MOST` tokens of it."""
        key = tuple(prompt), wish
        if key not in self._known:
            said = self.engine.submit(1, prompt, **{"most": MOST, **WISHES[wish]})
            while said.end is None and len(said.tokens) < MOST:
                self.engine.step()
            self.engine.clear()
            self._known[key] = said
        return self._known[key]

    def foretold(self, prompt):
        """For guesses: what followed in some way of sampling, maybe another one."""
        return next((said.tokens for (known, _), said in self._known.items() if known == tuple(prompt)), [])


NEW = st.builds(
    lambda base, count, tail, wish, owner: (BASES[base][:count] + letters(tail, count + tail), wish, owner),
    st.integers(0, 2),
    st.sampled_from([1, 9, 70, 100, 180]),
    st.sampled_from([0, 3, 40]),
    st.sampled_from(range(len(WISHES))),
    st.sampled_from(["", "", "", "alice"]),
)
"""A prompt, how it is to be continued, and for whom."""


class Machine(RuleBasedStateMachine):
    kind: str
    models: dict[str, Reference]
    weights: dict[str, Path]

    @initialize(right=st.sampled_from([0.5, 0.9]), first=NEW)
    def start(self, right, first):
        self.reference = self.models[self.kind]
        self.folder = TemporaryDirectory()
        self.tiny = TinyEngine(
            self.weights[self.kind], context=CONTEXT, parallel=PARALLEL, num_batch=24, draft=True,
            prefix_disk=True, prefix_folder=self.folder.name,
        )  # fmt: skip
        self.guesses = 5
        self.asked = {}
        self.doomed = set()
        self.armed = -1
        self.totals = {}
        self.latest = 0
        self.patch = pytest.MonkeyPatch()
        for name in ("_SAVE", "_LOST", "_RESTORE"):  # so that even these short texts are saved
            self.patch.setattr(reuse, name, 16)
        self.patch.setattr(Payoff, "share", lambda _, chances, cost: [self.guesses] * len(chances))
        self.patch.setattr(writer, "Lookup", lambda room: Oracle(self.reference.foretold, right))
        self.patch.setattr(_native, "decode", partial(self._decode, _native.decode))
        self.submit(*first)

    def _decode(self, decode, context, batch):
        decoder = self.tiny.engine._texts.decoder
        if decoder._reading == self.armed:
            self.tiny.engine.interrupt(self.armed)
        return decode(context, batch)

    # --- rules: without preconditions, as how far a text is may depend on when a disk was done ---

    @rule(new=NEW)
    def submit_new(self, new):
        self.submit(*new)

    @rule(back=st.integers(0, 3), part=st.sampled_from([0.0, 0.4, 1.0, 1.0]), tail=st.sampled_from([0, 1, 8]))
    def submit_more(self, back, part, tail):
        """From what one of the last ones was asked and has said until now; it may live on."""
        other = self.tiny.said[max(1, self.latest - back)]
        prompt, wish, owner = other.asked
        said = other.tokens[: int(part * len(other.tokens))]
        self.submit((prompt + said)[: CONTEXT - 20] + letters(tail, 9), wish, owner)

    def submit(self, prompt, wish, owner):
        if len(self.asked) == PARALLEL:
            return
        more = {"most": MOST, **WISHES[wish]}
        prompt = prompt[: more.get("limit", CONTEXT) - 1]
        self.latest += 1
        said = self.tiny.submit(self.latest, prompt, owner=owner, **more)
        said.asked = prompt, wish, owner
        self.asked[self.latest] = said

    @rule(count=st.sampled_from([1, 2, 5, 20, 60]))
    def step(self, count):
        for _ in range(count):
            self.tiny.step()
            self.texts_are_their_own()
            self.cells_are_accounted_for()

    @rule(which=st.integers(0, 2), how=st.sampled_from(["cancel", "complete", "interrupt", "interrupt within"]))
    def leave(self, which, how):
        if not self.asked:
            return
        id = list(self.asked)[which % len(self.asked)]
        said = self.tiny.said[id]
        if how == "complete":
            rest = self.tiny.engine.complete(id)
            if "constraint" in WISHES[said.asked[1]]:
                assert re.fullmatch(PATTERN, (said.data + rest).decode())
            else:
                assert rest == b""
        elif how != "cancel":
            # Another thread does it, maybe while a prompt is decoded, and the sequence is cancelled a little later.
            self.doomed.add(id)
            if how == "interrupt":
                self.tiny.engine.interrupt(id)
            else:
                self.armed = id
            self.step(2)
            self.armed = -1
        self._gone(id)

    @rule(count=st.sampled_from([0, 1, 5, 16]))
    def guess(self, count):
        self.guesses = count

    def _gone(self, id):
        self.tiny.engine.cancel(id)
        self.asked.pop(id, None)
        self.doomed.discard(id)

    # --- what holds after each of them ---

    @invariant()
    def texts_are_their_own(self):
        for id, said in list(getattr(self, "asked", {}).items()):
            prompt, wish, _ = said.asked
            if not said.tokens and said.end is None:
                continue
            expected = self.reference.of(prompt, wish)
            known = expected.tokens
            assert said.tokens[: len(known)] == known[: len(said.tokens)]
            assert said.logprobs[: len(known)] == expected.logprobs[: len(said.logprobs)]
            assert said.cached < len(prompt)
            if said.end is not None:
                # What ends a text after `MOST` tokens may be the next one, which was not computed alone.
                if expected.end is not None or len(said.tokens) < MOST:
                    assert said.whole == expected.whole
                del self.asked[id]

    @invariant()
    def cells_are_accounted_for(self):
        if not hasattr(self, "tiny"):
            return
        engine = self.tiny.engine
        lives = {live.slot: live for live in engine._live.values() if live.slot >= 0}
        assert len(lives) == sum(live.slot >= 0 for live in engine._live.values()), "two in one slot"
        assert engine._live.keys() == self.asked.keys()
        for slot, cells in enumerate(self.tiny.cells()):
            kept = len(engine._texts.reuse._slots.kept(slot))
            if slot not in lives:
                assert cells == kept
            else:
                assert kept == 0
                # What an aborted stretch did to a running state can't be taken back; it goes with its sequence.
                torn = self.kind in {"hybrid", "mamba"} and lives[slot].id in self.doomed
                assert cells == lives[slot].held or torn
        counters = engine.counters()
        assert counters["cells_live"] == sum(live.held for live in engine._live.values())
        assert counters["cells_kept"] == sum(self.tiny.cells()) - sum(engine.cells(id) for id in engine._live)
        assert min(counters.values()) >= 0
        assert counters["tokens_accepted_total"] <= counters["tokens_drafted_total"]
        totals = {name: value for name, value in counters.items() if name.endswith("_total")}
        assert all(value >= self.totals.get(name, 0) for name, value in totals.items())
        self.totals = totals

    def teardown(self):
        if not hasattr(self, "tiny"):
            return
        try:
            self.step(MOST)
            for id in list(self.asked):
                self._gone(id)
            self.cells_are_accounted_for()
            assert self.tiny.count("cells_live") == 0
            assert sum(self.tiny.cells()) == self.tiny.count("cells_kept")
        finally:
            self.patch.undo()
            self.tiny.engine.close()
            self.folder.cleanup()


@pytest.fixture(scope="module")
def machine(tmp_path_factory, load):
    folder = tmp_path_factory.mktemp("machine")
    Machine.weights = {
        "llama": write_exact_llama(folder / "llama.gguf", ends=True),
        "hybrid": write_tiny_hybrid(folder / "hybrid.gguf"),
        "mamba": write_tiny_mamba(folder / "mamba.gguf"),
        "window": write_tiny_window(folder / "window.gguf", window=32),
    }
    Machine.models = {kind: Reference(path) for kind, path in Machine.weights.items()}
    yield Machine
    for reference in Machine.models.values():
        reference.engine.engine.close()


@pytest.mark.parametrize(("kind", "examples"), [("llama", 25), ("hybrid", 8), ("mamba", 6), ("window", 10)])
def test_texts_stay_apart_and_cells_are_not_lost(machine, kind, examples):
    machine.kind = kind
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None))
