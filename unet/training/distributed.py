"""Train over several devices or hosts, one process ("rank") per device, started by ``torchrun``.

Without ranks the functions here do nothing, so that callers need no special case.
"""

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the other ranks during the block; yields this rank's device.

    Raises:
        ValueError: there are more ranks than devices, or the ranks lose their connection.
    """
    if not dist.is_torchelastic_launched():
        yield device
        return
    ranks_here = int(os.environ["LOCAL_WORLD_SIZE"])
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(device.type, ranks_here)
    if ranks_here > there:
        raise ValueError(f"--nproc-per-node {ranks_here}, but {device.type} devices here: {there}")
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend)
    try:
        yield device
    except RuntimeError as error:
        if backend not in str(error).lower():
            raise
        reason = str(error).splitlines()[0]
        raise ValueError(f"the ranks cannot reach each other any more ({reason})") from None
    dist.destroy_process_group()  # not after an error: it would wait for ranks that are gone


def rank() -> int:
    """The rank of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_ranks() -> int:
    """The number of ranks on all hosts."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share_of(num_items: int) -> slice:
    """The part of ``num_items`` items for this rank; parts differ in size by one at most."""
    return slice(rank() * num_items // num_ranks(), (rank() + 1) * num_items // num_ranks())


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum ``tensor`` over all ranks in place, and return it."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def from_first(content: bytes | None, device: torch.device) -> bytes | None:
    """Broadcast rank 0's ``content`` to every rank, by way of ``device`` (this rank's)."""
    if not dist.is_initialized():
        return content
    length = torch.tensor(-1 if content is None else len(content), device=device)
    dist.broadcast(length, src=0)
    if length < 0:
        return None
    if rank() == 0:
        buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(device)
    else:
        buffer = torch.empty(int(length), dtype=torch.uint8, device=device)
    dist.broadcast(buffer, src=0)
    return buffer.cpu().numpy().tobytes()


def parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """Wrap ``model`` for training: batch normalisation sees the whole batch, and gradients are
    averaged over all ranks. ``model`` itself keeps its parameters' names."""
    if not dist.is_initialized():
        return model
    for layer in model.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SummedBatchNorm2d
    # No buffers to send: each rank computes the same running means from the whole batch.
    wrapper = nn.parallel.DistributedDataParallel
    new_name = "forward_sync_buffers" in inspect.signature(wrapper).parameters  # torch 2.13
    return wrapper(model, **{"forward_sync_buffers" if new_name else "broadcast_buffers": False})


class SummedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation over all ranks' images.

    ``nn.SyncBatchNorm`` refuses the CPU, makes the host wait for the GPU in each layer, and fails
    under autocast on a rank without images.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape and dtype; N may be 0."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        count = sum_over_ranks(values.new_full((), values[:, 0].numel()))
        mean = _Sum.apply(values.sum((0, 2, 3))) / count
        centred = values - mean.view(1, -1, 1, 1)
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over ranks; its backward pass sums the gradients over ranks."""

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:  # noqa: ANN001
        return sum_over_ranks(tensor.clone())

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # noqa: ANN001
        return sum_over_ranks(gradient.clone())
