"""What every reader of weights raises, whatever their format, so that callers can catch one thing."""

from __future__ import annotations

from ..errors import LoadFailed

__all__ = ["WeightsError"]


class WeightsError(LoadFailed):
    """The file cannot be used as weights; the message names what is wrong with it, never the path."""
