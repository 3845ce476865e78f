"""Losses of one foreground class, from logits, in float32 whatever the autocast."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def pos_weight_from_share(share: float) -> float:
    """Background over foreground pixels, (1 - p) / p, of a foreground share ``p`` in (0, 1)."""
    return (1 - share) / share


class WeightedBCELoss(nn.Module):
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

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A scalar. ``logits`` (N, 1, H, W) of any float dtype, ``targets`` likewise in {0, 1}."""
        _check(logits, targets)
        return F.binary_cross_entropy_with_logits(
            logits.float(), targets.float(), pos_weight=self.pos_weight
        )


class DiceLoss(nn.Module):
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

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A scalar in [0, 1]. ``logits`` (N, 1, H, W) of any float dtype, ``targets`` in {0, 1}."""
        _check(logits, targets)
        # A sum of fp16 or bf16 probabilities overflows or loses digits, autocast or not.
        with torch.autocast(logits.device.type, enabled=False):
            first = 1 if self.per_image else 0
            probabilities = logits.float().sigmoid().flatten(first)
            targets = targets.float().flatten(first)
            overlap = (probabilities * targets).sum(-1)
            total = probabilities.sum(-1) + targets.sum(-1)
            return (1 - (2 * overlap + self.eps) / (total + self.eps)).mean()


def _check(logits: Tensor, targets: Tensor) -> None:
    if logits.shape != targets.shape:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)}, targets of {tuple(targets.shape)}: must agree"
        )
