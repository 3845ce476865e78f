"""What the pixel values of users' masks mean.

Masks come as 0 and 255, 0 and 1, palettes, one bit, grey stored as RGB, with antialiased edges.
Unambiguous masks are accepted; the rest is refused with a message that names the values and the
setting that decides.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from unet.data.masks import BACKGROUND, NOT_COUNTED, OBJECT
from unet.data.parallel import in_order
from unet.data.photos import GREY_16_BIT, opened, orientation

ObjectValues = Literal["auto", "half", "dark"] | tuple[int, ...]

EDGE = 5  # pixels; an area that fills a square of this side is not an edge
SHOWN = 8  # maximum number of values in messages


@dataclass(frozen=True)
class Rule:
    """How the values of one mask are read.

    Attributes:
        form: a description for the summary.
        values: the object's values; None: values of at least ``threshold`` are object.
        is_dark: the inverse: values below ``threshold`` are object.
    """

    form: str
    values: tuple[int, ...] | None = None
    threshold: int = 1
    is_dark: bool = False


@dataclass(frozen=True)
class Values:
    """What a mask file holds, as it is stored.

    Attributes:
        pixels: (H, W), integers: grey values, or the indices of a coloured palette.
        full: the value of white: 1, 255 or 65535.
        is_lossy: whether it is a JPEG, whose values are not exact.
        orientation: of its own EXIF tag, 1 to 8.
    """

    pixels: np.ndarray
    full: int
    is_lossy: bool
    orientation: int


def read_values(file: Path | bytes) -> Values:
    """Read a mask.

    Raises:
        ValueError: what is wrong, worded to follow the file's name.
    """
    with opened(file) as image:
        pixels, full = _pixels(image)
        return Values(pixels, full, image.format == "JPEG", orientation(image))


def _pixels(image: Image.Image) -> tuple[np.ndarray, int]:
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8), 1
    if image.mode == "P":
        return _palette_values(image), 255
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        if image.getchannel("A").getextrema() != (255, 255):
            raise ValueError("has transparent pixels: save it in grey, 0 where there is no object")
        image = image.convert("RGB")
    if image.mode == "RGB":
        pixels = np.asarray(image)
        coloured = (pixels != pixels[..., :1]).any(-1)
        if coloured.any():
            colour = tuple(int(value) for value in pixels[coloured][0])
            raise ValueError(f"has colours, {colour} say: save it in grey, or with a palette")
        return pixels[..., 0], 255
    if image.mode == "L":
        return np.asarray(image), 255
    if image.mode in ("I", *GREY_16_BIT):
        return np.asarray(image).astype(np.int32), 65535
    raise ValueError(f"has mode {image.mode}: save it in grey")


def _palette_values(image: Image.Image) -> np.ndarray:
    """Grey values if the whole palette is grey, else the indices (as in VOC's masks)."""
    indices = np.asarray(image)
    palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    is_grey = bool((palette == palette[:, :1]).all())
    palette = np.pad(palette, ((0, 256 - len(palette)), (0, 0)))
    used = np.unique(indices)
    if is_grey:
        return palette[indices, 0]
    black = used[(palette[used] == 0).all(1)]
    if len(black) and 0 not in black:
        raise ValueError(
            f"has a palette in which black is {black[0]}, not 0: save it in grey, 0 for background"
        )
    return indices


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
        self._values: set[int] = set()

    def look_at(self, masks: Mapping[str, Path]) -> list[str]:
        """Set :attr:`rules`; returns one line per unreadable or ambiguous mask.

        Raises:
            ValueError: no mask holds a value that the settings name.
        """
        problems, unclear = [], {}
        for name, found in in_order(masks.items(), _look):
            if isinstance(found, str):
                problems.append(f"{name}: its mask {found}")
                continue
            if found.is_lossy and (self.not_counted, type(self.object_values)) != (None, str):
                problems.append(
                    f"{name}: its mask is a JPEG, whose values are not exact: with a list in "
                    "data.object_values or with data.not_counted save it as PNG"
                )
                continue
            self._values.update(found.values)
            rule = self._rule(found)
            if rule is None:
                unclear[name] = found
            else:
                self.rules[name] = rule
        beside_0 = self._values - {0, self.not_counted}
        if len(beside_0) == 1:  # one value in all masks: there is one way to read it
            value = min(beside_0)
            self.rules |= {name: Rule(f"0 and {value}", (value,)) for name in unclear}
            unclear = {}
        if not problems:  # otherwise some masks' values are not known
            self._check_settings()
        return problems + [
            f"{name}: its mask holds {_listed(found.values)}: which is the object? "
            + ("It is a JPEG: save it as PNG, and set " if found.is_lossy else "Set ")
            + "data.object_values (a list; or half: half of white and more)"
            + ("" if self.not_counted is not None else " or data.not_counted")
            for name, found in unclear.items()
        ]

    def _rule(self, found: "_Look") -> Rule | None:
        """The rule for a mask; None if its values alone do not decide."""
        if isinstance(self.object_values, tuple):
            return Rule("the values of data.object_values", self.object_values)
        values = set(found.values) - {self.not_counted}
        for full in (1, 255, found.full):
            if values <= {0, full}:
                form = f"0 and {full}" if values - {0} else "0 alone"
                return Rule(form, threshold=full, is_dark=self.object_values == "dark")
        half = (found.full + 1) // 2
        if self.object_values == "half" or (self.object_values == "auto" and found.is_antialiased):
            kind = "antialiased, " * found.is_antialiased
            return Rule(f"grey ({kind}{half} and more is object)", threshold=half)
        if self.object_values == "dark":
            return Rule(f"grey (less than {half} is object)", threshold=half, is_dark=True)
        return None

    def _check_settings(self) -> None:
        wanted = {"data.not_counted": () if self.not_counted is None else (self.not_counted,)}
        if isinstance(self.object_values, tuple):
            wanted["data.object_values"] = self.object_values
        for setting, values in wanted.items():
            if lacking := [value for value in values if value not in self._values]:
                raise ValueError(
                    f"{setting}: no mask holds {lacking[0]}; what they hold is "
                    f"{_listed(sorted(self._values))}"
                )

    def read(self, name: str, file: Path | bytes) -> tuple[np.ndarray, int]:
        """The mask ``name`` as stored, codes (H, W) uint8, and its own EXIF orientation, 1 to 8.

        Raises:
            ValueError: what is wrong, worded to follow the file's name.
        """
        found, rule = read_values(file), self.rules[name]
        by_threshold = rule.values is None
        values = found.pixels
        is_object = values >= rule.threshold if by_threshold else np.isin(values, rule.values)
        mask = np.where(is_object ^ rule.is_dark, OBJECT, BACKGROUND).astype(np.uint8)
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
    is_lossy: bool
    is_antialiased: bool


def _look(_name: str, file: Path) -> _Look | str:
    try:
        found = read_values(file)
    except ValueError as error:
        return str(error)
    values = [int(value) for value in np.unique(found.pixels)]
    return _Look(values, found.full, found.is_lossy, _is_antialiased(found, values))


def _is_antialiased(found: Values, values: list[int]) -> bool:
    """Whether the mask is black and white except at edges: no other value fills a square of EDGE
    pixels (labels would), and mid-grey occurs only in thinner lines."""
    near = found.full // 50  # covers JPEG noise
    if values[0] < 0 or values[0] > near or values[-1] < found.full - near or len(values) < 4:
        return False
    pixels = found.pixels
    lowest, highest = minimum_filter(pixels, EDGE), maximum_filter(pixels, EDGE)
    flat = np.unique(pixels[lowest == highest])
    allowed = near if found.is_lossy else 0
    if ((flat > allowed) & (flat < found.full - allowed)).any():
        return False
    soft = (pixels > found.full // 4) & (pixels < found.full * 3 // 4)
    return not minimum_filter(soft, EDGE).any()


def _listed(values: list[int]) -> str:
    if len(values) <= SHOWN:
        return ", ".join(map(str, values))
    return f"{len(values)} values from {values[0]} to {values[-1]}"
