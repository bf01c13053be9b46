"""`remuda serve`: the server in the foreground."""

from __future__ import annotations

import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path

import click
import msgspec

from ..config import Config, load_config
from ..model import parse_name
from ..plugins import Plugins
from .conversation import HOW_TO_GET_A_MODEL
from .group import LoadPlugins

__all__ = ["announce", "serve"]

_EPILOG = """Environment: OLLAMA_HOST (address), OLLAMA_KEEP_ALIVE, OLLAMA_CONTEXT_LENGTH, OLLAMA_NUM_PARALLEL,
OLLAMA_MAX_QUEUE, OLLAMA_ORIGINS. They win over the configuration file, and the options here win over both.
"""


@click.command(epilog=_EPILOG)
@click.option("--host", metavar="ADDRESS", help="Where to listen; 0.0.0.0 is everywhere.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 takes a free one.  [default: 11434]")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="REMUDA_CONFIG",
    show_envvar=True,
    help="A TOML file with settings.",
)
@click.pass_obj
def serve(load: LoadPlugins, host: str | None, port: int | None, config: Path | None) -> None:
    """Start the server; Ctrl-C ends it once the running requests are done, a second Ctrl-C at once.

    \b
      remuda serve
      remuda serve --host 0.0.0.0 --port 8080
      remuda serve --config remuda.toml
    """
    settings = _with_address(load_config(config), host, port)

    from ..server import RequestIdFilter, run_server

    _log_to_stderr(RequestIdFilter())
    plugins = load()
    sys.exit(run_server(settings, plugins, on_ready=lambda url: announce(url, settings, plugins)))


def announce(url: str, config: Config, plugins: Plugins) -> None:
    """Write to stderr where the server is, what it offers, and a line to try it with."""
    names = sorted({str(entry.name) for entry in plugins.models.values()} | {str(parse_name(n)) for n in config.models})
    lines = [f"Listening on {url} (version {version('remuda')})"]
    if names:
        body = json.dumps({"model": names[0], "prompt": "Why is the sky blue?"})
        lines += [f"Models: {', '.join(names)}", "Try it:", f"  curl {url}/api/generate -d '{body}'"]
    else:
        lines += ["There are no models yet. To get a small one, stop the server and:", f"  {HOW_TO_GET_A_MODEL}"]
    click.echo("\n".join(lines), err=True)


def _log_to_stderr(request_id: logging.Filter) -> None:
    handler = logging.StreamHandler()
    handler.addFilter(request_id)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(request_id)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _with_address(config: Config, host: str | None, port: int | None) -> Config:
    server = config.server
    if host is not None:
        server = msgspec.structs.replace(server, host=host)
    if port is not None:
        server = msgspec.structs.replace(server, port=port)
    return msgspec.structs.replace(config, server=server)
