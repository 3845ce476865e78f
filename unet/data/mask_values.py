"""What the pixel values of users' masks mean.

Masks come as 0 and 255, 0 and 1, palettes, one bit, grey stored as RGB, with antialiased edges.
Each is read by its own values; what these leave open is refused with a message that names the
values and the setting that decides.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from unet.data.config import DataConfig
from unet.data.masks import BACKGROUND, NOT_COUNTED, OBJECT
from unet.data.photos import GREY_16_BIT, read_upright

LOSSLESS = ("PNG", "BMP", "GIF", "TIFF")
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")  # its compressions
WHITES = {1, 255, 65535}  # beside 0 these are the object, whatever other masks hold
EDGE = 5  # pixels; an area that fills a square of this side is not an edge


class Mask(NamedTuple):
    """A mask that was read, upright."""

    codes: np.ndarray | None  # (H, W) uint8 (unet.data.masks)
    orientation: int  # of its file's own EXIF tag, 1 to 8, by which it was turned
    form: str = ""  # how a user's was read
    values: tuple[int, ...] = ()  # that the file holds, sorted
    unusual: bool = False  # 0 and a value that is the object only if no other mask holds another
    without_object: bool = False  # though it holds values above 0


def read_mask(file: Path | bytes, data: DataConfig) -> Mask:
    """Read a user's mask, a path or a file's content.

    Raises:
        ValueError: what is wrong, worded to follow the file's name.
    """
    image, orientation = read_upright(file)
    by_index = not isinstance(data.object_values, str)
    pixels, full = _pixels(image, by_index=by_index)
    values = np.unique(pixels).tolist()
    exact = image.format in LOSSLESS and image.info.get("compression") not in LOSSY_TIFF
    half = (full + 1) // 2
    if not exact and (by_index or data.not_counted is not None):
        raise ValueError(
            f"is stored as {image.format}, whose values are not exact: with a list in "
            "data.object_values or with data.not_counted save it as PNG"
        )
    others = set(values) - {0, data.not_counted}
    unusual = False
    if by_index:
        form, is_object = "the values of data.object_values", np.isin(pixels, data.object_values)
    elif data.object_values == "dark":
        form, is_object = f"grey (less than {half} is object)", pixels < half
    elif data.object_values == "half":
        form, is_object = f"grey ({half} and more is object)", pixels >= half
    elif not others:
        form, is_object = "0 alone", np.zeros_like(pixels, dtype=bool)
    # In a lossy file a dark object, of value 1 say, is spread or lost.
    elif len(others) == 1 and (exact or (others <= WHITES and max(others) >= half)):
        form, is_object = f"0 and {max(others)}", pixels == max(others)
        unusual = not others <= WHITES
    elif _is_antialiased(pixels, full, 0 if image.format not in ("JPEG", "MPO") else full // 50):
        form, is_object = f"grey (antialiased, {half} and more is object)", pixels >= half
    else:
        raise ValueError(which(values))
    codes = np.where(is_object, OBJECT, BACKGROUND).astype(np.uint8)
    if data.not_counted is not None:
        codes[pixels == data.not_counted] = NOT_COUNTED
    without_object = any(values) and not (codes == OBJECT).any()
    return Mask(codes, orientation, form, tuple(values), unusual, without_object)


def _pixels(image: Image.Image, *, by_index: bool) -> tuple[np.ndarray, int]:
    """Grey values or a coloured palette's indices (H, W), integers, and the value of white."""
    if image.mode in ("I", *GREY_16_BIT):
        return np.asarray(image).astype(np.int32), 65535
    see_through = image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        if (palette != palette[:, :1]).any():
            if by_index or not (see_through or palette[0].any()):
                return np.asarray(image), 255  # the indices, as in VOC's masks
            raise ValueError(
                "has a palette with transparent pixels, or in which 0 is not black: save it in "
                "grey, 0 where there is no object, or list its numbers in data.object_values"
            )
    if see_through:
        raise ValueError("has transparent pixels: save it in grey, 0 where there is no object")
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8), 1
    if image.mode not in ("L", "P", "RGB", "RGBA", "LA", "PA"):
        raise ValueError(f"has mode {image.mode}: save it in grey")
    pixels = np.asarray(image.convert("RGB"))
    if (pixels != pixels[..., :1]).any():
        raise ValueError("has colours: save it in grey, or with a palette")
    return pixels[..., 0], 255


def _is_antialiased(pixels: np.ndarray, full: int, noise: int) -> bool:
    """Whether a mask is black and white except at edges: no other value fills a square of EDGE
    pixels (labels would), and mid-grey occurs only in thinner lines."""
    near = full // 50
    if abs(pixels.min()) > near or pixels.max() < full - near or len(np.unique(pixels)) < 4:
        return False
    flat = pixels[minimum_filter(pixels, EDGE) == maximum_filter(pixels, EDGE)]
    grey = (pixels > full // 4) & (pixels < full * 3 // 4)
    between = (flat > noise) & (flat < full - noise)
    return not between.any() and not minimum_filter(grey, EDGE).any()


def listed(values: Iterable[int]) -> str:
    """The values, or how many there are, for messages."""
    values = sorted(values)
    if len(values) > 8:
        return f"{len(values)} values from {values[0]} to {values[-1]}"
    return ", ".join(map(str, values))


def which(values: Iterable[int]) -> str:
    """What is wrong with a mask of which these values leave open what is the object."""
    return (
        f"holds {listed(values)}: which is the object? Set data.object_values (half: half of white "
        "and more; or, for masks in PNG, a list) or data.not_counted"
    )
