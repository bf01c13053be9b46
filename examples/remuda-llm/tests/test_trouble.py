"""What plugins of `llm` raise, as a client sees it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import httpx
import llm
import pytest

from remuda.testing import LiveServer

from .fakes import Careless, Raises, Registers, Written

Serve = Callable[..., LiveServer]
Installed = Callable[[object], None]


class _Refused(Exception):
    def __init__(self, text: str, status_code: int) -> None:
        super().__init__(text)
        self.status_code = status_code


def _asked(server: LiveServer, model: str) -> httpx.Response:
    return httpx.post(server.url + "/api/generate", json={"model": model, "prompt": "hi", "stream": False})


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (llm.ModelError("no such voice"), 500, "model 'raises:latest': no such voice"),
        (_Refused("slow down", 429), 429, "the service behind model 'raises:latest' wants fewer requests: slow down"),
        (_Refused("bad key", 401), 502, "the service behind model 'raises:latest' answered 401: bad key"),
        (
            OSError(2, "gone", "/home/me/model.bin"),
            500,
            "the plugin of llm behind model 'raises:latest' failed: FileNotFoundError: [Errno 2] gone: the file",
        ),
        (SystemExit(3), 500, "the plugin of llm behind model 'raises:latest' failed: SystemExit: 3"),
        (KeyboardInterrupt(), 500, "the plugin of llm behind model 'raises:latest' failed: KeyboardInterrupt: "),
    ],
    ids=["model", "busy", "service", "bug", "exit", "interrupt"],
)
@pytest.mark.parametrize("late", [False, True])
def test_errors_are_told(
    serve: Serve, installed: Installed, error: BaseException, status: int, message: str, late: bool
) -> None:
    installed(Registers(Raises(error, late=late)))
    reply = _asked(serve(), "raises")
    assert (reply.status_code, reply.json()["error"]) == (status, message)


def test_one_that_blocks_and_ends_the_process_leaves_the_server_alone(serve: Serve, installed: Installed) -> None:
    installed(Registers(Written(["well, ", SystemExit(3)])))
    server = serve()
    reply = _asked(server, "written")
    assert reply.status_code == 500
    assert reply.json()["error"] == "the plugin of llm behind model 'written:latest' failed: SystemExit: 3"
    assert _asked(server, "echo").status_code == 200


def test_what_is_no_text_is_told(serve: Serve, installed: Installed) -> None:
    installed(Registers(Written(["one ", 2])))
    reply = _asked(serve(), "written")
    assert reply.status_code == 500
    assert "'written:latest'" in reply.json()["error"]
    assert "int" in reply.json()["error"]


def test_a_call_that_no_client_could_read_is_told(serve: Serve, installed: Installed) -> None:
    installed(Registers(Careless(arguments="not an object")))
    reply = _asked(serve(), "careless")
    assert reply.status_code == 500
    assert reply.json()["error"] == (
        "model 'careless:latest' called the tool 'look' with arguments that are no JSON object"
    )


def test_a_usage_that_is_no_number_counts_as_none(serve: Serve, installed: Installed) -> None:
    installed(Registers(Careless(usage="many")))
    reply = _asked(serve(), "careless").json()
    assert (reply["response"], reply["eval_count"]) == ("here ", 1)
    assert "prompt_eval_count" not in reply


def test_what_keeps_llm_from_having_models_comes_with_a_fix(
    serve: Serve, llm_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    aliases = llm_folder / "aliases.json"
    aliases.write_text("{")
    try:
        with caplog.at_level(logging.ERROR):
            server = serve()
    finally:
        aliases.unlink()
    assert "llm cannot say which models it has" in caplog.text
    assert "Fix: run `llm models`" in caplog.text
    assert httpx.get(server.url + "/api/version").status_code == 200


def test_a_missing_key_is_named(serve: Serve) -> None:
    reply = _asked(serve(without_key=True), "gpt-4o")
    assert reply.status_code == 500
    assert reply.json()["error"] == (
        "model 'gpt-4o:latest' cannot be used: No key found - add one using 'llm keys set openai' or set the "
        "OPENAI_API_KEY environment variable"
    )


def test_a_name_that_is_taken_is_no_reason_to_offer_nothing(
    serve: Serve, installed: Installed, caplog: pytest.LogCaptureFixture
) -> None:
    class Demo(Raises):
        model_id = "smollm2:135m"

    installed(Registers(Demo(ValueError())))
    with caplog.at_level(logging.WARNING):
        server = serve()
    names = [model["name"] for model in httpx.get(server.url + "/api/tags").json()["models"]]
    assert names.count("smollm2:135m") == 1
    assert "echo:latest" in names
    assert "the model 'smollm2:135m' of llm is not offered" in caplog.text


def test_settings_that_make_no_sense_are_named(serve: Serve) -> None:
    from remuda.errors import ConfigError

    with pytest.raises(ConfigError, match=r"plugins\.settings\.llm"):
        serve(alow=["*"])
