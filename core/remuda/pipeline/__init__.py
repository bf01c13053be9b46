"""One request's journey, shared by every endpoint and every dialect."""

from __future__ import annotations

from .flow import Flow
from .job import Job, Message
from .pipeline import Pipeline, ResponseStream

__all__ = ["Flow", "Job", "Message", "Pipeline", "ResponseStream"]
