"""Which upstreams have a model, and which of them may serve it."""

from __future__ import annotations

import pytest
from pooling import Pools, Server, listed, ps, refused, upstreams, wanted

from remuda.errors import BadRequest, ModelNotFound, NotFound, Unavailable
from remuda.model import parse_name
from remuda.remote import Wanted

pytestmark = pytest.mark.anyio


def names(pools: Pools, want: Wanted) -> list[str]:
    return [upstream.name for upstream in pools.pool.candidates(want)]


def test_what_an_upstream_lists_by_its_shortest_name() -> None:
    pools = Pools({"upstreams": upstreams("a")}, a=["llama3.2:3b", "Org/Model", "qwen", "not a name!"])
    assert sorted(str(offer.name) for offer in pools["a"].offers.values()) == [
        "Org/Model:latest",
        "llama3.2:3b",
        "qwen:latest",
    ]
    offer = pools["a"].offer(parse_name("ORG/model"))
    assert offer is not None
    assert offer.there == "Org/Model"
    assert offer.tag is not None
    assert (offer.tag.name, offer.tag.model) == ("Org/Model:latest", "Org/Model:latest")
    assert pools.pool.offers(parse_name("qwen:LATEST"))
    assert not pools.pool.offers(parse_name("qwen:7b"))


def test_allow_and_deny_are_globs_over_names_there() -> None:
    table = upstreams("a", allow=["llama*", "*:8B"], deny=["*-secret:*"])
    pools = Pools({"upstreams": table}, a=["Llama3.2:3b", "qwen:8b", "qwen:7b", "llama-secret"])
    assert sorted(pools["a"].offers) == [parse_name("llama3.2:3b").key, parse_name("qwen:8b").key]


def test_a_mapped_model_goes_by_its_public_name_only() -> None:
    table = upstreams("a", models={"gpt-4": "llama3.2", "best": "llama3.2:latest", "gone": "nothing:1b"}, deny=["*"])
    pools = Pools({"upstreams": table})
    upstream = pools["a"]
    assert {str(offer.name): offer.there for offer in upstream.offers.values()} == {
        "gpt-4:latest": "llama3.2",
        "best:latest": "llama3.2:latest",
        "gone:latest": "nothing:1b",
    }
    upstream.learn([listed("llama3.2:latest"), listed("other:latest")], [ps("llama3.2:latest"), ps("other:latest")])
    assert not pools.pool.offers(parse_name("llama3.2"))
    assert {str(offer.name): offer.tag is not None for offer in upstream.offers.values()} == {
        "gpt-4:latest": True,
        "best:latest": True,
        "gone:latest": False,
    }
    assert {model.name for model in upstream.loaded.values()} == {"gpt-4:latest", "best:latest"}


def test_a_map_does_not_hide_a_listed_model_of_another_name() -> None:
    pools = Pools({"upstreams": upstreams("a", models={"m": "x"})}, a=["x", "m", "y"])
    assert {str(offer.name): offer.there for offer in pools["a"].offers.values()} == {"m:latest": "x", "y:latest": "y"}


def test_the_first_remote_route_that_matches_restricts() -> None:
    settings = {
        "upstreams": upstreams("a", "b") | {"gpu": {"urls": ["http://g1.test", "http://g2.test"]}},
        "routes": [
            {"model": "m:*", "backend": "llamacpp"},
            {"model": "m*", "backend": "remote", "upstreams": ["gpu", "b"]},
            {"model": "*", "backend": "remote", "upstreams": ["a"]},
        ],
    }
    every = {"a": ["m", "n"], "b": ["m", "n"], "gpu-1": ["m"], "gpu-2": ["m"]}
    pools = Pools(settings, **every)
    assert pools.pool.route(parse_name("M")) == ("gpu", "b")
    assert names(pools, wanted("m")) == ["b", "gpu-1", "gpu-2"]
    assert names(pools, wanted("n")) == ["a"]
    assert names(pools, wanted("m", asked=("gpu-2",))) == ["gpu-2"]
    assert names(pools, wanted("m", asked=("gpu",))) == ["gpu-1", "gpu-2"]
    assert names(pools, wanted("m", asked=("*",))) == ["b", "gpu-1", "gpu-2"]
    for outside in (("a",), ("b", "a"), ("nobody",)):
        with pytest.raises(BadRequest) as caught:
            pools.pool.candidates(wanted("m", asked=outside))
        assert f"'{outside[-1]}'" in str(caught.value)
        assert str(caught.value).endswith("allowed: b, gpu-1, gpu-2")


def test_a_route_that_keeps_a_model_from_those_who_have_it() -> None:
    settings = {
        "upstreams": upstreams("a", "b"),
        "routes": [{"model": "m*", "backend": "remote", "upstreams": ["b"]}],
    }
    pools = Pools(settings, a=["m"])
    assert not pools.pool.offers(parse_name("m"))
    assert names(pools, wanted()) == []


async def test_a_model_that_nobody_has() -> None:
    pools = Pools({"upstreams": upstreams("a", "b")}, a=["m"])
    with pytest.raises(ModelNotFound, match="model 'x:latest' not found"):
        await pools.run(wanted("x"))
    with pytest.raises(NotFound, match="not found at 'b'"):
        await pools.run(wanted("m", asked=("b",)))
    assert pools.attempts == []


async def test_an_upstream_without_the_model_after_all_is_not_asked_for_it_until_it_lists_it_again() -> None:
    pools = Pools({"upstreams": upstreams("a", "b")}, a=["m", "n"], b=["m"])
    lacking = refused(404, "model 'm' not found")
    assert await pools.once(wanted(), lacking) == "b"
    assert names(pools, wanted()) == ["b"]
    assert names(pools, wanted("n")) == ["a"]
    assert pools["a"].breaker.row == 0
    pools["a"].learn([listed("m"), listed("n")], None)
    assert names(pools, wanted()) == ["a", "b"]


def test_a_list_that_is_as_before_is_not_worked_through_again() -> None:
    pools = Pools({"upstreams": upstreams("a")}, a=["m", "n"])
    before = pools["a"].offers
    pools["a"].learn([listed("m"), listed("n")], [ps("n")])
    assert pools["a"].offers is before
    assert list(pools["a"].loaded) == [parse_name("n").key]
    pools["a"].learn([listed("m")], [])
    assert list(pools["a"].offers) == [parse_name("m").key]
    assert not pools["a"].loaded


async def test_no_such_route_is_not_a_missing_model() -> None:
    pools = Pools({"upstreams": upstreams("a")}, a=["m"])
    with pytest.raises(NotFound):
        await pools.run(wanted(), refused(404, "404 page not found"))
    assert names(pools, wanted()) == ["a"]


async def test_looking_for_a_model_asks_those_that_were_not_asked_for_a_second() -> None:
    pools = Pools({"upstreams": upstreams("a", "b")}, {"a": Server("m"), "b": Server("m")})
    name = parse_name("n")
    with pytest.raises(Unavailable, match="'a', 'b' could not be asked yet"):
        await pools.pool.look(name)
    pools.pool.start()
    try:
        assert await pools.pool.look(parse_name("m"))
        assert not await pools.pool.look(name)
        probes = pools.servers["b"].probes
        pools.servers["b"].has.append("n")
        assert not await pools.pool.look(name)
        assert pools.servers["b"].probes == probes
        pools.time.now += 1.5
        assert await pools.pool.look(name)
        assert pools.servers["b"].probes == probes + 1
    finally:
        await pools.pool.close()
