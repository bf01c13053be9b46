"""What goes wrong between this server and a registry."""

from __future__ import annotations

from ...errors import RemudaError

__all__ = ["NotInRegistry", "RegistryError", "Unauthorized", "Unreachable"]


class RegistryError(RemudaError):
    """The message names the registry's host, or is what the registry said.

    `reply` is the status of the registry's reply, 0 where there was none; `transient` says that the same request may
    succeed later, and `retry_after` after how many seconds the registry said.
    """

    def __init__(
        self, message: str, *, reply: int = 0, transient: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.reply = reply
        self.transient = transient
        self.retry_after = retry_after


class Unreachable(RegistryError):
    """No connection could be made."""


class NotInRegistry(RegistryError):
    def __init__(self) -> None:
        super().__init__("file does not exist", reply=404)


class Unauthorized(RegistryError):
    def __init__(self) -> None:
        super().__init__("unauthorized: access denied", reply=401)
