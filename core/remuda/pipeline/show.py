"""`/api/show`: all that is known of one model (Ollama API, "Show")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

import anyio.to_thread
import msgspec
from msgspec import Raw, Struct

from ..errors import Forbidden, LoadFailed, ModelNotFound
from ..model import Catalog, ModelEntry, ModelFacts, WeightsError, ggml, gguf, parse_name
from ..model.entry import NO_WEIGHTS
from ..model.manifest import GGML, ModelConfigFile
from ..model.modelfile import Command, parameter_commands, parameter_lines, shown_modelfile
from ..model.source import without_source
from ..model.store import incomplete
from ..wire import ShowMessage, ShowRequest, ShowResponse, TensorInfo, local_time, parse_options

__all__ = ["Abilities", "Effective", "show"]

Abilities = Callable[[ModelEntry], Awaitable[list[str]]]
"""What a model can do, its templates taken into account."""
Effective = Callable[[ModelEntry], Awaitable[str | None]]
"""The template that a conversation with a model is rendered with; None if it has none that can be used."""

_PLAIN: Final = "{{ .Prompt }}"
"""The template of a model that has none."""
_GGUF: Final = "gguf"
_NO_CLOUD: Final = "ollama cloud is disabled: remote model details are unavailable"


class _Read(Struct, frozen=True, kw_only=True):
    """What a model's files say."""

    facts: ModelFacts
    info: bytes
    projector: bytes | None
    tensors: list[TensorInfo] | None


async def show(
    request: ShowRequest, catalog: Catalog, abilities: Abilities, effective: Effective | None = None
) -> ShowResponse:
    """What is known of the model, with the system message and, in the Modelfile, the options of the request.

    Tensors and what is in arrays are there only if the request says `verbose`. The Modelfile has no paths: its `FROM`
    is the model's name, by which the weights, the projector and the adapters come along.
    Without `effective`, a Modelfile's template goes before the one in the weights.

    Raises `BadRequest` for a name that is none and for bad options, `ModelNotFound` with the name in its shortest
    form, `Forbidden`, and `LoadFailed` for weights that cannot be read.
    """
    options = parse_options(request.options or {})[0]
    found = partial(_found, catalog, request.asked, verbose=bool(request.verbose))
    entry, read = await anyio.to_thread.run_sync(found)
    template = (await effective(entry) if effective else None) or entry.template or read.facts.chat_template
    config = entry.stored.config if entry.stored else ModelConfigFile()
    system = request.system or entry.system or ""
    parameters = entry.parameters or entry.options
    commands = _commands(entry, read.facts, config, system, {**parameters, **options})
    return ShowResponse(
        license="\n".join(entry.licenses),
        modelfile=shown_modelfile(str(entry.name), commands),
        parameters=parameter_lines(parameters),
        template=template or _PLAIN,
        system=system,
        details=read.facts.details,
        messages=[ShowMessage(role, content) for role, content in entry.messages] or None,
        remote_model=config.remote_model,
        remote_host=config.remote_host,
        model_info=Raw(read.info),
        projector_info=Raw(read.projector) if read.projector is not None else None,
        tensors=read.tensors,
        capabilities=await abilities(entry) or None,
        modified_at=local_time(read.facts.modified),
        requires=config.requires,
    )


def _found(catalog: Catalog, name: str, *, verbose: bool) -> tuple[ModelEntry, _Read]:
    """A model that is replaced or removed while it is read is looked for again."""
    while True:
        entry = _find(catalog, name)
        try:
            return entry, _read(catalog, entry, verbose=verbose)
        except LoadFailed:
            if _find(catalog, name).stored == entry.stored:
                raise


def _find(catalog: Catalog, name: str) -> ModelEntry:
    try:
        entry = catalog.find(name)
    except ModelNotFound:
        raise ModelNotFound(str(parse_name(without_source(name)))) from None
    except Forbidden:
        raise Forbidden(_NO_CLOUD) from None
    local = name.strip().lower().endswith(":local") and entry.name.tag.lower() != "local"
    if local and entry.stored is not None and entry.stored.config.remote_host:
        raise ModelNotFound(str(entry.name))
    return entry


def _read(catalog: Catalog, entry: ModelEntry, *, verbose: bool) -> _Read:
    facts = catalog.facts(entry)
    remote = entry.stored is not None and bool(entry.stored.config.remote_host)
    if entry.format not in {_GGUF, GGML} or entry.weights == NO_WEIGHTS or remote:
        return _Read(facts=facts, info=_told(entry, facts), projector=None, tensors=None)
    try:
        read = _of_ggml if entry.format == GGML else _of_gguf
        return read(entry, facts, verbose=verbose)
    except WeightsError as error:
        if entry.stored is not None and not entry.fault and not entry.weights.exists():
            raise incomplete(entry.name) from None
        raise LoadFailed(entry.fault or str(error)) from None


def _of_gguf(entry: ModelEntry, facts: ModelFacts, *, verbose: bool) -> _Read:
    return _Read(
        facts=facts,
        info=gguf.model_info(entry.weights, verbose=verbose),
        projector=gguf.model_info(entry.projector, verbose=verbose) if entry.projector else None,
        tensors=gguf.tensor_infos(entry.weights) if verbose else None,
    )


def _of_ggml(entry: ModelEntry, facts: ModelFacts, *, verbose: bool) -> _Read:
    header = ggml.read_ggml(entry.weights, entry.model_type or "")
    info = ggml.model_info(entry.weights, header, verbose=verbose)
    tensors = ggml.tensor_infos(header) if verbose else None
    return _Read(facts=facts, info=info, projector=None, tensors=tensors)


def _told(entry: ModelEntry, facts: ModelFacts) -> bytes:
    """`model_info` of weights that are not here, or are in another format: what the store says of them."""
    config = entry.stored.config if entry.stored else ModelConfigFile()
    architecture = facts.details.family
    said: dict[str, Any] = {
        "general.architecture": architecture,
        "general.basename": config.base_name,
        f"{architecture}.context_length": facts.context_length,
        f"{architecture}.embedding_length": facts.embedding_length,
    }
    return msgspec.json.encode({key: value for key, value in said.items() if value})


def _commands(
    entry: ModelEntry, facts: ModelFacts, config: ModelConfigFile, system: str, parameters: dict[str, Any]
) -> Iterator[Command]:
    """A template in the weights is not among them: it comes with `FROM`, and Modelfiles have Go's templates only."""
    yield Command("from", value=str(entry.name))
    if entry.template and entry.template_engine in {None, "go"}:
        yield Command("template", value=entry.template)
    elif not entry.template and not facts.chat_template:
        yield Command("template", value=_PLAIN)
    if system:
        yield Command("system", value=system)
    if config.renderer:
        yield Command("renderer", value=config.renderer)
    if parser := config.parser or entry.parser:
        yield Command("parser", value=parser)
    yield from parameter_commands(parameters)
    for text in entry.licenses:
        yield Command("license", value=text)
    for role, content in entry.messages:
        yield Command("message", role, content)
