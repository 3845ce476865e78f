"""Photographs that are nearly the same in two splits: what training has seen scores too well."""

from itertools import combinations
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image

from unet.data.parallel import in_order

# How many bits may differ. On the official splits 6 find all 22 pairs with an RMS difference below
# 4 (of 255, at 20 x 20 pixels) and 7 more, each of one breed; 8 find a pair of two breeds.
MAX_BITS = 6


def near_duplicates(packed: Path, splits: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Pairs of different names in two splits whose 64-bit perceptual hashes (of the DCT, see
    imagehash.phash) differ by at most MAX_BITS bits.

    Args:
        packed: the folder with the splits' arrays.
        splits: their names, in the arrays' order.

    Returns:
        For each name in the second of two splits the closest in the first, if it is so close:
        ``names`` and ``splits`` (both of two), ``bits``, the number that differ, and whether the
        arrays are ``exact`` copies; the closest pair first.
    """
    images = {split: np.load(packed / split / "images.npy", mmap_mode="r") for split in splits}
    hashes = {split: _hashes(images[split], splits[split]) for split in splits}
    pairs = []
    for first, second in combinations(splits, 2):
        # A split may be two at once: an image is no duplicate of itself.
        row_of = {name: row for row, name in enumerate(splits[first])}
        for j, name in enumerate(splits[second]):
            bits = np.bitwise_count(hashes[first] ^ hashes[second][j])
            if name in row_of:
                bits[row_of[name]] = 64
            i = int(bits.argmin())
            if bits[i] <= MAX_BITS:
                pair = {"names": [splits[first][i], name], "splits": [first, second]}
                exact = np.array_equal(images[first][i], images[second][j])
                pairs.append(pair | {"bits": int(bits[i]), "exact": exact})
    return sorted(pairs, key=lambda pair: (pair["bits"], pair["names"]))


def _hashes(images: np.ndarray, names: list[str]) -> np.ndarray:
    """(N,) uint64 of images (N, S, S, 3)."""
    found = in_order(zip(names, images, strict=True), _hash)
    return np.array([value for _, value in found], dtype=np.uint64)


def _hash(_name: str, image: np.ndarray) -> int:
    return int(str(imagehash.phash(Image.fromarray(np.asarray(image)))), 16)
