"""The training loop: mixed precision, one-cycle schedule, learning curve, resuming."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from unet import metrics, ranks
from unet.augment import Transforms, augment, draw_transforms
from unet.checkpoint import load_state, read_state, save_state
from unet.config import ExperimentConfig, TrainConfig
from unet.dataset import Split
from unet.factory import Loss, build_loss, build_model, build_optimizers
from unet.hardware import autocast
from unet.model import UNet
from unet.trimaps import pet_mask

Row = dict[str, float]


@dataclass
class Training:
    """What a training has come to; all of it survives an interruption.

    Attributes:
        curve: a row an epoch: learning rate, losses and scores, the best epoch so far.
        timing: a row an epoch: seconds and training images a second.
        weights: the state dict to keep (last or best epoch).
        kept_epoch: its epoch, counted from 1.
        snapshots: epoch -> probabilities (K, S, S) of the watched images, uint8, 255 = 1.
    """

    curve: list[Row] = field(default_factory=list)
    timing: list[Row] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    kept_epoch: int = 0
    snapshots: dict[int, Tensor] = field(default_factory=dict)


class Learner:
    """A new model with its loss, optimisers and gradient scaler, on its device.

    Args:
        pet_share: share of pet among the training split's pixels, in (0, 1).
        amp: ``bf16 | fp16 | none``.
    """

    def __init__(
        self,
        experiment: ExperimentConfig,
        config: TrainConfig,
        *,
        pet_share: float,
        device: torch.device,
        amp: str,
    ) -> None:
        torch.manual_seed(config.seed)
        self.amp = amp
        self.loss_function = build_loss(experiment, pet_share).to(device)
        model = build_model(experiment, prior=self.loss_function.prior(pet_share))
        self.model = model.to(device, memory_format=torch.channels_last)
        self.net = ranks.parallel(self.model, device)
        dtype = torch.bfloat16 if amp == "bf16" else torch.float32
        self.muon, self.adamw = build_optimizers(self.model, config, dtype=dtype)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def step(
        self, images: Tensor, targets: Tensor, learning_rate: float, *, weight: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """A step down the gradient of the loss times ``weight``: the loss, a scalar, and logits."""
        for optimizer in (self.muon, self.adamw):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        with autocast(self.amp, images.device):
            logits = self.net(images)
        # Of no image the loss is 0, not 0/0; its gradients still take part in the ranks' mean.
        loss = self.loss_function(logits, targets) if len(images) else logits.float().sum()
        self.net.zero_grad(set_to_none=True)
        self.scaler.scale(loss * weight).backward()
        self.scaler.step(self.muon)
        self.scaler.step(self.adamw)
        self.scaler.update()
        return loss.detach(), logits.detach()

    def state_dict(self) -> dict[str, Any]:
        """All that changes while it learns."""
        return {name: getattr(self, name).state_dict() for name in self._STATEFUL}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        for name in self._STATEFUL:
            getattr(self, name).load_state_dict(state[name])

    _STATEFUL = ("model", "muon", "adamw", "scaler")


def train(
    experiment: ExperimentConfig,
    config: TrainConfig,
    *,
    train_split: Split,
    val_split: Split,
    pet_share: float,
    watched: list[int],
    device: torch.device,
    amp: str,
    checkpoint: Path,
    on_epoch: Callable[[Training], None],
    name: str = "train",
) -> Training:
    """Train one variant, or go on where the state in ``checkpoint`` ends.

    Args:
        pet_share: share of pet among the training split's pixels, in (0, 1).
        watched: indices of validation images to predict after the first, middle and last epoch.
        amp: ``bf16 | fp16 | none``.
        on_epoch: called after each epoch (and once on resuming), before its state is saved.

    Raises:
        ValueError: the loss is no longer finite.
    """
    learner = Learner(experiment, config, pet_share=pet_share, device=device, amp=amp)
    model, loss_function = learner.model, learner.loss_function
    training = Training()
    is_first = ranks.rank() == 0  # it alone writes and speaks

    if content := ranks.from_first(read_state(checkpoint), device):
        state = load_state(content)
        learner.load_state_dict(state)
        training = Training(**state["training"])
        if is_first:
            on_epoch(training)
            tqdm.write(f"{name}: resumes after epoch {len(training.curve)}")

    milestones = {1, (config.epochs + 1) // 2, config.epochs}
    steps_an_epoch = math.ceil(len(train_split) / config.batch_size)
    num_steps = config.epochs * steps_an_epoch
    learning_rate_at = partial(
        one_cycle, num_steps=num_steps, max_lr=config.max_lr, warmup=config.warmup
    )
    for epoch in range(len(training.curve) + 1, config.epochs + 1):
        # A generator an epoch: an interrupted training needs no state of it to go on.
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
        size = image_size_of(epoch, config, full=train_split.image_size, step=2**experiment.depth)
        started = time.perf_counter()
        model.train()
        tally = Tally(loss_function, device)
        order = torch.randperm(len(train_split), generator=generator)
        with tqdm(
            total=len(train_split), desc=f"{name} {epoch}/{config.epochs}", unit="image",
            leave=False, disable=None if is_first else True,
        ) as bar:  # fmt: skip
            for step, indices in enumerate(order.split(config.batch_size)):
                learning_rate = learning_rate_at((epoch - 1) * steps_an_epoch + step)
                # Drawn for the whole batch, so that the number of ranks changes no image.
                transforms = draw_transforms(len(indices), config.augment, generator)
                mine = ranks.share_of(len(indices))
                images, targets = load_batch(
                    train_split, indices[mine], Transforms(*(t[mine] for t in transforms)),
                    size=size, device=device,
                )  # fmt: skip
                # The mean over the ranks' gradients is to be the mean over the batch's images.
                weight = ranks.num_ranks() * len(images) / len(indices)
                loss, logits = learner.step(images, targets, learning_rate, weight=weight)
                tally.add(loss, logits, targets)
                bar.update(len(indices))
        train_scores = tally.scores()  # waits for the device; no step does
        seconds = time.perf_counter() - started
        val_scores = validate(
            model, loss_function, val_split, batch_size=4 * config.batch_size,
            device=device, amp=amp,
        )  # fmt: skip
        for kind, scores in (("training", train_scores), ("validation", val_scores)):
            if not math.isfinite(scores["loss"]):
                first = tally.first_broken() if kind == "training" else steps_an_epoch
                step = (epoch - 1) * steps_an_epoch + first
                rate = learning_rate_at(step)
                raise ValueError(
                    f"{name}: the {kind} loss is {scores['loss']} in epoch {epoch}, after "
                    f"{step} steps, at a learning rate of {rate:.3g}: lower train.max_lr "
                    f"(= {config.max_lr}) or set train.amp (= {amp}) to none"
                )

        best = max([r["val_accuracy"] for r in training.curve], default=-1.0)
        is_best = val_scores["accuracy"] > best
        row = {"epoch": epoch, "learning_rate": learning_rate}
        row |= {f"train_{score}": value for score, value in train_scores.items()}
        row |= {f"val_{score}": value for score, value in val_scores.items()}
        row["best_epoch"] = epoch if is_best else training.curve[-1]["best_epoch"]
        training.curve.append(row)
        speed = len(train_split) / seconds
        training.timing.append({"epoch": epoch, "seconds": seconds, "images_per_second": speed})
        if config.keep == "last" or is_best:
            training.weights = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
            training.kept_epoch = epoch
        if not is_first:
            continue
        if epoch in milestones:
            training.snapshots[epoch] = snapshot(model, val_split, watched, device)
        on_epoch(training)
        save_state(checkpoint, learner.state_dict() | {"training": vars(training)})
        tqdm.write(
            f"{name} epoch {epoch}/{config.epochs}: train loss {train_scores['loss']:.4f}, "
            f"val loss {val_scores['loss']:.4f}, val accuracy {val_scores['accuracy']:.2%}, "
            f"val IoU {val_scores['iou']:.4f}, {speed:.0f} images/s"
        )
    return training


def load_batch(
    split: Split, indices: Tensor, transforms: Transforms, *, size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Images (B, 3, size, size) in [0, 1] and targets (B, 1, size, size), augmented."""
    images, trimaps = split.batch(indices, device)
    targets = targets_of(trimaps)
    if not len(indices):  # a rank without an image: the last batch may be smaller than the ranks
        return images[..., :size, :size], targets[..., :size, :size]
    return augment(images, targets, transforms, size=size)


def image_size_of(epoch: int, config: TrainConfig, *, full: int, step: int) -> int:
    """The side in pixels of the training images of ``epoch`` (from 1), a multiple of ``step``.

    It rises in a line from ``grow_from * full`` in the first epoch to ``full`` when the share
    ``grow_until`` of the epochs is over.
    """
    progress = min(1.0, (epoch - 1) / (config.grow_until * config.epochs))
    share = config.grow_from + (1 - config.grow_from) * progress
    return min(full, max(2, round(full * share / step)) * step)


def one_cycle(step: int, num_steps: int, *, max_lr: float, warmup: float) -> float:
    """The learning rate at ``step`` of ``num_steps``: two half cosines, up from max_lr / 25 for the
    share ``warmup`` of the steps, then down to zero (Smith, Topin 2017, arXiv 1708.07120)."""
    progress = step / num_steps
    if progress < warmup:
        low, share = max_lr / 25, progress / warmup
        return low + (max_lr - low) * (1 - math.cos(math.pi * share)) / 2
    return max_lr * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


class Tally:
    """An epoch's loss and scores, gathered on the device without waiting for it."""

    def __init__(self, loss_function: Loss, device: torch.device) -> None:
        # A sigmoid passes the threshold t where its logit passes log(t / (1 - t)).
        self.logit_threshold = math.log(loss_function.threshold / (1 - loss_function.threshold))
        self.num_images = torch.zeros((), dtype=torch.int64, device=device)
        self.loss = torch.zeros((), dtype=torch.float32, device=device)
        self.counts = torch.zeros(4, dtype=torch.int64, device=device)
        self.num_batches = 0
        self.broken = torch.full((), -1, device=device)  # the first batch of a loss not finite

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """A batch's mean ``loss``, its logits and targets (B, 1, S, S)."""
        fine = loss.isfinite() | (self.broken >= 0)
        self.broken = torch.where(fine, self.broken, self.num_batches)
        self.num_batches += 1
        self.num_images += len(logits)
        self.loss += loss * len(logits)
        predicted = logits.float() > self.logit_threshold
        self.counts += metrics.pixel_counts(predicted, targets.bool()).sum(0)

    def first_broken(self) -> int:
        """The number, from 0, of the first batch whose loss was not finite on this rank."""
        return max(0, int(self.broken))

    def scores(self) -> Row:
        """The mean loss, and accuracy, IoU and Dice of all pixels pooled, over all ranks."""
        for total in (self.num_images, self.loss, self.counts):
            ranks.sum_over_ranks(total)
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
) -> Row:  # fmt: skip
    """The scores of all images of ``split``, as they are, each rank taking a part."""
    model.eval()
    tally = Tally(loss_function, device)
    mine = ranks.share_of(len(split))
    for start in range(mine.start, mine.stop, batch_size):
        indices = torch.arange(start, min(start + batch_size, mine.stop))
        images, trimaps = split.batch(indices, device)
        targets = targets_of(trimaps)
        with autocast(amp, device):
            logits = model(images)
        tally.add(loss_function(logits, targets), logits, targets)
    return tally.scores()


def snapshot(model: UNet, split: Split, indices: list[int], device: torch.device) -> Tensor:
    """Probabilities (K, S, S) of the images ``indices``, uint8, 255 = 1."""
    images, _ = split.batch(torch.tensor(indices), device)
    return (model.predict(images).squeeze(1) * 255).round().to(torch.uint8).cpu()


def targets_of(trimaps: Tensor) -> Tensor:
    """Trimaps (B, S, S) -> targets (B, 1, S, S) float32: 1 = pet, 0 = background and boundary."""
    return pet_mask(trimaps)[0].unsqueeze(1).float()
