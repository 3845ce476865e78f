"""Models are built and trained as their experiments say."""

import copy

import pytest
import torch

from tests.tiny import CPU, tiny_config, tiny_experiment
from unet.config import load_params
from unet.training.learner import Learner

PARAMS = load_params()


def new_learner(*, share: float = 0.3, amp: str = "none", **changes: object) -> Learner:
    """A tiny one; ``changes`` are fields of its config."""
    return Learner(
        tiny_experiment(), tiny_config(**changes), foreground_share=share, device=CPU, amp=amp
    )


@pytest.mark.parametrize("key", PARAMS.experiments)
def test_every_experiment_builds_and_learns(key: str) -> None:
    experiment = PARAMS.experiments[key]
    learner = Learner(experiment, PARAMS.train, foreground_share=0.3, device=CPU, amp="none")
    learner.model.train()
    side = 2 * 2**experiment.depth
    images = torch.rand(2, 3, side, side)
    before = learner.model.head.weight.clone()
    loss, logits = learner.step(images, (images[:, :1] > 0.7).float(), 0.004)
    assert torch.isfinite(loss) and logits.shape == (2, 1, side, side)
    assert not torch.equal(learner.model.head.weight, before)


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
