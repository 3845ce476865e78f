"""The packed arrays of a split: written once by preprocessing, read by training and evaluation.

A split is a folder with ``images.npy`` (N, S, S, 3) uint8 RGB, ``trimaps.npy`` (N, S, S) uint8
codes and ``names.txt``, a name a line, in the arrays' order. ``dataset.json`` beside the folders
says where they came from.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """A split's arrays, on a device or memory-mapped.

    Attributes:
        images: (N, S, S, 3) uint8.
        trimaps: (N, S, S) uint8.
        names: the N images' names.
    """

    images: Tensor
    trimaps: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def image_size(self) -> int:
        """The images' side in pixels."""
        return self.images.shape[1]

    def batch(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S) float32 in [0, 1], channels last in memory, and trimaps (B, S, S)."""
        indices = indices.to(self.images.device, non_blocking=True)
        images = self.images[indices].to(device, non_blocking=True)
        trimaps = self.trimaps[indices].to(device, non_blocking=True)
        return images.permute(0, 3, 1, 2).float().div_(255), trimaps


def create_split(folder: Path, names: list[str], size: int) -> tuple[np.memmap, np.memmap]:
    """New arrays on disk for ``names``, to be filled row by row: images and trimaps."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "names.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    shape = (len(names), size, size)
    open_array = np.lib.format.open_memmap
    images = open_array(folder / "images.npy", mode="w+", dtype=np.uint8, shape=(*shape, 3))
    trimaps = open_array(folder / "trimaps.npy", mode="w+", dtype=np.uint8, shape=shape)
    return images, trimaps


def load_split(folder: Path, device: torch.device) -> Split:
    """Open the split in ``folder``: on ``device`` where it fits, else memory-mapped.

    Raises:
        ValueError: an array is missing or damaged.
    """
    try:
        names = tuple((folder / "names.txt").read_text(encoding="utf-8").splitlines())
        # "c": pages are shared with the file and read as they are touched; nothing is written back.
        images, trimaps = (
            torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))
            for name in ("images", "trimaps")
        )
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{folder} cannot be read ({error}): run `dvc repro preprocess`") from None
    if not len(names) == len(images) == len(trimaps):
        raise ValueError(f"{folder} is damaged: its files disagree: run `dvc repro -f preprocess`")
    if images.nbytes + trimaps.nbytes <= 0.5 * free_memory(device):
        images, trimaps = images.to(device, copy=True), trimaps.to(device, copy=True)
    return Split(images, trimaps, names)


def load_summary(folder: Path) -> dict[str, Any]:
    """``dataset.json`` of the packed data in ``folder``."""
    try:
        return json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} cannot be read ({error}): run `dvc repro preprocess`") from None


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take on ``device``; 0 where that is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "cpu":
        # The ranks of one host share its memory.
        return psutil.virtual_memory().available // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return 0
