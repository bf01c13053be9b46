"""The engine in the test's own process, on tiny models of both formats; one compute thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_ggml import write_tiny_gpt2
from tiny_models import write_tiny_pieces

from remuda import Constraint, Ended, Failed, LoadSpec, Piece, PromptRead, Sequence, TokenLogprob
from remuda.wire import Options

if find_spec("ctransformers") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from remuda_ctransformers.engine import CTransformersEngine

    class Said:
        """What one sequence gave."""

        def __init__(self) -> None:
            self.read: PromptRead | None = None
            self.pieces: list[Piece] = []
            self.end: Ended | Failed | None = None

        @property
        def data(self) -> bytes:
            return b"".join(piece.data for piece in self.pieces)

        @property
        def tokens(self) -> list[int]:
            return [piece.token for piece in self.pieces]

        @property
        def logprobs(self) -> list[TokenLogprob]:
            return [piece.logprob for piece in self.pieces if piece.logprob is not None]

        @property
        def cached(self) -> int:
            assert self.read is not None, "the prompt is not read yet"
            return self.read.cached

    class Driver:
        """Steps an engine and sorts its events by sequence."""

        def __init__(self, engine: CTransformersEngine) -> None:
            self.engine = engine
            self.said: dict[int, Said] = {}

        def submit(
            self, prompt: str | list[int], *, most: int = 16, limit: int = 0, seed: int = 1, shift: bool = False,
            keep: int = 0, owner: str = "", constraint: Constraint | None = None, logprobs: int | None = None,
            **options: object,
        ) -> Said:  # fmt: skip
            tokens = self.engine.tokenize(prompt) if isinstance(prompt, str) else prompt
            id = len(self.said) + 1
            self.engine.submit(
                Sequence(
                    id=id, tokens=tokens, options=Options(**{"temperature": 0.0, **options}), seed=seed,
                    limit=limit or min(len(tokens) + most, self.engine.context), shift=shift, keep=keep, owner=owner,
                    constraint=constraint, logprobs=logprobs,
                )
            )  # fmt: skip
            said = self.said[id] = Said()
            return said

        def step(self) -> None:
            for event in self.engine.step():
                said = self.said[event.id]
                assert said.end is None, "an event after the end"
                if isinstance(event, PromptRead):
                    said.read = event
                elif isinstance(event, Piece):
                    said.pieces.append(event)
                else:
                    said.end = event

        def run(self, *wanted: Said) -> None:
            for _ in range(5000):
                if all(said.end for said in wanted):
                    return
                self.step()
            raise AssertionError("no end")

        def embed(self, *inputs: list[int]) -> list[bytes]:
            pieces = self.engine.embedding(inputs)
            while True:
                try:
                    next(pieces)
                except StopIteration as done:
                    return done.value

        def alone(self, prompt: str | list[int], **wish: object) -> Said:
            said = self.submit(prompt, **wish)  # type: ignore[arg-type]
            self.run(said)
            return said

    Make = Callable[..., Driver]

    @pytest.fixture(scope="session")
    def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
        folder = tmp_path_factory.mktemp("ctransformers")
        return {
            "gguf": write_tiny_pieces(folder / "tiny.gguf"),
            "gpt2": write_tiny_gpt2(folder / "tiny.bin"),
        }

    def _make(models: dict[str, Path]) -> Iterator[Make]:
        engines: list[CTransformersEngine] = []

        def made(
            which: str | Path = "gguf", *, context: int = 256, parallel: int = 2, settings: object = None,
            **options: object,
        ) -> Driver:  # fmt: skip
            weights = which if isinstance(which, Path) else models[which]
            spec = LoadSpec(
                name="tiny", weights=str(weights), context=context, parallel=parallel, settings=settings or {},
                options=Options(**{"num_thread": 1, **options}),
            )  # type: ignore[arg-type]  # fmt: skip
            engines.append(CTransformersEngine.load(spec))
            return Driver(engines[-1])

        yield made
        for engine in engines:
            engine.close()

    make = pytest.fixture(_make, name="make")
    """`make("gguf", context=, parallel=, num_batch=, ...)`: a driver of a model of that kind."""
    make_once = pytest.fixture(_make, scope="session", name="make_once")
    """For models that are kept: the library does not give back all that a Falcon had, and has no room for the 32nd."""

    @pytest.fixture(params=["gguf", "gpt2"])
    def driver(make: Make, request: pytest.FixtureRequest) -> Driver:
        return make(request.param)
