"""Weights written anew with less precision, by a backend that can do it, in a process of its own."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from msgspec import Struct, structs

from ..backend import Quantizes
from ..config import Config
from ..dispatch import choose_backend
from ..errors import BadRequest, EngineError
from ..model import Digest, GGUFError, ModelEntry
from ..model.create import Basis, Part, Recipe, stored
from ..model.gguf import check_gguf
from ..model.manifest import DRAFT, GGML, MODEL
from ..model.store import Pins, Store, disk_errors
from ..model.store.layout import TEMPORARY
from ..plugins import Plugins
from ..wire import ProgressResponse

__all__ = ["NO_DIGEST", "Plan", "Quantization", "find_quantizer", "plan_quantizations"]

NO_DIGEST: Final = "0" * 19
"""What progress has for a digest while there is none."""
_PRECISE: Final = frozenset({"F32", "F16", "BF16"})
_WHOLE: Final = frozenset({"I8", "I16", "I32", "I64"})
"""Types of tensors that are no weights."""
_REFUSED: Final = "quantization is only supported for F16, BF16 and F32 models"
_OLD: Final = "a model in GGML cannot be quantized: convert the original to GGUF, and quantize that"


class Plan(Struct, frozen=True, kw_only=True):
    """Weights to be quantised from what they are to `kind`."""

    source: Path
    digest: Digest | None
    """None if they lie outside the store."""
    media_type: str
    was: str
    kind: str
    parent: str = ""


def find_quantizer(
    entry: ModelEntry, plugins: Plugins, config: Config, formats: Mapping[str, frozenset[str]]
) -> Quantizes:
    """The backend that would serve the model. `formats` are those of the backends.

    Raises `BadRequest` if it cannot quantise.
    """
    name = choose_backend(entry, config.routes, plugins.select_backend, formats)
    backend = plugins.backends.get(name, config.backends.get(name, {}))
    if not isinstance(backend, Quantizes):
        raise BadRequest(f"the backend {name!r} cannot quantize: quantize the weights elsewhere and leave quantize out")
    return backend


def plan_quantizations(store: Store, recipe: Recipe, basis: Basis) -> list[Plan]:
    """What there is to do: nothing for weights that are as precise as they shall be.

    Blocking. Raises `BadRequest` for weights that are not sound, and for those that have been quantised before.
    """
    plans: list[Plan] = []
    for media_type, kind in ((MODEL, recipe.quantization), (DRAFT, recipe.draft_quantization)):
        if not kind:
            continue
        part = basis.first(media_type)
        source = store.blob(part.layer.digest) if part is not None else basis.outside
        if basis.config.model_format == GGML:
            raise BadRequest(_OLD)
        if source is None or basis.config.model_format != "gguf":
            raise BadRequest(_REFUSED)
        digest, parent = (part.layer.digest, part.layer.parent) if part is not None else (None, basis.parent)
        was = _precision(source)
        if was != kind:
            plans.append(Plan(source=source, digest=digest, media_type=media_type, was=was, kind=kind, parent=parent))
    return plans


def _precision(weights: Path) -> str:
    """The type that most of the weights have. The tensors decide, not what the file says of itself."""
    try:
        header = check_gguf(weights)
    except GGUFError as error:
        raise BadRequest(f"the weights cannot be quantized: {error}") from None
    sizes: Counter[str] = Counter()
    for tensor in header.tensor_list:
        if tensor.type not in _WHOLE:
            sizes[tensor.type] += tensor.size
    if not sizes or not _PRECISE.issuperset(sizes):
        raise BadRequest(_REFUSED)
    return sizes.most_common(1)[0][0]


class Quantization:
    """One plan, carried out: `replaced` once `lines` are through."""

    def __init__(self, store: Store, pins: Pins, backend: Quantizes, plan: Plan) -> None:
        self._store, self._pins, self._backend, self._plan = store, pins, backend, plan
        self._part: Part | None = None

    async def lines(self) -> AsyncGenerator[ProgressResponse, None]:
        """Progress. Closing it stops the work, and nothing is left of it. Raises `RemudaError`."""
        plan = self._plan
        await anyio.to_thread.run_sync(self._prepare)
        # Where there is room if anywhere, and where a sweep of the store finds it after a crash.
        target = self._store.root / f"{TEMPORARY}{secrets.token_hex(12)}"
        status = f"quantizing {plan.was} model to {plan.kind}"
        try:
            async with aclosing(self._backend.quantize(plan.source, target, plan.kind)) as steps:
                async for completed, total in steps:
                    yield ProgressResponse(status=status, digest=NO_DIGEST, total=total, completed=completed)
            self._part = await anyio.to_thread.run_sync(self._take, target)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(partial(target.unlink, missing_ok=True))

    def replaced(self, basis: Basis) -> Basis:
        """`basis` with the new weights."""
        assert self._part is not None
        return basis.with_weights(self._part, self._plan.kind if self._plan.media_type == MODEL else "")

    def _prepare(self) -> None:
        if self._plan.digest is not None:
            self._store.verify(self._plan.digest)
        with disk_errors():
            self._store.root.mkdir(parents=True, exist_ok=True)

    def _take(self, target: Path) -> Part:
        try:
            check_gguf(target)
        except GGUFError as error:
            raise EngineError(f"the quantized weights are not sound: {error}") from None
        digest = self._store.take(target, self._pins)
        part = stored(self._store, self._plan.media_type, digest, parent=self._plan.parent)
        return structs.replace(part, new=True)
