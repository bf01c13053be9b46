"""Bad images, bad projectors, early ends: who asked is told, nobody else notices, and nothing is left behind."""

from __future__ import annotations

import gc
import struct
import weakref
import zlib

import pytest
from tiny_models import write_tiny_llama, write_tiny_projector
from viewer import EYES, A, B, Viewer, left_clean, picture

from remuda.engine import Engine
from remuda.errors import BadRequest, LoadFailed
from remuda.wire.images import MAX_IMAGES
from remuda_llamacpp import _native
from remuda_llamacpp.images import _mtmd

MEDIA = Engine.MEDIA


# --- bounds and bad files ---


def png_of(width, height, pixels=b""):
    def part(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(pixels)) + part(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0" * 100, id="zeros"),
        pytest.param(A[:8], id="only a signature"),
        pytest.param(A[:33], id="only a header"),
        pytest.param(A[: len(A) // 2], id="half a PNG"),
        pytest.param(A[:41] + bytes(50) + A[91:], id="a damaged PNG"),
        pytest.param(png_of(65535, 65535), id="a bomb"),
        pytest.param(png_of(16384, 8192), id="more pixels than allowed"),
        pytest.param(png_of(100, 100, b"\0" * 50), id="fewer pixels than promised"),
        pytest.param(picture(1, kind="JPEG")[:400], id="half a JPEG"),
        pytest.param(picture(1, kind="GIF")[:900], id="half a GIF"),
        pytest.param(picture(1, kind="BMP")[:900], id="half a BMP"),
        pytest.param(picture(1, kind="WEBP")[:900], id="half a WebP"),
        pytest.param(picture(1, kind="TIFF"), id="a kind that is not taken"),
    ],
)
def test_a_bad_file_is_named_and_the_engine_lives(llava, data):
    with pytest.raises(BadRequest) as caught:
        llava.engine.tokenize_media("[img-0] [img-1]", [A, data])
    assert caught.value.message.startswith("image 2")
    assert "/" not in caught.value.message
    assert "0x" not in caught.value.message
    assert llava.see("[img-0]", A)


def test_too_many_images_are_refused(llava):
    with pytest.raises(BadRequest, match=f"at most {MAX_IMAGES}"):
        llava.engine.tokenize_media("", [A] * (MAX_IMAGES + 1))


def test_too_many_pixels_together_are_refused_before_any_is_decoded(llava):
    with pytest.raises(BadRequest, match="pixels together"):
        llava.engine.tokenize_media("", [png_of(8192, 8192)] * 5)


def test_images_that_cannot_fit_are_refused_before_they_are_decoded(llava):
    fit, more = [png_of(1, 1, b"\0\1\2\3")] * 31, png_of(8192, 8192)
    tokens, media = llava.engine.tokenize_media("", fit)
    assert tokens.count(MEDIA) == 31 * 16
    assert len(media) == 31
    with pytest.raises(BadRequest, match="take 512 places of the context, and at most 511 fit"):
        llava.engine.tokenize_media("", [*fit, more])


def test_a_sequence_that_is_too_long_is_refused(llava):
    tokens, media = llava.engine.tokenize_media("[img-0] now", [A])
    with pytest.raises(BadRequest, match="fit"):
        llava.send(1, tokens, media, limit=len(tokens))


def test_places_and_images_must_belong_together(llava):
    tokens, media = llava.engine.tokenize_media("[img-0] now", [A])
    with pytest.raises(BadRequest, match="not all there"):
        llava.send(1, tokens[:1] + tokens[2:], media)
    with pytest.raises(BadRequest, match="not there"):
        llava.send(1, [*tokens, MEDIA], media)
    with pytest.raises(BadRequest, match="not all there"):
        llava.send(1, [*tokens[:9], 5, *tokens[9:]], media)
    with pytest.raises(BadRequest, match="not all there"):
        llava.send(1, [5], media)
    with pytest.raises(BadRequest, match="vocabulary"):
        llava.send(1, tokens, [])


def test_extreme_shapes_are_seen_or_refused(viewer):
    assert viewer.see("[img-0] ?", picture(3, (1, 1)))
    for size in [(1, 200), (200, 1), (2000, 10)]:
        try:
            assert viewer.see("[img-0] ?", picture(3, size))
        except BadRequest as error:
            assert "shape" in error.message


# --- the end ---


def test_a_text_with_an_image_ends_where_others_forget(llava):
    tokens, media = llava.engine.tokenize_media("[img-0] now", [A])
    llava.send(1, tokens, media, limit=len(tokens) + 9, shift=True)
    assert len(llava.run(1)[0]) == 9
    assert llava.ends[1].reason == "length"


def test_cancel_in_the_middle_of_an_image_frees_its_cells(eyes):
    for eye in EYES:
        viewer = Viewer(*eyes[eye], num_batch=5)
        beside = viewer.see("a text beside it", most=40)
        viewer.submit(1, "a text beside it", most=40)
        viewer.step()
        viewer.submit(2, "some text [img-0] now", A)
        while viewer.cells()[1] <= len("some text "):
            viewer.step()
        viewer.engine.cancel(2)
        assert viewer.cells()[1] == 0
        viewer.submit(2, "some text [img-0] now", B)
        assert viewer.run(1, 2) == [beside, viewer.see("some text [img-0] now", B)]
        viewer.engine.close()


def test_an_interrupt_stops_before_the_next_chunk_is_encoded(viewers, monkeypatch):
    viewer, encoded, encode = viewers["idefics3"], [], _mtmd.encode

    def watched(context, chunk):
        encoded.append(chunk)
        if len(encoded) == 2:
            viewer.engine.interrupt(1)
        return encode(context, chunk)

    monkeypatch.setattr(_mtmd, "encode", watched)
    viewer.submit(1, "[img-0] now", A)
    for _ in range(20):
        viewer.step()
    assert len(encoded) == 2
    viewer.engine.cancel(1)
    left_clean(viewer)


@pytest.mark.parametrize("eye", EYES)
def test_an_aborted_stretch_of_an_image_is_read_again(eyes, viewers, eye, monkeypatch):
    expected = viewers[eye].see("some text [img-0] now", A)
    viewer = Viewer(*eyes[eye], num_batch=5)
    decode, results = _native.decode, []
    first = 0 if eye == "gemma3" else 1  # where there are several stretches, one gets in before

    def abort_some(context, batch):
        if batch.embd and first <= len(results) < first + 2:
            viewer.engine._texts.decoder._abort.lift()
        result = decode(context, batch)
        if batch.embd:
            results.append(result)
        return result

    monkeypatch.setattr(_native, "decode", abort_some)
    assert viewer.see("some text [img-0] now", A) == expected
    assert results[first : first + 2] == [2, 2]
    assert set(results[first + 2 :]) == {0}
    viewer.engine.close()


def test_an_image_that_cannot_be_encoded_fails_its_own_sequence(llava, monkeypatch):
    beside = llava.see("a text beside it")
    monkeypatch.setattr(_mtmd, "encode", lambda context, chunk: 1)
    llava.submit(1, "a text beside it")
    llava.submit(2, "[img-0] now", A)
    assert llava.run(1, 2) == [beside, b""]
    assert llava.ends[2].status == 500
    assert "encoded" in llava.ends[2].message


def test_pixels_are_freed_when_they_are_encoded_or_dropped(llava):
    def pixels(media):
        return weakref.ref(media[-1].handle.chunks[-1][1]._chunks)

    _, media = llava.engine.tokenize_media("[img-0] [img-1]", [A, B])
    dropped = pixels(media)
    del media
    gc.collect()
    assert dropped() is None
    _, media = llava.submit(1, "[img-0] [img-1]", A, B)
    encoded = pixels(media)
    assert encoded() is not None
    llava.run(1)
    gc.collect()
    assert encoded() is None, "the host may hold the sequence for long"
    _, media = llava.submit(1, "[img-0] [img-1]", A, B)
    cancelled = pixels(media)
    llava.step()
    llava.engine.cancel(1)
    del media
    gc.collect()
    assert cancelled() is None


# --- loading ---


def test_without_a_projector_images_are_refused_and_texts_are_not(tmp_path):
    viewer = Viewer(write_tiny_llama(tmp_path / "m.gguf"), None)
    with pytest.raises(BadRequest, match="takes no images"):
        viewer.engine.tokenize_media("[img-0]", [A])
    assert viewer.see("a text")
    viewer.engine.close()


def test_the_projector_counts_into_the_size(eyes):
    with_eye, blind = Viewer(*eyes["mlp"]), Viewer(eyes["mlp"][0], None)
    assert blind.engine.sizes()["size"] > 0
    blind.engine.close()
    with_eye.see("[img-0]", A)
    size = with_eye.engine.sizes()["size"]
    with_eye.engine.close()
    again = Viewer(eyes["mlp"][0], None)
    assert size - again.engine.sizes()["size"] == eyes["mlp"][1].stat().st_size
    again.engine.close()


def bad_projectors(folder, good):
    data = good.read_bytes()
    (folder / "text").write_text("hello")
    (folder / "cut").write_bytes(data[: len(data) // 2])
    (folder / "head").write_bytes(data[:100])
    (folder / "kind").write_bytes(data.replace(b"\3\0\0\0\0\0\0\0mlp", b"\3\0\0\0\0\0\0\0mlq"))
    (folder / "deaf").write_bytes(data.replace(b"clip.has_vision_encoder", b"clip.had_vision_encoder"))
    write_tiny_projector(folder / "wide", width=96)
    write_tiny_llama(folder / "model")
    return ["none", "text", "cut", "head", "kind", "deaf", "wide", "model"]


def test_what_is_no_projector_of_this_model_says_so_and_leaves_nothing_behind(tmp_path, eyes, monkeypatch):
    model, projector = eyes["mlp"]
    freed, free = [], _native.model_free
    monkeypatch.setattr(_native, "model_free", lambda handle: (freed.append(handle), free(handle)))
    names = bad_projectors(tmp_path, projector)
    for name in names:
        with pytest.raises(LoadFailed) as caught:
            Viewer(model, tmp_path / name)
        assert "projector of tiny" in caught.value.message, name
        assert "/" not in caught.value.message, name
    # A missing file and one that is not GGUF are found out before the model is loaded.
    assert len(freed) == len(names) - 2
    viewer = Viewer(model, projector)
    assert viewer.see("[img-0]", A)
    viewer.engine.close()
