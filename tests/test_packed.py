"""The packed arrays: written, opened on a device or memory-mapped, and cut into batches; and each
rule of a mask's boundary."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from unet.data import packed
from unet.data.masks import (
    BACKGROUND,
    BOUNDARY,
    BOUNDARY_RULES,
    NOT_COUNTED,
    OBJECT,
    without_boundary,
)
from unet.data.packed import create_split, data_title, load_split

CPU = torch.device("cpu")
NUM, SIZE = 7, 16
NAMES = [f"Größe {i}\u2028" for i in range(NUM)]
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (NUM, SIZE, SIZE, 3), dtype=np.uint8)
IMAGES[0, 0, 0] = (0, 128, 255)
MASKS = RANDOM.choice(np.array([0, 1, 2, 255], dtype=np.uint8), (NUM, SIZE, SIZE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images, masks = create_split(tmp_path / "packed/train", NAMES, SIZE)
    for row in reversed(range(NUM)):
        images[row], masks[row] = IMAGES[row], MASKS[row]
    return tmp_path / "packed/train"


@pytest.fixture(params=["resident", "memory-mapped"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "memory-mapped":
        monkeypatch.setattr(packed, "free_memory", lambda device: 0)
    return request.param


def test_round_trip(folder: Path, memory: str) -> None:
    split = load_split(folder, CPU)
    assert (len(split), split.image_size, split.names) == (NUM, SIZE, tuple(NAMES))
    np.testing.assert_array_equal(split.images.numpy(), IMAGES)
    np.testing.assert_array_equal(split.masks.numpy(), MASKS)
    before = (folder / "images.npy").read_bytes()
    split.images.zero_()
    assert (folder / "images.npy").read_bytes() == before, "nothing is written back"


def test_what_fits_is_a_copy_and_what_does_not_is_mapped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_bytes = NUM * SIZE * SIZE * 4
    for free, copied in [(2 * num_bytes, True), (2 * num_bytes - 1, False)]:
        monkeypatch.setattr(packed, "free_memory", lambda device, free=free: free)
        split = load_split(folder, CPU)
        array = np.load(folder / "masks.npy", mmap_mode="r+")
        array[0, 0, 0] ^= 1
        array.flush()
        assert (int(split.masks[0, 0, 0]) != int(array[0, 0, 0])) == copied


def test_a_batch(folder: Path, memory: str) -> None:
    split, rows = load_split(folder, CPU), [3, 0, 3]
    images, masks = split.batch(torch.tensor(rows), CPU)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert (images.dtype, masks.dtype) == (torch.float32, torch.uint8)
    wanted = IMAGES[rows].transpose(0, 3, 1, 2).astype(np.float32) / 255
    np.testing.assert_array_equal(images.numpy(), wanted)
    np.testing.assert_array_equal(masks.numpy(), MASKS[rows])
    assert images[1, :, 0, 0].tolist() == pytest.approx([0, 128 / 255, 1])
    images.zero_()
    masks.zero_()
    np.testing.assert_array_equal(split.images.numpy(), IMAGES)
    np.testing.assert_array_equal(split.masks.numpy(), MASKS)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="test cannot be read: run `dvc repro preprocess`"):
        load_split(tmp_path / "test", CPU)


LINE = [OBJECT] * 2 + [BOUNDARY] + [BACKGROUND] * 4 + [NOT_COUNTED]
SHARES = {None: 8 / 28, "background": 8 / 28, "object": 12 / 28, "ignore": 8 / 24, "middle": 8 / 28}


@pytest.mark.parametrize("boundary", SHARES)
def test_the_share_of_the_foreground_is_counted_after_the_rule(
    tmp_path: Path, memory: str, boundary: str | None
) -> None:
    create_split(tmp_path / "train", ["cat_1", "cat_2"], 8)[1][:] = LINE
    split = load_split(tmp_path / "train", CPU, boundary=boundary)
    assert split.foreground_share == SHARES[boundary]
    assert split.partly_counted
    assert (split.masks == BOUNDARY).any() == (boundary is None)
    stored = np.load(tmp_path / "train" / "masks.npy")
    assert (stored == LINE).all(), "the packed bytes stay"


def test_the_title_says_whose_images() -> None:
    assert data_title({"source": "mirror", "split": "sorted"}) == "sorted split"
    assert data_title({"source": "synthetic", "split": "official"}).startswith("drawn images, ")
    about = {"source": "folder", "split": "random", "path": "/a/own"}
    assert data_title(about) == "images of own, random split"


BECOMES = {"background": BACKGROUND, "object": OBJECT, "ignore": NOT_COUNTED}
a_mask = arrays(
    np.uint8,
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.sampled_from([0, 1, 2, 255]),
)


@settings(deadline=None, max_examples=300)
@given(mask=a_mask, rule=st.sampled_from(list(BOUNDARY_RULES)))
def test_a_rule_changes_the_boundary_alone(mask: np.ndarray, rule: str) -> None:
    """In the middle each pixel belongs to the nearer, a tie to the background."""
    before, expected = mask.copy(), mask.copy()
    found = without_boundary(torch.from_numpy(mask)[None], rule)
    assert found.dtype == torch.uint8
    assert (mask == before).all(), "the masks given stay as they are"
    objects, background = np.argwhere(mask == OBJECT), np.argwhere(mask == BACKGROUND)
    for pixel in np.argwhere(mask == BOUNDARY):
        nearer = BACKGROUND
        if len(objects) and len(background):
            of_object, of_background = (
                ((pixels - pixel) ** 2).sum(1).min() for pixels in (objects, background)
            )
            nearer = OBJECT if of_object < of_background else BACKGROUND
        expected[tuple(pixel)] = BECOMES.get(rule, nearer)
    np.testing.assert_array_equal(found[0], expected)
