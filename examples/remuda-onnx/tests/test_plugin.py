"""Models as the plugin finds them, and how clients meet them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jinja2 import Environment
from tiny_onnx import CONTEXT, byte_level, write_tiny

from remuda.config import Config, ModelConfig, PluginsConfig
from remuda.errors import ConfigError
from remuda.plugins import load_plugins
from remuda.testing import LiveServer
from remuda_onnx.found import Found, find_models
from remuda_onnx.plugin import OnnxPlugin

Ask = Callable[..., dict[str, Any]]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"enum": [7, 70]}},
    "required": ["name", "age"],
}
OPTIONS = {"temperature": 0, "num_predict": 12, "num_thread": 1}


def _settings(folder: Path, **settings: Any) -> Config:
    return Config(plugins=PluginsConfig(settings={"onnx": {"folder": str(folder), **settings}}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_tiny(folder / "Tiny-ONNX")
    write_tiny(folder / "Tiny-ONNX", name="model_q4")
    write_tiny(folder / "only one", name="model_int8", inside=False)
    write_tiny(folder / "parts", name="decoder_model_merged")
    (folder / "empty").mkdir()
    broken = write_tiny(folder / "broken").parent.parent
    (broken / "config.json").write_text("{")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[LiveServer]:
    """With the plugin as it is installed: through its entry point, if it is, else by itself."""
    base = _settings(folder)
    configured = ModelConfig(path=str(folder / "Tiny-ONNX" / "onnx" / "model.onnx"), format="onnx", options=OPTIONS)
    config = Config(plugins=base.plugins, models={"configured": configured})
    with LiveServer(config, _plugins(config)) as server:
        yield server


def _plugins(config: Config) -> Any:
    from importlib.metadata import entry_points

    installed = [point.name for point in entry_points(group="remuda")]
    return load_plugins(extra=() if "onnx" in installed else [("onnx", OnnxPlugin())], config=config)


@pytest.fixture(scope="module")
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield http


@pytest.fixture(scope="module")
def ask(http: httpx.Client) -> Ask:
    def ask(path: str, **fields: Any) -> dict[str, Any]:
        options = {**OPTIONS, **fields.pop("options", {})}
        reply = http.post(path, json={"model": "tiny-onnx", "stream": False, "options": options, **fields})
        assert reply.status_code == 200, reply.text
        return reply.json()

    return ask


# --- what is found ---


def test_models_are_named_after_their_folders(folder: Path) -> None:
    found = {model.name: model for model in find_models(folder)}
    assert sorted(found) == ["only-one", "tiny-onnx", "tiny-onnx:q4"]
    assert found["only-one"].weights.name == "model_int8.onnx"
    assert found["tiny-onnx:q4"].weights.name == "model_q4.onnx"
    assert {model.context for model in found.values()} == {CONTEXT}


def test_a_template_knows_the_tokens_round_a_text(folder: Path) -> None:
    found: Found = next(iter(find_models(folder)))
    assert found.template is not None
    assert found.template.startswith('{%- set eos_token = "<|im_end|>" -%}')
    assert "bos_token =" not in found.template, "it has none"


def test_a_token_of_a_template_may_be_any_text(tmp_path: Path) -> None:
    """Jinja takes an escaped pair of surrogates for two characters, which no tokenizer could read."""
    write_tiny(tmp_path / "tiny")
    (tmp_path / "tiny" / "tokenizer_config.json").write_text(json.dumps({"chat_template": "", "bos_token": "😀"}))
    (tmp_path / "tiny" / "chat_template.jinja").write_text("{{ bos_token }}")
    (found,) = find_models(tmp_path)
    assert Environment(autoescape=False).from_string(found.template or "").render() == "😀"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ([{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}], "yes"),
        ([{"name": "tool_use", "template": "no"}], None),
        (None, None),
    ],
)
def test_of_several_templates_the_default_is_taken(tmp_path: Path, template: Any, expected: str | None) -> None:
    write_tiny(tmp_path / "tiny")
    (tmp_path / "tiny" / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    (found,) = find_models(tmp_path)
    assert found.template == expected


def test_a_template_may_have_a_file_of_its_own(tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny")
    (tmp_path / "tiny" / "chat_template.jinja").write_text("its own")
    (found,) = find_models(tmp_path)
    assert found.template is not None
    assert found.template.endswith("its own")


def test_settings_that_make_no_sense_name_the_key(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(ConfigError, match=r"plugins\.settings\.onnx\.folder: there is no folder"):
        _plugins(_settings(missing))
    with pytest.raises(ConfigError, match=r"plugins\.settings\.onnx\.foldr"):
        _plugins(Config(plugins=PluginsConfig(settings={"onnx": {"foldr": "x"}})))
    assert "onnx" in {offer.name for offer in _plugins(Config()).backends.offers()}, "without a folder it serves files"


def test_a_model_that_cannot_be_offered_keeps_no_other_from_being(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("Twin", "long" * 40, "twin", "z"):
        write_tiny(tmp_path / name)
    plugins = _plugins(_settings(tmp_path))
    assert {str(entry.name) for entry in plugins.models.values() if entry.format == "onnx"} == {
        "twin:latest",
        "z:latest",
    }
    assert f"{tmp_path / 'twin'}/onnx/model.onnx is not offered: " in caplog.text
    assert f"{tmp_path / ('long' * 40)}/onnx/model.onnx is not offered: " in caplog.text


# --- over HTTP ---


def test_models_are_listed_with_what_is_known(http: httpx.Client) -> None:
    names = {model["name"] for model in http.get("/api/tags").json()["models"]}
    assert {"tiny-onnx:latest", "tiny-onnx:q4", "only-one:latest", "configured:latest"} <= names
    shown = http.post("/api/show", json={"model": "tiny-onnx:q4"}).json()
    assert shown["details"]["format"] == "onnx"
    assert "<|im_start|>" in shown["template"]
    assert shown["capabilities"] == ["completion"]
    assert CONTEXT in shown["model_info"].values()


def test_a_chat_is_rendered_with_the_folders_template(ask: Ask) -> None:
    """What it renders counts the tokens: it is asked for once as a chat, and once written out."""
    chat = ask("/api/chat", messages=[{"role": "user", "content": "Once upon a time"}])
    prompt = "<|im_start|>user\nOnce upon a time<|im_end|>\n<|im_start|>assistant\n"
    raw = ask("/api/generate", prompt=prompt, raw=True)
    assert chat["message"]["content"] == raw["response"] != ""
    assert chat["prompt_eval_count"] == raw["prompt_eval_count"] == len(byte_level().encode(prompt).ids)
    assert (chat["done_reason"], chat["eval_count"]) == ("length", 12)


def test_a_model_of_the_configuration_is_served_as_well(ask: Ask) -> None:
    texts = [
        ask("/api/generate", model=name, prompt="Once upon", raw=True)["response"]
        for name in ("tiny-onnx", "configured")
    ]
    assert texts[0] == texts[1]


def test_a_stream_tells_the_same_text_in_pieces(http: httpx.Client, ask: Ask) -> None:
    fields = {"prompt": "Once upon a time", "raw": True}
    whole = ask("/api/generate", **fields)["response"]
    with http.stream("POST", "/api/generate", json={"model": "tiny-onnx", "options": OPTIONS, **fields}) as reply:
        lines = [json.loads(line) for line in reply.iter_lines()]
    assert "".join(line["response"] for line in lines) == whole
    assert len(lines) > 5
    assert lines[-1]["done_reason"] == "length"


def test_a_stop_string_ends_the_text(ask: Ask) -> None:
    whole = ask("/api/generate", prompt="Once upon a time", raw=True)["response"]
    stop = whole[4:7]
    reply = ask("/api/generate", prompt="Once upon a time", raw=True, options={"stop": [stop]})
    assert (reply["response"], reply["done_reason"]) == (whole[: whole.find(stop)], "stop")


def test_a_seed_gives_the_same_text_again(ask: Ask) -> None:
    def drawn(seed: int) -> str:
        options = {"temperature": 1.0, "seed": seed}
        return ask("/api/generate", prompt="Once upon a time", raw=True, options=options)["response"]

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(5)}) > 1


@pytest.mark.parametrize("most", [5, 60])
def test_a_schema_is_kept(ask: Ask, most: int) -> None:
    fields = {"messages": [{"role": "user", "content": "Who?"}], "format": PERSON, "options": {"num_predict": most}}
    person = json.loads(ask("/api/chat", **fields)["message"]["content"])
    assert isinstance(person["name"], str)
    assert person["age"] in {7, 70}


def test_several_at_once_say_what_each_says_alone(ask: Ask) -> None:
    from concurrent.futures import ThreadPoolExecutor

    prompts = ["Once upon a time", "The capital of France", "One day, a girl"]

    def text(prompt: str) -> str:
        return ask("/api/generate", prompt=prompt, raw=True)["response"]

    expected = [text(prompt) for prompt in prompts]
    with ThreadPoolExecutor(len(prompts)) as pool:
        assert list(pool.map(text, prompts)) == expected


def test_a_model_that_cannot_be_loaded_says_why(folder: Path, http: httpx.Client) -> None:
    asked = {"model": "only-one", "prompt": "x", "raw": True, "stream": False, "options": OPTIONS}
    assert http.post("/api/generate", json=asked).status_code == 200
    weights = folder / "only one" / "model_int8.onnx"
    http.post("/api/generate", json={"model": "only-one", "keep_alive": 0})
    data = weights.read_bytes()
    try:
        weights.write_bytes(data[:1000])
        reply = http.post("/api/generate", json=asked)
    finally:
        weights.write_bytes(data)
    assert reply.status_code == 500
    assert "model_int8.onnx is no whole ONNX file" in reply.json()["error"]
