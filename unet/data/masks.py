"""The codes of a mask, and the foreground that they define."""

from typing import TypeVar

BACKGROUND, OBJECT, BOUNDARY, NOT_COUNTED = 0, 1, 2, 255

# How pixels of code 2 are taken -> description.
BOUNDARY_RULES = {
    "background": "boundary as background",
    "object": "boundary as object",
    "ignore": "boundary ignored",
}

Array = TypeVar("Array")  # a NumPy array or a torch tensor


def foreground(masks: Array, *, boundary: str = "background") -> tuple[Array, Array]:
    """The object's pixels and the pixels that count, both bool of the shape of ``masks`` (uint8).

    Args:
        boundary: what pixels of code 2 are (``train.boundary``): ``background``, ``object``, or
            ``ignore`` (they do not count). Pixels of code 255 never count.

    Raises:
        ValueError: unknown ``boundary``.
    """
    if boundary not in BOUNDARY_RULES:
        raise ValueError(f"boundary = {boundary!r}: must be one of {', '.join(BOUNDARY_RULES)}")
    is_object, counted = masks == OBJECT, masks != NOT_COUNTED
    if boundary == "object":
        is_object |= masks == BOUNDARY
    elif boundary == "ignore":
        counted &= masks != BOUNDARY
    return is_object, counted
