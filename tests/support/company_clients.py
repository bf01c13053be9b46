"""Clients who do whatever there is to be done with models, all at once, and judge each answer by itself.

Names are of two families, so that it is known what can be asked: those of `SCRIPTED` can be generated with, those of
`WEIGHTS` only have a model's looks.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import httpx
from bad_gguf import LLAMA, make_gguf
from registry import MODEL, Registry

__all__ = ["Company", "stock"]

CLIENTS = 8
SCRIPTED = ("s0", "s1", "s1:old", "S2")
WEIGHTS = ("w0", "w1", "w1:old")
IMAGE = "application/vnd.ollama.image."
BASES = ("one", "two", "three")
"""What the registry has, in the namespace `library`."""

ABSENT = re.compile(r"not found|does not exist|couldn't retrieve|is not among those that registry.allow lists")
"""What is said about a model, or a blob, that somebody removed."""


def stock(registry: Registry) -> None:
    """Models whose layers are partly the same."""
    config = json.dumps({"model_format": "scripted", "model_family": "script"}).encode()
    for number, base in enumerate(BASES):
        pieces = {"pieces": [f"{min(number, 1)}", " tick"]}
        registry.add_model(
            f"library/{base}:latest",
            {
                MODEL: json.dumps(pieces).encode() + b" " * 50_000,
                f"{IMAGE}template": b"{{ .System }}{{ .Prompt }}",
                f"{IMAGE}system": f"You are {base}.".encode(),
                f"{IMAGE}license": b"Do what you like.",
            },
            config,
        )


class Company:
    """A context manager. `servers` are URLs of servers with the same models; the first one can also generate.

    An error that leaves it carries the seed, the steps that ended as they must not, and all steps.
    """

    def __init__(self, servers: list[str], registry: Registry, seed: int) -> None:
        self._servers, self.registry, self._seed = servers, registry, seed
        self._stack = ExitStack()
        self.http: list[httpx.Client] = []
        self._lock = threading.Lock()
        self.history: list[str] = []
        self.uploaded: set[str] = set()
        """Digests that were uploaded, used or not."""
        self.faults: list[str] = []
        """Steps that ended as they must not."""
        self._shipped: list[set[str]] = []

    def __enter__(self) -> Company:
        for url in self._servers:
            self.http.append(self._stack.enter_context(httpx.Client(base_url=url, timeout=30)))
        self._shipped = [self._listed(http) for http in self.http]
        first = self.http[0]
        for base, name in zip(BASES, SCRIPTED, strict=False):
            source = self.registry.name(f"library/{base}:latest")
            assert first.post("/api/pull", json={"model": source, "insecure": True}).text.endswith('"success"}\n')
            assert first.post("/api/copy", json={"source": source, "destination": name}).is_success
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        if error is not None:
            error.add_note("\n".join([f"seed {self._seed}", *self.faults, "history:", *self.history]))

    def mingle(self, rounds: int, steps: int, check: Callable[[], None]) -> None:
        """Every client does so many steps; after each round nobody does anything, and `check` is called."""
        barrier = threading.Barrier(CLIENTS, check, timeout=60)
        failures: list[BaseException] = []

        def live(number: int) -> None:
            try:
                client = _Client(self, number, random.Random(f"{self._seed} {number}"))
                for _ in range(rounds):
                    for _ in range(steps):
                        client.step()
                    barrier.wait()
            except threading.BrokenBarrierError:
                pass
            except BaseException as error:
                failures.append(error)
                barrier.abort()

        threads = [threading.Thread(target=live, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for failure in failures:
            raise failure

    def names(self) -> list[set[str]]:
        """What each server lists, but for what it had in the beginning."""
        return [self._listed(http) - shipped for http, shipped in zip(self.http, self._shipped, strict=True)]

    def delete_all(self) -> None:
        """By all servers in turn."""
        for number, name in enumerate(sorted(self.names()[0])):
            http = self.http[number % len(self.http)]
            assert http.request("DELETE", "/api/delete", json={"model": name}).status_code == 200

    def _listed(self, http: httpx.Client) -> set[str]:
        return {model["name"] for model in http.get("/api/tags").json()["models"]}

    def note(self, line: str) -> int:
        """Its place in the history."""
        with self._lock:
            self.history.append(line)
            return len(self.history) - 1

    def judge(self, place: int, status: int, error: str, *, always: bool = False) -> None:
        """Note how a step ended. An error must be a refusal of what is not there any more; with `always` it is none."""
        with self._lock:
            self.history[place] += f" -> {status} {error}"
            if error and (always or status >= 500 or not ABSENT.search(error)):
                self.faults.append(self.history[place])


class _Client:
    def __init__(self, company: Company, number: int, choose: random.Random) -> None:
        self._company, self._number, self._choose = company, number, choose
        self.http = company.http
        self.registry = company.registry

    def step(self) -> None:
        kinds = {
            self._copy: 4, self._delete: 4, self._pull: 4, self._create: 4, self._build: 4, self._push: 1,
            self._show: 2, self._tags: 1, self._generate: 1,
        }  # fmt: skip
        [kind] = self._choose.choices(list(kinds), list(kinds.values()))
        kind()

    def _name(self, *families: tuple[str, ...]) -> str:
        return self._choose.choice([name for family in families for name in family])

    @property
    def _pulled(self) -> tuple[str, ...]:
        return tuple(self.registry.name(f"library/{base}:latest") for base in BASES)

    def _copy(self) -> None:
        if self._choose.random() < 0.7:
            source, target = self._name(SCRIPTED, self._pulled), self._name(SCRIPTED)
        else:
            source, target = self._name(WEIGHTS), self._name(WEIGHTS)
        self._ask("POST", "/api/copy", {"source": source, "destination": target})

    def _delete(self) -> None:
        self._ask("DELETE", "/api/delete", {"model": self._name(SCRIPTED, WEIGHTS, self._pulled)})

    def _pull(self) -> None:
        self._stream("/api/pull", {"model": self._name(self._pulled), "insecure": True}, always=True)

    def _push(self) -> None:
        self._stream("/api/push", {"model": self._name(self._pulled), "insecure": True})

    def _create(self) -> None:
        body: dict[str, Any] = {"model": self._name(SCRIPTED), "from": self._name(SCRIPTED)}
        if self._choose.random() < 0.7:
            body["system"] = f"You are number {self._choose.randrange(4)}."
        if self._choose.random() < 0.3:
            body["parameters"] = {"seed": self._choose.randrange(3)}
        self._stream("/api/create", body)

    def _build(self) -> None:
        """From a file that others may have as well, or may not."""
        fresh = self._choose.random() < 0.4
        name = f"{self._number} {self._choose.random()}" if fresh else f"{self._choose.randrange(2)}"
        data = make_gguf({**LLAMA, "general.name": name})
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._company.uploaded.add(digest)
        place = self._begin("POST /api/blobs", f"{digest[7:19]} {len(data)} bytes")
        reply = self._server().post(f"/api/blobs/{digest}", content=data)
        self._company.judge(place, reply.status_code, "" if reply.is_success else reply.text, always=True)
        body = {"model": self._name(WEIGHTS), "files": {"a.gguf": digest}, "system": f"{self._choose.randrange(2)}"}
        self._stream("/api/create", body)

    def _show(self) -> None:
        body = {"model": self._name(SCRIPTED, WEIGHTS, self._pulled), "verbose": self._choose.random() < 0.5}
        self._ask("POST", "/api/show", body)

    def _tags(self) -> None:
        self._ask("GET", "/api/tags", {})

    def _generate(self) -> None:
        body = {"model": self._name(SCRIPTED), "prompt": "hi", "stream": False}
        self._ask("POST", "/api/generate", body, self.http[0])

    def _server(self) -> httpx.Client:
        return self._choose.choice(self.http)

    def _begin(self, what: str, detail: object) -> int:
        return self._company.note(f"{self._number} {what} {detail}")

    def _ask(self, method: str, path: str, body: dict[str, Any], http: httpx.Client | None = None) -> None:
        place = self._begin(f"{method} {path}", body)
        reply = (http or self._server()).request(method, path, json=body)
        self._company.judge(place, reply.status_code, "" if reply.is_success else reply.json()["error"])

    def _stream(self, path: str, body: dict[str, Any], *, always: bool = False) -> None:
        """`always`: whatever others do, this succeeds."""
        http = self._server()
        stream = self._choose.random() < 0.6
        place = self._begin(f"POST {path}", {**body, "stream": stream})
        reply = http.post(path, json={**body, "stream": stream})
        lines = [json.loads(line) for line in reply.content.splitlines()]
        last = lines[-1]
        assert all("error" not in line for line in lines[:-1]), lines
        assert last.keys() == {"error"} or last == {"status": "success"}, lines
        self._company.judge(place, reply.status_code, last.get("error", ""), always=always)
