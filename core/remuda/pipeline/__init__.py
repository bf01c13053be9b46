"""One request's journey, shared by every endpoint and every dialect."""

from __future__ import annotations

from ..job import Job, Message
from .flow import Flow
from .pipeline import Pipeline
from .stream import ResponseStream

__all__ = ["Flow", "Job", "Message", "Pipeline", "ResponseStream"]
