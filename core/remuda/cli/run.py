"""`remuda run`: one question, or a conversation."""

from __future__ import annotations

import sys
from typing import Any

import click

from .conversation import Conversation
from .embedded import reached_client
from .embedding import Embedding
from .group import INTERRUPTED, LoadPlugins
from .question import Question, question_from
from .ready import abilities
from .repl import Repl
from .values import format_from, option_from, think_from

__all__ = ["run"]

_EPILOG = """Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434). When nothing answers there and it is
this machine, a server is started for this one command, with the configuration file that `remuda serve` would read.
"""


class _Run(click.Command):
    """`--think` and `--truncate` alone mean true, and never take the word after them: the model or the prompt."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        flags = [f"{arg}=true" if arg in {"--think", "--truncate"} else arg for arg in args[:end]]
        return super().parse_args(ctx, flags + args[end:])


@click.command(cls=_Run, epilog=_EPILOG)
@click.argument("model")
@click.argument("prompt", nargs=-1)
@click.option("--verbose", is_flag=True, help="Write the times and rates to stderr after the answer.")
@click.option("--keepalive", metavar="TIME", help='How long the model stays loaded: "5m", "1h30m", "-1" for ever, "0".')
@click.option("--nowordwrap", is_flag=True, help="Do not wrap lines at words on a terminal.")
@click.option("--system", default="", metavar="TEXT", help="The system message.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the model; repeatable.")
@click.option(
    "--format", "format_text", metavar="F", help="Answer in this format: json, a JSON Schema, or @FILE with one."
)
@click.option(
    "--think",
    "think_text",
    metavar="[=V]",
    help="Think first: true (as without =V), false, high, medium, low or max.",
)
@click.option("--hidethinking", is_flag=True, help="Do not show what the model thinks.")
@click.option("--insecure", is_flag=True, help="When MODEL must be pulled: allow a registry without valid HTTPS.")
@click.option(
    "--dimensions", type=click.IntRange(1), metavar="N", help="Of a vector: only its first N numbers, at length 1."
)
@click.option(
    "--truncate",
    type=bool,
    metavar="[=V]",
    help="For a vector, cut a text that is too long: true (as without =V), or false, which makes it an error.",
)
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
    format_text: str | None,
    think_text: str | None,
    hidethinking: bool,
    insecure: bool,
    dimensions: int | None,
    truncate: bool | None,
) -> None:
    """Ask MODEL something, and write the answer as it comes. A model that is not there is pulled first.

    What is piped in is put before PROMPT. With neither, on a terminal, a conversation begins: type /? in it. Paths of
    images in PROMPT (.jpg, .jpeg, .png, .webp, beginning with /, ./, ../ or ~) are taken out, and the images are shown
    to the model. A model that makes vectors of texts writes that of PROMPT, as a JSON array.

    \b
      remuda run smollm2:135m "Why is the sky blue?"
      remuda run smollm2:135m --option temperature=0 --option num_predict=50 "Count to ten."
      remuda run smollm2:135m --format json "Three colours, as JSON."
      cat README.md | remuda run smollm2:135m "Sum this up:"
      remuda run smollm2:135m
    """
    typing = sys.stdin is not None and sys.stdin.isatty()  # None: it was closed before this process began
    piped = "" if typing or sys.stdin is None else sys.stdin.buffer.read().decode("utf-8", "replace")
    chosen = _options(options)
    think = think_from(think_text, "--think") if think_text is not None else None
    format = format_from(format_text, "--format") if format_text else None
    question = _question(piped, " ".join(prompt))
    try:
        with reached_client(load) as client:
            if "embedding" in abilities(client, model, insecure=insecure):
                Embedding(model, dimensions, truncate, keepalive).show(client, question.text)
                return
            talk = Conversation(
                client=client,
                model=model,
                keep_alive=keepalive,
                options=chosen,
                think=think,
                format=format,
                verbose=verbose,
                wrap=not nowordwrap,
                hide_thinking=hidethinking,
                system=system,
            )
            if question.text or question.images:
                talk.ask_once(question)
            else:
                talk.load()
                if typing and sys.stdout.isatty():
                    Repl(talk).run()
    except KeyboardInterrupt:
        click.echo()
        sys.exit(INTERRUPTED)


def _question(piped: str, typed: str) -> Question:
    """Only what was typed may name files: who wrote what is piped in need not be who runs this."""
    question = question_from(typed)
    return Question(" ".join(text for text in (piped, question.text) if text), question.images)


def _options(texts: tuple[str, ...]) -> dict[str, Any]:
    given: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--option")
        given.setdefault(name, []).append(value)
    return dict(option_from(name, values) for name, values in given.items())
