"""What the tests of an engine stand on: what the author says of it, and the engines that are loaded for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from remuda.engine import Engine, LoadSpec, Sequence
from remuda.errors import BadRequest
from remuda.wire.options import Options

from ..skips import Skips
from .driver import Driver

__all__ = ["NARROW", "EngineFixtures", "Load", "needs_batching"]

Load = Callable[..., Driver]
"""`load(context=, parallel=, **options)`: a further engine, closed when the test is over."""

NARROW: Final = 8
"""The `num_batch` of tests that want a prompt to be read in many steps."""

needs_batching = pytest.mark.usefixtures("several_places")
"""Marks a test of what only an engine with several places has. One that takes turns among them passes it too."""

_PROMPTS: Final = (
    "Once upon a time there was a little house by the river",
    "The capital of France is",
    "One day, a girl named Lily found",
    "In the morning the old man went to the market and",
    "He said that seven of the stones",
    "Tom and his dog",
)


class EngineFixtures(Skips):
    """Set `engine`, and give a fixture `weights`: a path, with the scope "class" or a wider one."""

    engine: ClassVar[type[Engine]]
    settings: ClassVar[Mapping[str, Any]] = {}
    """As `LoadSpec.settings`."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Load-time options, as `LoadSpec.options`, for every engine that is loaded."""
    context: ClassVar[int] = 256
    """Tokens that a sequence is wished to hold. Prompts are cut to suit what the engine then has."""
    parallel: ClassVar[int] = 3
    """Places that are wished for."""
    prompts: ClassVar[tuple[str, ...]] = _PROMPTS
    """After one of them at least, the model must write for a while."""
    batches: ClassVar[bool] = True
    """False leaves out what needs several sequences at once."""

    @classmethod
    def open(cls, weights: Path, *, context: int = 0, parallel: int = 0, **options: Any) -> Engine:
        """An engine, which is the caller's to close. Where nothing else is said, as the class wishes it."""
        return cls.engine.load(
            LoadSpec(
                name="conformance",
                weights=str(weights),
                context=context or cls.context,
                parallel=parallel or cls.parallel,
                options=Options(**{**cls.options, **options}),
                settings=dict(cls.settings),
            )
        )

    @pytest.fixture(scope="class")
    @classmethod
    def shared_engine(cls, weights: Path) -> Iterator[Engine]:
        """The engine of all tests that do not need one of their own."""
        engine = cls.open(weights)
        yield engine
        engine.close()

    @pytest.fixture(scope="class")
    @classmethod
    def writes(cls, shared_engine: Engine) -> bool:
        """Whether the model continues texts: one that embeds may do nothing else."""
        if not shared_engine.embed_most:
            return True
        tokens = shared_engine.tokenize(cls.prompts[0])[:4]
        try:
            shared_engine.submit(Sequence(id=0, tokens=tokens, options=Options(), seed=1, limit=len(tokens) + 1))
        except BadRequest:
            return False
        shared_engine.cancel(0)
        return True

    @pytest.fixture
    def driver(self, shared_engine: Engine, writes: bool) -> Iterator[Driver]:
        """Of the engine of all; left without sequences."""
        if not writes:
            pytest.skip("this model gives embeddings and continues no texts")
        driver = Driver(shared_engine, self.prompts)
        yield driver
        driver.clear()

    @pytest.fixture
    def load(self, weights: Path, writes: bool) -> Iterator[Load]:
        if not writes:
            pytest.skip("this model gives embeddings and continues no texts")
        engines: list[Engine] = []

        def load(*, context: int = 0, parallel: int = 0, **options: Any) -> Driver:
            engines.append(self.open(weights, context=context, parallel=parallel, **options))
            return Driver(engines[-1], self.prompts)

        yield load
        for engine in engines:
            engine.close()

    @pytest.fixture
    def several_places(self, shared_engine: Engine) -> None:
        if not self.batches:
            pytest.skip("needs batching: this engine is said to take one sequence at a time")
        if shared_engine.parallel < 2:
            pytest.skip("needs batching: this engine was loaded with a single place")
