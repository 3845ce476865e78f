"""Reading photographs: what is refused, and what is read once (test_forms.py has the formats)."""

import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.forms import NO_PICTURES, PROFILE, exif, saved
from tests.photographs import SIZE, photograph
from unet.data import photos
from unet.data.photos import is_photo, read_photo


def test_a_turned_picture_is_turned_once() -> None:
    stored = photograph().transpose(Image.Transpose.ROTATE_90)
    photo = read_photo(saved(stored, "PNG", exif=exif(6)))
    assert photo.size == SIZE and np.array_equal(read_photo(photo), photo)
    photo = read_photo(saved(stored, "PNG", exif=exif(6), icc_profile=PROFILE, dpi=(72, 72)))
    assert photo.info == {"icc_profile": PROFILE}


REFUSED = {
    "is no picture of a format that can be read": b"",
    r"cannot be read \((image file is truncated|Truncated)": saved(photograph(), "JPEG")[:700],
    "has 32 bits a pixel.*save it with 8 or 16": NO_PICTURES[-1],
    "HEIC: `pip install pillow-heif`": b"\0\0\0\x18ftypheic" + bytes(200),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, text: str) -> None:
    if "HEIC" in text and find_spec("pillow_heif"):
        pytest.skip("pillow-heif is here")
    (tmp_path / "photo.jpg").write_bytes(REFUSED[text])
    for source in (tmp_path / "photo.jpg", REFUSED[text]):
        with pytest.raises(ValueError, match=text) as error:
            read_photo(source)
        assert "\n" not in str(error.value)
        assert "photo.jpg" not in str(error.value)  # the caller names it


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_giant_picture_is_refused() -> None:
    """By a header alone: nothing is decoded."""
    content = saved(photograph(), "PNG")
    for pixels in (photos.MAX_PIXELS, 4 * photos.MAX_PIXELS):  # Pillow refuses some by itself
        width = pixels // 1000 + 1
        header = content[:16] + width.to_bytes(4, "big") + (1000).to_bytes(4, "big")
        header += content[24:29] + zlib.crc32(header[12:] + content[24:29]).to_bytes(4, "big")
        with pytest.raises(ValueError, match="has more than 256 million pixels"):
            read_photo(header + content[33:])


def test_pictures_by_name() -> None:
    for name in ("a.jpg", "A (1).JPEG", "b.PNG", "c.webp", "d.tif", "f.avif", "IMG_1.HEIC"):
        assert is_photo(Path("folder") / name)
    for name in ("notes.txt", "._a.jpg", ".jpg", "a.jpg.part", "jpg", "a.npy"):
        assert not is_photo(Path("folder") / name)
