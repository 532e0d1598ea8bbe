"""Photographs as PyTorch's side sees them: decoded by PIL, upright, RGB."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ecovision_edge.errors import ImageReadError
from ecovision_edge.photographs.images import check_pixels

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["decode_rgb"]

_FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "WEBP",
    "TIFF",
    "GIF",
    "PPM",
)  # PIL has more, one of which starts Ghostscript


def decode_rgb(data: bytes, name: str, *, draft: bool = False) -> Image.Image:
    """Decode an image file's bytes as RGB, turned upright by its EXIF orientation, as `read_image` does.

    Args:
        data: The bytes.
        name: Of the file, for messages.
        draft: Whether the pixels do not count, only whether they can be had: a JPEG then comes at an eighth
            of its size, which takes less time.

    Raises:
        ImageReadError: not an image that PIL can decode, or one of more than 8 bits per channel; or, before
            anything is decoded, one of more than `MAX_IMAGE_PIXELS`. Says `name`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            check_pixels(image.size, name)
            if draft:
                image.draft(None, (1, 1))
            mode, upright = image.mode, ImageOps.exif_transpose(image).convert("RGB")
    except ImageReadError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        # PIL names the object that it read from, with its address.
        reason = "not an image" if isinstance(e, UnidentifiedImageError) else str(e)[:200]
        raise ImageReadError(f"cannot decode {name}", expected="an image", found=reason) from e
    if mode.startswith("I"):  # 16 bits: PIL clips what OpenCV scales, so the two sides see two pictures
        raise ImageReadError(
            f"cannot judge {name}", expected="8 bits per channel", found=f"PIL mode {mode}", fix="convert it"
        )
    return upright
