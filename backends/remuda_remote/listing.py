"""What upstreams have, put together: each model once, each loaded model with where it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from msgspec import structs

from remuda.model import ModelName
from remuda.wire import PsModel, TagsDetails, TagsModel, local_time

from .upstream import Offer, Upstream

__all__ = ["all_tags", "in_memory"]


def all_tags(upstreams: Iterable[Upstream], candidates: Callable[[ModelName], list[Upstream]]) -> list[TagsModel]:
    """Each model that may be asked for, under its public name and as the first of its upstreams describes it.

    `candidates` says which upstreams may serve a model.
    """
    names = {key: offer.name for upstream in upstreams for key, offer in upstream.offers.items()}
    found: list[TagsModel] = []
    for name in names.values():
        having = [(upstream, offer) for upstream in candidates(name) if (offer := upstream.offer(name)) is not None]
        if having:
            tag = next((offer.tag for _, offer in having if offer.tag is not None), None)
            where = [upstream.name for upstream, _ in having]
            found.append(structs.replace(tag or _unlisted(having[0][1]), upstreams=where))
    return found


def in_memory(upstreams: Iterable[Upstream]) -> list[PsModel]:
    """For each upstream what it has in memory of the models that it offers, under their public names."""
    return [
        structs.replace(model, upstream=upstream.name) for upstream in upstreams for model in upstream.loaded.values()
    ]


def _unlisted(offer: Offer) -> TagsModel:
    """A model of the configuration that its upstream does not list, or has not listed yet."""
    return TagsModel(
        name=str(offer.name),
        model=str(offer.name),
        modified_at=local_time(0),
        size=0,
        digest=hashlib.sha256(offer.there.encode()).hexdigest(),
        details=TagsDetails(),
        capabilities=[],
    )
