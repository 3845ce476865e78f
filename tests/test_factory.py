import pytest
import torch

from tests.tiny import tiny_config, tiny_experiment, tiny_model
from unet.config import load_params
from unet.losses import build_loss
from unet.training.learner import build_model
from unet.training.optimizers import build_optimizers

EXPERIMENTS = load_params().experiments


@pytest.mark.parametrize("key", EXPERIMENTS)
def test_every_experiment_builds_and_learns(key: str) -> None:
    experiment = EXPERIMENTS[key]
    torch.manual_seed(0)
    loss_function = build_loss(experiment, 0.3)
    model = build_model(experiment, prior=loss_function.prior(0.3))
    side = 2 * 2**experiment.depth
    images = torch.rand(2, 3, side, side)
    targets = (images[:, :1] > 0.7).float()
    before = model.head.weight.clone()
    optimizers = build_optimizers(model, load_params().train)
    loss = loss_function(model(images), targets)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    assert torch.isfinite(loss)
    assert not torch.equal(model.head.weight, before)


def test_the_model_is_what_the_experiment_says() -> None:
    model = build_model(
        tiny_experiment(downsample="str_conv", upsample="ups", width=6, depth=3), prior=0.2
    )
    assert model.depth == len(model.encoder) == 3
    assert model.head.in_channels == 6
    assert isinstance(model.down[0], torch.nn.Conv2d)
    assert isinstance(model.up[0][0], torch.nn.Upsample)
    assert model.head.bias.sigmoid().item() == pytest.approx(0.2)
    pooled = build_model(tiny_experiment())
    assert isinstance(pooled.down[0], torch.nn.MaxPool2d)
    assert isinstance(pooled.up[0], torch.nn.ConvTranspose2d)
    assert pooled.head.bias.item() == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_the_global_seed_decides_the_weights(seed: int) -> None:
    torch.manual_seed(0)
    first = build_model(tiny_experiment())
    torch.manual_seed(seed)
    second = build_model(tiny_experiment())
    same = torch.equal(first.encoder[0][0].weight, second.encoder[0][0].weight)
    assert same == (seed == 0)


def test_every_parameter_has_one_optimizer_and_only_kernels_decay() -> None:
    model = tiny_model(downsample_mode="str_conv", upsample_mode="ups")
    muon, adamw = build_optimizers(model, tiny_config(weight_decay=0.07, max_lr=0.01))
    decay, owner = {}, {}
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            assert group["lr"] == 0.01
            for parameter in group["params"]:
                assert id(parameter) not in owner
                decay[id(parameter)], owner[id(parameter)] = group["weight_decay"], optimizer
    assert len(decay) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        kernel = name.endswith("weight") and parameter.ndim == 4
        assert decay[id(parameter)] == (0.07 if kernel else 0), name
        inner = kernel and name not in ("encoder.0.0.weight", "head.weight")
        assert owner[id(parameter)] is (muon if inner else adamw), name


def test_decay_shrinks_kernels_and_nothing_else() -> None:
    model = tiny_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizers = build_optimizers(model, tiny_config(weight_decay=0.5, max_lr=0.1))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 0.95 if parameter.ndim == 4 else 1.0
        torch.testing.assert_close(parameter.detach(), factor * before[name])
