"""From archives to arrays: what they contain, what is left out, and what cannot be used."""

import io
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from tests.forms import saved
from unet.data import packing
from unet.data.config import DataConfig, PreprocessConfig
from unet.data.masks import BACKGROUND, BOUNDARY, OBJECT
from unet.data.oxford_pets import ANNOTATIONS, IMAGES, md5, read_trimap
from unet.data.packing import pack, pack_into

SIZE = 32
SPLITS = ("train", "val", "test")
Files = dict[str, bytes]
Packed = tuple[Path, dict[str, Any]]


def contents(archive: Path) -> Files:
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def write(archive: Path, files: Files) -> None:
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def data_config(raw: Path | None = None, source: str = "official") -> DataConfig:
    return DataConfig(
        path="data/raw", object_values="auto", not_counted=None, source=source, url="unused",
        images_md5=md5(raw / IMAGES) if raw else "0" * 32,
        annotations_md5=md5(raw / ANNOTATIONS) if raw else "0" * 32, num_synthetic=48,
    )  # fmt: skip


def config(*, split: str = "official", limit: int | None = None) -> PreprocessConfig:
    return PreprocessConfig(
        image_size=SIZE, split=split, val_fraction=0.2, test_fraction=0.2, seed=0, limit=limit
    )


def arrays(folder: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    names = (folder / "names.txt").read_text(encoding="utf-8").splitlines()
    return np.load(folder / "images.npy"), np.load(folder / "masks.npy"), names


def rows(out: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> image and mask, of all splits."""
    found = [zip(*arrays(out / split), strict=True) for split in SPLITS]
    return {name: (image, mask) for split in found for image, mask, name in split}


def tree(folder: Path) -> Files:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def files(raw: Path) -> tuple[Files, Files]:
    """The members of both archives: images, annotations."""
    return contents(raw / IMAGES), contents(raw / ANNOTATIONS)


@pytest.fixture(scope="module")
def packed(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    out = tmp_path_factory.mktemp("out") / "packed"
    return out, pack(raw, out, data_config(), config())


def write_pair(folder: Path, files: tuple[Files, Files]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, found in zip((IMAGES, ANNOTATIONS), files, strict=True):
        write(folder / name, found)
    return folder


def read_pair(image: bytes, trimap: bytes) -> tuple[Any, ...]:
    """The image and its mask."""
    source = SimpleNamespace(masks={"a": trimap}, read_mask=read_trimap)
    image, masks, _ = packing._read_pair(("a", image), source=source, size=SIZE)
    return image, masks[""]


def test_each_row_is_its_image_and_its_trimap_as_a_mask(
    packed: Packed, files: tuple[Files, Files]
) -> None:
    modes = set()
    for name, (image, mask) in rows(packed[0]).items():
        with Image.open(io.BytesIO(files[0][f"images/{name}.jpg"])) as source:
            modes.add(source.mode)
            expected = source.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image, np.asarray(expected), err_msg=name)
        with Image.open(io.BytesIO(files[1][f"annotations/trimaps/{name}.png"])) as source:
            codes = np.asarray(source.resize((SIZE, SIZE), Image.Resampling.NEAREST))
        expected = np.choose(codes - 1, [OBJECT, BACKGROUND, BOUNDARY])
        np.testing.assert_array_equal(mask, expected, err_msg=name)
    assert modes == {"RGB", "L", "P", "RGBA"}


def test_the_source_is_named(raw: Path, tmp_path: Path) -> None:
    sources = {
        "official": data_config(raw),
        "mirror": data_config(),
        "synthetic": data_config(raw, source="synthetic"),
    }
    for expected, data in sources.items():
        summary = pack(raw, tmp_path / expected, data, config(limit=2))
        assert summary["source"] == expected
        assert summary["archives_md5"] == {name: md5(raw / name) for name in (IMAGES, ANNOTATIONS)}


def test_the_same_bytes_in_any_order_and_from_the_unpacked_release(
    raw: Path, files: tuple[Files, Files], packed: Packed, tmp_path: Path
) -> None:
    write_pair(tmp_path / "reversed", tuple(dict(reversed(f.items())) for f in files))
    for archive in raw.glob("*.tar.gz"):
        shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    for folder, sums in ((raw, 2), (tmp_path / "reversed", 2), (tmp_path / "unpacked", 0)):
        out = tmp_path / f"out of {folder.name}"
        summary = pack(folder, out, data_config(), config())
        assert tree(out) == tree(packed[0]) and len(tree(out)) == 9
        assert len(summary["archives_md5"]) == sums
        assert summary | {"archives_md5": {}} == packed[1] | {"archives_md5": {}}


def test_what_is_wrong_in_a_release_is_named_at_once(
    files: tuple[Files, Files], tmp_path: Path
) -> None:
    images, annotations = dict(files[0]), dict(files[1])
    lines = annotations["annotations/trainval.txt"].decode().splitlines()
    no_trimap, no_image, unknown, palette = (line.split()[0] for line in lines[:4])
    del annotations[f"annotations/trimaps/{no_trimap}.png"]
    del images[f"images/{no_image}.jpg"]
    strange = np.full((40, 50), 2, dtype=np.uint8)
    strange[7, 9] = 7
    annotations[f"annotations/trimaps/{unknown}.png"] = saved(Image.fromarray(strange), "PNG")
    annotations[f"annotations/trimaps/{palette}.png"] = saved(Image.new("P", (40, 50), 1), "PNG")
    write_pair(tmp_path, (images, annotations))
    with pytest.raises(ValueError) as caught:
        pack(tmp_path, tmp_path / "out", data_config(), config())
    message = str(caught.value)
    assert message.startswith(f"4 files of {tmp_path} cannot be used")
    for expected in (
        f"{no_trimap}: has no trimap", f"{no_image}: has no photograph",
        "its mask is not grey (mode L) with the codes 1, 2 and 3",
    ):  # fmt: skip
        assert expected in message


@pytest.mark.parametrize("there_before", [True, False])
def test_a_failed_packing_leaves_what_was_there_and_says_how_many_files(
    files: tuple[Files, Files], tmp_path: Path, there_before: bool
) -> None:
    folder = tmp_path / "packed"
    if there_before:
        folder.mkdir()
        (folder / "good").write_text("old")
    with pytest.raises(ValueError, match=r"^47 files .*: (\w+, ){12}… \(47 in all\): has n"):
        pack_into(folder, write_pair(tmp_path / "raw", ({}, files[1])), data_config(), config())
    assert tree(folder) == ({"good": b"old"} if there_before else {})
    assert not folder.with_name(".packed").exists()


@settings(deadline=None, max_examples=40)
@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
def test_trimaps_are_shrunk_as_torchs_nearest_exact(height: int, width: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(1, 4, (height, width), dtype=np.uint8)
    trimap, image = Image.fromarray(codes), Image.new("RGB", (width, height), (1, 200, 3))
    found, mask = read_pair(saved(image, "PNG"), saved(trimap, "PNG"))
    tensor = torch.from_numpy(np.choose(codes - 1, [OBJECT, BACKGROUND, BOUNDARY]))[None, None]
    expected = F.interpolate(tensor.float(), size=(SIZE, SIZE), mode="nearest-exact")[0, 0]
    np.testing.assert_array_equal(mask, expected.numpy())
    assert (found == (1, 200, 3)).all(), "one colour stays one colour"


def test_a_mask_of_boundary_alone_is_not_background_only(
    files: tuple[Files, Files], packed: Packed, tmp_path: Path
) -> None:
    path = f"annotations/trimaps/{arrays(packed[0] / 'train')[2][0]}.png"
    band = saved(Image.new("L", Image.open(io.BytesIO(files[1][path])).size, 3), "PNG")
    folder = write_pair(tmp_path / "raw", (files[0], files[1] | {path: band}))
    summary = pack(folder, tmp_path / "out", data_config(), config())
    assert summary["background_only"] == packed[1]["background_only"]
