"""The part of llama.cpp's C API that the engine uses, typed: the only module that names `llama_cpp`.

llama-cpp-python types its functions for readers, with ctypes types where the values are Python's, so nothing here
can be checked against it; every name below is bound once, with the types that really pass through. Handles are
addresses. A call releases the GIL while it runs.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version as _version
from typing import Any, NewType

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Adapter",
    "Batch",
    "Chain",
    "Context",
    "Memory",
    "Model",
    "Sampler",
    "Vocab",
]

Model = NewType("Model", int)
Context = NewType("Context", int)
Memory = NewType("Memory", int)
Vocab = NewType("Vocab", int)
Sampler = NewType("Sampler", int)
Chain = NewType("Chain", Sampler)
Batch = NewType("Batch", ctypes.Structure)
Adapter = NewType("Adapter", object)
"""Freed with its model."""

# Bound through importlib, so that the checker sees `Any` and not types that are wrong.
_llama: Any = import_module("llama_cpp.llama_cpp")

_bytes: Any = ctypes.POINTER(ctypes.c_uint8)

# --- process ---
backend_init: Callable[[], None] = _llama.llama_backend_init
log_callback: Callable[[Callable[[int, bytes | None, Any], None]], Any] = _llama.llama_log_callback
log_set: Callable[[Any, None], None] = _llama.llama_log_set
supports_gpu: Callable[[], bool] = _llama.llama_supports_gpu_offload
abort_callback_type: Any = _llama.ggml_abort_callback
_progress_callback: Any = _llama.llama_progress_callback
LOAD_MODE_NONE: int = _llama.LLAMA_LOAD_MODE_NONE
LOAD_MODE_MMAP: int = _llama.LLAMA_LOAD_MODE_MMAP
KV_TYPES: dict[str, int] = {"f16": _llama.GGML_TYPE_F16, "q8_0": _llama.GGML_TYPE_Q8_0, "q4_0": _llama.GGML_TYPE_Q4_0}

# --- model ---
model_params: Callable[[], Any] = _llama.llama_model_default_params
model_load: Callable[[bytes, Any], Model | None] = _llama.llama_model_load_from_file
model_free: Callable[[Model], None] = _llama.llama_model_free
model_vocab: Callable[[Model], Vocab] = _llama.llama_model_get_vocab
model_trained_context: Callable[[Model], int] = _llama.llama_model_n_ctx_train
model_embedding: Callable[[Model], int] = _llama.llama_model_n_embd_inp
model_has_encoder: Callable[[Model], bool] = _llama.llama_model_has_encoder
model_is_diffusion: Callable[[Model], bool] = _llama.llama_model_is_diffusion
model_is_recurrent: Callable[[Model], bool] = _llama.llama_model_is_recurrent
model_is_hybrid: Callable[[Model], bool] = _llama.llama_model_is_hybrid
model_window: Callable[[Model], int] = _llama.llama_model_n_swa
model_vector: Callable[[Model], int] = _llama.llama_model_n_embd_out
adapter_load: Callable[[Model, bytes], Adapter | None] = _llama.llama_adapter_lora_init
_set_adapters: Callable[[Context, Any, int, Any], int] = _llama.llama_set_adapters_lora
_model_meta: Callable[[Model, bytes, Any, int], int] = _llama.llama_model_meta_val_str

_quantize_params: Callable[[], Any] = _llama.llama_model_quantize_default_params
_quantize: Callable[[bytes, bytes, Any], int] = _llama.llama_model_quantize
_override_type: Any = _llama.llama_model_tensor_override
_QUANTIZE_ROOM = 64 * 2**20
"""Bytes of a tensor that are written anew at a time; llama.cpp's own choice is 8 GiB."""
QUANTIZED: dict[str, int] = {
    "F32": _llama.LLAMA_FTYPE_ALL_F32,
    "F16": _llama.LLAMA_FTYPE_MOSTLY_F16,
    "BF16": _llama.LLAMA_FTYPE_MOSTLY_BF16,
    "Q8_0": _llama.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q4_K_S": _llama.LLAMA_FTYPE_MOSTLY_Q4_K_S,
    "Q4_K_M": _llama.LLAMA_FTYPE_MOSTLY_Q4_K_M,
}

# --- context and memory ---
context_params: Callable[[], Any] = _llama.llama_context_default_params
context_new: Callable[[Model, Any], Context | None] = _llama.llama_init_from_model
context_free: Callable[[Context], None] = _llama.llama_free
context_memory: Callable[[Context], Memory | None] = _llama.llama_get_memory
set_threads: Callable[[Context, int, int], None] = _llama.llama_set_n_threads
set_abort: Callable[[Context, Any, int | None], None] = _llama.llama_set_abort_callback
set_causal: Callable[[Context, bool], None] = _llama.llama_set_causal_attn
memory_clear: Callable[[Memory, bool], None] = _llama.llama_memory_clear
memory_remove: Callable[[Memory, int, int, int], bool] = _llama.llama_memory_seq_rm
memory_shift: Callable[[Memory, int, int, int, int], None] = _llama.llama_memory_seq_add
memory_first: Callable[[Memory, int], int] = _llama.llama_memory_seq_pos_min
memory_last: Callable[[Memory, int], int] = _llama.llama_memory_seq_pos_max
memory_can_shift: Callable[[Memory], bool] = _llama.llama_memory_can_shift
state_size: Callable[[Context, int], int] = _llama.llama_state_seq_get_size
_state_get: Callable[[Context, Any, int, int], int] = _llama.llama_state_seq_get_data
_state_set: Callable[[Context, Any, int, int], int] = _llama.llama_state_seq_set_data

# --- decoding ---
batch_type: Any = _llama.llama_batch
decode: Callable[[Context, Batch], int] = _llama.llama_decode
encode: Callable[[Context, Batch], int] = _llama.llama_encode
logits: Callable[[Context, int], Any] = _llama.llama_get_logits_ith
vector: Callable[[Context, int], Any] = _llama.llama_get_embeddings_seq
POOLING_NONE: int = _llama.LLAMA_POOLING_TYPE_NONE
POOLING_MEAN: int = _llama.LLAMA_POOLING_TYPE_MEAN
POOLING_RANK: int = _llama.LLAMA_POOLING_TYPE_RANK
POOLINGS: tuple[int, ...] = (POOLING_MEAN, _llama.LLAMA_POOLING_TYPE_CLS, _llama.LLAMA_POOLING_TYPE_LAST)
"""Those that make one vector of many."""

# --- vocabulary ---
vocab_size: Callable[[Vocab], int] = _llama.llama_vocab_n_tokens
vocab_bos: Callable[[Vocab], int] = _llama.llama_vocab_bos
vocab_eos: Callable[[Vocab], int] = _llama.llama_vocab_eos
vocab_adds_bos: Callable[[Vocab], bool] = _llama.llama_vocab_get_add_bos
vocab_is_eog: Callable[[Vocab, int], bool] = _llama.llama_vocab_is_eog
vocab_attributes: Callable[[Vocab, int], int] = _llama.llama_vocab_get_attr
CONTROL: int = _llama.LLAMA_TOKEN_ATTR_CONTROL | _llama.LLAMA_TOKEN_ATTR_UNKNOWN
vocab_suppressed: Callable[[Vocab, Any], Any] = _llama.llama_vocab_get_suppress_tokens
tokenize: Callable[[Vocab, bytes, int, Any, int, bool, bool], int] = _llama.llama_tokenize
piece: Callable[[Vocab, int, Any, int, int, bool], int] = _llama.llama_token_to_piece

# --- sampling ---
chain_params: Callable[[], Any] = _llama.llama_sampler_chain_default_params
chain_new: Callable[[Any], Chain] = _llama.llama_sampler_chain_init
chain_add: Callable[[Chain, Sampler], None] = _llama.llama_sampler_chain_add
sampler_free: Callable[[Sampler], None] = _llama.llama_sampler_free
sampler_accept: Callable[[Sampler, int], None] = _llama.llama_sampler_accept
sample: Callable[[Chain, Context, int], int] = _llama.llama_sampler_sample
greedy: Callable[[], Sampler] = _llama.llama_sampler_init_greedy
dist: Callable[[int], Sampler] = _llama.llama_sampler_init_dist
top_k: Callable[[int], Sampler] = _llama.llama_sampler_init_top_k
top_p: Callable[[float, int], Sampler] = _llama.llama_sampler_init_top_p
min_p: Callable[[float, int], Sampler] = _llama.llama_sampler_init_min_p
typical: Callable[[float, int], Sampler] = _llama.llama_sampler_init_typical
temperature: Callable[[float], Sampler] = _llama.llama_sampler_init_temp
penalties: Callable[[int, int, float, float, float], Sampler] = _llama.llama_sampler_init_penalties
_logit_bias: Callable[[int, int, Any], Sampler] = _llama.llama_sampler_init_logit_bias
_bias_type: Any = _llama.llama_logit_bias


def version() -> str:
    """Of the bindings, which pin that of llama.cpp, and what the processor offers to it."""
    return f"{_version('llama-cpp-python')} {_llama.llama_print_system_info().decode()}"


def model_meta(model: Model, key: str) -> str | None:
    """A value of the model's file as text; None if it is not there. Longer ones are cut at 128 bytes."""
    buffer = ctypes.create_string_buffer(128)
    found = _model_meta(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if found >= 0 else None


def state_read(context: Context, sequence: int, into: NDArray[np.uint8]) -> int:
    """Write the state of `sequence` into `into`. How many bytes it took; 0 if it does not fit."""
    return _state_get(context, into.ctypes.data_as(_bytes), into.size, sequence)


def state_write(context: Context, sequence: int, state: NDArray[np.uint8]) -> bool:
    """Put a state in the place of what `sequence` holds. Where it can't be done `sequence` holds nothing."""
    return _state_set(context, state.ctypes.data_as(_bytes), state.size, sequence) != 0


def progress_callback(listener: Callable[[float], None]) -> Any:
    """For `model_params().progress_callback`; to be held until the model is loaded."""

    def tell(fraction: float, _data: Any) -> bool:
        listener(fraction)
        return True

    return _progress_callback(tell)


def quantize(source: bytes, target: bytes, kind: int, threads: int, staying: dict[bytes, int] | None = None) -> bool:
    """Write the weights `source` as `target` in another precision, one of `QUANTIZED`. Whether it could be done.

    With `staying` they may be quantised already, and tensors whose names match one of these regular expressions get the
    ggml type that it leads to; the first that matches decides.
    """
    params = _quantize_params()
    params.ftype, params.nthread, params.max_buf_size = kind, threads, _QUANTIZE_ROOM
    if staying is not None:
        params.allow_requantize = params.pure = True
        params.tt_overrides = (_override_type * (len(staying) + 1))(*staying.items())
    return _quantize(source, target, ctypes.byref(params)) == 0


def set_adapters(context: Context, adapters: list[Adapter]) -> bool:
    """Apply them, in this order and whole. Whether it could be done."""
    count = len(adapters)
    handles = (_llama.llama_adapter_lora_p_ctypes * count)(*adapters)
    return _set_adapters(context, handles, count, (ctypes.c_float * count)(*[1.0] * count)) == 0


def forbid(vocabulary: int, tokens: list[int]) -> Sampler:
    """A sampler that makes `tokens` impossible."""
    biases = (_bias_type * len(tokens))(*((token, float("-inf")) for token in tokens))
    return _logit_bias(vocabulary, len(tokens), biases)


def each_thread() -> Callable[[int, Callable[[int], None]], None] | None:
    """`each(threads, act)` calls `act(number)` in each of so many compute threads, the calling one included, and waits.

    None where llama.cpp was built without OpenMP. Its symbols are found through libllama's handle, so that these are
    the threads that compute and not those of another copy. `act` must not raise.
    """
    library: Any = _llama._lib
    try:
        parallel, number = library["GOMP_parallel"], library["omp_get_thread_num"]
    except AttributeError:
        return None
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    parallel.argtypes, parallel.restype = [kind, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None

    def each(threads: int, act: Callable[[int], None]) -> None:
        def acting(_: int | None) -> None:
            act(number())

        parallel(kind(acting), None, threads, 0)

    return each


def reference_switches(context: Context) -> list[Callable[[bool], None]]:
    """The "use reference kernels" switch of each CPU backend in `context`; empty where it can't be found.

    A backend offers it by name (`ggml_backend_reg_get_proc_address`); the way to the backends is
    `llama_context::get_sched() const`, exported under its C++ name. Symbols of the libraries that libllama
    depends on are found through its handle.
    """
    library: Any = _llama._lib
    try:
        get_sched = library["_ZNK13llama_context9get_schedEv"]
        count, backend_at = library["ggml_backend_sched_get_n_backends"], library["ggml_backend_sched_get_backend"]
        device_of, registry_of = library["ggml_backend_get_device"], library["ggml_backend_dev_backend_reg"]
        address_of = library["ggml_backend_reg_get_proc_address"]
    except AttributeError:
        return []
    for function in (get_sched, backend_at, device_of, registry_of, address_of):
        function.restype = ctypes.c_void_p
    for function in (get_sched, count, device_of, registry_of):
        function.argtypes = [ctypes.c_void_p]
    backend_at.argtypes = [ctypes.c_void_p, ctypes.c_int]
    address_of.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    scheduler = get_sched(context)
    switches: list[Callable[[bool], None]] = []
    for index in range(count(scheduler)):
        backend = backend_at(scheduler, index)
        address = address_of(registry_of(device_of(backend)), b"ggml_backend_cpu_set_use_ref")
        if address:
            switch = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_bool)(address)
            switches.append(functools.partial(switch, backend))
    return switches
