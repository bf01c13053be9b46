"""URLs as a registry writes them, taken apart once."""

from __future__ import annotations

from typing import Final, Self
from urllib.parse import quote, urljoin, urlsplit

from msgspec import Struct

from .errors import RegistryError

__all__ = ["Url"]

_PORTS: Final = {"http": 80, "https": 443}
_LONGEST: Final = 16 * 1024
# What may stand in a path or a query as it is. Signed URLs must go back letter by letter.
_KEPT: Final = "!#$%&'()*+,/:;=?@[]~|"


class Url(Struct, frozen=True):
    scheme: str
    """`http` or `https`."""
    host: str
    """Lower case, in ASCII."""
    port: int
    target: str
    """Path and query."""

    @staticmethod
    def default_port(scheme: str) -> int:
        return _PORTS[scheme]

    @property
    def explicit_port(self) -> int | None:
        """None for the scheme's own."""
        return None if self.port == _PORTS[self.scheme] else self.port

    @property
    def netloc(self) -> str:
        """The host and its port, which is always there."""
        return f"{self._bracketed}:{self.port}"

    @property
    def authority(self) -> str:
        """The host and, unless it is the scheme's own, its port: the header `Host`."""
        return self._bracketed if self.explicit_port is None else self.netloc

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """An absolute URL. Raises `RegistryError`."""
        try:
            if len(text) > _LONGEST:
                raise ValueError("too long")
            parts = urlsplit(text)
            host = (parts.hostname or "").encode("idna").decode().lower()
            port = parts.port
        except ValueError:
            raise RegistryError(f"the registry names a URL that cannot be read: {text[:100]!r}") from None
        if parts.scheme not in _PORTS or not host or parts.username is not None or port == 0:
            raise RegistryError(f"the registry names a URL that is not plain http or https: {text[:100]!r}")
        query = f"?{quote(parts.query, safe=_KEPT)}" if parts.query else ""
        target = f"{quote(parts.path, safe=_KEPT) or '/'}{query}"
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], target)

    def join(self, location: str) -> Url:
        """Where a reply's `Location` leads to. Raises `RegistryError`."""
        try:
            return Url.parse(urljoin(str(self), location))
        except ValueError:
            raise RegistryError(f"the registry names a URL that cannot be read: {location[:100]!r}") from None
