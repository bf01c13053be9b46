"""What a server of OpenAI's API says of itself and of its models: who it is, what it has, what it can do."""

from __future__ import annotations

import hashlib
import time
from typing import Any, Final

import msgspec
from msgspec import Raw, structs

from remuda.model.facts import human_count
from remuda.wire import Details, PsModel, ShowResponse, TagsDetails, TagsModel, local_time

from ..client import UpstreamClient
from ..dialect import LONGEST_NAME, MOST_MODELS, Listed
from ..faults import Broke, Fault, Refused
from ..member import Member
from .flavour import LLAMA_SERVER, STANDARD, Flavour, Learned, flavour_of
from .wire import ListedModel, ModelList, ModelMeta, Props

__all__ = ["Library", "prefix"]

_NO_LIST: Final = frozenset({404, 405, 501})
_LISTS: Final = msgspec.json.Decoder(ModelList | list[ListedModel])
"""Some services leave out what is round the list."""
_PROPS: Final = msgspec.json.Decoder(Props)
_UNKNOWN: Final = "unknown"
"""The architecture of models whose server does not tell it, which names keys of `model_info`."""
_FOREVER: Final = 100 * 365 * 86400
"""Seconds from now on: when a model leaves that never does, as the protocol's clients can show it."""


def prefix(member: Member) -> str:
    """What stands between the configured address and the paths of the API."""
    return "" if member.url.endswith("/v1") else "/v1"


class Library:
    def __init__(self, member: Member, client: UpstreamClient) -> None:
        self._member, self._client = member, client
        self.flavour = STANDARD
        self.learned = Learned()
        self.props: Props | None = None
        """llama-server's, where it tells them."""
        self._models: dict[str, ListedModel] = {}
        self._seen: dict[str, float] = {}
        self._asked = False

    @property
    def listed(self) -> list[Listed]:
        """As it was last told."""
        return [Listed(there=model.id, tag=self._tag(model)) for model in self._models.values()]

    async def look(self) -> None:
        """Ask who it is and what it has. Raises `Fault`, and forgets what was learned: another may come back."""
        try:
            found = await self._list()
            flavour = flavour_of(found)
            if not self._asked or flavour is not self.flavour:
                self.learned = Learned()
                self.props = await self._told(flavour)
        except Fault:
            self._asked = False
            raise
        self.flavour, self._asked = flavour, True
        self._models = {model.id: model for model in found}
        self._seen = {id: self._seen.get(id, time.time()) for id in self._models}

    async def once(self) -> None:
        """Ask if it was not asked yet. A server that only refuses to tell may still answer."""
        if self._asked:
            return
        try:
            await self.look()
        except Refused as refused:
            if refused.status >= 500:
                raise

    async def check(self, model: str) -> None:
        """Raises a `Refused` of 404 if it lists its models and this one is not among them."""
        await self.once()
        if self._models and model not in self._models:
            await self.look()
            if model not in self._models:
                raise Refused(self._member.name, 404, {}, b"", f"model '{model}' not found")

    def loaded(self) -> list[PsModel] | None:
        """None where it does not say. llama-server has all of its models in memory."""
        if self.flavour is not LLAMA_SERVER or not self._asked:
            return None
        expires = local_time(time.time() + _FOREVER)
        return [self._in_memory(model, expires) for model in self._models.values() if model.about is not None]

    def show(self, model: str) -> ShowResponse:
        known = self._models.get(model) or ListedModel(model)
        tag, meta = self._tag(known), known.about or ModelMeta()
        info: dict[str, Any] = {
            "general.architecture": _UNKNOWN,
            "general.basename": model,
            "general.parameter_count": meta.n_params,
            f"{_UNKNOWN}.context_length": tag.details.context_length,
            f"{_UNKNOWN}.embedding_length": tag.details.embedding_length,
        }
        return ShowResponse(
            template=self.props.chat_template if self.props else "",
            details=msgspec.convert(msgspec.to_builtins(tag.details), Details),
            model_info=Raw(msgspec.json.encode({key: value for key, value in info.items() if value})),
            capabilities=tag.capabilities,
            modified_at=tag.modified_at,
        )

    async def _list(self) -> list[ListedModel]:
        try:
            body = await self._client.ask("GET", f"{prefix(self._member)}/models")
        except Refused as refused:
            if refused.status in _NO_LIST:
                return []
            raise
        try:
            said = _LISTS.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise Broke(self._member.name, "did not say which models it has: its list makes no sense") from None
        models = said.data if isinstance(said, ModelList) else said
        return [model for model in models[:MOST_MODELS] if len(model.id) <= LONGEST_NAME]

    async def _told(self, flavour: Flavour) -> Props | None:
        """`/props` is not below `/v1`: there is no way to it where the address ends there."""
        if flavour is not LLAMA_SERVER or not prefix(self._member):
            return None
        try:
            return _PROPS.decode(await self._client.ask("GET", "/props"))
        except (Refused, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _tag(self, model: ListedModel) -> TagsModel:
        meta = model.about or ModelMeta()
        # llama-server says of each model that it was created just now.
        told = model.created if self.flavour is not LLAMA_SERVER else None
        created = told if isinstance(told, (int, float)) and told > 0 else self._seen.get(model.id, 0)
        return TagsModel(
            name=model.id,
            model=model.id,
            modified_at=_time(created),
            size=meta.size or 0,
            digest=self._digest(model.id),
            details=TagsDetails(
                format="gguf" if model.about is not None else "",
                parameter_size=human_count(meta.n_params) if meta.n_params else "",
                quantization_level=meta.ftype or "",
                context_length=meta.n_ctx_train or model.context,
                embedding_length=meta.n_embd or 0,
            ),
            capabilities=self._capabilities(),
        )

    def _in_memory(self, model: ListedModel, expires: str) -> PsModel:
        meta = model.about or ModelMeta()
        return PsModel(
            name=model.id,
            model=model.id,
            size=meta.size or 0,
            digest=self._digest(model.id),
            details=structs.replace(Details(), format="gguf", quantization_level=meta.ftype or ""),
            expires_at=expires,
            size_vram=0,
            context_length=meta.n_ctx or 0,
        )

    def _capabilities(self) -> list[str]:
        """Those of the configuration, corrected where the server says more."""
        said = dict.fromkeys(self._member.config.capabilities)
        if self.props is not None:
            if self.props.modalities.vision:
                said["vision"] = None
            if self.props.thinks:
                said["thinking"] = None
            if not self.props.tools:
                said.pop("tools", None)
        return list(said)

    def _digest(self, model: str) -> str:
        """Nothing of the weights is known: the same name among servers that are alike is the same model."""
        return hashlib.sha256(f"{self._member.group}/{model}".encode()).hexdigest()


def _time(seconds: float) -> str:
    try:
        return local_time(seconds)
    except (OverflowError, ValueError, OSError):
        return local_time(0)
