"""One picture in all the file formats of cameras, scanners and web pages."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from unet.data import photos
from unet.data.photos import HEIF, ORIENTATION, UPRIGHT, is_photo, read_photo

SIZE = (48, 32)


def picture(size: tuple[int, int] = SIZE) -> Image.Image:
    """A gradient with no symmetry: turned or mirrored it is another picture."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    channels = [200 * x + 20, 180 * y + 40, 120 * (1 - x) * y + 60]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))


def grey() -> Image.Image:
    return picture().convert("L")


def stored(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def difference(photo: Image.Image, expected: Image.Image) -> float:
    """The mean difference of two RGB pictures of one size, in grey levels."""
    assert photo.mode == "RGB" and photo.size == expected.size
    wanted = np.asarray(expected.convert("RGB"), float)
    return float(np.abs(np.asarray(photo, float) - wanted).mean())


def turned(orientation: int, form: str = "JPEG", size: tuple[int, int] = SIZE) -> bytes:
    """A file whose picture is upright only if its tag is followed."""
    # The stored picture is what the upright one becomes by the opposite turn.
    opposite = {6: 8, 8: 6}.get(orientation, orientation)
    image = picture(size)
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[opposite])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    kind, options = FORMS[form]
    return stored(image, kind, exif=exif, **options)


FORMS = {
    "JPEG": ("JPEG", {"quality": 98, "subsampling": 0}),
    "MPO": ("MPO", {"quality": 98, "save_all": True, "append_images": [picture()]}),
    "PNG": ("PNG", {}),
    "TIFF": ("TIFF", {}),
    "TIFF, compressed": ("TIFF", {"compression": "tiff_lzw"}),
    "TIFF of two": ("TIFF", {"save_all": True, "append_images": [picture()]}),
    "WebP": ("WEBP", {"lossless": True}),
    "AVIF": ("AVIF", {"quality": 98}),
}


def test_a_turned_picture_is_turned_once() -> None:
    photo = read_photo(turned(6))
    assert difference(read_photo(photo), photo) == 0
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = read_photo(stored(picture(), "PNG", icc_profile=profile, dpi=(72, 72)))
    assert photo.info == {"icc_profile": profile}


REFUSED = {
    "is empty": b"",
    "is no picture of a format that can be read": b"no picture at all " * 20,
    r"cannot be read \((image file is truncated|Truncated)": turned(1)[:400],
    r"cannot be read \(": stored(picture(), "PNG")[:-60],
    "has 32 bits a pixel.*save it with 8 or 16": stored(grey().convert("I"), "TIFF"),
    "has 32 bits a pixel": stored(grey().convert("F"), "TIFF"),
    "is a HEIC file: `pip install pillow-heif`": b"\0\0\0\x18ftypheic" + bytes(200),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, text: str) -> None:
    if HEIF and "HEIC" in text:
        pytest.skip("pillow-heif is here")
    path = tmp_path / "photo.jpg"
    path.write_bytes(REFUSED[text])
    for source in (path, REFUSED[text]):
        with pytest.raises(ValueError, match=text) as error:
            read_photo(source)
        assert "\n" not in str(error.value)
        assert "photo.jpg" not in str(error.value)  # the caller names it
    for nothing in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(ValueError, match=r"cannot be read \((No such file|Is a directory)"):
            read_photo(nothing)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_giant_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a header alone: nothing is decoded."""
    content = stored(picture(), "PNG")
    for pixels in (photos.MAX_PIXELS, 4 * photos.MAX_PIXELS):  # Pillow refuses some by itself
        width = pixels // 1000 + 1
        header = content[:16] + width.to_bytes(4, "big") + (1000).to_bytes(4, "big")
        header += content[24:29] + zlib.crc32(header[12:] + content[24:29]).to_bytes(4, "big")
        with pytest.raises(ValueError, match="has more than 256 million pixels"):
            read_photo(header + content[33:])
    monkeypatch.setattr(photos, "MAX_PIXELS", SIZE[0] * SIZE[1] - 1)
    with pytest.raises(ValueError, match="has more than"):
        read_photo(picture())


def test_pictures_by_name() -> None:
    for name in ("a.jpg", "A (1).JPEG", "b.PNG", "c.webp", "d.tif", "f.avif", "IMG_1.HEIC"):
        assert is_photo(Path("folder") / name)
    for name in ("notes.txt", "._a.jpg", ".jpg", "a.jpg.part", "jpg", "a.npy"):
        assert not is_photo(Path("folder") / name)
