"""Train on several devices: one process ("rank") for each, started by ``torchrun``.

Without ranks the functions here do nothing, so that callers need no special case.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the other ranks during the block; yields this rank's device."""
    if not dist.is_torchelastic_launched():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield device
    dist.destroy_process_group()  # not after an error: it would wait for ranks that are gone


def rank() -> int:
    """The rank of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_ranks() -> int:
    """The number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def part_of(num_images: int) -> Tensor:
    """The positions in a batch of this rank's images: (n,) int64.

    Each rank gets as many, so that the mean over the ranks is that over the images. Where the batch
    cannot be divided evenly, the first images are taken twice.
    """
    part = -(-num_images // num_ranks())
    return (torch.arange(part) + rank() * part) % num_images


def parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """Wrap ``model``, whose parameters keep their names, to average gradients over the ranks.

    Batch normalisation sees the whole batch on GPUs, but only the rank's own images on CPUs.
    """
    if not dist.is_initialized():
        return model
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # in place
    return nn.parallel.DistributedDataParallel(model)


def share_buffers(model: nn.Module) -> None:
    """Give all ranks the first one's running statistics."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def from_first(value: Any) -> Any:
    """The first rank's ``value``."""
    values = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(values)
    return values[0]


def sum_over_ranks(tensor: Tensor) -> None:
    """Sum ``tensor`` over all ranks in place."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
