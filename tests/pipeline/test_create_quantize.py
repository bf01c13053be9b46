"""Models whose weights are written anew, by a backend that stands in for one that can do it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from bad_gguf import RawTensor, make_gguf
from creating import ROUNDED, Bench, Rounder, RounderPlugin, bench, tree
from tiny_models import write_tiny_llama

from remuda.config import Config
from remuda.errors import EngineError, RemudaError
from remuda.model import ModelEntry, parse_name
from remuda.plugins import Plugins

pytestmark = pytest.mark.anyio

FLOAT, HALF, K4, INTEGER, BRAIN = 0, 1, 12, 26, 30
SIZES = {FLOAT: 1024, HALF: 512, K4: 160, INTEGER: 1024, BRAIN: 512}
"""Bytes that 256 elements of a type take, up to where the next tensor begins."""
QUANTIZED = "quantization is only supported for F16, BF16 and F32 models"


@pytest.fixture(autouse=True)
def rounder(plugins: Plugins) -> None:
    plugins.add(RounderPlugin(), "rounder")
    Rounder.reset()


def weights(*types: int) -> bytes:
    """A model with a tensor of 256 elements for each of these types."""
    places = [sum(SIZES[each] for each in types[:n]) for n in range(len(types))]
    return make_gguf(tensors=[RawTensor(f"t{n}", (256,), types[n], place) for n, place in enumerate(places)])


async def test_from_a_file(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        precise = weights(HALF)
        events = await made.events(files={"a.gguf": await made.upload(precise)}, quantize="q4_k_m")
        total = len(Rounder.output)
        digest = made.manifest()["layers"][0]["digest"]
        assert [event.status for event in events] == [
            "parsing GGUF",
            *["quantizing F16 model to Q4_K_M"] * 2,
            "verifying conversion",
            f"creating new layer {digest}",
            "writing manifest",
            "success",
        ]
        assert [(event.digest, event.total, event.completed) for event in events[1:3]] == [
            ("0" * 19, total, total // 2),
            ("0" * 19, total, total),
        ]
        assert made.layers() == [("model", Rounder.output)]
        assert made.config()["file_type"] == "Q4_K_M"
        assert Rounder.asked == [(precise, "Q4_K_M")]
        assert not list(made.root.glob(".tmp-*"))


@pytest.mark.parametrize(
    ("types", "kind", "said"),
    [
        ((FLOAT,), "F16", "quantizing F32 model to F16"),
        ((BRAIN, FLOAT), "q8_0", "quantizing F32 model to Q8_0"),
        ((BRAIN, BRAIN, BRAIN, FLOAT), "q4_k_s", "quantizing BF16 model to Q4_K_S"),
        ((HALF, INTEGER), "Q4_K", "quantizing F16 model to Q4_K_M"),
    ],
)
async def test_what_weights_were(
    tmp_path: Path, plugins: Plugins, types: tuple[int, ...], kind: str, said: str
) -> None:
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        files = {"a.gguf": await made.upload(weights(*types))}
        assert said in await made.create(files=files, quantization=kind)
        assert Rounder.asked[0][1] == said.rpartition(" ")[2]


async def test_weights_that_are_so_already_stay(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        data = weights(HALF)
        lines = await made.create(files={"a.gguf": await made.upload(data)}, quantize="f16")
        assert lines[:3] == ["parsing GGUF", "validating GGUF model", "verifying conversion"]
        assert made.layers() == [("model", data)]
        assert not Rounder.asked


async def test_from_a_base(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        await made.create(model="base", files={"a.gguf": await made.upload(weights(HALF))}, system="x")
        before = made.layers("base")
        lines = await made.create(base="base", quantize="q8_0")
        assert lines[0] == "quantizing F16 model to Q8_0"
        assert made.layers() == [("model", Rounder.output), ("system", b"x")]
        assert made.manifest()["layers"][0]["from"] == "base:latest"
        assert (made.config()["file_type"], made.config("base")["file_type"]) == ("Q8_0", "Q4_1")
        assert made.layers("base") == before


async def test_a_model_outside_leaves_only_the_new_weights(tmp_path: Path, plugins: Plugins) -> None:
    path = write_tiny_llama(tmp_path / "llama.gguf")
    entry = ModelEntry(name=parse_name("outside"), weights=path)
    async with bench(tmp_path, plugins, entry, config=ROUNDED) as made:
        await made.create(base="outside", quantize="q8_0")
        assert made.layers() == [("model", Rounder.output)]
        assert len(list((made.root / "blobs").iterdir())) == 2
        assert made.manifest()["layers"][0]["from"] == "outside:latest"


async def test_a_draft_model(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        main, draft = weights(HALF), weights(FLOAT)
        lines = await made.create(
            files={"a.gguf": await made.upload(main)},
            draft_files={"d.gguf": await made.upload(draft)},
            draft_quantize="q8_0",
        )
        assert lines[:6] == [
            *["parsing GGUF"] * 2,
            *["quantizing F32 model to Q8_0"] * 2,
            "validating GGUF model",
            "verifying conversion",
        ]
        assert made.layers() == [("model", main), ("draft", Rounder.output)]
        assert Rounder.asked == [(draft, "Q8_0")]


@pytest.mark.parametrize("types", [(K4,), (HALF, K4), ()])
async def test_weights_that_cannot_be_quantized(tmp_path: Path, plugins: Plugins, types: tuple[int, ...]) -> None:
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        files = {"a.gguf": await made.upload(weights(*types))}
        assert await failure(made, files=files, quantize="q8_0") == (400, QUANTIZED)
        assert not Rounder.asked


async def test_a_model_that_is_no_gguf(tmp_path: Path, plugins: Plugins) -> None:
    script = tmp_path / "script.json"
    script.write_text("{}")
    entry = ModelEntry(name=parse_name("played"), weights=script, format="scripted")
    async with bench(tmp_path, plugins, entry, config=ROUNDED) as made:
        assert await failure(made, base="played", quantize="q8_0") == (400, QUANTIZED)
        assert await failure(made, base="x", remote_host="a", draft_quantize="q8_0") == (
            400,
            "--draft-quantize requires a DRAFT model",
        )


async def test_a_backend_that_cannot(tmp_path: Path, plugins: Plugins) -> None:
    routes = ROUNDED.routes[0]
    config = Config(routes=(type(routes)(model="*", backend="scripted"),))
    async with bench(tmp_path, plugins, config=config) as made:
        status, message = await failure(made, files={"a.gguf": await made.upload(weights(FLOAT))}, quantize="q8_0")
        assert (status, message[:39]) == (400, "the backend 'scripted' cannot quantize:")


@pytest.mark.parametrize("output", [b"", b"GGUF", make_gguf(tensors=[RawTensor("t", (2**20,))])])
async def test_an_output_that_is_not_sound_is_thrown_away(tmp_path: Path, plugins: Plugins, output: bytes) -> None:
    """Its tensors would hold what lies behind the file's end."""
    Rounder.output = output
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        files = {"a.gguf": await made.upload(weights(FLOAT))}
        before = tree(made.root)
        status, message = await failure(made, files=files, quantize="q8_0")
        assert (status, message[:35]) == (500, "the quantized weights are not sound")
        assert tree(made.root) == before


async def test_a_backend_that_fails_changes_nothing(tmp_path: Path, plugins: Plugins) -> None:
    Rounder.fault = EngineError("out of memory")
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        files = {"a.gguf": await made.upload(weights(FLOAT))}
        await made.create(files=files, system="old")
        before = tree(made.root)
        assert await failure(made, files=files, quantize="q8_0", system="new") == (500, "out of memory")
        assert tree(made.root) == before


async def test_a_client_that_leaves_stops_it(tmp_path: Path, plugins: Plugins, no_blocking: None) -> None:
    Rounder.waits = True
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        files = {"a.gguf": await made.upload(weights(FLOAT))}
        before = tree(made.root)
        async with aclosing(made.stream(files=files, quantize="q8_0")) as stream:
            async for event in stream:
                if event.total:
                    break
            assert Rounder.running == 1
            assert len(tree(made.root)) > len(before)
        assert Rounder.running == 0
        assert tree(made.root) == before


async def test_a_request_that_is_cancelled_stops_it(tmp_path: Path, plugins: Plugins) -> None:
    Rounder.waits = True
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        files = {"a.gguf": await made.upload(weights(FLOAT))}
        before = tree(made.root)
        begun = asyncio.Event()

        async def read() -> None:
            async with aclosing(made.stream(files=files, quantize="q8_0")) as stream:
                async for event in stream:
                    if event.total:
                        begun.set()

        reading = asyncio.create_task(read())
        await begun.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert Rounder.running == 0
        assert tree(made.root) == before


async def failure(made: Bench, **fields: Any) -> tuple[int, str]:
    with pytest.raises(RemudaError) as caught:
        await made.create(**fields)
    return caught.value.status, caught.value.message
