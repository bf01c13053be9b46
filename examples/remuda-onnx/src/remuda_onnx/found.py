"""Models in a folder of folders, each as it came from the hub, and the names that clients ask for.

A folder's name becomes that of a model, in lower case; how the weights are quantized becomes its tag: `model_q4.onnx`
in `SmolLM2-135M-Instruct-ONNX` is `smollm2-135m-instruct-onnx:q4`. The plain name stands for `model.onnx`, or for the
only file that there is.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from remuda.errors import LoadFailed

from .folder import TOKENIZER, Folder

__all__ = ["Found", "find_models"]

_WEIGHTS: Final = re.compile(r"model(?:_([A-Za-z0-9_.-]+))?\.onnx")
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9._-]+")

_log = logging.getLogger("remuda_onnx")


class Found(Struct, frozen=True, kw_only=True):
    name: str
    """With its tag, if that is not the plain one."""
    weights: Path
    context: int
    """Tokens that it was trained for; 0 if nothing says."""
    template: str | None
    """In Jinja."""


def find_models(folder: Path) -> Iterator[Found]:
    """By name. Blocking; of each model only the small files are read. What cannot be read is logged and left out."""
    for inner in sorted(path for path in folder.iterdir() if (path / TOKENIZER).is_file()):
        name = _NOT_IN_NAMES.sub("-", inner.name.lower()).strip("-._")
        files = _weights(inner)
        if not name or not files:
            continue
        try:
            told = Folder.of(next(iter(files.values())))
        except LoadFailed as error:
            _log.warning("the model in the folder %r is left out: %s", inner.name, error)
            continue
        for tag, path in files.items():
            plain = not tag or len(files) == 1
            yield Found(
                name=name if plain else f"{name}:{tag}",
                weights=path,
                context=told.context,
                template=_template(told),
            )


def _weights(folder: Path) -> dict[str, Path]:
    """By what follows `model_` in their names; empty for `model.onnx`."""
    paths = sorted((*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")))
    found = [(match[1] or "", path) for path in paths if (match := _WEIGHTS.fullmatch(path.name))]
    return dict(sorted(found, key=lambda pair: pair[0]))


def _template(folder: Folder) -> str | None:
    """With what it calls the tokens round a text: the server knows these of its own formats only."""
    if not folder.chat_template:
        return None
    named = {"bos_token": folder.bos_token, "eos_token": folder.eos_token}
    told = [f"{{%- set {name} = {json.dumps(token, ensure_ascii=False)} -%}}" for name, token in named.items() if token]
    return "".join(told) + folder.chat_template
