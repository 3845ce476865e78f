"""Read photographs from cameras, scanners or web pages, upright and in RGB."""

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

with suppress(ImportError):  # the format of iPhones, which Pillow alone cannot read
    import pillow_heif

    pillow_heif.register_heif_opener()

# HEIC even without pillow_heif: otherwise a phone's photographs would be skipped silently.
SUFFIXES = {
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".tif", ".tiff", ".gif", ".bmp", ".heic",
    ".heif",
}  # fmt: skip
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
MAX_PIXELS = 256_000_000  # a phone's 200 million take 2.4 GB to predict, 6.3 with a cut-out
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # where Pillow warns; by default it refuses 179 million
GREY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def is_photo(path: Path) -> bool:
    """Whether the name is a picture's: its suffix is in SUFFIXES, and it is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_upright(source: Path | bytes | Image.Image) -> tuple[Image.Image, int]:
    """The first picture of an image file, decoded and turned as its EXIF tag says.

    Args:
        source: a path, a file's content, or a picture of Pillow, which is loaded, not changed.

    Returns:
        A new picture, in the stored mode, with its format, and the tag, 1 to 8 (1: upright as
        stored).

    Raises:
        ValueError: it cannot be read; the message is worded to follow the file's name.
    """
    try:
        # Pillow gets no path, because its messages would repeat the name that the caller adds.
        content = source.read_bytes() if isinstance(source, Path) else source
        image = Image.open(io.BytesIO(content)) if isinstance(content, bytes) else source
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        tag = _orientation(image)
        filename, image.filename = getattr(image, "filename", ""), ""
        image.load()  # turns a TIFF by itself; one with a file name may be mapped, and turned twice
        image.filename = filename
        left = _orientation(image)
        upright = image.transpose(UPRIGHT[left]) if left in UPRIGHT else image
    except UnidentifiedImageError:
        heic = "HEIC: `pip install pillow-heif`, or save it as JPEG"
        raise ValueError(f"is no picture of a format that can be read ({heic})") from None
    except Image.DecompressionBombError:
        limit = f"more than {MAX_PIXELS // 1_000_000} million pixels"
        raise ValueError(f"has {limit}, the most that are read: make it smaller") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on a damaged file
        problem = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(f"cannot be read ({' '.join(problem.split())})") from None
    upright = upright.copy() if upright is source else upright
    upright.format = image.format
    return upright, tag


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright as stored) if there is no readable tag."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged EXIF block: Pillow raises nearly anything, viewers ignore it
        return 1
    return value if value in UPRIGHT else 1


def read_photo(source: Path | bytes | Image.Image) -> Image.Image:
    """Read a photograph upright, in RGB: 8 bits per channel, transparent parts on white.

    Only the colour profile is kept of its metadata.

    Args:
        source: as for :func:`read_upright`, which says what it raises.
    """
    photo = to_rgb(read_upright(source)[0])
    # Drop the EXIF block: its tag would turn the photograph again.
    photo.info = {key: value for key, value in photo.info.items() if key == "icc_profile"}
    return photo


def to_rgb(image: Image.Image) -> Image.Image:
    """An upright picture in RGB, as :func:`read_photo` has it."""
    if image.mode in GREY_16_BIT:
        # Pillow would clip at 255: all white. Cameras and microscopes often use 12 bits of the 16.
        values = np.asarray(image).astype(np.float32)
        full = next(full for full in (255, 4095, 65535) if values.max() <= full)
        grey = (values * (255 / full)).round().astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("has 32 bits a pixel, of unknown range: save it with 8 or 16")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
