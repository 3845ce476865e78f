"""From archives to arrays: what they contain, what is left out, and what cannot be used."""

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from unet.data import packing
from unet.data.config import DataConfig, PreprocessConfig
from unet.data.masks import BACKGROUND, BOUNDARY, OBJECT
from unet.data.oxford_pets import ANNOTATIONS, IMAGES, TRIMAP_CODES, is_junk, md5
from unet.data.packed import load_split, load_summary
from unet.data.packing import pack, pack_into
from unet.data.sources import OxfordPets
from unet.runtime.files import exclusive

SIZE = 32
Files = dict[str, bytes]


def contents(archive: Path) -> Files:
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def write(archive: Path, files: Files) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def data_config(raw: Path | None = None, source: str = "official") -> DataConfig:
    return DataConfig(
        path="data/raw",
        object_values="auto",
        not_counted=None,
        source=source,
        url="unused",
        images_md5=md5(raw / IMAGES) if raw else "0" * 32,
        annotations_md5=md5(raw / ANNOTATIONS) if raw else "0" * 32,
        num_synthetic=48,
    )


def config(*, split: str = "official", limit: int | None = None) -> PreprocessConfig:
    return PreprocessConfig(
        image_size=SIZE, split=split, val_fraction=0.2, test_fraction=0.2, seed=0, limit=limit
    )


def arrays(folder: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    names = (folder / "names.txt").read_text(encoding="utf-8").splitlines()
    return np.load(folder / "images.npy"), np.load(folder / "masks.npy"), names


def as_mask(trimap: np.ndarray) -> np.ndarray:
    """The release's codes as ours: 1 (pet) is the object, 2 background, 3 boundary."""
    assert TRIMAP_CODES == {1: OBJECT, 2: BACKGROUND, 3: BOUNDARY}
    return np.choose(trimap - 1, [OBJECT, BACKGROUND, BOUNDARY]).astype(np.uint8)


def read_image(content: bytes, size: int) -> np.ndarray | str:
    found = packing._read_photo("name", content, size=size)
    return found if isinstance(found, str) else found.image


def read_trimap(content: bytes, size: int) -> np.ndarray | str:
    source = object.__new__(OxfordPets)
    found = packing._read_mask("name", content, source=source, photos={}, size=size)
    return found if isinstance(found, str) else found.mask


@pytest.fixture(scope="module")
def files(raw: Path) -> tuple[Files, Files]:
    """The members of both archives: images, annotations."""
    return contents(raw / IMAGES), contents(raw / ANNOTATIONS)


@pytest.fixture(scope="module")
def packed(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("out") / "packed"
    return out, pack(raw, out, data_config(), config())


def test_shapes_and_names(packed: tuple[Path, dict[str, Any]], files: tuple[Files, Files]) -> None:
    out, summary = packed
    listed = {
        which: sorted(
            line.split()[0] for line in files[1][f"annotations/{which}.txt"].decode().splitlines()
        )
        for which in ("trainval", "test")
    }
    names = {}
    for split in ("train", "val", "test"):
        images, masks, names[split] = arrays(out / split)
        n = len(names[split])
        assert summary["splits"][split]["images"] == n
        assert (images.shape, images.dtype) == ((n, SIZE, SIZE, 3), np.uint8)
        assert (masks.shape, masks.dtype) == ((n, SIZE, SIZE), np.uint8)
        assert names[split] == sorted(names[split])
    assert sorted(names["train"] + names["val"]) == listed["trainval"]
    assert names["test"] == listed["test"]


def test_each_row_is_its_image_and_its_trimap_as_a_mask(
    packed: tuple[Path, dict[str, Any]], files: tuple[Files, Files]
) -> None:
    modes = set()
    for split in ("train", "val", "test"):
        for image, mask, name in zip(*arrays(packed[0] / split), strict=True):
            with Image.open(io.BytesIO(files[0][f"images/{name}.jpg"])) as source:
                modes.add(source.mode)
                expected = source.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(image, np.asarray(expected), err_msg=name)
            with Image.open(io.BytesIO(files[1][f"annotations/trimaps/{name}.png"])) as source:
                expected = source.resize((SIZE, SIZE), Image.Resampling.NEAREST)
            np.testing.assert_array_equal(mask, as_mask(np.asarray(expected)), err_msg=name)
    assert modes == {"RGB", "L", "P", "RGBA"}


def test_the_summary_is_what_the_arrays_say(packed: tuple[Path, dict[str, Any]]) -> None:
    out, summary = packed
    empty = []
    for split, said in summary["splits"].items():
        _, masks, names = arrays(out / split)
        for label, code in {
            "object": OBJECT,
            "background": BACKGROUND,
            "boundary": BOUNDARY,
        }.items():
            assert said["shares"][label] == pytest.approx(float((masks == code).mean()))
        assert sum(said["shares"].values()) == pytest.approx(1)
        empty += [n for n, m in zip(names, masks, strict=True) if np.all(m == BACKGROUND)]
    assert summary["background_only"] == sorted(empty)
    assert len(empty) == 1
    assert summary["image_size"] == SIZE
    assert summary["split"] == "official"
    assert json.loads(json.dumps(summary)) == summary


def test_what_is_left_out_is_said(
    packed: tuple[Path, dict[str, Any]], files: tuple[Files, Files]
) -> None:
    out, summary = packed
    used = {name for split in ("train", "val", "test") for name in arrays(out / split)[2]}
    trimaps = {m[1] for name in files[1] if (m := re.search(r"trimaps/([^.].*)\.png$", name))}
    assert summary["left_out"] == {"on_no_list": sorted(trimaps - used), "junk_files": 48}
    assert len(trimaps - used) == 1


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


def test_the_same_input_gives_the_same_bytes(
    raw: Path, packed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, summary = packed
    assert pack(raw, tmp_path / "again", data_config(), config()) == summary
    once = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    folder = tmp_path / "again"
    again = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert len(once) == 9
    assert once == again


def test_the_order_in_the_archives_is_of_no_account(
    files: tuple[Files, Files], packed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    write(tmp_path / IMAGES, dict(reversed(files[0].items())))
    write(tmp_path / ANNOTATIONS, dict(reversed(files[1].items())))
    pack(tmp_path, tmp_path / "out", data_config(), config())
    for split in ("train", "val", "test"):
        for once, again in zip(
            arrays(packed[0] / split), arrays(tmp_path / "out" / split), strict=True
        ):
            np.testing.assert_array_equal(once, again)


def test_sorted_uses_one_half_twice(raw: Path, tmp_path: Path) -> None:
    summary = pack(raw, tmp_path / "out", data_config(), config(split="sorted"))
    test, val = (arrays(tmp_path / "out" / split) for split in ("test", "val"))
    np.testing.assert_array_equal(test[0], val[0])
    np.testing.assert_array_equal(test[1], val[1])
    assert test[2] == val[2]
    assert len(test[2]) + len(arrays(tmp_path / "out" / "train")[2]) == 48
    assert summary["left_out"]["on_no_list"] == []
    assert summary["splits"]["test"] == summary["splits"]["val"]


def test_a_limit(raw: Path, packed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    summary = pack(raw, tmp_path / "out", data_config(), config(limit=3))
    for split in ("train", "val", "test"):
        images, _, names = arrays(tmp_path / "out" / split)
        assert summary["splits"][split]["images"] == len(names) == 3
        whole_images, _, whole_names = arrays(packed[0] / split)
        rows = [whole_names.index(name) for name in names]
        np.testing.assert_array_equal(images, whole_images[rows])
    assert len(summary["left_out"]["on_no_list"]) == 1


def first_names(files: Files, which: str, num: int) -> list[str]:
    lines = files[f"annotations/{which}.txt"].decode().splitlines()
    return [line.split()[0] for line in lines[:num]]


def test_all_unusable_files_are_named_at_once(files: tuple[Files, Files], tmp_path: Path) -> None:
    images, annotations = dict(files[0]), dict(files[1])
    names = first_names(annotations, "trainval", 8)
    corrupt, no_trimap, no_image, unknown, palette, cut, text, zero = names
    jpeg = encoded(Image.new("RGB", (64, 64), "red"), "JPEG")
    images[f"images/{corrupt}.jpg"] = jpeg[: len(jpeg) // 2]
    del annotations[f"annotations/trimaps/{no_trimap}.png"]
    del images[f"images/{no_image}.jpg"]
    strange = np.full((40, 50), 2, dtype=np.uint8)
    strange[7, 9] = 7
    annotations[f"annotations/trimaps/{unknown}.png"] = encoded(Image.fromarray(strange))
    annotations[f"annotations/trimaps/{palette}.png"] = encoded(Image.new("P", (40, 50), 1))
    trimap = annotations[f"annotations/trimaps/{cut}.png"]
    annotations[f"annotations/trimaps/{cut}.png"] = trimap[: len(trimap) // 2]
    images[f"images/{text}.jpg"] = b"<html>no picture</html>"
    annotations[f"annotations/trimaps/{zero}.png"] = encoded(Image.new("L", (40, 50)))
    write(tmp_path / IMAGES, images)
    write(tmp_path / ANNOTATIONS, annotations)

    with pytest.raises(ValueError) as caught:
        pack(tmp_path, tmp_path / "out", data_config(), config())
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith("8 files")
    assert str(tmp_path) in message
    for expected in [
        f"{corrupt}: its image cannot be read",
        f"{no_trimap}: listed, but has no trimap",
        f"{no_image}: listed, but has no image",
        f"{unknown}: its trimap has codes from 2 to 7, not 1 to 3",
        f"{palette}: its trimap has mode P, not L",
        f"{cut}: its trimap cannot be read",
        f"{text}: its image is no picture",
        f"{zero}: its trimap has codes from 0 to 0, not 1 to 3",
        "dvc repro -f download",
    ]:
        assert expected in message


def test_an_image_that_is_there_twice(raw: Path, tmp_path: Path) -> None:
    (tmp_path / ANNOTATIONS).write_bytes((raw / ANNOTATIONS).read_bytes())
    with tarfile.open(raw / IMAGES) as source, tarfile.open(tmp_path / IMAGES, "w:gz") as tar:
        images = [member for member in source if not is_junk(Path(member.name).name)]
        for member in [*images, images[0]]:
            tar.addfile(member, source.extractfile(member))
    message = f"{Path(images[0].name).stem}: two images in the archive"
    with pytest.raises(ValueError, match=message):
        pack(tmp_path, tmp_path / "out", data_config(), config())


def test_many_unusable_files_are_counted(files: tuple[Files, Files], tmp_path: Path) -> None:
    write(tmp_path / IMAGES, {})
    write(tmp_path / ANNOTATIONS, files[1])
    with pytest.raises(ValueError) as caught:
        pack(tmp_path, tmp_path / "out", data_config(), config())
    said = str(caught.value)
    assert said.startswith("47 files")
    first, others = re.findall(r"(\w+) \(and 46 more: (.*), …\): listed, but has no image", said)[0]
    assert len({first, *others.split(", ")}) == 13


@pytest.mark.parametrize("name", [IMAGES, ANNOTATIONS])
def test_a_missing_archive(raw: Path, tmp_path: Path, name: str) -> None:
    for other in {IMAGES, ANNOTATIONS} - {name}:
        (tmp_path / other).write_bytes((raw / other).read_bytes())
    with pytest.raises(ValueError, match=f"{name} is missing: bring the other archive"):
        pack(tmp_path, tmp_path / "out", data_config(), config())


@settings(deadline=None, max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["image", "trimap"])
def test_damaged_bytes_are_an_answer_and_no_crash(
    files: tuple[Files, Files], kind: str, data: st.DataObject
) -> None:
    source = files[kind == "trimap"]
    names = sorted(n for n in source if re.search(r"/[^.][^/]*\.(jpg|png)$", n))
    content = bytearray(source[data.draw(st.sampled_from(names))])
    for _ in range(data.draw(st.integers(0, 6))):
        reach = data.draw(st.sampled_from([64, len(content)]))
        content[data.draw(st.integers(0, reach - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, 2 * len(content)))]
    result = (read_image if kind == "image" else read_trimap)(bytes(content), 8)
    if isinstance(result, str):
        assert result
    else:
        assert result.shape[:2] == (8, 8)
        assert kind == "image" or set(np.unique(result)) <= {OBJECT, BACKGROUND, BOUNDARY}


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    size=st.sampled_from([8, 16, 32, 64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_trimaps_are_shrunk_as_torchs_nearest_exact(
    height: int, width: int, size: int, seed: int
) -> None:
    codes = np.random.default_rng(seed).integers(1, 4, (height, width), dtype=np.uint8)
    mask = read_trimap(encoded(Image.fromarray(codes)), size)
    tensor = torch.from_numpy(as_mask(codes))[None, None].float()
    expected = F.interpolate(tensor, size=(size, size), mode="nearest-exact")[0, 0]
    np.testing.assert_array_equal(mask, expected.numpy())


@settings(deadline=None, max_examples=20)
@given(colour=st.tuples(*[st.integers(0, 255)] * 3), mode=st.sampled_from(["RGB", "P", "RGBA"]))
def test_one_colour_stays_one_colour(colour: tuple[int, int, int], mode: str) -> None:
    image = Image.new("RGB", (50, 70), colour)
    image = image.quantize(2) if mode == "P" else image.convert(mode)
    array = read_image(encoded(image), 16)
    assert np.all(array == colour)


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    array = read_image(encoded(Image.fromarray(stripes)), 8)
    assert np.all(np.abs(array.astype(int) - 100) < 12)


def tree(folder: Path) -> Files:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("there_before", [True, False])
def test_pack_into_makes_the_folder_anew(
    raw: Path,
    packed: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    there_before: bool,
) -> None:
    folder = tmp_path / "data" / "packed"
    killed = folder.with_name(".packed")  # what a run that was killed left
    if there_before:
        for stale in (folder, killed):
            stale.mkdir(parents=True)
            (stale / "stale").write_text("old")
    pack_into(folder, raw, data_config(), config())
    made = tree(folder)
    assert json.loads(made.pop("dataset.json")) == packed[1]
    assert made == tree(packed[0])
    assert not killed.exists()
    told = capsys.readouterr().out.splitlines()
    train = packed[1]["splits"]["train"]
    assert told[0].startswith(f"train: {train['images']} images; object ")
    assert told[-1] == "left out: 1 images on no list, 48 junk files"


def test_what_is_packed_can_be_opened(raw: Path, tmp_path: Path) -> None:
    pack_into(tmp_path / "packed", raw, data_config(raw, source="synthetic"), config())
    summary = load_summary(tmp_path / "packed")
    train = load_split(tmp_path / "packed" / "train", torch.device("cpu"))
    assert (summary.source, summary.split) == ("synthetic", "official")
    share = (train.masks == OBJECT).double().mean().item()
    assert train.foreground_share == pytest.approx(share)
    assert train.image_size == SIZE


@pytest.mark.parametrize("there_before", [True, False])
def test_a_failed_packing_leaves_what_was_there(
    files: tuple[Files, Files], tmp_path: Path, there_before: bool
) -> None:
    write(tmp_path / IMAGES, {})
    write(tmp_path / ANNOTATIONS, files[1])
    folder = tmp_path / "packed"
    if there_before:
        folder.mkdir()
        (folder / "good").write_text("old")
    with pytest.raises(ValueError, match="47 files"):
        pack_into(folder, tmp_path, data_config(), config())
    assert (tree(folder) if folder.exists() else None) == (
        {"good": b"old"} if there_before else None
    )
    assert not folder.with_name(".packed").exists()


def test_two_packings_at_once_are_refused(raw: Path, tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / ".packed.lock", "preprocess"),
        pytest.raises(ValueError, match="another run of preprocess is at work here"),
    ):
        pack_into(tmp_path / "packed", raw, data_config(), config())
    assert not (tmp_path / "packed").exists()


def test_data_without_an_object_is_refused(files: tuple[Files, Files], tmp_path: Path) -> None:
    """Boundary alone is no object: the loss would have nothing to learn from."""
    trimaps = {
        name: Image.open(io.BytesIO(content)).size
        for name, content in files[1].items()
        if re.search(r"trimaps/[^.].*\.png$", name)
    }
    for code in (2, 3, 1):
        blank = {name: encoded(Image.new("L", size, code)) for name, size in trimaps.items()}
        write(tmp_path / IMAGES, files[0])
        write(tmp_path / ANNOTATIONS, files[1] | blank)
        with pytest.raises(ValueError, match="hold no object, or nothing else"):
            pack(tmp_path, tmp_path / f"out{code}", data_config(), config(limit=3))


def test_a_mask_of_boundary_alone_is_not_background_only(
    files: tuple[Files, Files], packed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    name = arrays(packed[0] / "train")[2][0]
    path = f"annotations/trimaps/{name}.png"
    band = encoded(Image.new("L", Image.open(io.BytesIO(files[1][path])).size, 3))
    write(tmp_path / IMAGES, files[0])
    write(tmp_path / ANNOTATIONS, files[1] | {path: band})
    summary = pack(tmp_path, tmp_path / "out", data_config(), config())
    assert summary["background_only"] == packed[1]["background_only"]
