"""The training loop: mixed precision, learning-rate schedule, learning curve, resuming."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from unet import metrics
from unet.data.augment import Transforms, augment, draw_transforms
from unet.data.masks import foreground
from unet.data.packed import Split
from unet.losses import Loss
from unet.model import UNet
from unet.runtime.device import autocast, device_name, resolve_amp, resolve_threads
from unet.training import distributed
from unet.training.checkpoint import load_state, save_state
from unet.training.config import ExperimentConfig, TrainConfig
from unet.training.learner import Learner
from unet.training.start import Start

FEW_STEPS = 200  # fewer teach little

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
        snapshots: epoch -> probabilities (K, S, S) of the fixed validation samples, uint8, 255 = 1.
    """

    amp: str
    threads: int
    curve: list[Row] = field(default_factory=list)
    timing: list[Row] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    kept_epoch: int = 0
    snapshots: dict[int, Tensor] = field(default_factory=dict)

    def add_row(
        self, epoch: int, rate: float, train: dict[str, float], val: dict[str, float]
    ) -> bool:
        """Add an epoch's row to the curve; returns whether its validation accuracy is the best."""
        is_best = all(val["accuracy"] > row["val_accuracy"] for row in self.curve)
        row: Row = {"epoch": epoch, "learning_rate": rate}
        row |= {f"train_{score}": value for score, value in train.items()}
        row |= {f"val_{score}": value for score, value in val.items()}
        row["best_epoch"] = epoch if is_best else self.curve[-1]["best_epoch"]
        self.curve.append(row)
        return is_best


def fit(
    experiment: ExperimentConfig, config: TrainConfig, *, train_split: Split, val_split: Split,
    foreground_share: float, device: torch.device, checkpoint: Path, name: str,
    start: Start | None = None, watched: Sequence[int] = (),
    on_epoch: Callable[[Training], None] = lambda training: None,
) -> tuple[UNet, float, Training]:  # fmt: skip
    """Train one variant, or resume from the state in the folder ``checkpoint``.

    Args:
        train_split, val_split: with ``config.boundary`` applied to their masks.
        foreground_share: share of foreground among the training split's pixels that count, in
            (0, 1).
        name: shown in messages.
        start: trained weights to start from; ignored when a training resumes.
        watched: indices of the fixed validation samples (sanity images), which are predicted after
            the first, middle and last epoch.
        on_epoch: called after each epoch (and once on resuming), before its state is saved.

    Returns:
        The model with the weights that are kept, its threshold in (0, 1), and all results.

    Raises:
        ValueError: the loss is no longer finite, or some pixels do not count and there are several
            ranks.
    """
    if distributed.num_ranks() > 1 and (train_split.partly_counted or val_split.partly_counted):
        raise ValueError(
            "train.boundary = ignore and data.not_counted need one device: each rank would divide "
            "its loss by its own pixels that count"
        )
    learner, training = start_or_resume(
        experiment, config, foreground_share=foreground_share, device=device,
        checkpoint=checkpoint, start=start,
    )  # fmt: skip
    done, is_first = len(training.curve), distributed.rank() == 0
    if is_first:  # only this rank writes and prints
        where = f"resumes after epoch {done}" if done else "starts at epoch 1"
        origin = f" from {start.file}" if start else ""
        steps = config.epochs * math.ceil(len(train_split) / config.batch_size)
        how = f"amp: {training.amp}, CPU threads: {training.threads}"
        tqdm.write(f"{name}: {where} of {config.epochs}{origin}, {steps} steps in all ({how})")
        if steps < FEW_STEPS:
            tqdm.write(
                f"{name}: {steps} steps are few, {FEW_STEPS} or more teach more: raise "
                "train.epochs, lower train.batch_size, or set train.start_from=released"
            )
        if done:
            on_epoch(training)

    saved_at = time.monotonic()
    for epoch in range(done + 1, config.epochs + 1):
        size = image_size_of(epoch, config, full=train_split.image_size, step=2**experiment.depth)
        began = time.perf_counter()
        rate, train_scores = train_epoch(
            learner, train_split, config, epoch=epoch, size=size, device=device, name=name
        )
        seconds = time.perf_counter() - began
        val_scores = validate(
            learner.model, learner.loss_function, val_split, batch_size=4 * config.batch_size,
            device=device, amp=training.amp,
        )  # fmt: skip
        losses = f"train loss {train_scores['loss']:.4f}, val loss {val_scores['loss']:.4f}"
        if not math.isfinite(train_scores["loss"] + val_scores["loss"]):
            raise ValueError(
                f"{name} epoch {epoch}: {losses}: lower train.max_lr (= {config.max_lr}) or set "
                f"train.amp (= {training.amp}) to none"
            )
        is_best = training.add_row(epoch, rate, train_scores, val_scores)
        speed = len(train_split) / seconds
        timing = {"epoch": epoch, "seconds": seconds, "images_per_second": speed}
        timing |= {"device": device_name(device), "torch": str(torch.__version__)}
        training.timing.append(timing)
        if config.keep == "last" or is_best:
            weights = learner.model.state_dict()
            training.weights = {key: value.detach().cpu().clone() for key, value in weights.items()}
            training.kept_epoch = epoch
        if watched and epoch in (1, (config.epochs + 1) // 2, config.epochs):
            images, _ = val_split.batch(torch.tensor(watched), device)
            levels = (learner.model.predict(images).squeeze(1) * 255).round()
            training.snapshots[epoch] = levels.to(torch.uint8).cpu()
        if not is_first:
            continue
        on_epoch(training)
        # On a GPU an epoch may take less time than writing its state.
        if device.type != "cuda" or epoch == config.epochs or time.monotonic() - saved_at > 10:
            save_state(checkpoint, learner.state_dict() | {"training": vars(training)})
            saved_at = time.monotonic()
        scores = f"val accuracy {val_scores['accuracy']:.2%}, val IoU {val_scores['iou']:.4f}"
        tqdm.write(
            f"{name} epoch {epoch}/{config.epochs}: {losses}, {scores}, {speed:.0f} images/s"
        )
    learner.model.load_state_dict(training.weights)
    return learner.model.eval(), learner.loss_function.threshold, training


def start_or_resume(
    experiment: ExperimentConfig, config: TrainConfig, *, foreground_share: float,
    device: torch.device, checkpoint: Path, start: Start | None,
) -> tuple[Learner, Training]:  # fmt: skip
    """A model to train and its results so far, as the state in ``checkpoint`` holds them, or new.

    A training that resumes keeps the precision and the number of threads that it began with.
    """
    saved = distributed.from_first(load_state(checkpoint))
    if saved:
        training = Training(**saved["training"])
    else:
        auto = resolve_amp(config.amp, device), resolve_threads(config.threads, device)
        training = Training(*distributed.from_first(auto))
    torch.set_num_threads(training.threads)
    learner = Learner(
        experiment, config, foreground_share=foreground_share, device=device, amp=training.amp
    )
    if saved:
        learner.load_state_dict(saved)
    elif start:
        learner.model.load_state_dict(start.weights)
    return learner, training


def train_epoch(
    learner: Learner, split: Split, config: TrainConfig, *, epoch: int, size: int,
    device: torch.device, name: str,
) -> tuple[float, dict[str, float]]:  # fmt: skip
    """Train on each image of ``split`` once, at ``size`` x ``size`` pixels; returns the learning
    rate of the last step, and the scores."""
    # One generator per epoch: resuming then needs no generator state.
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    batches = []
    for indices in torch.randperm(len(split), generator=generator).split(config.batch_size):
        # Drawn for the whole batch, so that the number of ranks does not change the images,
        # except for pasted objects, which come from the rank's own images.
        transforms = draw_transforms(len(indices), config.augment, generator)
        mine = distributed.part_of(len(indices))
        # Copied to the device before the first step: a copy in each step would wait for the last.
        batches.append((indices[mine].to(split.images.device), transforms.part(mine).to(device)))
    scores = RunningScores(learner.loss_function, device)
    learner.model.train()
    bar = tqdm(
        batches, desc=f"{name} {epoch}/{config.epochs}", unit="batch", leave=False,
        disable=None if distributed.rank() == 0 else True,
    )  # fmt: skip
    for step, (indices, transforms) in enumerate(bar, start=(epoch - 1) * len(batches)):
        soft = config.augment.soft_edges
        images, targets, counted = load_batch(
            split, indices, transforms, size=size, device=device, soft_edges=soft
        )
        rate = config.max_lr
        if config.schedule == "one_cycle":
            steps = config.epochs * len(batches)
            rate = one_cycle(step, steps, max_lr=config.max_lr, warmup=config.warmup)
        loss, logits = learner.step(images, targets, rate, counted=counted)
        scores.add(loss, logits, targets, counted)
    distributed.share_buffers(learner.model)
    return rate, scores.compute()  # waits for the device; no step does


def load_batch(
    split: Split, indices: Tensor, transforms: Transforms, *, size: int, device: torch.device,
    soft_edges: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    """The images ``indices`` of ``split``, augmented, of ``size`` x ``size`` pixels.

    Returns:
        Images (B, 3, S, S) float32 in [0, 1]; targets (B, 1, S, S) float32: 1 = object, 0 =
        background, fractional along soft edges; the pixels that count (B, 1, S, S) bool, or None:
        all of them.
    """
    images, masks = split.batch(indices, device)
    targets, counted = targets_of(masks)
    # As one more channel of the targets, so that both are sampled alike.
    targets = torch.cat([targets, counted.float()], 1) if split.partly_counted else targets
    images, targets = augment(images, targets, transforms, size=size, soft_edges=soft_edges)
    # Soft edges of areas that do not count do not count either.
    return images, targets[:, :1], targets[:, 1:] > 0.999 if split.partly_counted else None


def image_size_of(epoch: int, config: TrainConfig, *, full: int, step: int) -> int:
    """The side in pixels of the training images of ``epoch`` (from 1), a multiple of ``step``.

    Progressive resizing: it grows linearly from ``grow_from * full`` in the first epoch to ``full``
    after the share ``grow_until`` of the epochs.
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

    def add(
        self, loss: Tensor, logits: Tensor, targets: Tensor, counted: Tensor | None = None
    ) -> None:
        """Add a batch: its mean ``loss``, and logits, targets and counted pixels (B, 1, S, S)."""
        self.num_images += len(logits)
        self.loss += loss * len(logits)
        predicted = logits.float() > self.logit_threshold
        self.counts += metrics.pixel_counts(predicted, targets > 0.5, counted).sum(0)

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
    mine = torch.arange(distributed.rank(), len(split), distributed.num_ranks())
    for indices in mine.split(batch_size):
        images, masks = split.batch(indices, device)
        targets, counted = targets_of(masks)
        counted = counted if split.partly_counted else None
        with autocast(amp, device):
            logits = model(images)
        scores.add(loss_function(logits, targets, counted), logits, targets, counted)
    return scores.compute()


def targets_of(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Masks (B, S, S) -> targets float32 and pixels that count bool, both (B, 1, S, S)."""
    is_object, counted = foreground(masks)
    return is_object.unsqueeze(1).float(), counted.unsqueeze(1)
