"""Settings as Structs, decoded once.

Order, later wins: the defaults below, the TOML file, the environment (`OLLAMA_*` as the reference server has them,
trimmed of spaces and quotes), the command line. An error names the key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from .errors import BadRequest, ConfigError
from .wire.keep_alive import parse_keep_alive

__all__ = [
    "DEFAULT_PORT",
    "Config",
    "LimitsConfig",
    "MessageConfig",
    "ModelConfig",
    "RegistryConfig",
    "RouteConfig",
    "ServerConfig",
    "StoreConfig",
    "is_loopback",
    "load_config",
    "near_host",
    "parse_address",
    "parse_host",
    "url_of",
]

DEFAULT_PORT: Final = 11434


class ServerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[server]`. Times in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    """Where to listen (`OLLAMA_HOST`): an address or a name of this machine; `0.0.0.0` is everywhere."""
    port: int = DEFAULT_PORT
    """0 takes a free one."""
    origins: tuple[str, ...] = ()
    """Web origins allowed beside this machine's own (`OLLAMA_ORIGINS`); one `*` each, `"*"` alone is everybody."""
    max_body: int = 64 * 1024 * 1024
    """Largest JSON body."""
    drain_timeout: float = 30.0
    """How long running requests may go on after SIGTERM."""
    write_timeout: float = 60.0
    """How long a client may refuse to read before its stream is dropped."""


class LimitsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`."""

    context: int = 4096
    """Context of each sequence in tokens where neither request nor model says (`OLLAMA_CONTEXT_LENGTH`)."""
    parallel: int = 4
    """Sequences side by side in one model (`OLLAMA_NUM_PARALLEL`)."""
    queue: int = 512
    """Requests that may wait for one model (`OLLAMA_MAX_QUEUE`); one more is 503."""
    keep_alive: float | str = "5m"
    """How long a model stays after its last request (`OLLAMA_KEEP_ALIVE`)."""
    template_timeout: float = 2.0
    """Seconds that rendering one prompt may take."""
    format_timeout: float = 0.8
    """Seconds that making sense of one `format` may take."""
    repeat: int = 30
    """An answer ends when its last token came more than this many times in a row; 0 lets it go on."""


class MessageConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[models."name:tag".messages]]`."""

    role: str
    content: str


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[models."name:tag"]`: a file on this machine, served under that name."""

    path: str
    """The file; `~` is the home folder."""
    format: str = "gguf"
    """What kind of file it is; backends say which formats they take."""
    backend: str | None = None
    """The backend that must serve it."""
    projector: str | None = None
    """A second file, which makes images readable to the model (`mmproj`)."""
    template: str | None = None
    """A prompt template, in the language of Modelfiles, that replaces the one in the file."""
    template_engine: str | None = None
    """The template engine that must render it, as `remuda plugins` lists it."""
    parser: str | None = None
    """The output parser that must be used, as `remuda plugins` lists it."""
    system: str | None = None
    """The system message of requests that bring none."""
    messages: tuple[MessageConfig, ...] = ()
    """A conversation that every chat begins with."""
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    """Options of requests that do not set them."""


class RouteConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[routes]]`: the backend for the models whose name matches a glob; the first that matches decides."""

    model: str
    """A glob over whole names, tag included."""
    backend: str
    """The backend's name, as `remuda plugins` lists it."""

    def matches(self, name: str) -> bool:
        """Without regard to case, as names are compared everywhere."""
        return fnmatchcase(name.lower(), self.model.lower())


class StoreConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[store]`: the models on disk, laid out as Ollama does; an existing installation's folder is used as it is."""

    path: str = "~/.ollama/models"
    """The folder (`OLLAMA_MODELS`); `~` is the home folder. Made when it is first written to."""
    prune: bool = True
    """Remove blobs that no model needs any more (`OLLAMA_NOPRUNE` turns it off)."""

    @property
    def root(self) -> Path:
        return Path(self.path).expanduser().absolute()


class RegistryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[registry]`: where models may be pulled from and pushed to."""

    allow: tuple[str, ...] = ("*",)
    """Globs over registries as a name gives them, port included: `registry.ollama.ai`, `hf.co`, `*.example.org`."""
    private: tuple[str, ...] = ()
    """Registries, redirects to which included, that may have a private or a loopback address, as the same globs."""
    redirects: tuple[str, ...] = ("*",)
    """Globs over the hosts that a registry may send downloads to."""
    key: str = "~/.ollama/id_ed25519"
    """The key that signs requests for tokens; made when it is first needed."""
    stall_timeout: float = 30.0
    """Seconds without a byte after which a connection is given up and tried again."""
    retries: int = 6
    """How often one part of a transfer is tried again without getting anywhere."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    server: ServerConfig = field(default_factory=ServerConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    models: dict[str, ModelConfig] = field(default_factory=dict[str, ModelConfig])
    routes: tuple[RouteConfig, ...] = ()
    store: StoreConfig = field(default_factory=StoreConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    auto_pull: bool = False
    """Pull a model that is asked for and is not there, with progress lines in the stream."""
    go_template: bool | None = None
    """Which template to take where a model has two (`OLLAMA_GO_TEMPLATE`): `true` the one of its Modelfile, `false` the
    one in its weights; unset, the one that can say more."""
    backends: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """`[backends.NAME]`: a table handed to that backend as it is."""

    @property
    def keep_alive(self) -> float:
        """Seconds; `math.inf` for ever."""
        value = parse_keep_alive(self.limits.keep_alive)
        assert value is not None
        return value


def load_config(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read the file, if any, and the environment. Raises `ConfigError` that names file or variable and key."""
    config = _decode_file(path) if path is not None else Config()
    config = _apply_environment(config, os.environ if environ is None else environ)
    _check(config)
    return config


def parse_host(text: str) -> tuple[str, str, int, str]:
    """`OLLAMA_HOST` as `(scheme, host, port, path)`.

    No scheme means http and port 11434; `http://` port 80, `https://` 443; a bad port falls back to the default;
    a bare IPv6 address may lack its brackets; a missing host is every interface for a server (Ollama API,
    "Environment").
    """
    text = text.strip().strip("\"'").strip()
    scheme, separator, rest = text.rpartition("://")
    scheme = scheme if separator else "http"
    default = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT) if separator else DEFAULT_PORT
    authority, slash, path = rest.partition("/")
    host, colon, port = authority.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")) or authority.endswith("]"):
        host, port = authority, ""
    number = int(port) if port.isascii() and port.isdigit() else -1
    return scheme, host.strip("[]"), number if 0 <= number <= 65535 else default, slash + path


def parse_address(name: str) -> IPv4Address | IPv6Address | None:
    """The IP address that `name` is, an IPv4 one also where it is written as IPv6; None for a host name."""
    try:
        address = ip_address(name)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_loopback(host: str) -> bool:
    """Whether `host`, an address or `localhost`, is reached from this machine only."""
    address = parse_address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def near_host(host: str) -> str:
    """Where a client on this machine finds a server that listens on `host`: everywhere means loopback then."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def url_of(host: str, port: int, scheme: str = "http") -> str:
    """The URL, without a path, for a client on this machine."""
    host = near_host(host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _decode_file(path: Path) -> Config:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Config)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {path} is not valid: {error}") from None


def _apply_environment(config: Config, environ: Mapping[str, str]) -> Config:
    values = {name: text.strip().strip("\"'") for name, text in environ.items() if name.startswith("OLLAMA_")}
    server, limits = config.server, config.limits
    if host := values.get("OLLAMA_HOST"):
        _, name, port, _ = parse_host(host)
        server = msgspec.structs.replace(server, host=name or "0.0.0.0", port=port)
    if origins := values.get("OLLAMA_ORIGINS"):
        server = msgspec.structs.replace(server, origins=(*server.origins, *origins.split(",")))
    whole = {"OLLAMA_CONTEXT_LENGTH": "context", "OLLAMA_NUM_PARALLEL": "parallel", "OLLAMA_MAX_QUEUE": "queue"}
    for variable, name in whole.items():
        text = values.get(variable, "")
        if text and not (text.isascii() and text.isdigit()):
            raise ConfigError(f"{variable} must be a whole number, not {text!r}")
        if text and int(text) > 0:
            limits = msgspec.structs.replace(limits, **{name: int(text)})
    if keep_alive := values.get("OLLAMA_KEEP_ALIVE"):
        limits = msgspec.structs.replace(limits, keep_alive=keep_alive)
    if go := values.get("OLLAMA_GO_TEMPLATE"):
        config = msgspec.structs.replace(config, go_template=_is_true(go))
    store = config.store
    if folder := values.get("OLLAMA_MODELS"):
        store = msgspec.structs.replace(store, path=folder)
    if no_prune := values.get("OLLAMA_NOPRUNE"):
        store = msgspec.structs.replace(store, prune=not _is_true(no_prune))
    return msgspec.structs.replace(config, server=server, limits=limits, store=store)


def _is_true(text: str) -> bool:
    """A boolean of the environment, as the protocol has it: whatever is not plainly false."""
    return text.lower() not in {"0", "f", "false"}


def _check(config: Config) -> None:
    server, limits = config.server, config.limits
    bounds = (
        ("server.port", server.port, 0, 65535),
        ("server.max_body", server.max_body, 1024, 2**40),
        ("server.drain_timeout", server.drain_timeout, 0, 86400),
        ("server.write_timeout", server.write_timeout, 0.01, 86400),
        ("limits.context", limits.context, 4, 2**31 - 1),
        ("limits.parallel", limits.parallel, 1, 256),
        ("limits.queue", limits.queue, 1, 1_000_000),
        ("limits.template_timeout", limits.template_timeout, 0.01, 600),
        ("limits.format_timeout", limits.format_timeout, 0.01, 600),
        ("limits.repeat", limits.repeat, 0, 2**31 - 1),
        ("registry.stall_timeout", config.registry.stall_timeout, 0.1, 3600),
        ("registry.retries", config.registry.retries, 1, 100),
    )
    for key, value, low, high in bounds:
        if not low <= value <= high:
            raise ConfigError(f"{key} is {value}: it must be from {low} to {high}")
    try:
        parse_keep_alive(limits.keep_alive)
    except BadRequest as error:
        raise ConfigError(f"limits.keep_alive (OLLAMA_KEEP_ALIVE): {error}") from None
