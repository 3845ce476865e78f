"""Photographs and masks in any form mean what was stored in them, or are refused in one line."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import forms
from tests.forms import ODD, PLAIN, PROFILE, UNDERSTOOD, Photo, exif, saved, soft
from tests.photographs import SIZE, other_model, photograph
from tests.repo import ROOT
from unet.config import load_params
from unet.data import photos
from unet.data.masks import OBJECT
from unet.data.packed import load_split
from unet.data.packing import pack_into
from unet.data.photos import is_photo, read_photo
from unet.inference.predict import predict, to_picture

MODEL = other_model()
pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged files


def off(found: Image.Image, photo: Photo) -> float:
    assert found.size == photo.upright.shape[1::-1]
    return float(np.abs(np.asarray(found, float) - photo.upright).mean())


@settings(deadline=None, max_examples=150)
@given(forms.photographs())
def test_a_photograph_is_the_same_however_it_is_stored_and_given(
    tmp_path_factory: pytest.TempPathFactory, photo: Photo
) -> None:
    path = tmp_path_factory.mktemp("photo") / "any"
    path.write_bytes(photo.content)
    read = read_photo(path)
    assert off(read, photo) <= photo.off
    for given_as in (path, Image.open(path), read):
        assert np.array_equal(to_picture(given_as), read)


@settings(deadline=None, max_examples=80)
@given(forms.damaged())
def test_a_damaged_file_is_refused_in_a_line_that_names_it(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[bytes, Photo | None]
) -> None:
    content, whole = case
    path = tmp_path_factory.mktemp("photo") / "damaged.jpg"
    path.write_bytes(content)
    try:
        predict(path, MODEL, tta=False)
    except ValueError as error:
        assert str(error).startswith(f"{path} ") and len(str(error).splitlines()) == 1
    else:  # what is lacking was not needed
        assert whole is not None
        assert whole.off == 255 or off(read_photo(path), whole) <= whole.off


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([*UNDERSTOOD, *ODD]), forms.objects(48, 64))
def test_a_mask_is_packed_as_its_plain_form_or_refused(
    tmp_path_factory: pytest.TempPathFactory, form: str, mask: np.ndarray
) -> None:
    folder = tmp_path_factory.mktemp("own")
    out = folder.with_name(f"{folder.name} packed")
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for name in "abcd":
        draw, kind = (UNDERSTOOD | ODD)[form] if name == "a" else PLAIN
        drawn = soft(mask) > 127 if form == "antialiased" and name != "a" else mask
        draw(drawn).save(folder / f"masks/{name}.{kind.lower()}", kind)
        Image.new("RGB", (64, 48)).save(folder / f"images/{name}.png")
    params = load_params(ROOT / "params.yaml")
    data = replace(params.data, path=str(folder))
    try:
        pack_into(out, folder, data, replace(params.preprocess, image_size=32))
    except ValueError as error:
        assert form in ODD and "a: its mask " in str(error)
        assert len(str(error).splitlines()) == 1
        return
    packed = {}
    for split in ("train", "val", "test"):
        found = load_split(out / split, torch.device("cpu"))
        packed |= dict(zip(found.names, found.masks, strict=True))
    different = (packed["a"] != packed["b"]).float().mean()
    assert different <= (0.03 if form == "JPEG" else 0)
    assert (packed["b"] == OBJECT).any()


def test_a_turned_picture_is_turned_once() -> None:
    stored = photograph().transpose(Image.Transpose.ROTATE_90)
    photo = read_photo(saved(stored, "PNG", exif=exif(6)))
    assert photo.size == SIZE and np.array_equal(read_photo(photo), photo)
    photo = read_photo(saved(stored, "PNG", exif=exif(6), icc_profile=PROFILE, dpi=(72, 72)))
    assert photo.info == {"icc_profile": PROFILE}


REFUSED = {
    "is no picture of a format that can be read": b"",
    r"cannot be read \((image file is truncated|Truncated)": saved(photograph(), "JPEG")[:700],
    "has 32 bits a pixel.*save it with 8 or 16": forms.NO_PICTURES[-1],
}


@pytest.mark.parametrize("text", REFUSED)
def test_why_it_cannot_be_read_is_said_for_the_caller_to_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(REFUSED[text])
    for source in (tmp_path / "photo.jpg", REFUSED[text]):
        with pytest.raises(ValueError, match=f"^{text}"):
            read_photo(source)


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
