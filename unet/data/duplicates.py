"""Near-duplicates in two splits: images that training has seen score too well."""

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import imagehash
import numpy as np
from PIL import Image

# How many bits may differ. On the official splits 6 finds all 22 pairs with an RMS difference below
# 4 (of 255, at 20 x 20 pixels) and 7 more, each of one breed; 8 finds a pair of two breeds.
MAX_BITS = 6


def near_duplicates(
    images: dict[str, np.ndarray], splits: dict[str, list[str]]
) -> list[dict[str, Any]]:
    """Pairs of different names in two splits whose 64-bit perceptual hashes (of the DCT, see
    imagehash.phash) differ by at most MAX_BITS bits.

    Args:
        images: split -> (N, S, S, 3) uint8.
        splits: split -> the N images' names.

    Returns:
        For each image of the second of two splits, its closest image in the first, if close
        enough: ``names`` and ``splits`` (two each), ``bits`` (how many differ) and ``exact``
        (whether the arrays are equal). The closest pair comes first.
    """
    with ThreadPoolExecutor() as pool:
        hashes = {split: np.array(list(pool.map(_hash, images[split]))) for split in splits}
    pairs = []
    for first, second in combinations(splits, 2):
        # Two splits may share images: an image is not a duplicate of itself.
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


def _hash(image: np.ndarray) -> np.uint64:
    return np.uint64(int(str(imagehash.phash(Image.fromarray(image))), 16))
