"""Weights that llama.cpp multiplies slowly on a CPU, and what they are written anew as to be fast.

For most types ggml has kernels that compute several rows at a time (`llamafile/sgemm.cpp`), or other orders of the
numbers that have such (`repack.cpp`). For Q4_1 and Q5_1 it has neither. As Q8_0 they lose next to nothing: less than a
tenth of what was lost when they were made. Tokens a second on one thread of a CPU with AVX-512, 100 M weights in
matrices of 1024 and 2816, reading 128 tokens and writing in so many sequences:

             128      1      4      8     16
    Q4_1     206    133    160    178    186
    Q5_1     191    119    145    157    165
    Q8_0     509    175    203    287    351
    Q5_0     430    150    200    265    319
    Q6_K     773    223    231    163    311
    Q3_K     801    207    212    195    363
    Q5_K     968    185    182    276    507
    IQ4_XS 1,003    187    197    286    514

So no other type gains from it. On ARM nothing was measured, and nothing is called slow.

How far the log probabilities are from those of the same weights in F32, for 500 tokens of English and SmolLM2-135M in
Q4_1, whose kernel rounds what comes in to eight bits as that of Q8_0 does:

             Kullback-Leibler divergence   of the likeliest token, mean   the same token is likeliest
    Q4_1     0.0035                        0.050                          97.0 %
    Q8_0     0.0046                        0.052                          95.8 %
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import structs

from remuda.model.gguf import GGUFHeader, TensorPlace
from remuda.model.gguf.layout import DEFAULT_ALIGNMENT, by_name

from .repack import cpu_flags, multiplied, repacked

__all__ = ["FAST", "quickened", "slow"]

FAST: Final = "Q8_0"
_SLOW: Final = frozenset({"Q4_1", "Q5_1"})


def slow(header: GGUFHeader) -> list[TensorPlace]:
    """The tensors that are to be written anew as `FAST`; none where they are not most of the bytes of a whole file.

    Experts are not among them: what multiplies those takes one row at a time, whatever their type.
    """
    tensors = header.tensor_list
    whole = header.shards == 1 and _size(tensors) <= header.file_size
    # llama.cpp's quantiser aligns what it writes to the default, and says nothing of it.
    if "avx2" not in cpu_flags() or not whole or header.alignment != DEFAULT_ALIGNMENT:
        return []
    copied = {tensor.name for tensor in repacked(tensors)}
    found = [
        tensor
        for tensor in multiplied(tensors)
        if tensor.type in _SLOW and len(tensor.shape) == 2 and tensor.name not in copied
    ]
    return found if 2 * _size(found) > _size(tensors) else []


def quickened(header: GGUFHeader) -> list[TensorPlace]:
    """All tensors as they are once the slow ones are written anew, but for their places."""
    names = {tensor.name for tensor in slow(header)}
    return [_as_fast(tensor) if tensor.name in names else tensor for tensor in header.tensor_list]


def _as_fast(tensor: TensorPlace) -> TensorPlace:
    old, new = by_name(tensor.type), by_name(FAST)
    assert old is not None
    assert new is not None
    return structs.replace(tensor, type=FAST, size=tensor.size // old.size * old.block // new.block * new.size)


def _size(tensors: Iterable[TensorPlace]) -> int:
    return sum(tensor.size for tensor in tensors)
