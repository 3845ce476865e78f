"""A step replayed as a CUDA graph has the same result as the step itself."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.tiny import run_training, tiny_config, tiny_experiment
from unet.training.learner import Learner

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CUDA = torch.device("cuda")


def new_learner(*, captures: bool, loss: str = "bce", amp: str = "none") -> Learner:
    learner = Learner(
        tiny_experiment(loss=loss), tiny_config(), foreground_share=0.3, device=CUDA, amp=amp
    )
    assert learner.captures
    learner.captures = captures
    learner.model.train()
    return learner


def batch(seed: int, num_images: int = 8, size: int = 16) -> tuple[Tensor, Tensor]:
    images = torch.rand(num_images, 3, size, size, generator=torch.Generator().manual_seed(seed))
    return images.to(CUDA), (images[:, :1] > 0.6).float().to(CUDA)


def assert_same(first: Learner, second: Learner, *, atol: float = 1e-4) -> None:
    for (name, a), b in zip(
        first.model.state_dict().items(), second.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, atol=atol, rtol=1e-3, msg=name)


@pytest.mark.parametrize("loss", ["bce", "dice"])
def test_replayed_steps_are_the_steps_themselves(loss: str) -> None:
    """Whole batches, a last smaller one, another size, and the rate of each step."""
    replayed, plain = (new_learner(captures=c, loss=loss) for c in (True, False))
    rates = [0.004, 0.002, 0.004, 0.001, 0.003, 0.002]
    shapes = [(8, 16), (8, 16), (3, 16), (8, 16), (8, 8), (8, 8)]
    for seed, (rate, (num_images, size)) in enumerate(zip(rates, shapes, strict=True)):
        images, targets = batch(seed, num_images, size)
        losses = [learner.step(images, targets, rate)[0].item() for learner in (replayed, plain)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert replayed.graph is not None and plain.graph is None
    assert_same(replayed, plain)


def test_recording_changes_nothing() -> None:
    """With a rate of 0 nothing but the running statistics moves, and these as in one step."""
    replayed, plain = (new_learner(captures=c) for c in (True, False))
    weights = copy.deepcopy(dict(replayed.model.named_parameters()))
    for learner in (replayed, plain):
        learner.step(*batch(0), 0.0)
    for name, value in replayed.model.named_parameters():
        assert torch.equal(value, weights[name]), name
    assert replayed.model.encoder[0][1].num_batches_tracked == 1
    assert_same(replayed, plain)


def test_it_goes_on_from_a_state() -> None:
    first = new_learner(captures=True)
    for seed in range(3):
        first.step(*batch(seed), 0.004)
    second = new_learner(captures=True)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for learner in (first, second):
        for seed in range(3, 6):
            learner.step(*batch(seed), 0.002)
    assert_same(first, second)


def test_a_training_on_a_gpu_learns(tmp_path: Path) -> None:
    curve = run_training(tmp_path, device=CUDA, epochs=24, seed=1).curve
    assert curve[-1]["val_iou"] > 0.5
