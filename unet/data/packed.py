"""The packed arrays of a split: written once by preprocessing, read by training and evaluation.

A split is a folder with ``images.npy`` (N, S, S, 3) uint8 RGB, ``masks.npy`` (N, S, S) uint8 codes
(:mod:`unet.data.masks`) and ``names.txt``, one name per line, in the arrays' order.
``dataset.json`` beside the folders says where the data came from.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from unet.data.masks import BOUNDARY, NOT_COUNTED, foreground, without_boundary


@dataclass(frozen=True)
class Split:
    """A split's arrays, on a device or memory-mapped."""

    images: Tensor  # (N, S, S, 3) uint8
    masks: Tensor  # (N, S, S) uint8 codes
    names: tuple[str, ...]  # of the N images

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
        sums = [[int(part.sum()) for part in foreground(some)] for some in self.masks.split(256)]
        num_object, num_counted = map(sum, zip(*sums, strict=True))
        return num_object / num_counted

    def batch(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S) float32 in [0, 1], channels last in memory, and masks (B, S, S)."""
        indices = indices.to(self.images.device, non_blocking=True)
        images = self.images[indices].to(device, non_blocking=True)
        masks = self.masks[indices].to(device, non_blocking=True)
        return images.permute(0, 3, 1, 2).float().div_(255), masks


def create_split(folder: Path, names: list[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """A new split in ``folder`` for the images ``names``, and its arrays to fill, memory-mapped.

    Returns:
        Images (N, S, S, 3) and masks (N, S, S), uint8, zeros.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "names.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    images, masks, shape = folder / "images.npy", folder / "masks.npy", (len(names), size, size)
    # Written once in full: on a full disk this raises, while a memory map would kill the process.
    np.save(images, np.broadcast_to(np.uint8(0), (*shape, 3)))
    np.save(masks, np.broadcast_to(np.uint8(0), shape))
    return np.load(images, mmap_mode="r+"), np.load(masks, mmap_mode="r+")


def load_split(folder: Path, device: torch.device, *, boundary: str | None = None) -> Split:
    """Open the split in ``folder``: on ``device`` if it takes at most half of the free memory
    there, else memory-mapped.

    Args:
        boundary: the rule applied to pixels of code 2 (``unet.data.masks.BOUNDARY_RULES``); None:
            the masks as they are packed.

    Raises:
        ValueError: there is none.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} cannot be read: run `dvc repro preprocess`")
    names = tuple((folder / "names.txt").read_text(encoding="utf-8").split("\n")[:-1])
    # "c" (copy-on-write): pages are read from the file on access; nothing is written back.
    images, masks = (
        torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))
        for name in ("images", "masks")
    )
    if boundary and (masks == BOUNDARY).any():
        masks = without_boundary(masks, boundary)
    if images.nbytes + masks.nbytes <= 0.5 * free_memory(device):
        images, masks = images.to(device, copy=True), masks.to(device, copy=True)
    return Split(images, masks, names)


def data_title(about: dict[str, Any]) -> str:
    """Which images and which split, for figures, from what ``dataset.json`` holds."""
    own = f"images of {Path(about.get('path', '')).name}, "
    whose = {"synthetic": "drawn images, ", "folder": own}.get(about["source"], "")
    return f"{whose}{about['split']} split"


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still allocate on ``device``; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "cpu":
        # The ranks of one host share its memory.
        return psutil.virtual_memory().available // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return 0
