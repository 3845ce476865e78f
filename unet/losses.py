"""Losses of one foreground class, from logits, in float32 whatever the autocast.

A new loss is a subclass of :class:`Loss` and a line in ``LOSSES``.
"""

import inspect
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Loss(nn.Module, ABC):
    """What the training asks of a loss.

    An argument ``pos_weight`` of its constructor is the experiment's ``pos_weight``; without one
    the experiment has none.
    """

    @property
    @abstractmethod
    def threshold(self) -> float:
        """The sigmoid's value, in (0, 1), at which both classes are equally likely."""

    @abstractmethod
    def prior(self, share: float) -> float:
        """The probability, in (0, 1), to start from at a foreground ``share`` in (0, 1)."""

    @abstractmethod
    def forward(self, logits: Tensor, targets: Tensor, counted: Tensor | None = None) -> Tensor:
        """A scalar, float32: the mean over the images, or over all pixels.

        Args:
            logits: (N, 1, H, W), any float dtype.
            targets: (N, 1, H, W), any float dtype, in [0, 1]; between them along soft edges.
            counted: (N, 1, H, W) bool, the pixels that count; None: all of them.
        """


class WeightedBCELoss(Loss):
    """Binary cross-entropy whose foreground term weighs ``pos_weight``, mean over all pixels.

    Args:
        pos_weight: w > 0. The loss is least where sigmoid(logit) = w p / (w p + 1 - p), so a pixel
            is more likely foreground than not where the sigmoid passes w / (1 + w).
    """

    def __init__(self, pos_weight: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("pos_weight", torch.tensor(float(pos_weight)), persistent=False)

    @property
    def threshold(self) -> float:
        """The sigmoid's value at which both classes are equally likely."""
        weight = self.pos_weight.item()
        return weight / (1 + weight)

    def prior(self, share: float) -> float:
        """The constant prediction of least loss at a foreground share ``share``."""
        weight = self.pos_weight.item()
        return weight * share / (weight * share + 1 - share)

    def forward(self, logits: Tensor, targets: Tensor, counted: Tensor | None = None) -> Tensor:
        """A scalar, the mean over the pixels that count; see :class:`Loss`."""
        _check(logits, targets)
        logits, targets = logits.float(), targets.float()
        entropy = F.binary_cross_entropy_with_logits
        if counted is None:
            return entropy(logits, targets, pos_weight=self.pos_weight)
        each = entropy(logits, targets, pos_weight=self.pos_weight, reduction="none")
        return (each * counted).sum() / counted.sum().clamp(min=1)


class DiceLoss(Loss):
    """Soft Dice loss 1 - (2 sum(p t) + eps) / (sum(p) + sum(t) + eps) (arXiv 1606.04797, with
    plain sums in the denominator).

    Args:
        per_image: the mean over the images' losses; False: one ratio of sums over the batch, which
            depends on the batch size.
        eps: makes an empty image predicted empty perfect (0/0 = 1). In pixels: small against any
            object, so that a small object still costs its full loss.
    """

    threshold = 0.5

    def __init__(self, *, per_image: bool = True, eps: float = 1e-3) -> None:
        super().__init__()
        self.per_image = per_image
        self.eps = eps

    def prior(self, share: float) -> float:
        """The prediction to start from at a foreground share ``share``: the share itself."""
        return share

    def forward(self, logits: Tensor, targets: Tensor, counted: Tensor | None = None) -> Tensor:
        """A scalar in [0, 1]; see :class:`Loss`."""
        _check(logits, targets)
        # A sum of fp16 or bf16 probabilities overflows or loses digits, autocast or not.
        with torch.autocast(logits.device.type, enabled=False):
            first = 1 if self.per_image else 0
            probabilities = logits.float().sigmoid().flatten(first)
            targets = targets.float().flatten(first)
            if counted is not None:
                probabilities = probabilities * counted.flatten(first)
                targets = targets * counted.flatten(first)
            overlap = (probabilities * targets).sum(-1)
            total = probabilities.sum(-1) + targets.sum(-1)
            return (1 - (2 * overlap + self.eps) / (total + self.eps)).mean()


LOSSES: dict[str, type[Loss]] = {"bce": WeightedBCELoss, "dice": DiceLoss}


def takes_pos_weight(name: str) -> bool:
    """Whether the loss ``name`` of ``LOSSES`` has a ``pos_weight``.

    Raises:
        ValueError: the class lacks a part of :class:`Loss`.
    """
    loss = LOSSES[name]
    missing = loss.__abstractmethods__ if issubclass(loss, Loss) else {"the base class Loss"}
    if missing:
        raise ValueError(
            f"loss = {name}: {loss.__name__} in unet/losses.py lacks {', '.join(sorted(missing))}"
        )
    return "pos_weight" in inspect.signature(loss).parameters


def pos_weight_from_share(share: float) -> float:
    """Background over foreground pixels, (1 - p) / p, of a foreground share ``p`` in (0, 1)."""
    return (1 - share) / share


def build_loss(name: str, *, pos_weight: float | str | None, share: float) -> Loss:
    """The loss ``name`` of ``LOSSES``.

    Args:
        pos_weight: a number above 0, ``auto`` (from the share), or None where the loss takes none.
        share: the training pixels' share of foreground, in (0, 1).
    """
    if pos_weight is None:
        return LOSSES[name]()
    weight = pos_weight_from_share(share) if pos_weight == "auto" else pos_weight
    return LOSSES[name](pos_weight=weight)


def _check(logits: Tensor, targets: Tensor) -> None:
    if logits.shape != targets.shape:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)}, targets of {tuple(targets.shape)}: must agree"
        )
