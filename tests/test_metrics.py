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


def naive_counts(predicted: np.ndarray, target: np.ndarray, counted: np.ndarray) -> list[int]:
    pairs = list(zip(predicted.flat, target.flat, counted.flat, strict=True))
    kinds = ((True, True), (True, False), (False, True), (False, False))
    return [sum((p, t, c) == (*kind, True) for p, t, c in pairs) for kind in kinds]


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


@pytest.mark.parametrize("score", SCORES)
def test_nothing_of_nothing_is_perfect(score: str) -> None:
    assert getattr(metrics, score)(torch.tensor([0, 0, 0, 0])).item() == 1


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
    random = np.random.default_rng(seed).random((3, 2, height, width))
    predicted, target, counted = torch.from_numpy(random < 0.93)
    radius = max(1, round(dilation * math.hypot(height, width)))
    for which in (None, counted):
        counts = metrics.boundary_counts(predicted, target, which, dilation=dilation)
        every = np.ones(predicted.shape, dtype=bool) if which is None else which.numpy()
        assert counts.tolist() == [
            naive_counts(naive_band(p, radius), naive_band(t, radius), c)
            for p, t, c in zip(predicted.numpy(), target.numpy(), every, strict=True)
        ]
