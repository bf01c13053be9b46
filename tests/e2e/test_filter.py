"""A third party's filter on a real socket: it blackens what must not be seen and refuses what must not be asked."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, closing
from pathlib import Path

import ollama
import pytest
from msgspec import structs

from remuda import BadRequest, Event, Job, Text, Thinking, hookimpl
from remuda.config import Config, ModelConfig
from remuda.hookspecs import RegisterFactory
from remuda.plugins import load_plugins
from remuda.testing import LiveServer, Script, ScriptedPlugin, write_script

from .tables import THINKER, Table

NUMBERS = re.compile(r"\d{4}-\d{4}")
PIECES = ["<think>", "card 12", "34-5678", "</think>", "It is 1", "234-", "5678, yes", " 12", "34"]


class Redaction:
    """Holds back a tail that may be the beginning of a number, and lets nothing out but `####-####` for it."""

    async def wrap(
        self, job: Job, proceed: Callable[[Job], AsyncGenerator[Event, None]]
    ) -> AsyncGenerator[Event, None]:
        if any("password" in message.content.lower() for message in job.messages):
            raise BadRequest("questions about passwords are not answered here")
        kind, held = Text, ""
        async with aclosing(proceed(job)) as events:
            async for event in events:
                if held and not isinstance(event, kind):
                    yield kind(held)
                    held = ""
                if not isinstance(event, (Text, Thinking)):
                    yield event
                    continue
                clean = NUMBERS.sub("####-####", held + event.text)
                safe = len(clean.rstrip("0123456789-"))
                kind, held = type(event), clean[safe:]
                if safe:
                    yield structs.replace(event, text=clean[:safe])


class Plugin:
    @hookimpl
    def remuda_register_filters(self, register: RegisterFactory) -> None:
        register("redaction", Redaction)


@pytest.fixture(scope="module")
def redacting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    path = write_script(Path(tmp_path_factory.mktemp("filter")) / "script.json", Script(pieces=PIECES))
    config = Config(models={"m": ModelConfig(path=str(path), format="scripted", template=THINKER)})
    plugins = load_plugins(extra=[("scripted", ScriptedPlugin()), ("redaction", Plugin())])
    with LiveServer(config, plugins) as server:
        yield server


def test_what_must_not_be_seen_is_blackened_wherever_the_stream_is_cut(redacting: LiveServer) -> None:
    for endpoint, fields in (
        ("/api/generate", {"prompt": "hi"}),
        ("/api/chat", {"messages": [{"role": "user", "content": "hi"}]}),
    ):
        with closing(Table(redacting, endpoint)) as table:
            parts = [line.get("message", line) for line in table.lines(model="m", **fields)]
            whole = table.whole(model="m", **fields)
        assert "".join(part.get("thinking", "") for part in parts) == "card ####-####"
        name = "response" if endpoint == "/api/generate" else "content"
        text = "".join(part[name] for part in parts)
        assert text == whole.get("message", whole)[name] == "It is ####-####, yes 1234"
        assert whole["eval_count"] == len(PIECES)


def test_what_must_not_be_asked_is_refused_before_the_model_is_loaded(redacting: LiveServer) -> None:
    with closing(Table(redacting, "/api/chat")) as table, closing(ollama.Client(host=redacting.url)) as client:
        table.whole(model="m", keep_alive=0)
        asked = [{"role": "user", "content": "What is the password?"}]
        assert table.refused(model="m", messages=asked) == "questions about passwords are not answered here"
        with pytest.raises(ollama.ResponseError, match="passwords are not answered") as caught:
            list(client.generate("m", "Password?", stream=True))
        assert caught.value.status_code == 400
        assert table.loaded() == {}
