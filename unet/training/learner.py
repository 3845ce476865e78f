"""One training step: a model with its loss, optimisers and gradient scaler."""

from typing import Any

import torch
from torch import Tensor

from unet.losses import build_loss
from unet.model import UNet
from unet.runtime.device import autocast
from unet.training import distributed
from unet.training.config import ExperimentConfig, TrainConfig
from unet.training.optimizers import build_optimizers


def build_model(experiment: ExperimentConfig, *, prior: float = 0.5) -> UNet:
    """The experiment's U-Net, new, its weights from torch's global generator."""
    return UNet(
        downsample=experiment.downsample,
        upsample=experiment.upsample,
        width=experiment.width,
        depth=experiment.depth,
        prior=prior,
    )


class Learner:
    """A new model with its loss, optimisers and gradient scaler, on its device.

    Args:
        foreground_share: of the training split's pixels, in (0, 1).
        amp: ``bf16 | fp16 | none``.
    """

    def __init__(
        self,
        experiment: ExperimentConfig,
        config: TrainConfig,
        *,
        foreground_share: float,
        device: torch.device,
        amp: str,
    ) -> None:
        torch.manual_seed(config.seed)
        self.amp = amp
        self.loss_function = build_loss(
            experiment.loss, pos_weight=experiment.pos_weight, share=foreground_share
        ).to(device)
        model = build_model(experiment, prior=self.loss_function.prior(foreground_share))
        self.model = model.to(device, memory_format=torch.channels_last)
        self.net = distributed.parallel(self.model, device)
        dtype = torch.bfloat16 if amp == "bf16" else torch.float32
        self.muon, self.adamw = build_optimizers(self.model, config, dtype=dtype)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def step(
        self,
        images: Tensor,
        targets: Tensor,
        learning_rate: float,
        *,
        counted: Tensor | None = None,
        weight: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """A step down the gradient of the loss times ``weight``: the loss, a scalar, and logits."""
        for optimizer in (self.muon, self.adamw):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        with autocast(self.amp, images.device):
            logits = self.net(images)
        # Of no image the loss is 0, not 0/0; its gradients still take part in the ranks' mean.
        loss = logits.float().sum()
        if len(images):
            loss = self.loss_function(logits, targets, counted)
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
