"""Pixel counts per image, and the scores computed from them.

Counts are (N, 4) int64 tensors with columns TP, FP, FN, TN. They are summed or averaged only at the
end, so that the batch size does not change a score. 0/0 is 1 everywhere: an empty prediction of an
empty image is correct.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def pixel_counts(predicted: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
    """Counts (N, 4) of bool masks (N, ...), over the pixels that are ``counted`` (default: all)."""
    predicted, target = predicted.flatten(1), target.flatten(1)
    counted = torch.ones_like(target) if counted is None else counted.flatten(1)
    groups = [
        predicted & target,
        predicted & ~target,
        ~predicted & target,
        ~predicted & ~target,
    ]
    return torch.stack([(group & counted).sum(1) for group in groups], dim=1)


def boundary_counts(
    predicted: Tensor, target: Tensor, counted: Tensor | None = None, *, dilation: float = 0.02
) -> Tensor:
    """Counts (N, 4) of the masks' inner boundary bands, for the boundary IoU (arXiv 2103.16562).

    A band is what an erosion by ``dilation`` times the image's diagonal (in whole pixels, at least
    one) removes from the mask; outside the image is background. All masks are bool (N, H, W); only
    the pixels that are ``counted`` (default: all) count.
    """
    height, width = target.shape[-2:]
    radius = max(1, round(dilation * math.hypot(height, width)))

    def band(mask: Tensor) -> Tensor:
        outside = F.pad((~mask).float(), [radius] * 4, value=1.0)
        return mask & (F.max_pool2d(outside, 2 * radius + 1, stride=1) > 0)

    return pixel_counts(band(predicted), band(target), counted)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(
        denominator == 0, 1.0, numerator.double() / denominator.clamp(min=1).double()
    )


def accuracy(counts: Tensor) -> Tensor:
    """(TP + TN) / all, float64 (...,) of counts (..., 4)."""
    tp, _, _, tn = counts.unbind(-1)
    return _ratio(tp + tn, counts.sum(-1))


def iou(counts: Tensor) -> Tensor:
    """Intersection over union TP / (TP + FP + FN), float64 (...,) of counts (..., 4)."""
    tp, fp, fn, _ = counts.unbind(-1)
    return _ratio(tp, tp + fp + fn)


def dice(counts: Tensor) -> Tensor:
    """2 TP / (2 TP + FP + FN), float64 (...,) of counts (..., 4)."""
    tp, fp, fn, _ = counts.unbind(-1)
    return _ratio(2 * tp, 2 * tp + fp + fn)


def precision(counts: Tensor) -> Tensor:
    """TP / (TP + FP), float64 (...,) of counts (..., 4)."""
    tp, fp, _, _ = counts.unbind(-1)
    return _ratio(tp, tp + fp)


def recall(counts: Tensor) -> Tensor:
    """TP / (TP + FN), float64 (...,) of counts (..., 4)."""
    tp, _, fn, _ = counts.unbind(-1)
    return _ratio(tp, tp + fn)
