"""A training step on torch's device ``meta``, whose tensors have shapes but no values: an operation
across two devices raises an error there, as on a GPU."""

from contextlib import nullcontext

import pytest
import torch

from tests.repo import ROOT
from unet.config import load_params
from unet.data.augment import draw_transforms
from unet.data.packed import Split
from unet.training.learner import Learner
from unet.training.loop import RunningScores, load_batch

CPU, META = torch.device("cpu"), torch.device("meta")
PARAMS = load_params(ROOT / "params.yaml")


@pytest.mark.parametrize("partly", [False, True], ids=["all pixels count", "some do not"])
@pytest.mark.parametrize("key", PARAMS.experiments)
def test_a_step_leaves_no_tensor_behind(
    key: str, partly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Split, "partly_counted", partly)  # else it looks at the values
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # not for this device
    experiment = PARAMS.experiments[key]
    learner = Learner(experiment, PARAMS.train, foreground_share=0.3, device=CPU, amp="none")
    loss_function = learner.loss_function
    monkeypatch.setattr(type(loss_function), "threshold", loss_function.threshold)
    learner.model.to(META)
    loss_function.to(META)
    size = 2 ** (experiment.depth + 1)
    images = torch.empty(6, 2 * size, 2 * size, 3, dtype=torch.uint8, device=META)
    transforms = draw_transforms(4, PARAMS.train.augment, torch.Generator().manual_seed(0))
    split = Split(images, images[..., 0], tuple("abcdef"))
    images, targets, counted = load_batch(
        split, torch.arange(4), transforms, size=size, device=META
    )
    loss, logits = learner.step(images, targets, 0.01, counted=counted)
    scores = RunningScores(loss_function, META)
    scores.add(loss, logits, targets, counted)
    assert loss.device == scores.counts.device == META
    assert loss.shape == () and loss.dtype == torch.float32
