"""Pictures of the demo page: an upload to a frame, a network input to a picture, a map to colours."""

from __future__ import annotations

import base64
import functools

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ImageReadError
from ecovision_edge.photographs.image_size import image_kind, image_size
from ecovision_edge.photographs.images import check_pixels, decode_image

__all__ = [
    "LEAST_SCALE",
    "MAX_PIXELS",
    "MAX_UPLOAD_BYTES",
    "data_url",
    "decode_upload",
    "gradient",
    "overlay",
    "seen",
    "upload_kinds",
]

Picture = npt.NDArray[np.uint8]

MAX_UPLOAD_BYTES = 32 * 2**20
MAX_PIXELS = 64_000_000
"""A decoded picture of so many takes 192 MB: much on a Raspberry Pi, and more than most telephones give."""

LEAST_SCALE = 0.1
"""Of a map's colours, in log-odds: a fall of the odds by less than a tenth does not get the last one. The
least differences are those of int8's rounding, and would otherwise be drawn as if they mattered."""

# What it is called, and an ending: some builds of OpenCV lack the last ones.
_KINDS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "BMP": ".bmp",
    "WebP": ".webp",
    "TIFF": ".tiff",
    "GIF": ".gif",
    "AVIF": ".avif",
}
_COLORS = cv2.COLORMAP_INFERNO  # its lightness grows from one end to the other, for every kind of eye


@functools.cache
def upload_kinds() -> tuple[str, ...]:
    """Return the kinds of image that are taken here: `JPEG`, `PNG`, ..."""
    return tuple(k for k, suffix in _KINDS.items() if cv2.haveImageWriter(suffix))


def decode_upload(data: bytes, name: str) -> Picture:
    """Decode an uploaded file as `decode_image`, with tighter bounds.

    Args:
        data: The file's bytes.
        name: How messages call it.

    Raises:
        ImageReadError: none of `upload_kinds`, a broken one, or one of more than `MAX_PIXELS` pixels.
    """
    if len(data) > MAX_UPLOAD_BYTES:
        raise ImageReadError(
            f"{name} is too large",
            expected=f"at most {MAX_UPLOAD_BYTES >> 20} MiB",
            found=f"{len(data)} bytes",
        )
    *most, last = upload_kinds()
    kinds = f"{', '.join(most)} or {last} image"
    size = image_size(data)
    if size is None or image_kind(data) not in (*most, last):
        found = f"{len(data)} bytes of another kind" if data else "an empty file"
        raise ImageReadError(f"cannot read {name}", expected=f"a {kinds}", found=found)
    check_pixels(size, name, MAX_PIXELS)
    try:
        return decode_image(data, name)
    except ImageReadError as e:
        raise ImageReadError(
            f"cannot decode {name}", expected=f"a whole {kinds}", found="a broken one"
        ) from e


def seen(batch: npt.NDArray[np.uint8 | np.float32], contract: Contract) -> Picture:
    """Return what the network sees: its input as a picture, `(height, width, 3) uint8 BGR`.

    Args:
        batch: Network input that `Classifier.prepare` gives.
        contract: The model's; a normalized input is turned back into levels, to the nearest one.
    """
    if contract.input.dtype == "uint8":
        return np.ascontiguousarray(batch[0].astype(np.uint8))
    rgb = batch[0].transpose(1, 2, 0).astype(np.float64)
    levels = (rgb * contract.normalization.std + contract.normalization.mean) * 255
    return np.ascontiguousarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8)[..., ::-1])


def overlay(picture: Picture, drop: npt.NDArray[np.float32]) -> tuple[Picture, float]:
    """Return the map over the picture, which is grey and darkened there: the brighter, the more it mattered.

    Args:
        picture: `(height, width, 3) uint8 BGR`, as `seen` gives it.
        drop: `(height, width)`, as `Occlusion.drop`.

    Returns:
        `(height, width, 3) uint8 BGR`, and the fall that has the last colour; 0 and less has none. It is at
        least `LEAST_SCALE`, so that a picture in which no place matters has no bright one either.
    """
    # The patches' edges are no edges of the picture: smoothed away.
    smooth = cv2.GaussianBlur(drop, (0, 0), max(drop.shape) / 32)
    scale = max(float(smooth.max()), LEAST_SCALE)
    share = np.clip(smooth / scale, 0, 1)
    colors = cv2.applyColorMap((share * 255).astype(np.uint8), _COLORS).astype(np.float32)
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.float32)
    weight = (0.8 * share**0.7)[..., None]
    mixed = grey * 0.75 * (1 - weight) + colors * weight
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8), scale


def gradient(stops: int = 9) -> str:
    """Return the colours of `overlay` from nothing to most, as a CSS gradient."""
    levels = np.linspace(0, 255, stops).astype(np.uint8)[None]
    colors = cv2.applyColorMap(levels, _COLORS)[0, :, ::-1].tolist()
    return "linear-gradient(to right, " + ", ".join(f"rgb({r} {g} {b})" for r, g, b in colors) + ")"


def data_url(picture: Picture) -> str:
    """Return a picture as a `data:` address, PNG: nothing is written to a disk, and no level is changed."""
    ok, png = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert ok, "OpenCV writes PNG in every build"
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()
