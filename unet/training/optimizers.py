"""The optimisers: Muon for convolution kernels and AdamW for the rest, or AdamW for all."""

from collections.abc import Iterable

import torch
from torch import Tensor

from unet.model import UNet
from unet.training.config import TrainConfig


def build_optimizers(
    model: UNet, config: TrainConfig, *, dtype: torch.dtype = torch.float32
) -> list[torch.optim.Optimizer]:
    """Muon for the kernels between features; AdamW for the first kernel (its input is pixels), the
    head's kernel (it has a single output), and all biases and normalisation parameters. With
    ``config.optimizer = adamw`` AdamW alone, for all.

    Weight decay applies only to kernels; without it AdamW is Adam.

    Args:
        dtype: of Muon's matrix products.
    """
    ends = [model.encoder[0][0].weight, model.head.weight]
    at_an_end = {id(kernel) for kernel in ends}
    inner = [p for p in model.parameters() if p.ndim == 4 and id(p) not in at_an_end]
    muon = config.optimizer == "muon"
    groups = [
        {"params": ends if muon else ends + inner, "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    device = ends[0].device.type
    fused, capturable = device in ("cpu", "cuda"), device == "cuda"  # in a CUDA graph
    adamw = torch.optim.AdamW(groups, lr=config.max_lr, fused=fused, capturable=capturable)
    if not muon:
        return [adamw]
    return [Muon(inner, lr=config.max_lr, weight_decay=config.weight_decay, dtype=dtype), adamw]


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum with decoupled weight decay.

    Keller Jordan 2024 (https://kellerjordan.github.io/posts/muon/), with the step length that lets
    it share AdamW's learning rate and decay (Liu et al. 2025, arXiv 2502.16982, equation 4).
    ``torch.optim.Muon`` does the same, but accepts only matrices, no kernels.

    Args:
        kernels: (A, B, ...), each taken as a matrix of A rows.
        lr: learning rate, for updates with a root mean square of about 0.2, as in AdamW; a number,
            or a 0-d tensor on the kernels' device.
        dtype: of the matrix products; float32 or bfloat16.
    """

    def __init__(
        self, kernels: Iterable[Tensor], *, lr: float | Tensor, weight_decay: float,
        momentum: float = 0.95, dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        self.dtype = dtype
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(kernels, defaults)

    @torch.no_grad()
    def step(self) -> None:
        """Update each kernel that has a gradient."""
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                state = self.state[kernel]
                if not state:
                    state["average"] = torch.zeros_like(kernel)
                average = state["average"].lerp_(kernel.grad, 1 - group["momentum"])
                ahead = kernel.grad.lerp(average, group["momentum"]).flatten(1)
                update = orthogonalized(ahead.to(self.dtype)).to(kernel.dtype)
                length = 0.2 * max(update.shape) ** 0.5
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                if isinstance(group["lr"], Tensor):  # used on the device, without a wait
                    kernel.sub_(update.view(kernel.shape) * (group["lr"] * length))
                else:
                    kernel.add_(update.view(kernel.shape), alpha=-group["lr"] * length)


def orthogonalized(matrix: Tensor, *, num_steps: int = 5) -> Tensor:
    """Approximately U V^T for a ``matrix`` U S V^T: singular values above about 0.001 of its norm
    end up between 0.7 and 1.2.

    A Newton-Schulz iteration (odd polynomials of the matrix) with Jordan's coefficients: they raise
    small singular values fast and do not converge to 1, which does no harm. 0 stays 0.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / wide.norm().clamp(min=1e-7)
    for _ in range(num_steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide is matrix else x.T
