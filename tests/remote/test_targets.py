from __future__ import annotations

from typing import Any

import pytest

from remuda.config import UpstreamConfig
from remuda.errors import BadRequest
from remuda.model import ModelName, parse_name
from remuda.remote import DeedKind
from remuda_remote.member import Member
from remuda_remote.targets import chosen, managed, name_there

X = parse_name("x")


class Here:
    """An upstream that has what `has` says."""

    def __init__(self, name: str, *has: str, group: str = "", kind: str = "ollama", **settings: Any) -> None:
        config = UpstreamConfig(kind=kind, **settings)
        self.member = Member(name=name, group=group or name, kind=kind, url="", config=config, headers={})
        self._has = {parse_name(each).key for each in has}

    def offer(self, name: ModelName) -> str | None:
        return name.key if name.key in self._has else None


HERD = (
    Here("a", "x"),
    Here("gpu-1", "x", "only-1", group="gpu"),
    Here("gpu-2", "x", group="gpu"),
    Here("cloud", "x", "only-cloud", kind="openai"),
    Here("picky", deny=("secret*",), allow=("*:latest",), models={"public": "hidden:7b"}),
)


def where(
    kind: DeedKind,
    name: ModelName | None,
    *asked: str,
    here: bool = False,
    manage: tuple[str, ...] = (),
    route: tuple[str, ...] = (),
) -> tuple[str, ...]:
    return managed(kind, name, asked, here=here, upstreams=HERD, manage=manage, route=route)


def test_without_a_word_it_is_done_here() -> None:
    assert where("pull", X) == where("create", X) == where("copy", X, here=True) == where("delete", None) == ()
    assert where("delete", parse_name("nowhere")) == ()


@pytest.mark.parametrize("kind", ["copy", "delete", "push"])
def test_a_model_that_one_upstream_has_is_changed_there(kind: DeedKind) -> None:
    only = parse_name("only-1")
    assert where(kind, only) == ("gpu-1",)
    assert where(kind, only, here=True) == ()
    assert where(kind, only, route=("a", "gpu-2")) == ()
    assert where(kind, parse_name("only-cloud")) == ()


def test_a_model_that_several_have_needs_a_word() -> None:
    with pytest.raises(BadRequest, match=r"^model 'x:latest' is on the upstreams a, gpu-1, gpu-2: say which with"):
        where("delete", X)
    assert where("delete", X, route=("gpu-2",)) == ("gpu-2",)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (("a",), ("a",)),
        (("gpu-2", "a"), ("a", "gpu-2")),
        (("gpu", "gpu-1"), ("gpu-1", "gpu-2")),
        (("*",), ("a", "gpu-1", "gpu-2", "picky")),
        (("a", "*"), ("a", "gpu-1", "gpu-2", "picky")),
        (("here",), ()),
    ],
)
def test_upstreams_by_name(asked: tuple[str, ...], meant: tuple[str, ...]) -> None:
    assert where("pull", X, *asked) == meant
    assert where("pull", X, manage=asked) == meant
    assert where("pull", X, *asked, manage=("a",)) == meant


def test_all_are_those_that_have_it_for_what_needs_it() -> None:
    assert where("delete", X, "*") == where("copy", X, "*", here=True) == ("a", "gpu-1", "gpu-2")
    assert where("push", parse_name("nowhere"), "*") == ("a", "gpu-1", "gpu-2", "picky")
    assert where("delete", parse_name("only-1"), "gpu") == ("gpu-1", "gpu-2")


def test_a_request_stays_inside_the_route() -> None:
    assert where("pull", X, "*", route=("gpu",)) == ("gpu-1", "gpu-2")
    assert where("pull", X, "gpu", route=("gpu-2", "a")) == ("gpu-2",)
    for outside in ("gpu-1", "cloud", "nobody"):
        with pytest.raises(BadRequest) as caught:
            where("pull", X, outside, route=("a", "gpu-2"))
        assert caught.value.message == (
            f"the header X-Remuda-Upstream: there is no upstream '{outside}' that may be given model 'x:latest'; "
            "those that may are a, gpu-2"
        )


def test_settings_keep_models_away() -> None:
    for name in ("secret:latest", "x:7b", "hidden:7b"):
        with pytest.raises(BadRequest, match=r"no upstream 'picky' .*; those that may are a, gpu-1, gpu-2$"):
            where("pull", parse_name(name), "picky")
        assert where("pull", parse_name(name), "*") == ("a", "gpu-1", "gpu-2")
    assert where("pull", parse_name("Public"), "picky") == where("pull", None, "picky") == ("picky",)
    with pytest.raises(BadRequest, match=r"^remote\.manage: .*'picky' .* model 'x:7b'; none may$"):
        where("pull", parse_name("x:7b"), manage=("picky",), route=("picky",))


def test_only_one_kind_can_be_managed() -> None:
    with pytest.raises(BadRequest, match=r"upstream 'cloud' is not of the kind ollama"):
        where("pull", X, "cloud")
    with pytest.raises(BadRequest, match=r"no upstream of the kind ollama may be given model 'x:latest'$"):
        where("pull", X, "*", route=("cloud",))
    with pytest.raises(BadRequest, match=r"no upstream of the kind ollama may be given models$"):
        where("create", None, "*", route=("cloud",))


def test_here_stands_alone() -> None:
    assert where("delete", X, "here", "here", manage=("*",)) == ()
    with pytest.raises(BadRequest, match="`here` is this server itself"):
        where("delete", X, "here", "a")


def test_a_long_name_is_not_repeated_whole() -> None:
    with pytest.raises(BadRequest) as caught:
        where("pull", X, "n" * 100_000)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("public", "hidden:7b"),
        ("PUBLIC:latest", "hidden:7b"),
        ("hidden:7b", None),
        ("Secret-Thing", None),
        ("x:latest", "x:latest"),
        ("x:1b", None),
        ("me/X", "me/X:latest"),
        ("registry.ollama.ai/library/secret", None),
    ],
)
def test_what_a_model_is_called_there(name: str, there: str | None) -> None:
    assert name_there(HERD[-1].member.config, parse_name(name)) == there


def test_names_there_need_not_be_ours() -> None:
    config = UpstreamConfig(models={"gpt": "not a name at all"})
    assert name_there(config, parse_name("gpt")) == "not a name at all"
    assert name_there(config, X) == "x:latest"


def test_upstreams_by_their_names() -> None:
    assert [each.member.name for each in chosen(HERD, ("gpu-1", "a"))] == ["a", "gpu-1"]
    with pytest.raises(BadRequest, match="no upstream 'gone' any more"):
        chosen(HERD, ("a", "gone"))
