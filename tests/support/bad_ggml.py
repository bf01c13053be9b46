"""Every kind of GGML file that must be refused: the library that loads them would crash, or load what is not there."""

from __future__ import annotations

import struct
from typing import NamedTuple

from ggml_files import GGMLFile, Piece, every_layout

__all__ = ["Bad", "bad_ggmls"]

_MOST = 2**31 - 1


class Bad(NamedTuple):
    content: bytes
    fragment: str
    """What the message has to mention."""
    model_type: str = ""
    """What is said, where the file cannot be recognised any more."""


def bad_ggmls() -> dict[str, Bad]:
    """By a name for the fault."""
    bad = {**_heads(), **_sizes(), **_vocabularies(), **_tensors(), **_sets(), **_types()}
    return {name: Bad(*fields) for name, fields in bad.items()} | _unrecognised()


def _heads() -> dict[str, tuple[bytes, str]]:
    layouts = every_layout()
    old = layouts["falcon"]
    old = old._replace(magic="ggjt", sizes=old.sizes[:-1], merges=None)
    llama = layouts["llama"]._replace(magic="ggml", scores=False)
    return {
        "nothing": (b"", "not a GGML file"),
        "half a magic": (b"lm", "not a GGML file"),
        "another magic": (b"GGUF" + bytes(100), "not a GGML file"),
        "only the magic": (b"lmgg", "does not tell"),
        "no version": (b"tjgg\3", "ends inside its version"),
        "version 0": (layouts["llama"]._replace(version=0).written(), "version 0 of 'ggjt' is not known"),
        "version 4": (layouts["llama"]._replace(version=4).written(), "there are 1, 2, 3"),
        "version 2 of ggmf": (layouts["llama-f"]._replace(version=2).written(), "version 2 of 'ggmf'"),
        "version 1 of ggcc": (layouts["falcon"]._replace(version=1).written(), "there are 10"),
        "only zeros": (b"lmgg" + bytes(1000), "does not tell"),
        "a Falcon without merges": (old.written(), "Falcon files that begin with 'ggjt' lack the merges"),
        "a LLaMA without scores": (llama.written(), "LLaMA files that begin with 'ggml' lack the scores"),
    }


def _sizes() -> dict[str, tuple[bytes, str]]:
    layouts = every_layout()
    gpt2, gptj, neox, llama = layouts["gpt2"], layouts["gptj"], layouts["gptneox"], layouts["llama"]
    falcon = layouts["falcon"]
    spoiled: dict[str, tuple[GGMLFile, str]] = {
        "a width of -32": (llama.sized(1, -32), "'embedding_length' is -32"),
        "no heads": (llama.sized(3, 0), "'attention.head_count' is 0"),
        "2^31-1 layers": (llama.sized(4, _MOST), f"'block_count' is {_MOST}; it must be from 1 to 4096"),
        "heads that do not divide the width": (gpt2.sized(3, 3), "not a multiple of 3 attention heads"),
        "more rotated than a head has": (
            gptj.sized(5, 18),
            "'rope.dimension_count' is 18; it must be even, and from 0 to 16",
        ),
        "an odd number rotated": (neox.sized(5, 15), "must be even"),
        "nothing rotated in a GPT-NeoX": (neox.sized(5, 0), "is 0; it must be even, and from 2 to 16"),
        "nothing rotated in a Dolly": (layouts["dolly-v2"].sized(5, 0), "is 0; it must be even, and from 2 to 16"),
        "heads of an odd size": (llama.sized(3, 32), "each of 32 attention heads has 1; in a llama model that must be"),
        "heads that are no whole cells": (
            falcon.sized(2, 8),
            "heads has 4; in a falcon model that must be a multiple of 8",
        ),
        "heads that do not share keys evenly": (
            falcon.sized(3, 4),
            "'attention.head_count' is 2, which is not a multiple of the 4 that have keys",
        ),
        "less rotated than a head has": (llama.sized(5, 8), "'rope.dimension_count' is 8; it must be 16"),
        "an unknown Falcon": (falcon.sized(5, 180), "'falcon_type' is 180; it must be 7 or 40"),
        "an unknown file type": (gpt2.sized(5, 4), "'file_type' is 4, which is not supported"),
        "a memory that 32 bits do not count": (gptj.sized(1, 2**24).sized(4, 104), "multiply to 2^31 or more"),
    }
    places = {"mpt": (2, 3), "replit": (2, 3), "falcon": (2, 4), "falcon-40": (2, 4)}
    for kind, file in layouts.items():
        heads, blocks = places.get(kind, (3, 4))
        spoiled[f"one head in {kind}"] = (file.sized(heads, 1), "'attention.head_count' is 1; it must be at least 2")
        spoiled[f"too many blocks in {kind}"] = (
            file.sized(blocks, 111),
            "'block_count' is 111; the library that loads it can compute at most ",
        )
    few = falcon.sized(0, 11)
    spoiled["a Falcon of 11 tokens"] = (
        few._replace(tokens=few.tokens[:11]),
        "'vocab_size' is 11; it must be at least 12",
    )
    return {name: (file.written(), fragment) for name, (file, fragment) in spoiled.items()}


def _unrecognised() -> dict[str, Bad]:
    layouts = every_layout()
    gpt2, neox, mpt = layouts["gpt2"], layouts["gptneox"], layouts["mpt"]
    return {
        "a context of 2^31-1": Bad(gpt2.sized(1, _MOST).written(), "'context_length' is 2147483647", "gpt2"),
        "a vocabulary of two sizes": Bad(gpt2.sized(6, 256).written(), "257 tokens at first, and then 256", "gpt2"),
        "a residual that is neither": Bad(neox.sized(6, 2).written(), "'use_parallel_residual' is 2", "gptneox"),
        "an infinite bias": Bad(mpt.sized(5, float("inf")).written(), "'attention.max_alibi_bias' is inf", "mpt"),
        "no number": Bad(mpt.sized(6, float("nan")).written(), "'attention.clamp_kqv' is nan", "mpt"),
        "no tensors at all": Bad(gpt2.head(), "no tensor follows its vocabulary", "gpt2"),
    }


def _vocabularies() -> dict[str, tuple[bytes, str]]:
    layouts = every_layout()
    gpt2, llama, falcon = (layouts[name].head() for name in ("gpt2", "llama", "falcon"))
    mpt = layouts["mpt"]

    def before(head: bytes, token: bytes) -> bytes:
        """All before the token."""
        return head[: head.index(struct.pack("<I", len(token)) + token)]

    return {
        "a token of 2^32-1 bytes": (before(gpt2, b"a") + b"\xff" * 400, "token 97 of 257 has 4294967295 bytes"),
        "a token of 2^31 bytes": (before(llama, b"a") + struct.pack("<I", 2**31), "token 97 of 257 has 2147483648"),
        "a vocabulary that ends": (before(gpt2, b"a"), "the file ends inside token 97 of 257"),
        "a length that ends": (before(llama, b"a") + b"\1\0", "the file ends inside token 97 of 257"),
        "a score that ends": (before(llama, b"b")[:-1], "the file ends inside token 97 of 257"),
        "no tensors": (gpt2, "no tensor follows its vocabulary"),
        "tokens that are not UTF-8": (
            mpt._replace(tokens=[*mpt.tokens[:97], b"\xff"]).written(),
            "token 97 is not UTF-8",
        ),
        "2^32-1 merges": (falcon[:-14] + b"\xff" * 99, "4294967295 merges"),
        "merges that end": (falcon[:-1], "the file ends inside part of a merge 1 of 2"),
    }


def _tensors() -> dict[str, tuple[bytes, str]]:
    layouts = every_layout()
    gpt2, llama = layouts["gpt2"], layouts["llama"]
    name, matrix = "model/h1/mlp/c_fc/w", "layers.0.feed_forward.w2.weight"
    whole = gpt2.written()
    place = whole.index(name.encode())
    after = "the tensor 'model/h1/mlp/c_fc/w'"

    def head(dimensions: int, length: int, number: int = 0) -> bytes:
        """The file with other numbers before that tensor."""
        return whole[: place - 20] + struct.pack("<3i", dimensions, length, number) + whole[place - 8 :]

    end = place + len(name) + 4 * 32 * 128
    return {
        "no dimensions": (head(0, len(name)), "is no tensor: it would have 0 dimensions"),
        "three dimensions": (head(3, len(name)), "it would have 3 dimensions"),
        "2^31-1 dimensions": (head(_MOST, len(name)), f"it would have {_MOST} dimensions"),
        "a name of nothing": (head(2, 0), "a name of 0 bytes"),
        "a name of -1": (head(2, -1), "a name of -1 bytes"),
        "a name of 2^31-1": (head(2, _MOST), f"a name of {_MOST} bytes"),
        "an unknown type": (head(2, len(name), 99), f"{after} has a type that is not supported: 99"),
        "a type that came later": (head(2, len(name), 30), "not supported: 30"),
        "a name that is no text": (gpt2.changed(name, name=b"model/\xff").written(), "not UTF-8"),
        "a size of 0": (gpt2.changed(name, shape=(32, 0)).written(), "impossible shape [32, 0]"),
        "a size of -128": (gpt2.changed(name, shape=(-32, -128)).written(), "impossible shape [-32, -128]"),
        "a size of 2^62": (gpt2.changed(name, shape=(_MOST, _MOST)).written(), f"{after} ends at byte "),
        "data that ends": (whole[: end - 1], f"{after} ends at byte {end}, but the file at byte {end - 1}"),
        "a shape that ends": (whole[: place - 3], "the file ends inside the shape of the tensor after"),
        "a name that ends": (whole[: place + 3], "the file ends inside the name of the tensor after"),
        "a tensor that is hardly begun": (whole[: place - 10], "10 bytes follow the tensor 'model/h1/attn/c_proj/b'"),
        "something after the last one": (whole + b"\0", "1 bytes follow the tensor 'model/h1/mlp/c_proj/b'"),
        "much after the last one": (whole + b"\n" * 99, "what follows the tensor 'model/h1/mlp/c_proj/b'"),
        "rows that are no blocks": (llama.changed(matrix, type=14).written(), "a multiple of 256"),
    }  # fmt: skip


def _sets() -> dict[str, tuple[bytes, str]]:
    layouts = every_layout()
    gpt2, llama = layouts["gpt2"], layouts["llama"]
    name = "model/h1/mlp/c_proj/w"
    [piece] = [piece for piece in gpt2.pieces if piece.name == name]
    key = "layers.0.attention.wk.weight"
    return {
        "a tensor twice": (gpt2._replace(pieces=[*gpt2.pieces, piece]).written(), f"{name!r} is there twice"),
        "a tensor too few": (gpt2.without(name).written(), f"the tensor {name!r} is missing: the file ends after"),
        "no position embedding": (gpt2.without("model/wpe").written(), "'model/wpe' is missing"),
        "a block too few": (gpt2.sized(4, 3).written(), "'model/h2/ln_1/g' is missing"),
        "a block too many": (gpt2.sized(4, 1).written(), "'model/h1/ln_1/g' is none that gpt2 models have"),
        "a tensor too many": (_with(gpt2, Piece("x", (1,))), "the tensor 'x' is none that gpt2 models have"),
        "no embedding": (gpt2.without("model/wte").written(), "'model/wte' is missing"),
        "an embedding of another shape": (
            gpt2.changed("model/wte", shape=(32, 256)).written(),
            "'model/wte' has the shape [32, 256], where [32, 257] is expected",
        ),
        "a bias of another shape": (gpt2.changed("model/h0/mlp/c_fc/b", shape=(64,)).written(), "[128] is expected"),
        "keys of another size": (
            llama.shaped({".wk.": (32, 16), ".wv.": (32, 16)}).written(),
            "has the shape [32, 16], where [32, 32] is expected: a head has keys of its own, or eight have",
        ),
        "keys by eights, values each by itself": (
            llama.sized(3, 8).sized(5, 4).shaped({".wk.": (32, 4)}).written(),
            "'layers.0.attention.wv.weight' has the shape [32, 32], where [32, 4] is expected",
        ),
        "another multiple": (
            llama.sized(2, 64).written(),
            "w1.weight' has the shape [32, 96], where [32, 128] is expected: 'feed_forward_multiple' is 64",
        ),
        "another way back": (
            llama.shaped({"1.feed_forward.w2": (64, 32)}).written(),
            "'layers.1.feed_forward.w2.weight' has the shape [64, 32], where [96, 32] is expected",
        ),
        "keys of one dimension": (llama.changed(key, shape=(32,)).written(), "[32], where [32, any] is expected"),
        "a small one's norms in a large one": (
            layouts["falcon"].sized(5, 40).written(),
            "'transformer.h.0.input_layernorm",
        ),
        "another number of heads": (layouts["falcon"].sized(3, 2).written(), "where [32, 96] is expected"),
    }


def _types() -> dict[str, tuple[bytes, str]]:
    layouts = every_layout()
    gpt2, llama = layouts["gpt2"], layouts["llama"]
    old = "as it was before version {} of the quantization"
    half = gpt2.changed("model/h0/attn/c_proj/w", type=1)
    return {
        "a matrix of another type": (half.written(), "has the type F16, where F32 is expected"),
        "a norm of another type": (llama.changed("norm.weight", type=1).written(), "has the type F16, where F32"),
        "positions of 16 bits": (gpt2.changed("model/wpe", type=1).written(), "'model/wpe' has the type F16"),
        "old Q4_0": (gpt2.quantized(2, 5, 1002).written(), f"Q4_0 {old.format(2)}"),
        "older Q5_1": (gpt2.quantized(7, 5, 9).written(), f"Q5_1 {old.format(1)}"),
        "Q8_0 of ggjt 2": (llama._replace(version=2).quantized(8, 6, 7).written(), f"Q8_0 {old.format(2)}"),
        "Q5_0 of ggjt 1": (llama._replace(version=1).quantized(6, 6, 8).written(), f"Q5_0 {old.format(1)}"),
        "Q4_1 of ggmf": (layouts["llama-f"].quantized(3, 6, 3).written(), f"Q4_1 {old.format(2)}"),
    }


def _with(file: GGMLFile, piece: Piece) -> bytes:
    return file._replace(pieces=[*file.pieces, piece]).written()
