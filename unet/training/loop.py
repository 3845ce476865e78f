"""The training loop: mixed precision, one-cycle schedule, learning curve, resuming."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from unet import metrics
from unet.data.augment import Transforms, augment, draw_transforms
from unet.data.masks import foreground
from unet.data.packed import Split
from unet.losses import Loss
from unet.model import UNet
from unet.runtime.device import autocast, device_name, fastest_threads, resolve_amp
from unet.training import distributed
from unet.training.checkpoint import load_state, read_state, save_state
from unet.training.config import ExperimentConfig, TrainConfig
from unet.training.learner import Learner

Row = dict[str, float | str]


@dataclass
class Training:
    """The results of a training so far; all of them are saved in the checkpoint.

    Attributes:
        amp: the precision that it began with, ``bf16 | fp16 | none``.
        threads: the number of CPU threads that it began with.
        curve: one row per epoch: learning rate, losses and scores, the best epoch so far.
        timing: one row per epoch: seconds, training images per second, the CPU or GPU, torch's
            version.
        weights: the state dict to keep (last or best epoch).
        kept_epoch: the epoch of ``weights``, counted from 1.
        snapshots: epoch -> probabilities (K, S, S) of the watched images, uint8, 255 = 1.
    """

    amp: str
    threads: int
    curve: list[Row] = field(default_factory=list)
    timing: list[Row] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    kept_epoch: int = 0
    snapshots: dict[int, Tensor] = field(default_factory=dict)


class Start(NamedTuple):
    """Trained weights to start from, instead of random ones.

    Attributes:
        name: shown in messages.
        weights: the complete state dict of a model with the experiment's architecture.
    """

    name: str
    weights: dict[str, Tensor]


def train(
    experiment: ExperimentConfig,
    config: TrainConfig,
    *,
    train_split: Split,
    val_split: Split,
    foreground_share: float,
    watched: list[int],
    device: torch.device,
    checkpoint: Path,
    on_epoch: Callable[[Training], None],
    name: str = "train",
    start: Start | None = None,
) -> Training:
    """Train one variant, or resume from the state in the folder ``checkpoint``.

    Args:
        train_split, val_split: with ``config.boundary`` applied to their masks.
        foreground_share: share of foreground among the training split's pixels that count, in
            (0, 1).
        watched: indices of validation images to predict after the first, middle and last epoch.
        on_epoch: called after each epoch (and once on resuming), before its state is saved.
        start: None: random weights. Ignored when a training resumes.

    Raises:
        ValueError: the loss is no longer finite.
    """
    is_first = distributed.rank() == 0  # only this rank writes and prints
    schedule = Schedule(config, num_images=len(train_split))
    content = distributed.from_first(read_state(checkpoint) if is_first else None, device)
    state = load_state(content) if content else None
    if state:
        training = Training(**state["training"])
    else:
        training = new_training(experiment, config, train_split, foreground_share, device)
    torch.set_num_threads(training.threads)
    learner = Learner(
        experiment, config, foreground_share=foreground_share, device=device, amp=training.amp
    )
    if state:
        learner.load_state_dict(state)
    elif start:
        learner.model.load_state_dict(start.weights)
    if is_first:
        announce(name, training, schedule, start)
        if state:
            on_epoch(training)

    saved = time.monotonic()
    for epoch in range(len(training.curve) + 1, config.epochs + 1):
        size = image_size_of(epoch, config, full=train_split.image_size, step=2**experiment.depth)
        started = time.perf_counter()
        train_scores = train_epoch(
            learner, train_split, config, schedule, epoch=epoch, size=size, device=device, name=name
        )
        seconds = time.perf_counter() - started
        val_scores = validate(
            learner.model, learner.loss_function, val_split, batch_size=4 * config.batch_size,
            device=device, amp=training.amp,
        )  # fmt: skip
        if not math.isfinite(val_scores["loss"]):
            raise schedule.diverged(name, "validation", val_scores["loss"], epoch, training.amp)

        best = max([row["val_accuracy"] for row in training.curve], default=-1.0)
        is_best = val_scores["accuracy"] > best
        rate = schedule.learning_rate(epoch, schedule.steps_an_epoch - 1)  # of the last step
        row = {"epoch": epoch, "learning_rate": rate}
        row |= {f"train_{score}": value for score, value in train_scores.items()}
        row |= {f"val_{score}": value for score, value in val_scores.items()}
        row["best_epoch"] = epoch if is_best else training.curve[-1]["best_epoch"]
        training.curve.append(row)
        speed = len(train_split) / seconds
        timing = {"epoch": epoch, "seconds": seconds, "images_per_second": speed}
        made_by = {"device": device_name(device), "torch": str(torch.__version__)}
        training.timing.append(timing | made_by)
        if config.keep == "last" or is_best:
            weights = learner.model.state_dict()
            training.weights = {key: value.detach().cpu().clone() for key, value in weights.items()}
            training.kept_epoch = epoch
        if not is_first:
            continue
        if epoch in (1, (config.epochs + 1) // 2, config.epochs):
            training.snapshots[epoch] = snapshot(learner.model, val_split, watched, device)
        on_epoch(training)
        # On a GPU an epoch may take less time than writing its state.
        if device.type != "cuda" or epoch == config.epochs or time.monotonic() - saved > 10:
            save_state(checkpoint, learner.state_dict() | {"training": vars(training)})
            saved = time.monotonic()
        tqdm.write(
            f"{name} epoch {epoch}/{config.epochs}: train loss {train_scores['loss']:.4f}, "
            f"val loss {val_scores['loss']:.4f}, val accuracy {val_scores['accuracy']:.2%}, "
            f"val IoU {val_scores['iou']:.4f}, {speed:.0f} images/s"
        )
    return training


def train_epoch(
    learner: Learner,
    split: Split,
    config: TrainConfig,
    schedule: "Schedule",
    *,
    epoch: int,
    size: int,
    device: torch.device,
    name: str,
) -> dict[str, float]:
    """Train on each image of ``split`` once, at ``size`` x ``size`` pixels; returns the scores.

    Raises:
        ValueError: the loss is no longer finite.
    """
    # One generator per epoch: resuming then needs no generator state.
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    order = torch.randperm(len(split), generator=generator)
    # Copied to the device before the first step: a copy in each step would wait for the last step.
    batches = order.to(split.images.device).split(config.batch_size)
    drawn = [draw_transforms(len(b), config.augment, generator).to(device) for b in batches]
    scores = RunningScores(learner.loss_function, device)
    learner.model.train()
    with tqdm(
        total=len(split), desc=f"{name} {epoch}/{config.epochs}", unit="image", leave=False,
        disable=None if distributed.rank() == 0 else True,
    ) as bar:  # fmt: skip
        for step, (indices, transforms) in enumerate(zip(batches, drawn, strict=True)):
            # Drawn for the whole batch, so that the number of ranks does not change the images,
            # except for pasted objects, which come from the rank's own images.
            mine = distributed.share_of(len(indices))
            images, targets, counted = load_batch(
                split, indices[mine], transforms.part(mine), size=size, device=device,
                soft_edges=config.augment.soft_edges,
            )  # fmt: skip
            # Makes the mean over the ranks' gradients the mean over the batch's images.
            weight = distributed.num_ranks() * len(images) / len(indices)
            rate = schedule.learning_rate(epoch, step)
            loss, logits = learner.step(images, targets, rate, counted=counted, weight=weight)
            scores.add(loss, logits, targets, counted)
            bar.update(len(indices))
    found = scores.compute()  # waits for the device; no step does
    if not math.isfinite(found["loss"]):
        step = scores.first_broken_batch()
        raise schedule.diverged(name, "training", found["loss"], epoch, learner.amp, step=step)
    return found


def new_training(
    experiment: ExperimentConfig,
    config: TrainConfig,
    split: Split,
    foreground_share: float,
    device: torch.device,
) -> Training:
    """A training that has not begun, with the precision and threads that ``auto`` finds fastest."""
    # All ranks must agree, even if `auto` finds different values on them.
    amp = distributed.from_first(resolve_amp(config.amp, device).encode(), device).decode()
    if config.threads != "auto":
        return Training(amp, config.threads)
    if device.type != "cpu" or distributed.num_ranks() > 1:
        threads = distributed.from_first(str(torch.get_num_threads()).encode(), device)
        return Training(amp, int(threads))
    # On a separate model, because the trial steps change the weights.
    trial = Learner(experiment, config, foreground_share=foreground_share, device=device, amp=amp)
    generator = torch.Generator().manual_seed(config.seed)
    indices = torch.arange(min(config.batch_size, len(split)))
    transforms = draw_transforms(len(indices), config.augment, generator)
    trial.model.train()

    def step() -> None:
        batch = load_batch(
            split, indices, transforms, size=split.image_size, device=device,
            soft_edges=config.augment.soft_edges,
        )  # fmt: skip
        trial.step(batch.images, batch.targets, config.max_lr / 25, counted=batch.counted)

    return Training(amp, fastest_threads(step))


def announce(
    name: str, training: Training, schedule: "Schedule", start: Start | None = None
) -> None:
    """Print where the training begins, and whether it is too short to learn much."""
    precision = "float32" if training.amp == "none" else training.amp
    how = f"{precision}, CPU threads: {training.threads}"
    epochs, steps = schedule.config.epochs, schedule.num_steps
    origin = f" from {start.name}" if start else ""
    if training.curve:
        tqdm.write(f"{name}: resumes after epoch {len(training.curve)} of {epochs} ({how})")
    else:
        tqdm.write(f"{name}: starts at epoch 1 of {epochs}{origin}, {steps} steps in all ({how})")
    if hint := schedule.config.hint(schedule.num_images):
        tqdm.write(f"{name}: {hint}")


class Schedule:
    """The one-cycle schedule over all steps of all epochs, including the last batch of each."""

    def __init__(self, config: TrainConfig, *, num_images: int) -> None:
        self.config = config
        self.num_images = num_images
        self.num_steps = config.num_steps(num_images)
        self.steps_an_epoch = self.num_steps // config.epochs

    def learning_rate(self, epoch: int, step: int) -> float:
        """The learning rate at ``step`` (from 0) of ``epoch`` (from 1)."""
        step += (epoch - 1) * self.steps_an_epoch
        return one_cycle(step, self.num_steps, max_lr=self.config.max_lr, warmup=self.config.warmup)

    def diverged(
        self, name: str, kind: str, loss: float, epoch: int, amp: str, *, step: int | None = None
    ) -> ValueError:
        """The error for a loss that is not finite after ``step`` (None: all) steps of ``epoch``."""
        step = self.steps_an_epoch if step is None else step
        return ValueError(
            f"{name}: the {kind} loss is {loss} in epoch {epoch}, after "
            f"{(epoch - 1) * self.steps_an_epoch + step} steps, at a learning rate of "
            f"{self.learning_rate(epoch, step):.3g}: lower train.max_lr (= {self.config.max_lr}) "
            f"or set train.amp (= {amp}) to none"
        )


class Batch(NamedTuple):
    """A training batch: B images of S x S pixels.

    Attributes:
        images: (B, 3, S, S) float32 in [0, 1].
        targets: (B, 1, S, S) float32: 1 = object, 0 = background, fractional along soft edges.
        counted: (B, 1, S, S) bool, the pixels that count; None: all of them.
    """

    images: Tensor
    targets: Tensor
    counted: Tensor | None


def load_batch(
    split: Split, indices: Tensor, transforms: Transforms, *, size: int, device: torch.device,
    soft_edges: bool = False,
) -> Batch:  # fmt: skip
    """The images ``indices`` of ``split``, augmented, ``size`` pixels a side."""
    images, masks = split.batch(indices, device)
    targets, counted = targets_of(masks)
    # As one more channel of the targets, so that both are sampled alike.
    targets = torch.cat([targets, counted.float()], 1) if split.partly_counted else targets
    if len(indices):
        images, targets = augment(images, targets, transforms, size=size, soft_edges=soft_edges)
    else:  # a rank without images: the last batch may have fewer images than ranks
        images, targets = images[..., :size, :size], targets[..., :size, :size]
    # Soft edges of areas that do not count do not count either.
    return Batch(images, targets[:, :1], targets[:, 1:] > 0.999 if split.partly_counted else None)


def image_size_of(epoch: int, config: TrainConfig, *, full: int, step: int) -> int:
    """The side in pixels of the training images of ``epoch`` (from 1), a multiple of ``step``.

    It grows linearly from ``grow_from * full`` in the first epoch to ``full`` after the share
    ``grow_until`` of the epochs.
    """
    progress = min(1.0, (epoch - 1) / (config.grow_until * config.epochs))
    share = config.grow_from + (1 - config.grow_from) * progress
    return min(full, max(2, round(full * share / step)) * step)


def one_cycle(step: int, num_steps: int, *, max_lr: float, warmup: float) -> float:
    """The learning rate at ``step`` of ``num_steps``: a half cosine up from max_lr / 25 over the
    share ``warmup`` of the steps, then one down to zero (Smith, Topin 2017, arXiv 1708.07120)."""
    progress = step / num_steps
    if progress < warmup:
        low, share = max_lr / 25, progress / warmup
        return low + (max_lr - low) * (1 - math.cos(math.pi * share)) / 2
    return max_lr * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


class RunningScores:
    """An epoch's loss and scores, accumulated on the device without waiting for it."""

    def __init__(self, loss_function: Loss, device: torch.device) -> None:
        # A sigmoid exceeds the threshold t where its logit exceeds log(t / (1 - t)).
        self.logit_threshold = math.log(loss_function.threshold / (1 - loss_function.threshold))
        self.num_images = torch.zeros((), dtype=torch.int64, device=device)
        self.loss = torch.zeros((), dtype=torch.float32, device=device)
        self.counts = torch.zeros(4, dtype=torch.int64, device=device)
        self.num_batches = 0
        self.broken = torch.full((), -1, device=device)  # first batch with a loss not finite

    def add(
        self, loss: Tensor, logits: Tensor, targets: Tensor, counted: Tensor | None = None
    ) -> None:
        """Add a batch: its mean ``loss``, and logits, targets and counted pixels (B, 1, S, S)."""
        fine = loss.isfinite() | (self.broken >= 0)
        self.broken = torch.where(fine, self.broken, self.num_batches)
        self.num_batches += 1
        self.num_images += len(logits)
        self.loss += loss * len(logits)
        predicted = logits.float() > self.logit_threshold
        self.counts += metrics.pixel_counts(predicted, targets > 0.5, counted).sum(0)

    def first_broken_batch(self) -> int:
        """The number, from 0, of the first batch whose loss was not finite on this rank."""
        return max(0, int(self.broken))

    def compute(self) -> dict[str, float]:
        """The mean loss, and accuracy, IoU and Dice of all pixels pooled, over all ranks."""
        for total in (self.num_images, self.loss, self.counts):
            distributed.sum_over_ranks(total)
        counts = self.counts.cpu()
        return {
            "loss": self.loss.item() / self.num_images.item(),
            "accuracy": metrics.accuracy(counts).item(),
            "iou": metrics.iou(counts).item(),
            "dice": metrics.dice(counts).item(),
        }


@torch.inference_mode()
def validate(
    model: UNet, loss_function: Loss, split: Split, *, batch_size: int, device: torch.device,
    amp: str,
) -> dict[str, float]:  # fmt: skip
    """The scores of all images of ``split``, not augmented; each rank takes a part."""
    model.eval()
    scores = RunningScores(loss_function, device)
    mine = distributed.share_of(len(split))
    for start in range(mine.start, mine.stop, batch_size):
        indices = torch.arange(start, min(start + batch_size, mine.stop))
        images, masks = split.batch(indices, device)
        targets, counted = targets_of(masks)
        counted = counted if split.partly_counted else None
        with autocast(amp, device):
            logits = model(images)
        scores.add(loss_function(logits, targets, counted), logits, targets, counted)
    return scores.compute()


def snapshot(model: UNet, split: Split, indices: list[int], device: torch.device) -> Tensor:
    """Probabilities (K, S, S) of the images ``indices``, uint8, 255 = 1."""
    images, _ = split.batch(torch.tensor(indices), device)
    return (model.predict(images).squeeze(1) * 255).round().to(torch.uint8).cpu()


def targets_of(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Masks (B, S, S) -> targets float32 and pixels that count bool, both (B, 1, S, S)."""
    is_object, counted = foreground(masks)
    return is_object.unsqueeze(1).float(), counted.unsqueeze(1)
