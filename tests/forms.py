"""Hypothesis strategies: photographs and masks in the forms that cameras, scanners and programs
write, and damaged files. What a reader must find follows from the pixels that were stored, never
from a reader.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image, ImageCms

LOSSY = 7.0  # mean difference, out of 255, that a lossy format may make
# EXIF orientation -> upright pixels to stored pixels: the tag says which sides are stored as the
# first row and column (EXIF 2.32, section 4.6.4 A).
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}
BACK = {6: 8, 8: 6}


@dataclass(frozen=True)
class Photo:
    """An image file, and what a viewer shows: (H, W, 3) uint8, upright, give or take ``off``."""

    form: str
    content: bytes
    upright: np.ndarray
    off: float


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + bytes(4)


# Blocks without a valid orientation, which viewers ignore.
ODD_EXIF = [
    exif(0), exif(9), exif(65535), b"Exif\0\0", b"Exif\0\0II", b"Exif\0\0XX*\0" + bytes(9),
    b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(12), exif(6)[:14],
]  # fmt: skip
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

# Stored pixels (H, W, 3) uint8 and options of Image.save -> the file, and what a viewer shows.
Form = Callable[..., tuple[bytes, np.ndarray]]


def plain(kind: str, mode: str = "RGB", frames: int = 1, **fixed: Any) -> Form:
    """Of several pictures in one file, the first counts."""

    def encode(pixels: np.ndarray, **options: Any) -> tuple[bytes, np.ndarray]:
        image, *more = (Image.fromarray(p) for p in (pixels, 255 - pixels, pixels[::-1])[:frames])
        image = image.quantize(64) if mode == "P" else image.convert(mode)
        options |= {"save_all": True, "append_images": more} if more else {}
        return saved(image, kind, **fixed, **options), np.asarray(image.convert("RGB"))

    return encode


def alpha(kind: str, mode: str, **fixed: Any) -> Form:
    """Partly transparent pixels, which are shown on white."""

    def encode(pixels: np.ndarray, **options: Any) -> tuple[bytes, np.ndarray]:
        y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
        opacity = np.where(x > y, 255, (x * 7 + y) % 256).astype(np.uint8)
        image = Image.fromarray(pixels).convert(mode[:-1])
        colours, a = np.asarray(image.convert("RGB")), opacity[..., None] / 255
        image.putalpha(Image.fromarray(opacity))
        shown = (colours * a + 255 * (1 - a)).round().astype(np.uint8)
        return saved(image, kind, **fixed, **options), shown

    return encode


def clear_colour(kind: str, mode: str) -> Form:
    """One colour, grey or index is transparent."""

    def encode(pixels: np.ndarray, **options: Any) -> tuple[bytes, np.ndarray]:
        image = Image.fromarray(pixels)
        image = image.quantize(16) if mode == "P" else image.convert(mode)
        values = np.asarray(image)
        clear, shown = values[0, 0], np.array(image.convert("RGB"))
        shown[(values == clear).all(-1) if mode == "RGB" else values == clear] = 255
        key = tuple(map(int, clear)) if mode == "RGB" else int(clear)
        return saved(image, kind, transparency=key, **options), shown

    return encode


def grey_16(kind: str, used: int = 65535, byte_order: str = "<") -> Form:
    """Cameras and microscopes often use 12 of the 16 bits."""

    def encode(pixels: np.ndarray, **options: Any) -> tuple[bytes, np.ndarray]:
        values = pixels[..., 1].astype(np.int64) * used // 255
        values[0, 0] = used
        shown = np.repeat((values[..., None] * 255 / used).round().astype(np.uint8), 3, -1)
        return saved(Image.fromarray(values.astype(byte_order + "u2")), kind, **options), shown

    return encode


# Form -> encoder, mean difference that a reader may make. These can be turned by a tag.
WITH_EXIF: dict[str, tuple[Form, float]] = {
    "JPEG": (plain("JPEG", quality=95, subsampling=0), LOSSY),
    "progressive JPEG": (plain("JPEG", quality=90, progressive=True), LOSSY),
    "grey JPEG": (plain("JPEG", "L", quality=90), LOSSY),
    "CMYK JPEG": (plain("JPEG", "CMYK", quality=95, subsampling=0), LOSSY),
    "JPEG of several pictures": (plain("MPO", frames=3, quality=95), LOSSY),
    "WebP": (plain("WEBP", quality=95), LOSSY),
    "lossless WebP": (plain("WEBP", lossless=True), 0),
    "transparent WebP": (alpha("WEBP", "RGBA", lossless=True, exact=True), 1),
    "animated WebP": (plain("WEBP", frames=3, lossless=True), 0),
    "AVIF": (plain("AVIF", quality=95, speed=10), LOSSY),
    "PNG": (plain("PNG"), 0),
    "grey PNG": (plain("PNG", "L"), 0),
    "1-bit PNG": (plain("PNG", "1"), 0),
    "palette PNG": (plain("PNG", "P"), 0),
    "animated PNG": (plain("PNG", frames=3), 0),
    "transparent PNG": (alpha("PNG", "RGBA"), 1),
    "transparent grey PNG": (alpha("PNG", "LA"), 1),
    "PNG, a transparent colour": (clear_colour("PNG", "RGB"), 0),
    "PNG, a transparent grey": (clear_colour("PNG", "L"), 0),
    "PNG, a transparent index": (clear_colour("PNG", "P"), 0),
    "16-bit PNG": (grey_16("PNG"), 1),
    "TIFF": (plain("TIFF"), 0),
    "compressed TIFF": (plain("TIFF", compression="tiff_lzw"), 0),
    "CMYK TIFF": (plain("TIFF", "CMYK"), 1),
    "TIFF of several pages": (plain("TIFF", frames=3), 0),
    "16-bit TIFF": (grey_16("TIFF"), 1),
}
PHOTOS = WITH_EXIF | {
    "12 bits in a PNG": (grey_16("PNG", 4095), 1),
    "16-bit TIFF, high byte first": (grey_16("TIFF", byte_order=">"), 1),
    "1-bit TIFF": (plain("TIFF", "1", compression="group4"), 0),
    "transparent TIFF": (alpha("TIFF", "RGBA"), 1),
    "GIF": (plain("GIF", "P"), 0),
    "animated GIF": (plain("GIF", "P", frames=3, duration=50), 0),
    "transparent GIF": (clear_colour("GIF", "P"), 0),
    "BMP": (plain("BMP"), 0),
    "palette BMP": (plain("BMP", "P"), 0),
    "JPEG 2000": (plain("JPEG2000"), 0),
}  # fmt: skip


@st.composite
def photographs(draw: st.DrawFn) -> Photo:
    """A gradient without any symmetry and a bright box, stored in some form, turned by some tag."""
    form = draw(st.sampled_from(sorted(PHOTOS)))
    encode, off = PHOTOS[form]
    sizes = [(40, 56), (33, 33), (64, 20)] + [(1, 1), (1, 2), (3, 2), (2, 90)] * (off < LOSSY)
    height, width = draw(st.sampled_from(sizes))
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    pixels = np.stack([200 * x + 20, 180 * y + 40, 120 * (1 - x) * y + 60], -1)
    pixels[height // 4 : height // 2, width // 3 : width // 2] = draw(st.integers(120, 255))
    pixels = pixels.round().astype(np.uint8)
    options, tag = {}, 1
    if form in WITH_EXIF:
        tag = draw(st.integers(1, 8))
        valid = tag > 1 or form == "AVIF" or "TIFF" in form  # Pillow writes no other block there
        options["exif"] = exif(tag) if valid else draw(st.sampled_from([exif(1), *ODD_EXIF]))
        if off < LOSSY and "grey" not in form and draw(st.booleans()):
            options["icc_profile"] = PROFILE
    content, shown = encode(np.ascontiguousarray(STORED[tag](pixels)), **options)
    return Photo(form, content, np.ascontiguousarray(STORED[BACK.get(tag, tag)](shown)), off)


NO_PICTURES = [
    b"", b"\0", b"no picture\n" * 40, bytes(2000), b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n",
    b"GIF89a", b"II*\0\x08\0\0\0", b"<!DOCTYPE html><body>404 Not Found</body></html>",
    b"%PDF-1.7\n" + bytes(300), b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    saved(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"),
    saved(Image.fromarray(np.ones((9, 9), np.int32)), "TIFF"),
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, Photo | None]:
    """A file that is no picture, or is cut short (with the whole one), or has other bytes."""
    kind = draw(st.sampled_from(["none", "cut", "cut", "changed"]))
    if kind == "none":
        return draw(st.sampled_from(NO_PICTURES)), None
    whole = draw(photographs())
    end = len(whole.content)
    if kind == "cut":
        return whole.content[: draw(st.integers(0, end - 1))], whole
    content = bytearray(whole.content)
    for _ in range(draw(st.sampled_from([1, 3, 20]))):
        content[draw(st.integers(0, min(end, 600) - 1))] ^= draw(st.integers(1, 255))
    return bytes(content), replace(whole, off=255)  # nobody can tell what it showed


# Masks: from the object (H, W) bool.


def grey(values: np.ndarray, mode: str = "L") -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert(mode)


def palette(indices: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), mode="P")
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def soft(mask: np.ndarray) -> np.ndarray:
    """0 to 255 with a thin grey edge: the mean of 3 x 3 pixels."""
    padded, (h, w) = np.pad(mask * 1.0, 1, mode="edge"), mask.shape
    mean = sum(padded[i : i + h, j : j + w] for i in range(3) for j in range(3)) / 9
    return (mean * 255).round()


BLACK, RED, WHITE = (0, 0, 0), (128, 0, 0), (255, 255, 255)
Mask = tuple[Callable[[np.ndarray], Image.Image], str]  # picture, format of the file
PLAIN: Mask = (lambda m: grey(m * 255), "PNG")
UNDERSTOOD: dict[str, Mask] = {  # without any setting
    **{kind: (PLAIN[0], kind) for kind in ("PNG", "BMP", "TIFF", "GIF", "JPEG")},
    **{mode: (lambda m, mode=mode: grey(m * 255, mode), "PNG") for mode in ("1", "RGB", "LA")},
    "opaque RGBA": (lambda m: grey(m * 255, "RGBA"), "TIFF"),
    "0 and 1": (grey, "PNG"),
    "16 bits": (lambda m: Image.fromarray(m.astype(np.uint16) * 65535), "PNG"),
    "16 bits, 0 and 1": (lambda m: Image.fromarray(m.astype(np.uint16)), "TIFF"),
    "VOC's palette": (lambda m: palette(m, BLACK, RED), "PNG"),
    "grey palette": (lambda m: palette(m, BLACK, WHITE), "PNG"),
    "white first": (lambda m: palette(~m, WHITE, BLACK), "PNG"),
    "antialiased": (lambda m: grey(soft(m)), "PNG"),
}
ODD: dict[str, Mask] = {  # refused, or read right
    "0 and 128": (lambda m: grey(m * 128), "PNG"),
    "odd labels": (lambda m: grey(m + 2 * (np.arange(m.shape[1]) % 20 < 10)), "PNG"),
    "VOC's border": (lambda m: grey(np.where(m, 1, 255 * (soft(m) > 0))), "PNG"),
    "a grey in a coloured palette": (lambda m: palette(m, BLACK, (128,) * 3, RED), "PNG"),
    "black last": (lambda m: palette(~m, RED, BLACK), "PNG"),
    "colours": (lambda m: Image.merge("RGB", [grey(m * v) for v in (255, 0, 0)]), "PNG"),
    "transparent": (lambda m: Image.merge("LA", [grey(m * 255)] * 2), "PNG"),
    "float": (lambda m: Image.fromarray(m.astype(np.float32)), "TIFF"),
}


@st.composite
def objects(draw: st.DrawFn, height: int, width: int) -> np.ndarray:
    """The mask of a box, (height, width) bool."""
    mask = np.zeros((height, width), dtype=bool)
    top, left = draw(st.integers(1, height // 2)), draw(st.integers(1, width // 2))
    mask[top : top + draw(st.integers(6, 20)), left : left + draw(st.integers(6, 20))] = True
    return mask
