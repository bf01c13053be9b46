"""Between a runner's frames and the reader of one answer."""

from __future__ import annotations

import asyncio
from collections import deque

from .frames import News, SeqText, SeqVectors

__all__ = ["Mailbox"]

_MANY = 256
"""News that a reader may leave unread before they are merged."""


class Mailbox:
    """News of one sequence, for one reader. A slow reader costs the text it has not read, not an object a token."""

    def __init__(self) -> None:
        self.ended = False
        """No further news are to come."""
        self._news: deque[News | Exception] = deque()
        self._some = asyncio.Event()

    @property
    def answered(self) -> bool:
        """Nothing further is owed; the last of it may be unread."""
        return self.ended or (bool(self._news) and not isinstance(self._news[-1], (SeqText, SeqVectors)))

    def put(self, news: News | Exception) -> None:
        last = self._news[-1] if len(self._news) >= _MANY else None
        if isinstance(last, SeqText) and isinstance(news, SeqText):
            last.logprobs.extend(news.logprobs)
            self._news[-1] = SeqText(last.id, last.text + news.text, last.logprobs)
        else:
            self._news.append(news)
        self._some.set()

    async def get(self) -> News | Exception:
        while not self._news:
            self._some.clear()
            await self._some.wait()
        news = self._news.popleft()
        self.ended = not isinstance(news, (SeqText, SeqVectors))
        return news
