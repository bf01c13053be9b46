"""A model's own `keep_alive`: from a Modelfile or a request into the store, and out again."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
from bad_gguf import LLAMA, RawTensor, make_gguf
from stored import layers_of, put_model

from remuda.cli.modelfile import recipe_from
from remuda.errors import BadRequest
from remuda.model import Catalog, ModelEntry, Store, parse_name
from remuda.model.create.recipe import parse_recipe
from remuda.model.modelfile import Command, parameter_commands, parameter_lines, parse_modelfile
from remuda.wire import CreateRequest, parse_options

WEIGHTS = make_gguf(LLAMA, [RawTensor("a", (1000, 1350))])
GOOD = [("1h", 3600.0), ("1h30m", 5400.0), (90, 90.0), (0, 0.0), ("0", 0.0), (-1, math.inf), ("-1", math.inf)]
BAD = ["soon", "", "5x", True, [], {"hours": 1}]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def _stored(store: Store, **parameters: Any) -> ModelEntry:
    put_model(store, "m", layers_of(WEIGHTS, params=parameters))
    return Catalog([], store).find("m")


@pytest.mark.parametrize(("written", "seconds"), GOOD)
def test_a_stored_model_has_its_own(store: Store, written: Any, seconds: float) -> None:
    entry = _stored(store, keep_alive=written, top_k=5)
    assert (entry.keep_alive, entry.fault) == (seconds, "")
    assert entry.options == {"top_k": 5}
    assert entry.parameters == {"keep_alive": written, "top_k": 5}


@pytest.mark.parametrize("parameters", [{}, {"keep_alive": None}])
def test_a_stored_model_may_have_none(
    store: Store, parameters: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert _stored(store, **parameters).keep_alive is None
    assert not caplog.records


@pytest.mark.parametrize("written", BAD)
def test_a_stored_model_with_one_that_cannot_be_is_served_without(
    store: Store, written: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        entry = _stored(store, keep_alive=written, top_k=5)
    assert (entry.keep_alive, entry.fault, entry.options) == (None, "", {"top_k": 5})
    [record] = caplog.records
    assert "m:latest is served without a keep_alive of its own" in record.getMessage()


@pytest.mark.parametrize(("written", "seconds"), GOOD)
def test_a_request_to_create_keeps_it_as_it_is_written(written: Any, seconds: float) -> None:
    recipe = parse_recipe(CreateRequest(model="new", base="m", parameters={"keep_alive": written, "top_k": 5}))
    assert recipe.parameters == {"keep_alive": written, "top_k": 5}


@pytest.mark.parametrize("written", BAD)
def test_a_request_to_create_is_refused_with_the_name(written: Any) -> None:
    with pytest.raises(BadRequest, match='parameter "keep_alive": '):
        parse_recipe(CreateRequest(model="new", base="m", parameters={"keep_alive": written}))


def test_a_modelfile_says_it_and_shows_it(tmp_path: Path) -> None:
    request = recipe_from(parse_modelfile("FROM m\nPARAMETER keep_alive 1h\nPARAMETER top_k 5"), tmp_path).request
    assert request.parameters == {"keep_alive": "1h", "top_k": 5}
    assert (
        parameter_lines(request.parameters) == 'keep_alive                     "1h"\ntop_k                          5'
    )
    assert list(parameter_commands(request.parameters)) == [
        Command("parameter", "keep_alive", "1h"),
        Command("parameter", "top_k", "5"),
    ]


@pytest.mark.parametrize("text", ["-1", "0", "300", "1h30m"])
def test_a_modelfile_that_is_shown_can_be_read_again(tmp_path: Path, text: str) -> None:
    request = recipe_from([Command("parameter", "keep_alive", text)], tmp_path).request
    [command] = parameter_commands(request.parameters or {})
    assert recipe_from([command], tmp_path).request.parameters == {"keep_alive": text}


def test_a_modelfile_with_one_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match='parameter "keep_alive": time: invalid duration "soon"'):
        recipe_from(parse_modelfile("FROM m\nPARAMETER keep_alive soon"), tmp_path)


def test_among_the_options_of_a_request_it_is_unknown() -> None:
    assert parse_options({"keep_alive": "1h", "top_k": 5}) == ({"top_k": 5}, ["keep_alive"])


def test_a_model_outside_the_store_has_none() -> None:
    assert ModelEntry(name=parse_name("m"), weights=Path("w")).keep_alive is None
