"""From an experiment's params to its model, loss and optimiser."""

import torch
from torch import nn

from unet.config import ExperimentConfig, TrainConfig
from unet.losses import DiceLoss, WeightedBCELoss, pos_weight_from_share
from unet.model import UNet

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


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW that decays kernels and matrices; biases and normalisation are left alone."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=config.max_lr, fused=fused)
