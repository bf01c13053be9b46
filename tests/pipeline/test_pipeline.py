"""The flow with a scripted engine in a real runner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from remuda import Receipt, hookimpl
from remuda.config import Config, LimitsConfig, ModelConfig
from remuda.errors import BadRequest, ConfigError, EngineError, ModelNotFound, RunnerDied
from remuda.hookspecs import RegisterFactory
from remuda.pipeline import Pipeline
from remuda.plugins import Plugins
from remuda.testing.scripted import Script

from .asking import ask, opened, stream

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_blocking")]

Make = Callable[..., Config]


class _Observer:
    def __init__(self) -> None:
        self.receipts: list[Receipt] = []

    @hookimpl
    def remuda_request_finished(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)


async def test_one_object_or_a_stream_say_the_same(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=Script(pieces=["a", "b"])), plugins) as pipeline:
        whole = await ask(pipeline, prompt="hi")
        lines = [line async for line in await stream(pipeline, prompt="hi")]
    assert "".join(line.response for line in lines) == whole.response == "ab"
    assert [line.done for line in lines] == [False, False, True]
    last = lines[-1]
    assert (last.done_reason, last.context, last.eval_count, last.prompt_eval_count) == ("stop", [104, 105, 1, 2], 2, 2)
    assert whole.total_duration >= whole.load_duration > 0
    assert last.total_duration >= last.prompt_eval_duration > 0


async def test_load_unload_and_ps(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=Script()), plugins) as pipeline:
        assert (await ask(pipeline, keep_alive=0)).done_reason == "unload"
        assert (await pipeline.ps()).models == []
        assert (await ask(pipeline, stream=True)).done_reason == "load"
        [loaded] = (await pipeline.ps()).models
        assert (loaded.name, loaded.context_length, loaded.size, loaded.running) == ("m:latest", 4096, 1000, 0)
        assert len(loaded.digest) == 64
        assert (await ask(pipeline, prompt="", keep_alive="0")).done_reason == "unload"
        assert (await pipeline.ps()).models == []


async def test_context_continues_and_raw_does_not_return_it(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=Script(pieces=["a"])), plugins) as pipeline:
        first = await ask(pipeline, prompt="hi")
        second = await ask(pipeline, prompt="yo", context=first.context)
        assert second.context == [*(first.context or []), ord("y"), ord("o"), 1]
        assert (await ask(pipeline, prompt="hi", raw=True)).context is None


@pytest.mark.parametrize(
    ("fields", "error", "word"),
    [
        ({"model": None}, BadRequest, "model is required"),
        ({"model": "a//b"}, BadRequest, "invalid model name"),
        ({"model": "Nope"}, ModelNotFound, "model 'Nope' not found"),
        ({"options": {"temperature": "hot"}}, BadRequest, "temperature"),
        ({"keep_alive": "soon"}, BadRequest, "soon"),
        ({"raw": True, "system": "s"}, BadRequest, "raw mode does not support template, system, or context"),
        ({"raw": True, "context": [1]}, BadRequest, "raw mode"),
        ({"top_logprobs": 21}, BadRequest, "top_logprobs must be between 0 and 20"),
        ({"top_logprobs": -1, "model": "nope"}, BadRequest, "top_logprobs must be between 0 and 20"),
        ({"format": "xml"}, BadRequest, r'invalid format: "\"xml\""; expected "json" or a valid JSON Schema object'),
        ({"images": ["aGk"]}, BadRequest, "illegal base64 data at input byte"),
        ({"suffix": "x"}, BadRequest, "registry.ollama.ai/library/m:latest does not support insert"),
        ({"template": "{{ .Prompt "}, BadRequest, "template: :1: unclosed action"),
        ({"think": True}, BadRequest, '"m" does not support thinking'),
        ({"think": "hard"}, BadRequest, 'invalid think value: "hard"'),
    ],
)
async def test_what_cannot_be_served_is_refused_before_any_load(
    scripted: Make, plugins: Plugins, fields: dict[str, Any], error: type[Exception], word: str
) -> None:
    async with opened(scripted(m=Script()), plugins) as pipeline:
        with pytest.raises(error) as caught:
            await ask(pipeline, **{"prompt": "hi", **fields})
        assert word in str(caught.value)
        assert (await pipeline.ps()).models == []


async def test_empty_values_ask_for_nothing(scripted: Make, plugins: Plugins) -> None:
    empty = {"format": "", "images": [], "suffix": "", "template": "", "think": False, "logprobs": False}
    async with opened(scripted(m=Script(pieces=["a"])), plugins) as pipeline:
        assert (await ask(pipeline, prompt="hi", **empty)).response == "a"


async def test_a_prompt_is_rendered_not_run(scripted: Make, plugins: Plugins) -> None:
    async with opened(scripted(m=Script()), plugins) as pipeline:
        reply = await ask(pipeline, prompt="hi", _debug_render_only=True)
    assert reply.debug_info is not None
    assert (reply.debug_info.rendered_template, reply.done) == ("hi", False)


async def test_num_ctx_bounds_the_sequence_and_grows_the_model(scripted: Make, plugins: Plugins) -> None:
    limits = LimitsConfig(context=64)
    async with opened(scripted(limits, m=Script(pieces=["a"])), plugins) as pipeline:
        reply = await ask(pipeline, prompt="p" * 100)
        assert reply.truncated
        assert reply.dropped_tokens == 100 - reply.prompt_eval_count
        with pytest.raises(BadRequest, match=r"100 tokens.*63"):
            await ask(pipeline, prompt="p" * 100, truncate=False)
        assert not (await ask(pipeline, prompt="p" * 100, options={"num_ctx": 200})).truncated
        assert (await pipeline.ps()).models[0].context_length == 200
        assert (await ask(pipeline, prompt="p" * 100)).truncated
        assert (await pipeline.ps()).models[0].context_length == 200


async def test_a_death_in_the_middle_is_an_error_and_the_next_request_works(scripted: Make, plugins: Plugins) -> None:
    script = Script(pieces=["a"], repeat=100, fault="kill", fault_at=3)
    async with opened(scripted(m=script, other=Script(pieces=["b"], repeat=20, delay=0.01)), plugins) as pipeline:
        other = asyncio.create_task(ask(pipeline, model="other", prompt="hi"))
        for _ in range(2):
            lines: list[str] = []
            with pytest.raises(RunnerDied):
                lines.extend([line.response async for line in await stream(pipeline, prompt="hi")])
        assert (await ask(pipeline, prompt="hi", options={"num_predict": 2})).response == "aa"
        assert (await other).response == "b" * 20


async def test_a_stream_closed_before_it_was_read_stops_the_work(scripted: Make, plugins: Plugins) -> None:
    script = Script(pieces=["a"], repeat=100_000, delay=0.001)
    async with opened(scripted(m=script), plugins) as pipeline:
        lines = await stream(pipeline, prompt="hi")
        assert (await pipeline.ps()).models[0].running == 1
        await lines.aclose()
        assert (await pipeline.ps()).models[0].running == 0


async def test_receipts_tell_how_each_request_ended(scripted: Make, plugins: Plugins) -> None:
    observer = _Observer()
    plugins.add(observer, "observer")
    script = Script(pieces=["a"], repeat=1000, delay=0.001)
    async with opened(scripted(m=script, bad=Script(refuse="too big")), plugins) as pipeline:
        await ask(pipeline, prompt="hi", options={"num_predict": 2, "mirostat": 1})
        with pytest.raises(EngineError):
            await ask(pipeline, model="bad", prompt="hi")
        lines = await stream(pipeline, prompt="hi")
        await lines.aclose()
    done, failed, left = observer.receipts
    assert (done.status, done.reason, done.output_tokens, done.ignored_options) == (200, "length", 2, ("mirostat",))
    assert done.backend == failed.backend == "scripted"
    assert (failed.status, failed.reason) == (500, "too big")
    assert left.status == 499


async def test_a_backend_that_cannot_be_imported_costs_only_its_own_models(scripted: Make, plugins: Plugins) -> None:
    class Broken:
        @hookimpl
        def remuda_register_backends(self, register: RegisterFactory) -> None:
            register("broken", "no_such_module:Backend")

    plugins.add(Broken(), "broken")
    async with opened(scripted(m=Script(pieces=["a"])), plugins) as pipeline:
        assert (await ask(pipeline, prompt="hi")).response == "a"
    assert "no_such_module" in next(plugin.fault for plugin in plugins.describe() if plugin.name == "broken")


async def test_a_loaded_model_is_shown_although_its_weights_are_gone(scripted: Make, plugins: Plugins) -> None:
    config = scripted(gone=Script(size=7), m=Script())
    async with opened(config, plugins) as pipeline:
        for model in ("gone", "m"):
            await ask(pipeline, model=model)
        await to_thread.run_sync(Path(config.models["gone"].path).unlink)
        loaded = {model.name: model for model in (await pipeline.ps()).models}
        assert set(loaded) == {"m:latest", "gone:latest"}
        gone = loaded["gone:latest"]
        assert (gone.size, gone.details.format, gone.digest) == (7, "scripted", "")


async def test_models_of_the_configuration_are_listed_and_checked(
    scripted: Make, plugins: Plugins, tmp_path: Path
) -> None:
    async with opened(scripted(m=Script()), plugins) as pipeline:
        listed = {model.name: model for model in (await pipeline.tags()).models}
    assert listed["m:latest"].details.format == "scripted"
    for model, word in (
        (ModelConfig(path=str(tmp_path / "none")), "path"),
        (ModelConfig(path=__file__, options={"top_k": "x"}), "top_k"),
        (ModelConfig(path=__file__, options={"tpo_k": 1}), "tpo_k"),
    ):
        with pytest.raises(ConfigError, match=word):
            await to_thread.run_sync(Pipeline, Config(models={"m": model}), plugins)


async def test_a_broken_file_is_left_out_of_the_list(plugins: Plugins, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"GGUF")
    async with opened(Config(models={"m": ModelConfig(path=str(tmp_path / "w"))}), plugins) as pipeline:
        assert "m:latest" not in {model.name for model in (await pipeline.tags()).models}
        with pytest.raises(EngineError, match="version"):
            await ask(pipeline, prompt="hi")
