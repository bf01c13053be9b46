"""All pulls and pushes of a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from ...wire import ProgressResponse
from ..name import ModelName
from ..store import Store
from .download import Downloads
from .policy import TransferPolicy
from .pull import pull
from .push import push

__all__ = ["Transfers"]


class Transfers:
    def __init__(self, store: Store, policy: TransferPolicy) -> None:
        self._store = store
        self._policy = policy
        self._downloads = Downloads(store, policy)

    def pull(self, name: ModelName, *, insecure: bool = False) -> AsyncGenerator[ProgressResponse, None]:
        """Get a model, as lines of progress of which the last says `success` (Ollama API, "POST /api/pull").

        `insecure` is plain http. Closing the generator stops the download, unless others wait for it too; what came is
        kept, and the next pull goes on from there. Raises `RemudaError`.
        """
        return pull(self._store, self._downloads, self._policy, name, insecure=insecure)

    def push(self, name: ModelName, *, insecure: bool = False) -> AsyncGenerator[ProgressResponse, None]:
        """Put a model of the store into its registry (Ollama API, "POST /api/push"). Raises `RemudaError`."""
        return push(self._store, self._policy, name, insecure=insecure)

    async def close(self) -> None:
        """Stop all downloads; what came of them is kept."""
        await self._downloads.close()
