"""Losses for one foreground class, from logits, in float32 even under autocast.

To add a loss, subclass :class:`Loss` and add a line to ``LOSSES``.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Loss(nn.Module, ABC):
    """What training needs from a loss.

    If its constructor has an argument ``pos_weight``, the experiment must set ``pos_weight``;
    otherwise the experiment must not. Its other arguments are the experiment's ``loss_options``.
    """

    @property
    @abstractmethod
    def threshold(self) -> float:
        """The sigmoid's value, in (0, 1), at which both classes are equally likely."""

    @abstractmethod
    def prior(self, share: float) -> float:
        """The initial prediction, in (0, 1), for a foreground ``share`` in (0, 1)."""

    @abstractmethod
    def forward(self, logits: Tensor, targets: Tensor, counted: Tensor | None = None) -> Tensor:
        """A scalar, float32: the mean over the images, or over all pixels.

        Args:
            logits: (N, 1, H, W), any float dtype.
            targets: (N, 1, H, W), any float dtype, in [0, 1]; fractional along soft edges.
            counted: (N, 1, H, W) bool, the pixels that count; None: all of them.
        """


class WeightedBCELoss(Loss):
    """Binary cross-entropy, its foreground term weighted by ``pos_weight``, mean over all pixels.

    Args:
        pos_weight: w > 0. For a foreground probability p, the loss is least where sigmoid(logit) =
            w p / (w p + 1 - p), so p exceeds 0.5 where the sigmoid exceeds w / (1 + w).
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
        """The constant prediction with the least loss for a foreground share ``share``."""
        weight = self.pos_weight.item()
        return weight * share / (weight * share + 1 - share)

    def forward(self, logits: Tensor, targets: Tensor, counted: Tensor | None = None) -> Tensor:
        """A scalar, the mean over the pixels that count; see :class:`Loss`."""
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
        per_image: average the loss per image; False: one ratio of sums over the batch, which
            depends on the batch size.
        eps: in pixels; makes an empty prediction of an empty image perfect (0/0 = 1). Far smaller
            than any object, so that missing a small object still costs the full loss.
    """

    threshold = 0.5

    def __init__(self, *, per_image: bool = True, eps: float = 1e-3) -> None:
        super().__init__()
        self.per_image = per_image
        self.eps = eps

    def prior(self, share: float) -> float:
        """The initial prediction for a foreground share ``share``: the share itself."""
        return share

    def forward(self, logits: Tensor, targets: Tensor, counted: Tensor | None = None) -> Tensor:
        """A scalar in [0, 1]; see :class:`Loss`."""
        # Sums of fp16 or bf16 probabilities overflow or lose digits.
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


def arguments(name: str) -> set[str]:
    """The names of the arguments that the loss ``name`` of ``LOSSES`` takes."""
    return set(inspect.signature(LOSSES[name]).parameters)


def pos_weight_from_share(share: float) -> float:
    """Background over foreground pixels, (1 - p) / p, of a foreground share ``p`` in (0, 1)."""
    return (1 - share) / share


def build_loss(
    name: str, *, pos_weight: float | str | None, share: float, options: Mapping[str, Any] = {}
) -> Loss:
    """The loss ``name`` of ``LOSSES``.

    Args:
        pos_weight: a number above 0, ``auto`` (from the share), or None where the loss takes none.
        share: the training pixels' share of foreground, in (0, 1).
        options: its constructor's other arguments.
    """
    if pos_weight is None:
        return LOSSES[name](**options)
    weight = pos_weight_from_share(share) if pos_weight == "auto" else pos_weight
    return LOSSES[name](pos_weight=weight, **options)
