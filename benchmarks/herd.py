"""`python -m benchmarks.herd`: many clients ask for more models than there is room for, at random, for minutes.

    make bench BENCH=herd BENCH_ARGS="--minutes 10"
    make bench BENCH=herd BENCH_ARGS="--minutes 2 --real"

Each client asks for one model after another, without a pause. Every answer is looked at: it must be whole, and that of
the model asked for. Loads and evictions are those in the server's log; processes are counted four times a second.
Bounded by minutes and requests; loopback only. The exit status is 1 unless all went well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
from msgspec import Struct, field, structs

from .herd_models import real_models, scripted_models
from .processes import Server

_PREDICT = 12
"""Tokens of an answer."""
_PACE = 0.25
"""Seconds between two looks at the processes."""


class _Answer(Struct, frozen=True):
    """One request: when it was sent, when the first and the last of the answer came, and what was wrong with it."""

    model: str
    sent: float
    first: float
    ended: float
    fault: str = ""


class _Log(Struct):
    """What the server's log says of loads."""

    loads: Counter[str] = field(default_factory=Counter[str])
    evictions: int = 0
    bad: list[str] = field(default_factory=list[str])
    """Lines that are warnings or worse."""
    lines: list[str] = field(default_factory=list[str])

    def take(self, line: str) -> None:
        self.lines.append(line)
        head, _, message = line.partition(": ")
        words = message.split()
        if words[1:3] == ["loaded", "in"]:
            self.loads[words[0].partition(":")[0]] += 1
        elif words[1:2] == ["unloaded"]:
            self.evictions += 1
        if any(level in head.split() for level in ("WARNING", "ERROR", "CRITICAL")):
            self.bad.append(line)


class _Watch:
    """Looks at the processes."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.runners: list[int] = []
        self.memory: list[tuple[float, float]] = []
        """Seconds, and mebibytes of the server itself."""

    async def run(self) -> None:
        while True:
            self.runners.append(len(runners_of(self._pid)))
            self.memory.append((time.monotonic(), _resident(self._pid)))
            await asyncio.sleep(_PACE)

    def slope(self) -> float:
        """Mebibytes in ten minutes, the first fifth left out."""
        late = self.memory[len(self.memory) // 5 :]
        return statistics.linear_regression(*zip(*late, strict=True)).slope * 600


def runners_of(pid: int) -> list[int]:
    """The living runner processes of a server."""
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in tasks.read_text().split():
            try:
                line = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            if b"remuda.runner.host" in line:  # what has ended and is not yet reaped has no command line
                found.append(int(child))
    return found


def _living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def _resident(pid: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


async def _ask(client: httpx.AsyncClient, model: str, patience: float) -> tuple[_Answer, str]:
    """One request, and the text of its answer."""
    body = {"model": model, "prompt": "hello", "raw": True, "options": {"temperature": 0, "num_predict": _PREDICT}}
    sent = time.monotonic()
    first, text, fault = 0.0, "", "no end"
    try:
        async with asyncio.timeout(patience), client.stream("POST", "/api/generate", json=body) as reply:
            async for line in reply.aiter_lines():
                first = first or time.monotonic()
                part = json.loads(line)
                if "error" in part:
                    fault = f"{reply.status_code}: {part['error']}"
                    break
                text += part["response"]
                if part["done"]:
                    fault = "" if part["model"] == model else f"an answer of {part['model']}"
    except TimeoutError:
        fault = "lost"
    except httpx.HTTPError as error:
        fault = repr(error)
    ended = time.monotonic()
    return _Answer(model, sent, first or ended, ended, fault), text


async def _client(
    client: httpx.AsyncClient, seed: int, texts: dict[str, str], until: float, most: int, patience: float
) -> list[_Answer]:
    chance, answers = random.Random(seed), list[_Answer]()
    names = list(texts)
    while time.monotonic() < until and len(answers) < most:
        model = chance.choice(names)
        answer, text = await _ask(client, model, patience)
        if not answer.fault and text != texts[model]:
            answer = structs.replace(answer, fault=f"another text: {text[:60]!r}")
        answers.append(answer)
    return answers


async def _measure(given: argparse.Namespace, folder: Path) -> tuple[list[_Answer], _Log, _Watch, list[int]]:
    config, texts = (real_models if given.real else scripted_models)(folder, given.models, given.room, given.seed)
    log = _Log()
    server = await Server.start(given.parallel, str(config), path=str(folder), on_line=log.take)
    watch = _Watch(server.pid)
    watching = asyncio.create_task(watch.run())
    try:
        limits = httpx.Limits(max_connections=given.clients)
        async with httpx.AsyncClient(base_url=server.url, timeout=None, limits=limits) as client:
            for name in texts:  # what it says alone is what it must say in company
                answer, text = await _ask(client, name, given.patience)
                if answer.fault or (texts[name] and text != texts[name]):
                    raise RuntimeError(f"{name} does not answer as it should: {answer.fault or text}")
                texts[name] = text
            log.loads.clear()
            log.evictions = 0
            until = time.monotonic() + given.minutes * 60
            most = -(-given.requests // given.clients)
            seeds = range(given.seed * 1000, given.seed * 1000 + given.clients)
            work = (_client(client, seed, texts, until, most, given.patience) for seed in seeds)
            answers = [each for one in await asyncio.gather(*work) for each in one]
    finally:
        watching.cancel()
        runners = runners_of(server.pid)
        seen = _Log(log.loads.copy(), log.evictions, list(log.bad))
        await server.stop()
        if given.log:
            given.log.write_text("".join(f"{line}\n" for line in log.lines))
    return answers, seen, watch, _living(runners)


def starvation(answers: list[_Answer]) -> float:
    """The longest time in which somebody waited for a model and nobody was served by it, seconds."""
    longest = 0.0
    served: dict[str, float] = {}
    for answer in sorted(answers, key=lambda each: each.first):
        longest = max(longest, answer.first - max(answer.sent, served.get(answer.model, 0.0)))
        served[answer.model] = answer.first
    return longest


def _print(given: argparse.Namespace, answers: list[_Answer], log: _Log, watch: _Watch, left: list[int]) -> bool:
    """The table. Whether all is well."""
    lost = sum(answer.fault == "lost" for answer in answers)
    wrong = [answer for answer in answers if answer.fault not in {"", "lost"}]
    waits = sorted(answer.first - answer.sent for answer in answers)
    seconds = max(answer.ended for answer in answers) - min(answer.sent for answer in answers)
    memory = f"{watch.memory[-1][1]:.1f}, {watch.slope():+.2f}"
    asked = Counter(answer.model for answer in answers)
    loads, apart = sum(log.loads.values()), len(answers) * (1 - given.room / given.models)
    rows = [
        ("minutes", f"{seconds / 60:.1f}"),
        ("requests (answered a second)", f"{len(answers)} ({len(answers) / seconds:.1f})"),
        ("errors", len(wrong)),
        (f"lost (no answer in {given.patience:g} s)", lost),
        ("loads (about as many if none were shared)", f"{loads} ({apart:.0f})"),
        ("requests for each load", f"{len(answers) / max(loads, 1):.2f}"),
        ("loads of each model / requests", ", ".join(f"{log.loads[name]}/{asked[name]}" for name in sorted(asked))),
        ("evictions", log.evictions),
        ("wait for the first token: median, p90, max, s", _spread(waits)),
        ("longest that a model kept all who waited for it waiting, s", f"{starvation(answers):.2f}"),
        ("runners at a time: most, mean", f"{max(watch.runners)}, {statistics.mean(watch.runners):.2f}"),
        ("runners left behind", len(left)),
        ("memory of the server: MiB at the end, slope in ten minutes", memory),
        ("warnings and errors in the log", len(log.bad)),
    ]
    kind = "tiny real" if given.real else "scripted"
    print(f"| {given.clients} clients, {given.models} {kind} models, room for {given.room} | |")
    print("|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")
    for text in (*(f"{answer.model}: {answer.fault}" for answer in wrong[:10]), *log.bad[:10]):
        print(text, file=sys.stderr)
    return not (wrong or lost or left or log.bad) and max(watch.runners) <= given.room


def _spread(waits: list[float]) -> str:
    return f"{statistics.median(waits):.2f}, {waits[int(len(waits) * 0.9)]:.2f}, {waits[-1]:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.herd", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--requests", type=int, default=50_000, help="at most (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, choices=range(1, 65), metavar="1..64")
    parser.add_argument("--models", type=int, default=6, choices=range(2, 33), metavar="2..32")
    parser.add_argument("--room", type=int, default=2, help="models in memory at a time (default: %(default)s)")
    parser.add_argument("--parallel", type=int, default=4, help="requests of one model side by side")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds after which a request counts as lost")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="write the server's log here")
    parser.add_argument("--real", action="store_true", help="small models of llama.cpp in place of scripted ones")
    given = parser.parse_args()
    given.minutes = min(given.minutes, 60.0)
    with tempfile.TemporaryDirectory() as folder:
        measured = asyncio.run(_measure(given, Path(folder)))
    return 0 if _print(given, *measured) else 1


if __name__ == "__main__":
    raise SystemExit(main())
