"""Which upstream may serve what: routes, the header `X-Remuda-Upstream`, and upstreams that come and go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from faults import await_true, scripted_models
from fronting import Looking, asking, behind, ended, fronted, refused, states
from msgspec import structs
from upstream import Upstream

from remuda.config import RouteConfig, UpstreamConfig
from remuda.testing import LiveServer, Script, ScriptedPlugin

GENERATE = "POST /api/generate"
ALL = ("attic", "cellar", "barn")
either = pytest.mark.parametrize("job", [False, True], ids=["unread", "as a job"])


class House:
    """Three upstreams with the models `tiny` and `private`, the latter for the cellar alone, and a client."""

    def __init__(self, upstreams: dict[str, Upstream], live: LiveServer, http: httpx.Client) -> None:
        self.upstreams, self.live, self.http = upstreams, live, http

    def ask(self, model: str, asked: str = "") -> httpx.Response:
        headers = {"X-Remuda-Upstream": asked} if asked else {}
        body = {"model": model, "prompt": "hi", "stream": False}
        return self.http.post("/api/generate", json=body, headers=headers)

    def served(self, model: str, asked: str = "") -> str:
        """Who did it."""
        reply = self.ask(model, asked)
        assert reply.status_code == 200, reply.text
        return reply.json()["response"].removeprefix("from ")

    def counts(self) -> dict[str, int]:
        return {name: upstream.count(GENERATE) for name, upstream in self.upstreams.items()}


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, House]]:
    """By whether jobs are made of requests."""
    with ExitStack() as stack:
        yield {job: _house(stack, tmp_path_factory.mktemp("house"), job=job) for job in (False, True)}


def _house(stack: ExitStack, folder: Path, *, job: bool) -> House:
    models = ["tiny:latest", "private:latest"]
    upstreams = {name: stack.enter_context(Upstream([*models, f"of-{name}"], loaded=models)) for name in ALL}
    for name, upstream in upstreams.items():
        upstream.words = [f"from {name}"]
    routes = (
        RouteConfig(model="private:*", backend="remote", upstreams=("cellar",)),
        RouteConfig(model="of-barn:*", backend="scripted"),
    )
    here = Script(pieces=["from here"])
    config = fronted(
        {name: upstream.url for name, upstream in upstreams.items()},
        routes=routes,
        models=scripted_models(folder, {"here": here, "of-attic": here}),
    )
    plugins = [("scripted", ScriptedPlugin()), *([("looking", Looking())] if job else [])]
    return House(upstreams, *stack.enter_context(asking(config, *plugins)))


@either
def test_a_route_keeps_a_model_to_its_upstreams(houses: dict[bool, House], *, job: bool) -> None:
    house = houses[job]
    assert {house.served("private") for _ in range(5)} == {"cellar"}
    assert {house.served("tiny") for _ in range(6)} == set(ALL)


@either
@pytest.mark.parametrize("asked", ["attic", "barn", "attic, barn", "*", "attic,,attic"])
def test_a_request_may_choose(houses: dict[bool, House], asked: str, *, job: bool) -> None:
    allowed = set(ALL) if asked == "*" else {name.strip() for name in asked.split(",") if name.strip()}
    assert {houses[job].served("tiny", asked) for _ in range(4)} <= allowed


@either
@pytest.mark.parametrize(
    ("model", "asked", "words"),
    [
        ("private", "attic", "no upstream 'attic' that may serve model 'private:latest'; allowed: cellar"),
        ("private", "cellar, barn", "no upstream 'barn' that may serve model 'private:latest'; allowed: cellar"),
        ("tiny", "loft", "no upstream 'loft' that may serve model 'tiny:latest'; allowed: attic, cellar, barn"),
        ("tiny", "http://10.0.0.1", "X-Remuda-Upstream must name upstreams as `remuda upstreams` lists them"),
        ("tiny", ",", "X-Remuda-Upstream must name upstreams as `remuda upstreams` lists them"),
    ],
)
def test_but_not_what_its_route_leaves_out(
    houses: dict[bool, House], model: str, asked: str, words: str, *, job: bool
) -> None:
    house = houses[job]
    before = house.counts()
    assert words in refused(house.ask(model, asked), 400)
    assert house.counts() == before


@either
def test_models_of_this_machine_go_first_and_routes_keep_others_away(houses: dict[bool, House], *, job: bool) -> None:
    house = houses[job]
    before = house.counts()
    assert house.served("here") == "here"
    assert house.served("of-attic") == "here"
    assert refused(house.ask("of-barn"), 404) == "model 'of-barn' not found"
    assert house.counts() == before
    assert house.served("of-cellar") == "cellar"
    told = {model["name"]: model.get("upstreams", []) for model in house.http.get("/api/tags").json()["models"]}
    assert told["private:latest"] == ["cellar"]
    assert told["tiny:latest"] == [*ALL]
    assert told["of-attic:latest"] == []
    assert "of-barn:latest" not in told


@either
def test_nobody_has_it(houses: dict[bool, House], *, job: bool) -> None:
    """The words are as if there were no upstreams; nothing is pulled."""
    assert refused(houses[job].ask("nowhere"), 404) == "model 'nowhere' not found"
    assert not any(upstream.count("POST /api/pull") for upstream in houses[job].upstreams.values())
    assert refused(houses[job].ask("of-cellar", "attic"), 404) == (
        "model 'of-cellar:latest' not found at 'attic', which the request asks for"
    )


@either
def test_upstreams_come_and_go_while_it_runs(*, job: bool) -> None:
    plugins = [("looking", Looking())] if job else []
    with Upstream(["tiny", "old"]) as attic, Upstream(["tiny", "new"]) as cellar:
        attic.words, cellar.words, attic.delay = ["from attic"] * 30, ["from cellar"], 0.02
        config = fronted({"attic": attic.url})

        with asking(config, *plugins) as (live, http):

            def reload(**upstreams: UpstreamConfig) -> None:
                async def change() -> None:
                    live.pipeline.reload(structs.replace(config, upstreams=upstreams))

                live.call(change)

            def told(model: str) -> str:
                reply = http.post("/api/generate", json={"model": model, "prompt": "hi", "stream": False})
                return reply.json()["response"] if reply.status_code == 200 else refused(reply, 404)

            assert told("new") == "model 'new' not found"
            request = {"model": "tiny", "prompt": "hi"}
            with http.stream("POST", "/api/generate", json=request) as stream:
                attic.await_running(1)
                reload(attic=behind(attic.url), cellar=behind(cellar.url))
                assert set(states(http)) == {"attic", "cellar"}
                await_true(lambda: told("new") == "from cellar")
                reload(cellar=behind(cellar.url))
                assert set(states(http)) == {"cellar"}
                assert stream.read().count(b"from attic") == 30  # what had begun goes on
                assert len(ended(stream)) == 31
            attic.delay = 0
            assert told("old") == "model 'old' not found"
            assert told("tiny") == "from cellar"
            reload()
            assert told("tiny") == "model 'tiny' not found"
            assert http.get("/api/upstreams").json() == {"upstreams": []}
