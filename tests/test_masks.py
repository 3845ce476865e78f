"""Each rule of a mask's boundary."""

import numpy as np
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
    without_boundary,
)

BECOMES = {"background": BACKGROUND, "object": OBJECT, "ignore": NOT_COUNTED}
a_mask = arrays(
    np.uint8,
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.sampled_from([0, 1, 2, 255]),
)


@settings(deadline=None, max_examples=300)
@given(mask=a_mask, rule=st.sampled_from(list(BOUNDARY_RULES)))
def test_a_rule_changes_the_boundary_alone(mask: np.ndarray, rule: str) -> None:
    """In the middle each pixel belongs to the nearer, a tie to the background."""
    before, expected = mask.copy(), mask.copy()
    found = without_boundary(torch.from_numpy(mask)[None], rule)
    assert found.dtype == torch.uint8
    assert (mask == before).all(), "the masks given stay as they are"
    objects, background = np.argwhere(mask == OBJECT), np.argwhere(mask == BACKGROUND)
    for pixel in np.argwhere(mask == BOUNDARY):
        nearer = BACKGROUND
        if len(objects) and len(background):
            of_object, of_background = (
                ((pixels - pixel) ** 2).sum(1).min() for pixels in (objects, background)
            )
            nearer = OBJECT if of_object < of_background else BACKGROUND
        expected[tuple(pixel)] = BECOMES.get(rule, nearer)
    np.testing.assert_array_equal(found[0], expected)
