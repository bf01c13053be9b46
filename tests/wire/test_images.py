"""Images in requests: base64 as Go reads it, kinds and sizes from headers, and nothing else gets through."""

from __future__ import annotations

import base64
import io
import struct
import time
import zlib

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from remuda.errors import BadRequest
from remuda.wire.images import MAX_IMAGE_BYTES, MAX_IMAGES, MAX_PIXELS, MAX_RATIO, MAX_SIDE, decode_images

KINDS = ["PNG", "JPEG", "GIF", "BMP", "WEBP"]


def file(kind="PNG", size=(40, 30), **how):
    out = io.BytesIO()
    Image.new("RGB", size, "green").save(out, kind, **how)
    return out.getvalue()


def text(data):
    return base64.b64encode(data).decode()


def refusal(*files):
    with pytest.raises(BadRequest) as caught:
        decode_images([one if isinstance(one, str) else text(one) for one in files])
    return caught.value.message


def png_header(width, height):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def bmp_header(width, height):
    return b"BM" + bytes(12) + struct.pack("<Iii", 40, width, height) + bytes(40)


# --- base64 ---

# Go's own table of what its decoder says (`encoding/base64`, `TestDecodeCorrupt`); None is no complaint.
GO = [
    ("!!!!", 0), ("====", 0), ("x===", 1), ("=AAA", 0), ("A=AA", 1), ("AA=A", 2), ("AA==A", 4), ("AAA=AAAA", 4),
    ("AAAAA", 4), ("AAAAAA", 4), ("A=", 1), ("A==", 1), ("AA=", 3), ("AAAAAA=", 7), ("YWJjZA=====", 8), ("A!\n", 1),
    ("A=\n", 1), ("AAA=\n", None), ("AAAA\n", None), ("AA==", None), ("AAA=", None), ("AAAA", None),
    ("A\r\nAAA\nAA=\r\n=", None), ("AA=\n", 4), ("AAAA-_AA", 4), ("AAAAé", 4), ("data:image/png;base64,AAAA", 4),
]  # fmt: skip


@pytest.mark.parametrize(("given", "at"), GO)
def test_bad_base64_is_told_with_the_place_where_go_stops(given, at):
    message = refusal(given)
    if at is None:
        assert "base64" not in message
    else:
        assert message == f"illegal base64 data at input byte {at}"


def test_line_ends_in_base64_are_skipped():
    data = file()
    lines = base64.encodebytes(data).decode().replace("\n", "\r\n")
    assert decode_images([lines]) == (data,)


# --- what is taken ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (40, 30), (3, 600), (1000, 999)])
def test_every_kind_is_taken_as_it_is(kind, size):
    data = file(kind, size)
    assert decode_images([text(data)]) == (data,)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(file("JPEG", progressive=True), id="progressive JPEG"),
        pytest.param(file("JPEG", exif=Image.Exif()), id="JPEG with EXIF"),
        pytest.param(file("JPEG", comment=b"\xff" * 60_000), id="JPEG with a comment"),
        pytest.param(file("WEBP", lossless=True), id="lossless WebP"),
        pytest.param(file("WEBP", save_all=True, append_images=[Image.new("RGB", (40, 30))]), id="animated WebP"),
        pytest.param(bmp_header(40, -30), id="BMP from the top down"),
        pytest.param(b"BM" + bytes(12) + struct.pack("<IHH", 12, 40, 30), id="BMP of OS/2"),
        pytest.param(png_header(8192, 8192), id="the most pixels"),
        pytest.param(png_header(MAX_RATIO, 1), id="the longest shape"),
    ],
)
def test_variants_are_taken(data):
    assert decode_images([text(data)]) == (data,)


def test_several_keep_their_order():
    files = tuple(file(kind) for kind in KINDS)
    assert decode_images([text(one) for one in files]) == files
    assert decode_images([]) == ()


# --- what is not ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_ends_in_its_header_is_refused(kind):
    data = file(kind)
    # Some kinds tell their size early: what is cut later is for the decoder to find out.
    least = {"PNG": 24, "GIF": 10, "BMP": 26, "WEBP": 30, "JPEG": data.find(b"\xff\xc0") + 9}[kind]
    for length in range(least):
        message = refusal(data[:length])
        assert any(word in message for word in ("header", "empty", "no kind")), (length, message)
    assert decode_images([text(data[:least])])


@pytest.mark.parametrize(
    ("width", "height"), [(65535, 65535), (2**32 - 1, 2**32 - 1), (0, 5), (5, 0), (MAX_SIDE + 1, 100), (100, 16_385)]
)
def test_a_side_out_of_bounds_is_named(width, height):
    message = refusal(file(), png_header(width, height))
    assert message.startswith(f"image 2 is {width} x {height} pixels")
    assert str(MAX_SIDE) in message


def test_too_many_pixels_and_too_long_a_shape_are_named():
    assert str(MAX_PIXELS) in refusal(png_header(8193, 8192))
    assert "200 times" in refusal(png_header(MAX_RATIO + 1, 1))
    assert "1 to 16384" in refusal(bmp_header(-40, 30))
    assert "1 to 16384" in refusal(bmp_header(40, -(2**31)))


def test_too_many_images_are_refused_before_any_is_read():
    assert f"at most {MAX_IMAGES}" in refusal(*["!"] * 1000)
    assert len(decode_images([text(file())] * MAX_IMAGES)) == MAX_IMAGES


def test_a_large_file_is_refused_and_the_largest_is_taken_soon():
    assert str(MAX_IMAGE_BYTES) in refusal("A" * (50 * 2**20 // 3 * 4))
    largest = file() + bytes(MAX_IMAGE_BYTES - len(file()))
    assert str(MAX_IMAGE_BYTES) in refusal(largest + b"\0")
    given = text(largest)
    started = time.monotonic()
    assert decode_images([given]) == (largest,)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "data",
    [b"RIFF\0\0\0\0WAVEfmt ", b"ID3\4\0\0\0\0\0\0", b"\xff\xfb\x90\x44\0\0", b"fLaC\0\0\0\x22", b"OggS\0\2\0\0"],
)
def test_sound_is_refused_as_such(data):
    assert "audio is not supported" in refusal(data)


@pytest.mark.parametrize("data", [b"\0", b"hello", b"%PDF-1.7", b"<svg/>", b"II*\0\10\0\0\0", b"RIFF\0\0\0\0AVI "])
def test_other_files_are_refused_with_what_is_allowed(data):
    message = refusal(data)
    assert message.startswith("image 1")
    assert "PNG, JPEG, GIF, BMP or WebP" in message


def test_nothing_is_refused_as_empty():
    assert "empty" in refusal("")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xd8\xff" + b"\xff" * 2**20, id="nothing but fill bytes"),
        pytest.param(b"\xff\xd8" + b"\xff\xe0\0\2" * 2**18, id="nothing but empty segments"),
        pytest.param(b"\xff\xd8\xff\xe0\0\0" * 2**18, id="segments of no length"),
    ],
)
def test_a_jpeg_cannot_make_the_search_long(data):
    started = time.monotonic()
    assert "image 1" in refusal(data)
    assert time.monotonic() - started < 1


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"", *(file(kind)[:40] for kind in KINDS), b"\xff\xd8\xff", b"RIFF1234WEBPVP8 ", b"BM"]),
    st.binary(max_size=80),
)
def test_any_bytes_are_taken_or_refused_and_nothing_else_happens(begin, end):
    try:
        assert decode_images([text(begin + end)]) == (begin + end,)
    except BadRequest as error:
        assert "image 1" in error.message


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ABz09+/=\r\n -é", max_size=24))
def test_any_text_is_base64_or_told_a_place_in_it(given_text):
    message = refusal(given_text)
    if "base64" in message:
        assert 0 <= int(message.rsplit(" ", 1)[1]) <= len(given_text.encode())
