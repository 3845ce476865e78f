import math

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unet import metrics

SCORES = ("accuracy", "iou", "dice", "precision", "recall")


def random_masks(seed: int, *shape: int, share: float = 0.5, count: int = 2) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.random(shape) < share) for _ in range(count)]


def naive_counts(predicted: np.ndarray, target: np.ndarray, counted: np.ndarray) -> list[int]:
    tp = fp = fn = tn = 0
    for p, t, c in zip(predicted.flat, target.flat, counted.flat, strict=True):
        if c and p and t:
            tp += 1
        elif c and p:
            fp += 1
        elif c and t:
            fn += 1
        elif c:
            tn += 1
    return [tp, fp, fn, tn]


def naive_band(mask: np.ndarray, radius: int) -> np.ndarray:
    """Pixels of the mask within ``radius`` of one that is not, or of the outside."""
    height, width = mask.shape
    band = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        window = [
            (0 <= i < height and 0 <= j < width and mask[i, j])
            for i in range(y - radius, y + radius + 1)
            for j in range(x - radius, x + radius + 1)
        ]
        band[y, x] = not all(window)
    return band


def square(side: int, top: int, left: int, size: int) -> Tensor:
    mask = torch.zeros(1, size, size, dtype=torch.bool)
    mask[:, top : top + side, left : left + side] = True
    return mask


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    num_images=st.integers(1, 4),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    share=st.floats(0, 1),
    channel=st.booleans(),
    with_counted=st.booleans(),
)
def test_counts_are_those_of_a_loop_over_pixels(
    seed: int, num_images: int, height: int, width: int, share: float, channel: bool,
    with_counted: bool,
) -> None:  # fmt: skip
    shape = (num_images, 1, height, width) if channel else (num_images, height, width)
    predicted, target, counted = random_masks(seed, *shape, share=share, count=3)
    if not with_counted:
        counted = torch.ones_like(counted)
    counts = metrics.pixel_counts(predicted, target, counted if with_counted else None)
    assert counts.dtype == torch.int64
    assert counts.tolist() == [
        naive_counts(p, t, c)
        for p, t, c in zip(predicted.numpy(), target.numpy(), counted.numpy(), strict=True)
    ]


def test_scores_of_known_counts() -> None:
    counts = torch.tensor([6, 2, 4, 8])
    assert metrics.accuracy(counts).item() == pytest.approx(14 / 20)
    assert metrics.iou(counts).item() == pytest.approx(6 / 12)
    assert metrics.dice(counts).item() == pytest.approx(12 / 18)
    assert metrics.precision(counts).item() == pytest.approx(6 / 8)
    assert metrics.recall(counts).item() == pytest.approx(6 / 10)


@pytest.mark.parametrize("score", SCORES)
def test_nothing_of_nothing_is_perfect(score: str) -> None:
    assert getattr(metrics, score)(torch.tensor([0, 0, 0, 0])).item() == 1


@pytest.mark.parametrize(
    ("counts", "ones"),
    [
        ((0, 0, 0, 9), {"accuracy", "iou", "dice", "precision", "recall"}),
        ((0, 0, 3, 0), {"precision"}),
        ((0, 3, 0, 0), {"recall"}),
        ((0, 2, 3, 0), set()),
        ((5, 0, 0, 0), {"accuracy", "iou", "dice", "precision", "recall"}),
    ],
)
def test_scores_at_the_edges(counts: tuple[int, ...], ones: set[str]) -> None:
    found = {score: getattr(metrics, score)(torch.tensor(counts)).item() for score in SCORES}
    assert found == {score: float(score in ones) for score in SCORES}


PEERS = {
    "accuracy": lambda truth, found: sklearn.metrics.accuracy_score(truth, found),
    "iou": lambda t, f: sklearn.metrics.jaccard_score(t, f, zero_division=1.0),
    "dice": lambda t, f: sklearn.metrics.f1_score(t, f, zero_division=1.0),
    "precision": lambda t, f: sklearn.metrics.precision_score(t, f, zero_division=1.0),
    "recall": lambda t, f: sklearn.metrics.recall_score(t, f, zero_division=1.0),
}


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(1, 8)),
    shares=st.tuples(*[st.sampled_from([0.0, 0.1, 0.5, 1.0])] * 2),
    seed=st.integers(0, 2**31),
)
def test_scores_are_those_of_scikit_learn(
    shape: tuple[int, ...], shares: tuple[float, float], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    predicted, target = (torch.rand(shape, generator=generator) < share for share in shares)
    counts = metrics.pixel_counts(predicted, target)
    for score, peer in PEERS.items():
        mine = getattr(metrics, score)
        pooled = peer(target.flatten().numpy(), predicted.flatten().numpy())
        assert mine(counts.sum(0)).item() == pytest.approx(pooled)
        each = [peer(t.flatten().numpy(), p.flatten().numpy())
                for t, p in zip(target, predicted, strict=True)]  # fmt: skip
        assert mine(counts).tolist() == pytest.approx(each)


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(0, 10**9), min_size=4, max_size=4))
def test_ranges_and_relations(counts: list[int]) -> None:
    table = torch.tensor(counts)
    found = {score: getattr(metrics, score)(table) for score in SCORES}
    assert all(value.dtype == torch.float64 for value in found.values())
    assert all(0 <= value.item() <= 1 for value in found.values())
    iou, dice = found["iou"].item(), found["dice"].item()
    assert dice == pytest.approx(2 * iou / (1 + iou))
    assert iou <= dice
    assert iou <= min(found["precision"].item(), found["recall"].item()) + 1e-12


def test_counts_beyond_int32_stay_exact() -> None:
    half = 3 * 2**31
    assert metrics.accuracy(torch.tensor([half, 0, 0, half])).item() == 1
    assert metrics.iou(torch.tensor([half, half, 0, 0])).item() == 0.5


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), batch_size=st.integers(1, 9))
def test_no_batch_size_changes_a_count(seed: int, batch_size: int) -> None:
    predicted, target = random_masks(seed, 9, 6, 6)
    for count in (metrics.pixel_counts, metrics.boundary_counts):
        batches = zip(predicted.split(batch_size), target.split(batch_size), strict=True)
        together = torch.cat([count(p, t) for p, t in batches])
        assert torch.equal(together, count(predicted, target))


def test_scores_work_row_by_row() -> None:
    predicted, target = random_masks(3, 5, 6, 6)
    counts = metrics.pixel_counts(predicted, target)
    for score in SCORES:
        rows = getattr(metrics, score)(counts)
        assert rows.shape == (5,)
        assert rows.tolist() == [getattr(metrics, score)(row).item() for row in counts]


@pytest.mark.parametrize(
    ("size", "side", "radius"),
    [(100, 40, 3), (128, 60, 4), (16, 10, 1), (8, 6, 1), (256, 100, 7)],
)
def test_band_of_a_square(size: int, side: int, radius: int) -> None:
    assert radius == max(1, round(0.02 * size * math.sqrt(2)))
    mask = square(side, 1, 1, size)
    band = side**2 - (side - 2 * radius) ** 2
    empty = torch.zeros_like(mask)
    assert metrics.boundary_counts(empty, mask).tolist() == [[0, 0, band, size**2 - band]]
    assert metrics.boundary_counts(mask, empty).tolist() == [[0, band, 0, size**2 - band]]


def test_band_counts_the_images_border_as_an_edge() -> None:
    full = torch.ones(1, 100, 100, dtype=torch.bool)
    band = 100**2 - 94**2
    assert metrics.boundary_counts(full, full).tolist() == [[band, 0, 0, 100**2 - band]]


def test_band_of_two_squares_side_by_side() -> None:
    first, second = square(40, 20, 20, 100), square(40, 20, 21, 100)
    # Bands 3 wide, shifted by 1: the long sides share 2 of 3 columns, the caps all but the ends.
    tp, fp, fn, _ = metrics.boundary_counts(first, second)[0].tolist()
    band = 40**2 - 34**2
    assert tp + fn == tp + fp == band
    expected = (naive_band(first[0].numpy(), 3) & naive_band(second[0].numpy(), 3)).sum()
    assert tp == expected == 2 * 3 * 39 + 2 * 34 * 2


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(4, 20),
    width=st.integers(4, 20),
    dilation=st.sampled_from([0.02, 0.1, 0.2]),
)
def test_band_is_that_of_a_loop_over_pixels(
    seed: int, height: int, width: int, dilation: float
) -> None:
    predicted, target, counted = random_masks(seed, 2, height, width, share=0.93, count=3)
    radius = max(1, round(dilation * math.hypot(height, width)))
    for which in (None, counted):
        counts = metrics.boundary_counts(predicted, target, which, dilation=dilation)
        every = np.ones(predicted.shape, dtype=bool) if which is None else which.numpy()
        assert counts.tolist() == [
            naive_counts(naive_band(p, radius), naive_band(t, radius), c)
            for p, t, c in zip(predicted.numpy(), target.numpy(), every, strict=True)
        ]


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
def test_boundary_iou_of_identical_masks_is_1(seed: int, share: float) -> None:
    (mask,) = random_masks(seed, 3, 12, 12, share=share, count=1)
    assert metrics.iou(metrics.boundary_counts(mask, mask)).tolist() == [1, 1, 1]


def test_boundary_iou_is_stricter_than_iou_for_a_large_mask() -> None:
    target, predicted = square(80, 10, 10, 100), square(76, 12, 12, 100)
    whole = metrics.iou(metrics.pixel_counts(predicted, target)).item()
    edge = metrics.iou(metrics.boundary_counts(predicted, target)).item()
    assert whole == pytest.approx(76**2 / 80**2)
    # The bands share the ring between the squares of sides 76 and 74.
    ring = 76**2 - 74**2
    assert edge == pytest.approx(ring / (80**2 - 74**2 + 76**2 - 70**2 - ring))
