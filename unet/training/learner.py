"""One training step: a model with its loss, optimisers and gradient scaler."""

from typing import Any

import torch
from torch import Tensor

from unet.losses import build_loss
from unet.model import ARCHITECTURE, UNet
from unet.runtime.device import autocast
from unet.training import distributed
from unet.training.config import ExperimentConfig, TrainConfig
from unet.training.cuda_graph import StepGraph
from unet.training.optimizers import build_optimizers


def build_model(experiment: ExperimentConfig, *, prior: float = 0.5) -> UNet:
    """A new U-Net for the experiment, its weights drawn from torch's global generator."""
    return UNet(**{name: getattr(experiment, name) for name in ARCHITECTURE}, prior=prior)


class Learner:
    """A new model with its loss, optimisers and gradient scaler, on its device.

    Args:
        foreground_share: share of foreground pixels in the training split, in (0, 1).
        amp: ``bf16 | fp16 | none``.
    """

    def __init__(
        self, experiment: ExperimentConfig, config: TrainConfig, *, foreground_share: float,
        device: torch.device, amp: str,
    ) -> None:  # fmt: skip
        torch.manual_seed(config.seed)
        self.amp = amp
        self.loss_function = build_loss(
            experiment.loss,
            pos_weight=experiment.pos_weight,
            share=foreground_share,
            options=experiment.loss_options,
        ).to(device)
        model = build_model(experiment, prior=self.loss_function.prior(foreground_share))
        self.model = model.to(device, memory_format=torch.channels_last)
        self.net = distributed.parallel(self.model, device)
        dtype = torch.bfloat16 if amp == "bf16" else torch.float32
        self.optimizers = build_optimizers(self.model, config, dtype=dtype)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")
        self.batch_size = config.batch_size
        # Not with fp16, whose scaler reads gradients on the host, nor with several ranks.
        self.captures = device.type == "cuda" and amp != "fp16" and distributed.num_ranks() == 1
        self.graph: StepGraph | None = None

    def step(
        self, images: Tensor, targets: Tensor, learning_rate: float, *,
        counted: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Take an optimiser step; returns the scalar loss and the logits.

        The tensors are those of :func:`unet.training.loop.load_batch`. On a GPU a full batch's step
        is recorded once and replayed as a CUDA graph, because its hundreds of kernels run faster
        than Python launches them. The next step then overwrites the returned tensors.
        """
        if not self.captures or len(images) != self.batch_size:
            self._set_learning_rate(learning_rate)
            return self._step(images, targets, counted)
        if self.graph is None or self.graph.inputs[0].shape != images.shape:
            self.graph = None  # frees its memory for the next one
            rate = torch.tensor(learning_rate, device=images.device)
            self._set_learning_rate(rate)
            self.graph = StepGraph(
                self._step, self._tensors, (images, targets, counted), learning_rate=rate
            )
        return self.graph.replay(images, targets, counted, learning_rate=learning_rate)

    def _step(
        self, images: Tensor, targets: Tensor, counted: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        with autocast(self.amp, images.device):
            logits = self.net(images)
        loss = self.loss_function(logits, targets, counted)
        self.net.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        return loss.detach(), logits.detach()

    def _set_learning_rate(self, learning_rate: float | Tensor) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate

    def _tensors(self) -> list[Tensor]:
        """All that a step changes."""
        states = [state for optimizer in self.optimizers for state in optimizer.state.values()]
        values = [value for state in states for value in state.values()]
        return [*self.model.parameters(), *self.model.buffers(), *values]

    def state_dict(self) -> dict[str, Any]:
        """All state that training changes."""
        return {name: part.state_dict() for name, part in self._stateful().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a :meth:`state_dict`."""
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])

    def _stateful(self) -> dict[str, Any]:
        named = {type(optimizer).__name__: optimizer for optimizer in self.optimizers}
        return {"model": self.model, "scaler": self.scaler, **named}
