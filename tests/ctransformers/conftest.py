"""The engine in the test's own process, on tiny models of both formats; one compute thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tiny_ggml import write_tiny_gpt2
from tiny_models import write_tiny_pieces

from remuda import LoadSpec
from remuda.testing.conformance.engine import driver as conformance
from remuda.testing.conformance.engine.driver import Said
from remuda.wire import Options

if find_spec("ctransformers") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from remuda_ctransformers.engine import CTransformersEngine

    class Driver(conformance.Driver):
        """Takes prompts as texts, too."""

        def submit(self, prompt: str | list[int], *, most: int = 16, **wish: Any) -> Said:
            tokens = self.engine.tokenize(prompt) if isinstance(prompt, str) else prompt
            return super().submit(tokens, most=most, **wish)

        def embed(self, *inputs: list[int]) -> list[bytes]:
            pieces = self.engine.embedding(inputs)
            while True:
                try:
                    next(pieces)
                except StopIteration as done:
                    return done.value

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
            return Driver(engines[-1], ())

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
