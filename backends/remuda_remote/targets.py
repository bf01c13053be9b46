"""Where a deed goes: which upstreams a request, or the configuration, means. Pure.

Both write it alike: names of upstreams, or of groups of them that share a table in the configuration; `*` is all that
may, and `here` is this server itself. Where neither says anything, a deed is done here; but one to a model that only
upstreams have is theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, NamedTuple, Protocol, TypeVar

from remuda.config import UpstreamConfig
from remuda.errors import BadRequest
from remuda.model import ModelName, parse_name
from remuda.remote import EXISTING, DeedKind
from remuda.wire import ALL, HERE, UPSTREAM_HEADER

from .member import Member

__all__ = ["Candidate", "Named", "among", "chosen", "key_of", "managed", "may", "name_there", "parsed"]

KIND: Final = "ollama"
"""The kind of upstreams whose models can be changed."""
_SHOWN: Final = 80
"""Characters of a name that is repeated in an error."""


class Named(Protocol):
    @property
    def member(self) -> Member: ...


class Candidate(Named, Protocol):
    def offer(self, name: ModelName) -> object | None:
        """None unless it is known to have a model of that public name."""
        ...


U = TypeVar("U", bound=Named)


class _Wish(NamedTuple):
    names: tuple[str, ...]
    source: str
    """Who said them, in words for an error."""


def managed(
    kind: DeedKind,
    name: ModelName | None,
    asked: tuple[str, ...],
    *,
    here: bool,
    upstreams: Sequence[Candidate],
    manage: tuple[str, ...],
    route: tuple[str, ...],
) -> tuple[str, ...]:
    """As `Remote.managed`. `upstreams` are all, `manage` is `remote.manage`, and `route` names the upstreams, or
    groups, that the model's route allows; none is all.

    Of deeds to a model that must exist, `*` means the upstreams that have it, if some are known to; and one that only
    this server has is meant where the request does not say otherwise.
    """
    routed = [each for each in upstreams if among(each.member, route)]
    allowed = [each for each in routed if may(each.member, name, route)]
    wish = _Wish(asked, f"the header {UPSTREAM_HEADER}") if asked else _Wish(manage, "remote.manage")
    wanted = name if kind in EXISTING else None
    having = [each for each in allowed if wanted is not None and each.offer(wanted) is not None]
    if here and not having and not asked and kind in EXISTING:
        return ()
    if HERE in wish.names:
        if set(wish.names) != {HERE}:
            raise BadRequest(f"{wish.source}: `{HERE}` is this server itself, and cannot stand beside upstreams")
        return ()
    if wish.names:
        meant = {found.name for one in wish.names for found in _meant(one, name, wish, routed, allowed, having)}
        return tuple(each.member.name for each in allowed if each.member.name in meant)
    if here or not having:
        return ()
    if len(having) > 1:
        raise BadRequest(
            f"model '{name}' is on the upstreams {_list(having)}: say which with the header {UPSTREAM_HEADER} "
            f"(or {ALL} for all), or set remote.manage"
        )
    return (having[0].member.name,)


def may(member: Member, name: ModelName | None, route: tuple[str, ...]) -> bool:
    """Whether a deed to a model of that name may go to the upstream; None asks for no model in particular."""
    if member.kind != KIND or not among(member, route):
        return False
    return name is None or name_there(member.config, name) is not None


def name_there(config: UpstreamConfig, name: ModelName) -> str | None:
    """What an upstream calls a model of that public name, whether it has it or not; None for one that must not be
    reached by that name: its settings deny it, or give it another name here."""
    hidden, key = False, name.key
    for public, there in config.models.items():
        if key_of(public) == key:
            return there
        hidden = hidden or key_of(there) == key
    if hidden or not _matches(config.allow, name) or _matches(config.deny, name):
        return None
    return str(name)


def among(member: Member, names: Collection[str]) -> bool:
    """Whether it is one of those named, by its own name or that of its group; none named is all."""
    return not names or member.name in names or member.group in names


def chosen(upstreams: Sequence[U], names: Sequence[str]) -> list[U]:
    """Those of that name. Raises `BadRequest` for one that has left the configuration meanwhile."""
    found = [each for each in upstreams if each.member.name in names]
    for name in names:
        if all(each.member.name != name for each in found):
            raise BadRequest(f"there is no upstream '{name}' any more; `remuda upstreams` lists them")
    return found


def _meant(
    one: str,
    name: ModelName | None,
    wish: _Wish,
    routed: Sequence[Candidate],
    allowed: Sequence[Candidate],
    having: Sequence[Candidate],
) -> list[Member]:
    """Those that one name of a wish stands for. Of what lies outside the route an error says nothing."""
    model = f"model '{name}'" if name is not None else "models"
    if one == ALL:
        if not allowed:
            raise BadRequest(f"{wish.source}: no upstream of the kind {KIND} may be given {model}")
        return [each.member for each in having or allowed]
    found = [each.member for each in allowed if among(each.member, (one,))]
    if found:
        return found
    if any(among(each.member, (one,)) and each.member.kind != KIND for each in routed):
        raise BadRequest(
            f"{wish.source}: upstream '{one}' is not of the kind {KIND}, and models can be managed on no other"
        )
    those = f"those that may are {_list(allowed)}" if allowed else "none may"
    raise BadRequest(f"{wish.source}: there is no upstream '{one[:_SHOWN]}' that may be given {model}; {those}")


def _matches(globs: Sequence[str], name: ModelName) -> bool:
    text = str(name).lower()
    return any(fnmatchcase(text, glob.lower()) for glob in globs)


def parsed(text: str) -> ModelName | None:
    """None for what is no name."""
    try:
        return parse_name(text)
    except BadRequest:
        return None


@lru_cache(4096)
def key_of(text: str) -> str | None:
    """What all spellings of a name have in common; None for what is no name."""
    name = parsed(text)
    return None if name is None else name.key


def _list(upstreams: Sequence[Named]) -> str:
    return ", ".join(each.member.name for each in upstreams)
