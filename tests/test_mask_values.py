"""How the values of users' masks are interpreted, and which masks are refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from unet.data.mask_values import MaskReader, read_values
from unet.data.masks import BACKGROUND, NOT_COUNTED, OBJECT
from unet.data.photos import ORIENTATION, UPRIGHT

H, W = 60, 80
DISC = np.hypot(*np.mgrid[-30:30, -40:40]) < 20  # (H, W) bool
WHITE = np.uint8(255) * DISC


def palette(colours: list[tuple[int, int, int]], indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), mode="P")
    image.putpalette(np.ravel(colours).tolist())
    return image


def antialiased() -> Image.Image:
    large = np.hypot(*np.mgrid[-120:120, -160:160]) < 80
    return Image.fromarray(np.uint8(255) * large).resize((W, H), Image.Resampling.BOX)


FORMS = {
    "0 and 255": lambda: Image.fromarray(WHITE),
    "0 and 1": lambda: Image.fromarray(DISC.astype(np.uint8)),
    "one bit": lambda: Image.fromarray(WHITE).convert("1"),
    "RGB": lambda: Image.fromarray(WHITE).convert("RGB"),
    "opaque RGBA": lambda: Image.fromarray(WHITE).convert("RGBA"),
    "opaque LA": lambda: Image.fromarray(WHITE).convert("LA"),
    "VOC's palette": lambda: palette([(0, 0, 0), (128, 0, 0)], DISC),
    "grey palette": lambda: palette([(0, 0, 0), (255, 255, 255)], DISC),
    "grey palette, white first": lambda: palette([(255, 255, 255), (0, 0, 0)], ~DISC),
    "16 bits, 0 and 65535": lambda: Image.fromarray(DISC.astype(np.uint16) * 65535),
    "16 bits, 0 and 1": lambda: Image.fromarray(DISC.astype(np.uint16)),
    "0 and 128": lambda: Image.fromarray(DISC.astype(np.uint8) * 128),
}


def written(folder: Path, images: dict[str, Image.Image], suffix: str = ".png") -> dict[str, Path]:
    for name, image in images.items():
        image.save(folder / f"{name}{suffix}")
    return {name: folder / f"{name}{suffix}" for name in images}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_mask(tmp_path: Path, form: str) -> None:
    files = written(tmp_path, {"a": FORMS[form]()})
    reader = MaskReader("auto", None)
    assert reader.look_at(files) == []
    np.testing.assert_array_equal(
        reader.read("a", files["a"])[0], np.where(DISC, OBJECT, BACKGROUND)
    )


def test_antialiased_edges_are_cut_at_half(tmp_path: Path) -> None:
    files = written(tmp_path, {"soft": antialiased(), "hard": Image.fromarray(WHITE)})
    reader = MaskReader("auto", None)
    assert reader.look_at(files) == []
    assert reader.describe()["forms"] == {
        "0 and 255": 1,
        "grey (antialiased, 128 and more is object)": 1,
    }
    found = reader.read("soft", files["soft"])[0] == OBJECT
    np.testing.assert_array_equal(found, np.asarray(antialiased()) >= 128)


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_jpeg_of_a_mask(tmp_path: Path, kind: str) -> None:
    files = {"a": tmp_path / "a.jpg"}
    Image.fromarray(WHITE).save(files["a"], kind, quality=20, **LOSSY[kind])
    reader = MaskReader("auto", None)
    assert reader.look_at(files) == []
    assert (reader.read("a", files["a"])[0] != np.where(DISC, OBJECT, BACKGROUND)).mean() < 0.02


TWO = {"save_all": True, "append_images": [Image.fromarray(WHITE)]}
LOSSY = {
    "JPEG": {}, "MPO": TWO, "AVIF": {}, "TIFF": {"compression": "jpeg"},
    "WEBP": {"lossless": True},  # which nothing tells from lossy ones
}  # fmt: skip


@pytest.mark.parametrize("kind", LOSSY)
@pytest.mark.parametrize("setting", [((255,), None), ("auto", 128)])
def test_exact_values_of_a_lossy_file_are_refused(
    tmp_path: Path, setting: tuple, kind: str
) -> None:
    """Noise makes 254 of 255: some of the object would be lost without a word."""
    files = {"a": tmp_path / "a.any"}
    exif = Image.Exif()
    exif[ORIENTATION] = 1 if kind == "JPEG" else 6
    Image.fromarray(WHITE).convert("RGB").save(files["a"], kind, exif=exif, **LOSSY[kind])
    files |= written(
        tmp_path, {"b": Image.fromarray(WHITE), "c": Image.fromarray(WHITE // 255 * 128)}
    )
    (problem,) = MaskReader(*setting).look_at(files)
    assert problem.startswith(f"a: its mask is stored as {kind}") and "save it as PNG" in problem
    del files["b"], files["c"]  # what a setting names is then in no mask, which is not the trouble
    assert MaskReader(*setting).look_at(files) == [problem]


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["JPEG", "WEBP", "AVIF"]), quality=st.sampled_from([50, 75, 95]),
    value=st.integers(1, 60),
)  # fmt: skip
def test_a_dark_object_in_a_lossy_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, quality: int, value: int
) -> None:
    file = tmp_path_factory.mktemp("mask") / "a.any"
    Image.fromarray(WHITE // 255 * value).save(file, kind, quality=quality)
    reader = MaskReader("auto", None)
    problems = reader.look_at({"a": file})
    # Nothing can tell a file in which the format left only black from one without an object.
    assert problems or reader.rules["a"].form == "0 alone"


def test_forms_mix_in_one_data_set(tmp_path: Path) -> None:
    files = written(tmp_path, {name[:3] + str(i): make() for i, (name, make) in
                               enumerate(FORMS.items()) if name != "0 and 128"})  # fmt: skip
    reader = MaskReader("auto", None)
    assert reader.look_at(files) == []
    for name, file in files.items():
        expected = np.where(DISC, OBJECT, BACKGROUND)
        np.testing.assert_array_equal(reader.read(name, file)[0], expected, err_msg=name)


QUARTERS = np.repeat(np.arange(4), 20)[None, :] * np.ones((H, 1), dtype=int)
AMBIGUOUS = {
    "labels": (QUARTERS.astype(np.uint8), "0, 1, 2, 3"),
    "grey levels": ((QUARTERS * 85).astype(np.uint8), "0, 85, 170, 255"),
    "unknown band": (np.where(QUARTERS == 1, 128, 255 * (QUARTERS > 1)).astype(np.uint8), "128"),
    "the release's trimap": ((QUARTERS % 3 + 1).astype(np.uint8), "1, 2, 3"),
    "VOC with its border": (
        np.where(QUARTERS == 1, 255, QUARTERS > 1).astype(np.uint8), "0, 1, 255",
    ),
    "a photograph": (
        np.add.outer(np.arange(H) * 2, np.arange(W)).astype(np.uint8), "values from 0 to",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_what_can_be_taken_in_two_ways_is_refused(tmp_path: Path, kind: str) -> None:
    values, shown = AMBIGUOUS[kind]
    good = Image.fromarray(WHITE)
    files = written(tmp_path, {"odd": Image.fromarray(values), "good": good})
    reader = MaskReader("auto", None)
    (problem,) = reader.look_at(files)
    assert problem.startswith("odd: its mask holds") and shown in problem
    assert "data.object_values" in problem and "data.not_counted" in problem
    assert list(reader.rules) == ["good"]


def test_one_value_in_all_masks_is_the_object_two_are_not(tmp_path: Path) -> None:
    seven, nine = (Image.fromarray(DISC.astype(np.uint8) * value) for value in (7, 9))
    files = written(tmp_path, {"a": seven, "b": seven})
    assert MaskReader("auto", None).look_at(files) == []
    assert len(MaskReader("auto", None).look_at(written(tmp_path, {"a": seven, "b": nine}))) == 2


def test_listed_values_decide(tmp_path: Path) -> None:
    files = written(tmp_path, {"a": Image.fromarray(QUARTERS.astype(np.uint8))})
    reader = MaskReader((1, 3), 2)
    assert reader.look_at(files) == []
    expected = np.array([BACKGROUND, OBJECT, NOT_COUNTED, OBJECT], dtype=np.uint8)[QUARTERS]
    np.testing.assert_array_equal(reader.read("a", files["a"])[0], expected)
    assert reader.describe()["values"] == [0, 1, 2, 3]


def test_zero_can_be_the_object(tmp_path: Path) -> None:
    files = written(tmp_path, {"a": Image.fromarray(255 - WHITE)})
    reader = MaskReader((0,), None)
    reader.look_at(files)
    np.testing.assert_array_equal(reader.read("a", files["a"])[0] == OBJECT, DISC)


@settings(deadline=None)
@given(
    st.sampled_from([(bool, 1), (np.uint8, 255), (np.uint16, 65535)]),
    st.lists(st.floats(0, 1), max_size=4),
    st.sampled_from([[0], [0, 1], [0, -1], []]),
)
def test_half_and_dark_mean_one_thing_for_all_masks(
    tmp_path_factory: pytest.TempPathFactory,
    kind: tuple[type, int],
    shares: list[float],
    more: list[int],
) -> None:
    """At least half of white, or less, whichever values a mask holds: 1 of 255 is dark."""
    dtype, full = kind
    values = [round(full * share) for share in shares] + [value % (full + 1) for value in more]
    pixels = np.resize(np.array(values or [0]), (8, 8))
    image = Image.fromarray(pixels.astype(dtype))
    files = written(tmp_path_factory.mktemp("masks"), {"a": image, "b": Image.fromarray(WHITE)})
    for setting, expected in {"half": pixels >= full / 2, "dark": pixels < full / 2}.items():
        reader = MaskReader(setting, None)
        assert reader.look_at(files) == []
        np.testing.assert_array_equal(reader.read("a", files["a"])[0] == OBJECT, expected)


@pytest.mark.parametrize("settings", [((5,), None), ("auto", 5), ((255, 5), None)])
def test_a_setting_that_fits_no_mask_is_refused(tmp_path: Path, settings: tuple) -> None:
    files = written(tmp_path, {"a": Image.fromarray(WHITE)})
    with pytest.raises(ValueError, match="no mask holds 5; what they hold is 0, 255"):
        MaskReader(*settings).look_at(files)


def test_not_counted_pixels(tmp_path: Path) -> None:
    values = np.where(QUARTERS == 1, 255, QUARTERS > 1).astype(np.uint8)
    files = written(tmp_path, {"a": palette([(0, 0, 0), (128, 0, 0)] * 128, values)})
    reader = MaskReader("auto", 255)
    assert reader.look_at(files) == []
    codes = np.array([BACKGROUND, NOT_COUNTED, OBJECT, OBJECT], dtype=np.uint8)
    np.testing.assert_array_equal(reader.read("a", files["a"])[0], codes[QUARTERS])


def coloured() -> Image.Image:
    return Image.fromarray(np.stack([WHITE, 0 * WHITE, 0 * WHITE], -1))


def see_through() -> Image.Image:
    image = Image.fromarray(WHITE).convert("RGBA")
    image.putalpha(Image.fromarray(WHITE))
    return image


REFUSED = {
    "has colours, (255, 0, 0) say": coloured,
    "has transparent pixels": see_through,
    "has a palette in which 0 is (128, 0, 0)": lambda: palette([(128, 0, 0), (0, 0, 0)], ~DISC),
}


@pytest.mark.parametrize("why", REFUSED)
def test_other_forms_are_refused_by_name(tmp_path: Path, why: str) -> None:
    files = written(tmp_path, {"a": REFUSED[why]()})
    (problem,) = MaskReader("auto", None).look_at(files)
    assert problem.startswith(f"a: its mask {why}") and "save it" in problem


COLOURS = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))


@settings(deadline=None)
@given(st.just((0, 0, 0)) | COLOURS, COLOURS, st.sampled_from(["PNG", "GIF"]), st.booleans())
def test_a_coloured_palette_is_its_indices_where_0_is_black(
    tmp_path_factory: pytest.TempPathFactory,
    first: tuple[int, ...],
    second: tuple[int, ...],
    kind: str,
    transparent: bool,
) -> None:
    """Else the colours say which is the object, which nobody can tell; a list of indices does."""
    assume(first != second and any(len(set(colour)) > 1 for colour in (first, second)))
    files = {"a": tmp_path_factory.mktemp("masks") / "a"}
    options = {"transparency": 1} if transparent else {}
    palette([first, second], DISC).save(files["a"], kind, optimize=False, **options)
    reader = MaskReader("auto", None)
    if any(first) or transparent:
        (problem,) = reader.look_at(files)
        seen = "transparent" if transparent else f"a palette in which 0 is {first}"
        assert problem.startswith(f"a: its mask has {seen}")
        assert "data.object_values" in problem
        reader = MaskReader((1,), None)
    assert reader.look_at(files) == []
    np.testing.assert_array_equal(reader.read("a", files["a"])[0] == OBJECT, DISC)


FLAT = np.zeros((H, W), np.uint8)
FLAT[:, 20:40], FLAT[-9:] = 1, 255
LABELS = {
    "0, 1, 255": FLAT,
    "0, 1, 2, 255": np.where(np.arange(W) > 60, 2, FLAT).astype(np.uint8),
    "ids and void": (np.arange(W) // 10 * 3 + FLAT // 255 * 255).clip(0, 255).astype(np.uint8),
    "16 bits": np.where(np.arange(W) > 60, 2, FLAT.astype(np.uint16) * 257),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_with_a_void_of_white_are_no_antialiased_mask(tmp_path: Path, kind: str) -> None:
    files = written(tmp_path, {"a": Image.fromarray(LABELS[kind])})
    assert len(MaskReader("auto", None).look_at(files)) == 1


def test_a_grey_colour_of_a_coloured_palette_is_an_index(tmp_path: Path) -> None:
    colours = [(0, 0, 0), (128, 0, 0), (128, 128, 128)]
    files = written(tmp_path, {"a": palette(colours, DISC * 2), "b": palette(colours, DISC)})
    reader = MaskReader((2,), None)
    assert reader.look_at(files) == []
    np.testing.assert_array_equal(reader.read("a", files["a"])[0] == OBJECT, DISC)
    reader.read("b", files["b"])
    assert reader.without_object == {"b"}  # said, since 1 may have been meant


@pytest.mark.parametrize("make", [lambda: Image.fromarray(WHITE), antialiased])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_dark_is_the_complement_of_half(tmp_path: Path, make: Callable, suffix: str) -> None:
    files = written(tmp_path, {"a": make()}, suffix)
    masks = []
    for values in ("half", "dark"):
        reader = MaskReader(values, None)
        assert reader.look_at(files) == []
        masks.append(reader.read("a", files["a"])[0] == OBJECT)
    np.testing.assert_array_equal(masks[0], ~masks[1])
    assert abs(masks[0].sum() - DISC.sum()) < 30


def test_a_mask_that_counts_nowhere_is_refused(tmp_path: Path) -> None:
    white = Image.new("L", (W, H), 255)
    files = written(tmp_path, {"a": white, "b": Image.fromarray(DISC)})
    reader = MaskReader("auto", 255)
    reader.look_at(files)
    with pytest.raises(ValueError, match="counts nowhere"):
        reader.read("a", files["a"])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_a_mask_is_read_whole_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], random
) -> None:
    """Of any grey values: a rule reads each pixel, and never calls a darker pixel more an object
    than a lighter one."""
    array = np.array([random.choice(values) for _ in range(64)], dtype=np.uint8).reshape(8, 8)
    files = written(tmp_path_factory.mktemp("masks"), {"a": Image.fromarray(array)})
    reader = MaskReader("auto", None)
    if reader.look_at(files):
        assert reader.rules == {}
        return
    mask = reader.read("a", files["a"])[0]
    assert set(np.unique(mask)) <= {BACKGROUND, OBJECT}
    if (mask == OBJECT).any() and (mask == BACKGROUND).any():
        assert array[mask == OBJECT].min() > array[mask == BACKGROUND].max()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_by_its_own_tag(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    half = Image.fromarray(WHITE[:, : W // 2])
    half.save(tmp_path / f"a{suffix}", exif=exif)
    found = read_values(tmp_path / f"a{suffix}")
    upright = half.transpose(UPRIGHT[orientation]) if orientation > 1 else half
    np.testing.assert_array_equal(found.pixels, upright)
    assert found.orientation == orientation
