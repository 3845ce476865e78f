"""The packed arrays: written, opened on a device or memory-mapped, and cut into batches."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unet.data import packed
from unet.data.masks import BACKGROUND, BOUNDARY, NOT_COUNTED, OBJECT
from unet.data.packed import SplitWriter, Summary, free_memory, load_split, load_summary

CPU = torch.device("cpu")
NUM, SIZE = 7, 16


@pytest.fixture(scope="module")
def expected() -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (NUM, SIZE, SIZE, 3), dtype=np.uint8)
    images[0, 0, 0] = (0, 128, 255)
    masks = rng.choice(np.array([0, 1, 2, 255], dtype=np.uint8), (NUM, SIZE, SIZE))
    return images, masks, [f"Größe_{i}" for i in range(NUM)]


def written(folder: Path, expected: tuple[np.ndarray, np.ndarray, list[str]]) -> Path:
    with SplitWriter(folder, expected[2], SIZE) as writer:
        for row in reversed(range(NUM)):
            writer.write_image(row, expected[0][row])
            writer.write_mask(row, expected[1][row])
    return folder


@pytest.fixture
def folder(tmp_path: Path, expected: tuple[np.ndarray, np.ndarray, list[str]]) -> Path:
    return written(tmp_path / "packed" / "train", expected)


@pytest.fixture(params=["resident", "memory-mapped"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "memory-mapped":
        monkeypatch.setattr(packed, "free_memory", lambda device: 0)
    return request.param


def test_round_trip(
    folder: Path, memory: str, expected: tuple[np.ndarray, np.ndarray, list[str]]
) -> None:
    split = load_split(folder, CPU)
    assert len(split) == NUM
    np.testing.assert_array_equal(split.images.numpy(), expected[0])
    np.testing.assert_array_equal(split.masks.numpy(), expected[1])
    assert split.names == tuple(expected[2])


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


def test_mapped_arrays_are_not_written_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "free_memory", lambda device: 0)
    before = (folder / "images.npy").read_bytes()
    load_split(folder, CPU).images.zero_()
    assert (folder / "images.npy").read_bytes() == before


def test_a_batch(
    folder: Path, memory: str, expected: tuple[np.ndarray, np.ndarray, list[str]]
) -> None:
    rows = [3, 0, 3]
    images, masks = load_split(folder, CPU).batch(torch.tensor(rows), CPU)
    assert images.shape == (3, 3, SIZE, SIZE)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.stride()[1] == 1
    assert masks.shape == (3, SIZE, SIZE)
    assert masks.dtype == torch.uint8
    wanted = expected[0][rows].transpose(0, 3, 1, 2).astype(np.float32) / 255
    np.testing.assert_array_equal(images.numpy(), wanted)
    np.testing.assert_array_equal(masks.numpy(), expected[1][rows])
    assert images[1, :, 0, 0].tolist() == pytest.approx([0, 128 / 255, 1])
    assert 0 <= float(images.min()) <= float(images.max()) <= 1


def test_a_batch_is_its_own(folder: Path, memory: str) -> None:
    split = load_split(folder, CPU)
    images, masks = split.batch(torch.arange(NUM), CPU)
    kept = split.images.clone(), split.masks.clone()
    images.zero_()
    masks.zero_()
    assert torch.equal(split.images, kept[0])
    assert torch.equal(split.masks, kept[1])


@settings(deadline=None, max_examples=25)
@given(rows=st.lists(st.integers(0, NUM - 1), max_size=12))
def test_both_ways_give_equal_batches(
    rows: list[int],
    expected: tuple[np.ndarray, np.ndarray, list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = written(tmp_path_factory.mktemp("packed"), expected)
    indices = torch.tensor(rows, dtype=torch.long)
    resident = load_split(folder, CPU).batch(indices, CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "free_memory", lambda device: 0)
        mapped = load_split(folder, CPU).batch(indices, CPU)
    for one, other in zip(resident, mapped, strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()


@pytest.mark.parametrize("name", ["images.npy", "masks.npy", "names.txt"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ValueError, match="run `dvc repro preprocess`") as caught:
        load_split(folder, CPU)
    assert str(folder) in str(caught.value)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run `dvc repro preprocess`"):
        load_split(tmp_path / "test", CPU)


@pytest.mark.parametrize("keep", [0, 5, 60, 400])
@pytest.mark.parametrize("name", ["images.npy", "masks.npy"])
def test_a_truncated_array(folder: Path, name: str, keep: int) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    with pytest.raises(ValueError, match="run `dvc repro preprocess`"):
        load_split(folder, CPU)


def test_files_that_disagree(folder: Path) -> None:
    (folder / "names.txt").write_text("one\ntwo\n", encoding="utf-8")
    with pytest.raises(ValueError, match="damaged.*run `dvc repro -f preprocess`"):
        load_split(folder, CPU)


def save_as(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(path, change(np.load(path)))


@pytest.mark.parametrize("name", ["images.npy", "masks.npy"])
@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.astype(np.float32),
        lambda array: array.astype(np.int8),
        lambda array: array.astype("U1"),
        lambda array: array[:, 1:],
        lambda array: array[:-1],
        lambda array: array[..., 0],
        lambda array: array[None],
    ],
    ids=["float32", "int8", "text", "a row less", "an image less", "an axis less", "an axis more"],
)
def test_arrays_of_another_kind(
    folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    save_as(folder / name, change)
    with pytest.raises(ValueError, match=r"run `dvc repro (-f )?preprocess`") as caught:
        load_split(folder, CPU)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_summary(tmp_path: Path) -> None:
    content = {"image_size": 32, "source": "mirror", "split": "sorted", "splits": {}}
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    assert load_summary(tmp_path) == Summary(source="mirror", split="sorted")


LINE = [OBJECT] * 2 + [BOUNDARY] + [BACKGROUND] * 4 + [NOT_COUNTED]


@pytest.mark.parametrize(
    ("boundary", "share"),
    [
        (None, 8 / 28), ("background", 8 / 28), ("object", 12 / 28), ("ignore", 8 / 24),
        ("middle", 8 / 28),
    ],
)  # fmt: skip
def test_the_share_of_the_foreground_is_counted_after_the_rule(
    tmp_path: Path, memory: str, boundary: str | None, share: float
) -> None:
    mask = np.array([LINE] * 8, dtype=np.uint8)
    with SplitWriter(tmp_path / "train", ["cat_1", "cat_2"], 8) as writer:
        for row in range(2):
            writer.write_image(row, np.zeros((8, 8, 3), np.uint8))
            writer.write_mask(row, mask)
    split = load_split(tmp_path / "train", CPU, boundary=boundary)
    assert split.foreground_share == share
    assert split.partly_counted
    assert (split.masks == BOUNDARY).any() == (boundary is None)
    stored = np.load(tmp_path / "train" / "masks.npy")
    assert (stored == mask).all(), "the packed bytes stay"


@pytest.mark.parametrize("content", [None, "", '{"image_size": '])
def test_no_summary(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "dataset.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="run `dvc repro preprocess`") as caught:
        load_summary(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "dataset.json"))


def test_free_memory() -> None:
    assert free_memory(CPU) > 1 << 20
    assert free_memory(torch.device("meta")) == 0
