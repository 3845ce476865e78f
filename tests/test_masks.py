"""The codes of a mask: each rule of the boundary, in NumPy and in torch; code 255 never counts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unet.data.masks import (
    BACKGROUND,
    BOUNDARY,
    BOUNDARY_RULES,
    NOT_COUNTED,
    OBJECT,
    foreground,
)

CODES = (BACKGROUND, OBJECT, BOUNDARY, NOT_COUNTED)
EXPECTED = {  # rule -> the codes that are object, the codes that count
    "background": ({OBJECT}, {BACKGROUND, OBJECT, BOUNDARY}),
    "object": ({OBJECT, BOUNDARY}, {BACKGROUND, OBJECT, BOUNDARY}),
    "ignore": ({OBJECT}, {BACKGROUND, OBJECT}),
}


def test_codes_are_those_that_packed_arrays_hold() -> None:
    assert CODES == (0, 1, 2, 255)


def test_every_rule_is_known_here() -> None:
    assert set(BOUNDARY_RULES) == EXPECTED.keys()


@pytest.mark.parametrize("as_tensor", [True, False], ids=["torch", "numpy"])
@pytest.mark.parametrize("rule", BOUNDARY_RULES)
@settings(deadline=None, max_examples=20)
@given(codes=st.lists(st.sampled_from(CODES), max_size=24))
def test_rules_of_the_boundary(rule: str, as_tensor: bool, codes: list[int]) -> None:
    array = np.array(codes, dtype=np.uint8).reshape(1, -1)
    found = foreground(torch.from_numpy(array) if as_tensor else array, boundary=rule)
    are_object, count = EXPECTED[rule]
    assert [mask.tolist() for mask in found] == [
        [[code in are_object for code in codes]],
        [[code in count for code in codes]],
    ]
    assert all(mask.dtype == (torch.bool if as_tensor else np.bool_) for mask in found)
    assert array.tolist() == [codes], "the masks stay as they are"


@pytest.mark.parametrize("rule", BOUNDARY_RULES)
def test_what_is_not_counted_is_no_object_either(rule: str) -> None:
    masks = torch.full((2, 3, 3), NOT_COUNTED, dtype=torch.uint8)
    is_object, counted = foreground(masks, boundary=rule)
    assert not is_object.any()
    assert not counted.any()


def test_boundary_is_background_unless_told_otherwise() -> None:
    codes = torch.tensor(CODES, dtype=torch.uint8)
    for default, named in zip(
        foreground(codes), foreground(codes, boundary="background"), strict=True
    ):
        assert torch.equal(default, named)


def test_unknown_rule_names_the_choices() -> None:
    with pytest.raises(ValueError, match="boundary = 'edge'") as error:
        foreground(torch.ones(2, 2, dtype=torch.uint8), boundary="edge")
    assert all(rule in str(error.value) for rule in BOUNDARY_RULES)
