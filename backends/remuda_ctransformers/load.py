"""From a `LoadSpec` to contexts of a model, or to a sentence that says why not.

The library says nothing of why it refuses, and it does not look whether a file is whole: what can be known beforehand
is looked at here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from msgspec import Struct

from remuda.engine import LoadSpec
from remuda.errors import LoadFailed, OutOfMemory
from remuda.model.ggml import GGMLHeader, read_ggml
from remuda.model.gguf import GGUFHeader, check_gguf
from remuda.runner.cores import available_cores

from .native import Library, Native
from .pool import FIRST, Plan
from .reading import reading
from .settings import read_settings
from .sizes import Sizes, contexts, sizes_of_ggml, sizes_of_gguf
from .tokens import Tokens, tokens_of_ggml, tokens_of_gguf

__all__ = ["Loaded", "load"]

_GGUF: Final = b"GGUF"
_ARCHITECTURES: Final = ("llama", "falcon")
_TYPES: Final = frozenset(
    {"F32", "F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"}
)
"""Of tensors; it was written in September 2023."""
_ELSEWHERE: Final = 'let llama.cpp serve it (backend "llamacpp")'
_GGUF_ADVICE: Final = f"its sizes and its tensors may not go together, or it is newer than the library; {_ELSEWHERE}"
_ADVICE: Final = "it was taken for a model of the type {!r}; if it is of another, say so with PARAMETER model_type"


class Loaded(Struct, frozen=True, kw_only=True):
    """To be closed by whoever asked for it."""

    natives: list[Native]
    """At least one; each with a context of its own."""
    tokens: Tokens
    sizes: Sizes
    size: int
    """Bytes that all of them hold."""
    context: int
    """Tokens per sequence."""
    micro_batch: int
    """Prompt tokens in a micro-batch."""
    threads: int


class Source(Struct, frozen=True, kw_only=True):
    """What it takes to open a context."""

    name: str
    library: Library
    path: Path
    model_type: str
    context: int
    gpu_layers: int
    mmap: bool
    advice: str
    """What may be wrong where the library refuses the file."""
    name_there: str = ""
    """How the file is called where the library opens it; empty leaves it where it is."""

    def open(self) -> Native:
        """Raises `LoadFailed`."""
        with self._named() as path:
            native = Native.open(
                self.library,
                path,
                self.model_type,
                context=self.context,
                gpu_layers=self.gpu_layers,
                mmap=self.mmap,
            )
        if native is None:
            raise LoadFailed(
                f"{self.name} could not be loaded: ctransformers refuses it, without saying why; {self.advice}"
            )
        return native

    @contextmanager
    def _named(self) -> Generator[Path]:
        if not self.name_there:
            yield self.path
            return
        with TemporaryDirectory(prefix="remuda-") as folder:
            link = Path(folder, self.name_there)
            link.symlink_to(self.path.absolute())
            yield link


def load(spec: LoadSpec, progress: Callable[[float], None]) -> Loaded:
    """`progress` is told how much is done, 0 to 1, also from another thread. Raises `LoadFailed`."""
    settings = read_settings(spec.settings)
    path = Path(spec.weights)
    if spec.adapters or spec.projector:
        what = "applies no adapters" if spec.adapters else "reads no images: leave the projector out"
        raise LoadFailed(f"{spec.name} could not be loaded: ctransformers {what}")
    name_there = ""
    try:
        if _is_gguf(path):
            header = check_gguf(path, early=True)
            _check(header)
            tokens, sizes, model_type = tokens_of_gguf(path), sizes_of_gguf(header), "gguf"
        else:
            found = read_ggml(path, settings.model_type)
            tokens, sizes, model_type = tokens_of_ggml(path, found), sizes_of_ggml(found), found.model_type
            name_there = _name_there(found)
    except LoadFailed as error:
        kind = OutOfMemory if isinstance(error, OutOfMemory) else LoadFailed
        raise kind(f"{spec.name} could not be loaded: {error}") from None
    plan = sizes.plan(spec.context, spec.options.num_batch)
    source = Source(
        name=spec.name,
        library=Library(settings.library),
        path=path,
        model_type=model_type,
        context=plan.context,
        gpu_layers=max(0, spec.options.num_gpu),
        mmap=spec.options.use_mmap is not False,
        advice=_GGUF_ADVICE if model_type == "gguf" else _ADVICE.format(model_type),
        name_there=name_there,
    )
    natives = [_first(source, tokens, sizes, plan, progress)]
    count = contexts(sizes, plan.context, spec.parallel, mmap=source.mmap, opened=1)
    natives += _further(source, count - 1)
    return Loaded(
        natives=natives,
        tokens=tokens,
        sizes=sizes,
        size=sizes.all(plan.context, len(natives), mmap=source.mmap),
        context=min(plan.context, natives[0].context),
        micro_batch=plan.micro_batch,
        threads=_threads(spec.options.num_thread),
    )


def _further(source: Source, count: int) -> list[Native]:
    """As many more contexts, or fewer: one is enough."""
    natives: list[Native] = []
    while len(natives) < count:
        try:
            native = source.open()
        except LoadFailed:
            break
        natives.append(native)
    return natives


def _name_there(header: GGMLHeader) -> str:
    """That the heads of the largest LLaMA share keys by eight, its file does not say: the library looks for `70b` in
    the path, for this type only.
    """
    if header.model_type != "llama":
        return ""
    return "70b" if header.head_count_kv * 8 == header.head_count else "model"


def _threads(wished: int) -> int:
    """Never more than there are cores: they wait for each other without giving way, for seconds at each token."""
    cores = available_cores()
    return min(wished, cores) if wished else max(1, cores - 1)


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_GGUF)) == _GGUF
    except OSError as error:
        raise LoadFailed(f"the weights cannot be read: {type(error).__name__}") from None


def _check(header: GGUFHeader) -> None:
    """Raises `LoadFailed` for a GGUF that is sound, but newer than the library."""
    architecture, kind = header.architecture, header.text("tokenizer.ggml.model")
    if architecture not in _ARCHITECTURES:
        known = " and ".join(_ARCHITECTURES)
        raise LoadFailed(
            f"ctransformers knows GGUF models of the kinds {known} only, not {architecture!r}; {_ELSEWHERE}"
        )
    if architecture == "llama" and kind != "llama":
        raise LoadFailed(
            f"its vocabulary is of the kind {kind!r}, and for llama models ctransformers knows only"
            f" SentencePiece's ('llama'); {_ELSEWHERE}"
        )
    newer = next((tensor.type for tensor in header.tensor_list if tensor.type not in _TYPES), None)
    if newer is not None:
        raise LoadFailed(f"it has weights of the type {newer}, which ctransformers does not know; {_ELSEWHERE}")


def _first(source: Source, tokens: Tokens, sizes: Sizes, plan: Plan, progress: Callable[[float], None]) -> Native:
    """The first context, with which something was computed: a request is not to find out that this cannot be done."""
    with reading(sizes.weights, progress):
        native = source.open()
    if plan.past:
        computes = native.evaluate([0], plan.past, 1) and native.evaluate([0] * FIRST, 0, 1)
    else:
        computes = native.evaluate([0, 0], 0, 1)
    if not computes or len(native.logits()) < len(tokens.texts):
        raise LoadFailed(
            f"{source.name} could not be loaded: ctransformers cannot compute with it; its weights may be damaged"
        )
    return native
