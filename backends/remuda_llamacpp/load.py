"""From a `LoadSpec` to a model and a context, or to a sentence that says why not."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from remuda.engine import LoadSpec
from remuda.errors import LoadFailed, OutOfMemory
from remuda.runner.cores import available_cores

from . import _native, log
from .drafts.load import open_draft
from .drafts.model import DraftModel
from .embedding import has_pooling, pooling, shape
from .settings import Settings, read_settings
from .sizes import DRAFT_MOST, EMBED_MOST, EMBED_ROOM, EMBED_ROOM_GPU, STRETCH, STRETCH_GPU, model_guesses
from .threads.control import ladder
from .weights.fast import fast_weights
from .weights.repack import forget

if TYPE_CHECKING:  # loads llama.cpp's multimodal library
    from .images.media import Projector

__all__ = ["Loaded", "load"]


class Loaded(Struct, frozen=True, kw_only=True):
    """Native objects, to be freed by whoever asked for them, and what they turned out to be."""

    model: _native.Model
    context: _native.Context
    memory: _native.Memory | None
    """None for a model that cannot continue a text."""
    length: int
    """Tokens per sequence."""
    parallel: int
    stretch: int
    """Prompt tokens in one decode."""
    most: int
    """As many are taken at the end of a prompt, where they finish it: a few left over would cost a decode."""
    batch: int
    """Tokens in the largest decode: `most`, one of each sequence, or an image or a text that may not be cut."""
    outputs: int
    """Rows of logits that a decode may have."""
    threads: tuple[int, ...]
    """Numbers of compute threads that there are to choose from, the usual one first."""
    settings: Settings
    identity: str
    """Differs for whatever would not compute the same: other weights or adapters, another kind of cache."""
    embed_most: int = 0
    embed_room: int = 0
    """As the engine's. A model that embeds does nothing else."""
    projector: Projector | None
    projector_sizes: dict[str, int]
    """Bytes of its weights; as `Engine.sizes`."""
    draft: DraftModel | None = None


def load(spec: LoadSpec, progress: Callable[[float], None]) -> Loaded:
    """Raises `LoadFailed`; nothing is left behind then. `progress` is told how much of the weights is read, 0 to 1."""
    settings = read_settings(spec.settings)
    _check_file(spec.weights, f"the weights of {spec.name}")
    if spec.projector is not None:
        _check_file(spec.projector, f"the weights of the projector of {spec.name}")
    for adapter in spec.adapters:
        _check_file(adapter, f"the weights of an adapter of {spec.name}")
    draft = spec.draft if settings.draft and model_guesses(spec.options) else None
    if draft is not None:
        _check_file(draft, f"the weights of the draft model of {spec.name}", "set draft_num_predict to 0")
    if settings.fast and not _on_gpu(spec):
        spec, draft = _fast(spec, draft, settings, progress)
    log.install()
    _native.backend_init()
    params = _model_params(spec)
    share = _share(spec.weights, draft)
    listener = _native.progress_callback(lambda read: progress(share * read))  # held until the load is over: it calls
    params.progress_callback = listener
    model = _native.model_load(os.fsencode(spec.weights), params)
    if not model:
        raise _failed(spec.name, "llama.cpp refused the weights")
    with ExitStack() as undo:
        undo.callback(_native.model_free, model)
        _check_model(spec.name, model)
        projector = _projector(spec, model)
        if projector is not None:
            undo.callback(projector.close)
        loaded = _with_context(spec, model, projector, _adapters(spec, model), settings)
        undo.callback(_native.context_free, loaded.context)
        if draft is not None and _may_draft(loaded):
            listener = _native.progress_callback(lambda read: progress(share + (1 - share) * read))
            loaded = structs.replace(loaded, draft=_draft(spec, draft, loaded, listener))
        undo.pop_all()
    if spec.options.use_mmap is not False:
        forget(Path(spec.weights))
        if loaded.draft is not None and draft is not None:
            forget(Path(draft))
    if projector is not None and loaded.projector is None:
        projector.close()  # an embedder takes no images
    return loaded


def _check_file(path: str, what: str, otherwise: str = "choose another backend") -> None:
    """What llama.cpp would only report in terms of its own. `otherwise`: what else can be done than to convert it."""
    try:
        with open(path, "rb") as file:
            magic, version = file.read(4), file.read(4)
    except FileNotFoundError:
        raise LoadFailed(f"{what} are missing; pull or create the model again") from None
    except OSError as error:
        raise LoadFailed(f"{what} can't be read: {error.strerror}") from None
    if magic != b"GGUF":
        raise LoadFailed(f"{what} are not in GGUF; convert them, or {otherwise}")
    if version == b"\1\0\0\0":
        raise LoadFailed(
            f"{what} are a GGUF file of version 1, which llama.cpp does not read any more; let ctransformers serve the"
            ' model, by a route with backend = "ctransformers"'
        )


def _fast(
    spec: LoadSpec, draft: str | None, settings: Settings, progress: Callable[[float], None]
) -> tuple[LoadSpec, str | None]:
    """The same with weights that are fast to multiply: the paths differ, and with them the model's identity."""

    def found(path: str, what: str) -> str:
        return fast_weights(path, f"the weights of {what}", settings, _threads(spec), progress)

    other = None if draft is None else found(draft, f"the draft model of {spec.name}")
    return structs.replace(spec, weights=found(spec.weights, spec.name)), other


def _check_model(name: str, model: _native.Model) -> None:
    if _native.model_has_encoder(model):
        raise LoadFailed(f"{name} has an encoder and a decoder; models with an encoder are not supported")
    if _native.model_is_diffusion(model):
        raise LoadFailed(f"{name} is a diffusion model, which writes no token after another; it is not supported")


def _model_params(spec: LoadSpec) -> Any:
    options, params = spec.options, _native.model_params()
    params.n_gpu_layers = options.num_gpu
    if options.main_gpu is not None:
        params.main_gpu = options.main_gpu
    # Mapped unless told otherwise: this llama.cpp repacks mapped weights too where the CPU gains from it, and with
    # mapped ones a token comes 4 to 14 % sooner (SmolLM2 in Q4_1, Q4_0, Q8_0, Q4_K_M on two cores).
    params.load_mode = _native.LOAD_MODE_NONE if options.use_mmap is False else _native.LOAD_MODE_MMAP
    return params


def _projector(spec: LoadSpec, model: _native.Model) -> Projector | None:
    if spec.projector is None:
        return None
    from .images.media import open_projector

    return open_projector(spec.projector, model, name=spec.name, gpu=_on_gpu(spec), threads=_threads(spec))


def _adapters(spec: LoadSpec, model: _native.Model) -> list[_native.Adapter]:
    adapters: list[_native.Adapter] = []
    for path in spec.adapters:
        adapter = _native.adapter_load(model, os.fsencode(path))
        if not adapter:
            raise _failed(spec.name, "an adapter does not fit it")
        adapters.append(adapter)
    return adapters


def _share(weights: str, draft: str | None) -> float:
    """How much of the work of reading all weights is that of the model's own."""
    own, other = os.path.getsize(weights), os.path.getsize(draft) if draft is not None else 0
    return own / (own + other)


def _may_draft(loaded: Loaded) -> bool:
    """Whether it writes, and what was guessed wrong can be taken out of its cache again."""
    model = loaded.model
    whole = _native.model_is_recurrent(model) or _native.model_is_hybrid(model)
    return loaded.memory is not None and not loaded.embed_most and not whole


def _draft(spec: LoadSpec, path: str, loaded: Loaded, listener: Any) -> DraftModel:
    params = _model_params(spec)
    params.progress_callback = listener
    return open_draft(
        path,
        loaded.model,
        params,
        _context_params(spec, loaded.settings),
        name=spec.name,
        length=loaded.length,
        most=model_guesses(spec.options),
    )


def _on_gpu(spec: LoadSpec) -> bool:
    return spec.options.num_gpu != 0 and _native.supports_gpu()


def _threads(spec: LoadSpec) -> int:
    return spec.options.num_thread or available_cores()


def _choices(spec: LoadSpec) -> tuple[int, ...]:
    return (spec.options.num_thread,) if spec.options.num_thread else ladder(available_cores())


def _identity(spec: LoadSpec, settings: Settings) -> str:
    files = [Path(path) for path in (spec.weights, *spec.adapters)]
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return repr((stats, settings.kv_type, settings.flash, _native.version()))


def _with_context(
    spec: LoadSpec,
    model: _native.Model,
    projector: Projector | None,
    adapters: list[_native.Adapter],
    settings: Settings,
) -> Loaded:
    if has_pooling(model):
        return _embedder(spec, model, adapters, settings)
    trained = _native.model_trained_context(model)
    length = min(spec.context, trained) if trained > 0 else spec.context
    parallel = max(1, spec.parallel)
    stretch = spec.options.num_batch or (STRETCH_GPU if _on_gpu(spec) else STRETCH)
    most = spec.options.num_batch or stretch + stretch // 4
    outputs = max(parallel, 1 + DRAFT_MOST) if settings.draft else parallel
    batch = max(most, outputs, projector.widest if projector else 0)
    params = _context_params(spec, settings)
    params.n_ctx = length * parallel
    params.n_seq_max = parallel
    params.kv_unified = False
    params.n_batch = params.n_ubatch = batch
    # Room for logits is only needed where a token is chosen: the compute buffer is smaller by several times.
    params.n_outputs_max = outputs
    context = _context(spec, model, params, adapters, f"{parallel} x {length}")
    memory = _native.context_memory(context)
    if memory is None:  # it can continue no text: what it has to give is vectors
        _native.context_free(context)
        return _embedder(spec, model, adapters, settings)
    return Loaded(
        model=model,
        context=context,
        memory=memory,
        length=length,
        parallel=parallel,
        stretch=stretch,
        most=most,
        batch=batch,
        outputs=outputs,
        threads=_choices(spec),
        settings=settings,
        identity=_identity(spec, settings),
        projector=projector,
        projector_sizes=_projector_sizes(spec),
    )


def _embedder(spec: LoadSpec, model: _native.Model, adapters: list[_native.Adapter], settings: Settings) -> Loaded:
    trained = _native.model_trained_context(model)
    length = min(spec.context, trained) if trained > 0 else spec.context
    room = min(spec.options.num_batch or (EMBED_ROOM_GPU if _on_gpu(spec) else EMBED_ROOM), EMBED_ROOM_GPU)
    params = _context_params(spec, settings)
    batch = shape(params, pooling(model, spec.name), max(room, length))
    context = _context(spec, model, params, adapters, str(length))
    return Loaded(
        model=model,
        context=context,
        memory=_native.context_memory(context),
        length=length,
        parallel=max(1, spec.parallel),
        stretch=room,
        most=room,
        batch=batch,
        outputs=batch,
        threads=_choices(spec),
        settings=settings,
        identity=_identity(spec, settings),
        embed_most=EMBED_MOST,
        embed_room=room,
        projector=None,
        projector_sizes={"size": 0, "size_vram": 0},
    )


def _context_params(spec: LoadSpec, settings: Settings) -> Any:
    params = _native.context_params()
    params.n_threads = params.n_threads_batch = _threads(spec)
    params.flash_attn_type = settings.flash
    params.type_k = params.type_v = settings.kv_type
    params.no_perf = True
    return params


def _context(
    spec: LoadSpec, model: _native.Model, params: Any, adapters: list[_native.Adapter], size: str
) -> _native.Context:
    context = _native.context_new(model, params)
    if not context:
        raise _failed(spec.name, f"no context of {size} tokens could be made; lower num_ctx")
    if adapters and not _native.set_adapters(context, adapters):
        _native.context_free(context)
        raise _failed(spec.name, "its adapters could not be applied")
    return context


def _projector_sizes(spec: LoadSpec) -> dict[str, int]:
    size = 0 if spec.projector is None else os.path.getsize(spec.projector)
    return {"size": size, "size_vram": size if _on_gpu(spec) else 0}


def _failed(name: str, sentence: str) -> LoadFailed:
    detail = log.last_error()
    kind = OutOfMemory if log.out_of_memory() else LoadFailed
    return kind(f"{name} could not be loaded: {sentence}" + (f" ({detail})" if detail else ""))
