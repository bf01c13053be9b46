"""What the environment says: the reference server's variables, read as it reads them (Ollama API, "Environment"), and
one of our own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from msgspec import UNSET, Struct

from ..errors import ConfigError
from .address import parse_host
from .keys import Key, dotted
from .structs import Config

__all__ = ["VARIABLES", "Override", "idle_variables", "overrides"]


class Override(Struct, frozen=True):
    """A value that wins over the file."""

    key: Key
    value: Any
    source: str
    added: bool = False
    """Whether it came to the file's own value instead of taking its place."""


def _whole(text: str) -> Any:
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise ValueError(f"must be a whole number, not {text[:80]!r}")
    return int(text)


def _positive(text: str) -> Any:
    return _whole(text) or UNSET


def _switch(text: str) -> bool:
    """Whatever is not plainly false is true."""
    return text not in {"0", "f", "F", "false", "False", "FALSE"}


def _no_switch(text: str) -> bool:
    return not _switch(text)


def _flash(text: str) -> bool | str:
    return "auto" if text.lower() == "auto" else _switch(text)


def _debug(text: str) -> Any:
    """A switch, or a number: the higher, the more the log says, 0 being "info"."""
    if re.fullmatch(r"-[0-9]{1,19}", text):
        return {0: UNSET, 1: "warning"}.get(-int(text), "error")
    return "debug" if _switch(text) else UNSET


_READERS: Final[dict[str, tuple[Key, Callable[[str], Any]]]] = {
    "OLLAMA_DEBUG": (("server", "log_level"), _debug),
    "OLLAMA_CONTEXT_LENGTH": (("limits", "context"), _positive),
    "OLLAMA_NUM_PARALLEL": (("limits", "parallel"), _positive),
    "OLLAMA_MAX_QUEUE": (("limits", "queue"), _positive),
    "OLLAMA_KEEP_ALIVE": (("limits", "keep_alive"), str),
    "OLLAMA_MODELS": (("store", "path"), str),
    "OLLAMA_NOPRUNE": (("store", "prune"), _no_switch),
    "OLLAMA_MAX_LOADED_MODELS": (("residency", "max_loaded"), _whole),
    "OLLAMA_GPU_OVERHEAD": (("residency", "gpu_overhead"), _whole),
    "OLLAMA_LOAD_TIMEOUT": (("residency", "load_timeout"), str),
    "OLLAMA_GO_TEMPLATE": (("go_template",), _switch),
    "OLLAMA_FLASH_ATTENTION": (("backends", "llamacpp", "flash_attention"), _flash),
    "OLLAMA_KV_CACHE_TYPE": (("backends", "llamacpp", "kv_cache_type"), str),
    "REMUDA_PLUGINS_DIR": (("plugins", "dir"), str),
}
VARIABLES: Final = ("OLLAMA_HOST", "OLLAMA_ORIGINS", *_READERS)
"""Those that say something about the settings."""

_IDLE: Final = (
    "OLLAMA_AGENT_DISABLE_SHELL",
    "OLLAMA_AGENT_DISABLE_WEBSEARCH",
    "OLLAMA_API_KEY",
    "OLLAMA_AUTH",
    "OLLAMA_CLOUD_BASE_URL",
    "OLLAMA_DEBUG_LOG_REQUESTS",
    "OLLAMA_EDITOR",
    "OLLAMA_EXPERIMENT",
    "OLLAMA_IGPU_ENABLE",
    "OLLAMA_LLAMA_CPP_COMPAT",
    "OLLAMA_LLM_LIBRARY",
    "OLLAMA_MAX_TRANSFER_STREAMS",
    "OLLAMA_NOHISTORY",
    "OLLAMA_REMOTES",
    "OLLAMA_SCHED_SPREAD",
    "OLLAMA_SKILLS",
    "OLLAMA_VULKAN",
)
"""Those of the reference that change nothing here. `OLLAMA_NO_CLOUD` is none of them: there never is a cloud."""

_KNOWN: Final = (*VARIABLES, *_IDLE, "OLLAMA_NO_CLOUD", "REMUDA_CONFIG", "REMUDA_FAILPOINTS")


def overrides(environ: Mapping[str, str], config: Config) -> Iterator[Override]:
    """What the variables change in `config`. An empty one counts as not set. Raises `ConfigError` that names it."""
    if host := _text(environ, "OLLAMA_HOST"):
        _, name, port, _ = parse_host(host)
        yield Override(("server", "host"), name or "0.0.0.0", "OLLAMA_HOST")
        yield Override(("server", "port"), port, "OLLAMA_HOST")
    if origins := _text(environ, "OLLAMA_ORIGINS"):
        own = config.server.origins
        yield Override(("server", "origins"), (*own, *origins.split(",")), "OLLAMA_ORIGINS", added=bool(own))
    for variable, (key, read) in _READERS.items():
        if text := _text(environ, variable):
            try:
                value = read(text)
            except ValueError as error:
                raise ConfigError(f"{variable} ({dotted(key)}) {error}") from None
            if value is not UNSET:
                yield Override(key, value, variable)


def idle_variables(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that is set and has no effect, although it looks as if it should."""
    found: list[str] = []
    for variable in sorted(environ):
        if not variable.startswith(("OLLAMA_", "REMUDA_")) or not _text(environ, variable):
            continue
        close = get_close_matches(variable, _KNOWN, 1, 0.85)
        if variable in _IDLE:
            found.append(f"{variable} has no effect on this server")
        elif variable not in _KNOWN and close:  # others may be a plugin's
            found.append(f"{variable} has no effect: is {close[0]} meant?")
    return found


def _text(environ: Mapping[str, str], variable: str) -> str:
    return environ.get(variable, "").strip().strip("\"'")
