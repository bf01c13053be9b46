"""A process that makes models and may die of it: `python creating_child.py FOLDER REQUEST...`, with requests as JSON.

An `upload` in a request is a file of this machine, to be the model's only file; an `outside` is one to be its base.
What became of each request, and the store before and after it, is printed as one JSON list a line.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from creating import bench, tree

from remuda.errors import RemudaError
from remuda.model import ModelEntry, parse_name
from remuda.plugins import load_plugins


async def main(folder: Path, requests: list[dict[str, Any]]) -> None:
    for request in requests:
        upload, outside = request.pop("upload", None), request.pop("outside", None)
        entries = [ModelEntry(name=parse_name("outside"), weights=Path(outside))] if outside else []
        async with bench(folder, load_plugins(), *entries) as made:
            if upload:
                request["files"] = {"a.gguf": await made.upload(Path(upload).read_bytes())}  # noqa: ASYNC240
            before = tree(made.root)
            try:
                outcome = (await made.create(**request))[-1]
            except RemudaError as error:
                outcome = f"{error.status} {error.message}"
            print(json.dumps([outcome, before, tree(made.root)]), flush=True)


asyncio.run(main(Path(sys.argv[1]), [json.loads(text) for text in sys.argv[2:]]))
