from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.tiny import STILL, tiny_augment
from unet.data.augment import AugmentConfig, augment, draw_transforms


def batch(num_images: int, size: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(num_images, 3, size, size, generator=generator)
    targets = (torch.rand(num_images, 1, size, size, generator=generator) < 0.4).float()
    return images, targets


def augmented(
    images: Tensor, targets: Tensor, config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    transforms = draw_transforms(len(images), config, generator)
    return augment(images, targets, transforms, soft_edges=config.soft_edges)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def half_plane(num_images: int, size: int) -> Tensor:
    """Targets whose left half is object."""
    target = (torch.arange(size) < size // 2).float().expand(size, size)
    return target.expand(num_images, 1, size, size).contiguous()


@settings(deadline=None, max_examples=20)
@given(num_images=st.integers(1, 5), size=st.integers(8, 40), seed=st.integers(0, 1000))
def test_ranges_of_zero_change_nothing(num_images: int, size: int, seed: int) -> None:
    images, targets = batch(num_images, size, seed)
    new_images, new_targets = augmented(images, targets, STILL, seeded(seed))
    torch.testing.assert_close(new_images, images, atol=1e-4, rtol=0)
    assert torch.equal(new_targets, targets)


def test_flip_alone_mirrors_about_half_of_the_images() -> None:
    images, targets = batch(300, 8)
    new_images, new_targets = augmented(images, targets, tiny_augment(flip=True), seeded(0))
    kept, flipped = (
        (new_images - each).abs().amax((1, 2, 3)) < 1e-4 for each in (images, images.flip(-1))
    )
    assert torch.equal(flipped, ~kept)
    assert abs(flipped.sum().item() - 150) < 43  # five standard deviations of 300 fair coins
    expected = torch.where(flipped.view(-1, 1, 1, 1), targets.flip(-1), targets)
    assert torch.equal(new_targets, expected)


MOVES = {"flip": True, "scale": (0.6, 1.3), "shift": 0.2, "rotate": 40.0}


@pytest.mark.parametrize("moves", [{k: v} for k, v in MOVES.items()] + [MOVES], ids="-".join)
def test_image_and_target_move_together(moves: dict[str, Any]) -> None:
    config = tiny_augment(**moves)
    coarse = torch.rand(20, 1, 4, 4, generator=seeded(0)) < 0.5
    targets = coarse.float().repeat_interleave(8, 2).repeat_interleave(8, 3)
    images = targets.expand(-1, 3, -1, -1).contiguous()
    new_images, new_targets = augmented(images, targets, config, seeded(1))
    red = new_images[:, :1]
    # Where all four neighbours agree, the nearest of them is known.
    pure = (red < 1e-5) | (red > 1 - 1e-5)
    assert pure.float().mean() > 0.6
    assert torch.equal(red[pure].round(), new_targets[pure])
    assert not torch.equal(new_targets, targets)


COLOURS = st.sampled_from(["brightness", "color", "contrast", "saturation"])


@settings(deadline=None, max_examples=20)
@given(
    st.integers(0, 1000), st.tuples(st.floats(0.1, 2.0), st.floats(0.1, 2.0)), st.floats(0, 1),
    st.floats(0, 180), st.dictionaries(COLOURS, st.floats(0, 0.99)),
)  # fmt: skip
def test_ranges_of_the_results(
    seed: int, scale: tuple[float, float], shift: float, rotate: float, colours: dict[str, float]
) -> None:
    moves = {"flip": True, "scale": tuple(sorted(scale)), "shift": shift, "rotate": rotate}
    config = tiny_augment(**moves, paste=0.5, **colours)
    images, targets = batch(3, 12, seed)
    new_images, new_targets = augmented(images, targets, config, seeded(seed))
    assert (new_images.shape, new_targets.shape) == (images.shape, targets.shape)
    assert new_images.dtype == new_targets.dtype == torch.float32
    assert 0 <= new_images.min() <= new_images.max() <= 1
    assert set(new_targets.unique().tolist()) <= {0.0, 1.0}


def test_turned_and_mirrored_a_disc_stays_a_disc() -> None:
    side = torch.arange(64) - 31.5
    disc = (side.square() + side.square().view(-1, 1) < 20**2).float()
    targets = disc.expand(50, 1, 64, 64).contiguous()
    images = targets.expand(-1, 3, -1, -1).contiguous()
    _, turned = augmented(images, targets, tiny_augment(flip=True, rotate=180.0), seeded(0))
    # Only pixels of the rim, 2 pi 20 of 64 x 64, may change.
    assert (turned != targets).float().mean((1, 2, 3)).max() < 0.02


def test_a_pasted_object_is_that_of_the_next_image() -> None:
    images = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1, 1).repeat(1, 3, 16, 16)
    targets = torch.zeros(3, 1, 16, 16)
    for place, target in enumerate(targets):
        target[:, 5 * place : 5 * place + 5, 2:9] = 1
    new, new_targets = augmented(images, targets, tiny_augment(paste=1.0), seeded(0))
    for mine, following in ((0, 1), (1, 2), (2, 0)):
        assert torch.equal(new_targets[mine], torch.maximum(targets[mine], targets[following]))
        inside = torch.zeros(16, 16, dtype=torch.bool)
        inside[5 * following + 1 : 5 * following + 4, 3:8] = True
        assert torch.allclose(new[mine][:, inside], images[following][:, inside], atol=1e-5)
        assert torch.allclose(new[mine][:, :, 11:], images[mine][:, :, 11:], atol=1e-5)


def test_soft_edges_are_between_0_and_1_and_keep_the_area() -> None:
    targets = half_plane(50, 32)
    images = targets.expand(-1, 3, -1, -1).contiguous()
    changes = {"shift": 0.1, "rotate": 20.0}
    _, hard = augmented(images, targets, tiny_augment(**changes), seeded(0))
    config = tiny_augment(**changes, soft_edges=True)
    soft_images, soft = augmented(images, targets, config, seeded(0))
    torch.testing.assert_close(soft, soft_images[:, :1], atol=1e-5, rtol=0)
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    assert ((soft > 0.05) & (soft < 0.95)).any()
    assert ((soft > 0.5) != (hard > 0.5)).float().mean() < 0.01
    torch.testing.assert_close(soft.mean((1, 2, 3)), hard.mean((1, 2, 3)), atol=0.02, rtol=0)


def test_along_a_soft_pasted_edge_a_pixel_counts_where_it_counts_in_both() -> None:
    """The next image's object comes onto one that does not count anywhere."""
    images = torch.rand(2, 3, 16, 16, generator=seeded(0))
    targets = torch.zeros(2, 2, 16, 16)
    targets[1, 0, 4:11, 3:12] = 1
    targets[1, 1] = 1  # all of it counts
    for soft in (False, True):
        config = tiny_augment(paste=1.0, rotate=20.0, soft_edges=soft)
        _, (first, _) = augmented(images, targets, config, seeded(0))
        counts = first[1] > 0.999
        assert 30 < counts.sum() < 70
        assert (first[0][counts] > 0.999).all()


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation"])
def test_a_factor_is_drawn_for_each_image_about_its_centre(kind: str) -> None:
    images, targets = batch(200)
    images = 0.35 + 0.2 * images + torch.tensor([0.0, 0.05, 0.1]).view(3, 1, 1)
    centre = {
        "brightness": torch.zeros(200, 1, 1, 1),
        "contrast": images.mean((1, 2, 3), keepdim=True),  # the image's mean
        "saturation": images.mean(1, keepdim=True),  # each pixel's grey
    }[kind]
    new, _ = augmented(images, targets, tiny_augment(**{kind: 0.3}), seeded(0))
    away = images - centre
    factors = ((new - centre) * away).sum((1, 2, 3)) / away.square().sum((1, 2, 3))
    expected = centre + factors.view(-1, 1, 1, 1) * away
    torch.testing.assert_close(new, expected, atol=1e-4, rtol=0)
    assert 0.7 - 1e-3 <= factors.min() < 0.72
    assert 1.28 < factors.max() <= 1.3 + 1e-3
