from __future__ import annotations

from pathlib import Path

import pytest

from remuda.config import Config, RouteConfig, StoreConfig
from remuda.dispatch import choose_backend
from remuda.errors import EngineError
from remuda.model import ModelEntry, parse_name
from remuda.pipeline import Pipeline
from remuda.pipeline.loading import Loading
from remuda.plugins import Plugins

FORMATS = {"one": frozenset({"gguf"}), "two": frozenset({"gguf", "ggml"})}


def _entry(backend: str | None = None, format: str = "gguf") -> ModelEntry:
    return ModelEntry(name=parse_name("Qwen:1b"), weights=Path("w"), backend=backend, format=format)


@pytest.mark.parametrize(
    ("entry", "routes", "selected", "expected"),
    [
        (_entry("model"), [RouteConfig(model="qwen*", backend="route")], "plugin", "route"),
        (_entry("model"), [RouteConfig(model="llama*", backend="route")], "plugin", "model"),
        (_entry(), [], "plugin", "plugin"),
        (_entry(), [], None, "one"),
        (_entry(format="ggml"), [], None, "two"),
    ],
)
def test_the_order_is_route_model_plugin_format(
    entry: ModelEntry, routes: list[RouteConfig], selected: str | None, expected: str
) -> None:
    assert choose_backend(entry, routes, lambda _: selected, FORMATS) == expected


def test_nothing_takes_it() -> None:
    with pytest.raises(EngineError, match=r"'onnx'.*one, two"):
        choose_backend(_entry(format="onnx"), [], lambda _: None, FORMATS)
    with pytest.raises(EngineError, match=r"'ggml'.*remuda\[ctransformers\]"):
        choose_backend(_entry(format="ggml"), [], lambda _: None, {})


def test_a_backend_that_is_not_there_is_no_fault_of_the_client(plugins: Plugins, tmp_path: Path) -> None:
    config = Config(store=StoreConfig(path=str(tmp_path)))
    loading = Loading(config, plugins, Pipeline(config, plugins).catalog)
    with pytest.raises(
        EngineError, match=r"there is no backend 'nope', which a route, .* wants; there are: .*scripted"
    ):
        loading.backend("nope")


def test_a_route_to_a_backend_that_is_not_there_is_told_at_the_start(
    plugins: Plugins, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    routes = (RouteConfig(model="*", backend="lamacpp"),)
    Pipeline(Config(routes=routes, store=StoreConfig(path=str(tmp_path))), plugins)
    assert "routes[0].backend: there is no backend 'lamacpp'; there are: " in caplog.text
