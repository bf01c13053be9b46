"""Adds the command `remuda receipts FILE`, which sums up what the plugin `receipts` wrote, model by model.

It needs no server and no settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from remuda import hookimpl


class Line(Struct, frozen=True):
    """What is read of a line; more may be in it."""

    model: str
    status: int
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    output_ns: int = 0


class Sum(Struct):
    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    output_ns: int = 0

    def add(self, line: Line) -> None:
        self.requests += 1
        self.failed += line.status >= 400
        self.prompt_tokens += line.prompt_tokens
        self.cached_tokens += line.cached_tokens
        self.output_tokens += line.output_tokens
        self.output_ns += line.output_ns

    def row(self) -> tuple[str, ...]:
        """The last is how many tokens a second came while answers were written."""
        speed = f"{self.output_tokens / self.output_ns * 1e9:.1f}" if self.output_ns else "-"
        counts = (self.requests, self.failed, self.prompt_tokens, self.cached_tokens, self.output_tokens)
        return (*map(str, counts), speed)


def summed(lines: Iterable[bytes]) -> tuple[dict[str, Sum], int]:
    """The sums by model, and how many lines are no receipts."""
    decoder = msgspec.json.Decoder(Line)
    sums: dict[str, Sum] = {}
    bad = 0
    for line in lines:
        try:
            receipt = decoder.decode(line)
        except msgspec.DecodeError:
            bad += 1
        else:
            sums.setdefault(receipt.model, Sum()).add(receipt)
    return sums, bad


@hookimpl
def remuda_register_commands(cli: click.Group) -> None:
    @cli.command()
    @click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
    def receipts(file: Path) -> None:  # pyright: ignore[reportUnusedFunction]: `cli` has it
        """Sum up the receipts in FILE: requests, failures and tokens of each model."""
        with file.open("rb") as lines:
            sums, bad = summed(lines)
        rows: list[tuple[str, ...]] = [("MODEL", "REQUESTS", "FAILED", "PROMPT", "CACHED", "OUTPUT", "TOK/S")]
        rows += [(model, *sums[model].row()) for model in sorted(sums)]
        for model, *numbers in rows:
            click.echo(f"{model:<32}" + "".join(f"{number:>12}" for number in numbers))
        if bad:
            click.echo(f"{bad} lines are no receipts, and do not count", err=True)
