import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import (
    CPU,
    run_training,
    same_weights,
    tiny_augment,
    tiny_config,
    tiny_experiment,
    tiny_model,
    tiny_split,
)
from unet.data.augment import draw_transforms
from unet.data.masks import NOT_COUNTED, OBJECT
from unet.data.packed import Split
from unet.losses import DiceLoss, WeightedBCELoss
from unet.training.checkpoint import STATE, load_state
from unet.training.loop import (
    RunningScores,
    Training,
    image_size_of,
    load_batch,
    one_cycle,
    validate,
)

AMPS = ["none", "bf16"]


def same_training(first: Training, second: Training) -> bool:
    """Whether all but the timing agrees, bit for bit."""
    return (
        first.curve == second.curve
        and first.kept_epoch == second.kept_epoch
        and same_weights(first.weights, second.weights)
        and same_weights(first.snapshots, second.snapshots)
    )


def stop_at(epoch: int) -> Callable[[Training], None]:
    """Break off when this epoch has ended, before its state is saved."""

    def on_epoch(training: Training) -> None:
        if len(training.curve) == epoch:
            raise KeyboardInterrupt

    return on_epoch


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return "".join(capsys.readouterr())


# Learning


@pytest.mark.parametrize("parts", [("bce", "mp", "tr"), ("dice", "str_conv", "ups")])
def test_learns_what_can_be_learnt(tmp_path: Path, parts: tuple[str, ...]) -> None:
    names = ("loss", "downsample", "upsample")
    experiment = tiny_experiment(**dict(zip(names, parts, strict=True)))
    training = run_training(tmp_path, experiment=experiment, epochs=15, batch_size=4)
    first, last = training.curve[0], training.curve[-1]
    # Over five seeds: ratios of 0.07 to 0.36 and 0.04 to 0.33, at least 0.994, at least 0.95.
    assert last["train_loss"] < 0.85 * first["train_loss"]
    assert last["val_loss"] < first["val_loss"]
    assert last["val_accuracy"] > 0.9
    assert last["val_iou"] > 0.8


@pytest.mark.parametrize("amp", AMPS)
def test_the_seed_decides_every_bit(tmp_path: Path, amp: str) -> None:
    first = run_training(tmp_path / "a", amp=amp)
    torch.rand(7)
    second = run_training(tmp_path / "b", amp=amp)
    other = run_training(tmp_path / "c", amp=amp, seed=1)
    assert same_training(first, second)
    assert first.curve != other.curve
    assert not same_weights(first.weights, other.weights)


@pytest.mark.parametrize("loss", ["bce", "dice"])
@pytest.mark.parametrize("amp", AMPS)
def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path, loss: str, amp: str) -> None:
    with pytest.raises(ValueError, match="lower train.max_lr") as error:
        run_training(tmp_path, experiment=tiny_experiment(loss=loss), max_lr=1e38, amp=amp)
    text = str(error.value)
    assert text.startswith("train epoch 1: train loss ")
    assert f"train.amp (= {amp})" in text and "\n" not in text
    assert load_state(tmp_path) is None


def test_weights_that_a_last_step_ruins_end_the_training(tmp_path: Path) -> None:
    # One step: its loss is that of the sound weights before it.
    with pytest.raises(ValueError, match="val loss (nan|inf): lower train.max_lr"):
        run_training(tmp_path, epochs=1, batch_size=24, max_lr=1e38)


# Resuming


ADAM = {"optimizer": "adamw", "schedule": "constant", "weight_decay": 0.0}


@pytest.mark.parametrize(
    ("stops", "changes"),
    [((1,), {}), ((2, 3, 4), {}), ((2, 3, 4), {"keep": "best", "amp": "bf16"}), ((2,), ADAM)],
)
def test_an_interrupted_training_ends_with_the_same_bits(
    tmp_path: Path, stops: tuple[int, ...], changes: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    whole = run_training(tmp_path / "whole", epochs=4, **changes)
    assert "train: starts at epoch 1 of 4, 12 steps in all" in said(capsys)
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            run_training(tmp_path / "broken", epochs=4, on_epoch=stop_at(stop), **changes)
        saved = load_state(tmp_path / "broken")
        assert len(saved["training"]["curve"]) == stop - 1 if saved else stop == 1
    said(capsys)
    resumed = run_training(tmp_path / "broken", epochs=4, **changes)
    assert (f"train: resumes after epoch {stops[-1] - 1} of 4" in said(capsys)) == (stops != (1,))
    assert same_training(resumed, whole)
    assert [row["epoch"] for row in resumed.timing] == [1, 2, 3, 4]


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_a_training_killed_at_random_moments_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in a step, in validation or while it writes its state, three times."""
    changes = {"epochs": 20, "keep": "best", "amp": "none"}
    # Forked from a process of its own, where no test has left anything.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tiny"])
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")  # its socket outlives the tests' own folder
    whole = run_training(tmp_path / "whole", **changes)
    an_epoch = sum(row["seconds"] for row in whole.timing) / 20  # without validation
    broken, moments = tmp_path / "broken", random.Random(0)
    for _ in range(3):
        process = context.Process(target=run_training, args=(broken,), kwargs=changes)
        process.start()
        while process.is_alive() and not (broken / STATE).exists():
            time.sleep(0.001)
        time.sleep(moments.uniform(0.1, 3) * an_epoch)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it was over before"
    assert same_training(run_training(broken, **changes), whole)


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    whole = run_training(tmp_path)
    calls: list[int] = []
    again = run_training(tmp_path, on_epoch=lambda training: calls.append(len(training.curve)))
    assert calls == [3]
    assert same_training(again, whole)
    assert again.timing == whole.timing


def test_a_resumed_training_keeps_what_auto_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [2]  # torch says that it has two threads, and takes any number; it computes with one
    monkeypatch.setattr(torch, "get_num_threads", lambda: numbers[-1])
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)

    def auto_finds(amp: str, threads: int) -> None:
        monkeypatch.setattr("unet.training.loop.resolve_amp", lambda *_: amp)
        monkeypatch.setattr("unet.training.loop.resolve_threads", lambda *_: threads)

    auto_finds("bf16", 1)
    whole = run_training(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_training(tmp_path / "broken", on_epoch=stop_at(2))
    auto_finds("none", 2)
    resumed = run_training(tmp_path / "broken")
    assert (resumed.amp, resumed.threads, numbers[-1]) == ("bf16", 1, 1)
    assert same_training(resumed, whole)
    anew = run_training(tmp_path / "anew")
    assert (anew.amp, anew.threads, numbers[-1]) == ("none", 2, 2)


# What is kept


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize(
    ("accuracies", "best_epochs"),
    [
        ((0.5, 0.7, 0.6, 0.65), [1, 2, 2, 2]),
        ((0.9, 0.2, 0.91, 0.3), [1, 1, 3, 3]),
        ((0.0, 0.0, 0.0, 0.0), [1, 1, 1, 1]),
    ],
)
def test_kept_weights_are_of_the_best_or_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, accuracies: Sequence[float],
    best_epochs: list[int],
) -> None:  # fmt: skip
    found = iter(accuracies)
    scores = {"loss": 0.5, "iou": 0.5, "dice": 0.5}
    monkeypatch.setattr(
        "unet.training.loop.validate", lambda *_, **__: scores | {"accuracy": next(found)}
    )
    seen: list[dict[str, torch.Tensor]] = []
    training = run_training(
        tmp_path, epochs=4, keep=keep, on_epoch=lambda training: seen.append(training.weights)
    )
    assert [row["best_epoch"] for row in training.curve] == best_epochs
    assert training.kept_epoch == (best_epochs[-1] if keep == "best" else 4)
    assert same_weights(training.weights, seen[training.kept_epoch - 1])
    if keep == "last":
        assert not same_weights(seen[0], seen[1])


# Schedule


def test_one_cycle_at_known_steps() -> None:
    rates = {0: 0.02, 10: (0.02 + 0.5) / 2, 20: 0.5, 60: 0.25, 100: 0.0}
    found = {step: one_cycle(step, 100, max_lr=0.5, warmup=0.2) for step in rates}
    assert found == pytest.approx(rates, abs=1e-12)


def test_a_constant_rate(tmp_path: Path) -> None:
    training = run_training(tmp_path, epochs=12, batch_size=4, max_lr=0.005, **ADAM)
    assert {row["learning_rate"] for row in training.curve} == {0.005}
    assert training.curve[-1]["val_loss"] < training.curve[0]["val_loss"]


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
def test_images_grow_to_full_size(
    grow_from: float, grow_until: float, epochs: int, expected: list[int]
) -> None:
    config = tiny_config(epochs=epochs, grow_from=grow_from, grow_until=grow_until)
    sizes = [image_size_of(epoch, config, full=128, step=16) for epoch in range(1, epochs + 1)]
    assert sizes == expected


# Data


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


def test_along_a_soft_edge_counts_what_counts_wholly() -> None:
    """Half of each image is object, the other half does not count: no blend of both counts."""
    split = tiny_split()
    masks = torch.full_like(split.masks, NOT_COUNTED)
    masks[:, :, :8] = OBJECT
    transforms = draw_transforms(8, tiny_augment(rotate=30), torch.Generator().manual_seed(0))
    _, targets, counted = load_batch(
        Split(split.images, masks, split.names), torch.arange(8), transforms, size=16, device=CPU,
        soft_edges=True,
    )  # fmt: skip
    assert ((targets > 0.001) & (targets < 0.999)).any()
    assert counted.float().mean() > 0.3
    assert (targets[counted] > 0.999).all()


# Scores


@pytest.mark.parametrize("loss_function", [WeightedBCELoss(3.0), DiceLoss()], ids=["bce", "dice"])
@pytest.mark.parametrize("batch_size", [1, 3, 9])
def test_validation_does_not_depend_on_the_batch_size(
    loss_function: torch.nn.Module, batch_size: int
) -> None:
    model, split = tiny_model(random_head=True).train(), tiny_split(10, seed=1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found, expected = (
        validate(model, loss_function, split, batch_size=size, device=CPU, amp="none")
        for size in (batch_size, 10)
    )
    assert found == pytest.approx(expected, rel=1e-5)
    assert 0 < expected["iou"] < 1
    assert same_weights(model.state_dict(), before)


def test_running_scores_weigh_a_batch_by_its_images() -> None:
    scores = RunningScores(WeightedBCELoss(1.0), CPU)
    scores.add(torch.tensor(1.0), torch.full((3, 1, 2, 2), 5.0), torch.ones(3, 1, 2, 2))
    scores.add(torch.tensor(5.0), torch.full((1, 1, 2, 2), 5.0), torch.zeros(1, 1, 2, 2))
    expected = {"loss": (3 * 1 + 5) / 4, "accuracy": 12 / 16, "iou": 12 / 16, "dice": 24 / 28}
    assert scores.compute() == pytest.approx(expected)
