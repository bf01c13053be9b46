"""Models made over HTTP and used: from another model, from an uploaded file, with less precision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest
from bad_gguf import RawTensor, make_gguf
from tiny_embedders import write_tiny_bert
from tiny_models import write_tiny_llama

from remuda.config import Config, StoreConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer

from .conftest import DEMO

OPTIONS = {"temperature": 0, "num_predict": 12}
ZEROS = "0" * 19


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("created")


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[LiveServer]:
    with LiveServer(Config(store=StoreConfig(path=str(root))), load_plugins()) as server:
        yield server


@pytest.fixture
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as http:
        yield http


def create(http: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    """The lines of progress."""
    reply = http.post("/api/create", json=fields)
    assert reply.status_code == 200, reply.text
    return [json.loads(line) for line in reply.text.splitlines()]


def generate(http: httpx.Client, model: str, prompt: str, **fields: Any) -> dict[str, Any]:
    reply = http.post("/api/generate", json={"model": model, "prompt": prompt, "stream": False, **fields})
    assert reply.status_code == 200, reply.text
    return reply.json()


def upload(http: httpx.Client, data: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert http.post(f"/api/blobs/{digest}", content=data).status_code in {200, 201}
    return digest


def test_a_shipped_model_with_a_system_message_and_options(http: httpx.Client) -> None:
    system = "You only ever say the word horse."
    lines = create(http, model="rider", **{"from": DEMO}, system=system, parameters=OPTIONS)
    assert [line["status"].split(" sha256")[0] for line in lines] == [
        "using existing layer",
        "creating new layer",
        "creating new layer",
        "writing manifest",
        "success",
    ]
    made = generate(http, "rider", "Who are you?")
    assert made["response"] == generate(http, DEMO, "Who are you?", system=system, options=OPTIONS)["response"]
    assert made["eval_count"] <= 12
    assert made["response"] != generate(http, DEMO, "Who are you?", options=OPTIONS)["response"]
    listed = {model["name"]: model for model in http.get("/api/tags").json()["models"]}
    assert listed["rider:latest"]["details"]["parent_model"] == DEMO
    assert listed["rider:latest"]["details"]["quantization_level"] == "Q4_1"


def test_one_object_at_the_end(http: httpx.Client) -> None:
    reply = http.post("/api/create", json={"model": "single", "from": DEMO, "stream": False})
    assert (reply.status_code, reply.json()) == (200, {"status": "success"})


def test_the_ollama_client_makes_a_model(server: LiveServer, http: httpx.Client) -> None:
    with closing(ollama.Client(host=server.url)) as official:
        lines = list(official.create("poet", from_=DEMO, system="Rhyme.", parameters=OPTIONS, stream=True))
        assert lines[-1].status == "success"
        assert official.generate("poet", "Hello").eval_count
        official.delete("poet")
    assert http.post("/api/generate", json={"model": "poet", "prompt": "x"}).status_code == 404


def test_an_uploaded_file(http: httpx.Client, tmp_path: Path, root: Path) -> None:
    data = write_tiny_llama(tmp_path / "llama.gguf", seed=5).read_bytes()
    digest = upload(http, data)
    lines = create(http, model="file", files={"llama.gguf": digest}, template="{{ .Prompt }}", parameters=OPTIONS)
    assert [line["status"] for line in lines][:3] == ["parsing GGUF", "validating GGUF model", "verifying conversion"]
    assert generate(http, "file", "abc")["eval_count"] == 12
    assert http.request("DELETE", "/api/delete", json={"model": "file"}).status_code == 200
    assert http.head(f"/api/blobs/{digest}").status_code == 404
    assert not list(root.glob("**/.tmp-*"))


@pytest.mark.parametrize("kind", ["q8_0", "Q4_K_M", "F32"])
def test_an_uploaded_file_with_another_precision(http: httpx.Client, tmp_path: Path, root: Path, kind: str) -> None:
    data = write_tiny_llama(tmp_path / "llama.gguf", seed=6).read_bytes()
    lines = create(http, model="small", files={"llama.gguf": upload(http, data)}, quantize=kind, parameters=OPTIONS)
    steps = [line for line in lines if line["status"] == f"quantizing F16 model to {kind.upper()}"]
    assert steps[-1] == {**steps[-1], "digest": ZEROS, "completed": steps[-1]["total"]}
    counts = [step.get("completed", 0) for step in steps]
    assert counts == sorted(counts)
    assert lines[-1] == {"status": "success"}
    details = http.post("/api/show", json={"model": "small"}).json()["details"]
    assert details["quantization_level"] == kind.upper()
    assert generate(http, "small", "abc")["eval_count"] == 12
    assert not list(root.glob("**/.tmp-*"))


def test_a_model_with_a_draft_model(http: httpx.Client, tmp_path: Path) -> None:
    files = {"m.gguf": upload(http, write_tiny_llama(tmp_path / "m.gguf", seed=7).read_bytes())}
    options = {**OPTIONS, "num_ctx": 512}
    create(http, model="alone", files=files, parameters=options)
    create(http, model="drafting", **{"from": "alone"}, draft_files={"d.gguf": files["m.gguf"]})
    texts = {name: generate(http, name, "abc")["response"] for name in ("alone", "drafting")}
    assert texts["alone"] == texts["drafting"]
    sizes = {model["name"]: model["size"] for model in http.get("/api/ps").json()["models"]}
    assert sizes["drafting:latest"] > 1.2 * sizes["alone:latest"], "the draft model is loaded"
    bert = upload(http, write_tiny_bert(tmp_path / "bert.gguf").read_bytes())
    create(http, model="misfit", **{"from": "alone"}, draft_files={"bert.gguf": bert})
    reply = http.post("/api/generate", json={"model": "misfit", "prompt": "abc", "stream": False})
    text = "the draft model of misfit:latest does not fit it: its vocabulary has 70 tokens, that of the model 265"
    assert (reply.status_code, reply.json()) == (500, {"error": f"{text}; set draft_num_predict to 0 to go without it"})
    without = generate(http, "misfit", "abc", options={"draft_num_predict": 0})
    assert without["response"] == texts["alone"]


def test_the_demo_model_cannot_be_quantized_again(http: httpx.Client) -> None:
    reply = http.post("/api/create", json={"model": "again", "from": DEMO, "quantize": "q8_0"})
    text = "quantization is only supported for F16, BF16 and F32 models"
    assert (reply.status_code, reply.json()) == (400, {"error": text})


@pytest.mark.parametrize("quantize", ["", "q8_0"])
def test_tensors_behind_the_end_of_a_file_are_never_read(http: httpx.Client, quantize: str) -> None:
    data = make_gguf(tensors=[RawTensor("t", (2**20,))])
    fields = {"model": "leak", "files": {"a.gguf": upload(http, data)}, "quantize": quantize}
    reply = http.post("/api/create", json=fields)
    assert reply.status_code == 400
    assert "the tensor 't' ends at byte" in reply.json()["error"]
    assert http.post("/api/show", json={"model": "leak"}).status_code == 404


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": "x"}, "neither 'from' or 'files' was specified"),
        ({"model": "x", "files": {}}, "unknown type"),
        ({"model": "x", "files": {"/etc/passwd": f"sha256:{'0' * 64}"}}, "file path must be relative"),
        ({"model": "x", "files": {"0.gguf": ""}}, "invalid digest format"),
        ({"model": "x", "from": "/etc/passwd"}, "invalid model name"),
        ({"model": "x", "from": DEMO, "template": "{{ if }}"}, "template error: template: :1: missing value for if"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_what_is_wrong_with_a_request_has_a_status(
    http: httpx.Client, fields: dict[str, Any], error: str, stream: bool
) -> None:
    reply = http.post("/api/create", json={**fields, "stream": stream})
    assert (reply.status_code, reply.json()) == (400, {"error": error})


def test_a_name_that_is_taken_outside_the_store(http: httpx.Client) -> None:
    reply = http.post("/api/create", json={"model": DEMO, "from": DEMO})
    assert reply.status_code == 400
