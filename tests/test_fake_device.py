"""A training step up to its loss on a fake GPU: no tensor stays on the CPU.

Torch's fake tensors have a device and a shape but no values. An operation across two devices raises
an error as on a real GPU. Backward needs a real GPU.
"""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.repo import ROOT
from unet.config import load_params
from unet.data.augment import draw_transforms
from unet.data.packed import Split
from unet.training.config import ExperimentConfig
from unet.training.learner import Learner
from unet.training.loop import RunningScores, load_batch

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
PARAMS = load_params(ROOT / "params.yaml")


class FakeSplit(Split):
    """Whether all pixels count is said beforehand: fake masks have no values to look at."""

    partly_counted = False


class PartlyCounted(FakeSplit):
    partly_counted = True


class Threshold(NamedTuple):
    """What an epoch's scores ask of a loss; a fake one has no value of it."""

    threshold: float


def to_fake(module: nn.Module, device: torch.device) -> None:
    """What ``module.to(device)`` does, which fake tensors do not go along with: parameters and
    buffers that are registered, and nothing else, get there."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                new = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
                is_parameter = isinstance(tensor, nn.Parameter)
                tensors[name] = nn.Parameter(new, tensor.requires_grad) if is_parameter else new


def step(
    experiment: ExperimentConfig,
    *,
    split_on: torch.device = CUDA,
    kind: type[FakeSplit] = FakeSplit,
) -> tuple[Tensor, Tensor]:
    """Loss and counts of a step of ``experiment`` up to its loss on a fake GPU."""
    learner = Learner(experiment, PARAMS.train, foreground_share=0.3, device=CPU, amp="none")
    threshold = learner.loss_function.threshold
    size = 2 ** (experiment.depth + 1)
    transforms = draw_transforms(4, PARAMS.train.augment, torch.Generator().manual_seed(0))
    # Real tensors count as tensors on the CPU.
    with FakeTensorMode(allow_non_fake_inputs=True):
        to_fake(learner.model, CUDA)
        to_fake(learner.loss_function, CUDA)
        images = torch.empty(6, 2 * size, 2 * size, 3, dtype=torch.uint8, device=split_on)
        split = kind(images, images[..., 0], tuple("abcdef"))
        batch = load_batch(split, torch.arange(4), transforms, size=size, device=CUDA)
        logits = learner.net(batch.images)
        loss = learner.loss_function(logits, batch.targets, batch.counted)
        scores = RunningScores(Threshold(threshold), CUDA)
        scores.add(loss, logits, batch.targets, batch.counted)
    return loss, scores.counts


@pytest.mark.parametrize("kind", [FakeSplit, PartlyCounted])
@pytest.mark.parametrize("split_on", [CUDA, CPU], ids=["split on the GPU", "split mapped"])
@pytest.mark.parametrize("key", PARAMS.experiments)
def test_a_step_leaves_no_tensor_behind(
    key: str, split_on: torch.device, kind: type[FakeSplit]
) -> None:
    loss, counts = step(PARAMS.experiments[key], split_on=split_on, kind=kind)
    assert loss.device == counts.device == CUDA
    assert loss.shape == () and loss.dtype == torch.float32
