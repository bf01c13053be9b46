"""One upstream as the pool sees it: what it offers, how it is, and what it works on."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from remuda.errors import RemudaError, Unavailable
from remuda.model import ModelName
from remuda.residency.queue import Ticket
from remuda.wire import PsModel, TagsModel

from .breaker import Breaker
from .faults import Fault, Refused
from .member import Member
from .targets import key_of, name_there, parsed

if TYPE_CHECKING:
    from .client import UpstreamClient
    from .dialect import Dialect, Listed

__all__ = ["Offer", "Pause", "State", "Upstream"]

_log = logging.getLogger("remuda.remote")
_LIGHTEST: Final = 0.001

State: TypeAlias = Literal["up", "down", "trying", "unknown"]


class Offer(Struct, frozen=True):
    """A model that is served here."""

    name: ModelName
    """Its public name."""
    there: str
    """Its name as the upstream writes it."""
    tag: TagsModel | None
    """What the upstream lists of it, under its public name; None as long as it is not listed."""


class Pause(Struct, frozen=True):
    """The upstream gets no requests for a model for a while, because it wants none or fails them all."""

    until: float
    refused: Refused
    failures: int = 0
    """How many in a row; 0 if it only said that it wants none."""

    def error(self, now: float) -> RemudaError:
        """What it said, with the seconds that remain."""
        error = self.refused.error()
        if self.failures:
            error = Unavailable(
                f"upstream '{self.refused.upstream}' failed {self.failures} requests for this model in a row; "
                f"it is tried again in {max(1, math.ceil(self.until - now))} s. The last failure: {self.refused.said}"
            )
        if isinstance(error, Unavailable):
            error.retry_after = max(1, math.ceil(self.until - now))
        return error


class Upstream:
    def __init__(self, member: Member, client: UpstreamClient, dialect: Dialect) -> None:
        self.member, self.client, self.dialect = member, client, dialect
        self.breaker = Breaker()
        self.offers: dict[str, Offer] = {}
        """By keys of public names. Replaced, never changed: other threads look."""
        self.loaded: dict[str, PsModel] = {}
        """What it has in memory of what it offers, under its public names."""
        self.paused: dict[str, Pause] = {}
        self.active: dict[int, Ticket] = {}
        """What it works on for us."""
        self.deeds = 0
        """Changes to its models that are under way."""
        self.turn = 0.0
        self.requests = self.failures = 0
        self.error = ""
        self.heard = False
        """Whether it ever answered anything."""
        self._rows: dict[str, int] = {}
        """Failures in a row, by models."""
        self.retired = False
        """Not in the configuration any more: it is closed once it is idle."""
        self._warm: set[str] = set()
        self._listed: Sequence[Listed] = ()
        self._ps: Sequence[PsModel] | None = None
        self._complete = False
        """Whether `offers` has all that there is to be offered."""
        self._keys: dict[str, list[str]] = {}
        """Of offers, by what their models are called there."""
        self._offer()

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def running(self) -> int:
        return len(self.active)

    @property
    def weight(self) -> float:
        return max(self.member.config.weight, _LIGHTEST)

    @property
    def load(self) -> float:
        return len(self.active) / self.weight

    @property
    def full(self) -> bool:
        return len(self.active) >= self.member.config.parallel

    @property
    def idle(self) -> bool:
        """Nothing is under way there."""
        return not self.active and not self.deeds

    @property
    def tally(self) -> str:
        """How often it failed since it was last well, in words."""
        return f"{self.breaker.row} failure{'s' * (self.breaker.row != 1)}"

    def state(self, now: float) -> State:
        health = self.breaker.health(now)
        return "unknown" if health == "up" and not self.heard else health

    def offer(self, name: ModelName) -> Offer | None:
        return self.offers.get(name.key)

    def may_have(self, name: ModelName) -> bool:
        """Whether a model of that name would be offered if it had it."""
        return name_there(self.member.config, name) is not None

    def warm(self, key: str) -> bool:
        """Whether it has the model in memory, or served it since it last said what it has there. One that does not say
        keeps nobody waiting for loads, as far as is known."""
        return self._ps is None or key in self.loaded or key in self._warm

    def learn(self, listed: Sequence[Listed], loaded: Sequence[PsModel] | None) -> None:
        """What it said last; `loaded` None where it does not say."""
        self.heard, self._ps = True, loaded
        self._warm.clear()
        if not self._complete or listed != self._listed:  # thousands of names take their time, with every probe
            self._listed = listed
            self._offer()
        self._load()

    def inherit(self, other: Upstream) -> None:
        """It is the same server as `other`, with other settings."""
        if other.heard:
            self.learn(other._listed, other._ps)

    def forget(self, name: ModelName) -> None:
        """It has not got the model after all, until it lists it again, or `recall`."""
        self.offers = {key: offer for key, offer in self.offers.items() if key != name.key}
        self._complete = False

    def recall(self) -> None:
        """It does not tell what it has: what was known of it has to do, forgotten models too."""
        if not self._complete:
            self._offer()

    def pause(self, name: ModelName, until: float, refused: Refused) -> None:
        self.paused[name.key] = Pause(until, refused)

    def pause_of(self, key: str, now: float) -> Pause | None:
        """None if the model is not paused, or not any more."""
        if not self.paused or (pause := self.paused.get(key)) is None:
            return None
        if pause.until > now:
            return pause
        del self.paused[key]
        return None

    def began(self, name: ModelName, trial: int) -> None:
        """An answer has begun."""
        self.heard = True
        self._warm.add(name.key)
        if self.breaker.began(trial):
            self.back()

    def well(self, name: ModelName) -> None:
        """An answer was whole."""
        self._rows.pop(name.key, None)
        self.breaker.well()
        self.error = ""

    def failed(self, fault: Fault, now: float, trial: int = 0) -> None:
        """A request failed, in a way that counts."""
        self.failures += 1
        self.error = str(fault)
        if self.breaker.failed(now, trial):
            self.down(now)

    def stumbled(self, name: ModelName, refused: Refused, now: float, *, first: bool) -> None:
        """A request failed by the model's own fault: as with a breaker, but only the model is left alone, and only a
        request that was tried here `first` counts."""
        self.failures += 1
        self.error = str(refused)
        if not first:
            return
        row = self._rows[name.key] = self._rows.get(name.key, 0) + 1
        if row >= self.breaker.failures:
            self.paused[name.key] = Pause(now + self.breaker.cooldown, refused, row)

    def down(self, now: float) -> None:
        _log.warning(
            "upstream '%s' is left alone for %.0f s after %s in a row; the last: %s",
            *(self.name, self.breaker.wait(now), self.tally, self.error),
        )

    def back(self) -> None:
        self.error = ""
        _log.warning("upstream '%s' is back", self.name)

    async def close(self) -> None:
        await self.client.close()

    def _offer(self) -> None:
        offers = {offer.name.key: offer for offer in self._mapped()}
        for model in self._listed:
            name = parsed(model.there)
            if name is None or name.key in offers or not self.may_have(name):
                continue
            offers[name.key] = Offer(name, model.there, _renamed(model.tag, name))
        self.offers, self._complete = offers, True
        self._keys = {}
        for key, offer in offers.items():
            self._keys.setdefault(_same(offer.there), []).append(key)

    def _load(self) -> None:
        found = [(key, model) for model in self._ps or () for key in self._keys.get(_same(model.name), ())]
        names = {key: str(self.offers[key].name) for key, _ in found}
        self.loaded = {key: replace(model, name=names[key], model=names[key]) for key, model in found}

    def _mapped(self) -> Iterator[Offer]:
        tags = {_same(model.there): model.tag for model in self._listed}
        for public, there in self.member.config.models.items():
            if (name := parsed(public)) is not None:
                tag = tags.get(_same(there))
                yield Offer(name, there, None if tag is None else _renamed(tag, name))


def _renamed(tag: TagsModel, name: ModelName) -> TagsModel:
    return replace(tag, name=str(name), model=str(name))


def _same(there: str) -> str:
    """What two spellings of a name there have in common."""
    return key_of(there) or there
