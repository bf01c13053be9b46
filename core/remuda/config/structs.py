"""The settings, as Structs. Whoever makes one in code owes sensible values: `load_settings` checks what it reads."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from ..wire.keep_alive import parse_keep_alive
from .address import DEFAULT_PORT

__all__ = [
    "Config",
    "LimitsConfig",
    "MessageConfig",
    "ModelConfig",
    "PluginsConfig",
    "RegistryConfig",
    "RemoteConfig",
    "ResidencyConfig",
    "ResidencyRule",
    "RouteConfig",
    "ServerConfig",
    "StoreConfig",
    "UpstreamConfig",
]


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
    ready_model: str = ""
    """A model that must have written one token before `/readyz` says yes; empty asks for none."""
    log_level: str = "info"
    """What the log holds: "debug" (`OLLAMA_DEBUG`), "info", "warning" or "error"."""


class LimitsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`."""

    context: int = 4096
    """Context of each sequence in tokens where neither request nor model says (`OLLAMA_CONTEXT_LENGTH`)."""
    parallel: int = 4
    """Sequences side by side in one model (`OLLAMA_NUM_PARALLEL`)."""
    queue: int = 512
    """Requests that may wait for one model (`OLLAMA_MAX_QUEUE`); one more is 503."""
    queue_timeout: float = 0.0
    """Seconds that a request may wait for its turn, its model's load included, before it is 503; 0 is no bound."""
    keep_alive: float | str = "5m"
    """How long a model stays after its last request (`OLLAMA_KEEP_ALIVE`)."""
    template_timeout: float = 2.0
    """Seconds that rendering one prompt may take."""
    format_timeout: float = 0.8
    """Seconds that making sense of one `format` may take."""
    repeat: int = 30
    """An answer ends when its last token came more than this many times in a row; 0 lets it go on."""


class ResidencyRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[residency.models]]`: for models whose name matches a glob; the first that matches decides."""

    model: str
    """A glob over whole names, tag included."""
    keep_alive: float | str | None = None
    """How long they stay where a request does not say; unset, what the model itself says, or `limits.keep_alive`."""
    policy: str | None = None
    """As `residency.policy`."""

    def matches(self, name: str) -> bool:
        """Without regard to case, as names are compared everywhere."""
        return fnmatchcase(name.lower(), self.model.lower())


class ResidencyConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[residency]`: which models are in memory. Times in seconds, sizes in bytes."""

    max_loaded: int = 0
    """Models loaded at a time (`OLLAMA_MAX_LOADED_MODELS`); 0 is as many as there is memory for."""
    policy: str = "fixed"
    """Who decides how long a model stays: "fixed", "adaptive", or one that a plugin brings."""
    models: tuple[ResidencyRule, ...] = ()
    preload: tuple[str, ...] = ()
    """Models to load when the server starts."""
    memory_reserve: int = 0
    """System memory that a load must leave free."""
    gpu_overhead: int = 0
    """Memory of each GPU that a load must leave free (`OLLAMA_GPU_OVERHEAD`)."""
    load_timeout: float | str = "5m"
    """How long a load may go on without getting further (`OLLAMA_LOAD_TIMEOUT`); 0 is no bound."""
    stall_timeout: float = 60.0
    """How long a loaded model with work to do may give no sign of life before its process is ended."""
    quarantine: float = 60.0
    """How long a model that failed three times within a minute is left alone; longer each time it fails again."""
    runner_memory: int = 0
    """Address space that the process of one model may have, mapped weights included; 0 is no bound."""
    runner_nice: int | None = None
    """Niceness of these processes above the server's own: less than 0 lets them go before other programs. Unset, the
    server and they have one of -10, where the system allows it and the server was started with none."""


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
    model_type: str | None = None
    """What kind of model a `ggml` file is, where its header does not tell."""
    backend: str | None = None
    """The backend that must serve it."""
    projector: str | None = None
    """A second file, which makes images readable to the model (`mmproj`)."""
    draft: str | None = None
    """The file of a smaller model with the same vocabulary, which guesses tokens ahead."""
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
    """The backend's name, as `remuda plugins` lists it; `remote` is the upstreams."""
    upstreams: tuple[str, ...] = ()
    """With `remote`: the upstreams that may serve them, as `[upstreams]` names them; none named is all."""

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


class UpstreamConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[upstreams.NAME]`: another server, whose models are served here. Times in seconds."""

    kind: str = "ollama"
    """What it speaks: `ollama`, or `openai` for whatever is compatible with that."""
    url: str = ""
    """Its address: `http://10.0.0.5:11434`, `https://api.example.org/v1`."""
    urls: tuple[str, ...] = ()
    """Instead of `url`: the addresses of several servers that are alike, named NAME-1, NAME-2 and so on."""
    key_env: str = ""
    """The environment variable that holds its API key."""
    key_file: str = ""
    """Instead: the file that holds it."""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """Headers to send with every request."""
    ca_file: str = ""
    """Certificates to trust, in a PEM file, instead of the system's."""
    client_cert: str = ""
    """A PEM file with the certificate and the key to show to it."""
    verify: bool = True
    """Check its certificate; `false` trusts whoever answers."""
    connect_timeout: float = 5.0
    """How long connecting may take."""
    first_byte_timeout: float = 300.0
    """How long an answer may take to begin, the load of the model included; one in a single piece ten times as long."""
    stall_timeout: float = 60.0
    """How long an answer that has begun may stop between two lines."""
    weight: float = 1.0
    """Its share of the work, beside that of other upstreams that could do it."""
    parallel: int = 1000
    """Requests that it gets at a time; more wait here."""
    models: dict[str, str] = field(default_factory=dict[str, str])
    """Models by their names here, with their names there: `"gpt-4" = "llama3.2:3b"`."""
    allow: tuple[str, ...] = ("*",)
    """Globs over the names of its models: only these are served here; those in `models` always are."""
    deny: tuple[str, ...] = ()
    """Globs over the names of its models: these are not."""
    probe_model: str = ""
    """A model, by its name there, that must write a token before an upstream that failed is used again."""
    capabilities: tuple[str, ...] = ("completion", "tools")
    """What `/api/show` says of models whose server does not say it (`openai`)."""
    unsupported: str = "refuse"
    """What becomes of options that it cannot honour (`openai`): `refuse` answers 400, `ignore` leaves them out."""
    emulate: bool = False
    """Ask for a `format` in words and check the answer, where it cannot be enforced there (`openai`)."""


class RemoteConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[remote]`: how work is shared among upstreams. Times in seconds, sizes in bytes."""

    manage: tuple[str, ...] = ()
    """Where pull, create, copy and delete go when a request does not say: upstreams, `"*"` for all; none is here."""
    attempts: int = 3
    """Upstreams that are tried for one request before its answer has begun."""
    hedge: float = 0.0
    """After so long without an answer ask a second upstream as well and take whichever is first; 0 never does."""
    probe_interval: float = 10.0
    """How often each upstream is asked for its models and whether it is well."""
    failures: int = 5
    """Failures in a row after which an upstream is left alone."""
    cooldown: float = 10.0
    """For how long at first; twice as long each time it fails again, up to sixteen times."""
    affinity: bool = True
    """Prefer, for a conversation, the upstream that served its beginning."""
    max_line: int = 8 * 1024 * 1024
    """Longest line of an upstream's stream."""
    repair: int = 2
    """How often an answer that does not match its `format` is asked for again, where it is emulated."""


class PluginsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[plugins]`: which plugins there are, and how long a fault of theirs may be felt. Times in seconds."""

    enable: tuple[str, ...] = ("*",)
    """Names of plugins that are not Remuda's own, or globs over them: only these are loaded."""
    disable: tuple[str, ...] = ()
    """Names of plugins, Remuda's own included, or globs over them: these are not."""
    order: tuple[str, ...] = ()
    """Names of plugins that are registered in this order, after Remuda's own and before all others."""
    dir: str = ""
    """A folder of plugins that are single files (`REMUDA_PLUGINS_DIR`); `~` is the home folder."""
    budget: float = 1.0
    """How long a hook may take while requests are served, and a filter between two events."""
    faults: int = 5
    """Faults in a row after which such a hook or filter is left alone."""
    cooldown: float = 60.0
    """For how long; after that it is tried once."""
    start_timeout: float = 10.0
    """How long it may take to import a plugin, and each hook that is called once."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """`[plugins.settings.NAME]`: a table that the plugin of that name reads."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    server: ServerConfig = field(default_factory=ServerConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    models: dict[str, ModelConfig] = field(default_factory=dict[str, ModelConfig])
    routes: tuple[RouteConfig, ...] = ()
    store: StoreConfig = field(default_factory=StoreConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    residency: ResidencyConfig = field(default_factory=ResidencyConfig)
    upstreams: dict[str, UpstreamConfig] = field(default_factory=dict[str, UpstreamConfig])
    remote: RemoteConfig = field(default_factory=RemoteConfig)
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    """`[aliases]`: other names for models: `"gpt-4" = "llama3.2"`."""
    auto_pull: bool = False
    """Pull a model that is asked for and is not there, with progress lines in the stream."""
    go_template: bool | None = None
    """Which template to take where a model has two (`OLLAMA_GO_TEMPLATE`): `true` the one of its Modelfile, `false` the
    one in its weights; unset, the one that can say more."""
    backends: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """`[backends.NAME]`: a table handed to that backend as it is."""
    plugins: PluginsConfig = field(default_factory=PluginsConfig)

    @property
    def keep_alive(self) -> float:
        """Seconds; `math.inf` for ever."""
        value = parse_keep_alive(self.limits.keep_alive)
        assert value is not None
        return value

    @property
    def load_timeout(self) -> float:
        """Seconds; `math.inf` for no bound."""
        return parse_keep_alive(self.residency.load_timeout) or math.inf

    def residency_rule(self, name: str) -> ResidencyRule | None:
        """The first of `[[residency.models]]` that is for the model of this whole name, tag included."""
        return next((rule for rule in self.residency.models if rule.matches(name)), None)
