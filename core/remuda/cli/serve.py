"""`remuda serve`: the server in the foreground."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import click

from ..config import VARIABLES, Config, Settings, find_file, load_settings
from ..errors import RemudaError
from ..model import ModelName, parse_name
from ..model.store import Store
from ..plugins import Plugins
from .conversation import HOW_TO_GET_A_MODEL
from .group import LoadPlugins

__all__ = ["announce", "serve"]

_MOST: Final = 20
"""Models that are named when the server starts."""

_EPILOG = f"""Environment: {", ".join(VARIABLES)}. They win over the configuration file, and the options here win over
both; `remuda config` shows what comes of it.
"""
_CHATTY: Final = ("asyncio", "httpcore", "httpx", "hypercorn")
"""Other people's loggers, whose details nobody asks for who wants to see ours."""

_log = logging.getLogger("remuda.server")


@click.command(epilog=_EPILOG)
@click.option("--host", metavar="ADDRESS", help="Where to listen; 0.0.0.0 is everywhere.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 takes a free one.  [default: 11434]")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A TOML file with settings.  [default: what REMUDA_CONFIG names, else ./remuda.toml, else "
    "~/.config/remuda/remuda.toml, where there is one]",
)
@click.option(
    "--plugins-dir",
    metavar="DIR",
    help="A folder of plugins that are single files.  [default: what REMUDA_PLUGINS_DIR or plugins.dir names]",
)
@click.pass_obj
def serve(load: LoadPlugins, host: str | None, port: int | None, config: Path | None, plugins_dir: str | None) -> None:
    """Start the server; Ctrl-C ends it once the running requests are done, a second Ctrl-C at once.

    \b
      remuda serve
      remuda serve --host 0.0.0.0 --port 8080
      remuda serve --config remuda.toml

    SIGHUP has it read the configuration file again. The log says what acts at once, and what after a restart.
    """

    options = {"--host": host, "--port": port, "--plugins-dir": plugins_dir}

    def read() -> Settings:
        return load_settings(find_file(config), options=options)

    def read_again() -> Config:
        settings = read()
        _log_source(settings)
        return settings.config

    settings = read()

    from ..server import RequestIdFilter, run_server

    _log_to_stderr(RequestIdFilter(), settings.config.server.log_level)
    _log_source(settings)
    plugins = load(settings)
    names = _offered(settings.config, plugins)
    sys.exit(run_server(settings.config, plugins, on_ready=lambda url: announce(url, names), read_config=read_again))


def announce(url: str, names: Sequence[str]) -> None:
    """Write to stderr where the server is, the models that it offers, and a line to try it with."""
    lines = [f"Listening on {url} (version {version('remuda')})"]
    if names:
        body = json.dumps({"model": names[0], "prompt": "Why is the sky blue?"})
        more = f", and {len(names) - _MOST} more" if len(names) > _MOST else ""
        lines += [f"Models: {', '.join(names[:_MOST])}{more}", "Try it:", f"  curl {url}/api/generate -d '{body}'"]
    else:
        lines += ["There are no models yet. To get a small one:", "  remuda pull smollm2:135m"]
        lines += ["or, once the server is stopped:", f"  {HOW_TO_GET_A_MODEL}"]
    click.echo("\n".join(lines), err=True)


def _offered(config: Config, plugins: Plugins) -> list[str]:
    """The models of plugins and of the configuration, then those of the store, if it can be read."""
    names = (*(entry.name for entry in plugins.models.values()), *map(parse_name, config.models))
    fixed = {name.key: name for name in names}
    stored: list[ModelName] = []
    with contextlib.suppress(RemudaError):
        stored = [name for name in Store(config.store.root).names() if name.key not in fixed]
    return [*sorted(map(str, fixed.values())), *sorted(map(str, stored))]


def _log_to_stderr(request_id: logging.Filter, level: str) -> None:
    # What no line of the log shows need not be found out for each of them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    handler.addFilter(request_id)
    handler.addFilter(_is_wanted)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(request_id)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def _is_wanted(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.INFO or not record.name.startswith(_CHATTY)


def _log_source(settings: Settings) -> None:
    _log.info("configuration file: %s", settings.file or "none")
    for sentence in settings.idle:
        _log.warning("%s", sentence)
