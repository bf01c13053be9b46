"""Models made of weights in several files."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest
from bad_gguf import LLAMA, RawTensor, make_gguf
from creating import Bench, bench, tree

from remuda.errors import RemudaError
from remuda.model.gguf import check_gguf
from remuda.plugins import Plugins

pytestmark = pytest.mark.anyio


def shard(number: int, count: int, *, tensor: str = "") -> bytes:
    """Counted from 0. Only the first one says what the model is."""
    values = {"split.no": number, "split.count": count, "split.tensors.count": count}
    return make_gguf({**(LLAMA if number == 0 else {}), **values}, [RawTensor(tensor or f"t{number}", (8,))])


async def uploaded(made: Bench, count: int, name: str = "m") -> dict[str, str]:
    return {f"{name}-{n + 1:05}-of-{count:05}.gguf": await made.upload(shard(n, count)) for n in range(count)}


async def test_the_parts_become_one(tmp_path: Path, plugins: Plugins, no_blocking: None) -> None:
    async with bench(tmp_path, plugins) as made:
        lines = await made.create(files=await uploaded(made, 3, "dir/m"))
        layer = made.manifest()["layers"][0]
        assert lines == [
            *["parsing GGUF"] * 3,
            "validating GGUF model",
            "verifying conversion",
            f"using existing layer {layer['digest']}",
            "writing manifest",
            "success",
        ]
        header = check_gguf((await made.find()).weights)
        assert (header.shards, [tensor.name for tensor in header.tensor_list]) == (1, ["t0", "t1", "t2"])
        assert header.text("general.name") == "Tiny"


async def test_parts_go_with_a_projector(tmp_path: Path, plugins: Plugins) -> None:
    projector = make_gguf({"general.architecture": "clip", "general.type": "mmproj"})
    async with bench(tmp_path, plugins) as made:
        await made.create(files={**await uploaded(made, 2), "eye.gguf": await made.upload(projector)})
        assert [kind for kind, _ in made.layers()] == ["model", "projector"]


@pytest.mark.parametrize(
    ("renamed", "expected"),
    [
        ({}, "part 2 of 3 of a split model is missing: upload m-00002-of-00003.gguf too"),
        ({2: "m.gguf"}, "'m.gguf' is part 2 of 3 of a split model: it must be named <name>-00002-of-00003.gguf"),
        ({2: "m-00001-of-00003.gguf"}, "is part 2 of 3 of a split model: it must be named <name>-00002-of-00003.gguf"),
        ({2: "m-00002-of-00004.gguf"}, "is part 2 of 3 of a split model: it must be named <name>-00002-of-00003.gguf"),
        ({2: "n-00002-of-00003.gguf"}, "part 2 of 3 of a split model is missing: upload m-00002-of-00003.gguf too"),
    ],
)
async def test_parts_that_do_not_add_up(
    tmp_path: Path, plugins: Plugins, renamed: dict[int, str], expected: str
) -> None:
    async with bench(tmp_path, plugins) as made:
        first, third = [await made.upload(shard(n, 3)) for n in (0, 2)]
        files = {"m-00003-of-00003.gguf": third}
        for name in renamed.values():
            files[name] = await made.upload(shard(1, 3))
        files.setdefault("m-00001-of-00003.gguf", first)
        before = tree(made.root)
        async with aclosing(made.stream(files=files)) as stream:
            with pytest.raises(RemudaError) as caught:
                await anext(stream)
        assert caught.value.status == 400
        assert expected in caught.value.message
        assert tree(made.root) == before


async def test_parts_of_different_models(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins) as made:
        files = await uploaded(made, 2)
        files["m-00002-of-00002.gguf"] = await made.upload(shard(1, 2, tensor="t0"))
        before = tree(made.root)
        with pytest.raises(RemudaError, match="do not go together: the tensor 't0' is in two files"):
            await made.create(files=files)
        assert tree(made.root) == before
