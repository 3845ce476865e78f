import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.repo import ROOT
from tests.tiny import CPU, tiny_experiment, tiny_model, tiny_split
from unet import losses
from unet.losses import DiceLoss, Loss, WeightedBCELoss, build_loss
from unet.training.config import ExperimentConfig, load_experiments
from unet.training.loop import targets_of

SURE = 40.0  # a logit whose sigmoid is 1 in float32
CASES = {
    "bce": WeightedBCELoss(3.0),
    "dice": DiceLoss(),
    "batch dice": DiceLoss(per_image=False),
} | {
    key: build_loss(e.loss, pos_weight=e.pos_weight, share=0.25, options=e.loss_options)
    for key, e in load_experiments(ROOT / "params.yaml").items()
    if e.loss not in ("bce", "dice")  # a loss of one's own
}


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def weighted_entropy(q: float, share: float, weight: float) -> float:
    """The weighted cross-entropy of predicting ``q`` for every pixel."""
    return -weight * share * math.log(q) - (1 - share) * math.log(1 - q)


def targets_with_share(sixteenths: int) -> Tensor:
    return (torch.arange(64).view(1, 1, 8, 8) < 4 * sixteenths).float()


def square(side: int, size: int = 128) -> Tensor:
    target = torch.zeros(1, 1, size, size)
    target[..., 3 : 3 + side, 5 : 5 + side] = 1
    return target


def sure(mask: Tensor) -> Tensor:
    """Logits that predict ``mask`` with certainty."""
    return SURE * (2 * mask - 1)


@settings(deadline=None, max_examples=40)
@given(q=st.floats(0.01, 0.99), sixteenths=st.integers(0, 16), weight=st.floats(0.05, 20.0))
def test_weighted_bce_of_a_constant_prediction(q: float, sixteenths: int, weight: float) -> None:
    targets = targets_with_share(sixteenths)
    loss = WeightedBCELoss(weight)(torch.full_like(targets, logit(q)), targets)
    expected = weighted_entropy(q, sixteenths / 16, weight)
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(sixteenths=st.integers(1, 15), weight=st.floats(0.05, 20.0))
def test_weighted_bce_is_least_at_its_prior(sixteenths: int, weight: float) -> None:
    p = sixteenths / 16
    best = weight * p / (weight * p + 1 - p)
    loss_function = WeightedBCELoss(weight)
    assert loss_function.prior(p) == pytest.approx(best, rel=1e-6)
    targets = targets_with_share(sixteenths).double()
    at = {
        step: loss_function(torch.full_like(targets, logit(best) + step), targets).item()
        for step in (-0.3, 0.0, 0.3)
    }
    assert at[0.0] < min(at[-0.3], at[0.3])
    logits = torch.full_like(targets, logit(best)).requires_grad_()
    loss_function(logits, targets).backward()
    assert logits.grad.sum().item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "pos_weight", "expected"),
    [("bce", "auto", 4), ("bce", 1.5, 1.5), ("dice", None, None)],
)
def test_a_loss_is_built_by_name(name: str, pos_weight: float | str, expected: float) -> None:
    built = build_loss(name, pos_weight=pos_weight, share=0.2)
    assert type(built) is losses.LOSSES[name]
    assert getattr(built, "pos_weight", None) == (expected and pytest.approx(expected))
    assert getattr(built, "per_image", True)


@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize("side", [1, 3, 40, 120])
def test_dice_of_a_perfect_and_of_a_disjoint_mask(side: int, per_image: bool) -> None:
    loss_function = DiceLoss(per_image=per_image)
    target = square(side)
    assert loss_function(sure(target), target).item() == pytest.approx(0, abs=1e-4)
    # Smoothing on the scale of a pixel would forgive a small mask that is missed.
    nothing = torch.zeros_like(target)
    assert loss_function(sure(nothing), target).item() == pytest.approx(1, abs=2e-3)
    assert loss_function(sure(1 - target), target).item() == pytest.approx(1, abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(q=st.floats(0.01, 0.99), sixteenths=st.integers(1, 16))
def test_dice_of_a_constant_prediction(q: float, sixteenths: int) -> None:
    targets = targets_with_share(sixteenths)
    loss = DiceLoss()(torch.full_like(targets, logit(q)), targets)
    p = sixteenths / 16
    assert loss.item() == pytest.approx(1 - 2 * q * p / (q + p), abs=1e-3)


def test_dice_per_image_is_the_mean_of_the_images_and_batch_dice_is_not() -> None:
    targets = torch.cat([square(2, 16), square(10, 16)])
    logits = torch.cat([sure(torch.zeros(1, 1, 16, 16)), sure(square(10, 16))])
    # The small object missed (loss 1), the large one found (loss 0).
    assert DiceLoss()(logits, targets).item() == pytest.approx(0.5, abs=1e-3)
    pooled = 1 - 2 * 100 / (100 + 104)
    assert DiceLoss(per_image=False)(logits, targets).item() == pytest.approx(pooled, abs=1e-3)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), batch_size=st.integers(1, 7))
def test_dice_per_image_does_not_depend_on_the_batch_size(seed: int, batch_size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(7, 1, 6, 6, generator=generator)
    targets = (torch.rand(7, 1, 6, 6, generator=generator) < 0.3).float()
    batches = zip(logits.split(batch_size), targets.split(batch_size), strict=True)
    total = sum(DiceLoss()(x, t).item() * len(x) for x, t in batches)
    assert total / 7 == pytest.approx(DiceLoss()(logits, targets).item(), rel=1e-5)


@pytest.mark.parametrize("loss_function", CASES.values(), ids=CASES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_logits_lose_nothing(
    loss_function: Loss, dtype: torch.dtype, autocast: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    # More pixels than fp16 has numbers, and far more than bf16 counts exactly.
    logits = (4 * torch.randn(32, 1, 128, 128, generator=generator)).to(dtype)
    targets = (torch.rand(32, 1, 128, 128, generator=generator) < 0.9).float()
    expected = loss_function(logits.float(), targets)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = loss_function(logits, targets)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert loss.item() == expected.item()


class Brier(WeightedBCELoss):
    """The mean squared error of the probabilities, weighted."""

    def forward(self, logits: Tensor, targets: Tensor, counted: Tensor | None = None) -> Tensor:
        error = (logits.float().sigmoid() - targets).square()
        return (error * (1 + (self.pos_weight - 1) * targets)).mean()


def test_a_new_loss_is_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(losses.LOSSES, "brier", Brier)
    weighted = {name for name in losses.LOSSES if "pos_weight" in losses.arguments(name)}
    assert "brier" in weighted and "dice" not in weighted
    named = get_args(ExperimentConfig.__annotations__["loss"])
    assert {*named, "brier"} == set(losses.LOSSES)
    built = build_loss("brier", pos_weight=2.5, share=0.3)
    model = tiny_model(prior=built.prior(0.3))
    images, masks = tiny_split(4).batch(torch.arange(4), CPU)
    built(model(images), targets_of(masks)[0]).backward()
    assert model.head.weight.grad.abs().max() > 0


def test_an_experiment_sets_the_losss_other_arguments() -> None:
    experiment = tiny_experiment(loss="dice", loss_options={"per_image": False, "eps": 0.5})
    built = build_loss("dice", pos_weight=None, share=0.3, options=experiment.loss_options)
    assert (built.per_image, built.eps) == (False, 0.5)
    with pytest.raises(ValueError, match=r"loss_options: dice has no alpha; it has eps, per_image"):
        tiny_experiment(loss="dice", loss_options={"alpha": 0.5})


@pytest.mark.parametrize("loss_function", CASES.values(), ids=CASES)
def test_pixels_that_do_not_count_have_no_say(loss_function: torch.nn.Module) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    counted = torch.rand(2, 1, 8, 8) > 0.3
    expected = loss_function(logits, targets, counted)
    other = torch.where(counted, logits, 50.0)
    turned = torch.where(counted, targets, 1 - targets)
    assert torch.equal(loss_function(other, turned, counted), expected)
    assert loss_function(other, turned) != pytest.approx(expected.item(), rel=1e-3)
    everything = torch.ones_like(counted)
    torch.testing.assert_close(
        loss_function(logits, targets, everything), loss_function(logits, targets)
    )


def test_the_mean_is_over_the_pixels_that_count() -> None:
    logits, targets = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    logits[..., 0, 0] = 5.0
    counted = torch.tensor([[[[False, True], [True, True]]]])
    assert WeightedBCELoss(2.0)(logits, targets, counted).item() == pytest.approx(math.log(2))
    assert WeightedBCELoss(2.0)(logits, targets, ~counted | counted).item() > 1
    assert WeightedBCELoss(2.0)(logits, targets, torch.zeros_like(counted)).item() == 0
