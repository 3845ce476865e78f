"""One picture in all the file formats of cameras, scanners and web pages."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from unet.data import photos
from unet.data.photos import ORIENTATION, UPRIGHT, is_photo, read_photo, read_upright

SIZE = (48, 32)


def picture(size: tuple[int, int] = SIZE) -> Image.Image:
    """A gradient with no symmetry: turned or mirrored it is another picture."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    channels = [200 * x + 20, 180 * y + 40, 120 * (1 - x) * y + 60]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))


def grey() -> Image.Image:
    return picture().convert("L")


def grey_16_bit() -> Image.Image:
    return Image.fromarray(np.asarray(grey()).astype(np.uint16) * 257)


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


def loaded(path: Path) -> Image.Image:
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.load()
    return image


GIVEN = {
    "path": Path,
    "content": Path.read_bytes,
    "opened": Image.open,
    "loaded": loaded,
    "copied": lambda path: loaded(path).copy(),
    "converted": lambda path: loaded(path).convert("RGBA"),
}


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(sorted(FORMS)), st.integers(1, 8), st.sampled_from([SIZE, (40, 40), (30, 50)])
)
def test_the_same_picture_however_it_is_stored_and_given(
    tmp_path_factory: pytest.TempPathFactory, form: str, orientation: int, size: tuple[int, int]
) -> None:
    path = tmp_path_factory.mktemp("photo") / "photo"
    path.write_bytes(turned(orientation, form, size))
    tolerance = 3 if form in ("JPEG", "MPO", "AVIF") else 0
    assert difference(read_photo(path), picture(size)) <= tolerance
    for way, give in GIVEN.items():
        source = give(path)
        assert np.array_equal(read_photo(source), read_photo(path)), way
        if isinstance(source, Image.Image):  # it is only loaded, not changed
            untouched = loaded(path) if way == "opened" else give(path)
            assert source == untouched and source.getexif() == untouched.getexif(), way
            assert way != "opened" or source.filename
        else:
            assert read_upright(source)[1] == orientation, way


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_open_tiff_is_the_file(tmp_path: Path, mode: str, orientation: int) -> None:
    """Pillow itself turns these twice: it maps them into memory when they are opened by name."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = grey_16_bit() if mode == "I;16" else picture().convert(mode)
    image.save(tmp_path / "scan.tif", exif=exif)
    with Image.open(tmp_path / "scan.tif") as source:
        assert np.array_equal(read_photo(source), read_photo(tmp_path / "scan.tif"))


def test_a_turned_picture_is_turned_once() -> None:
    photo = read_photo(turned(6))
    assert difference(read_photo(photo), photo) == 0
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = read_photo(stored(picture(), "PNG", icc_profile=profile, dpi=(72, 72)))
    assert photo.info == {"icc_profile": profile}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_or_meaningless_tag_is_none() -> None:
    damaged = (b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    contents = [stored(picture(), "JPEG", quality=98, exif=exif) for exif in damaged]
    for content in [*contents, turned(0), turned(9), turned(65535)]:
        assert difference(read_photo(content), picture()) < 2


SAME = {
    "BMP": (picture(), "BMP", {}, 0),
    "WebP": (picture(), "WEBP", {"lossless": True}, 0),
    "AVIF": (picture(), "AVIF", {"quality": 95}, 3),
    "progressive": (picture(), "JPEG", {"progressive": True, "quality": 98}, 2),
    "CMYK JPEG": (picture().convert("CMYK"), "JPEG", {"quality": 98}, 3),
    "CMYK TIFF": (picture().convert("CMYK"), "TIFF", {}, 1),
    "opaque": (picture().convert("RGBA"), "PNG", {}, 0),
    "palette": (picture().quantize(256), "PNG", {}, 6),
    "GIF": (picture().quantize(256), "GIF", {}, 6),
    "grey": (grey(), "PNG", {}, 0),
    "grey JPEG": (grey(), "JPEG", {"quality": 98}, 2),
    "grey with alpha": (grey().convert("LA"), "PNG", {}, 0),
    "16 bits": (grey_16_bit(), "PNG", {}, 0),  # Pillow's conversion makes all of it white
    "16-bit TIFF": (grey_16_bit(), "TIFF", {}, 0),
    "black and white": (picture().convert("1"), "PNG", {}, 0),
}


@pytest.mark.parametrize("form", SAME)
def test_the_same_picture_in_every_form(form: str) -> None:
    image, kind, options, tolerance = SAME[form]
    expected = picture() if image.mode in ("RGB", "RGBA", "CMYK", "P") else image
    expected = grey() if image.mode in ("LA", "I;16") else expected
    assert difference(read_photo(stored(image, kind, **options)), expected) <= tolerance


@pytest.mark.parametrize("full", [picture(), grey()], ids=["RGBA", "LA"])
def test_transparent_parts_are_on_white(full: Image.Image) -> None:
    alpha = Image.new("L", SIZE, 255)
    alpha.paste(0, (0, 0, 16, 32))
    alpha.paste(128, (16, 0, 32, 32))
    image = full.copy()
    image.putalpha(alpha)
    photo = np.asarray(read_photo(stored(image, "PNG")), float)
    full = np.asarray(full.convert("RGB"), float)
    assert (photo[:, :16] == 255).all()
    assert np.abs(photo[:, 16:32] - (full[:, 16:32] * 128 + 255 * 127) / 255).max() <= 1
    assert (photo[:, 32:] == full[:, 32:]).all()


def test_of_an_animation_the_first_picture() -> None:
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "blue", "green")]
    content = stored(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    assert difference(read_photo(content), frames[0]) == 0


REFUSED = {
    "is empty": b"",
    "is no picture of a format that can be read": b"no picture at all " * 20,
    r"cannot be read \((image file is truncated|Truncated)": turned(1)[:400],
    r"cannot be read \(": stored(picture(), "PNG")[:-60],
    "has 32 bits a pixel.*save it with 8 or 16": stored(grey().convert("I"), "TIFF"),
    "has 32 bits a pixel": stored(grey().convert("F"), "TIFF"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, text: str) -> None:
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
