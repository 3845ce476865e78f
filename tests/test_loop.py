import gzip
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import (
    CPU,
    foreground_share,
    run_training,
    same_weights,
    tiny_augment,
    tiny_config,
    tiny_experiment,
    tiny_model,
    tiny_split,
)
from unet.data.augment import draw_transforms
from unet.data.masks import (
    BACKGROUND,
    BOUNDARY,
    BOUNDARY_RULES,
    NOT_COUNTED,
    OBJECT,
    without_boundary,
)
from unet.data.packed import Split
from unet.losses import DiceLoss, WeightedBCELoss, build_loss
from unet.runtime.device import device_name
from unet.training.checkpoint import load_state, read_state
from unet.training.learner import Learner, build_model
from unet.training.loop import (
    RunningScores,
    Schedule,
    Start,
    Training,
    announce,
    image_size_of,
    load_batch,
    one_cycle,
    snapshot,
    targets_of,
    train,
    validate,
)
from unet.training.profiling import profile_training

COLUMNS = [
    "epoch", "learning_rate", "train_loss", "train_accuracy", "train_iou", "train_dice",
    "val_loss", "val_accuracy", "val_iou", "val_dice", "best_epoch",
]  # fmt: skip

AMPS = ["none", "bf16"]


def same_training(first: Training, second: Training) -> bool:
    """Whether all but the timing agrees, bit for bit."""
    return (
        first.curve == second.curve
        and first.kept_epoch == second.kept_epoch
        and same_weights(first.weights, second.weights)
        and first.snapshots.keys() == second.snapshots.keys()
        and all(torch.equal(first.snapshots[e], second.snapshots[e]) for e in first.snapshots)
    )


def stop_at(epoch: int) -> Callable[[Training], None]:
    """Break off when this epoch has ended, before its state is saved."""

    def on_epoch(training: Training) -> None:
        if len(training.curve) == epoch:
            raise KeyboardInterrupt

    return on_epoch


def first_images(split: Split, count: int) -> Split:
    return Split(split.images[:count], split.masks[:count], split.names[:count])


def scripted(monkeypatch: pytest.MonkeyPatch, accuracies: Sequence[float]) -> None:
    """Let validation find these accuracies, one an epoch."""
    found = iter(accuracies)

    def scores(*_args, **_kwargs) -> dict[str, float]:
        return {"loss": 0.5, "accuracy": next(found), "iou": 0.5, "dice": 0.5}

    monkeypatch.setattr("unet.training.loop.validate", scores)


@pytest.mark.parametrize("loss", ["bce", "dice"])
@pytest.mark.parametrize("modes", [("mp", "tr"), ("str_conv", "ups")])
def test_learns_what_can_be_learnt(tmp_path: Path, loss: str, modes: tuple[str, str]) -> None:
    experiment = tiny_experiment(loss=loss, downsample=modes[0], upsample=modes[1])
    training = run_training(tmp_path, experiment=experiment, epochs=15, batch_size=4)
    first, last = training.curve[0], training.curve[-1]
    # Over five seeds: ratios of 0.07 to 0.36 and 0.04 to 0.33, at least 0.994, at least 0.95.
    assert last["train_loss"] < 0.85 * first["train_loss"]
    assert last["val_loss"] < first["val_loss"]
    assert last["val_accuracy"] > 0.9
    assert last["val_iou"] > 0.8


def test_first_loss_is_near_that_of_the_prior(tmp_path: Path) -> None:
    split = tiny_split()
    training = run_training(tmp_path, epochs=1, max_lr=1e-9, augment=tiny_augment())
    # Both classes weigh the same, and each pixel costs log 2 of its weight.
    expected = 2 * (1 - foreground_share(split)) * math.log(2)
    assert training.curve[0]["train_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("amp", AMPS)
def test_the_seed_decides_every_bit(tmp_path: Path, amp: str) -> None:
    first = run_training(tmp_path / "a", amp=amp)
    torch.rand(7)
    second = run_training(tmp_path / "b", amp=amp)
    other = run_training(tmp_path / "c", amp=amp, seed=1)
    assert same_training(first, second)
    assert first.curve != other.curve
    assert not same_weights(first.weights, other.weights)


def test_precision_changes_bits_and_little_else(tmp_path: Path) -> None:
    full, half = (run_training(tmp_path / amp, amp=amp) for amp in AMPS)
    assert full.curve != half.curve
    assert half.curve[-1]["val_loss"] == pytest.approx(full.curve[-1]["val_loss"], rel=0.3)
    assert all(value.dtype != torch.bfloat16 for value in half.weights.values())


@pytest.mark.parametrize(("keep", "amp"), [("last", "none"), ("best", "bf16")])
@pytest.mark.parametrize("stops", [(1,), (2,), (2, 3, 4)])
def test_an_interrupted_training_ends_with_the_same_bits(
    tmp_path: Path, stops: tuple[int, ...], keep: str, amp: str
) -> None:
    whole = run_training(tmp_path / "whole", epochs=4, keep=keep, amp=amp)
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            run_training(tmp_path / "broken", epochs=4, keep=keep, amp=amp, on_epoch=stop_at(stop))
        content = read_state(tmp_path / "broken")
        assert (content is None) == (stop == 1)
        assert content is None or len(load_state(content)["training"]["curve"]) == stop - 1
    resumed = run_training(tmp_path / "broken", epochs=4, keep=keep, amp=amp)
    assert same_training(resumed, whole)
    assert [row["epoch"] for row in resumed.timing] == [1, 2, 3, 4]


def test_interrupted_within_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_training(tmp_path / "whole")
    batch, calls = Split.batch, []

    def break_off(self: Split, indices: torch.Tensor, device: torch.device):
        calls.append(len(indices))
        if len(calls) == 8:
            raise KeyboardInterrupt
        return batch(self, indices, device)

    with monkeypatch.context() as patch:
        patch.setattr(Split, "batch", break_off)
        with pytest.raises(KeyboardInterrupt):
            run_training(tmp_path / "broken")
    state = load_state(read_state(tmp_path / "broken"))
    assert state is not None
    assert len(state["training"]["curve"]) == 1
    assert same_training(run_training(tmp_path / "broken"), whole)


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    whole = run_training(tmp_path)
    calls: list[int] = []
    again = run_training(tmp_path, on_epoch=lambda training: calls.append(len(training.curve)))
    assert calls == [3]
    assert same_training(again, whole)
    assert again.timing == whole.timing


def test_every_epoch_is_reported_with_its_row(tmp_path: Path) -> None:
    calls: list[int] = []
    training = run_training(
        tmp_path, on_epoch=lambda training: calls.append(training.curve[-1]["epoch"])
    )
    assert calls == [1, 2, 3]
    assert [list(row) for row in training.curve] == [COLUMNS] * 3
    assert [row["epoch"] for row in training.curve] == [1, 2, 3]
    assert all(math.isfinite(value) for row in training.curve for value in row.values())
    for row in training.timing:
        assert list(row) == ["epoch", "seconds", "images_per_second", "device", "torch"]
        assert row["images_per_second"] == pytest.approx(24 / row["seconds"])


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize(
    ("accuracies", "best_epochs"),
    [
        ((0.5, 0.7, 0.6, 0.65), [1, 2, 2, 2]),
        ((0.5, 0.5, 0.5, 0.5), [1, 1, 1, 1]),
        ((0.9, 0.2, 0.91, 0.3), [1, 1, 3, 3]),
        ((0.1, 0.2, 0.3, 0.4), [1, 2, 3, 4]),
        ((0.0, 0.0, 0.0, 0.0), [1, 1, 1, 1]),
    ],
)
def test_kept_weights_are_of_the_best_or_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, accuracies: Sequence[float],
    best_epochs: list[int],
) -> None:  # fmt: skip
    scripted(monkeypatch, accuracies)
    seen: list[dict[str, torch.Tensor]] = []

    def remember(training: Training) -> None:
        seen.append(training.weights)

    training = run_training(tmp_path, epochs=4, keep=keep, on_epoch=remember)
    assert [row["best_epoch"] for row in training.curve] == best_epochs
    assert training.kept_epoch == (best_epochs[-1] if keep == "best" else 4)
    assert same_weights(training.weights, seen[training.kept_epoch - 1])
    if keep == "last":
        assert not same_weights(seen[0], seen[1])


def test_best_epoch_is_that_of_the_highest_accuracy_so_far(tmp_path: Path) -> None:
    curve = run_training(tmp_path, epochs=6).curve
    accuracies = [row["val_accuracy"] for row in curve]
    for index, row in enumerate(curve):
        assert row["best_epoch"] == 1 + max(range(index + 1), key=lambda i: accuracies[i])


def test_kept_weights_give_the_last_rows_scores(tmp_path: Path) -> None:
    training = run_training(tmp_path, amp="none")
    experiment, split = tiny_experiment(), tiny_split(10, seed=1)
    model = build_model(experiment)
    model.load_state_dict(training.weights)
    loss_function = build_loss("bce", pos_weight="auto", share=foreground_share(tiny_split()))
    scores = validate(model, loss_function, split, batch_size=4, device=CPU, amp="none")
    for name, value in scores.items():
        assert training.curve[-1][f"val_{name}"] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(
    ("epochs", "milestones"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (5, [1, 3, 5])],
)
def test_snapshots_at_the_first_middle_and_last_epoch(
    tmp_path: Path, epochs: int, milestones: list[int]
) -> None:
    training = run_training(tmp_path, epochs=epochs, train_split=tiny_split(8))
    assert sorted(training.snapshots) == milestones
    for picture in training.snapshots.values():
        assert picture.shape == (2, 16, 16)
        assert picture.dtype == torch.uint8
    split = tiny_split(10, seed=1)
    model = build_model(tiny_experiment())
    model.load_state_dict(training.weights)
    images, _ = split.batch(torch.tensor([0, 4]), CPU)
    expected = 255 * model.predict(images).squeeze(1)
    difference = training.snapshots[epochs] - expected
    assert difference.abs().max() < 0.51


def test_snapshot_of_certainty() -> None:
    split = tiny_split(3)
    for prior, level in [(1e-9, 0), (0.2, 51), (1 - 1e-9, 255)]:
        assert snapshot(tiny_model(prior=prior), split, [2, 0], CPU).unique().tolist() == [level]


@pytest.mark.parametrize("loss", ["bce", "dice"])
@pytest.mark.parametrize("amp", AMPS)
def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path, loss: str, amp: str) -> None:
    with pytest.raises(ValueError, match="lower train.max_lr") as error:
        run_training(tmp_path, experiment=tiny_experiment(loss=loss), max_lr=1e38, amp=amp)
    text = str(error.value)
    assert text.startswith("train: the training loss is ")
    assert "in epoch 1" in text
    assert f"train.amp (= {amp})" in text
    assert "\n" not in text
    assert read_state(tmp_path) is None


def test_the_first_step_of_a_loss_that_is_not_finite_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(range(100))
    real = Learner.step

    def broken_from_step_4(*args: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        loss, logits = real(*args, **options)
        return (loss * math.inf if next(steps) >= 4 else loss), logits

    monkeypatch.setattr(Learner, "step", broken_from_step_4)
    rate = one_cycle(4, 9, max_lr=0.02, warmup=0.3)  # three epochs of three steps
    expected = f"loss is inf in epoch 2, after 4 steps, at a learning rate of {rate:.3g}: lower"
    with pytest.raises(ValueError, match=re.escape(expected)):
        run_training(tmp_path)
    assert len(load_state(read_state(tmp_path))["training"]["curve"]) == 1


def test_weights_that_a_last_step_ruins_end_the_training(tmp_path: Path) -> None:
    # One step: its loss is that of the sound weights before it.
    with pytest.raises(ValueError, match="lower train.max_lr"):
        run_training(tmp_path, epochs=1, batch_size=24, max_lr=1e38)


@settings(deadline=None, max_examples=40)
@given(
    num_steps=st.integers(20, 500),
    max_lr=st.floats(1e-5, 1.0),
    warmup=st.floats(0.05, 0.95),
)
def test_one_cycle_rises_to_its_peak_and_falls_to_zero(
    num_steps: int, max_lr: float, warmup: float
) -> None:
    rates = [one_cycle(s, num_steps, max_lr=max_lr, warmup=warmup) for s in range(num_steps + 1)]
    assert rates[0] == pytest.approx(max_lr / 25)
    assert rates[-1] == pytest.approx(0, abs=1e-9 * max_lr)
    assert min(rates) >= 0
    assert max(rates) <= max_lr * (1 + 1e-12)
    for step in range(num_steps):
        rising = step + 1 <= warmup * num_steps
        if rising:
            assert rates[step] <= rates[step + 1]
        elif step >= warmup * num_steps:
            assert rates[step] >= rates[step + 1]
        # A half cosine is nowhere steeper than pi / 2 of its mean slope.
        share = min(warmup, 1 - warmup)
        steepest = math.pi / 2 * max_lr / (share * num_steps)
        assert abs(rates[step + 1] - rates[step]) <= steepest * (1 + 1e-6)


def test_one_cycle_at_known_steps() -> None:
    def rate(step: int) -> float:
        return one_cycle(step, 100, max_lr=0.5, warmup=0.2)

    assert rate(0) == pytest.approx(0.02)
    assert rate(10) == pytest.approx((0.02 + 0.5) / 2)
    assert rate(20) == pytest.approx(0.5)
    assert rate(60) == pytest.approx(0.25)
    assert rate(100) == pytest.approx(0, abs=1e-12)


def test_the_curve_holds_each_epochs_last_learning_rate(tmp_path: Path) -> None:
    training = run_training(tmp_path, max_lr=0.01, warmup=0.5, train_split=tiny_split(17))
    # 17 images in batches of 8 are 3 steps an epoch, 9 in all.
    expected = [one_cycle(step, 9, max_lr=0.01, warmup=0.5) for step in (2, 5, 8)]
    assert [row["learning_rate"] for row in training.curve] == pytest.approx(expected)
    assert 0 < expected[-1] < 0.0012


@pytest.mark.parametrize("loss_function", [WeightedBCELoss(3.0), DiceLoss()], ids=["bce", "dice"])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 9])
def test_validation_does_not_depend_on_the_batch_size(
    loss_function: torch.nn.Module, batch_size: int
) -> None:
    model, split = tiny_model(random_head=True), tiny_split(10, seed=1)
    found, expected = (
        validate(model, loss_function, split, batch_size=size, device=CPU, amp="none")
        for size in (batch_size, 10)
    )
    assert found == pytest.approx(expected, rel=1e-5)
    assert 0 < expected["iou"] < 1


def test_validation_of_a_constant_prediction() -> None:
    split = tiny_split(10, seed=1)
    share, weight = foreground_share(split), 3.0
    for prior, accuracy, iou in [(0.76, share, share), (0.74, 1 - share, 0.0)]:
        scores = validate(
            tiny_model(prior=prior), WeightedBCELoss(weight), split, batch_size=4, device=CPU,
            amp="none",
        )  # fmt: skip
        loss = -weight * share * math.log(prior) - (1 - share) * math.log(1 - prior)
        assert scores["loss"] == pytest.approx(loss, rel=1e-5)
        assert scores["accuracy"] == pytest.approx(accuracy)
        assert scores["iou"] == pytest.approx(iou)
        assert scores["dice"] == pytest.approx(2 * iou / (1 + iou))


def test_validation_changes_nothing_in_the_model() -> None:
    model = tiny_model(random_head=True).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    validate(model, DiceLoss(), tiny_split(5), batch_size=2, device=CPU, amp="none")
    assert same_weights(model.state_dict(), before)


def test_running_scores_weigh_a_batch_by_its_images() -> None:
    scores = RunningScores(WeightedBCELoss(1.0), CPU)
    scores.add(torch.tensor(1.0), torch.full((3, 1, 2, 2), 5.0), torch.ones(3, 1, 2, 2))
    scores.add(torch.tensor(5.0), torch.full((1, 1, 2, 2), 5.0), torch.zeros(1, 1, 2, 2))
    found = scores.compute()
    assert found["loss"] == pytest.approx((3 * 1 + 5) / 4)
    assert found["accuracy"] == found["iou"] == pytest.approx(12 / 16)
    assert found["dice"] == pytest.approx(24 / 28)


@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0])
def test_running_scores_cut_at_the_losss_threshold(weight: float) -> None:
    cut = math.log(weight)
    logits = torch.tensor([cut - 0.01, cut + 0.01]).view(1, 1, 1, 2)
    scores = RunningScores(WeightedBCELoss(weight), CPU)
    scores.add(torch.tensor(0.0), logits, torch.tensor([0.0, 1.0]).view(1, 1, 1, 2))
    assert scores.compute()["accuracy"] == 1


@pytest.mark.parametrize("num_images", [1, 9, 17])
@pytest.mark.parametrize("amp", AMPS)
def test_a_last_batch_of_one_image(tmp_path: Path, num_images: int, amp: str) -> None:
    split = first_images(tiny_split(), num_images)
    training = run_training(tmp_path, train_split=split, amp=amp, epochs=2)
    assert len(training.curve) == 2
    assert all(math.isfinite(value) for value in training.curve[-1].values())


def test_one_validation_image(tmp_path: Path) -> None:
    training = run_training(tmp_path, val_split=tiny_split(1, seed=1), watched=[0, 0, 0])
    assert training.snapshots[3].shape == (3, 16, 16)


def test_every_image_is_seen_once_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, orders = Split.batch, []

    def record(self: Split, indices: torch.Tensor, device: torch.device):
        if len(self) == 24:
            orders.extend(indices.tolist())
        return batch(self, indices, device)

    monkeypatch.setattr(Split, "batch", record)
    run_training(tmp_path, epochs=2)
    first, second = orders[:24], orders[24:]
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second != list(range(24))


def test_augmentation_is_of_training_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def augmented(images, targets, transforms, *, size, soft_edges):
        seen.append(len(images))
        return images, targets

    monkeypatch.setattr("unet.training.loop.augment", augmented)
    run_training(tmp_path, epochs=1)
    assert sum(seen) == 24


def test_targets_are_objects_without_their_boundary() -> None:
    masks = torch.tensor([[[OBJECT, BACKGROUND], [BOUNDARY, OBJECT]]], dtype=torch.uint8)
    targets, counted = targets_of(masks)
    assert counted.all()
    assert targets.dtype == torch.float32
    assert targets.tolist() == [[[[1.0, 0.0], [0.0, 1.0]]]]


def ringed(split: Split, rule: str) -> Split:
    """``split`` with the upper half of each image, objects and all, as boundary."""
    masks = split.masks.clone()
    masks[:, :8] = BOUNDARY
    return Split(split.images, without_boundary(masks, rule), split.names)


def test_a_batch_follows_the_rule() -> None:
    transforms = draw_transforms(4, tiny_augment(), torch.Generator())
    batches = {
        rule: load_batch(
            ringed(tiny_split(), rule), torch.arange(4), transforms, size=16, device=CPU
        )
        for rule in BOUNDARY_RULES
    }
    upper = torch.zeros(4, 1, 16, 16, dtype=torch.bool)
    upper[:, :, :8] = True
    plain = batches["background"].targets
    assert not plain[upper].any() and plain.any()
    assert torch.equal(batches["object"].targets, torch.where(upper, 1.0, plain))
    assert torch.equal(batches["ignore"].targets, plain)
    assert torch.equal(batches["ignore"].counted, ~upper)
    assert batches["background"].counted is None and batches["object"].counted is None


def test_training_follows_the_rule(tmp_path: Path) -> None:
    """The boundary is half of each image: what it is learnt as can be seen in the predictions."""
    upper = {}
    for rule, share in (("background", 0.1), ("object", 0.6), ("ignore", 0.2)):
        split = ringed(tiny_split(), rule)
        training = run_training(
            tmp_path / rule, train_split=split, val_split=split, epochs=8, batch_size=4,
            foreground_share=share, experiment=tiny_experiment(loss="dice"), augment=tiny_augment(),
        )  # fmt: skip
        upper[rule] = training.snapshots[8][:, :8].float().mean().item() / 255
    # Over five seeds: at least 0.96; at most 0.17 and 0.32.
    assert upper["object"] > 0.8 and max(upper["background"], upper["ignore"]) < 0.5


def test_the_config_reaches_the_optimiser(tmp_path: Path) -> None:
    calm, heavy = (
        run_training(tmp_path / str(decay), weight_decay=decay, max_lr=0.02) for decay in (0.0, 5.0)
    )
    norms = [training.weights["bottleneck.0.weight"].norm() for training in (calm, heavy)]
    assert norms[1] < 0.9 * norms[0]


def test_the_experiment_alone_makes_the_difference(tmp_path: Path) -> None:
    split = tiny_split()
    first, second = (
        train(
            replace(tiny_experiment(), upsample=mode),
            tiny_config(epochs=1),
            train_split=split,
            val_split=split,
            foreground_share=foreground_share(split),
            watched=[0],
            device=CPU,
            checkpoint=tmp_path / mode,
            on_epoch=lambda training: None,
        )
        for mode in ("tr", "ups")
    )
    assert first.weights["up.0.weight"].shape == (16, 8, 2, 2)
    assert second.weights["up.0.1.weight"].shape == (8, 16, 3, 3)


@given(
    epochs=st.integers(1, 40),
    grow_from=st.floats(0.5, 1),
    grow_until=st.floats(0.01, 1),
    depth=st.integers(1, 4),
    multiple=st.integers(2, 12),
)
def test_images_grow_to_full_size(
    epochs: int, grow_from: float, grow_until: float, depth: int, multiple: int
) -> None:
    config = tiny_config(epochs=epochs, grow_from=grow_from, grow_until=grow_until)
    step = 2**depth
    full = multiple * step
    sizes = [image_size_of(e, config, full=full, step=step) for e in range(1, epochs + 1)]
    assert sizes == sorted(sizes)
    assert all(size % step == 0 and 2 * step <= size <= full for size in sizes)
    assert abs(sizes[0] - grow_from * full) <= step
    assert all(s == full for e, s in enumerate(sizes) if e >= grow_until * epochs)


@pytest.mark.parametrize(
    ("grow_from", "grow_until", "epochs", "expected"),
    [
        # 128 (1/2 + (epoch - 1) / 18): 64, 71.1, 78.2, ... to the nearest multiple of 16.
        (0.5, 0.6, 15, [64, 64, 80, 80, 96, 96, 112, 112, 128, 128, 128, 128, 128, 128, 128]),
        (0.5, 1.0, 4, [64, 80, 96, 112]),
        (0.75, 0.5, 4, [96, 112, 128, 128]),
        (1.0, 0.6, 3, [128, 128, 128]),
    ],
)
def test_image_sizes_at_known_epochs(
    grow_from: float, grow_until: float, epochs: int, expected: list[int]
) -> None:
    config = tiny_config(epochs=epochs, grow_from=grow_from, grow_until=grow_until)
    sizes = [image_size_of(epoch, config, full=128, step=16) for epoch in range(1, epochs + 1)]
    assert sizes == expected


def test_an_epoch_trains_at_its_image_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def augmented(images, targets, transforms, *, size, soft_edges):
        sizes.append(size)
        return images, targets

    monkeypatch.setattr("unet.training.loop.augment", augmented)
    run_training(tmp_path, epochs=4, batch_size=24, grow_from=0.5, grow_until=1.0)
    # 16 (1/2 + (epoch - 1) / 8), to the nearest multiple of 4 (halves to the even one).
    assert sizes == [8, 8, 12, 16]


def test_growing_images_train(tmp_path: Path) -> None:
    length = {"epochs": 6, "batch_size": 4}
    constant = run_training(tmp_path / "constant", **length)
    growing, again = (
        run_training(tmp_path / name, **length, grow_from=0.5, grow_until=0.5)
        for name in ("growing", "again")
    )
    assert same_training(growing, again)
    assert growing.curve != constant.curve
    # Over five seeds: 0.41 to 0.5.
    assert growing.curve[-1]["train_loss"] < 0.7 * growing.curve[0]["train_loss"]


def test_a_profile_is_a_trace_of_the_training_s_operations(tmp_path: Path) -> None:
    split = tiny_split()
    trace = tmp_path / "deep" / "trace.json.gz"
    table = profile_training(
        tiny_experiment(), tiny_config(), split=split, foreground_share=foreground_share(split),
        device=CPU, amp="none", trace=trace, num_warm_up=1, num_steps=2,
    )  # fmt: skip
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    names = [event.get("name") for event in events]
    assert names.count("aten::grid_sampler_2d") == 4  # images and targets of two steps
    assert "aten::convolution_backward" in names and "aten::convolution_backward" in table


def test_every_timing_row_names_the_device_and_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_training(tmp_path, on_epoch=stop_at(2))
    monkeypatch.setattr("unet.training.loop.device_name", lambda device: f"another {device.type}")
    timing = run_training(tmp_path).timing
    assert [row["device"] for row in timing] == [device_name(CPU), "another cpu", "another cpu"]
    assert [row["torch"] for row in timing] == [torch.__version__] * 3


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch says that it has two threads, and takes any number; it computes with one."""
    numbers = [2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: numbers[-1])
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)


def auto_finds(monkeypatch: pytest.MonkeyPatch, *, amp: str, threads: int) -> list[int]:
    """Let `auto` find these; gives the list of the trial steps' numbers of threads."""
    tried: list[int] = []

    def fastest(step: Callable[[], object]) -> int:
        step()
        tried.append(torch.get_num_threads())
        return threads

    monkeypatch.setattr("unet.training.loop.resolve_amp", lambda name, device: amp)
    monkeypatch.setattr("unet.training.loop.fastest_threads", fastest)
    return tried


@pytest.mark.usefixtures("two_threads")
def test_auto_threads_are_tried_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = auto_finds(monkeypatch, amp="none", threads=1)
    training = run_training(tmp_path / "auto", threads="auto")
    assert (training.threads, torch.get_num_threads(), tried) == (1, 1, [2])
    # The trial changes nothing in what is trained.
    assert same_training(training, run_training(tmp_path / "named", threads=1))
    assert tried == [2], "a number that is named is not tried"


@pytest.mark.usefixtures("two_threads")
def test_a_named_number_of_threads_is_taken(tmp_path: Path) -> None:
    training = run_training(tmp_path, epochs=1, threads=1)
    assert training.threads == torch.get_num_threads() == 1


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("amp", "threads"), [("bf16", 1), ("none", 2)])
def test_a_resumed_training_keeps_what_auto_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amp: str, threads: int
) -> None:
    auto = {"amp": "auto", "threads": "auto"}
    auto_finds(monkeypatch, amp=amp, threads=threads)
    whole = run_training(tmp_path / "whole", **auto)
    with pytest.raises(KeyboardInterrupt):
        run_training(tmp_path / "broken", on_epoch=stop_at(2), **auto)
    tried = auto_finds(monkeypatch, amp={"bf16": "none", "none": "bf16"}[amp], threads=3 - threads)
    resumed = run_training(tmp_path / "broken", **auto)
    assert (resumed.amp, resumed.threads) == (whole.amp, whole.threads) == (amp, threads)
    assert torch.get_num_threads() == threads
    assert tried == []
    assert same_training(resumed, whole)
    anew = run_training(tmp_path / "anew", **auto)
    assert (anew.amp, anew.threads) != (amp, threads)
    assert not same_training(anew, whole)


def test_where_a_training_begins_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_training(tmp_path, amp="none", on_epoch=stop_at(2))
    assert "train: starts at epoch 1 of 3, 9 steps in all (float32, CPU threads: 1)" in said(capsys)
    run_training(tmp_path, amp="none")
    assert "train: resumes after epoch 1 of 3 (float32, CPU threads: 1)" in said(capsys)


def a_start(seed: int = 5) -> Start:
    """Other weights than those that a training begins with by itself."""
    model = tiny_model(seed, random_head=True)
    return Start("some/model.safetensors", model.state_dict())


def distance(training: Training, start: Start) -> float:
    """The largest difference of a weight."""
    return max(
        (training.weights[name] - value).abs().max().item()
        for name, value in start.weights.items()
        if "running" not in name and "num_batches" not in name
    )


@pytest.mark.parametrize("amp", AMPS)
def test_a_training_starts_from_given_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], amp: str
) -> None:
    begun = {"epochs": 1, "max_lr": 1e-6, "amp": amp}
    start = a_start()
    before = {name: value.clone() for name, value in start.weights.items()}
    training = run_training(tmp_path / "given", start=start, **begun)
    assert "starts at epoch 1 of 1 from some/model.safetensors, 3 steps in all" in said(capsys)
    assert distance(training, start) < 1e-4
    assert same_weights(start.weights, before), "the start is left as it was"
    assert distance(run_training(tmp_path / "random", **begun), start) > 0.1
    assert " from " not in said(capsys).partition(" steps are few")[0]


def test_a_resumed_training_takes_no_start(tmp_path: Path) -> None:
    whole = run_training(tmp_path / "whole", start=a_start())
    with pytest.raises(KeyboardInterrupt):
        run_training(tmp_path / "broken", start=a_start(), on_epoch=stop_at(2))
    resumed = run_training(tmp_path / "broken", start=a_start(seed=6))
    assert same_training(resumed, whole)
    assert not same_training(run_training(tmp_path / "other", start=a_start(seed=6)), whole)


@pytest.mark.usefixtures("two_threads")
def test_the_trial_of_threads_leaves_the_start_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = auto_finds(monkeypatch, amp="none", threads=1)
    training = run_training(tmp_path / "auto", threads="auto", start=a_start())
    assert tried == [2]
    assert same_training(training, run_training(tmp_path / "named", threads=1, start=a_start()))


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return "".join(capsys.readouterr())


@pytest.mark.parametrize(("num_images", "few"), [(1592, True), (1593, False)])
def test_a_training_of_few_steps_says_so(
    capsys: pytest.CaptureFixture[str], num_images: int, few: bool
) -> None:
    # One epoch in batches of 8: 199 steps, and 200.
    schedule = Schedule(tiny_config(epochs=1, batch_size=8), num_images=num_images)
    announce("mp_tr_bce", Training("none", 1), schedule)
    text = said(capsys)
    assert ("mp_tr_bce: 199 steps are few, expect a poor model" in text) == few
    for name in ("train.epochs (= 1)", "train.batch_size (= 8)", "more images"):
        assert (name in text) == few


def test_a_batch_says_which_pixels_count() -> None:
    plain = tiny_split()
    corner = torch.zeros_like(plain.masks, dtype=torch.bool)
    corner[:, :5, :5] = True
    partly = Split(plain.images, torch.where(corner, NOT_COUNTED, plain.masks), plain.names)
    transforms = draw_transforms(4, tiny_augment(), torch.Generator())
    indices = torch.arange(4)
    batch, whole = (
        load_batch(split, indices, transforms, size=16, device=CPU) for split in (partly, plain)
    )
    assert torch.equal(~batch.counted[:, 0], corner[:4])
    assert whole.counted is None
    assert torch.equal(torch.where(batch.counted, whole.targets, 0), batch.targets)


def test_along_a_soft_edge_counts_what_counts_wholly() -> None:
    """Half of each image is object, the other half does not count: no blend of both counts."""
    split = tiny_split()
    masks = torch.full_like(split.masks, NOT_COUNTED)
    masks[:, :, :8] = OBJECT
    transforms = draw_transforms(8, tiny_augment(rotate=30), torch.Generator().manual_seed(0))
    batch = load_batch(
        Split(split.images, masks, split.names), torch.arange(8), transforms, size=16, device=CPU,
        soft_edges=True,
    )  # fmt: skip
    assert ((batch.targets > 0.001) & (batch.targets < 0.999)).any()
    assert batch.counted.float().mean() > 0.3
    assert (batch.targets[batch.counted] > 0.999).all()


def test_training_runs_where_some_pixels_do_not_count(tmp_path: Path) -> None:
    """The object is not counted: background everywhere is then right."""
    split = tiny_split()
    masks = torch.where(split.masks == OBJECT, NOT_COUNTED, split.masks)
    masks[0] = split.masks[0]
    training = run_training(
        tmp_path, train_split=Split(split.images, masks, split.names), foreground_share=0.2
    )
    assert training.curve[-1]["train_accuracy"] > 0.97


def test_validation_leaves_out_pixels_that_do_not_count() -> None:
    split = tiny_split(6)
    missed = Split(split.images, torch.where(split.masks == 1, NOT_COUNTED, 0), split.names)
    scores = validate(
        tiny_model(prior=0.1), DiceLoss(), missed, batch_size=4, device=CPU, amp="none"
    )
    assert scores["accuracy"] == 1.0
