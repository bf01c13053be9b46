"""When a request that failed is tried again, and after what time."""

from __future__ import annotations

import random
from typing import Final

import anyio

from .errors import RegistryError

__all__ = ["Attempts"]

FIRST_WAIT: float = 0.5
"""Seconds after the first failure; doubled with every further one."""
_LONGEST_WAIT: Final = 15.0
_LONGEST_ASKED: Final = 60.0


class Attempts:
    """The failures of one thing that is tried until it works.

    attempts = Attempts(policy.retries)
    while True:
        try:
            return await once()
        except RegistryError as error:
            await attempts.failed(error)
    """

    def __init__(self, most: int) -> None:
        """`most` failures are forgiven."""
        self._left = most
        self._in_a_row = 0

    def progressed(self, more: int = 0) -> None:
        """Something was achieved: the next failure is waited for as the first one, and `more` are forgiven."""
        self._in_a_row = 0
        self._left += more

    async def failed(self, error: RegistryError) -> None:
        """Wait, and so much longer as it failed more often; or raise `error` where trying again is of no use.

        Waits are shortened at random by up to a half, so that parts that failed together do not come back together.
        """
        asked = error.retry_after
        if not error.transient or self._left <= 0 or (asked is not None and asked > _LONGEST_ASKED):
            raise error
        self._left -= 1
        wait = min(FIRST_WAIT * 2.0**self._in_a_row, _LONGEST_WAIT) * random.uniform(0.5, 1.0)
        self._in_a_row += 1
        await anyio.sleep(max(wait, asked or 0.0))
