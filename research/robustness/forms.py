"""Photographs and masks in all common file formats, with the pixels that a reader must find.

The expected pixels come from the pixels that were stored, never from a reader.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from unet.data.synthetic import draw_animal

LOSSY = 7.0  # mean difference, out of 255, that a lossy format may make
BLOCKS = 32  # pixels; smaller pictures have edges in most blocks and may differ by more
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
class Encoded:
    """An image file.

    Attributes:
        shown: (H, W, 3) uint8, what a viewer shows, not yet turned upright; None: nothing.
        tolerance: the mean difference, out of 255, that a reader may make.
    """

    content: bytes
    shown: np.ndarray | None
    tolerance: float = 0.0


def upright(shown: np.ndarray, orientation: int) -> np.ndarray:
    """The stored pixels turned upright; ``orientation`` is 1 if the tag has no defined value."""
    return np.ascontiguousarray(STORED[BACK.get(orientation, orientation)](shown))


def animal(rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """A drawn picture (H, W, 3) uint8 and the mask of its object (H, W) bool."""
    image, trimap = draw_animal(np.random.default_rng(rng.randrange(2**32)))
    return np.asarray(image), np.asarray(trimap) == 1


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """``image`` encoded as a file of the format ``kind``."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int | str) -> bytes:
    """An EXIF block with only the orientation tag, as a number or a text."""
    if isinstance(orientation, str):
        entry = struct.pack("<HHI4s", 0x0112, 2, 4, orientation.encode()[:3].ljust(4, b"\0"))
    else:
        entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + bytes(4)


def damaged_exif(rng: random.Random) -> bytes:
    """An invalid EXIF block, damaged in one of several ways."""
    head = b"Exif\0\0"
    return rng.choice([
        head, head + b"II", head + rng.randbytes(rng.randrange(1, 200)), head + b"XX*\0" + bytes(9),
        head + b"II*\0" + struct.pack("<I", rng.randrange(100, 2**32)),
        head + b"MM\0*\0\0\0\x08\xff\xff" + bytes(12),
        exif(6)[:rng.randrange(8, 18)],
    ])  # fmt: skip


def profile() -> bytes:
    """A colour profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


# A form makes a file from stored pixels (H, W, 3), a random generator and options of Image.save.
Form = Callable[..., Encoded]


def _plain(kind: str, mode: str = "RGB", tolerance: float = 0.0, **fixed: Any) -> Form:
    def encode(pixels: np.ndarray, rng: random.Random, **options: Any) -> Encoded:
        image = Image.fromarray(pixels)
        if mode == "P":
            image = image.quantize(rng.choice([2, 7, 256]))
        elif mode != "RGB":
            image = image.convert(mode)
        shown = np.asarray(image.convert("RGB"))
        return Encoded(saved(image, kind, **fixed, **options), shown, tolerance)

    return encode


def _frames(kind: str, mode: str = "RGB", **fixed: Any) -> Form:
    """Several pictures in one file; only the first counts."""

    def encode(pixels: np.ndarray, rng: random.Random, **options: Any) -> Encoded:
        images = [Image.fromarray(p) for p in (pixels, 255 - pixels, pixels[::-1, ::-1])]
        if mode == "P":
            images = [image.quantize(64) for image in images]
        content = saved(images[0], kind, save_all=True, append_images=images[1:], **fixed,
                        **options)  # fmt: skip
        tolerance = LOSSY if kind == "MPO" else 0.0
        return Encoded(content, np.asarray(images[0].convert("RGB")), tolerance)

    return encode


def _alpha(kind: str, mode: str, **fixed: Any) -> Form:
    """Partly transparent pixels, which are shown on white."""

    def encode(pixels: np.ndarray, rng: random.Random, **options: Any) -> Encoded:
        opaque = rng.random() < 0.2
        y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
        alpha = np.where(x > y, 255, 255 if opaque else (x * 7 + y) % 256).astype(np.uint8)
        image = Image.fromarray(pixels).convert(mode[:-1])
        colours = np.asarray(image.convert("RGB")).astype(float)
        image.putalpha(Image.fromarray(alpha))
        a = alpha[..., None] / 255
        shown = (colours * a + 255 * (1 - a)).round().astype(np.uint8)
        return Encoded(saved(image, kind, **fixed, **options), shown, 1.0)

    return encode


def _transparent_colour(kind: str, mode: str) -> Form:
    def encode(pixels: np.ndarray, rng: random.Random, **options: Any) -> Encoded:
        image = Image.fromarray(pixels)
        image = image.quantize(16) if mode == "P" else image.convert(mode)
        values = np.asarray(image)
        clear = values[0, 0]
        shown = np.array(image.convert("RGB"))
        shown[(values == clear).all(-1) if mode == "RGB" else values == clear] = 255
        key = tuple(map(int, clear)) if mode == "RGB" else int(clear)
        return Encoded(saved(image, kind, transparency=key, **options), shown)

    return encode


def _alpha_palette(pixels: np.ndarray, rng: random.Random, **options: Any) -> Encoded:
    image = Image.fromarray(pixels).quantize(32)
    indices = np.asarray(image)
    alpha = bytes(rng.randrange(256) for _ in range(int(indices.max()) + 1))
    a = (np.frombuffer(alpha, np.uint8)[indices] / 255)[..., None]
    shown = (np.asarray(image.convert("RGB")) * a + 255 * (1 - a)).round().astype(np.uint8)
    return Encoded(saved(image, "PNG", transparency=alpha, **options), shown, 1.0)


def _grey_16(kind: str, byte_order: str = "<") -> Form:
    def encode(pixels: np.ndarray, rng: random.Random, **options: Any) -> Encoded:
        used = rng.choice([65535, 65535, 4095, 255])  # cameras, microscopes: 12 of the 16 bits
        values = (pixels[..., 1].astype(np.int64) * used + rng.choice([0, 100])) // 255
        values[pixels[..., 1] == 255] = used
        # A dark picture of 16 bits looks like one of 12 or 8 bits.
        full = 255 if (values < 256).all() else 4095 if (values < 4096).all() else 65535
        shown = np.repeat((values[..., None] * 255 / full).round().astype(np.uint8), 3, -1)
        image = Image.fromarray(values.astype(byte_order + "u2"))
        return Encoded(saved(image, kind, **options), shown, 1.0)

    return encode


def _png_48(pixels: np.ndarray, rng: random.Random, **_options: Any) -> Encoded:
    """Encoded by hand: Pillow writes no PNG with 16 bits per channel."""
    height, width = pixels.shape[:2]
    rows = (pixels.astype(">u2") * 257).reshape(height, -1)
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        check = zlib.crc32(name + data)
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)
    return Encoded(content, pixels, 1.0)


def _tiled_tiff(pixels: np.ndarray, rng: random.Random, **_options: Any) -> Encoded:
    """Encoded by hand too."""
    height, width = pixels.shape[:2]
    side = 64
    down, across = -(-height // side), -(-width // side)
    padded = np.zeros((down * side, across * side, 3), np.uint8)
    padded[:height, :width] = pixels
    tiles = [
        padded[y * side : (y + 1) * side, x * side : (x + 1) * side].tobytes()
        for y in range(down)
        for x in range(across)
    ]
    count, size = len(tiles), side * side * 3
    data_at = 8 + 6
    offsets_at = data_at + count * size
    counts_at = offsets_at + 4 * count
    ifd_at = counts_at + 4 * count
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2),
        (277, 3, 1, 3), (322, 4, 1, side), (323, 4, 1, side),
        (324, 4, count, offsets_at if count > 1 else data_at),
        (325, 4, count, counts_at if count > 1 else size),
    ]  # fmt: skip
    content = struct.pack("<2sHI", b"II", 42, ifd_at) + struct.pack("<3H", 8, 8, 8)
    content += b"".join(tiles)
    content += struct.pack(f"<{count}I", *(data_at + i * size for i in range(count)))
    content += struct.pack(f"<{count}I", *([size] * count))
    content += struct.pack("<H", len(tags))
    content += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return Encoded(content, pixels)


def _lab(pixels: np.ndarray, rng: random.Random, **_options: Any) -> Encoded:
    spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.fromarray(pixels), *spaces, outputMode="LAB")
    return Encoded(saved(image, "TIFF"), pixels, LOSSY)


def _refused(kind: str, change: Callable[[np.ndarray], np.ndarray | Image.Image]) -> Form:
    def encode(pixels: np.ndarray, rng: random.Random, **options: Any) -> Encoded:
        changed = change(pixels)
        image = changed if isinstance(changed, Image.Image) else Image.fromarray(changed)
        return Encoded(saved(image, kind), None)

    return encode


# Name of a form -> file suffix, form. These can hold an EXIF block.
WITH_EXIF: dict[str, tuple[str, Form]] = {
    "JPEG": (".jpg", _plain("JPEG", tolerance=LOSSY, quality=95, subsampling=0)),
    "progressive JPEG": (".jpeg", _plain("JPEG", tolerance=LOSSY, quality=90, progressive=True)),
    "grey JPEG": (".JPG", _plain("JPEG", "L", LOSSY, quality=90)),
    "CMYK JPEG": (".jpg", _plain("JPEG", "CMYK", LOSSY, quality=95, subsampling=0)),
    "multi-picture JPEG": (".jpg", _frames("MPO", quality=95)),
    "WebP": (".webp", _plain("WEBP", tolerance=LOSSY, quality=95)),
    "lossless WebP": (".webp", _plain("WEBP", lossless=True)),
    "transparent WebP": (".webp", _alpha("WEBP", "RGBA", lossless=True, exact=True)),
    "animated WebP": (".webp", _frames("WEBP", lossless=True)),
    "AVIF": (".avif", _plain("AVIF", tolerance=LOSSY, quality=95, speed=10)),
    "PNG": (".png", _plain("PNG")),
    "grey PNG": (".PNG", _plain("PNG", "L")),
    "1-bit PNG": (".png", _plain("PNG", "1")),
    "palette PNG": (".png", _plain("PNG", "P")),
    "transparent RGB PNG": (".png", _alpha("PNG", "RGBA")),
    "transparent grey PNG": (".png", _alpha("PNG", "LA")),
    "PNG, a transparent colour": (".png", _transparent_colour("PNG", "RGB")),
    "PNG, a transparent grey": (".png", _transparent_colour("PNG", "L")),
    "PNG, a transparent index": (".png", _transparent_colour("PNG", "P")),
    "PNG, a palette with alpha": (".png", _alpha_palette),
    "16-bit grey PNG": (".png", _grey_16("PNG")),
    "animated PNG": (".png", _frames("PNG")),
}
PHOTOS: dict[str, tuple[str, Form]] = WITH_EXIF | {
    "48-bit PNG": (".png", _png_48),
    "GIF": (".gif", _plain("GIF", "P")),
    "animated GIF": (".gif", _frames("GIF", "P", duration=50)),
    "transparent GIF": (".gif", _transparent_colour("GIF", "P")),
    "BMP": (".bmp", _plain("BMP")),
    "palette BMP": (".BMP", _plain("BMP", "P")),
    "TIFF": (".tif", _plain("TIFF")),
    "compressed TIFF": (".tiff", _plain("TIFF", compression="tiff_lzw")),
    "1-bit TIFF": (".tiff", _plain("TIFF", "1", compression="group4")),
    "CMYK TIFF": (".tif", _plain("TIFF", "CMYK")),
    "transparent TIFF": (".tif", _alpha("TIFF", "RGBA")),
    "16-bit TIFF": (".tif", _grey_16("TIFF")),
    "16-bit TIFF, high byte first": (".tif", _grey_16("TIFF", ">")),
    "TIFF of several pages": (".tif", _frames("TIFF")),
    "tiled TIFF": (".tif", _tiled_tiff),
    "JPEG 2000": (".jpg", _plain("JPEG2000")),
    "PPM": (".png", _plain("PPM")),
    "float TIFF": (".tif", _refused("TIFF", lambda p: p[..., 0].astype(np.float32))),
    "32-bit TIFF": (".tif", _refused("TIFF", lambda p: p[..., 0].astype(np.int32))),
    "Lab TIFF": (".tif", _lab),
    "giant PNG": (
        ".png",
        _refused("PNG", lambda p: Image.new("1", (20000, 20000))),
    ),
}


def photograph(
    form: str, pixels: np.ndarray, rng: random.Random, *, orientation: int = 1, block: bytes = b""
) -> tuple[Encoded, str]:
    """Store upright pixels with an EXIF orientation; return the file and its suffix.

    Args:
        block: EXIF data; ignored if the form cannot hold any.
    """
    suffix, encode = PHOTOS[form]
    stored = np.ascontiguousarray(STORED[orientation](pixels))
    options: dict[str, Any] = {"exif": block} if block and form in WITH_EXIF else {}
    if form in WITH_EXIF and not {"grey", "CMYK"} & set(form.split()) and rng.random() < 0.3:
        options["icc_profile"] = profile()
    # Pillow's AVIF takes no damaged EXIF data; other formats do not take so many pixels per side.
    odd = block not in (b"", *map(exif, STORED)) or min(stored.shape[:2]) < 16
    if max(stored.shape) > 16000 or (odd and suffix == ".avif"):
        suffix, encode = PHOTOS["PNG"]
    made = encode(stored, rng, **options)
    if made.tolerance == LOSSY:
        tiny = BLOCKS / (stored.shape[0] * stored.shape[1]) ** 0.5
        made = replace(made, tolerance=LOSSY * max(1.0, tiny))
    return made, suffix


def no_picture(rng: random.Random) -> bytes:
    """Bytes that are not an image."""
    return rng.choice([
        b"", b"\0", b"no picture\n" * rng.randrange(1, 400), rng.randbytes(rng.randrange(1, 3000)),
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>", bytes(2000),
        b"%PDF-1.7\n" + rng.randbytes(300), b"\0\0\0\x18ftypheic" + bytes(200),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0\x08\0\0\0",
    ])  # fmt: skip


def truncated(content: bytes, rng: random.Random) -> bytes:
    """Cut at a random byte."""
    return content[: rng.randrange(len(content))]


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Change some bytes, one time in two only among the first 600."""
    changed = bytearray(content)
    reach = len(content) if rng.random() < 0.5 else min(len(content), 600)
    for _ in range(rng.choice([1, 1, 3, 20])):
        changed[rng.randrange(reach)] ^= rng.randrange(1, 256)
    return bytes(changed)


# Masks


@dataclass(frozen=True)
class MaskForm:
    """How a mask is drawn and stored.

    Attributes:
        values: object (H, W) bool -> the values of the mask, (H, W) integers.
        image: these values -> the picture to store.
        suffixes: file suffixes that this form can have.
        soft: the only other values are grey edges: what is above half of white is the object.
        refused: it must be refused, whatever the settings.
        lossy: a reader finds these values only approximately.
    """

    values: Callable[[np.ndarray], np.ndarray]
    image: Callable[[np.ndarray], Image.Image]
    suffixes: tuple[str, ...] = (".png",)
    soft: bool = False
    refused: bool = False
    lossy: bool = False


def _times(factor: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda mask: mask.astype(np.int64) * factor


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8))


def _grey_as(mode: str) -> Callable[[np.ndarray], Image.Image]:
    return lambda values: _grey(values).convert(mode)


def _palette(*colours: tuple[int, int, int]) -> Callable[[np.ndarray], Image.Image]:
    """Store values as indices into a palette of ``colours``."""

    def image(values: np.ndarray) -> Image.Image:
        found = Image.fromarray(values.astype(np.uint8), mode="P")
        found.putpalette([channel for colour in colours for channel in colour])
        return found

    return image


def _shrunk(mask: np.ndarray) -> np.ndarray:
    """0 to 255 with a thin grey edge: the mean of 3 x 3 pixels."""
    padded = np.pad(mask.astype(float), 1, mode="edge")
    h, w = mask.shape
    mean = sum(padded[i : i + h, j : j + w] for i in range(3) for j in range(3)) / 9
    return (mean * 255).round().astype(np.int64)


def _labels(mask: np.ndarray) -> np.ndarray:
    """Labels: 0 and 2 around the object, 1 and 3 on it."""
    columns = np.arange(mask.shape[1])[None, :] % 20 < 10
    return np.where(mask, np.where(columns, 1, 3), np.where(columns, 0, 2))


def _bordered(mask: np.ndarray) -> np.ndarray:
    """As in VOC: 1 on the object, with a border of 255."""
    padded = np.pad(mask, 2)
    h, w = mask.shape
    near = np.any([padded[i : i + h, j : j + w] for i in range(5) for j in range(5)], 0)
    return np.where(mask, 1, np.where(near, 255, 0))


def _parts(mask: np.ndarray) -> np.ndarray:
    """1 on the object in the left half, 2 in the right half, with a border of 255."""
    left = np.arange(mask.shape[1])[None, :] < mask.shape[1] // 2
    return np.where(_bordered(mask) == 1, np.where(left, 1, 2), _bordered(mask))


def _black_last(values: np.ndarray) -> Image.Image:
    """Index 0 has a colour, index 1 is black; at least one pixel is black."""
    indices = 1 - values
    indices[0, 0] = 1
    return _palette((128, 0, 0), (0, 0, 0))(indices)


# A corner pixel is coloured, or transparent, even if the mask has a single value.


def _colours(values: np.ndarray) -> Image.Image:
    pixels = np.stack([values, 0 * values, 0 * values], -1).astype(np.uint8)
    pixels[0, 0, 0] = 255
    return Image.fromarray(pixels)


def _see_through(values: np.ndarray) -> Image.Image:
    image, alpha = _grey(values).convert("RGB"), _grey(values)
    alpha.putpixel((0, 0), 0)
    image.putalpha(alpha)
    return image


LOSSLESS = (".png", ".PNG", ".bmp", ".tif")
MASKS: dict[str, MaskForm] = {
    "0 and 255": MaskForm(_times(255), _grey, (*LOSSLESS, ".gif")),
    "0 and 1": MaskForm(_times(1), _grey, LOSSLESS),
    "one bit": MaskForm(_times(1), lambda v: _grey(v * 255).convert("1"), LOSSLESS),
    "grey as RGB": MaskForm(_times(255), _grey_as("RGB"), LOSSLESS),
    "opaque RGBA": MaskForm(_times(255), _grey_as("RGBA"), (".png", ".tif")),
    "opaque LA": MaskForm(_times(255), _grey_as("LA")),
    "16 bits": MaskForm(
        _times(65535), lambda v: Image.fromarray(v.astype(np.uint16)), (".png", ".tif")
    ),
    "16 bits, 0 and 1": MaskForm(_times(1), lambda v: Image.fromarray(v.astype(np.uint16))),
    "VOC's palette": MaskForm(_times(1), _palette((0, 0, 0), (128, 0, 0)), (".png", ".bmp")),
    "a grey in a coloured palette": MaskForm(
        _times(1), _palette((0, 0, 0), (128, 128, 128), (200, 0, 0)), (".png", ".bmp")
    ),
    "white in a coloured palette": MaskForm(
        _times(1), _palette((0, 0, 0), (255, 255, 255), (0, 0, 200))
    ),
    "grey palette": MaskForm(_times(255), lambda v: _palette((0,) * 3, (255,) * 3)(v // 255)),
    "white first": MaskForm(_times(255), lambda v: _palette((255,) * 3, (0,) * 3)(1 - v // 255)),
    "antialiased": MaskForm(_shrunk, _grey, LOSSLESS, soft=True),
    "JPEG": MaskForm(_times(255), _grey, (".jpg",), soft=True, lossy=True),
    "0 and 128": MaskForm(_times(128), _grey),
    "labels": MaskForm(_labels, _grey, LOSSLESS),
    "VOC's border": MaskForm(_bordered, _grey),
    "labels with a void": MaskForm(_parts, _grey, LOSSLESS),
    "black last": MaskForm(_times(1), _black_last, refused=True),
    "colours": MaskForm(_times(255), _colours, refused=True),
    "transparent": MaskForm(_times(255), _see_through, refused=True),
    "float": MaskForm(
        _times(1), lambda v: Image.fromarray(v.astype(np.float32)), (".tif",), refused=True
    ),
}
KINDS = {".png": "PNG", ".bmp": "BMP", ".tif": "TIFF", ".gif": "GIF", ".jpg": "JPEG"}


def mask_file(form: MaskForm, values: np.ndarray, suffix: str, orientation: int = 1) -> bytes:
    """The file content of a mask with the given ``values`` (H, W).

    Args:
        orientation: the mask's own EXIF tag.
    """
    options: dict[str, Any] = {"quality": 95} if form.lossy else {}
    if orientation > 1:
        options["exif"] = exif(orientation)
    return saved(form.image(np.ascontiguousarray(values)), KINDS[suffix.lower()], **options)
