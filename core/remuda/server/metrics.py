"""`/metrics`: figures of the server, of its requests and of the models in memory, for Prometheus. Not of the protocol.

A client must not be able to make series without end. So no label has a value that a client chose: routes are those that
there are, methods those of HTTP, and models those that were found, of which the tally bounds the number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from quart import Blueprint, Response

from .drain import Drain
from .exposition import CONTENT_TYPE, Family, exposition

if TYPE_CHECKING:
    from ..backend import ModelStats
    from ..pipeline import Pipeline
    from ..pipeline.tally import Tally
    from ..residency import Queued, Resident

__all__ = ["Replies", "metrics_routes"]

_OTHER: Final = "other"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECOND: Final = 1e9


class Replies:
    """Every reply of the server, counted by method, route and status."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, int]] = Counter()
        self._whole: dict[str, str] = {}
        self._open: dict[str, str] = {}
        """Routes with a variable part, by what comes before it."""

    def know(self, routes: Iterable[str]) -> None:
        """Routes as Werkzeug writes them; `<...>` is a variable part."""
        for route in routes:
            fixed, variable, _ = route.partition("<")
            (self._open if variable else self._whole)[fixed] = route

    def count(self, method: str, path: str, status: int) -> None:
        route = self._whole.get(path) or next((to for head, to in self._open.items() if path.startswith(head)), _OTHER)
        self.counts[method if method in _METHODS else _OTHER, route, status] += 1


def metrics_routes(pipeline: Pipeline, replies: Replies, drain: Drain) -> Blueprint:
    """`GET` answers `HEAD` too."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    async def metrics() -> Response:
        models, flow = await drain.wait_for(pipeline.stats()), pipeline.flow
        families = [
            _of_replies(replies),
            *_of_requests(flow.accounts.tally),
            _of_queues(models, flow.herd.queued()),
            *_of_models(models),
            *_of_engines(models),
        ]
        return Response(exposition(families), content_type=CONTENT_TYPE)

    return routes


def _of_replies(replies: Replies) -> Family:
    labels = ("method", "route", "status")
    family = Family("remuda_http_replies_total", "counter", "Replies to all HTTP requests.", *labels)
    for (method, route, status), count in replies.counts.items():
        family.add(count, method, route, str(status))
    return family


def _of_requests(tally: Tally) -> list[Family]:
    labels = ("endpoint", "model", "backend")
    requests = Family("remuda_requests_total", "counter", "Requests for models that have ended.", *labels, "status")
    durations = Family("remuda_request_duration_seconds", "histogram", "How long they took, waiting included.", *labels)
    phases = Family("remuda_phase_seconds_total", "counter", "Time they spent in each phase.", *labels, "phase")
    prompts = Family("remuda_prompt_tokens_total", "counter", "Tokens of their prompts.", *labels, "source")
    outputs = Family("remuda_output_tokens_total", "counter", "Tokens of their answers.", *labels)
    for kind, totals in tally.kinds.items():
        of = (kind.endpoint, kind.model, kind.backend)
        for status, count in totals.statuses.items():
            requests.add(count, *of, str(status))
        durations.add_histogram(totals.durations, tally.bounds, totals.total_ns / _SECOND, *of)
        phases.add(totals.load_ns / _SECOND, *of, "wait")
        phases.add(totals.prompt_ns / _SECOND, *of, "prompt")
        phases.add(totals.output_ns / _SECOND, *of, "output")
        prompts.add(max(0, totals.prompt_tokens - totals.cached_tokens), *of, "computed")
        prompts.add(totals.cached_tokens, *of, "cached")
        outputs.add(totals.output_tokens, *of)
    return [requests, durations, phases, prompts, outputs]


def _of_queues(models: Sequence[tuple[Resident, ModelStats]], queued: Iterable[Queued]) -> Family:
    family = Family("remuda_queue_length", "gauge", "Requests that wait here for a model.", "model")
    for resident, _ in models:
        family.add(0, str(resident.entry.name))
    for each in queued:
        family.add(1, str(each.entry.name))
    return family


def _of_models(models: Sequence[tuple[Resident, ModelStats]]) -> list[Family]:
    states = Family("remuda_model_loaded", "gauge", "1 for each model in memory.", "model", "state")
    running = Family("remuda_model_running", "gauge", "Requests that it works on.", "model")
    waiting = Family("remuda_model_waiting", "gauge", "Requests that it has taken and not begun.", "model")
    size = Family("remuda_model_size_bytes", "gauge", "Memory that it holds.", "model")
    vram = Family("remuda_model_size_vram_bytes", "gauge", "Of which on a GPU.", "model")
    steps = Family("remuda_model_steps_total", "counter", "Steps of work since its load.", "model")
    for resident, stats in models:
        name = str(resident.entry.name)
        states.add(1, name, str(resident.state))
        running.add(stats.running, name)
        waiting.add(stats.waiting, name)
        size.add(stats.size or resident.size, name)
        vram.add(stats.size_vram, name)
        steps.add(stats.steps, name)
    return [states, running, waiting, size, vram, steps]


def _of_engines(models: Sequence[tuple[Resident, ModelStats]]) -> list[Family]:
    """What only grows is a counter under a name of its own, as Prometheus wants it."""
    gauges = Family("remuda_engine", "gauge", "Figures of the model's engine.", "model", "name")
    counters: dict[str, Family] = {}
    for resident, stats in models:
        model = str(resident.entry.name)
        for name, value in stats.engine.items():
            if not (name.endswith("_total") and name.isascii() and name.isidentifier()):
                gauges.add(value, model, name)
                continue
            if name not in counters:
                counters[name] = Family(f"remuda_engine_{name}", "counter", "A figure of the model's engine.", "model")
            counters[name].add(value, model)
    return [gauges, *counters.values()]
