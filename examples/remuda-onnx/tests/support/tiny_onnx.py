"""A tiny decoder of random weights in a folder laid out as the hub has them, with every name that real exports use.

Two layers of attention with a real cache, positions, and as many key heads as wanted: what comes out depends on every
token before it, so that a cache which is wrong anywhere shows. `write_tiny` is deterministic.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

__all__ = ["CONTEXT", "TEMPLATE", "byte_level", "graph_of", "pieces", "write_tiny"]

CONTEXT = 512
HEADS, WIDTH, LAYERS = 4, 8, 2
SIZE = HEADS * WIDTH
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CORPUS = (
    "Once upon a time there was a little house by the river. The capital of France is a big city. One day, a girl",
    'In the morning the old man went to the market and said: "seven of the stones are red". {"name": "Tom", "age": 7}',
)


def byte_level() -> Tokenizer:
    """As GPT-2, Llama 3 and Qwen have them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens(["<think>"])
    return tokenizer


def pieces() -> Tokenizer:
    """As Llama 2 and Gemma have them: a space is written ▁, a byte <0x0A>, and texts begin with <s>."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = sorted(set("".join(_CORPUS).replace(" ", "▁")))
    pairs = [("▁", "t"), ("h", "e"), ("i", "n"), ("▁", "a"), ("▁t", "he")]
    names += [*letters, *(first + second for first, second in pairs)]
    vocabulary = {name: id for id, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocabulary, pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def write_tiny(
    folder: Path,
    tokenizer: Tokenizer | None = None,
    *,
    half: bool = False,
    key_heads: int = HEADS,
    optional: Iterable[str] = ("attention_mask", "position_ids"),
    external: bool = False,
    inside: bool = True,
    name: str = "model",
) -> Path:
    """The path of the weights, in `folder` or in `onnx` inside it.

    `half` keeps the cache in float16, `external` the weights in a file of their own.
    """
    tokenizer = tokenizer or byte_level()
    folder.mkdir(parents=True, exist_ok=True)
    ends = [token for token in ("<|endoftext|>", "<|im_end|>", "</s>") if tokenizer.token_to_id(token) is not None]
    files: dict[str, dict[str, Any]] = {
        "config.json": {"model_type": "tiny", "max_position_embeddings": CONTEXT},
        "generation_config.json": {"eos_token_id": [tokenizer.token_to_id(token) for token in ends]},
        "tokenizer_config.json": {"chat_template": TEMPLATE, "eos_token": ends[-1], "bos_token": None},
    }
    for file, data in files.items():
        (folder / file).write_text(json.dumps(data))
    tokenizer.save(str(folder / "tokenizer.json"))
    path = folder / ("onnx" if inside else "") / f"{name}.onnx"
    path.parent.mkdir(exist_ok=True)
    rare = [tokenizer.token_to_id(token) for token in ends]
    model = graph_of(tokenizer.get_vocab_size() + 3, half=half, key_heads=key_heads, optional=optional, rare=rare)
    onnx.checker.check_model(model)
    if external:
        onnx.save(model, path, save_as_external_data=True, location=f"{path.name}_data", size_threshold=1024)
    else:
        onnx.save(model, path)
    return path


def graph_of(
    vocabulary: int,
    *,
    half: bool = False,
    key_heads: int = HEADS,
    optional: Iterable[str] = (),
    rare: Sequence[int] = (),
) -> onnx.ModelProto:
    """Of `vocabulary` logits; there may be some more than tokens, as in many models. `rare` tokens are never likely."""
    return _Maker(vocabulary, half, key_heads, frozenset(optional), rare).made()


class _Maker:
    def __init__(
        self, vocabulary: int, half: bool, key_heads: int, optional: frozenset[str], rare: Sequence[int]
    ) -> None:
        self._random = np.random.default_rng(7)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._vocabulary, self._half, self._key_heads, self._optional = vocabulary, half, key_heads, optional
        self._rare = list(rare)

    def made(self) -> onnx.ModelProto:
        batch, length, past, total = "batch_size", "sequence_length", "past_sequence_length", "total_sequence_length"
        kind = TensorProto.FLOAT16 if self._half else TensorProto.FLOAT
        shapes = {
            "attention_mask": [batch, total],
            "position_ids": [batch, length],
            "num_logits_to_keep": [],
        }
        inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [batch, length])]
        for name, shape in shapes.items():
            if name in self._optional:
                inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, shape))
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, length, self._vocabulary])]
        for layer in range(LAYERS):
            for part in ("key", "value"):
                kept = [batch, self._key_heads, past, WIDTH]
                inputs.append(helper.make_tensor_value_info(f"past_key_values.{layer}.{part}", kind, kept))
                kept = [batch, self._key_heads, total, WIDTH]
                outputs.append(helper.make_tensor_value_info(f"present.{layer}.{part}", kind, kept))
        self._compute()
        graph = helper.make_graph(self._nodes, "main_graph", inputs, outputs, self._weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    def _compute(self) -> None:
        places = self._places()
        words = self._op("Gather", self._weight(self._vocabulary, SIZE), "input_ids")
        state = self._op("Add", words, self._op("Gather", self._weight(CONTEXT, SIZE), places))
        ahead = self._op("Less", self._op("Unsqueeze", places, self._ints(2)), self._op("Range", *self._range()))
        hidden = self._op("Unsqueeze", ahead, self._ints(1))
        for layer in range(LAYERS):
            state = self._op("Add", state, self._attention(layer, self._normed(state), hidden))
            inner = self._op("Relu", self._op("MatMul", self._normed(state), self._weight(SIZE, 2 * SIZE)))
            state = self._op("Add", state, self._op("MatMul", inner, self._weight(2 * SIZE, SIZE)))
        if "num_logits_to_keep" in self._optional:
            first = self._op("Unsqueeze", self._op("Neg", "num_logits_to_keep"), self._ints(0))
            state = self._op("Slice", state, first, self._ints(2**31 - 1), self._ints(1))
        head = self._random.normal(0, 0.5, (SIZE, self._vocabulary)).astype(np.float32)
        head[:, self._rare] = 0
        self._op("MatMul", self._normed(state), self._constant(head), out="logits")

    def _places(self) -> str:
        """Where each token stands, by what the model is told of it."""
        if "position_ids" in self._optional:
            return "position_ids"
        begin, end, step = self._range(whole=False)
        return self._op("Unsqueeze", self._op("Range", begin, end, step), self._ints(0))

    def _range(self, *, whole: bool = True) -> tuple[str, str, str]:
        """From the first token, or the first that is not in the cache, to the last."""
        past = self._op("Gather", self._op("Shape", "past_key_values.0.key"), self._int(2))
        end = self._op("Add", past, self._op("Gather", self._op("Shape", "input_ids"), self._int(1)))
        return (self._int(0) if whole else past), end, self._int(1)

    def _attention(self, layer: int, state: str, hidden: str) -> str:
        query = self._split(state, HEADS)
        keys, values = (self._kept(layer, part, self._split(state, self._key_heads)) for part in ("key", "value"))
        turned = self._op("Transpose", keys, perm=[0, 1, 3, 2])
        scores = self._op("Mul", self._op("MatMul", query, turned), self._number(WIDTH**-0.5))
        if "attention_mask" in self._optional:
            unseen = self._op("Equal", "attention_mask", self._int(0))
            hidden = self._op("Or", hidden, self._op("Unsqueeze", unseen, self._ints(1, 2)))
        shares = self._op("Softmax", self._op("Where", hidden, self._number(-1e9), scores), axis=-1)
        mixed = self._op("Transpose", self._op("MatMul", shares, values), perm=[0, 2, 1, 3])
        return self._op("MatMul", self._op("Reshape", mixed, self._ints(0, 0, SIZE)), self._weight(SIZE, SIZE))

    def _split(self, state: str, heads: int) -> str:
        made = self._op("MatMul", state, self._weight(SIZE, heads * WIDTH))
        return self._op("Transpose", self._op("Reshape", made, self._ints(0, 0, heads, WIDTH)), perm=[0, 2, 1, 3])

    def _kept(self, layer: int, part: str, new: str) -> str:
        """All keys or values, those of the cache first; each head's for as many heads as share it."""
        if self._half:
            new = self._op("Cast", new, to=TensorProto.FLOAT16)
        whole = f"present.{layer}.{part}"
        self._op("Concat", f"past_key_values.{layer}.{part}", new, out=whole, axis=2)
        if self._half:
            whole = self._op("Cast", whole, to=TensorProto.FLOAT)
        if self._key_heads == HEADS:
            return whole
        shared = [head * self._key_heads // HEADS for head in range(HEADS)]
        return self._op("Gather", whole, self._ints(*shared), axis=1)

    def _normed(self, state: str) -> str:
        scale = self._constant(np.ones(SIZE, np.float32))
        return self._op("LayerNormalization", state, scale, axis=-1)

    def _op(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"/{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def _weight(self, *shape: int) -> str:
        return self._constant(self._random.normal(0, 0.5, shape).astype(np.float32))

    def _ints(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    def _int(self, value: int) -> str:
        return self._constant(np.array(value, np.int64))

    def _number(self, value: float) -> str:
        return self._constant(np.array(value, np.float32))

    def _constant(self, values: np.ndarray[Any, Any]) -> str:
        name = f"weight_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name
