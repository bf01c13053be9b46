"""Image files to rows of RGB, by Pillow: the first frame, upright, on white where it is transparent."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from remuda.errors import BadRequest, without_paths
from remuda.wire.images import MAX_PIXELS

__all__ = ["ImageFile"]

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation of EXIF; from 5 on, width and height change places."""


class ImageFile:
    """A file of which only the header is read at first. Raises `BadRequest`, which calls it image `number`."""

    def __init__(self, data: bytes, number: int) -> None:
        self._number = number
        try:
            self._image = Image.open(io.BytesIO(data), formats=_FORMATS)
        except Exception as error:
            raise self._unreadable(error) from None
        self.width, self.height = self._image.size
        # Again, though the server looked: Pillow has its own idea of how large an animation is.
        if self.width * self.height > MAX_PIXELS:
            size = f"{self.width} x {self.height}"
            raise BadRequest(f"image {number} is {size} pixels; at most {MAX_PIXELS} are allowed")
        orientation = _orientation(self._image)
        self._turn = _UPRIGHT.get(orientation)
        if orientation >= 5 and self._turn is not None:
            self.width, self.height = self.height, self.width

    def rows(self) -> bytes:
        """Three bytes for each pixel, row by row from the top; once. Raises `BadRequest` for damaged data."""
        try:
            self._image.load()
            picture = _flat(self._image)
            return (picture if self._turn is None else picture.transpose(self._turn)).tobytes()
        except Exception as error:
            raise self._unreadable(error) from None
        finally:
            self._image.close()  # its pixels are not held while the next image is decoded

    def _unreadable(self, error: Exception) -> BadRequest:
        what = f"image {self._number} cannot be read"
        if isinstance(error, UnidentifiedImageError):
            return BadRequest(f"{what}: it is damaged, or not what it begins like")
        return BadRequest(f"{what}: {without_paths(str(error)) or type(error).__name__}")


def _flat(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = image.convert("I").point(lambda value: value / 257)  # Pillow would cut off what is above 255
    if not image.has_transparency_data:
        return image.convert("RGB")
    # On white, as pages and slides are: on black, which some tools choose, dark writing disappears.
    layer = image.convert("RGBA")
    flat = Image.new("RGB", layer.size, "white")
    flat.paste(layer, mask=layer)
    return flat


def _orientation(image: Image.Image) -> int:
    try:
        # Of the base: a PNG's own method would decode the pixels to look for more behind them.
        return int(Image.Image.getexif(image).get(_ORIENTATION, 1))
    except Exception:
        return 1  # damaged notes beside a picture do not make the picture unreadable
