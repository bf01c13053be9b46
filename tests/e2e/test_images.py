"""Images through HTTP: a tiny vision model with random weights and a projector in the real format."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import ollama
import pytest
from loaded import loaded_model
from PIL import Image
from tiny_models import write_tiny_llama, write_tiny_vision

from remuda.config import Config, ModelConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer

GREEDY = {"temperature": 0, "num_predict": 8}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("vision")
    weights, projector = write_tiny_vision(folder)
    blind = write_tiny_llama(folder / "blind.gguf")
    template = "{{ range .Messages }}{{ .Role }}: {{ .Content }}\n{{ end }}assistant:"
    models = {
        "eye": ModelConfig(path=str(weights), projector=str(projector), template=template),
        "blind": ModelConfig(path=str(blind), template=template),
    }
    with LiveServer(Config(models=models), load_plugins()) as server:
        yield server


def _png(colour: tuple[int, int, int], size: tuple[int, int] = (40, 40)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


RED, BLUE = _png((250, 10, 10)), _png((10, 10, 250))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _generate(server: LiveServer, *images: bytes, **fields: Any) -> httpx.Response:
    request = {"model": "eye", "prompt": "What is this?", "stream": False, "options": GREEDY, **fields}
    if images:
        request["images"] = [_text(image) for image in images]
    return httpx.post(f"{server.url}/api/generate", json=request, timeout=60)


def _pid(server: LiveServer) -> int | None:
    return loaded_model(server, "eye:latest").pid


def test_what_is_shown_changes_what_is_said(server: LiveServer) -> None:
    replies = [_generate(server, *images).json() for images in ((), (RED,), (BLUE,), (RED,))]
    nothing, red, blue, again = ((reply["prompt_eval_count"], reply["context"][-8:]) for reply in replies)
    assert red == again
    assert red[1] != blue[1]
    assert red[1] != nothing[1]
    assert red[0] > nothing[0]


def test_the_conversation_goes_on_from_the_context_of_an_answer_about_an_image(server: LiveServer) -> None:
    first = _generate(server, RED).json()
    assert min(first["context"]) >= 0
    assert _generate(server, prompt="And now?", context=first["context"]).json()["done"]


def test_the_official_client_sends_images_with_messages(server: LiveServer) -> None:
    message = {"role": "user", "content": "One [img], two [img].", "images": [RED, BLUE]}
    with closing(ollama.Client(server.url)) as client:
        reply = client.chat("eye", [message, {"role": "assistant", "content": "Hm."}, {**message, "images": [BLUE]}])
        pieces = list(client.chat("eye", [message], stream=True, options=GREEDY))
    assert reply.done
    assert pieces[-1].done_reason in {"stop", "length"}


def test_marks_stand_where_the_text_has_them_and_else_before_it(server: LiveServer) -> None:
    messages = [{"role": "user", "content": "One [img].", "images": [_text(RED), _text(BLUE)]}]
    request = {"model": "eye", "messages": messages, "_debug_render_only": True, "stream": False}
    debug = httpx.post(f"{server.url}/api/chat", json=request).json()["_debug_info"]
    assert debug == {"rendered_template": "user: [img-1]One [img-0].\nassistant:", "image_count": 2}
    messages.append({"role": "user", "content": "Two", "images": [_text(RED)]})
    debug = httpx.post(f"{server.url}/api/chat", json=request).json()["_debug_info"]
    assert debug == {"rendered_template": "user: [img-0]Two\nassistant:", "image_count": 1}, (
        "an image counts 768 tokens"
    )


def test_a_raw_prompt_marks_its_images_itself(server: LiveServer) -> None:
    assert _generate(server, RED, prompt="look: [img-0] what?", raw=True).json()["eval_count"] > 0


def _huge() -> bytes:
    """The header of a picture of 65535 by 65535 points."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


BAD: dict[str, list[str]] = {
    "no base64": ["!!!!"],
    "a data URI": ["data:image/png;base64," + _text(RED)],
    "empty": [""],
    "cut": [_text(RED[: len(RED) // 2])],
    "only a head": [_text(RED[:24])],
    "65535 by 65535": [_text(_huge())],
    "no image": [_text(b"hello, this is text")],
    "a sound": [_text(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(40))],
    "40 MB": [_text(RED + bytes(40_000_000))],
    "a thousand": [_text(RED)] * 1000,
}


@pytest.mark.parametrize("images", BAD.values(), ids=BAD.keys())
def test_a_bad_image_is_refused_and_the_runner_lives(server: LiveServer, images: list[str]) -> None:
    assert _generate(server, RED).status_code == 200
    before = _pid(server)
    reply = _generate(server, images=images)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]
    assert "/" not in reply.json()["error"].replace("and/or", "")
    assert _pid(server) == before
    assert _generate(server, RED).status_code == 200


def test_a_text_is_answered_while_images_are_read(server: LiveServer) -> None:
    request = {"model": "eye", "prompt": "go on", "options": {"num_predict": 60, "temperature": 0}}
    with httpx.stream("POST", f"{server.url}/api/generate", json=request, timeout=60) as stream:
        lines = stream.iter_lines()
        next(lines)
        assert _generate(server, RED, BLUE).status_code == 200
        assert json.loads(list(lines)[-1])["done"] is True


def test_a_model_without_eyes_says_so(server: LiveServer) -> None:
    reply = _generate(server, RED, model="blind")
    assert reply.status_code == 400
    assert reply.json() == {"error": "registry.ollama.ai/library/blind:latest does not support vision"}
    tags = httpx.get(f"{server.url}/api/tags").json()["models"]
    assert {tag["name"]: tag["capabilities"] for tag in tags if tag["name"] in {"eye:latest", "blind:latest"}} == {
        "eye:latest": ["completion", "vision"],
        "blind:latest": ["completion"],
    }
