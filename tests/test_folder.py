"""A user's own data set: pairing by name, lists, sizes, messages and refusals."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.test_packing import arrays, config, data_config
from unet.data import packing
from unet.data.config import DataConfig
from unet.data.duplicates import near_duplicates
from unet.data.folder import read_folder
from unet.data.masks import BACKGROUND, NOT_COUNTED, OBJECT
from unet.data.packed import SplitWriter, load_summary
from unet.data.packing import pack, pack_into, same_shape, told
from unet.data.photos import ORIENTATION, UPRIGHT
from unet.data.splits import folder_splits
from unet.data.synthetic import draw_animal

NAMES = [f"IMG {i:03} (ä).v2" for i in range(20)]


def drawn(seed: int) -> tuple[Image.Image, Image.Image]:
    """A picture and its mask, 0 and 255."""
    image, trimap = draw_animal(np.random.default_rng(seed))
    return image, trimap.point(lambda code: 255 * (code == 1))


@pytest.fixture(scope="module")
def animals() -> list[tuple[Image.Image, Image.Image]]:
    return [drawn(seed) for seed in range(len(NAMES))]


@pytest.fixture
def own(tmp_path: Path, animals: list[tuple[Image.Image, Image.Image]]) -> Path:
    folder = tmp_path / "own"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for i, (name, (image, mask)) in enumerate(zip(NAMES, animals, strict=True)):
        image.save(folder / "images" / f"{name}{['.jpg', '.JPG', '.png', '.webp'][i % 4]}")
        mask.save(folder / "masks" / f"{name}{['', '_mask'][i % 2]}.png")
    return folder


def packed(folder: Path, **settings: Any) -> tuple[Path, dict[str, Any]]:
    out = folder.parent / "packed"
    data = replace(data_config(), path=str(folder), **settings)
    return out, pack(folder, out, data, config())


def rows(out: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {n: (i, m) for s in ("train", "val", "test")
            for i, m, n in zip(*arrays(out / s), strict=True)}  # fmt: skip


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises(ValueError) as caught:
        packed(folder, **settings)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_every_pair_is_packed_once(own: Path) -> None:
    out, summary = packed(own)
    names = [name for split in ("train", "val", "test") for name in arrays(out / split)[2]]
    assert sorted(names) == NAMES
    assert [summary["splits"][s]["images"] for s in ("train", "val", "test")] == [13, 3, 4]
    assert (summary["source"], summary["split"], summary["path"]) == ("folder", "random", str(own))
    assert json.loads(json.dumps(summary)) == summary


def test_each_row_is_its_photograph_and_its_mask(
    own: Path, animals: list[tuple[Image.Image, Image.Image]]
) -> None:
    out, summary = packed(own)
    for split in ("train", "val", "test"):
        for image, mask, name in zip(*arrays(out / split), strict=True):
            photo, truth = (
                np.asarray(picture.resize((32, 32), how))
                for picture, how in zip(
                    animals[NAMES.index(name)],
                    (Image.Resampling.BILINEAR, Image.Resampling.NEAREST),
                    strict=True,
                )
            )
            np.testing.assert_array_equal(mask == OBJECT, truth == 255, err_msg=name)
            assert np.abs(image.astype(int) - photo).mean() < 4, name
        share = (arrays(out / split)[1] == OBJECT).mean()
        assert summary["splits"][split]["shares"]["object"] == pytest.approx(share)
        assert sum(summary["splits"][split]["shares"].values()) == pytest.approx(1)


def test_what_was_understood_is_said(own: Path) -> None:
    (own / "images/notes.txt").touch()
    (own / "images/.hidden.jpg").touch()
    (own / "images/Bengal").mkdir()
    said = told(packed(own)[1])
    assert "masks: 20 of 0 and 255" in said
    assert "left out: 0 images on no list, 1 other files, 1 folders (images/Bengal/)" in said


def test_problems_of_all_kinds_are_named_at_once(own: Path) -> None:
    no_mask, no_photo, turned, cut, empty, odd = NAMES[:12:2]
    for name in (no_mask,):
        (own / f"masks/{name}.png").unlink()
    next((own / "images").glob(f"{no_photo}.*")).unlink()
    file = own / f"masks/{turned}.png"
    with Image.open(file) as mask:
        size = mask.size
        mask.transpose(Image.Transpose.ROTATE_90).save(file)
    photo = next((own / "images").glob(f"{cut}.*"))
    photo.write_bytes(photo.read_bytes()[:-200])
    (own / f"masks/{empty}.png").write_bytes(b"")
    file = own / f"masks/{odd}.png"
    with Image.open(file) as mask:
        Image.fromarray(np.asarray(mask) // 255 * 3 + np.eye(*mask.size[::-1], dtype=np.uint8) % 3
                        ).save(file)  # fmt: skip
    message = refused(own)
    assert message.startswith(f"6 files of {own} cannot be used")
    for part in (
        f"{no_mask}: has no mask (expected: masks/{no_mask}.png or masks/{no_mask}_mask.png)",
        f"{no_photo}: has a mask, but no photograph (expected: images/{no_photo}.jpg)",
        f"{turned}: its mask is {size[1]} x {size[0]} pixels, its photograph {size[0]} x {size[1]}",
        f"{cut}: its image cannot be read", f"{empty}: its mask is empty",
        f"{odd}: its mask holds 0, 1, 3",
    ):  # fmt: skip
        assert part in message
    assert message.endswith("move photograph and mask away")


def turn_photo(
    own: Path, name: str, orientation: int, *, mask_as_stored: bool, suffix: str = ".png"
) -> None:
    """Store the photograph ``name`` turned, upright by its tag alone."""
    back = {5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}  # fmt: skip
    file = next((own / "images").glob(f"{name}.*"))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    with Image.open(file) as image:
        stored = image.convert("RGB").transpose(back.get(orientation, UPRIGHT[orientation]))
    file.unlink()
    stored.save(file.with_suffix(suffix), exif=exif)
    if mask_as_stored:
        mask = own / f"masks/{name}.png"
        with Image.open(mask) as image:
            image.transpose(back[orientation]).save(mask)


@pytest.mark.parametrize(
    ("orientation", "mask_as_stored"),
    # A half turn of the mask as well changes no size: the next test has it.
    [(3, False), *((turn, stored) for turn in (5, 6, 7, 8) for stored in (False, True))],
)
def test_a_turned_photograph_is_packed_upright(
    own: Path, orientation: int, mask_as_stored: bool
) -> None:
    name = NAMES[0]
    before = rows(packed(own)[0])
    turn_photo(own, name, orientation, mask_as_stored=mask_as_stored)
    out, summary = packed(own)
    after = rows(out)
    assert np.abs(before[name][0].astype(int) - after[name][0]).mean() < 3
    assert (before[name][1] != after[name][1]).mean() < (0.02 if mask_as_stored else 1e-9)
    assert summary["turned_with_photograph"] == ([name] if mask_as_stored else [])


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
@pytest.mark.parametrize("stored", [True, False, None])
def test_where_the_shape_cannot_tell_the_other_masks_do(
    own: Path, stored: bool | None, suffix: str
) -> None:
    """A half turn: ``stored`` is how the masks of quarter turns are drawn; None: there are none."""
    name, telling = NAMES[0], NAMES[2]
    before = rows(packed(own)[0])[name]
    turn_photo(own, name, 3, mask_as_stored=False, suffix=suffix)
    if stored is not None:
        turn_photo(own, telling, 6, mask_as_stored=stored, suffix=suffix)
    if stored:
        file = own / f"masks/{name}.png"
        with Image.open(file) as mask:
            mask.transpose(Image.Transpose.ROTATE_180).save(file)
    out, summary = packed(own)
    image, mask = rows(out)[name]
    assert np.abs(image.astype(int) - before[0]).mean() < 3
    assert (mask != before[1]).mean() < 0.05
    assert summary["turned_with_photograph"] == ([name, telling] if stored else [])
    assert summary["orientation_unclear"] == ([name] if stored is None else [])


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_mask_upright_already_keeps_its_copied_tag(
    own: Path, orientation: int, suffix: str
) -> None:
    name = NAMES[0]
    before = rows(packed(own)[0])[name][1]
    turn_photo(own, name, orientation, mask_as_stored=False)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = own / f"masks/{name}.png"
    with Image.open(file) as mask:
        mask.load()
    file.unlink()
    mask.save(file.with_suffix(suffix), exif=exif)
    np.testing.assert_array_equal(rows(packed(own)[0])[name][1], before)


def test_a_folder_that_changes_while_it_is_read_is_refused(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = own / f"masks/{NAMES[-1]}_mask.png"
    read = packing._read_photo

    def slow(name: str, *arguments: Any, **options: Any) -> Any:
        if name == NAMES[-1]:
            last.write_bytes((own / f"masks/{NAMES[-3]}_mask.png").read_bytes())
        return read(name, *arguments, **options)

    monkeypatch.setattr(packing, "_read_photo", slow)
    assert "changed while it was read" in refused(own) or "pixels, its photograph" in refused(own)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_link_to_a_folder_inside_is_refused(own: Path, kind: str) -> None:
    (own / kind).rename(own.parent / kind)
    (own / kind).symlink_to(own.parent / kind)
    assert f"{own / kind} is a link to a folder" in refused(own)


def test_a_mask_at_another_scale_is_used(own: Path) -> None:
    file = own / f"masks/{NAMES[0]}.png"
    with Image.open(file) as mask:
        mask.resize((mask.width // 2, mask.height // 2), Image.Resampling.NEAREST).save(file)
    assert sum(split["images"] for split in packed(own)[1]["splits"].values()) == len(NAMES)


@settings(max_examples=200)
@given(
    width=st.integers(20, 4000), height=st.integers(20, 4000), scale=st.floats(0.1, 1),
    up=st.tuples(st.booleans(), st.booleans()),
)  # fmt: skip
def test_any_scale_of_a_shape_is_that_shape(
    width: int, height: int, scale: float, up: tuple[bool, bool]
) -> None:
    sides = (width * scale, height * scale)
    small = tuple(int(np.ceil(s)) if u else max(1, int(s)) for s, u in zip(sides, up, strict=True))
    if small != (height, width) or width == height:
        assert same_shape((width, height), small)
    turned = (height, width)
    assert same_shape((width, height), turned) == (width == height)


@pytest.mark.parametrize("other", [(375, 500), (500, 500), (250, 250), (480, 375), (100, 80)])
def test_another_shape_is_another_shape(other: tuple[int, int]) -> None:
    assert not same_shape((500, 375), other) and not same_shape(other, (500, 375))


def test_lists_say_the_splits(own: Path) -> None:
    (own / "train.txt").write_text("# mine\n" + "\n".join(NAMES[:8]), encoding="utf-8")
    (own / "val.txt").write_text("\ufeff" + "\r\n".join(NAMES[8:10]), encoding="utf-8")
    suffixed = next((own / "images").glob(f"{NAMES[10]}.*")).name
    (own / "test.txt").write_text(f"{suffixed}\n\n{NAMES[11]}\n", encoding="utf-8")
    out, summary = packed(own)
    assert [arrays(out / s)[2] for s in ("train", "val", "test")] == [
        NAMES[:8], NAMES[8:10], NAMES[10:12],
    ]  # fmt: skip
    assert summary["split"] == "listed"
    assert summary["left_out"]["on_no_list"] == NAMES[12:]


def test_validation_is_drawn_where_it_is_not_listed(own: Path) -> None:
    (own / "train.txt").write_text("\n".join(NAMES[:10]), encoding="utf-8")
    (own / "test.txt").write_text("\n".join(NAMES[10:]), encoding="utf-8")
    out, _ = packed(own)
    val = arrays(out / "val")[2]
    assert len(val) == 2 and set(val) < set(NAMES[:10])
    assert set(arrays(out / "train")[2]) == set(NAMES[:10]) - set(val)


LISTS = {
    "no test.txt": ({"train": NAMES[:3]}, "but no test.txt"),
    "unknown": ({"train": [*NAMES[:3], "nobody"], "test": NAMES[4:6]}, "train.txt lists nobody"),
    "in two": ({"train": NAMES[:3], "test": NAMES[2:6]}, f"{NAMES[2]} is listed in train.txt and"),
    "twice": ({"train": NAMES[:3] + NAMES[:1], "test": NAMES[4:6]}, "is listed twice in train.txt"),
    "empty": ({"train": NAMES[:3], "test": []}, "test.txt lists none"),
    "one to train": ({"train": NAMES[:1], "test": NAMES[4:6]}, "train.txt must list two or more"),
    "capital": ({"Train": NAMES[:3], "test": NAMES[4:6]}, "Train.txt: a list of names is called"),
}


@pytest.mark.parametrize("case", LISTS)
def test_lists_that_do_not_fit(own: Path, case: str) -> None:
    lists, expected = LISTS[case]
    for split, names in lists.items():
        (own / f"{split}.txt").write_text("\n".join(names), encoding="utf-8")
    assert expected in refused(own)


def test_a_listed_name_may_begin_as_a_comment(own: Path) -> None:
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (own / folder / f"{NAMES[0]}.{suffix}").rename(own / folder / f"#1 cat.{suffix}")
    (own / "train.txt").write_text("#1 cat.jpg\n#1 dog\n" + "\n".join(NAMES[1:8]), encoding="utf-8")
    (own / "test.txt").write_text("\n".join(NAMES[8:]), encoding="utf-8")
    assert read_folder(own).lists["train"] == ["#1 cat", *NAMES[1:8]]


@pytest.mark.parametrize(
    "name", ["3.01\u202fPM", "\u200ephoto", "\U0001f468\u200d\U0001f9b0", "a\u00a0b"]
)
def test_names_as_phones_write_them_are_packed(own: Path, name: str) -> None:
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (own / folder / f"{NAMES[0]}.{suffix}").rename(own / folder / f"{name}.{suffix}")
    out, _ = packed(own)
    assert name in {n for split in ("train", "val", "test") for n in arrays(out / split)[2]}


@pytest.mark.parametrize("name", ["new\nline", "tab\t", "a\u2028b", "a\x85b", "\udcff"])
def test_names_that_cannot_be_listed_are_refused(own: Path, name: str) -> None:
    (own / "images" / f"{NAMES[0]}.jpg").rename(own / "images" / f"{name}.jpg")
    assert "has a name that cannot be listed: rename it" in refused(own)


def test_two_files_of_one_name_are_refused(own: Path) -> None:
    Image.new("RGB", (40, 40)).save(own / "images/a.png")
    Image.new("RGB", (40, 40)).save(own / "images/a.jpg")
    assert "a.jpg and a.png have one name" in refused(own)
    (own / "images/a.jpg").unlink()
    Image.new("L", (40, 40)).save(own / "masks/a.png")
    Image.new("L", (40, 40)).save(own / "masks/a_mask.png")
    assert "a.png and a_mask.png are masks of one photograph" in refused(own)
    for name in ("images/image_1", "masks/image_1", "masks/mask_1"):
        Image.new("L", (40, 40)).save(own / f"{name}.png")
    (own / "masks/a.png").unlink()
    assert "image_1.png and mask_1.png are masks of one photograph" in refused(own)


def test_mask_1_is_of_image_1(own: Path, animals: list[tuple[Image.Image, Image.Image]]) -> None:
    for name, (image, mask) in zip(("image_1", "image_2_mask"), animals, strict=False):
        image.save(own / f"images/{name}.jpg")
        mask.save(own / f"masks/{name.replace('image', 'mask')}.png")
    found = read_folder(own)
    assert found.masks["image_1"].name == "mask_1.png"
    assert found.masks["image_2_mask"].name == "mask_2_mask.png"
    (own / "masks/mask_1.png").rename(own / "masks/1.png")
    message = refused(own)
    assert "image_1: has no mask (expected: " in message and "masks/mask_1.png)" in message
    assert "1: has a mask, but no photograph (expected: images/1.jpg)" in message


def test_a_photograph_may_be_called_mask(own: Path) -> None:
    for name in ("a", "a_mask"):
        Image.new("RGB", (40, 40)).save(own / f"images/{name}.png")
        Image.new("L", (40, 40)).save(own / f"masks/{name}.png")
    found = read_folder(own)
    assert found.masks["a_mask"].name == "a_mask.png" and found.masks["a"].name == "a.png"


def test_composed_and_decomposed_letters_are_one_name(own: Path) -> None:
    Image.new("RGB", (40, 40)).save(own / "images/cafe\u0301.png")
    Image.new("L", (40, 40)).save(own / "masks/caf\u00e9.png")
    found = read_folder(own)
    assert "caf\u00e9" in found.images.keys() & found.masks.keys()


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_folder_without_pictures(own: Path, kind: str) -> None:
    for file in (own / kind).iterdir():
        file.unlink()
    assert f"{own / kind} holds no pictures" in refused(own)
    (own / kind / "Bengal").mkdir()
    assert f"{own / kind} holds no pictures" in refused(own)
    assert f"but {kind}/Bengal/: put them into {kind}/ itself" in refused(own)


def test_something_else_than_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "other/photos").mkdir(parents=True)
    (tmp_path / "other/readme.txt").touch()
    message = refused(tmp_path / "other")
    assert "holds photos/, readme.txt: it must hold images/ and masks/" in message
    assert "no such folder" in refused(tmp_path / "nowhere")


def test_the_published_split_is_of_the_release(own: Path) -> None:
    data = replace(data_config(), path=str(own))
    with pytest.raises(ValueError, match="preprocess.split = sorted is of the Oxford"):
        pack(own, own.parent / "out", data, config(split="sorted"))


def test_settings_of_masks_are_not_the_releases(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data.not_counted = 3: only masks of your own"):
        pack(raw, tmp_path / "out", replace(data_config(), not_counted=3), config())


def test_not_counted_pixels_are_in_no_share(own: Path) -> None:
    for file in (own / "masks").iterdir():
        with Image.open(file) as mask:
            values = np.asarray(mask).copy()
        values[: len(values) // 4] = 9
        Image.fromarray(values).save(file)
    out, summary = packed(own, not_counted=9)
    masks = arrays(out / "train")[1]
    shares = summary["splits"]["train"]["shares"]
    assert shares["object"] == pytest.approx((masks == OBJECT).sum() / (masks != 255).sum())
    assert shares["not counted"] == pytest.approx((masks == NOT_COUNTED).mean(), abs=1e-6)
    assert (masks[:, 0] == NOT_COUNTED).all() and (masks[:, -1] == BACKGROUND).any()


@pytest.mark.parametrize(("split", "expected"), [("train", "learnt"), ("test", "no score")])
def test_a_split_without_an_object_is_refused(own: Path, split: str, expected: str) -> None:
    lists = {"train": NAMES[:8], "val": NAMES[8:12], "test": NAMES[12:]}
    for name, listed in lists.items():
        (own / f"{name}.txt").write_text("\n".join(listed), encoding="utf-8")
    for name in lists[split]:
        (file,) = (own / "masks").glob(f"{name}*")
        with Image.open(file) as mask:
            Image.new("L", mask.size).save(file)
    assert expected in refused(own)


def test_inverted_masks_are_pointed_out(own: Path) -> None:
    for file in (own / "masks").iterdir():
        with Image.open(file) as mask:
            mask.point(lambda value: 255 - value).save(file)
    summary = packed(own)[1]
    assert len(summary["object_at_the_border"]) > len(NAMES) / 2
    assert any("data.object_values" in line for line in told(summary))
    upright = packed(own, object_values="dark")[1]
    assert not upright["object_at_the_border"]


def test_near_duplicates_in_two_splits_are_named(tmp_path: Path) -> None:
    pictures = [drawn(seed)[0].resize((64, 64)) for seed in range(30)]
    again = pictures[3].resize((50, 50)).resize((64, 64)).point(lambda value: value * 0.9 + 5)
    splits = {
        "train": [f"t{i}" for i in range(20)], "val": ["v0", "same", "t5"], "test": ["again"],
    }  # fmt: skip
    pixels = {
        "train": pictures[:20],
        "val": [pictures[20], pictures[7], pictures[5]],
        "test": [again],
    }
    for split, names in splits.items():
        with SplitWriter(tmp_path / split, names, 64) as writer:
            for row, picture in enumerate(pixels[split]):
                writer.write_image(row, np.asarray(picture))
    found = near_duplicates(tmp_path, splits)
    assert {tuple(pair["names"]) for pair in found} == {("t7", "same"), ("t3", "again")}
    assert found[0] == {
        "names": ["t7", "same"],
        "splits": ["train", "val"],
        "bits": 0,
        "exact": True,
    }
    assert not found[1]["exact"]


def test_a_name_more_moves_few_of_the_others() -> None:
    names = [f"n{i}" for i in range(100)]
    before = folder_splits(names, {}, config())
    after = folder_splits([*names, "new"], {}, config())
    assert sum(len(set(before[s]) ^ set(after[s])) for s in before) <= 7
    assert folder_splits(names[::-1], {}, config()) == before


@settings(max_examples=50)
@given(count=st.integers(3, 300), seed=st.integers(0, 99))
def test_drawn_splits_are_a_partition(count: int, seed: int) -> None:
    names = [f"n{i}" for i in range(count)]
    splits = folder_splits(names, {}, replace(config(), seed=seed))
    assert sorted(sum(splits.values(), [])) == sorted(names)
    assert len(splits["test"]) == max(1, round(0.2 * count))


def test_two_images_are_too_few() -> None:
    with pytest.raises(ValueError, match="the train split of 2 images is empty"):
        folder_splits(["a", "b"], {}, config())


def unpack(raw: Path, target: Path) -> Path:
    for archive in raw.glob("*.tar.gz"):
        shutil.unpack_archive(archive, target)
    return target


def test_the_release_unpacked_gives_the_same_arrays(raw: Path, tmp_path: Path) -> None:
    unpacked = unpack(raw, tmp_path / "unpacked")
    summaries = [
        pack(folder, tmp_path / name, data_config(), config())
        for folder, name in ((raw, "a"), (unpacked, "b"))
    ]
    for split in ("train", "val", "test"):
        for one, other in zip(arrays(tmp_path / "a" / split), arrays(tmp_path / "b" / split),
                              strict=True):  # fmt: skip
            np.testing.assert_array_equal(one, other)
    assert summaries[1]["archives_md5"] == {}
    for summary in summaries:
        del summary["archives_md5"]
    assert summaries[0] == summaries[1]


def test_turned_trimaps_of_the_release_are_refused(raw: Path, tmp_path: Path) -> None:
    unpacked = unpack(raw, tmp_path / "unpacked")
    for file in (unpacked / "annotations/trimaps").glob("[!.]*.png"):
        with Image.open(file) as trimap:
            trimap.transpose(Image.Transpose.ROTATE_90).save(file)
    with pytest.raises(ValueError, match="its trimap is .* pixels, its photograph"):
        pack(unpacked, tmp_path / "out", data_config(), config())


def test_the_title_says_whose_images(own: Path) -> None:
    pack_into(own.parent / "packed", own, replace(data_config(), path=str(own)), config())
    summary = load_summary(own.parent / "packed")
    assert summary.title == "images of own, random split"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"path": "~/photos"}, "without ~"),
        ({"path": "photos", "source": "synthetic"}, "leave one of them"),
        ({"object_values": (1, 2), "not_counted": 2}, "a value can mean one thing"),
    ],
)
def test_settings_that_contradict_each_other(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        DataConfig(**(vars(data_config()) | values))
