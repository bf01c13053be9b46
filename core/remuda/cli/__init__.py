"""The command `remuda`.

All commands but `serve` and `plugins` speak HTTP to a running server and know nothing of engines. Nothing here
imports Quart or Hypercorn until a server is really started: `remuda --help` answers at once.
"""

from __future__ import annotations

from .group import RemudaCli, make_cli

__all__ = ["RemudaCli", "main", "make_cli"]


def main() -> None:
    """The entry point: runs the command that `sys.argv` names and exits with its status."""
    make_cli().main(prog_name="remuda")
