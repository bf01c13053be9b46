"""The plugins in examples/plugins, all in one server at once, over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner

from remuda.cli import make_cli
from remuda.testing import LiveServer, Script

from .single_files import FILES, configured, load

SCRIPTS = {
    "m": Script(),
    "leaky": Script(pieces=["Ask", " jo", "e.d", "oe@ex", "ample.", "org", " about", " Project", " Her", "on", "!"]),
    "careful": Script(pieces=["<scratch", "pad>  One", " and one.</scr", "atchpad>\n", "\nTwo", " <b", ">."]),
    "plain": Script(pieces=[" Fine", ".\nUs", "er: And", " you?"]),
    "busy": Script(parallel=1, delay=0.02, repeat=10_000),
    "small": Script(),
    "counted": Script(),
}
SETTINGS = """
[residency]
policy = "office-hours"

[plugins.settings.office_hours]
days = []
otherwise = 1234

[plugins.settings.redact]
words = ["Project Heron"]

[plugins.settings.receipts]
path = "{folder}/receipts.jsonl"

[[plugins.settings.fast_lane.lanes]]
key = "f9d37c23fcc0f03c"
priority = 10

[[plugins.settings.placement.rules]]
model = "SMALL:*"
format = "scripted"
at_most = 100_000
backend = "echo"
"""
EXTRA = {"careful": 'parser = "scratchpad"', "plain": 'template_engine = "transcript"\ntemplate = "{role}: {content}"'}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("single")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[LiveServer]:
    text = SETTINGS.replace("{folder}", str(folder))
    for name, script in SCRIPTS.items():
        (folder / f"{name}.json").write_bytes(msgspec.json.encode(script))
        text += f'\n[models.{name}]\npath = "{folder}/{name}.json"\nformat = "scripted"\n{EXTRA.get(name, "")}\n'
    config = configured(text, folder)
    with LiveServer(config, load(config)) as server:
        yield server


def ask(server: LiveServer, model: str, prompt: str = "hi", path: str = "generate", **fields: Any) -> dict[str, Any]:
    body = {"model": model, "prompt": prompt, "stream": False, **fields}
    reply = httpx.post(f"{server.url}/api/{path}", json=body, timeout=20)
    assert reply.status_code == 200, reply.text
    return reply.json()


def until(said: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not said():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_all_of_them_work_side_by_side(server: LiveServer) -> None:
    told = {plugin.name: plugin for plugin in server.app.plugins.describe()}
    assert {name: told[name].fault for name in FILES} == dict.fromkeys(FILES, "")
    assert len(FILES) == 11


def test_redact_cleans_an_answer_that_comes_in_pieces(server: LiveServer) -> None:
    body = {"model": "leaky", "prompt": "hi", "options": {"num_predict": 11}}
    with httpx.stream("POST", f"{server.url}/api/generate", json=body) as reply:
        lines = [json.loads(line) for line in reply.iter_lines()]
    assert "".join(line["response"] for line in lines) == "Ask [redacted] about [redacted]!"
    assert len(lines) > 3
    assert lines[-1]["done"] is True
    assert "context" not in lines[-1]


def test_redact_cleans_questions(server: LiveServer) -> None:
    """The model `echo` says what came to it: `user: Write`, and what follows."""
    answer = ask(server, "echo", "Write to joe.doe@example.org about project  heron, and Project Heron")
    assert answer["response"] == "user: Write to [redacted] about project  heron, and [redacted]"


def test_receipts_are_written_and_summed_up(server: LiveServer, folder: Path) -> None:
    file = folder / "receipts.jsonl"

    def written() -> list[dict[str, Any]]:
        return [line for line in map(json.loads, file.read_text().splitlines()) if line["model"] == "counted"]

    ask(server, "counted")
    bad = {"model": "counted", "prompt": "hi", "format": {"type": "choice"}}
    assert httpx.post(f"{server.url}/api/generate", json=bad).status_code == 400
    until(lambda: len(written()) == 2)
    first, second = written()
    assert (first["status"], first["reason"], first["output_tokens"]) == (200, "stop", 3)
    assert second["status"] == 400
    assert abs(datetime.fromisoformat(first["at"]).timestamp() - time.time()) < 60
    with file.open("a") as lines:
        lines.write("what?\n")
    plugins = server.app.plugins
    ran = CliRunner().invoke(make_cli(lambda: plugins), ["receipts", str(file)])
    assert ran.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in ran.stdout.splitlines()}
    assert rows["MODEL"][:2] == ["REQUESTS", "FAILED"]
    assert rows["counted"][:5] == ["2", "1", "2", "0", "3"]
    assert "1 lines are no receipts" in ran.stderr


def test_the_fast_lane_goes_first(server: LiveServer) -> None:
    finished: list[str] = []

    def wait_for(name: str, headers: dict[str, str]) -> None:
        body = {"model": "busy", "prompt": "hi", "stream": False, "options": {"num_predict": 2}}
        httpx.post(f"{server.url}/api/generate", json=body, headers=headers, timeout=20)
        finished.append(name)

    def queued() -> int:
        return len(httpx.get(f"{server.url}/api/ps").json().get("queue", []))

    with ExitStack() as stack:
        body = {"model": "busy", "prompt": "hi"}
        with httpx.stream("POST", f"{server.url}/api/generate", json=body) as running:
            lines = running.iter_lines()  # once nobody has it, the stream is closed
            next(lines)
            for count, (name, headers) in enumerate([("slow", {}), ("fast", {"Authorization": "Bearer urgent"})], 1):
                thread = threading.Thread(target=wait_for, args=(name, headers))
                thread.start()
                stack.callback(thread.join)
                until(lambda count=count: queued() == count)
    assert finished == ["fast", "slow"]


def test_placement_goes_by_kind_and_size(server: LiveServer) -> None:
    assert ask(server, "small", "Who are you?")["response"] == "user: Who are you?"
    assert ask(server, "m", "Who are you?")["response"] == "one two three"


def test_the_dashboard_shows_models_and_plugins(server: LiveServer) -> None:
    ask(server, "m")
    reply = httpx.get(f"{server.url}/dashboard")
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert "<td>m:latest</td><td>ready</td>" in reply.text
    assert "<td>filter redact</td>" in reply.text


def test_models_stay_as_long_as_the_hours_say(server: LiveServer) -> None:
    def left() -> float:
        [model] = [each for each in httpx.get(f"{server.url}/api/ps").json()["models"] if each["name"] == "m:latest"]
        return datetime.fromisoformat(model["expires_at"]).timestamp() - time.time()

    ask(server, "m", keep_alive="10m")
    assert left() == pytest.approx(600, abs=10)
    httpx.post(f"{server.url}/api/generate", json={"model": "m", "keep_alive": 0})
    until(lambda: "m:latest" not in httpx.get(f"{server.url}/api/ps").text)
    ask(server, "m")
    assert left() == pytest.approx(1234, abs=10)


def test_a_transcript_ends_where_the_user_would_speak(server: LiveServer) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "How are {role}?"},
    ]
    answer = ask(server, "plain", path="chat", messages=messages)
    assert answer["message"]["content"] == " Fine."
    shown = ask(server, "plain", path="chat", messages=messages, _debug_render_only=True)
    assert shown["_debug_info"]["rendered_template"] == "System: Be kind.\nUser: How are {role}?\nAssistant:"


def test_a_choice_is_a_format(server: LiveServer) -> None:
    assert ask(server, "m", format={"type": "choice", "of": ["one", "two"]})["done"] is True
    for bad in ({"type": "choice"}, {"type": "choice", "of": []}, {"type": "choice", "of": ["a", 1]}, "choice"):
        reply = httpx.post(f"{server.url}/api/generate", json={"model": "m", "prompt": "hi", "format": bad})
        assert reply.status_code == 400
        assert '{"type": "choice", "of": ["one", "another"]}' in reply.json()["error"]


def test_a_scratchpad_is_told_apart(server: LiveServer) -> None:
    message = ask(server, "careful", path="chat", messages=[{"role": "user", "content": "1 + 1?"}])["message"]
    assert (message["thinking"], message["content"]) == ("One and one.", "Two <b>.")


def test_echo_answers_with_the_conversation(server: LiveServer) -> None:
    assert "echo:latest" in [model["name"] for model in httpx.get(f"{server.url}/api/tags").json()["models"]]
    answer = ask(server, "echo", "a b c d", options={"num_predict": 3})
    assert (answer["response"], answer["done_reason"], answer["eval_count"]) == ("user: a b ", "length", 3)
    assert ask(server, "echo", "a b c d", options={"stop": ["d", " c"]})["response"] == "user: a b"
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello!"}]
    message = ask(server, "echo", path="chat", messages=messages)["message"]
    assert message["content"] == "system: Be kind.\nuser: Hello!"
