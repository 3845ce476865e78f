"""Which image goes where: the official lists with stratified validation, and the table's split."""

from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unet.data.config import PreprocessConfig
from unet.data.oxford_pets import Index, breed
from unet.data.splits import assign_splits

BREEDS = ["Abyssinian", "Maine_Coon", "pug", "american_pit_bull_terrier", "samoyed"]


def config(
    *, split: str = "official", fraction: float = 0.1, seed: int = 0, limit: int | None = None
) -> PreprocessConfig:
    return PreprocessConfig(
        test_fraction=0.2, image_size=32, split=split, val_fraction=fraction, seed=seed, limit=limit
    )


def index(sizes: list[int], num_test: int = 10) -> Index:
    """So many images of each breed on trainval, and ``num_test`` of one more on test."""
    trainval = [f"{name}_{i}" for name, n in zip(BREEDS, sizes, strict=False) for i in range(n)]
    test = [f"Persian_{i}" for i in range(num_test)]
    return Index({"trainval": trainval, "test": test}, frozenset(trainval + test), 0)


@settings(deadline=None, max_examples=80)
@given(
    sizes=st.lists(st.integers(1, 120), min_size=1, max_size=5),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**40),
)
def test_official(sizes: list[int], fraction: float, seed: int) -> None:
    num = sum(sizes)
    assume(1 <= int(num * fraction) < num)
    given_index = index(sizes)
    splits = assign_splits(given_index, config(fraction=fraction, seed=seed))
    train, val = set(splits["train"]), set(splits["val"])
    assert not train & val
    assert train | val == set(given_index.lists["trainval"])
    assert len(val) == int(num * fraction)
    assert splits["test"] == sorted(given_index.lists["test"])
    assert all(names == sorted(set(names)) for names in splits.values())
    counts = Counter(breed(name) for name in val)
    for name, size in zip(BREEDS, sizes, strict=False):
        assert abs(counts[name] - size * fraction) <= 1 + 1e-9


def test_the_seed_decides() -> None:
    given_index = index([50, 50])
    first = assign_splits(given_index, config(seed=0))
    assert assign_splits(given_index, config(seed=0)) == first
    another = assign_splits(given_index, config(seed=1))
    assert another["val"] != first["val"]
    assert len(another["val"]) == len(first["val"])


def test_the_draw_stays_what_it_was() -> None:
    drawn = assign_splits(index([10, 10]), config(fraction=0.2))["val"]
    assert drawn == ["Abyssinian_1", "Abyssinian_4", "Maine_Coon_5", "Maine_Coon_6"]


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_the_order_of_the_lists_is_of_no_account(data: st.DataObject) -> None:
    given_index = index([12, 9, 4])
    lists = {name: data.draw(st.permutations(n)) for name, n in given_index.lists.items()}
    shuffled = Index(lists, given_index.trimaps, 0)
    assert assign_splits(shuffled, config(fraction=0.3)) == assign_splits(
        given_index, config(fraction=0.3)
    )


def release_sized() -> Index:
    """7,390 names of 37 breeds, 12 of them cats, as many as the release has trimaps."""
    breeds = [f"Cat{i:02d}" for i in range(12)] + [f"dog{i:02d}" for i in range(25)]
    names = [f"{breeds[i % 37]}_{i // 37 + 1}" for i in range(7390)]
    lists = {"trainval": names[:3680], "test": names[3680:7349]}
    return Index(lists, frozenset(names), 7390)


def test_sorted_is_the_published_tables_split() -> None:
    given_index = release_sized()
    splits = assign_splits(given_index, config(split="sorted"))
    assert len(splits["train"]) == 4434
    assert len(splits["val"]) == 2956
    assert splits["test"] == splits["val"]
    folder = sorted([*given_index.trimaps, *(f"._{name}" for name in given_index.trimaps)])
    cut = int(0.8 * len(folder))
    assert [name for name in folder[:cut] if not name.startswith("._")] == splits["train"]
    assert folder[cut:] == splits["val"]


@settings(deadline=None, max_examples=40)
@given(num=st.integers(2, 3000))
def test_sorted_cuts_as_the_table_did_at_any_size(num: int) -> None:
    names = [f"pug_{i}" for i in range(num)]
    given_index = Index({"trainval": names, "test": names}, frozenset(names), 0)
    splits = assign_splits(given_index, config(split="sorted"))
    folder = sorted([*names, *(f"._{name}" for name in names)])
    cut = int(0.8 * len(folder))
    assert splits["train"] == [name for name in folder[:cut] if not name.startswith("._")]
    assert splits["val"] == folder[cut:]


def test_sorted_separates_breeds_but_for_one() -> None:
    splits = assign_splits(release_sized(), config(split="sorted"))
    breeds = {which: {breed(name) for name in splits[which]} for which in ("train", "val")}
    assert len(breeds["train"] & breeds["val"]) <= 1
    assert all(name.startswith("dog") for name in breeds["val"])


@pytest.mark.parametrize("split", ["official", "sorted"])
@settings(deadline=None, max_examples=20)
@given(limit=st.integers(2, 150))
def test_a_limit_takes_a_part_of_each_split(split: str, limit: int) -> None:
    given_index = index([60, 60, 60], num_test=40)
    whole = assign_splits(given_index, config(split=split))
    part = assign_splits(given_index, config(split=split, limit=limit))
    for name, names in part.items():
        assert len(names) == min(limit, len(whole[name]))
        assert set(names) <= set(whole[name])
        assert names == sorted(names)


def test_a_limit_takes_from_all_over() -> None:
    part = assign_splits(index([60, 60, 60, 60, 60]), config(limit=30))["train"]
    assert {breed(name) for name in part} == set(BREEDS)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(
        ValueError, match="the val split is empty: .*preprocess.val_fraction = 0.01"
    ):
        assign_splits(index([20, 20]), config(fraction=0.01))


def test_one_image_is_too_little_for_the_sorted_split() -> None:
    names = ["pug_1"]
    given_index = Index({"trainval": names, "test": names}, frozenset(names), 0)
    with pytest.raises(ValueError, match="the train split is empty"):
        assign_splits(given_index, config(split="sorted"))
