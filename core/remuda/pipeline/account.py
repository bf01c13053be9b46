"""What a request cost and how it ended, told to the plugins that want to know, however it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import anyio.to_thread

from ..backend import Done
from ..errors import RemudaError, RequestCancelled
from ..hookspecs import Receipt
from ..model import ModelName
from ..plugins import Plugins
from .tally import Tally

__all__ = ["Account", "Accounts"]

_FAREWELL: Final = 2.0
"""Seconds in which plugins may take the receipts that wait for them when the server ends."""

_log = logging.getLogger("remuda.pipeline")


class Account:
    """To be filled in while the request is served."""

    def __init__(self) -> None:
        self.backend = ""
        self.done = Done(reason="")
        """`reason` is the receipt's own where nothing goes wrong."""
        self.load_ns = 0
        self.status = 200


class Accounts:
    """Opens an account for each request, and tells the plugins and the tally what came of it."""

    def __init__(self, plugins: Plugins) -> None:
        self.tally = Tally()
        self._plugins = plugins

    @contextmanager
    def opened(
        self, request_id: str, endpoint: str, typed: str, model: ModelName, ignored_options: tuple[str, ...] = ()
    ) -> Generator[Account, None, None]:
        """Round the work of one request: logs the options that nothing knows, and emits the receipt at the end.

        `typed` is the model's name as the client wrote it.
        """
        began = time.perf_counter_ns()
        if ignored_options:
            _log.warning("request %s: unknown options ignored: %s", request_id, ", ".join(ignored_options))
        account = Account()
        status, reason = RequestCancelled.status, "the client left"
        try:
            yield account
            status, reason = account.status, account.done.reason
        except RemudaError as error:
            status, reason = error.status, error.message
            raise
        except Exception as error:
            status, reason = 500, repr(error)
            raise
        finally:
            done = account.done
            receipt = Receipt(
                request_id=request_id,
                endpoint=endpoint,
                model=typed,
                backend=account.backend,
                status=status,
                reason=reason,
                prompt_tokens=done.prompt_tokens,
                cached_tokens=done.cached_tokens,
                output_tokens=done.output_tokens,
                total_ns=time.perf_counter_ns() - began,
                load_ns=account.load_ns,
                prompt_ns=done.prompt_ns,
                output_ns=done.output_ns,
                ignored_options=ignored_options,
            )
            self.tally.add(receipt, str(model))
            self._plugins.request_finished(receipt)

    async def close(self) -> None:
        """Returns once the plugins have all receipts, or do not take them."""
        if behind := await anyio.to_thread.run_sync(self._plugins.behind, _FAREWELL):
            text = "plugins that did not take all receipts within %g s: %s. Fix: do slow work elsewhere"
            _log.warning(text, _FAREWELL, ", ".join(behind))
