"""From an experiment's params to its model, loss and optimisers."""

import torch

from unet.config import ExperimentConfig, TrainConfig
from unet.losses import DiceLoss, WeightedBCELoss, pos_weight_from_share
from unet.model import UNet
from unet.muon import Muon

Loss = WeightedBCELoss | DiceLoss


def build_loss(experiment: ExperimentConfig, pet_share: float) -> Loss:
    """The experiment's loss; ``pet_share``, in (0, 1), is the training pixels' share of pet."""
    if experiment.loss == "dice":
        return DiceLoss()
    weight = experiment.pos_weight
    return WeightedBCELoss(pos_weight_from_share(pet_share) if weight == "auto" else weight)


def build_model(experiment: ExperimentConfig, *, prior: float = 0.5) -> UNet:
    """The experiment's U-Net, new, from torch's global generator."""
    return UNet(
        downsample_mode=experiment.downsample,
        upsample_mode=experiment.upsample,
        width=experiment.width,
        depth=experiment.depth,
        prior=prior,
    )


def build_optimizers(
    model: UNet, config: TrainConfig, *, dtype: torch.dtype = torch.float32
) -> tuple[Muon, torch.optim.AdamW]:
    """Muon for the kernels between features; AdamW for the first kernel, which sees pixels, the
    head's, whose rows are a single output, and all biases and normalisation.

    Kernels decay, nothing else does.

    Args:
        dtype: of Muon's matrix products.
    """
    ends = [model.encoder[0][0].weight, model.head.weight]
    at_an_end = {id(kernel) for kernel in ends}
    inner = [p for p in model.parameters() if p.ndim == 4 and id(p) not in at_an_end]
    groups = [
        {"params": ends, "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = ends[0].device.type in ("cpu", "cuda")
    return (
        Muon(inner, lr=config.max_lr, weight_decay=config.weight_decay, dtype=dtype),
        torch.optim.AdamW(groups, lr=config.max_lr, fused=fused),
    )
