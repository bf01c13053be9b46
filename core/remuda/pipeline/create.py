"""A new model from a request (Ollama API, "create"): what takes time is done here, the layers are put together in
`remuda.model.create`.

Whatever can be known before the first line of progress is checked before it, so that it has a status of its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final

import anyio
import anyio.to_thread
from msgspec import structs

from ..backend import Quantizes
from ..config import Config
from ..errors import BadRequest, ConfigError, ModelNotFound, RequestCancelled
from ..model import Catalog, Digest, ModelEntry, parse_name
from ..model.create import (
    Basis,
    Family,
    Recipe,
    Upload,
    Uploads,
    adopt,
    arrange,
    assemble,
    begin,
    chat_template,
    check_types,
    examine,
    group,
    join,
    manifest_of,
    parse_recipe,
)
from ..model.manifest import MODEL, WEIGHTS, weights_type
from ..model.source import without_source
from ..model.store import Pins, Store
from ..model.transfer import Transfers
from ..plugins import Plugins
from ..wire import CreateRequest, ProgressResponse
from .quantize import NO_DIGEST, Quantization, find_quantizer, plan_quantizations

__all__ = ["Creator"]

_MODEL_SCRIPT: Final = "convert_hf_to_gguf.py"
_ADAPTER_SCRIPT: Final = "convert_lora_to_gguf.py"

_run = anyio.to_thread.run_sync


class Creator:
    """Makes models in the catalog's store. One for a server."""

    def __init__(self, catalog: Catalog, transfers: Transfers, plugins: Plugins, config: Config) -> None:
        if catalog.store is None:
            raise ConfigError("models can only be made where there is a store")
        self._store = catalog.store
        self._catalog, self._transfers, self._plugins, self._config = catalog, transfers, plugins, config
        self._formats = plugins.backend_formats()

    async def create(self, request: CreateRequest) -> AsyncGenerator[ProgressResponse, None]:
        """Progress; the last line says `success`. Closing it, or whatever it raises, leaves the models as they were.

        Raises `RemudaError`; before the first line for all that is wrong with the request or with its files.
        """
        recipe = await _run(parse_recipe, request)
        await self._check_template(recipe)
        pins, ended = self._store.pin(), Event()
        try:
            async with aclosing(self._lines(recipe, pins, ended)) as lines:
                async for line in lines:
                    yield line
        finally:
            ended.set()
            with anyio.CancelScope(shield=True):
                await _run(pins.close)

    async def _lines(self, recipe: Recipe, pins: Pins, ended: Event) -> AsyncGenerator[ProgressResponse, None]:
        store = self._store
        uploads = await self._examine(recipe, pins)
        backend = self._quantizer(recipe)
        async with aclosing(self._pull_base(recipe)) as pulled:
            async for line in pulled:
                yield line
        entry = await _run(self._catalog.find, recipe.base) if recipe.base and not recipe.remote else None
        parsed = [ProgressResponse(status="parsing GGUF")] * uploads.count
        if any(upload.rest for upload in uploads.files):
            for line in parsed:
                yield line
            parsed = []
            uploads = structs.replace(
                uploads, files=[await _joined(store, pins, file, ended) for file in uploads.files]
            )
        basis = await _run(begin, store, pins, recipe, entry, uploads)
        plans = await _run(plan_quantizations, store, recipe, basis)
        for line in parsed:
            yield line
        for plan in plans:
            assert backend is not None
            quantization = Quantization(store, pins, backend, plan)
            async with aclosing(quantization.lines()) as lines:
                async for line in lines:
                    yield line
            basis = quantization.replaced(basis)
        if uploads.files and all(plan.media_type != MODEL for plan in plans):
            yield await _run(_validated, store, basis)
        if uploads.files or plans:
            yield ProgressResponse(status="verifying conversion")
        family = await self._family(uploads)
        basis = await _run(_inside, store, pins, basis, ended)
        parts, config = await _run(assemble, store, pins, recipe, basis, family)
        for part in parts:
            yield ProgressResponse(status=part.status)
        yield ProgressResponse(status="writing manifest")
        await _run(store.write, recipe.name, manifest_of(parts, config))
        yield ProgressResponse(status="success")

    async def _check_template(self, recipe: Recipe) -> None:
        if not recipe.template:
            return
        engine = self._plugins.templates.get("go")
        try:
            await engine.inspect(recipe.template, timeout=self._config.limits.template_timeout)
        except BadRequest as error:
            raise BadRequest(f"template error: {error}") from None

    def _quantizer(self, recipe: Recipe) -> Quantizes | None:
        if not recipe.quantization and not recipe.draft_quantization:
            return None
        stand_in = ModelEntry(name=recipe.name, weights=Path())
        return find_quantizer(stand_in, self._plugins, self._config, self._formats)

    async def _examine(self, recipe: Recipe, pins: Pins) -> Uploads:
        files = {} if recipe.base else recipe.files
        if not recipe.base:
            await _run(self._check_types, pins, files, _MODEL_SCRIPT)
        if recipe.adapters:
            await _run(self._check_types, pins, recipe.adapters, _ADAPTER_SCRIPT)
        if recipe.drafts:
            await _run(self._check_types, pins, recipe.drafts, _MODEL_SCRIPT)
        found = await self._each(files, recipe.model_type)
        return Uploads(
            files=arrange(group(found)) if found else [],
            adapters=await self._each(recipe.adapters),
            drafts=await self._each(recipe.drafts),
        )

    def _check_types(self, pins: Pins, files: Mapping[str, Digest], script: str) -> None:
        check_types(self._store, pins, files, script=script)

    async def _each(self, files: Mapping[str, Digest], model_type: str = "") -> list[Upload]:
        """One by one, so that a client that leaves is noticed in between."""
        return [await _run(examine, self._store, path, files[path], model_type) for path in sorted(files)]

    async def _pull_base(self, recipe: Recipe) -> AsyncGenerator[ProgressResponse, None]:
        """The progress of a pull, but for its `success`, which is not that of the whole."""
        if not recipe.base or recipe.remote:
            return
        try:
            await _run(self._catalog.find, recipe.base)
        except ModelNotFound:
            name = parse_name(without_source(recipe.base))
            name = self._catalog.alias(name) or name
            async with aclosing(self._transfers.pull(name)) as lines:
                async for line in lines:
                    if line.status != "success":
                        yield line

    async def _family(self, uploads: Uploads) -> Family | None:
        """The family of models that an uploaded model's chat template is known from."""
        template = await _run(chat_template, self._store, uploads)
        if not template:
            return None
        try:
            engine = self._plugins.templates.get("jinja")
            traits = await engine.inspect(template, timeout=self._config.limits.template_timeout)
        except BadRequest:  # it is wrong, or takes too long: whoever uses the model is told
            return None
        return Family(traits.known, traits.known_template, traits.stops) if traits.known_template else None


async def _joined(store: Store, pins: Pins, upload: Upload, ended: Event) -> Upload:
    return await _run(partial(join, store, pins, upload, check=partial(_check, ended)))


def _inside(store: Store, pins: Pins, basis: Basis, ended: Event) -> Basis:
    """`basis` with its weights in the store. Blocking, and slow for large ones."""
    if basis.outside is None:
        return basis
    check = partial(_check, ended)
    media_type = weights_type(basis.config.model_format)
    return basis.with_weights(adopt(store, pins, media_type, basis.outside, parent=basis.parent, check=check))


def _check(ended: Event) -> None:
    if ended.is_set():  # a thread outlives a request that is cancelled
        raise RequestCancelled("the client left")


def _validated(store: Store, basis: Basis) -> ProgressResponse:
    """Makes sure that the bytes of the weights are those that were uploaded. Raises `LoadFailed`."""
    part = basis.first(*WEIGHTS)
    assert part is not None
    store.verify(part.layer.digest)
    size = part.layer.size
    return ProgressResponse(status="validating GGUF model", digest=NO_DIGEST, total=size, completed=size)
