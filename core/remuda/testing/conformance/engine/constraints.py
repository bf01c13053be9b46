"""Formats: what a grammar allows is what is written, also where the text is cut."""

from __future__ import annotations

import json
import re
import threading
from typing import Any, Final

import pytest

from remuda.engine import Engine
from remuda.errors import BadRequest
from remuda.output import Constraint

from .driver import Driver
from .fixtures import EngineFixtures, needs_batching

__all__ = ["ConstraintTests"]

_OPTIONS: Final = {"whitespace_pattern": " ", "json_allowed_escapes": 'nrbtf\\"'}


def _schema(schema: dict[str, Any]) -> Constraint:
    """In `llguidance`'s notation."""
    return Constraint(grammar=json.dumps({"grammars": [{"json_schema": {**schema, "x-guidance": _OPTIONS}}]}))


_OBJECT: Final = _schema({"type": "object"})
_PERSON: Final = _schema(
    {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"enum": [7, 70]}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)
_YEAR: Final = Constraint(grammar="start: /[0-9]{4}/")
_BROKEN: Final = ("", "{", "start: /(a/", "start: nothing", '{"grammars": [{"json_schema": {"type": "nothing"}}]}')


class ConstraintTests(EngineFixtures):
    """Left out for an engine that cannot keep to a format."""

    @pytest.fixture
    def guided(self, driver: Driver) -> Driver:
        """The driver, where the engine takes constraints."""
        _compile(driver.engine, _YEAR)
        return driver

    def test_a_text_matches_and_then_ends(self, guided: Driver) -> None:
        """`Ended` says "stop" where a constraint is met and allows nothing more."""
        for wish in ({}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 1}, {"temperature": 50.0, "top_k": 0}):
            said = guided.alone(guided.starts[0], most=12, constraint=_YEAR, **wish)
            assert re.fullmatch(rb"[0-9]{4}", said.data)
            assert (said.ended.reason, said.ended.tail) == ("stop", b"")

    def test_an_object_parses_wherever_it_is_cut(self, guided: Driver) -> None:
        """`Ended.tail` is what a constrained text lacked to match its grammar when it ended."""
        for most in (1, 2, 3, 5, 8, 13, 21):
            said = guided.alone(guided.starts[0], most=most, constraint=_OBJECT, temperature=1.0, seed=most)
            assert isinstance(json.loads(said.whole), dict), said.whole
            assert said.ended.reason == "length" or not said.ended.tail

    def test_a_schema_holds_whatever_is_drawn(self, guided: Driver) -> None:
        """The text matches, and not only its beginning."""
        for seed in range(4):
            said = guided.alone(guided.starts[0], most=48, constraint=_PERSON, temperature=1.5, seed=seed)
            person = json.loads(said.whole)
            assert list(person) == ["name", "age"]
            assert len(person["name"]) <= 5
            assert person["age"] in {7, 70}

    def test_the_host_may_ask_what_is_missing_at_any_time(self, guided: Driver) -> None:
        """`complete`: what would make the text of a live sequence match its grammar. Asking changes nothing."""
        expected = guided.alone(guided.starts[0], most=16, constraint=_OBJECT, temperature=1.0).data
        said = guided.submit(guided.starts[0], most=16, constraint=_OBJECT, temperature=1.0)
        while said.end is None:
            text = said.data + guided.engine.complete(said.id)
            assert isinstance(json.loads(text), dict), text
            guided.step()
        assert said.data == expected

    @pytest.mark.parametrize("grammar", _BROKEN)
    def test_a_grammar_that_is_none_is_a_bad_request(self, guided: Driver, grammar: str) -> None:
        """`compile`: raise it for a constraint that cannot be used; whoever is next is served."""
        with pytest.raises(BadRequest):
            guided.engine.compile(Constraint(grammar=grammar))
        assert guided.alone(guided.starts[0], constraint=_YEAR).ended.reason == "stop"

    def test_formats_are_made_ready_during_steps(self, guided: Driver) -> None:
        """`compile`: any thread may call it at any time."""
        prompt = guided.lasting(24)
        expected = guided.alone(prompt, most=24).data
        faults: list[Exception] = []

        def compile_some() -> None:
            try:
                for _ in range(5):
                    guided.engine.compile(_PERSON)
            except Exception as error:
                faults.append(error)

        other = threading.Thread(target=compile_some)
        said = guided.submit(prompt, most=24)
        other.start()
        guided.run(said)
        other.join()
        assert not faults
        assert said.data == expected

    def test_a_constraint_is_gone_with_its_text(self, guided: Driver) -> None:
        """The next text is free."""
        prompt = guided.lasting(8)
        expected = guided.alone(prompt, most=8).data
        guided.alone(prompt, constraint=_YEAR)
        assert guided.alone(prompt, most=8).data == expected

    @needs_batching
    def test_each_text_has_its_own(self, guided: Driver) -> None:
        """What one grammar allows is forbidden or allowed to nobody else."""
        prompt = guided.lasting(8)
        wishes = (None, _YEAR, _OBJECT)[: guided.places]
        expected = [guided.alone(prompt, most=10, constraint=constraint).whole for constraint in wishes]
        saids = [guided.submit(prompt, most=10, constraint=constraint) for constraint in wishes]
        guided.run(*saids)
        assert [said.whole for said in saids] == expected


def _compile(engine: Engine, constraint: Constraint) -> None:
    try:
        engine.compile(constraint)
    except BadRequest as refused:
        if "cannot keep to a format" in str(refused):
            pytest.skip("this engine takes no constraints")
        raise
