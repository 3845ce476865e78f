"""Models are built and trained as their experiments say."""

import copy

import pytest
import torch

from tests.tiny import CPU, tiny_config, tiny_experiment
from unet.config import load_params
from unet.training.learner import Learner

PARAMS = load_params()


def new_learner(*, share: float = 0.3, amp: str = "none", **changes: object) -> Learner:
    experiment = tiny_experiment(**changes)
    return Learner(experiment, tiny_config(), foreground_share=share, device=CPU, amp=amp)


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


def test_a_learner_goes_on_from_its_state() -> None:
    images = torch.rand(4, 3, 16, 16)
    targets = (images[:, :1] > 0.7).float()
    whole, resumed = new_learner(amp="bf16"), new_learner(amp="bf16")
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
