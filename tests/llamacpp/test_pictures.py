"""Image files become upright rows of RGB, whatever they hold, or are refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageOps

from remuda.errors import BadRequest
from remuda_llamacpp.images.pictures import ImageFile

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's own, about damaged notes beside a picture

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def file(image, kind="PNG", **how):
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def pixels(data):
    image = ImageFile(data, 1)
    return np.frombuffer(image.rows(), np.uint8).reshape(image.height, image.width, 3)


def corner(data):
    return tuple(int(value) for value in pixels(data)[0, 0])


def gradient(size=(9, 5)):
    return Image.fromarray(np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3))


@pytest.mark.parametrize(("kind", "how"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_pixels_come_row_by_row_from_the_top(kind, how):
    assert (pixels(file(gradient(), kind, **how)) == np.asarray(gradient())).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_photograph_is_turned_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file(gradient(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert pixels(data).shape == upright.shape
    assert (pixels(data) == upright).all()


@pytest.mark.parametrize("orientation", [0, 9, -1, 65535])
def test_an_orientation_that_does_not_exist_is_none(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation & 0xFFFF
    assert (pixels(file(gradient(), exif=exif)) == np.asarray(gradient())).all()


def test_damaged_notes_do_not_matter():
    data = file(gradient(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert pixels(data).shape == (5, 9, 3)


def test_what_is_transparent_is_on_white():
    assert corner(file(Image.new("RGBA", (2, 2), (0, 0, 0, 0)))) == WHITE
    assert corner(file(Image.new("RGBA", (2, 2), (*RED, 255)))) == RED
    assert corner(file(Image.new("RGBA", (2, 2), (*RED, 128)))) == (255, 127, 127)
    assert corner(file(Image.new("LA", (2, 2), (0, 0)))) == WHITE
    assert corner(file(Image.new("RGB", (2, 2), GREEN), transparency=GREEN)) == WHITE
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([*RED, *GREEN])
    assert corner(file(palette)) == GREEN
    assert corner(file(palette, transparency=1)) == WHITE
    assert corner(file(palette, "GIF", transparency=1)) == WHITE


def test_other_depths_and_colours_become_rgb():
    assert corner(file(Image.new("1", (9, 2), 1))) == WHITE
    assert corner(file(Image.new("L", (2, 2), 7))) == (7, 7, 7)
    grey = corner(file(Image.fromarray(np.full((2, 2), 0x8000, np.uint16))))
    assert grey in {(127,) * 3, (128,) * 3}
    ink = corner(file(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert ink[0] > 200
    assert max(ink[1:]) < 60


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    how = {"lossless": True} if kind == "WEBP" else {}
    assert corner(file(frames[0], kind, save_all=True, append_images=frames[1:], **how)) == RED


def test_damage_is_found_when_the_rows_are_wanted_and_not_before():
    whole = file(Image.effect_noise((64, 64), 50).convert("RGB"))
    image = ImageFile(whole[: len(whole) // 2], 3)
    assert (image.width, image.height) == (64, 64)
    with pytest.raises(BadRequest, match="image 3 cannot be read"):
        image.rows()


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP"]),
    cut=st.integers(0, 400),
    put=st.binary(max_size=12),
    skip=st.integers(0, 12),
)
def test_any_damage_is_a_picture_or_a_refusal(kind, cut, put, skip):
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = file(gradient((33, 21)), kind, **({"exif": exif} if kind in {"PNG", "JPEG", "WEBP"} else {}))
    try:
        image = ImageFile(whole[:cut] + put + whole[cut + skip :], 1)
        assert len(image.rows()) == image.width * image.height * 3
    except BadRequest as error:
        assert "image 1" in error.message
        assert "0x" not in error.message
