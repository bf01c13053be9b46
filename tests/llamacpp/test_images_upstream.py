"""An image stands in the cache as llama.cpp's own helper puts it there, number for number."""

from __future__ import annotations

import ctypes
import io
from contextlib import ExitStack
from importlib import import_module

import numpy as np
import pytest
from PIL import Image
from tiny_models import write_tiny_vision

from remuda import LoadSpec, Sequence
from remuda.wire import Options
from remuda_llamacpp import _native
from remuda_llamacpp.engine import LlamaEngine

llama = import_module("llama_cpp.llama_cpp")
mtmd = import_module("llama_cpp.mtmd_cpp")

pytestmark = pytest.mark.usefixtures("load")


def noise(seed, width, height):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def as_file(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def upstream(weights, projector, text, images):
    """The logits after the prompt, by `mtmd_helper_eval_chunks`, which reads an image in one decode."""
    with ExitStack() as undo:
        model = llama.llama_model_load_from_file(str(weights).encode(), llama.llama_model_default_params())
        undo.callback(llama.llama_model_free, model)
        params = llama.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = params.flash_attn_type = 1
        context = llama.llama_init_from_model(model, params)
        undo.callback(llama.llama_free, context)
        eye_params = mtmd.mtmd_context_params_default()
        eye_params.use_gpu = eye_params.warmup = eye_params.print_timings = False
        eye_params.n_threads = 1
        eye = mtmd.mtmd_init_from_file(str(projector).encode(), model, eye_params)
        undo.callback(mtmd.mtmd_free, eye)
        bitmaps = (ctypes.c_void_p * len(images))()
        for index, pixels in enumerate(images):
            data = pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
            bitmaps[index] = mtmd.mtmd_bitmap_init(pixels.shape[1], pixels.shape[0], data)
            undo.callback(mtmd.mtmd_bitmap_free, bitmaps[index])
        chunks = mtmd.mtmd_input_chunks_init()
        undo.callback(mtmd.mtmd_input_chunks_free, chunks)
        words = text.encode()
        given = mtmd.mtmd_input_text(text=words, text_len=len(words), add_special=True, parse_special=True)
        assert mtmd.mtmd_tokenize(eye, chunks, ctypes.byref(given), bitmaps, len(images)) == 0
        end = llama.llama_pos(0)
        assert mtmd.mtmd_helper_eval_chunks(eye, context, chunks, 0, 0, 512, True, ctypes.byref(end)) == 0
        vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
        return np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), (vocabulary,)).copy()


def ours(weights, projector, text, images, num_batch):
    options = Options(num_thread=1, num_batch=num_batch, temperature=0.0)
    spec = LoadSpec(
        name="tiny", weights=str(weights), projector=str(projector), context=512, parallel=2, options=options
    )
    engine = LlamaEngine.load(spec)
    try:
        tokens, media = engine.tokenize_media(text, images)
        engine.submit(Sequence(id=1, tokens=tokens, media=media, options=options, seed=1, limit=len(tokens) + 5))
        while not any(hasattr(event, "token") for event in engine.step()):
            pass
        return np.ctypeslib.as_array(_native.logits(engine._context, -1), (engine.vocabulary,)).copy()
    finally:
        engine.close()


@pytest.mark.parametrize("num_batch", [None, 7])
@pytest.mark.parametrize("eye", ["mlp", "qwen2vl_merger", "gemma3", "idefics3"])
def test_the_logits_are_those_of_llamacpps_own_helper(tmp_path, eye, num_batch, capfd):
    weights, projector = write_tiny_vision(tmp_path, eye=eye)
    one, other = noise(1, 100, 60), noise(2, 70, 130)
    expected = upstream(weights, projector, "see <__media__> and <__media__> now", [one, other])
    given = ours(weights, projector, "see [img-0] and [img-1] now", [as_file(one), as_file(other)], num_batch)
    capfd.readouterr()  # the helper talks a lot
    np.testing.assert_allclose(given, expected, atol=1e-5)
    assert np.ptp(expected) > 1
