"""Which image goes where: the official lists with stratified validation, the table's split, and a
folder's own."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.test_packing import config as make_config
from unet.data.config import PreprocessConfig
from unet.data.oxford_pets import Index, breed
from unet.data.splits import assign_splits, folder_splits

BREEDS = ["Abyssinian", "Maine_Coon", "pug", "american_pit_bull_terrier", "samoyed"]


def config(fraction: float = 0.1, **changes: object) -> PreprocessConfig:
    return replace(make_config(), val_fraction=fraction, **changes)


def index(sizes: list[int], num_test: int = 10) -> Index:
    """So many images of each breed on trainval, and ``num_test`` of one more on test."""
    trainval = [f"{name}_{i}" for name, n in zip(BREEDS, sizes, strict=False) for i in range(n)]
    test = [f"Persian_{i}" for i in range(num_test)]
    return Index({"trainval": trainval, "test": test}, dict.fromkeys(trainval + test, b""), 0)


@settings(deadline=None, max_examples=80)
@given(
    sizes=st.lists(st.integers(1, 120), min_size=1, max_size=5), fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**40),
)  # fmt: skip
def test_official(sizes: list[int], fraction: float, seed: int) -> None:
    num = sum(sizes)
    assume(1 <= int(num * fraction) < num)
    given_index = index(sizes)
    splits = assign_splits(given_index, config(fraction, seed=seed))
    train, val = set(splits["train"]), set(splits["val"])
    assert not train & val
    assert train | val == set(given_index.lists["trainval"])
    assert len(val) == int(num * fraction)
    assert splits["test"] == sorted(given_index.lists["test"])
    assert all(names == sorted(set(names)) for names in splits.values())
    counts = Counter(breed(name) for name in val)
    for name, size in zip(BREEDS, sizes, strict=False):
        assert abs(counts[name] - size * fraction) <= 1 + 1e-9
    # The lists' order is of no account.
    lists = {name: names[::-1] for name, names in given_index.lists.items()}
    assert assign_splits(replace(given_index, lists=lists), config(fraction, seed=seed)) == splits


def test_the_seed_decides_and_the_draw_stays_what_it_was() -> None:
    drawn = assign_splits(index([10, 10]), config(0.2))["val"]
    assert drawn == ["Abyssinian_1", "Abyssinian_4", "Maine_Coon_5", "Maine_Coon_6"]
    another = assign_splits(index([10, 10]), config(0.2, seed=1))["val"]
    assert another != drawn and len(another) == len(drawn)


@settings(deadline=None, max_examples=40)
@given(num=st.integers(2, 3000) | st.just(7390))
def test_sorted_cuts_as_the_table_did_at_any_size(num: int) -> None:
    names = [f"pug_{i}" for i in range(num)]
    given_index = Index({"trainval": names, "test": names}, dict.fromkeys(names, b""), 0)
    splits = assign_splits(given_index, config(split="sorted"))
    folder = sorted([*names, *(f"._{name}" for name in names)])
    cut = int(0.8 * len(folder))
    assert splits["train"] == [name for name in folder[:cut] if not name.startswith("._")]
    assert splits["val"] == splits["test"] == folder[cut:]
    assert num != 7390 or (len(splits["train"]), len(splits["val"])) == (4434, 2956)


@pytest.mark.parametrize("split", ["official", "sorted"])
@settings(deadline=None, max_examples=20)
@given(limit=st.integers(2, 150))
def test_a_limit_takes_a_part_of_each_split(split: str, limit: int) -> None:
    given_index = index([60, 60, 60], num_test=40)
    whole = assign_splits(given_index, config(split=split))
    part = assign_splits(given_index, config(split=split, limit=limit))
    for name, names in part.items():
        assert len(names) == min(limit, len(whole[name]))
        assert set(names) <= set(whole[name]) and names == sorted(names)


def test_a_limit_takes_from_all_over() -> None:
    part = assign_splits(index([60, 60, 60, 60, 60]), config(limit=30))["train"]
    assert {breed(name) for name in part} == set(BREEDS)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ValueError, match="the val split is empty .*preprocess.val_fraction"):
        assign_splits(index([20, 20]), config(0.01))
    with pytest.raises(ValueError, match="the train split is empty .train 0, val 1, test 1."):
        folder_splits(["a", "b"], {}, config())


@settings(max_examples=50)
@given(count=st.integers(3, 300), seed=st.integers(0, 99))
def test_a_folders_drawn_splits(count: int, seed: int) -> None:
    names = [f"n{i}" for i in range(count)]
    splits = folder_splits(names, {}, config(seed=seed))
    assert sorted(sum(splits.values(), [])) == sorted(names)
    assert len(splits["test"]) == max(1, round(0.2 * count))
    assert folder_splits(names[::-1], {}, config(seed=seed)) == splits
    more = folder_splits([*names, "new"], {}, config(seed=seed))
    assert sum(len(set(splits[s]) ^ set(more[s])) for s in splits) <= 7  # few others moved
