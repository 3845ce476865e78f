"""How the values of users' masks are interpreted, and which masks are refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.forms import BLACK, RED, grey, palette, saved
from tests.test_packing import data_config
from unet.data.mask_values import read_mask
from unet.data.masks import BACKGROUND, NOT_COUNTED, OBJECT

H, W = 60, 80
DISC = np.hypot(*np.mgrid[-30:30, -40:40]) < 20  # (H, W) bool
WHITE = np.uint8(255) * DISC
QUARTERS = np.repeat(np.arange(4), 20)[None, :] * np.ones((H, 1), dtype=int)


def read(image: Image.Image | bytes, values: Any = "auto", not_counted: int | None = None) -> Any:
    """The mask's codes, form, values and whether it is unusual; or what is wrong."""
    data = replace(data_config(), object_values=values, not_counted=not_counted)
    try:
        return read_mask(image if isinstance(image, bytes) else saved(image, "PNG"), data)
    except ValueError as error:
        return str(error)


def is_object(image: Image.Image | bytes, *settings: Any) -> np.ndarray:
    return read(image, *settings).codes == OBJECT


def antialiased() -> Image.Image:
    large = np.hypot(*np.mgrid[-120:120, -160:160]) < 80
    return grey(255 * large).resize((W, H), Image.Resampling.BOX)


def test_antialiased_edges_are_cut_at_half() -> None:
    found = read(antialiased())
    assert found.form == "grey (antialiased, 128 and more is object)"
    np.testing.assert_array_equal(found.codes == OBJECT, np.asarray(antialiased()) >= 128)


TWO = {"save_all": True, "append_images": [grey(WHITE)]}
LOSSY = {
    "JPEG": {}, "MPO": TWO, "AVIF": {}, "TIFF": {"compression": "jpeg"},
    "WEBP": {"lossless": True},  # which nothing tells from lossy ones
}  # fmt: skip


@pytest.mark.parametrize("kind", LOSSY)
def test_exact_values_of_a_lossy_file_are_refused(kind: str) -> None:
    """Noise makes 254 of 255: some of the object would be lost without a word."""
    content = saved(grey(WHITE, "RGB"), kind, **LOSSY[kind])
    for setting in (((255,), None), ("auto", 128)):
        problem = read(content, *setting)
        assert problem.startswith(f"is stored as {kind}") and "save it as PNG" in problem
    if kind in ("JPEG", "MPO"):
        content = saved(grey(WHITE), kind, quality=20, **LOSSY[kind])
        assert (is_object(content) != DISC).mean() < 0.02


AMBIGUOUS = {
    "0, 128, 255": np.where(QUARTERS == 1, 128, 255 * (QUARTERS > 1)),
    "1, 2, 3": QUARTERS % 3 + 1,  # the release's trimap
    "0, 1, 255": np.where(QUARTERS == 1, 255, QUARTERS > 1),  # VOC with its border
    "13 values": np.where(QUARTERS == 1, 255, np.arange(W) // 5 * 3),
}


@pytest.mark.parametrize("shown", AMBIGUOUS)
def test_what_can_be_taken_in_two_ways_is_refused(shown: str) -> None:
    problem = read(grey(AMBIGUOUS[shown]))
    assert shown in problem and "which is the object" in problem
    assert "data.object_values" in problem and "data.not_counted" in problem


def test_listed_values_decide() -> None:
    found = read(grey(QUARTERS), (1, 3), 2)
    expected = np.array([BACKGROUND, OBJECT, NOT_COUNTED, OBJECT], dtype=np.uint8)[QUARTERS]
    np.testing.assert_array_equal(found.codes, expected)
    assert found.values == (0, 1, 2, 3)
    np.testing.assert_array_equal(is_object(grey(255 - WHITE), (0,)), DISC)
    # A grey colour of a coloured palette is an index.
    image = palette(DISC * 2, BLACK, RED, (128, 128, 128))
    np.testing.assert_array_equal(is_object(image, (2,)), DISC)


@settings(deadline=None)
@given(
    st.sampled_from([(bool, 1), (np.uint8, 255), (np.uint16, 65535)]),
    st.lists(st.floats(0, 1), max_size=4), st.sampled_from([[0], [0, 1], [0, -1], []]),
)  # fmt: skip
def test_half_and_dark_mean_one_thing_for_all_masks(
    kind: tuple[type, int], shares: list[float], more: list[int]
) -> None:
    """At least half of white, or less, whichever values a mask holds: 1 of 255 is dark."""
    dtype, full = kind
    values = [round(full * share) for share in shares] + [value % (full + 1) for value in more]
    pixels = np.resize(np.array(values or [0]), (8, 8))
    image = Image.fromarray(pixels.astype(dtype))
    np.testing.assert_array_equal(is_object(image, "half"), pixels >= full / 2)
    np.testing.assert_array_equal(is_object(image, "dark"), pixels < full / 2)


def test_not_counted_pixels() -> None:
    values = np.where(QUARTERS == 1, 255, QUARTERS > 1)
    found = read(palette(values, *[BLACK, RED] * 128), "auto", 255)
    codes = np.array([BACKGROUND, NOT_COUNTED, OBJECT, OBJECT], dtype=np.uint8)
    np.testing.assert_array_equal(found.codes, codes[QUARTERS])


COLOURS = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))


@settings(deadline=None)
@given(st.just(BLACK) | COLOURS, COLOURS, st.sampled_from(["PNG", "GIF"]), st.booleans())
def test_a_coloured_palette_is_its_indices_where_0_is_black(
    first: tuple[int, ...], second: tuple[int, ...], kind: str, transparent: bool,
) -> None:  # fmt: skip
    """Else the colours say which is the object, which nobody can tell; a list of indices does."""
    assume(first != second and any(len(set(colour)) > 1 for colour in (first, second)))
    options = {"transparency": 1} if transparent else {}
    content = saved(palette(DISC, first, second), kind, optimize=False, **options)
    if any(first) or transparent:
        assert read(content).startswith("has a palette with transparent pixels, or in which 0 is")
    else:
        np.testing.assert_array_equal(is_object(content), DISC)
    np.testing.assert_array_equal(is_object(content, (1,)), DISC)
