"""A model that was found a moment ago is not looked for again, and no change of models goes unnoticed for that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from remuda.config import Config
from remuda.errors import ModelNotFound
from remuda.model import Catalog, ModelEntry, parse_name
from remuda.model.entry import REMOTE
from remuda.model.facts import ModelFacts
from remuda.pipeline import Pipeline
from remuda.pipeline.recent import Recent
from remuda.plugins import Plugins
from remuda.testing import Script
from remuda.wire import (
    ChatMessage,
    ChatRequest,
    ChatResponse,
    CopyRequest,
    CreateRequest,
    DeleteRequest,
    Details,
    GenerateRequest,
    GenerateResponse,
)

from .asking import opened

Make = Callable[..., Config]

ENTRY = ModelEntry(name=parse_name("m"), weights=Path("w"))
FACTS = ModelFacts(details=Details(format="gguf"), size=1, modified=0.0)


@pytest.fixture
def long_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """So long that only what is forgotten is looked for again."""
    monkeypatch.setattr("remuda.pipeline.recent._FRESH", 3600.0)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that the catalog and the facts were asked for."""
    seen: list[str] = []
    find, facts = Catalog.find, Catalog.facts

    def counted_find(self: Catalog, name: str) -> ModelEntry:
        seen.append(name)
        return find(self, name)

    def counted_facts(self: Catalog, entry: ModelEntry) -> ModelFacts:
        seen.append(f"facts of {entry.name}")
        return facts(self, entry)

    monkeypatch.setattr(Catalog, "find", counted_find)
    monkeypatch.setattr(Catalog, "facts", counted_facts)
    return seen


def test_it_holds_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    recent = Recent()
    recent.add(recent.mark, "m", ENTRY)
    recent.add_facts("m", ENTRY, FACTS)
    assert (recent.entry("m"), recent.facts("m", ENTRY)) == (ENTRY, FACTS)
    assert recent.entry("M") is None
    assert recent.facts("m", structs.replace(ENTRY)) is None, "another state of the model has facts of its own"
    now = 100.24
    assert recent.entry("m") is ENTRY
    now = 100.26
    assert (recent.entry("m"), recent.facts("m", ENTRY)) == (None, None)


def test_what_was_found_before_a_change_is_not_kept() -> None:
    recent = Recent()
    recent.add(recent.mark, "m", ENTRY)
    mark = recent.mark
    recent.forget()
    assert recent.entry("m") is None
    recent.add(mark, "m", ENTRY)
    recent.add_facts("m", ENTRY, FACTS)
    assert (recent.entry("m"), recent.facts("m", ENTRY)) == (None, None)


def test_models_of_upstreams_are_not_kept() -> None:
    recent = Recent()
    recent.add(recent.mark, "m", structs.replace(ENTRY, format=REMOTE))
    assert recent.entry("m") is None


def test_spellings_without_end_are_not_all_kept() -> None:
    recent = Recent()
    for number in range(5_000):
        recent.add(recent.mark, f"m{number}", ENTRY)
    assert sum(recent.entry(f"m{number}") is not None for number in range(5_000)) <= 1_000
    assert recent.entry("m4999") is ENTRY


async def _ask(pipeline: Pipeline, model: str = "m", *, short: bool = True) -> str:
    request = GenerateRequest(model=model, prompt="hi", stream=False)
    reply = await pipeline.generate(request, request_id="r", short=short)
    assert isinstance(reply, GenerateResponse)
    return reply.response


@pytest.mark.anyio
async def test_only_the_first_of_short_requests_looks(
    scripted: Make, plugins: Plugins, long_fresh: None, looks: list[str], no_blocking: None
) -> None:
    async with opened(scripted(m=Script(pieces=["a"])), plugins) as pipeline:
        assert await _ask(pipeline) == "a"
        assert looks == ["m", "facts of m:latest"]
        looks.clear()
        assert await _ask(pipeline) == "a"
        chat = ChatRequest(model="m", messages=[ChatMessage(role="user", content="hi")], stream=False)
        reply = await pipeline.chat(chat, request_id="r", short=True)
        assert isinstance(reply, ChatResponse)
        assert reply.message.content == "a"
        assert looks == []
        assert await _ask(pipeline, short=False) == "a"
        assert looks == ["m", "facts of m:latest"]


@pytest.mark.anyio
@pytest.mark.usefixtures("long_fresh", "no_blocking")
async def test_what_is_done_here_counts_at_once(scripted: Make, plugins: Plugins, tmp_path: Path) -> None:
    store = msgspec.structs.replace(Config().store, path=str(tmp_path / "models"))
    config = structs.replace(scripted(m=Script(pieces=["a", "b", "c"])), store=store)
    async with opened(config, plugins) as pipeline:

        async def create(name: str, tokens: int) -> None:
            parameters = {"num_predict": tokens}
            await pipeline.library.create(CreateRequest(model=name, base="m", parameters=parameters, stream=False))

        await create("one", 1)
        await create("two", 2)
        assert [await _ask(pipeline, name) for name in ("one", "two", "one")] == ["a", "ab", "a"]
        await create("one", 3)
        assert await _ask(pipeline, "one") == "abc"
        await pipeline.library.copy(CopyRequest(source="two", destination="one"))
        assert await _ask(pipeline, "one") == "ab"
        await pipeline.library.delete(DeleteRequest(model="one"))
        with pytest.raises(ModelNotFound):
            await _ask(pipeline, "one")
        with pytest.raises(ModelNotFound):
            await _ask(pipeline, "other")
        pipeline.reload(structs.replace(config, aliases={"other": "two", "two": "m"}))
        assert [await _ask(pipeline, name) for name in ("other", "two")] == ["ab", "abc"]
