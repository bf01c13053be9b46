"""GGUF files written byte by byte: sound ones, and every kind of hostile one.

`bad_ggufs` covers what `test-gguf.cpp` of llama.cpp lists, and what was reported against servers that load models.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["LLAMA", "Kind", "RawTensor", "Typed", "bad_ggufs", "make_gguf", "raw_pair", "raw_text"]


class Kind:
    UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)


_FORMS = {
    Kind.UINT8: "<B", Kind.INT8: "<b", Kind.UINT16: "<H", Kind.INT16: "<h", Kind.UINT32: "<I", Kind.INT32: "<i",
    Kind.FLOAT32: "<f", Kind.BOOL: "<?", Kind.UINT64: "<Q", Kind.INT64: "<q", Kind.FLOAT64: "<d",
}  # fmt: skip


class Typed(NamedTuple):
    """A value of a kind that its Python type does not tell. A list is an array of that kind."""

    kind: int
    value: Any


class RawTensor(NamedTuple):
    """`offset` None is where the tensor belongs."""

    name: str | bytes
    shape: tuple[int, ...]
    type: int = 0
    offset: int | None = None


LLAMA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "general.file_type": 3,
    "llama.block_count": 2,
    "llama.context_length": 8192,
    "llama.embedding_length": 576,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "tokenizer.ggml.tokens": ["<s>", "</s>", "a"],
    "tokenizer.ggml.scores": [0.0, 0.5, -1.25],
    "tokenizer.ggml.token_type": Typed(Kind.INT32, [3, 3, 1]),
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.chat_template": "{{ messages }}",
}
"""A sound model's metadata."""

_TENSORS = (RawTensor("a.weight", (32, 3)), RawTensor("b.weight", (256, 2), 12), RawTensor("c", (5,), 1))
_SIZES = {0: (1, 4), 1: (1, 2), 12: (256, 144), 24: (1, 1)}


def raw_text(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def raw_pair(key: str | bytes, kind: int, data: bytes) -> bytes:
    return raw_text(key) + struct.pack("<I", kind) + data


def make_gguf(
    values: Mapping[str, Any] = LLAMA, tensors: Iterable[RawTensor] = _TENSORS, *, version: int = 3,
    alignment: int = 32, pairs: Iterable[bytes] = (), keys: int | None = None, count: int | None = None,
    data: bool = True,
) -> bytes:  # fmt: skip
    """`pairs` are written as they are, after `values`; `keys` and `count` are what the head claims.

    Whole numbers are UINT32, fractions FLOAT32, lists arrays of what their first element is.
    """
    raw = [_pair(key, value) for key, value in values.items()] + list(pairs)
    infos, content = b"", b""
    tensors = list(tensors)
    for tensor in tensors:
        offset = len(content) if tensor.offset is None else tensor.offset
        infos += raw_text(tensor.name) + struct.pack("<I", len(tensor.shape))
        infos += struct.pack(f"<{len(tensor.shape)}QIQ", *tensor.shape, tensor.type, offset)
        content += bytes(_padded(_size(tensor), alignment))
    counts = len(tensors) if count is None else count, len(raw) if keys is None else keys
    whole = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(raw) + infos
    if not tensors:
        return whole
    return whole + bytes(-len(whole) % alignment) + (content if data else b"")


def bad_ggufs() -> dict[str, tuple[bytes, str]]:
    """What must be refused, by a name for the fault: the file, and what the message has to mention."""
    return {**_lengths(), **_heads(), **_alignments(), **_sizes(), **_shapes(), **_places(), **_names(), **_texts()}


def _pair(key: str, value: Any) -> bytes:
    kind, value = value if isinstance(value, Typed) else (None, value)
    if isinstance(value, list):
        kind = _kind(value[0]) if kind is None else kind
        elements = b"".join(_scalar(kind, each) for each in value)
        return raw_pair(key, Kind.ARRAY, struct.pack("<IQ", kind, len(value)) + elements)
    kind = _kind(value) if kind is None else kind
    return raw_pair(key, kind, _scalar(kind, value))


def _kind(value: Any) -> int:
    return {bool: Kind.BOOL, int: Kind.UINT32, float: Kind.FLOAT32}.get(type(value), Kind.STRING)


def _scalar(kind: int, value: Any) -> bytes:
    return raw_text(value) if kind == Kind.STRING else struct.pack(_FORMS[kind], value)


def _size(tensor: RawTensor) -> int:
    elements = 1
    for size in tensor.shape:
        elements *= size
    block, size = _SIZES.get(tensor.type, (1, 4))
    return min(elements // block * size, 65_536)


def _padded(size: int, alignment: int) -> int:
    return size + -size % alignment


def _with(key: str, value: Any) -> bytes:
    """A sound file but for one value."""
    return make_gguf({**LLAMA, key: value})


def _lengths() -> dict[str, tuple[bytes, str]]:
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)

    def text(size: int) -> bytes:
        return head + raw_pair("k", Kind.STRING, struct.pack("<Q", size) + b"abc")

    def array(kind: int, length: int, data: bytes = b"") -> bytes:
        return head + raw_pair("k", Kind.ARRAY, struct.pack("<IQ", kind, length) + data)

    nested = head + raw_text("k") + struct.pack("<I", Kind.ARRAY) + struct.pack("<IQ", Kind.ARRAY, 1) * 1000
    return {
        "G1 key of 2^63 bytes": (head + struct.pack("<Q", 2**63), "key 0"),
        "G1 key as long as the file": (head + struct.pack("<Q", len(head) + 8), "key 0"),
        "G1 text of 2^64-1 bytes": (text(2**64 - 1), "'k'"),
        "G1 text of 2^63 bytes": (text(2**63), "'k'"),
        "G1 text of 2^32 bytes": (text(2**32), "'k'"),
        "G1 text of 1 GB and 1": (text(2**30 + 1), "'k'"),
        "G1 text as long as the file": (text(len(text(0))), "'k'"),
        "G1 array of 2^63 texts": (array(Kind.STRING, 2**63), "'k'"),
        "G1 array of 2^32 texts": (array(Kind.STRING, 2**32), "'k'"),
        "G1 array of 2^63 numbers": (array(Kind.UINT32, 2**63), "'k'"),
        "G1 array whose bytes wrap": (array(Kind.UINT64, 2**61), "'k'"),
        "G1 array cut": (array(Kind.UINT32, 3, bytes(11)), "'k'"),
        "G1 text of 2^63 bytes in an array": (array(Kind.STRING, 1, struct.pack("<Q", 2**63)), "'k'"),
        "G1 text of 2^64-8 bytes in an array": (array(Kind.STRING, 2, struct.pack("<QQ", 2**64 - 8, 0)), "'k'"),
        "G1 arrays a thousand deep": (nested, "'k'"),
        "G1 array of an unknown kind": (array(13, 1, bytes(8)), "'k'"),
        "G1 value of an unknown kind": (head + raw_pair("k", 99, bytes(8)), "'k'"),
        "G1 truth value of 2": (head + raw_pair("k", Kind.BOOL, b"\2"), "'k'"),
        "G1 truth values with a 255": (array(Kind.BOOL, 3, b"\0\1\xff"), "'k'"),
    }


def _heads() -> dict[str, tuple[bytes, str]]:
    whole = make_gguf()
    return {
        "G2 nothing": (b"", "not a GGUF"),
        "G2 only the magic": (b"GGUF", "version"),
        "G2 another magic": (b"GGML" + whole[4:], "begin"),
        "G2 version 0": (make_gguf(version=0), "version 0"),
        "G2 version 1 with numbers of 64 bits": (make_gguf(version=1), "tensor 0"),
        "G2 version 1 with a text of 2^32-1 bytes": (b"GGUF" + struct.pack("<5I", 1, 0, 1, 2**32 - 1, 0), "key 0"),
        "G2 version 4": (make_gguf(version=4), "version 4"),
        "G2 big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + whole[24:], "endian"),
        "G3 keys -1": (make_gguf(keys=2**64 - 1), "key count"),
        "G3 keys 2^63": (make_gguf(keys=2**63), "key count"),
        "G3 keys 0": (make_gguf({}, ()), "general.architecture"),
        "G3 one key too few": (make_gguf(keys=len(LLAMA) - 1), "'tokenizer.chat_template'"),
        "G3 tensors -1": (make_gguf(count=2**64 - 1), "tensor count"),
        "G3 tensors 2^63": (make_gguf(count=2**63), "tensor count"),
        "G3 more tensors than there are": (make_gguf(count=len(_TENSORS) + 1), "tensor 3"),
    }


def _alignments() -> dict[str, tuple[bytes, str]]:
    key = "general.alignment"
    values: dict[str, Any] = {
        "0": 0,
        "3": 3,
        "2^31": 2**31,
        "of 64 bits": Typed(Kind.UINT64, 32),
        "signed": Typed(Kind.INT32, 32),
        "a text": "32",
        "a list": [32],
    }
    bad = {f"G4 alignment {name}": (_with(key, value), key) for name, value in values.items()}
    inconsistent = make_gguf({**LLAMA, key: 64}, (RawTensor("a", (8,)), RawTensor("b", (8,))), alignment=32)
    return {**bad, "G4 tensors aligned otherwise": (inconsistent, "'b'")}


def _sizes() -> dict[str, tuple[bytes, str]]:
    bad: dict[str, tuple[bytes, str]] = {}
    keys = ("block_count", "context_length", "embedding_length", "attention.head_count", "attention.head_count_kv")
    values: dict[str, Any] = {
        "0": 0,
        "-1": Typed(Kind.INT32, -1),
        "2^32": Typed(Kind.UINT64, 2**32),
        "2^64-1": Typed(Kind.UINT64, 2**64 - 1),
        "a text": "2",
        "a fraction": 2.0,
        "a truth value": True,
        "a list of texts": ["2"],
        "a list with -1": Typed(Kind.INT32, [2, -1]),
    }
    for key in keys:
        for name, value in values.items():
            bad[f"G5 {key} is {name}"] = (_with(f"llama.{key}", value), f"'llama.{key}'")
    endless = _with("llama.attention.head_count", [1] * 5000)
    patch = {"general.architecture": "clip", "clip.has_vision_encoder": True, "clip.vision.patch_size": 0}
    return {
        **bad,
        "G5 heads for 5000 layers": (endless, "head_count"),
        "G5 architecture is a number": (_with("general.architecture", 1), "general.architecture"),
        "G5 architecture of 65 letters": (_with("general.architecture", "x" * 65), "general.architecture"),
        "G5 patches of 0 pixels": (make_gguf(patch), "patch_size"),
    }


def _shapes() -> dict[str, tuple[bytes, str]]:
    def shaped(*shape: int, type: int = 0) -> bytes:
        return make_gguf(tensors=[RawTensor("t", shape, type)])

    return {
        "G6 five dimensions": (shaped(1, 1, 1, 1, 1), "'t'"),
        "G6 2^32-1 dimensions": (make_gguf(tensors=(), count=1) + raw_text("t") + b"\xff" * 4, "'t'"),
        "G6 a dimension of 0": (shaped(4, 0), "'t'"),
        "G6 a dimension of -1": (shaped(2**64 - 1), "'t'"),
        "G6 elements wrap": (shaped(2**32, 2**32), "'t'"),
        "G6 elements wrap twice": (shaped(2**40, 2**40, 2**40, 2**8), "'t'"),
        "G6 bytes wrap": (shaped(2**61, type=28), "'t'"),
        "G6 padded bytes wrap": (shaped(2**62 - 1), "'t'"),
        "G6 rows of half a block": (shaped(128, 2, type=12), "'t'"),
    }


def _places() -> dict[str, tuple[bytes, str]]:
    def two(offset: int, *, type: int = 0) -> bytes:
        return make_gguf(tensors=[RawTensor("first", (8,)), RawTensor("second", (8,), type, offset)])

    whole = make_gguf()
    return {
        "G7 a type that was given up": (two(32, type=4), "'second'"),
        "G7 type 99": (two(32, type=99), "'second'"),
        "G7 type -1": (two(32, type=2**32 - 1), "'second'"),
        "G7 not aligned": (two(33), "'second'"),
        "G7 over each other": (two(0), "'second'"),
        "G7 far away": (two(2**40), "'second'"),
        "G7 at -1": (two(2**64 - 1), "'second'"),
        "G7 no data": (make_gguf(data=False), "'a.weight'"),
        "G7 the last byte is missing": (whole[:-23], "'c'"),
        "G7 larger than the file": (make_gguf(tensors=[RawTensor("t", (2**20,))]), "'t'"),
    }


def _names() -> dict[str, tuple[bytes, str]]:
    number = struct.pack("<I", 1)

    def keyed(*keys: bytes) -> bytes:
        return make_gguf(pairs=[raw_pair(key, Kind.UINT32, number) for key in keys])

    def named(*names: str | bytes) -> bytes:
        return make_gguf(tensors=[RawTensor(name, (8,)) for name in names])

    at = f"key {len(LLAMA)}"
    return {
        "G8 key twice": (keyed(b"twice", b"twice"), "'twice'"),
        "G8 key empty": (keyed(b""), at),
        "G8 key not UTF-8": (keyed(b"a\xff"), at),
        "G8 key with a zero": (keyed(b"a\0b"), at),
        "G8 key too long": (keyed(b"a" * 65_536), at),
        "G8 tensor twice": (named("t", "t"), "'t'"),
        "G8 tensor without a name": (named(""), "tensor 0"),
        "G8 tensor name of 64 bytes": (named("t" * 64), "tensor 0"),
        "G8 tensor name of 2^63 bytes": (make_gguf(tensors=(), count=1) + struct.pack("<Q", 2**63), "tensor 0"),
        "G8 tensor name not UTF-8": (named(b"\xc3("), "tensor 0"),
        "G8 tensor name with a zero": (named("a\0b"), "tensor 0"),
    }


def _texts() -> dict[str, tuple[bytes, str]]:
    tokens, scores, types = (f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type"))
    bos, eos = "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"
    one = {"general.architecture": "llama", tokens: ["a"], bos: 1}
    empty = raw_pair(tokens, Kind.ARRAY, struct.pack("<IQ", Kind.STRING, 0))
    long = "{{ x }}" * 150_000
    return {
        "G9 one token and BOS 1": (make_gguf(one), bos),
        "G9 a token id of 2^31": (_with(eos, 2**31), eos),
        "G9 a token id of -5": (_with(eos, Typed(Kind.INT32, -5)), eos),
        "G9 a token id that is a text": (_with(eos, "1"), eos),
        "G9 tokens that are numbers": (_with(tokens, [1, 2, 3]), tokens),
        "G9 tokens that are one text": (_with(tokens, "abc"), tokens),
        "G9 no tokens": (make_gguf({"general.architecture": "llama"}, pairs=[empty]), tokens),
        "G9 scores that are missing": (_with(scores, [0.5, 0.5]), scores),
        "G9 scores that are texts": (_with(scores, ["0", "1", "2"]), scores),
        "G9 types that are too many": (_with(types, Typed(Kind.INT32, [1] * 4)), types),
        "G9 types of one byte": (_with(types, Typed(Kind.UINT8, [1] * 3)), types),
        "G10 a template of a megabyte": (_with("tokenizer.chat_template", long), "chat_template"),
        "G10 a template that is a list": (_with("tokenizer.chat_template", ["x"]), "chat_template"),
        "G10 a named template of a megabyte": (_with("tokenizer.chat_template.rag", long), "chat_template.rag"),
        "G10 texts of five megabytes": (make_gguf({f"k{n}": "x" * 1_000_000 for n in range(5)}), "'k4'"),
        "G11 shard 2 of 2": (make_gguf({**LLAMA, "split.no": 2, "split.count": 2}), "split.no"),
        "G11 a shard count that is a text": (_with("split.count", "2"), "split.count"),
        "G11 a shard count of 2^32": (_with("split.count", Typed(Kind.UINT64, 2**32)), "split.count"),
        "G11 a shard of -1": (make_gguf({**LLAMA, "split.no": Typed(Kind.INT32, -1), "split.count": 2}), "split.no"),
        "G11 more tensors than the whole has": (_with("split.tensors.count", 2), "split.tensors.count"),
    }
