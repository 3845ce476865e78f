import itertools
import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tiny import tiny_model
from unet.model import DOWNSAMPLE, PIXEL_MEAN, PIXEL_STD, UPSAMPLE, UNet

KINDS = list(itertools.product(DOWNSAMPLE, UPSAMPLE))


def expected_parameters(down: str, up: str, width: int, depth: int) -> int:
    def block(a: int, b: int) -> int:
        return 9 * a * b + 9 * b * b + 4 * b

    total = width + 1
    before = 3
    for level in range(depth):
        c = width * 2**level
        total += block(before, c) + block(2 * c, c)
        total += 9 * c * c + c if down == "str_conv" else 0
        total += (4 if up == "tr" else 9) * 2 * c * c + c
        before = c
    return total + block(before, 2 * before)


def rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


@pytest.mark.parametrize(("down", "up"), KINDS)
@pytest.mark.parametrize(("width", "depth"), [(1, 1), (4, 2), (6, 3), (16, 4)])
def test_parameter_count_in_closed_form(down: str, up: str, width: int, depth: int) -> None:
    model = UNet(downsample=down, upsample=up, width=width, depth=depth)
    count = sum(p.numel() for p in model.parameters())
    assert count == expected_parameters(down, up, width, depth)


@pytest.mark.parametrize(("down", "up"), KINDS)
def test_activations_keep_their_variance_through_depth(down: str, up: str) -> None:
    # Untrained batch normalisation is the identity in evaluation mode: only the weights act.
    model = tiny_model(seed=1, downsample=down, upsample=up, width=32, depth=4)
    sizes: list[float] = []
    for block in [*model.encoder, model.bottleneck, *model.decoder]:
        block.register_forward_hook(lambda _module, _inputs, output: sizes.append(rms(output)))
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        model(noise * model.pixel_std + model.pixel_mean)
    assert len(sizes) == 9
    # Max pooling takes the largest of four, and so lets them grow a little. Over five seeds: 0.73
    # to 2.8, without pooling 0.39 to 1.1. A gain of 2 a convolution would make it 2**17.
    assert min(sizes) > 1 / 5
    assert max(sizes) < (5 if down == "mp" else 2.5)


@pytest.mark.parametrize("kind", ["str_conv", "tr", "ups"])
def test_learned_resamplers_have_gain_one(kind: str) -> None:
    upsample = kind if kind in UPSAMPLE else "tr"
    model = tiny_model(downsample="str_conv", upsample=upsample, width=32, depth=2)
    x = torch.randn(4, 64, 32, 32, generator=torch.Generator().manual_seed(0))
    resampler = model.down[1] if kind == "str_conv" else model.up[1]
    with torch.inference_mode():
        assert rms(resampler(x)) / rms(x) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("training", [True, False])
def test_first_logits_are_the_priors(training: bool) -> None:
    prior = 0.1
    model = tiny_model(prior=prior).train(training)
    logits = model(torch.rand(2, 3, 8, 8))
    torch.testing.assert_close(logits, torch.full_like(logits, math.log(prior / (1 - prior))))


def test_pixels_are_normalised_by_the_channels_statistics() -> None:
    model = tiny_model()
    seen: list[Tensor] = []
    model.encoder[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    model(torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4))
    expected = [
        (value - mean) / std
        for value, mean, std in zip((1.0, 0.5, 0.0), PIXEL_MEAN, PIXEL_STD, strict=True)
    ]
    torch.testing.assert_close(seen[0][0, :, 2, 1], torch.tensor(expected))


@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 40), width=st.integers(1, 40), num_images=st.integers(1, 3))
def test_predict_repeats_the_border_and_crops(height: int, width: int, num_images: int) -> None:
    model = tiny_model(random_head=True)
    generator = torch.Generator().manual_seed(height * 41 + width)
    images = torch.rand(num_images, 3, height, width, generator=generator)
    probabilities = model.predict(images)
    assert probabilities.shape == (num_images, 1, height, width)
    assert probabilities.dtype == torch.float32
    assert 0 <= probabilities.min() <= probabilities.max() <= 1
    edges = ((0, 0), (0, 0), (0, -height % 4), (0, -width % 4))
    padded = torch.from_numpy(np.pad(images.numpy(), edges, mode="edge"))
    with torch.inference_mode():
        expected = torch.sigmoid(model(padded))[..., :height, :width]
    torch.testing.assert_close(probabilities, expected)


@pytest.mark.parametrize("width", [16, 13])
def test_flipped_the_answer_is_the_mean_of_both(width: int) -> None:
    model = tiny_model(random_head=True)
    images = torch.rand(2, 3, 16, width, generator=torch.Generator().manual_seed(0))
    answer = model.predict(images, flip=True)
    assert answer.shape == (2, 1, 16, width)
    torch.testing.assert_close(answer, model.predict(images.flip(-1), flip=True).flip(-1))
    there, back = model.predict(images), model.predict(images.flip(-1)).flip(-1)
    torch.testing.assert_close(answer, (there + back) / 2)
    assert not torch.allclose(there, back, atol=1e-4)


def test_at_several_scales_the_answer_is_the_mean_of_the_resized() -> None:
    model = tiny_model(random_head=True)
    images = torch.rand(2, 3, 40, 24, generator=torch.Generator().manual_seed(0))

    def at(height: int, width: int) -> Tensor:
        resized = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
        answer = model.predict(resized)
        return F.interpolate(answer, (40, 24), mode="bilinear", antialias=True)

    answer = model.predict(images, scales=(0.5, 1.0, 1.25))
    torch.testing.assert_close(answer, (at(20, 12) + model.predict(images) + at(50, 30)) / 3)
    assert not torch.allclose(answer, model.predict(images), atol=1e-3)


@pytest.mark.parametrize("fails", [False, True])
def test_predict_restores_the_mode_and_touches_no_statistics(fails: bool) -> None:
    """Each module's own mode, also after an error in the middle."""
    model = tiny_model(random_head=True)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = model.predict(images)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train().encoder.eval()
    modes = [module.training for module in model.modules()]

    def fail(module: nn.Module, _: tuple) -> None:
        assert not module.training
        if fails:
            raise RuntimeError("in the middle")

    model.bottleneck.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle") if fails else nullcontext():
        assert torch.equal(model.predict(images), expected)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "torch.uint8 and shape .*: must be floats in"),
        (torch.full((1, 3, 8, 8), 200.0), r"from 200 to 200: must be in \[0, 1\].*images / 255"),
        (torch.full((1, 3, 8, 8), -0.002), r"from -0\.002 to -0\.002"),
        (torch.tensor([0.5, math.nan]).expand(1, 3, 8, 2), "from nan to nan"),
        (torch.rand(3, 9, 9), r"shape \(3, 9, 9\): must be .* \(N, 3, H, W\)"),
    ],
    ids=["uint8", "0 to 255", "below 0", "NaN", "CHW"],
)
def test_predict_refuses_what_are_no_images_in_0_to_1(images: Tensor, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        tiny_model().predict(images)


def test_a_decoder_sees_the_skip_before_what_comes_from_below() -> None:
    """In this order lie the weights of the released models."""
    model = tiny_model(depth=1, random_head=True)
    images = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        model.decoder[0][0].weight[:, 4:] = 0
        before = model(images)
        torch.nn.init.normal_(model.bottleneck[0].weight)
        assert torch.equal(model(images), before)
        torch.nn.init.normal_(model.encoder[0][0].weight)
        assert not torch.equal(model(images), before)
