"""Logos that partners send: only real pictures of three kinds are taken, and what is kept was drawn anew by Ivy.

What a browser gets is never what was sent: no comment, no script, no second file behind the picture comes through.
"""

import io
import warnings
from typing import BinaryIO

from PIL import Image, ImageFile, ImageOps

KINDS = ("PNG", "JPEG", "WEBP")
MOST_BYTES = 1_000_000
MOST_PIXELS = 16_000_000
KEPT_SIZE = (640, 160)


class NoLogo(Exception):
    """It can't be taken as a logo; the message is a sentence for who sent it."""


def drawn_anew(sent: BinaryIO, *, size: int) -> bytes:
    """The picture as a PNG, no larger than a header needs. Raises NoLogo for what is none, or too large."""
    if size > MOST_BYTES:
        raise NoLogo(f"The file is larger than {MOST_BYTES // 1_000_000} MB: send a smaller one.")
    takes_halves = ImageFile.LOAD_TRUNCATED_IMAGES  # WeasyPrint lets the whole process take half a picture for one
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _draw(sent)
    except NoLogo:
        raise
    except Exception as error:
        raise NoLogo("This is no picture that can be shown: send a PNG, a JPEG or a WebP.") from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = takes_halves


def _draw(sent: BinaryIO) -> bytes:
    with Image.open(sent, formats=KINDS) as picture:
        # Before it is unfolded: a file of a few bytes may become gigabytes.
        if picture.width * picture.height > MOST_PIXELS:
            raise NoLogo(f"The picture has {picture.width} × {picture.height} pixels: send a smaller one.")
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
    upright.thumbnail(KEPT_SIZE)
    drawn = Image.new("RGBA", upright.size)
    drawn.paste(upright)
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
