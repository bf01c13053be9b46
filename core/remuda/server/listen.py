"""The listening socket, opened before anything else so that a taken port costs nobody a model load."""

from __future__ import annotations

import errno
import socket
from typing import Final

from ..config import Config
from ..errors import ConfigError

__all__ = ["BACKLOG", "bind"]

BACKLOG: Final = 4096
"""Connections that the kernel holds for us; 100, the usual default, triples the wait of 1,500 that come at once."""


def bind(config: Config) -> socket.socket:
    """A socket that listens on `config.server.host` and `port`; port 0 is any free one.

    Raises `ConfigError` that names the address and what to change.
    """
    host, port = config.server.host, config.server.port
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise ConfigError(
            f"cannot listen on {where}: nobody knows this host name; "
            "use an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"
        ) from None
    # A name such as localhost may stand for both families: clients that say 127.0.0.1 outnumber those that say ::1.
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(address)
        # At once: two sockets with SO_REUSEADDR may share a port until one of them listens.
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen on {where}: {_advice(error)}") from None
    return sock


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program uses this port; stop it, or choose another one with --port or OLLAMA_HOST"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; use one of its own, such as 127.0.0.1, or 0.0.0.0 for all of them"
        case errno.EACCES | errno.EPERM:
            return "the system does not allow it; ports below 1024 are reserved, choose a higher one with --port"
        case _:
            return f"{error.strerror}"
