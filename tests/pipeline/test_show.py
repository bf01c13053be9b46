"""`/api/show`: each of its fields, for models in a store and outside one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs
from stored import put_model
from tiny_models import write_tiny_llama, write_tiny_vision

from remuda.errors import BadRequest, Forbidden, LoadFailed, ModelNotFound
from remuda.model import Catalog, ModelEntry, Store, Stored, parse_name
from remuda.model.manifest import ModelConfigFile
from remuda.model.modelfile import Command, parse_modelfile
from remuda.pipeline.show import show
from remuda.wire import ShowRequest, ShowResponse, encode

pytestmark = pytest.mark.anyio

_GO = "{{ .System }}|{{ .Prompt }}"
_JINJA = "{{ messages[0].content }}"
_PARAMETERS = {"stop": ["<|im_end|>", "A:"], "temperature": 0.7, "num_ctx": 4096}


async def _can(entry: ModelEntry) -> list[str]:
    return ["completion"]


async def _shown(catalog: Catalog, model: str, **fields: Any) -> ShowResponse:
    return await show(ShowRequest(model=model, **fields), catalog, _can)


def _told(response: ShowResponse) -> dict[str, Any]:
    """As a client reads it."""
    return msgspec.json.decode(encode(response))


def _entry(path: Path, **fields: Any) -> ModelEntry:
    return ModelEntry(name=parse_name("m"), weights=path, **fields)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_tiny_llama(tmp_path / "m.gguf", chat_template=_JINJA)


@pytest.fixture
def stored(tmp_path: Path, weights: Path) -> Catalog:
    """A store with the model `full`, which has everything."""
    store = Store(tmp_path / "store")
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": 'ho "ho"\n'}]
    layers = [
        ("model", weights.read_bytes()),
        ("template", _GO.encode()),
        ("system", b"Be brief.\nBe kind."),
        ("params", msgspec.json.encode(_PARAMETERS)),
        ("messages", msgspec.json.encode(messages)),
        ("license", b"MIT\n"),
        ("license", b"BSD"),
    ]
    put_model(
        store, "me/Full:v1", layers, renderer="r", parser="p", requires="0.14.0", file_type="F16", model_type="93K"
    )
    return Catalog([], store)


async def test_everything_that_a_stored_model_says(stored: Catalog, tmp_path: Path) -> None:
    told = _told(await _shown(stored, "ME/full:V1"))
    assert list(told) == [
        "license", "modelfile", "parameters", "template", "system", "details", "messages", "model_info",
        "capabilities", "modified_at", "requires",
    ]  # fmt: skip
    assert told["license"] == "MIT\n\nBSD"
    assert told["template"] == _GO
    assert told["system"] == "Be brief.\nBe kind."
    assert told["messages"] == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": 'ho "ho"\n'}]
    assert told["requires"] == "0.14.0"
    assert told["capabilities"] == ["completion"]
    assert told["details"] == {
        "parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "93K",
        "quantization_level": "F16",
    }  # fmt: skip
    assert told["parameters"].splitlines() == [
        f"{'num_ctx':30} 4096", f"{'stop':30} \"<|im_end|>\"", f"{'stop':30} \"A:\"", f"{'temperature':30} 0.7"
    ]  # fmt: skip
    assert told["model_info"]["llama.block_count"] == 2
    assert told["model_info"]["tokenizer.ggml.tokens"] is None
    assert not {"general.name", "tokenizer.chat_template"} & told["model_info"].keys()
    assert str(tmp_path) not in str(told)


async def test_the_modelfile_makes_the_model_again(stored: Catalog) -> None:
    shown = await _shown(stored, "me/full:v1")
    assert "# FROM me/Full:v1\n" in shown.modelfile
    commands = parse_modelfile(shown.modelfile)
    assert commands == [
        Command("from", value="me/Full:v1"),
        Command("template", value=_GO),
        Command("system", value="Be brief.\nBe kind."),
        Command("renderer", value="r"),
        Command("parser", value="p"),
        Command("parameter", "num_ctx", "4096"),
        Command("parameter", "stop", "<|im_end|>"),
        Command("parameter", "stop", "A:"),
        Command("parameter", "temperature", "0.7"),
        Command("license", value="MIT\n"),
        Command("license", value="BSD"),
        Command("message", "user", "hi"),
        Command("message", "assistant", 'ho "ho"\n'),
    ]


async def test_the_request_can_change_the_system_message_and_the_modelfiles_parameters(stored: Catalog) -> None:
    options = {"temperature": 0, "stop": "X", "seed": 7, "made_up": 1}
    shown = await _shown(stored, "me/full:v1", system="Be long.", options=options)
    assert shown.system == "Be long."
    assert shown.parameters == (await _shown(stored, "me/full:v1")).parameters
    commands = parse_modelfile(shown.modelfile)
    assert Command("system", value="Be long.") in commands
    assert [(each.key, each.value) for each in commands if each.name == "parameter"] == [
        ("num_ctx", "4096"), ("seed", "7"), ("stop", "X"), ("temperature", "0")
    ]  # fmt: skip


async def test_a_bad_option_is_refused(stored: Catalog) -> None:
    with pytest.raises(BadRequest, match="temperature"):
        await _shown(stored, "me/full:v1", options={"temperature": "hot"})


async def test_tensors_and_arrays_come_only_when_asked_for(stored: Catalog) -> None:
    assert "tensors" not in _told(await _shown(stored, "me/full:v1", verbose=False))
    told = _told(await _shown(stored, "me/full:v1", verbose=True))
    assert told["tensors"][0] == {"name": "token_embd.weight", "type": "F16", "shape": [64, 265]}
    assert told["model_info"]["tokenizer.ggml.tokens"][97] == "a"


async def test_a_model_outside_the_store(weights: Path, tmp_path: Path) -> None:
    entry = _entry(weights, options={"top_k": 3, "stop": ("a", "b")}, licenses=("Free",), source="configuration")
    told = _told(await _shown(Catalog([entry]), "M:LATEST"))
    assert told["template"] == _JINJA
    assert told["license"] == "Free"
    assert told["details"]["family"] == "llama"
    assert told["parameters"].split() == ["stop", '"a"', "stop", '"b"', "top_k", "3"]
    assert {"messages", "system", "requires", "projector_info", "remote_host"}.isdisjoint(told)
    assert str(tmp_path) not in str(told)
    assert parse_modelfile(told["modelfile"]) == [
        Command("from", value="m:latest"),
        Command("parameter", "stop", "a"),
        Command("parameter", "stop", "b"),
        Command("parameter", "top_k", "3"),
        Command("license", value="Free"),
    ]


async def test_the_template_is_the_one_that_is_used(weights: Path) -> None:
    entry = _entry(weights, template=_GO)

    async def effective(asked: ModelEntry) -> str:
        assert asked is entry
        return _JINJA

    shown = await show(ShowRequest(model="m"), Catalog([entry]), _can, effective)
    assert shown.template == _JINJA
    assert Command("template", value=_GO) in parse_modelfile(shown.modelfile)


async def test_a_template_that_cannot_be_used_is_shown_as_it_is(weights: Path) -> None:
    async def effective(asked: ModelEntry) -> None:
        return None

    shown = await show(ShowRequest(model="m"), Catalog([_entry(weights, template="{{ if")]), _can, effective)
    assert shown.template == "{{ if"


async def test_a_model_without_a_template_has_the_plain_one(tmp_path: Path) -> None:
    shown = await _shown(Catalog([_entry(write_tiny_llama(tmp_path / "m.gguf"))]), "m")
    assert shown.template == "{{ .Prompt }}"
    assert Command("template", value="{{ .Prompt }}") in parse_modelfile(shown.modelfile)


async def test_a_template_of_another_engine_is_shown_but_not_written(weights: Path) -> None:
    entry = _entry(weights, template="{{ other }}", template_engine="jinja")
    shown = await _shown(Catalog([entry]), "m")
    assert shown.template == "{{ other }}"
    assert "TEMPLATE" not in shown.modelfile


async def test_a_projector_tells_of_itself(tmp_path: Path) -> None:
    model, projector = write_tiny_vision(tmp_path)
    told = _told(await _shown(Catalog([_entry(model, projector=projector)]), "m"))
    assert told["projector_info"]["general.architecture"] == "clip"
    assert told["projector_info"]["clip.vision.image_mean"] is None


def _kept(path: Path, config: ModelConfigFile) -> ModelEntry:
    return _entry(path, stored=Stored(digest="0" * 64, size=1, modified=1.0, config=config, parent="other:latest"))


async def test_a_model_elsewhere_tells_what_the_store_knows(tmp_path: Path) -> None:
    config = ModelConfigFile(
        model_format="gguf", model_family="llama", remote_host="https://else.example", remote_model="big:1t",
        base_name="big", context_length=8192, embedding_length=512,
    )  # fmt: skip
    catalog = Catalog([_kept(tmp_path / "gone", config)])
    told = _told(await _shown(catalog, "m", verbose=True))
    assert (told["remote_host"], told["remote_model"]) == ("https://else.example", "big:1t")
    assert told["model_info"] == {
        "general.architecture": "llama", "general.basename": "big", "llama.context_length": 8192,
        "llama.embedding_length": 512,
    }  # fmt: skip
    assert told["details"]["parent_model"] == "other:latest"
    with pytest.raises(ModelNotFound):
        await _shown(catalog, "m:local")


async def test_a_format_that_is_not_read_here_has_empty_metadata(weights: Path) -> None:
    entry = structs.replace(_entry(weights), format="scripted")
    assert _told(await _shown(Catalog([entry]), "m", verbose=True))["model_info"] == {
        "general.architecture": "scripted"
    }


async def test_weights_that_are_gone_or_bad(tmp_path: Path) -> None:
    for entry in (_entry(tmp_path / "gone"), _kept(tmp_path / "gone", ModelConfigFile())):
        with pytest.raises(LoadFailed) as caught:
            await _shown(Catalog([entry]), "m")
        assert str(tmp_path) not in str(caught.value)
    faulty = structs.replace(_kept(tmp_path / "gone", ModelConfigFile()), fault="it is damaged; pull it again")
    with pytest.raises(LoadFailed, match="pull it again"):
        await _shown(Catalog([faulty]), "m")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("", BadRequest, "model is required"),
        (" ", BadRequest, "model is required"),
        ("a b", BadRequest, "invalid model name"),
        ("../../etc/passwd", BadRequest, "invalid model name"),
        ("foo", ModelNotFound, "model 'foo:latest' not found"),
        ("foo:local", ModelNotFound, "model 'foo:latest' not found"),
        ("registry.ollama.ai/library/Foo:1b", ModelNotFound, "model 'Foo:1b' not found"),
        ("foo:cloud", Forbidden, "ollama cloud is disabled: remote model details are unavailable"),
    ],
)
async def test_names(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        await _shown(Catalog([]), name)
    assert str(caught.value) == message


async def test_the_old_name_of_the_field(weights: Path) -> None:
    shown = await show(ShowRequest(name="m"), Catalog([_entry(weights)]), _can)
    assert shown.details.family == "llama"
