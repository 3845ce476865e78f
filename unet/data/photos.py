"""Read photographs from cameras, scanners or web pages, upright and in RGB."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

try:  # the format of iPhones, which Pillow alone cannot read
    import pillow_heif
except ImportError:
    HEIF = False
else:
    pillow_heif.register_heif_opener()
    HEIF = True

# HEIC even without pillow_heif: otherwise a phone's photographs would be skipped silently.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".tif", ".tiff", ".gif", ".bmp"}
    | {".heic", ".heif"}
)
ORIENTATION = 0x0112  # the EXIF tag
# Orientation -> what turns the stored picture upright (EXIF 2.32, section 4.6.4 A).
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
GREY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def is_photo(path: Path) -> bool:
    """Whether the name is a picture's: its suffix is in SUFFIXES, and it is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


@contextmanager
def opened(source: Path | bytes) -> Iterator[Image.Image]:
    """Open the first picture of an image file, decoded, as it is stored.

    Args:
        source: a path, or a file's content.

    Raises:
        ValueError: it cannot be read; the message is worded to follow the file's name.
    """
    try:
        # Pillow gets no path, because its messages would repeat the name that the caller adds.
        content = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    if not content:
        raise ValueError("is empty")
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except UnidentifiedImageError:
        heif = content[4:8] == b"ftyp" and content[8:12] in (b"heic", b"heix", b"mif1", b"msf1")
        way = "is a HEIC file: `pip install pillow-heif` reads it, or save it as JPEG"
        raise ValueError(way if heif else "is no picture of a format that can be read") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on a damaged file
        problem = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot be read ({problem})") from None
    with image:
        yield image


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright as stored) if there is no readable tag."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged EXIF block: Pillow raises nearly anything, viewers ignore it
        return 1
    return value if value in UPRIGHT else 1


def read_photo(source: Path | bytes) -> Image.Image:
    """Read a photograph upright, in RGB: 8 bits per channel, transparent parts on white.

    Args:
        source: a path, or a file's content.

    Raises:
        ValueError: what is wrong, worded to follow the file's name.
    """
    with opened(source) as image:
        return to_photo(image)


def to_photo(image: Image.Image) -> Image.Image:
    """:func:`read_photo` for an open picture. Only the colour profile is kept of its metadata."""
    turn = UPRIGHT.get(orientation(image))
    try:
        rgb = _rgb(image)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot be read ({' '.join(str(error).split())})") from None
    photo = rgb.transpose(turn) if turn is not None else rgb
    # Drop the EXIF block: its tag would turn the photograph again.
    photo.info = {key: value for key, value in photo.info.items() if key == "icc_profile"}
    return photo


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in GREY_16_BIT:
        # Pillow would clip at 255: all white. Cameras and microscopes often use 12 bits of the 16.
        values = np.asarray(image).astype(np.float32)
        full = next(full for full in (255, 4095, 65535) if values.max() <= full)
        grey = (values * (255 / full)).round().astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel, of unknown range: save it with 8 or 16")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        if rgba.getextrema()[3][0] < 255:
            white = Image.new("RGBA", rgba.size, "white")
            return Image.alpha_composite(white, rgba).convert("RGB")
        return rgba.convert("RGB")
    return image.convert("RGB")
