"""The codes of a mask: each rule of the boundary; code 255 never counts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from unet.data.masks import (
    BACKGROUND,
    BOUNDARY,
    BOUNDARY_RULES,
    NOT_COUNTED,
    OBJECT,
    foreground,
    without_boundary,
)

CODES = (0, 1, 2, 255)  # as packed arrays hold them
BECOMES = {"background": BACKGROUND, "object": OBJECT, "ignore": NOT_COUNTED}
a_mask = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from(CODES)
)


def applied(mask: np.ndarray, rule: str) -> np.ndarray:
    before = mask.copy()
    found = without_boundary(torch.from_numpy(mask)[None], rule)
    assert found.dtype == torch.uint8 and found.shape == (1, *mask.shape)
    assert (mask == before).all(), "the masks given stay as they are"
    return found[0].numpy()


@settings(deadline=None)
@given(mask=a_mask, rule=st.sampled_from(list(BOUNDARY_RULES)))
def test_a_rule_changes_the_boundary_alone(mask: np.ndarray, rule: str) -> None:
    found = applied(mask, rule)
    assert (found[mask != BOUNDARY] == mask[mask != BOUNDARY]).all()
    assert set(found[mask == BOUNDARY]) <= {BECOMES.get(rule, OBJECT), BECOMES.get(rule, 0)}


@settings(deadline=None, max_examples=200)
@given(mask=a_mask)
def test_in_the_middle_each_pixel_belongs_to_the_nearer(mask: np.ndarray) -> None:
    found = applied(mask, "middle")
    objects, background = np.argwhere(mask == OBJECT), np.argwhere(mask == BACKGROUND)
    for pixel in np.argwhere(mask == BOUNDARY):
        expected = BACKGROUND
        if len(objects) and len(background):
            to_object, to_background = (
                ((pixels - pixel) ** 2).sum(1).min() for pixels in (objects, background)
            )
            expected = OBJECT if to_object < to_background else BACKGROUND
        assert found[tuple(pixel)] == expected


@pytest.mark.parametrize("as_tensor", [True, False], ids=["torch", "numpy"])
@settings(deadline=None, max_examples=20)
@given(mask=a_mask)
def test_the_foreground(as_tensor: bool, mask: np.ndarray) -> None:
    is_object, counted = foreground(torch.from_numpy(mask) if as_tensor else mask)
    assert is_object.tolist() == [[code == OBJECT for code in row] for row in mask.tolist()]
    assert counted.tolist() == [[code != NOT_COUNTED for code in row] for row in mask.tolist()]
    assert is_object.dtype == counted.dtype == (torch.bool if as_tensor else np.bool_)
