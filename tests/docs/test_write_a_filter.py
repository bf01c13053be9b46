"""The filter of docs/how-to/write-a-filter.md, on a real socket."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import httpx
import pytest

from remuda.config import Config
from remuda.plugins import Plugins
from remuda.testing import LiveServer, Script

from .conftest import blocks


@pytest.fixture
def server(scripted: Callable[..., Config], plugins: Plugins) -> Iterator[LiveServer]:
    module = ModuleType("remuda_discreet")
    sys.modules[module.__name__] = module
    [block] = blocks("filter", "docs/how-to/write-a-filter.md")
    exec(compile(block.code, block.page, "exec", dont_inherit=True), vars(module))
    assert plugins.add(module, "discreet").fault == ""
    script = Script(pieces=["Call", " +4", "9 30 1", "23", "456", "7, or", " room 12", " at 030", " 7654321"])
    with LiveServer(scripted(m=script), plugins) as server:
        yield server


def test_the_filter_shown_takes_numbers_out_of_answers_that_come_in_pieces(server: LiveServer) -> None:
    whole = httpx.post(f"{server.url}/api/generate", json={"model": "m", "prompt": "Hello", "stream": False}).json()
    assert whole["response"] == "Call [number], or room 12 at [number]"
    assert whole["done"] is True
    messages = [{"role": "user", "content": "Hello"}]
    with httpx.stream("POST", f"{server.url}/api/chat", json={"model": "m", "messages": messages}) as response:
        lines = list(response.iter_lines())
    assert '"done":true' in lines[-1]
    assert not any("30" in line.partition('"message"')[2].partition('"done"')[0] for line in lines)


def test_the_filter_shown_refuses_questions(server: LiveServer) -> None:
    reply = httpx.post(f"{server.url}/api/generate", json={"model": "m", "prompt": "Is 0301234567 yours?"})
    assert reply.status_code == 400
    assert "telephone number" in reply.json()["error"]
