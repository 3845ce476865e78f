"""What the pixel values of people's masks mean.

Masks come as 0 and 255, 0 and 1, palettes, one bit, grey stored as RGB, with antialiased edges.
What can be taken in one way only is taken so; the rest is refused with the values and the setting
that decides.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageFilter

from unet.data.masks import BACKGROUND, NOT_COUNTED, OBJECT
from unet.data.parallel import in_order
from unet.data.photos import GREY_16_BIT, UPRIGHT, opened, orientation

ObjectValues = Literal["auto", "half"] | tuple[int, ...]

SOFT = (64, 192)  # 8-bit values between these belong to an edge; JPEG adds noise to the others
EDGE = 5  # pixels: what is between the values over a square of this side is no edge
SHOWN = 8  # values, in messages


@dataclass(frozen=True)
class Rule:
    """How the values of one mask are read.

    Attributes:
        form: in words, for the summary.
        values: those of the object; None: ``threshold`` and more is object.
    """

    form: str
    values: tuple[int, ...] | None = None
    threshold: int = 1


def read_values(file: Path | bytes) -> np.ndarray:
    """The values of a mask (H, W), integers: grey values, or the indices of a coloured palette.

    Raises:
        ValueError: what is wrong, to be set after the file's name.
    """
    with opened(file) as image:
        turn = UPRIGHT.get(orientation(image))
        values = np.ascontiguousarray(_values(image))
    if turn is not None:
        values = np.asarray(Image.fromarray(values.astype(np.int32)).transpose(turn))
    return values


def _values(image: Image.Image) -> np.ndarray:
    if image.mode == "P":
        return _palette_values(image)
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
        return pixels[..., 0]
    if image.mode in ("1", "L", "I", *GREY_16_BIT):
        return np.asarray(image.convert("L") if image.mode == "1" else image) // (
            255 if image.mode == "1" else 1
        )
    raise ValueError(f"has mode {image.mode}: save it in grey")


def _palette_values(image: Image.Image) -> np.ndarray:
    """The grey that one sees where all colours are grey, else the indices (as VOC's masks)."""
    indices = np.asarray(image)
    palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    palette = np.pad(palette, ((0, 256 - len(palette)), (0, 0)))
    used = np.unique(indices)
    colours = palette[used]
    if (colours == colours[:, :1]).all() and len(np.unique(colours[:, 0])) == len(used):
        return palette[indices, 0]
    black = used[(colours == 0).all(1)]
    if len(black) and 0 not in black:
        raise ValueError(
            f"has a palette in which black is {black[0]}, not 0: save it in grey, 0 for background"
        )
    return indices


class MaskReader:
    """Reads the masks of one data set, after a look at all of them.

    Args:
        object_values: the values of the object; ``half``: half of full white and more; ``auto``:
            by the values that are there.
        not_counted: the value of pixels that are to count nowhere.

    Attributes:
        rules: name -> how its mask is read, of masks that can be read in one way.
    """

    def __init__(self, object_values: ObjectValues, not_counted: int | None) -> None:
        self.object_values = object_values
        self.not_counted = not_counted
        self.rules: dict[str, Rule] = {}
        self._values: set[int] = set()

    def look_at(self, masks: Mapping[str, Path]) -> list[str]:
        """Decide on :attr:`rules`; what cannot be read or is ambiguous, a line each.

        Raises:
            ValueError: a value that the settings name is in no mask.
        """
        problems, unclear = [], {}
        for name, found in in_order(masks.items(), _look):
            if isinstance(found, str):
                problems.append(f"{name}: its mask {found}")
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
        self._check_settings()
        return problems + [
            f"{name}: its mask holds {_listed(found.values)}: which is the object? Set "
            "data.object_values (a list, or half: half of white and more)"
            + ("" if self.not_counted is not None else " or data.not_counted")
            for name, found in unclear.items()
        ]

    def _rule(self, found: "_Look") -> Rule | None:
        """None: not by this mask's values alone."""
        if isinstance(self.object_values, tuple):
            return Rule("the values of data.object_values", self.object_values)
        values = set(found.values) - {self.not_counted}
        full = 255 if max(found.values) <= 255 else 65535
        if values <= {0}:
            return Rule("0 alone (no object)")
        if values <= {0, 1}:
            return Rule("0 and 1")
        if values <= {0, full}:
            return Rule(f"0 and {full}", threshold=full)
        half = (full + 1) // 2
        if self.object_values == "half":
            return Rule(f"{half} and more", threshold=half)
        if found.is_antialiased:
            return Rule(f"antialiased ({half} and more)", threshold=half)
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

    def read(self, name: str, file: Path | bytes) -> np.ndarray:
        """The mask ``name`` as codes (H, W) uint8.

        Raises:
            ValueError: what is wrong, to be set after the file's name.
        """
        values, rule = read_values(file), self.rules[name]
        by_threshold = rule.values is None
        is_object = values >= rule.threshold if by_threshold else np.isin(values, rule.values)
        mask = np.where(is_object, OBJECT, BACKGROUND).astype(np.uint8)
        if self.not_counted is not None:
            mask[values == self.not_counted] = NOT_COUNTED
        return mask

    def describe(self) -> dict[str, Any]:
        """What was understood: how many masks of each form, and the values that they hold."""
        forms = Counter(rule.form for rule in self.rules.values())
        values = sorted(self._values)
        return {
            "forms": dict(sorted(forms.items())),
            "values": values if len(values) <= 2 * SHOWN else _listed(values),
            "not_counted": self.not_counted,
        }


@dataclass(frozen=True)
class _Look:
    values: list[int]  # that the mask holds, sorted
    is_antialiased: bool


def _look(_name: str, file: Path) -> _Look | str:
    try:
        values = read_values(file)
    except ValueError as error:
        return str(error)
    found = [int(value) for value in np.unique(values)]
    return _Look(found, _is_antialiased(values, found))


def _is_antialiased(values: np.ndarray, found: list[int]) -> bool:
    """Whether it is black and white but for edges: from 0 to white, few pixels between, and those
    in lines thinner than EDGE."""
    full = 255 if found[-1] <= 255 else 65535
    if found[0] < 0 or found[0] > 0.02 * full or found[-1] < 0.98 * full or len(found) < 4:
        return False
    grey = values / (full / 255)
    soft = Image.fromarray(((grey > SOFT[0]) & (grey < SOFT[1])).astype(np.uint8))
    return soft.filter(ImageFilter.MinFilter(EDGE)).getextrema()[1] == 0


def _listed(values: list[int]) -> str:
    if len(values) <= SHOWN:
        return ", ".join(map(str, values))
    return f"{len(values)} values from {values[0]} to {values[-1]}"
