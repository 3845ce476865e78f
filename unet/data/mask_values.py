"""What the pixel values of users' masks mean.

Masks come as 0 and 255, 0 and 1, palettes, one bit, grey stored as RGB, with antialiased edges.
Unambiguous masks are accepted; the rest is refused with a message that names the values and the
setting that decides.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from unet.data.masks import BACKGROUND, NOT_COUNTED, OBJECT
from unet.data.parallel import in_order
from unet.data.photos import GREY_16_BIT, read_upright

ObjectValues = Literal["auto", "half", "dark"] | tuple[int, ...]

LOSSLESS = ("PNG", "BMP", "GIF", "TIFF")
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")  # its compressions
EDGE = 5  # pixels; an area that fills a square of this side is not an edge
SHOWN = 8  # maximum number of values in messages


class Rule(NamedTuple):
    """How the values of one mask are read."""

    form: str  # a description for the summary
    is_object: Callable[[np.ndarray], np.ndarray]  # values (H, W) -> bool


@dataclass(frozen=True)
class Values:
    """What a mask file holds, upright.

    Attributes:
        pixels: (H, W), integers: grey values, or the indices of a coloured palette.
        full: the value of white: 1, 255 or 65535.
        lossy: the file's format, if its values may not be those that were drawn; else empty.
        orientation: of its own EXIF tag, 1 to 8.
    """

    pixels: np.ndarray
    full: int
    lossy: str
    orientation: int


def read_values(file: Path | bytes, *, by_index: bool = False) -> Values:
    """Read a mask.

    Args:
        by_index: of a coloured palette take the indices, whatever its colours.

    Raises:
        ValueError: what is wrong, worded to follow the file's name.
    """
    image, orientation = read_upright(file)
    exact = image.format in LOSSLESS and image.info.get("compression") not in LOSSY_TIFF
    pixels, full = _pixels(image, by_index=by_index)
    return Values(pixels, full, "" if exact else image.format, orientation)


def _pixels(image: Image.Image, *, by_index: bool) -> tuple[np.ndarray, int]:
    if image.mode in ("I", *GREY_16_BIT):
        return np.asarray(image).astype(np.int32), 65535
    see_through = image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        if (palette != palette[:, :1]).any():
            if not by_index and (see_through or palette[0].any()):
                found = f"a palette in which 0 is {_colour(palette[0])}, not black"
                raise ValueError(
                    f"has {'transparent pixels' if see_through else found}: save it in grey, 0 "
                    "where there is no object, or list its numbers in data.object_values"
                )
            return np.asarray(image), 255  # the indices, as in VOC's masks
    if see_through:
        raise ValueError("has transparent pixels: save it in grey, 0 where there is no object")
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8), 1
    if image.mode not in ("L", "P", "RGB", "RGBA", "LA", "PA", "La", "RGBa"):
        raise ValueError(f"has mode {image.mode}: save it in grey")
    pixels = np.asarray(image.convert("RGB"))
    if len(coloured := pixels[(pixels != pixels[..., :1]).any(-1)]):
        raise ValueError(
            f"has colours, {_colour(coloured[0])} say: save it in grey, or with a palette"
        )
    return pixels[..., 0], 255


def _colour(rgb: np.ndarray) -> tuple[int, ...]:
    return tuple(rgb.tolist())


class MaskReader:
    """Reads the masks of one dataset, after :meth:`look_at` has seen all of them.

    Args:
        object_values: the object's values; ``half``: at least half of white; ``dark``: below half;
            ``auto``: decided by the values in the masks.
        not_counted: the value of pixels to ignore.

    Attributes:
        rules: name -> how its mask is read, for unambiguous masks.
        without_object: names of masks that hold values above 0, but no object.
    """

    def __init__(self, object_values: ObjectValues, not_counted: int | None) -> None:
        self.object_values = object_values
        self.not_counted = not_counted
        self.rules: dict[str, Rule] = {}
        self.without_object: set[str] = set()
        self._is_list = not isinstance(object_values, str)
        self._values: set[int] = set()

    def look_at(self, masks: Mapping[str, Path]) -> list[str]:
        """Set :attr:`rules`; returns one line per unreadable or ambiguous mask.

        Raises:
            ValueError: no mask holds a value that the settings name.
        """
        problems, unclear = [], {}
        look = partial(_look, by_index=self._is_list)
        for name, found in in_order(masks.items(), look):
            if isinstance(found, str):
                problems.append(f"{name}: its mask {found}")
                continue
            if found.lossy and (self._is_list or self.not_counted is not None):
                problems.append(
                    f"{name}: its mask is stored as {found.lossy}, whose values are not exact: "
                    "with a list in data.object_values or with data.not_counted save it as PNG"
                )
                continue
            self._values.update(found.values)
            rule = self._rule(found)
            if rule is None:
                unclear[name] = found
            else:
                self.rules[name] = rule
        beside_0 = self._values - {0, self.not_counted}
        exact = not any(found.lossy for found in unclear.values())
        if len(beside_0) == 1 and exact:  # one value in all masks: there is one way to read it
            value = min(beside_0)
            self.rules |= dict.fromkeys(unclear, _one_value(value))
            unclear = {}
        if not problems:  # otherwise some masks' values are not known
            self._check_settings()
        return problems + [
            f"{name}: its mask holds {_listed(found.values)}: which is the object? "
            + (f"It is {found.lossy}: save it as PNG, and set " if found.lossy else "Set ")
            + "data.object_values (a list; or half: half of white and more)"
            + ("" if self.not_counted is not None else " or data.not_counted")
            for name, found in unclear.items()
        ]

    def _rule(self, found: "_Look") -> Rule | None:
        """The rule for a mask; None if its values alone do not decide."""
        half = (found.full + 1) // 2
        if self._is_list:
            is_listed = partial(np.isin, test_elements=self.object_values)
            return Rule("the values of data.object_values", is_listed)
        if self.object_values == "dark":
            return Rule(f"grey (less than {half} is object)", lambda values: values < half)
        if self.object_values == "half":
            return Rule(f"grey ({half} and more is object)", lambda values: values >= half)
        values = set(found.values) - {0, self.not_counted}
        if not values:
            return Rule("0 alone", np.zeros_like)
        if found.lossy and max(values) < half:  # 1 as object, say, lost or spread by the format
            return None
        if len(values) == 1 and values <= {1, 255, found.full}:
            return _one_value(*values)
        if found.is_antialiased:
            form = f"grey (antialiased, {half} and more is object)"
            return Rule(form, lambda values: values >= half)
        return None

    def _check_settings(self) -> None:
        wanted = {"data.not_counted": () if self.not_counted is None else (self.not_counted,)}
        if self._is_list:
            wanted["data.object_values"] = self.object_values
        for setting, values in wanted.items():
            if lacking := [value for value in values if value not in self._values]:
                raise ValueError(
                    f"{setting}: no mask holds {lacking[0]}; what they hold is "
                    f"{_listed(sorted(self._values))}"
                )

    def read(self, name: str, file: Path | bytes) -> tuple[np.ndarray, int]:
        """The mask ``name``, upright, codes (H, W) uint8, and its own EXIF orientation, 1 to 8.

        Raises:
            ValueError: what is wrong, worded to follow the file's name.
        """
        found = read_values(file, by_index=self._is_list)
        values = found.pixels
        is_object = self.rules[name].is_object(values)
        mask = np.where(is_object, OBJECT, BACKGROUND).astype(np.uint8)
        if self.not_counted is not None:
            mask[values == self.not_counted] = NOT_COUNTED
            if (mask == NOT_COUNTED).all():
                raise ValueError("counts nowhere: all of it is data.not_counted")
        if values.any() and not (mask == OBJECT).any():
            self.without_object.add(name)
        return mask, found.orientation

    def describe(self) -> dict[str, Any]:
        """How the masks were read: the number of masks per form, and the values that they hold."""
        forms = Counter(rule.form for rule in self.rules.values())
        values = sorted(self._values)
        return {
            "forms": dict(sorted(forms.items())),
            "values": values if len(values) <= 2 * SHOWN else _listed(values),
            "without_object": sorted(self.without_object),
            "not_counted": self.not_counted,
        }


@dataclass(frozen=True)
class _Look:
    values: list[int]  # that the mask holds, sorted
    full: int
    lossy: str
    is_antialiased: bool


def _look(_name: str, file: Path, *, by_index: bool) -> _Look | str:
    try:
        found = read_values(file, by_index=by_index)
    except ValueError as error:
        return str(error)
    values = [int(value) for value in np.unique(found.pixels)]
    return _Look(values, found.full, found.lossy, _is_antialiased(found, values))


def _one_value(value: int) -> Rule:
    return Rule(f"0 and {value}", lambda values: values == value)


def _is_antialiased(found: Values, values: list[int]) -> bool:
    """Whether the mask is black and white except at edges: no other value fills a square of EDGE
    pixels (labels would), and mid-grey occurs only in thinner lines."""
    near = found.full // 50  # covers JPEG noise
    if values[0] < 0 or values[0] > near or values[-1] < found.full - near or len(values) < 4:
        return False
    pixels = found.pixels
    lowest, highest = minimum_filter(pixels, EDGE), maximum_filter(pixels, EDGE)
    flat = np.unique(pixels[lowest == highest])
    allowed = near if found.lossy in ("JPEG", "MPO") else 0
    if ((flat > allowed) & (flat < found.full - allowed)).any():
        return False
    soft = (pixels > found.full // 4) & (pixels < found.full * 3 // 4)
    return not minimum_filter(soft, EDGE).any()


def _listed(values: list[int]) -> str:
    if len(values) <= SHOWN:
        return ", ".join(map(str, values))
    return f"{len(values)} values from {values[0]} to {values[-1]}"
