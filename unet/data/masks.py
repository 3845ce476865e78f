"""The codes of a mask, and the foreground that they define."""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

BACKGROUND, OBJECT, BOUNDARY, NOT_COUNTED = 0, 1, 2, 255

# How pixels of code 2 are taken (`train.boundary`) -> description.
BOUNDARY_RULES = {
    "background": "boundary as background",
    "object": "boundary as object",
    "middle": "boundary divided in the middle",
    "ignore": "boundary ignored",
}

Array = TypeVar("Array", np.ndarray, Tensor)


def without_boundary(masks: Tensor, rule: str) -> Tensor:
    """Masks (N, H, W) uint8 in which each pixel of code 2 has another code, chosen by ``rule``.

    ``background`` and ``object`` give them that code; ``ignore`` gives them 255, not counted.
    ``middle`` gives each to the nearer of object and background (Euclidean distance between
    pixels, ties to the background); in a mask without one of the two they are background.
    """
    if rule != "middle":
        code = {"background": BACKGROUND, "object": OBJECT, "ignore": NOT_COUNTED}[rule]
        return torch.where(masks == BOUNDARY, code, masks)
    from scipy.ndimage import distance_transform_edt  # only here: it takes time to import

    divided = masks.cpu().numpy().copy()
    for mask in divided:
        boundary, is_object, background = (mask == c for c in (BOUNDARY, OBJECT, BACKGROUND))
        mask[boundary] = BACKGROUND
        if boundary.any() and is_object.any() and background.any():
            to_object, to_background = map(distance_transform_edt, (~is_object, ~background))
            mask[boundary & (to_object < to_background)] = OBJECT
    return torch.from_numpy(divided).to(masks.device)


def foreground(masks: Array) -> tuple[Array, Array]:
    """The object's pixels and the pixels that count, both bool of the shape of ``masks`` (uint8).

    Pixels of code 2 are background here; :func:`without_boundary` applies another rule first.
    """
    return masks == OBJECT, masks != NOT_COUNTED
