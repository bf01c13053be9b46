from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest
from anyio import to_thread

from remuda.backend import GenerateJob, GenerationEvent, LoadWish, Text
from remuda.model import ModelEntry, parse_name
from remuda.runner import RunnerModel
from remuda.testing.scripted import Script, ScriptedBackend, write_script
from remuda.wire import Options

Loader = Callable[..., Awaitable[RunnerModel]]


@pytest.fixture
async def load(tmp_path: Path, no_blocking: None) -> AsyncGenerator[Loader, None]:
    """`await load(Script(...), context=, parallel=)`: a running scripted model, unloaded at the end.

    Further arguments become attributes of the backend: `stall_timeout`, `load_timeout`, `runner_memory`, `runner_nice`.
    """
    models: list[RunnerModel] = []
    numbers = itertools.count()

    async def start(script: Script, context: int = 4096, parallel: int = 4, **bounds: float) -> RunnerModel:
        weights = await to_thread.run_sync(write_script, tmp_path / f"{next(numbers)}.json", script)
        entry = ModelEntry(name=parse_name("scripted"), weights=weights, format="scripted")
        backend = ScriptedBackend()
        for name, value in bounds.items():
            setattr(backend, name, value)
        models.append(await backend.load(entry, LoadWish(context=context, parallel=parallel)))
        return models[-1]

    yield start
    for model in models:
        await model.close()


def job(prompt: str = "hello", limit: int = 4096, **fields: object) -> GenerateJob:
    options = Options(**fields.pop("options", {}))  # type: ignore[arg-type]
    return GenerateJob(prompt=prompt, limit=limit, options=options, **fields)  # type: ignore[arg-type]


async def read(stream: AsyncGenerator[GenerationEvent, None]) -> tuple[str, GenerationEvent | None]:
    """All text and the last event."""
    text, last = "", None
    async for last in stream:
        text += last.text if isinstance(last, Text) else ""
    return text, last
