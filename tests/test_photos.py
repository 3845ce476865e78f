"""One picture in all the file formats of cameras, scanners and web pages."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from unet.data import photos
from unet.data.photos import HEIF, ORIENTATION, UPRIGHT, is_photo, read_photo, read_upright

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
    assert photo.mode == expected.mode == "RGB"
    assert photo.size == expected.size
    return float(np.abs(np.asarray(photo, float) - np.asarray(expected, float)).mean())


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
    image = Image.open(path)
    image.load()
    return image


GIVEN = {
    "path": Path,
    "content": Path.read_bytes,
    "opened": Image.open,
    "loaded": loaded,
    "copied": lambda path: Image.open(path).copy(),
    "converted": lambda path: Image.open(path).convert("RGBA"),
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
            untouched = give(path)
            untouched.load()
            assert source == untouched and source.getexif() == untouched.getexif(), way
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


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_a_tag_that_means_nothing_turns_nothing(orientation: int) -> None:
    assert difference(read_photo(turned(orientation)), picture()) < 2


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_turned_picture_is_turned_once(orientation: int) -> None:
    photo = read_photo(turned(orientation))
    assert difference(read_photo(photo), photo) == 0


def test_the_colour_profile_is_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = read_photo(stored(picture(), "PNG", icc_profile=profile, dpi=(72, 72)))
    assert photo.info == {"icc_profile": profile}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_a_damaged_tag_is_none(exif: bytes) -> None:
    assert difference(read_photo(stored(picture(), "JPEG", quality=98, exif=exif)), picture()) < 2


def opaque() -> Image.Image:
    image = picture().convert("RGBA")
    assert image.getextrema()[3] == (255, 255)
    return image


def grey_16_bit() -> Image.Image:
    return Image.fromarray(np.asarray(grey()).astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("content", "expected", "tolerance"),
    [
        (stored(picture(), "PNG"), picture(), 0),
        (stored(picture(), "BMP"), picture(), 0),
        (stored(picture(), "TIFF", compression="tiff_lzw"), picture(), 0),
        (stored(picture(), "WEBP", lossless=True), picture(), 0),
        (stored(picture(), "AVIF", quality=95), picture(), 3),
        (stored(picture(), "JPEG", progressive=True, quality=98), picture(), 2),
        (stored(picture().convert("CMYK"), "JPEG", quality=98), picture(), 3),
        (stored(picture().convert("CMYK"), "TIFF"), picture(), 1),
        (stored(opaque(), "PNG"), picture(), 0),
        (stored(picture().quantize(256), "PNG"), picture(), 6),
        (stored(picture().quantize(256), "GIF"), picture(), 6),
        (stored(grey(), "PNG"), grey().convert("RGB"), 0),
        (stored(grey(), "JPEG", quality=98), grey().convert("RGB"), 2),
        (stored(grey().convert("LA"), "PNG"), grey().convert("RGB"), 0),
        (stored(grey_16_bit(), "PNG"), grey().convert("RGB"), 0),
        (stored(grey_16_bit(), "TIFF"), grey().convert("RGB"), 0),
        (stored(picture().convert("1"), "PNG"), picture().convert("1").convert("RGB"), 0),
    ],
    ids=[
        "PNG", "BMP", "TIFF", "WebP", "AVIF", "progressive", "CMYK JPEG", "CMYK TIFF", "opaque",
        "palette PNG", "palette GIF", "grey PNG", "grey JPEG", "grey with alpha", "16-bit PNG",
        "16-bit TIFF", "black and white",
    ],
)  # fmt: skip
def test_the_same_picture_in_every_form(
    content: bytes, expected: Image.Image, tolerance: float
) -> None:
    assert difference(read_photo(content), expected) <= tolerance


def test_sixteen_bits_are_not_clipped() -> None:
    """What Pillow's own conversion does: all above 255 of 65535 is white."""
    assert np.asarray(grey_16_bit().convert("RGB")).min() == 255
    assert np.asarray(read_photo(stored(grey_16_bit(), "PNG"))).max() < 255


def with_alpha() -> bytes:
    image = picture()
    alpha = Image.new("L", SIZE, 255)
    alpha.paste(0, (0, 0, 16, 32))
    alpha.paste(128, (16, 0, 32, 32))
    image.putalpha(alpha)
    return stored(image, "PNG")


def with_alpha_of_grey() -> bytes:
    alpha = Image.open(io.BytesIO(with_alpha())).getchannel("A")
    return stored(Image.merge("LA", [grey(), alpha]), "PNG")


@pytest.mark.parametrize(
    ("content", "full"),
    [(with_alpha(), picture()), (with_alpha_of_grey(), grey().convert("RGB"))],
    ids=["RGBA", "LA"],
)
def test_transparent_parts_are_on_white(content: bytes, full: Image.Image) -> None:
    photo, full = np.asarray(read_photo(content), float), np.asarray(full, float)
    assert (photo[:, :16] == 255).all()
    assert np.abs(photo[:, 16:32] - (full[:, 16:32] * 128 + 255 * 127) / 255).max() <= 1
    assert (photo[:, 32:] == full[:, 32:]).all()


def test_a_palette_s_transparent_colour_is_white() -> None:
    image = Image.new("P", SIZE, 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 10, 32))
    photo = np.asarray(read_photo(stored(image, "PNG", transparency=1)))
    assert (photo[:, :10] == 255).all()
    assert (photo[:, 10:] == (10, 20, 30)).all()


def test_of_an_animation_the_first_picture() -> None:
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "blue", "green")]
    content = stored(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    assert Image.open(io.BytesIO(content)).n_frames == 3
    assert difference(read_photo(content), frames[0]) == 0


def garbage() -> bytes:
    return b"no picture at all " * 20


def cut_off() -> bytes:
    content = stored(picture(), "JPEG", quality=98)
    return content[: len(content) // 2]


def png_cut_off() -> bytes:
    return stored(picture(), "PNG")[:-60]


def integers() -> bytes:
    return stored(Image.fromarray(np.asarray(grey()).astype(np.int32) * 70000), "TIFF")


def floats() -> bytes:
    return stored(Image.fromarray(np.asarray(grey()).astype(np.float32)), "TIFF")


def heic() -> bytes:
    return b"\0\0\0\x18ftypheic" + bytes(200)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (bytes, "is empty"),
        (garbage, "is no picture of a format that can be read"),
        (cut_off, r"cannot be read \((image file is truncated|Truncated)"),
        (png_cut_off, r"cannot be read \("),
        (integers, r"cannot be read \(32 bits a pixel.*save it with 8 or 16"),
        (floats, r"cannot be read \(32 bits a pixel"),
        pytest.param(
            heic, "is a HEIC file: `pip install pillow-heif`",
            marks=pytest.mark.skipif(HEIF, reason="pillow-heif is here"),
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, make: Callable[[], bytes], text: str
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(make())
    for source in (path, make()):
        with pytest.raises(ValueError, match=text) as error:
            read_photo(source)
        assert "\n" not in str(error.value)
        assert "photo.jpg" not in str(error.value)  # the caller names it


def test_no_file_and_no_permission_are_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be read \(No such file"):
        read_photo(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory"):
        read_photo(tmp_path)


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
    monkeypatch.setattr(photos, "MAX_PIXELS", SIZE[0] * SIZE[1])
    read_photo(content)
    monkeypatch.setattr(photos, "MAX_PIXELS", SIZE[0] * SIZE[1] - 1)
    for source in (content, picture()):
        with pytest.raises(ValueError, match="has more than"):
            read_photo(source)


@pytest.mark.parametrize(
    "name", ["a.jpg", "A (1).JPEG", "b.PNG", "c.webp", "d.tif", "e.gif", "f.avif", "IMG_1.HEIC"]
)
def test_pictures_by_name(name: str) -> None:
    assert is_photo(Path("folder") / name)


@pytest.mark.parametrize("name", ["notes.txt", "._a.jpg", ".jpg", "a.jpg.part", "jpg", "a.npy"])
def test_no_pictures_by_name(name: str) -> None:
    assert not is_photo(Path(name))
