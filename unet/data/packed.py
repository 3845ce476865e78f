"""The packed arrays of a split: written once by preprocessing, read by training and evaluation.

A split is a folder with ``images.npy`` (N, S, S, 3) uint8 RGB, ``masks.npy`` (N, S, S) uint8 codes
(:mod:`unet.data.masks`) and ``names.txt``, one name per line, in the arrays' order.
``dataset.json`` beside the folders says where the data came from.
"""

import json
import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import psutil
import torch
from torch import Tensor

from unet.data.masks import BOUNDARY, NOT_COUNTED, foreground, without_boundary

MAKE_IT = "run `dvc repro preprocess` (the ablation's data: `make study`)"


@dataclass(frozen=True)
class Split:
    """A split's arrays, on a device or memory-mapped.

    Attributes:
        images: (N, S, S, 3) uint8.
        masks: (N, S, S) uint8 codes.
        names: the N images' names.
    """

    images: Tensor
    masks: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def image_size(self) -> int:
        """The images' side in pixels."""
        return self.images.shape[1]

    @cached_property
    def partly_counted(self) -> bool:
        """Whether some pixels do not count (code 255)."""
        return any(bool((some == NOT_COUNTED).any()) for some in self.masks.split(256))

    @cached_property
    def foreground_share(self) -> float:
        """The object's share of the pixels that count, in (0, 1)."""
        num_object = num_counted = 0
        for some in self.masks.split(256):
            is_object, counted = foreground(some)
            num_object += int(is_object.sum())
            num_counted += int(counted.sum())
        return num_object / num_counted

    def batch(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S) float32 in [0, 1], channels last in memory, and masks (B, S, S)."""
        indices = indices.to(self.images.device, non_blocking=True)
        images = self.images[indices].to(device, non_blocking=True)
        masks = self.masks[indices].to(device, non_blocking=True)
        return images.permute(0, 3, 1, 2).float().div_(255), masks


class SplitWriter:
    """A new split in ``folder`` for the images ``names``, filled row by row in any order.

    Uses plain writes: on a full disk they raise, while a memory map would kill the process.
    """

    def __init__(self, folder: Path, names: list[str], size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "names.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        shape = (len(names), size, size)
        self._images = _NpyWriter(folder / "images.npy", (*shape, 3))
        self._masks = _NpyWriter(folder / "masks.npy", shape)

    def write_image(self, row: int, image: np.ndarray) -> None:
        """``image``: (S, S, 3) uint8."""
        self._images.write(row, image)

    def write_mask(self, row: int, mask: np.ndarray) -> None:
        """``mask``: (S, S) uint8."""
        self._masks.write(row, mask)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._images.file.close()
        self._masks.file.close()


class _NpyWriter:
    """A .npy file of uint8, zeros at first."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.row_shape = shape[1:]
        self.file = path.open("wb")
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, header)
        self.start = self.file.tell()
        self.file.truncate(self.start + math.prod(shape))

    def write(self, row: int, array: np.ndarray) -> None:
        assert array.shape == self.row_shape and array.dtype == np.uint8
        self.file.seek(self.start + row * array.size)
        self.file.write(array.data)


def load_split(folder: Path, device: torch.device, *, boundary: str | None = None) -> Split:
    """Open the split in ``folder``: on ``device`` if it takes at most half of the free memory
    there, else memory-mapped.

    Args:
        boundary: the rule applied to pixels of code 2 (``unet.data.masks.BOUNDARY_RULES``); None:
            the masks as they are packed.

    Raises:
        ValueError: an array is missing or damaged.
    """
    try:
        names = tuple((folder / "names.txt").read_text(encoding="utf-8").splitlines())
        # "c" (copy-on-write): pages are read from the file on access; nothing is written back.
        images, masks = (
            torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))
            for name in ("images", "masks")
        )
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise ValueError(f"{folder} cannot be read ({error}): {MAKE_IT}") from None
    shape = (len(names), *images.shape[1:3])
    square = images.ndim == 4 and images.shape[1] == images.shape[2] and len(names) > 0
    if (
        not square
        or (images.shape, images.dtype) != ((*shape, 3), torch.uint8)
        or (masks.shape, masks.dtype) != (shape, torch.uint8)
    ):
        raise ValueError(
            f"{folder} is damaged: {len(names)} names, images {list(images.shape)} of "
            f"{images.dtype}, masks {list(masks.shape)} of {masks.dtype}: "
            "run `dvc repro -f preprocess`"
        )
    if boundary and (masks == BOUNDARY).any():
        masks = without_boundary(masks, boundary)
    if images.nbytes + masks.nbytes <= 0.5 * free_memory(device):
        images, masks = images.to(device, copy=True), masks.to(device, copy=True)
    return Split(images, masks, names)


@dataclass(frozen=True)
class Summary:
    """The part of ``dataset.json`` that the figures and tables need."""

    source: str  # official | mirror | synthetic | folder
    split: str  # official | sorted; of a folder: listed | random
    path: str = ""  # of a user's folder

    @property
    def title(self) -> str:
        """Which images and which split, for figures and tables."""
        if self.source == "folder":
            whose, split = f"images of {Path(self.path).name}, ", f"{self.split} split"
            return whose + split
        return f"{'drawn images, ' if self.source == 'synthetic' else ''}{self.split} split"


def load_summary(folder: Path) -> Summary:
    """Read ``dataset.json`` of the packed data in ``folder``.

    Raises:
        ValueError: it is missing or no JSON.
    """
    path = folder / "dataset.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): {MAKE_IT}") from None
    return Summary(content["source"], content["split"], content.get("path", ""))


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still allocate on ``device``; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "cpu":
        # The ranks of one host share its memory.
        return psutil.virtual_memory().available // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return 0
