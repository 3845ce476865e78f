"""Models are built and trained as their experiments say."""

import copy
from contextlib import nullcontext

import pytest
import torch

from tests.tiny import CPU, tiny_config, tiny_experiment
from unet.config import load_params
from unet.data.augment import draw_transforms
from unet.data.packed import Split
from unet.training.learner import Learner
from unet.training.loop import RunningScores, load_batch

PARAMS = load_params()


def new_learner(*, share: float = 0.3, amp: str = "none", **changes: object) -> Learner:
    """A tiny one; ``changes`` are fields of its config."""
    return Learner(
        tiny_experiment(), tiny_config(**changes), foreground_share=share, device=CPU, amp=amp
    )


def test_adamw_for_all_without_decay_is_torchs_adam() -> None:
    learner = new_learner(optimizer="adamw", weight_decay=0.0)
    theirs = copy.deepcopy(learner.model)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.003)
    for seed in range(3):
        images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
        targets = (images[:, :1] > 0.7).float()
        learner.step(images, targets, 0.003)
        adam.zero_grad()
        learner.loss_function(theirs(images), targets).backward()
        adam.step()
    for ours, other in zip(learner.model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_learner_goes_on_from_its_state(optimizer: str) -> None:
    images = torch.rand(4, 3, 16, 16)
    targets = (images[:, :1] > 0.7).float()
    whole, resumed = (new_learner(amp="bf16", optimizer=optimizer) for _ in range(2))
    for step in range(4):
        if step == 2:
            resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
        whole.model.train()
        whole.step(images, targets, 0.01)
        if step >= 2:
            resumed.model.train()
            resumed.step(images, targets, 0.01)
        else:
            torch.rand(3)  # the global generator takes no part
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("partly", [False, True], ids=["all pixels count", "some do not"])
@pytest.mark.parametrize("key", PARAMS.experiments)
def test_a_step_leaves_no_tensor_behind(
    key: str, partly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On torch's device ``meta``, whose tensors have shapes but no values: an operation across two
    devices raises an error there, as on a GPU."""
    meta = torch.device("meta")
    monkeypatch.setattr(Split, "partly_counted", partly)  # else it looks at the values
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # not for this device
    experiment = PARAMS.experiments[key]
    learner = Learner(experiment, PARAMS.train, foreground_share=0.3, device=CPU, amp="none")
    loss_function = learner.loss_function
    monkeypatch.setattr(type(loss_function), "threshold", loss_function.threshold)
    learner.model.to(meta)
    loss_function.to(meta)
    size = 2 ** (experiment.depth + 1)
    images = torch.empty(6, 2 * size, 2 * size, 3, dtype=torch.uint8, device=meta)
    transforms = draw_transforms(4, PARAMS.train.augment, torch.Generator().manual_seed(0))
    split = Split(images, images[..., 0], tuple("abcdef"))
    images, targets, counted = load_batch(
        split, torch.arange(4), transforms, size=size, device=meta
    )
    loss, logits = learner.step(images, targets, 0.01, counted=counted)
    scores = RunningScores(loss_function, meta)
    scores.add(loss, logits, targets, counted)
    assert loss.device == scores.counts.device == meta
    assert loss.shape == () and loss.dtype == torch.float32
