"""An engine with eyes, driven step by step, for the tests of images."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from tiny_engine import PLAIN

from remuda import Failed, LoadSpec, Sequence
from remuda.wire import Options
from remuda_llamacpp import _native
from remuda_llamacpp.engine import LlamaEngine

__all__ = ["EYES", "A", "B", "Viewer", "left_clean", "picture"]

EYES = ["mlp", "qwen2vl_merger", "gemma3", "idefics3"]


def picture(seed, size=(70, 50), kind="PNG"):
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind)
    return out.getvalue()


A, B = picture(1), picture(2)


class Viewer:
    """An engine, and what its sequences gave."""

    def __init__(self, weights, projector, **wish):
        options = Options(num_thread=1, num_batch=wish.pop("num_batch", None))
        spec = {"name": "tiny", "context": 512, "parallel": 3, "options": options, "settings": PLAIN, **wish}
        self.engine = LlamaEngine.load(LoadSpec(weights=str(weights), projector=projector and str(projector), **spec))
        self.texts = {}
        self.ends = {}

    def submit(self, id, text, *images, most=20, shift=False, **more):
        tokens, media = self.engine.tokenize_media(text, images)
        self.send(id, tokens, media, limit=len(tokens) + most, shift=shift, **more)
        return tokens, media

    def send(self, id, tokens, media, **more):
        options = Options(**{"temperature": 0.0, **more.pop("options", {})})
        more = {"limit": len(tokens) + 20, "shift": False, **more}
        self.engine.submit(Sequence(id=id, tokens=tokens, media=media, options=options, seed=1, **more))
        self.texts[id] = b""

    def step(self):
        events = self.engine.step()
        for event in events:
            self.texts[event.id] += getattr(event, "data", b"")
            if hasattr(event, "reason") or isinstance(event, Failed):
                self.ends[event.id] = event
        return events

    def run(self, *ids):
        for _ in range(2000):
            if not set(ids) & self.engine._live.keys():
                return [self.texts[id] for id in ids]
            self.step()
        raise AssertionError("no end")

    def see(self, text, *images, **more):
        self.submit(99, text, *images, **more)
        return self.run(99)[0]

    def cells(self):
        return [_native.memory_last(self.engine._memory, slot) + 1 for slot in range(self.engine.parallel)]


def left_clean(viewer):
    for id in list(viewer.engine._live):
        viewer.engine.cancel(id)
    assert sum(viewer.cells()) == 0, "cells left behind"
