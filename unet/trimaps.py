"""The codes of a trimap, and the masks made of them."""

from typing import TypeVar

PET, BACKGROUND, BOUNDARY = 1, 2, 3

BOUNDARY_RULES = ("background", "pet", "ignore")

Array = TypeVar("Array")  # a NumPy array or a torch tensor


def pet_mask(trimaps: Array, *, boundary: str = "background") -> tuple[Array, Array]:
    """The pet's mask and the pixels that count, both bool of the shape of ``trimaps`` (uint8).

    Args:
        boundary: what pixels of code 3 are: ``background`` (the default of the whole project),
            ``pet``, or ``ignore`` (they do not count).

    Raises:
        ValueError: another ``boundary``.
    """
    if boundary not in BOUNDARY_RULES:
        raise ValueError(f"boundary = {boundary!r}: must be one of {', '.join(BOUNDARY_RULES)}")
    pet = (trimaps == PET) | (trimaps == BOUNDARY) if boundary == "pet" else trimaps == PET
    counted = trimaps != BOUNDARY if boundary == "ignore" else trimaps > 0
    return pet, counted
