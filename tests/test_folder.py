"""A user's own data set: pairing by name, lists, sizes, messages and refusals."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.test_packing import SPLITS, arrays, config, data_config, rows
from unet.data.duplicates import near_duplicates
from unet.data.masks import BACKGROUND, NOT_COUNTED, OBJECT
from unet.data.packing import pack, same_shape, told
from unet.data.photos import ORIENTATION, UPRIGHT
from unet.data.sources import open_source
from unet.data.synthetic import draw_animal

NAMES = [f"IMG {i:03} (ä).v2" for i in range(20)]
Animals = list[tuple[Image.Image, Image.Image]]


@pytest.fixture(scope="module")
def animals() -> Animals:
    """Pictures and their masks, 0 and 255."""
    drawn = [draw_animal(np.random.default_rng(seed)) for seed in range(len(NAMES))]
    return [(image, trimap.point(lambda code: 255 * (code == 1))) for image, trimap in drawn]


@pytest.fixture(scope="module")
def template(animals: Animals, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for i, (name, (image, mask)) in enumerate(zip(NAMES, animals, strict=True)):
        image.save(folder / "images" / f"{name}{['.jpg', '.JPG', '.png', '.webp'][i % 4]}")
        mask.save(folder / "masks" / f"{name}{['', '_mask'][i % 2]}.png")
    return folder


@pytest.fixture
def own(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "own"))


def packed(folder: Path, **settings: Any) -> tuple[Path, dict[str, Any]]:
    out = folder.parent / "packed"
    data = replace(data_config(), path=str(folder), **settings)
    return out, pack(folder, out, data, config())


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises(ValueError) as caught:
        packed(folder, **settings)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def of(own: Path, kind: str, name: str) -> Path:
    """The file of a photograph or mask."""
    (file,) = [file for file in (own / kind).iterdir() if file.name.startswith(name)]
    return file


def change_masks(own: Path, change: Any, names: list[str] = NAMES) -> None:
    for name in names:
        file = of(own, "masks", name)
        with Image.open(file) as mask:
            change(mask).save(file)


def test_each_row_is_its_photograph_and_its_mask(own: Path, animals: Animals) -> None:
    out, summary = packed(own)
    found = rows(out)
    assert sorted(found) == NAMES
    assert [summary["splits"][split]["images"] for split in SPLITS] == [13, 3, 4]
    assert (summary["source"], summary["split"], summary["path"]) == ("folder", "random", str(own))
    for name, (picture, truth) in zip(NAMES, animals, strict=True):
        image, mask = found[name]
        small = truth.resize((32, 32), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(mask == OBJECT, np.asarray(small) == 255, err_msg=name)
        small = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR))
        assert np.abs(image.astype(int) - small).mean() < 4, name


def test_problems_of_all_kinds_are_named_at_once(own: Path) -> None:
    no_mask, no_photo, turned, cut, empty, odd = NAMES[:12:2]
    of(own, "masks", no_mask).unlink()
    of(own, "images", no_photo).unlink()
    width, height = Image.open(of(own, "masks", turned)).size
    change_masks(own, lambda mask: mask.transpose(Image.Transpose.ROTATE_90), [turned])
    photo = of(own, "images", cut)
    photo.write_bytes(photo.read_bytes()[:-200])
    of(own, "masks", empty).write_bytes(b"")
    change_masks(own, lambda mask: mask.point(lambda v: 3 * (v > 0)).transform(
        mask.size, Image.Transform.AFFINE, (1, 0, 0, 0, 1, 9), fillcolor=1), [odd])  # fmt: skip
    message = refused(own)
    assert message.startswith(f"6 files of {own} cannot be used")
    for part in (
        f"{no_mask}: has no mask (masks/NAME.png, masks/NAME_mask.png, or mask_1.png of image_1",
        f"{no_photo}: has no photograph",
        f"{turned}: its mask is {height} x {width} pixels, its photograph {width} x {height}",
        f"{cut}: its image cannot be read", f"{empty}: its mask is no picture",
        f"{odd}: its mask holds 0, 1, 3",
    ):  # fmt: skip
        assert part in message


@pytest.mark.parametrize(("second", "taken"), [(7, True), (9, False), (255, False)])
def test_one_value_in_all_masks_is_the_object_two_are_not(
    own: Path, second: int, taken: bool
) -> None:
    change_masks(own, lambda mask: mask.point(lambda v: 7 * (v > 0)), NAMES[:10])
    change_masks(own, lambda mask: mask.point(lambda v: second * (v > 0)), NAMES[10:])
    if taken:
        assert packed(own)[1]["masks"]["forms"] == {"0 and 7": 20}
    else:
        message = refused(own)
        assert message.startswith("10 files" if second == 255 else "20 files")
        assert "its mask holds 0, 7: which is the object" in message


def test_a_mask_without_the_listed_values_is_named(own: Path) -> None:
    assert "not_counted = 5: no mask holds it; they hold 0, 255" in refused(own, not_counted=5)
    change_masks(own, lambda mask: mask.point(lambda v: 3 * (v > 0)), NAMES[2:4])
    summary = packed(own, object_values=(255,))[1]
    assert summary["masks"]["without_object"] == NAMES[2:4]
    assert summary["masks"]["values"] == [0, 3, 255]
    assert "(the masks hold 0, 3, 255: see data.object" in refused(own, object_values=(5,))


def turn_photo(own: Path, name: str, tag: int, *, stored_mask: bool) -> None:
    """Store the photograph ``name`` turned, upright by its tag alone, its mask perhaps alike."""
    back = UPRIGHT[{6: 8, 8: 6}.get(tag, tag)]
    file = of(own, "images", name)
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    with Image.open(file) as image:
        stored = image.convert("RGB").transpose(back)
    file.unlink()
    stored.save(file.with_suffix(".png"), exif=exif)
    if stored_mask:
        change_masks(own, lambda mask: mask.transpose(back), [name])


@pytest.mark.parametrize("stored_mask", [False, True])
@pytest.mark.parametrize("tag", range(2, 9))
def test_a_turned_photograph_is_packed_upright(own: Path, tag: int, stored_mask: bool) -> None:
    name = NAMES[0]
    before = rows(packed(own)[0])[name]
    turn_photo(own, name, tag, stored_mask=stored_mask)
    out, summary = packed(own)
    image, mask = rows(out)[name]
    assert np.abs(before[0].astype(int) - image).mean() < 3
    if tag >= 5:  # the shape decides
        assert (before[1] != mask).mean() < (0.02 if stored_mask else 1e-9)
        assert summary["turned_with_photograph"] == ([name] if stored_mask else [])
        assert summary["orientation_unclear"] == []
    else:  # both fit: taken as upright, and named
        assert (before[1] != mask).any() == stored_mask
        assert summary["orientation_unclear"] == [name]
        assert any("taken as upright; look at them" in line for line in told(summary))


@pytest.mark.parametrize("stored", [True, False])
def test_where_the_shape_cannot_tell_the_other_masks_do(own: Path, stored: bool) -> None:
    before = rows(packed(own)[0])[NAMES[0]]
    for name, tag in ((NAMES[0], 3), (NAMES[2], 6)):
        turn_photo(own, name, tag, stored_mask=stored)
    out, summary = packed(own)
    image, mask = rows(out)[NAMES[0]]
    assert np.abs(image.astype(int) - before[0]).mean() < 3 and (mask != before[1]).mean() < 0.05
    assert summary["turned_with_photograph"] == ([NAMES[0], NAMES[2]] if stored else [])
    assert summary["orientation_unclear"] == []


@pytest.mark.parametrize(("tag", "suffix"), [(5, ".png"), (6, ".tif"), (8, ".png")])
def test_a_masks_own_tag_is_followed(own: Path, tag: int, suffix: str) -> None:
    name = NAMES[0]
    before = rows(packed(own)[0])[name][1]
    turn_photo(own, name, tag, stored_mask=True)
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    file = of(own, "masks", name)
    with Image.open(file) as mask:
        mask.load()
    file.unlink()
    mask.save(file.with_suffix(suffix), exif=exif)
    assert (rows(packed(own)[0])[name][1] != before).mean() < 0.02


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


def write_lists(own: Path, lists: dict[str, list[str]]) -> None:
    for split, names in lists.items():
        (own / f"{split}.txt").write_text("\n".join(names), encoding="utf-8")


def test_lists_say_the_splits(own: Path) -> None:
    suffixed = of(own, "images", NAMES[10]).name
    lists = {"Train": ["# mine", *NAMES[:8]], "test": [suffixed, "", NAMES[11]]}
    write_lists(own, lists)
    (own / "val.txt").write_text("\ufeff" + "\r\n".join(NAMES[8:10]), encoding="utf-8")
    out, summary = packed(own)
    expected = [NAMES[:8], NAMES[8:10], NAMES[10:12]]
    assert [arrays(out / split)[2] for split in SPLITS] == expected
    assert summary["split"] == "listed"
    assert summary["left_out"]["on_no_list"] == NAMES[12:]
    everything = pack(own, own.parent / "all", data_config(), config(), every=True)
    assert everything["splits"].keys() == {"all"} and arrays(own.parent / "all/all")[2] == NAMES
    (own / "val.txt").unlink()  # then drawn from train
    out, _ = packed(own)
    assert len(arrays(out / "val")[2]) == 2
    assert sorted(arrays(out / "train")[2] + arrays(out / "val")[2]) == NAMES[:8]


LISTS = {
    "has train.txt alone: train.txt and test.txt are needed": {"train": NAMES[:3]},
    "train.txt lists nobody": {"train": [*NAMES[:3], "nobody"], "test": NAMES[4:6]},
    f"{NAMES[2]} listed twice": {"train": NAMES[:3], "test": NAMES[2:6]},
    f"{NAMES[0]} listed twice": {"train": NAMES[:3] + NAMES[:1], "test": NAMES[4:6]},
    "the test split is empty": {"train": NAMES[:3], "test": []},
    "the train split is empty": {"train": NAMES[:1], "test": NAMES[4:6]},
}  # fmt: skip


@pytest.mark.parametrize("message", LISTS)
def test_lists_that_do_not_fit(own: Path, message: str) -> None:
    write_lists(own, LISTS[message])
    assert message in refused(own)


NAMED = {
    "a": ("a", "a"), "a_mask": ("a_mask", "a_mask"),  # a photograph may be called so
    "image_1": ("image_1", "mask_1"), "image_2_mask": ("image_2_mask", "mask_2_mask"),
    "caf\u00e9": ("cafe\u0301", "caf\u00e9"),  # two letters, or one
    "#1 cat": ("#1 cat", "#1 cat"),
    **{name: (name, name) for name in ("3.01\u202fPM", "\u200ephoto", "\U0001f468\u200d")},
}  # fmt: skip


def test_names_as_they_come_are_paired(own: Path, animals: Animals) -> None:
    for (image, mask), (photo, truth) in zip(animals, NAMED.values(), strict=False):
        image.save(own / f"images/{photo}.jpg")
        mask.save(own / f"masks/{truth}.png")
    found = open_source(own, data_config(), config())
    for name, (_, truth) in NAMED.items():
        assert found.masks[name].stem == truth
    write_lists(own, {"train": ["#1 cat.jpg", "#1 dog", *NAMES[1:8]], "test": NAMES[8:]})
    assert open_source(own, data_config(), config()).splits["train"][0] == "#1 cat"


def test_two_files_of_one_name_are_refused(own: Path) -> None:
    file = of(own, "images", NAMES[0])
    file.with_suffix(".jpeg").write_bytes(file.read_bytes())
    assert f"{NAMES[0]}.jpeg and {NAMES[0]}.jpg have one name" in refused(own)
    file.with_suffix(".jpeg").unlink()
    file = of(own, "masks", NAMES[0])
    (own / f"masks/{NAMES[0]}_mask.png").write_bytes(file.read_bytes())
    assert f"{NAMES[0]}.png and {NAMES[0]}_mask.png are masks of one photograph" in refused(own)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_folder_without_pictures(own: Path, kind: str) -> None:
    for file in (own / kind).iterdir():
        file.unlink()
    (own / kind / "Bengal").mkdir()
    message = f"{own / kind} holds no pictures that can be read, but {kind}/Bengal/"
    assert f"{message}: put them into {kind}/ itself" in refused(own)


def test_something_else_than_a_data_set(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "other/photos").mkdir(parents=True)
    (tmp_path / "other/images.tar.gz").touch()
    assert "holds images.tar.gz, photos: it must hold images/" in refused(tmp_path / "other")
    assert "no such folder" in refused(tmp_path / "nowhere")
    assert "data.not_counted = 3: no mask holds it" in refused(raw, not_counted=3)


def test_not_counted_pixels_are_in_no_share(own: Path) -> None:
    def void(mask: Image.Image) -> Image.Image:
        values = np.asarray(mask).copy()
        values[: len(values) // 4] = 9
        return Image.fromarray(values)

    change_masks(own, void)
    out, summary = packed(own, not_counted=9)
    masks = arrays(out / "train")[1]
    shares = summary["splits"]["train"]["shares"]
    assert shares["object"] == pytest.approx((masks == OBJECT).sum() / (masks != 255).sum())
    assert shares["not counted"] == pytest.approx((masks == NOT_COUNTED).mean(), abs=1e-6)
    assert (masks[:, 0] == NOT_COUNTED).all() and (masks[:, -1] == BACKGROUND).any()


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_an_object_is_refused(own: Path, split: str) -> None:
    lists = {"train": NAMES[:8], "val": NAMES[8:12], "test": NAMES[12:]}
    write_lists(own, lists)
    change_masks(own, lambda mask: mask.point(lambda value: 0), lists[split])
    assert f"the {split} images hold no object" in refused(own)


def test_inverted_masks_are_pointed_out(own: Path) -> None:
    change_masks(own, lambda mask: mask.point(lambda value: 255 - value))
    summary = packed(own)[1]
    assert len(summary["object_at_the_border"]) > len(NAMES) / 2
    assert any("data.object_values" in line for line in told(summary))
    assert not packed(own, object_values="dark")[1]["object_at_the_border"]


def test_near_duplicates_in_two_splits_are_named() -> None:
    pictures = [draw_animal(np.random.default_rng(seed))[0].resize((64, 64)) for seed in range(21)]
    again = pictures[3].resize((50, 50)).resize((64, 64)).point(lambda value: value * 0.9 + 5)
    splits = {
        "train": [f"t{i}" for i in range(20)], "val": ["v0", "same", "t5"], "test": ["again"],
    }  # fmt: skip
    pixels = {
        "train": pictures[:20], "val": [pictures[20], pictures[7], pictures[5]], "test": [again],
    }  # fmt: skip
    found = near_duplicates(
        {k: np.stack(list(map(np.asarray, v))) for k, v in pixels.items()}, splits
    )
    assert [pair["names"] for pair in found] == [["t7", "same"], ["t3", "again"]]
    assert found[0]["splits"] == ["train", "val"] and found[0]["bits"] == 0 and found[0]["exact"]
    assert not found[1]["exact"]
