"""Files that are not what they should be: each is refused with a sentence that names the file and says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from tiny_onnx import CONTEXT, graph_of, write_tiny

from remuda import LoadSpec
from remuda.errors import LoadFailed
from remuda_onnx.engine import OnnxEngine
from remuda_onnx.graph import read_graph
from remuda_onnx.ports import ports_of

SIZE = 327


def _load(weights: Path, **fields: Any) -> OnnxEngine:
    return OnnxEngine.load(LoadSpec(name="tiny", weights=str(weights), **{"context": 256, "parallel": 2, **fields}))


def _refused(weights: Path, **fields: Any) -> str:
    with pytest.raises(LoadFailed) as failed:
        _load(weights, **fields).close()
    words = str(failed.value)
    assert words.startswith("tiny could not be loaded: ")
    assert str(weights.parent) not in words, "no path is told"
    return words


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


# --- what is there ---


def test_what_the_files_say_is_heeded(weights: Path) -> None:
    engine = _load(weights, context=2 * CONTEXT)
    assert (engine.context, engine.parallel, engine.vocabulary) == (CONTEXT, 2, SIZE - 3)
    assert engine.sizes()["size"] >= weights.stat().st_size
    assert engine.detokenize(engine.tokenize("<|im_end|>")) == b""
    engine.close()


def test_only_the_vocabulary_must_be_there(weights: Path) -> None:
    for path in weights.parent.parent.glob("*.json"):
        if path.name != "tokenizer.json":
            path.unlink()
    _load(weights).close()


def test_links_may_lead_anywhere(tmp_path: Path) -> None:
    """As the hub's client lays its files out."""
    inside = write_tiny(tmp_path / "tiny", external=True).parent
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(inside.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(blobs / str(number))
    _load(inside / "model.onnx").close()


def test_ports_are_read_as_the_library_for_onnx_reads_them(weights: Path) -> None:
    graph = onnx.load(weights).graph
    read = read_graph(weights)
    for ours, theirs in ((read.inputs, graph.input), (read.outputs, graph.output)):
        assert list(ours) == [port.name for port in theirs]
        for port in theirs:
            kind = port.type.tensor_type
            shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)
            assert (ours[port.name].type, ours[port.name].shape) == (kind.elem_type, shape)


def test_weights_elsewhere_are_found_in_graphs_within_graphs(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["far"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
        [_elsewhere("../far.bin")],
    )
    constant = helper.make_node("If", ["yes"], ["logits"], then_branch=inner, else_branch=inner)
    port = helper.make_tensor_value_info("yes", TensorProto.BOOL, [1])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1])
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([constant], "g", [port], [out])).SerializeToString())
    read = read_graph(path)
    assert list(read.external) == ["../far.bin"]
    assert list(read.inputs) == ["yes"]


def _elsewhere(location: str, length: int = 4) -> onnx.TensorProto:
    tensor = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": str(length)}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


# --- the weights ---


@pytest.mark.parametrize("keep", [0, 1, 100, 50_000, 200_000])
def test_a_graph_that_is_not_whole_is_refused(weights: Path, keep: int) -> None:
    weights.write_bytes(weights.read_bytes()[:keep])
    words = _refused(weights)
    assert "model.onnx" in words
    assert "download it again" in words or "is no ONNX model" in words


def test_a_damaged_graph_ends_in_a_sentence_wherever_it_is_damaged(weights: Path) -> None:
    """Or is loaded, where it is a number among the weights."""
    data = weights.read_bytes()
    for place in range(0, len(data), len(data) // 60):
        weights.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        assert "model.onnx" in _told(weights)


def _told(weights: Path) -> str:
    """What a load says that fails; the file's name where it does not."""
    try:
        _load(weights).close()
    except LoadFailed as failed:
        return str(failed)
    return weights.name


def test_a_file_of_nothing_but_fields_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x01" * 1_000_001)
    with pytest.raises(LoadFailed, match="too many parts"):
        read_graph(path)


def test_messages_too_deep_in_each_other_are_refused(tmp_path: Path) -> None:
    data = b""
    for _ in range(200):  # an attribute with a graph with a node with an attribute ...
        for tag in (0x32, 0x2A, 0x0A):
            length = len(data)
            size = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14])
            data = bytes([tag]) + size + data
    length = len(data)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a" + bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + data)
    with pytest.raises(LoadFailed, match="too deep"):
        read_graph(path)


LOCATIONS = ["../tokenizer.json", "/etc/passwd", "a/../../b", "..", "", "C:\\weights", "a\0b"]


@pytest.mark.parametrize("location", LOCATIONS)
def test_weights_outside_the_folder_are_refused(weights: Path, location: str) -> None:
    model = onnx.load(weights)
    model.graph.initializer.append(_elsewhere(location))
    weights.write_bytes(model.SerializeToString())
    assert "outside its own folder" in _refused(weights)


def test_weights_that_are_missing_or_not_whole_are_named(tmp_path: Path) -> None:
    weights = write_tiny(tmp_path / "tiny", external=True)
    data = weights.with_name("model.onnx_data")
    data.write_bytes(data.read_bytes()[:-100])
    assert "model.onnx_data has" in _refused(weights)
    data.unlink()
    assert "model.onnx_data, with weights of model.onnx, is missing" in _refused(weights)


# --- what the graph is of ---


def _changed(change: Callable[[onnx.GraphProto], object]) -> bytes:
    model = graph_of(SIZE, optional=("attention_mask", "position_ids"))
    change(model.graph)
    return model.SerializeToString()


def _renamed(old: str, new: str) -> Callable[[onnx.GraphProto], object]:
    def rename(graph: onnx.GraphProto) -> None:
        for port in (*graph.input, *graph.output):
            port.name = port.name.replace(old, new)

    return rename


def _typed(name: str, type: int) -> Callable[[onnx.GraphProto], object]:
    def change(graph: onnx.GraphProto) -> None:
        for port in (*graph.input, *graph.output):
            if port.name.startswith(name):
                port.type.tensor_type.elem_type = type

    return change


def _added(name: str) -> Callable[[onnx.GraphProto], object]:
    return lambda graph: graph.input.append(helper.make_tensor_value_info(name, TensorProto.BOOL, [1]))


def _fixed_length(graph: onnx.GraphProto) -> None:
    graph.input[3].type.tensor_type.shape.dim[2].dim_value = 64


GRAPHS: dict[str, tuple[Callable[[onnx.GraphProto], object], str]] = {
    "no logits": (_renamed("logits", "last_hidden_state"), "model.onnx is no decoder: it lacks"),
    "no ids": (_renamed("input_ids", "pixel_values"), "model.onnx is no decoder: it lacks"),
    "no cache": (_renamed("past_key_values", "cache"), "model.onnx keeps nothing of what it has read"),
    "no way out": (_renamed("present", "new"), "without the output 'present.0.key'"),
    "an older kind": (_added("use_cache_branch"), "'use_cache_branch': export the model again"),
    "another input": (_added("pixel_values"), "does not know: pixel_values"),
    "short ids": (_typed("input_ids", TensorProto.INT32), "'input_ids' that takes no 64-bit integers"),
    "another cache": (_typed("past", TensorProto.BFLOAT16), "another type than float32 or float16"),
    "a fixed cache": (_fixed_length, "another shape than"),
    "other logits": (_typed("logits", TensorProto.INT64), "logits of another type or shape"),
}


@pytest.mark.parametrize(("change", "words"), GRAPHS.values(), ids=GRAPHS)
def test_a_graph_that_is_no_such_decoder_is_refused(
    weights: Path, change: Callable[[onnx.GraphProto], object], words: str
) -> None:
    weights.write_bytes(_changed(change))
    assert words in _refused(weights)
    with pytest.raises(LoadFailed):
        ports_of(read_graph(weights), weights.name)


def test_a_graph_that_cannot_be_computed_is_refused(weights: Path) -> None:
    """It has the right names, and says of its cache what is not so."""

    def lie(graph: onnx.GraphProto) -> None:
        for port in graph.input:
            if port.name.startswith("past"):
                port.type.tensor_type.shape.dim[3].dim_value = 5

    weights.write_bytes(_changed(lie))
    assert "model.onnx" in _refused(weights)


def test_weights_that_are_no_numbers_are_refused(weights: Path) -> None:
    model = onnx.load(weights)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 2:
            tensor.raw_data = b"\xff" * len(tensor.raw_data)
    onnx.save(model, weights)
    assert "no numbers to choose a token by" in _refused(weights)


# --- the files beside them ---


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"eos_token_id": "x", "chat_template": 3}', b"[" * 9999])
def test_a_file_that_makes_no_sense_is_named(weights: Path, name: str, data: bytes) -> None:
    (weights.parent.parent / name).write_bytes(data)
    if name == "tokenizer_config.json" or data[:5] != b'{"eos':
        assert name in _refused(weights)


def test_a_model_without_its_vocabulary_is_refused(weights: Path) -> None:
    (weights.parent.parent / "tokenizer.json").unlink()
    words = _refused(weights)
    assert "there is no tokenizer.json beside model.onnx" in words
    assert "whole repository" in words


def test_numbers_that_are_no_tokens_end_nothing(weights: Path) -> None:
    ends = {"eos_token_id": [-1, 2**40, 5]}
    (weights.parent.parent / "generation_config.json").write_text(json.dumps(ends))
    _load(weights).close()


@pytest.mark.parametrize(("field", "value"), [("adapters", ["lora"]), ("projector", "mmproj")])
def test_what_this_engine_cannot_do_is_refused(weights: Path, field: str, value: Any) -> None:
    assert "this engine" in _refused(weights, **{field: value})
