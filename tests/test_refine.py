"""Fitting probabilities to a photograph's edges, and the pictures that are made of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

import unet
from tests.photographs import INFO
from tests.tiny import tiny_model
from unet.inference import refine
from unet.inference.model_file import DEFAULT, save_model
from unet.inference.pictures import cutout_picture
from unet.inference.predict import Prediction
from unet.inference.refine import fit


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def disc(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (x - 0.45 * width) ** 2 + (y - 0.5 * height) ** 2 < (0.3 * min(height, width)) ** 2


def coloured(where: np.ndarray, inside: tuple, outside: tuple) -> Image.Image:
    """A picture in two colours with a little noise."""
    pixels = np.where(where[..., None], inside, outside) + 8 * noise(*where.shape)
    return Image.fromarray(pixels.astype(np.uint8))


def of_alpha(alpha: np.ndarray) -> Prediction:
    """A prediction whose probabilities are these."""
    probabilities = torch.from_numpy(alpha.astype(np.float32))
    return Prediction(probabilities > 0.5, probabilities, 0.5)


def fit_by_hand(colours: np.ndarray, values: np.ndarray, reach: int) -> np.ndarray:
    """Pixel by pixel as in section 3.5 of the paper, windows cut off at the picture's border."""
    _, height, width = colours.shape
    lines = np.empty((4, height, width))
    windows = [
        [
            (slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1))
            for x in range(width)
        ]
        for y in range(height)
    ]
    for y in range(height):
        for x in range(width):
            c = colours[:, *windows[y][x]].reshape(3, -1).astype(np.float64)
            v = values[windows[y][x]].ravel().astype(np.float64)
            centred = c - c.mean(1, keepdims=True)
            matrix = centred @ centred.T / v.size + refine.EPSILON * np.eye(3)
            slopes = np.linalg.solve(matrix, centred @ v / v.size)
            lines[:, y, x] = (*slopes, v.mean() - slopes @ c.mean(1))
    means = [
        [lines[:, *windows[y][x]].reshape(4, -1).mean(1) for x in range(width)]
        for y in range(height)
    ]
    return np.array(means).transpose(2, 0, 1)


@pytest.mark.parametrize(("height", "width"), [(12, 15), (30, 2), (1, 9)])
def test_the_fit_is_the_paper_s(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "RADIUS", 3.4 / np.hypot(height, width))
    colours = noise(height, width).transpose(2, 0, 1) - 0.5
    values = noise(height, width, seed=1)[..., 0]
    np.testing.assert_allclose(fit(colours, values), fit_by_hand(colours, values, 3), atol=1e-5)


def test_what_is_the_same_everywhere_stays() -> None:
    photo = Image.fromarray((255 * noise(50, 70)).astype(np.uint8))
    for value in (0.0, 0.3, 1.0):
        found = refine.refine(torch.full((16, 16), value), photo)
        torch.testing.assert_close(found, torch.full((50, 70), value), atol=1e-5, rtol=0)


def test_a_blurred_outline_moves_to_the_photograph_s_edge() -> None:
    where = disc(300, 400)
    photo = coloured(where, (200, 120, 60), (60, 90, 140))
    rough = torch.from_numpy(gaussian_filter(where.astype(np.float32), 8))
    rough = F.interpolate(rough.roll(4, 1)[None, None], (64, 64), mode="area")[0, 0]
    before = F.interpolate(rough[None, None], (300, 400), mode="bilinear")[0, 0].numpy() > 0.5
    after = refine.refine(rough, photo).numpy() > 0.5
    wrong = [(mask != where).sum() for mask in (before, after)]
    assert wrong[0] > 800 and wrong[1] < wrong[0] / 4


@pytest.mark.parametrize("size", [(900, 40), (41, 1000), (1, 1), (1600, 3)])
def test_strips_do_not_show(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Image.fromarray((255 * noise(size[1], size[0])).astype(np.uint8))
    square = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    whole = refine.refine(square, photo)
    assert whole.shape == (size[1], size[0]) and whole.dtype == torch.float32
    assert 0 <= whole.min() <= whole.max() <= 1
    monkeypatch.setattr(refine, "STRIP", 7)
    torch.testing.assert_close(refine.refine(square, photo), whole, atol=1e-6, rtol=0)


def test_panoramas_keep_their_object() -> None:
    where = np.zeros((30, 9000), bool)
    where[5:25, 2000:6000] = True
    photo = coloured(where, (200, 120, 60), (60, 90, 140))
    rough = F.interpolate(torch.from_numpy(where).float()[None, None], (160, 160), mode="area")
    found = refine.refine(rough[0, 0], photo).numpy() > 0.5
    assert (found & where).sum() / (found | where).sum() > 0.8


def test_a_cutout_leaves_the_surroundings_out_of_its_edge() -> None:
    """A red disc on green: along its edge the photograph mixes both, the cut-out shows red."""
    where = disc(240, 320)
    alpha = gaussian_filter(where.astype(np.float32), 3)
    pixels = alpha[..., None] * (220, 30, 30) + (1 - alpha[..., None]) * (30, 200, 30)
    photo = Image.fromarray(pixels.astype(np.uint8))
    # Its alpha is a curve of the probabilities: those that give about this alpha.
    drawn = np.asarray(cutout_picture(of_alpha(0.35 + 0.3 * alpha), photo))
    edge = (drawn[..., 3] > 60) & (drawn[..., 3] < 200)
    assert edge.sum() > 500
    green = [np.asarray(p)[edge][:, 1].mean() for p in (photo, Image.fromarray(drawn))]
    assert green[0] > 100 and green[1] < 75
    assert (drawn[drawn[..., 3] == 0] == 0).all()
    solid = drawn[..., 3] == 255
    np.testing.assert_array_equal(drawn[solid][:, :3], np.asarray(photo)[solid])


def test_a_cutout_has_no_specks_but_two_animals() -> None:
    alpha = np.zeros((100, 200))
    alpha[10:60, 10:60] = 1  # 2500 pixels
    alpha[70:90, 100:120] = 0.9  # 400: an animal of its own
    alpha[5:15, 150:160] = 1  # 100: a speck
    photo = Image.new("RGB", (200, 100), "grey")
    drawn = np.asarray(cutout_picture(of_alpha(alpha), photo))[..., 3]
    assert drawn[30, 30] == drawn[80, 110] == 255 and drawn[10, 155] == 0


def test_a_cutout_has_no_haze_where_the_model_is_merely_unsure() -> None:
    where = disc(200, 300)
    found = of_alpha(np.where(where, 1.0, 0.45))  # 0.45: by itself a third of full alpha
    photo = Image.new("RGB", (300, 200), "grey")
    drawn = np.asarray(cutout_picture(found, photo))[..., 3]
    near = gaussian_filter(where.astype(float), 6) > 1e-3
    assert (drawn[~near] == 0).all() and (drawn[where] == 255).all()
    nothing = cutout_picture(of_alpha(np.full((200, 300), 0.45)), photo)
    assert nothing.getextrema()[3] == (0, 0)


def test_a_cutout_on_a_ground_and_cropped() -> None:
    where = disc(100, 200)
    photo = coloured(where, (200, 100, 50), (0, 0, 0))
    found = of_alpha(where.astype(float))
    on_blue = cutout_picture(found, photo, background="#1a2b6d")
    assert (on_blue.mode, on_blue.size) == ("RGB", (200, 100))
    assert on_blue.getpixel((0, 0)) == (0x1A, 0x2B, 0x6D)
    assert on_blue.getpixel((90, 50)) == photo.getpixel((90, 50))
    rows, columns = np.nonzero(where)
    cropped = cutout_picture(found, photo, crop=True)
    margin = round(0.02 * 61)
    assert cropped.size == (np.ptp(columns) + 1 + 2 * margin, np.ptp(rows) + 1 + 2 * margin)
    nothing = cutout_picture(of_alpha(np.zeros((100, 200))), photo, crop=True)
    assert nothing.size == photo.size and nothing.getextrema()[3] == (0, 0)


def test_the_front_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``cutout`` of a path, a picture and a tensor; by a model, a file and the default."""
    photo = coloured(disc(60, 90), (200, 120, 60), (60, 90, 140))
    path = tmp_path / f"models/{DEFAULT}.safetensors"
    save_model(path, tiny_model(seed=3, random_head=True).state_dict(), INFO)
    photo.save(tmp_path / "photo.png")
    model = unet.load_model(path)
    expected = cutout_picture(unet.predict(photo, model), photo)
    assert expected.mode == "RGBA" and expected.size == photo.size
    tensor = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
    monkeypatch.chdir(tmp_path)
    for given in (photo, "photo.png", tensor):
        for by in (model, path, DEFAULT, None):
            np.testing.assert_array_equal(unet.cutout(given, by), expected)
