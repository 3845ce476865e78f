"""The drawn data set: the same bytes each time, the release's oddities, plausible shares."""

import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unet.data.oxford_pets import ANNOTATIONS, IMAGE_MEMBERS, IMAGES, breed, members, read_index
from unet.data.synthetic import BACKGROUND, BREEDS, write_archives


def test_the_same_number_gives_the_same_bytes(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 4e9)  # years later
    write_archives(tmp_path / "again", num_images=48)
    write_archives(tmp_path / "fewer", num_images=40)
    for name in (IMAGES, ANNOTATIONS):
        assert (tmp_path / "again" / name).read_bytes() == (raw / name).read_bytes()
        assert (tmp_path / "fewer" / name).read_bytes() != (raw / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "again").iterdir()) == sorted([IMAGES, ANNOTATIONS])


def test_it_has_the_releases_oddities(raw: Path) -> None:
    def opened(content: bytes) -> Image.Image:
        return Image.open(io.BytesIO(content))

    index = read_index(raw / ANNOTATIONS)
    images = {name: opened(content) for name, content in members(raw / IMAGES, IMAGE_MEMBERS)}
    trimaps = {name: np.asarray(opened(content)) for name, content in index.trimaps.items()}
    forms = [(image.format, image.mode) for image in images.values()]
    odd = [("JPEG", "L"), ("PNG", "P"), ("PNG", "RGBA")]
    assert sorted(form for form in forms if form != ("JPEG", "RGB")) == odd
    assert [name for name, _ in members(raw / IMAGES, re.compile(r"(.*\.mat)"))]
    listed = index.lists["trainval"] + index.lists["test"]
    assert images.keys() == trimaps.keys() and index.num_junk == len(trimaps) == 48
    assert len(images.keys() - set(listed)) == 1 and len(listed) == 47
    assert sum(set(np.unique(trimap)) == {BACKGROUND} for trimap in trimaps.values()) == 1
    for name in BREEDS:
        counts = [sum(breed(n) == name for n in index.lists[kind]) for kind in ("trainval", "test")]
        assert abs(counts[0] - counts[1]) <= 1 and sum(counts) in (7, 8)
