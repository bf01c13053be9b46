"""The group of all commands: the built-in ones, their aliases, and those that plugins add."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

import click

from ..config import Settings, find_file, load_settings
from ..errors import PluginError, RemudaError
from ..plugins import Plugins, load_plugins

__all__ = ["INTERRUPTED", "LoadPlugins", "RemudaCli", "make_cli"]


class LoadPlugins:
    """What every command finds in its context: a call that loads the plugins, once."""

    def __init__(self, given: Callable[[], Plugins] | None = None) -> None:
        """`given` makes the plugins; without it they are all that are installed and configured."""
        self._given = given
        self._plugins: Plugins | None = None

    def __call__(self, settings: Settings | None = None) -> Plugins:
        """`settings` are those that a command has read; without them the usual file is. The first call decides.

        Raises `ConfigError`.
        """
        if self._plugins is None:
            if self._given is not None:
                self._plugins = self._given()
            else:
                settings = settings or load_settings(find_file())
                self._plugins = load_plugins(config=settings.config, sources=settings.sources)
        return self._plugins


INTERRUPTED: Final = 130
"""The status of a command that Ctrl-C ended."""

_ALIASES = {"start": "serve", "ls": "list"}
"""Second names that the reference's command line has; help does not list them."""

_HELP = """A server that speaks the Ollama REST API, with a backend of your choice behind each model.

\b
  remuda serve                       start the server
  remuda run smollm2:135m "Hello!"   ask a model one thing
  remuda run smollm2:135m            talk with it
  remuda pull smollm2:135m           fetch a model from a registry
  remuda create mine -f Modelfile    make a model of your own
  remuda list                        the models there are

All commands but `serve`, `config`, `plugins` and `new-plugin` speak to the server that OLLAMA_HOST
names (default 127.0.0.1:11434).
"""


class RemudaCli(click.Group):
    """Built-in commands at once; plugins are loaded only for a command that is not built in, and for help."""

    def __init__(self, plugins: LoadPlugins) -> None:
        super().__init__(
            "remuda",
            help=_HELP,
            context_settings={"obj": plugins, "help_option_names": ["-h", "--help"], "max_content_width": 100},
        )
        self._load_plugins = plugins
        self._complete = False

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Raises `PluginError` if the name is taken: no plugin replaces another's command by accident.

        And for what is no command: it would break the help of all others.
        """
        proper = name or getattr(cmd, "name", "") or ""
        if not isinstance(cmd, click.Command) or not isinstance(proper, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            text = f"{proper!r} is added as a command, and is a {type(cmd).__name__}"
            raise PluginError(f"{text}\nFix: give add_command a click.Command, and a text as its name")
        if proper in self.commands or proper in _ALIASES:
            raise PluginError(f"the command {proper!r} exists already\nFix: give the plugin's command another name")
        super().add_command(cmd, name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        proper = _ALIASES.get(cmd_name, cmd_name)
        if proper not in self.commands:
            self._add_plugin_commands()
        return super().get_command(ctx, proper)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """With those of plugins, if the plugins can be had: help must not fail because of a setting."""
        try:
            self._add_plugin_commands()
        except RemudaError as error:
            click.echo(f"Warning: commands of plugins are not listed: {error}", err=True)
        return super().list_commands(ctx)

    def invoke(self, ctx: click.Context) -> Any:
        """Any error of the tree becomes `Error: message` and status 1, Ctrl-C status 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(err=True)
            sys.exit(INTERRUPTED)
        except RemudaError as error:
            raise click.ClickException(error.message) from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise click.ClickException("the output cannot be written: no space is left there") from None

    def _add_plugin_commands(self) -> None:
        if not self._complete:
            self._complete = True
            self._load_plugins().register_commands(self)


def make_cli(plugins: Callable[[], Plugins] | None = None) -> RemudaCli:
    """The whole command line. `plugins` makes them when they are first needed; without it they are all there are."""
    from .config import config_command
    from .cp import cp
    from .create import create
    from .new_plugin import new_plugin
    from .plugin_list import plugins_command
    from .pull import pull
    from .push import push
    from .rm import rm
    from .run import run
    from .serve import serve
    from .show import show
    from .stop import stop
    from .tables import list_command, ps
    from .upstreams import upstreams

    cli = RemudaCli(LoadPlugins(plugins))
    number = version("remuda")
    click.version_option(number, "-v", "--version", prog_name="remuda", message="%(prog)s version is %(version)s")(cli)
    models = (run, pull, create, show, list_command, ps, stop, cp, rm, push)
    commands = (serve, *models, upstreams, config_command, plugins_command, new_plugin)
    for command in commands:
        cli.add_command(command)
    return cli
