"""The settings: the table `[plugins.settings.llm]` of Remuda's configuration."""

from __future__ import annotations

from msgspec import Struct, field

__all__ = ["LlmSettings"]


class LlmSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    allow: list[str] = field(default_factory=lambda: ["*"])
    """Patterns (`*`, `?`, `[...]`) of the ids of models that are offered, in `llm`'s own spelling or any other case."""
    deny: list[str] = field(default_factory=list[str])
    """Patterns of ids that are not, whatever `allow` says."""
    without_key: bool = False
    """Offer models whose key is not set, too. Whoever asks one of them is told which key it needs."""
    namespace: str = ""
    """Put all names under it: with "llm", `gpt-4o` is `llm/gpt-4o`. Empty leaves names as they are."""
    aliases: bool = False
    """Offer each model under its aliases as well."""
