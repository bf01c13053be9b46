"""`remuda run`: one question, or a conversation."""

from __future__ import annotations

import sys
from typing import Any

import click

from .conversation import Conversation, option_from
from .embedded import reached_client
from .group import LoadPlugins
from .repl import Repl

__all__ = ["run"]

_INTERRUPTED = 130
_EPILOG = """Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434). When nothing answers there and it is
this machine, a server is started for this one command, with the configuration that REMUDA_CONFIG names.
"""


@click.command(epilog=_EPILOG)
@click.argument("model")
@click.argument("prompt", nargs=-1)
@click.option("--verbose", is_flag=True, help="Write the times and rates to stderr after the answer.")
@click.option("--keepalive", metavar="TIME", help='How long the model stays loaded: "5m", "1h30m", "-1" for ever, "0".')
@click.option("--nowordwrap", is_flag=True, help="Do not wrap lines at words on a terminal.")
@click.option("--system", default="", metavar="TEXT", help="The system message.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the model; repeatable.")
@click.pass_obj
def run(
    load: LoadPlugins,
    model: str,
    prompt: tuple[str, ...],
    verbose: bool,
    keepalive: str | None,
    nowordwrap: bool,
    system: str,
    options: tuple[str, ...],
) -> None:
    """Ask MODEL something, and write the answer as it comes.

    What is piped in is put before PROMPT. With neither, on a terminal, a conversation begins: type /? in it.

    \b
      remuda run smollm2:135m "Why is the sky blue?"
      remuda run smollm2:135m --option temperature=0 --option num_predict=50 "Count to ten."
      cat README.md | remuda run smollm2:135m "Sum this up:"
      remuda run smollm2:135m
    """
    typing = sys.stdin is not None and sys.stdin.isatty()  # None: it was closed before this process began
    piped = "" if typing or sys.stdin is None else sys.stdin.buffer.read().decode("utf-8", "replace")
    question = " ".join((*([piped] if piped else []), *prompt))
    chosen = _options(options)
    try:
        with reached_client(load) as client:
            talk = Conversation(
                client=client,
                model=model,
                keep_alive=keepalive,
                options=chosen,
                verbose=verbose,
                wrap=not nowordwrap,
                system=system,
            )
            if question:
                talk.ask(question)
            else:
                talk.load()
                if typing and sys.stdout.isatty():
                    Repl(talk).run()
    except KeyboardInterrupt:
        click.echo()
        sys.exit(_INTERRUPTED)


def _options(texts: tuple[str, ...]) -> dict[str, Any]:
    given: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--option")
        given.setdefault(name, []).append(value)
    return dict(option_from(name, values) for name, values in given.items())
