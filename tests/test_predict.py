"""Users' own photographs: the API of three lines."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tests.photographs import iou, other_model, photograph, pixels_of, truth
from tests.repo import readme_block
from unet.data.photos import ORIENTATION
from unet.inference import pictures
from unet.inference.model_file import DEFAULT, TrainedModel
from unet.inference.predict import predict, predict_all


def by_hand(model: TrainedModel, photo: Image.Image, *, one_pass: bool = False) -> Tensor:
    network, info = model
    small = photo.resize(2 * (info["image_size"],), Image.Resampling.BILINEAR)
    images = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        if one_pass:
            square = network(images).sigmoid()
        else:
            square = network.predict(images, flip=True, scales=(0.9, 1, 1.1))
    return F.interpolate(square, (photo.height, photo.width), mode="bilinear")[0, 0]


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (17, 300), (16, 16)])
def test_a_photograph_is_predicted_as_by_hand(size: tuple[int, int]) -> None:
    model = other_model(threshold=0.6)
    photo = photograph(size)
    found = predict(photo, model, refine=False)
    expected = by_hand(model, photo)
    torch.testing.assert_close(found.probabilities, expected)
    assert found.mask.shape == found.probabilities.shape == size[::-1]
    assert (found.mask.dtype, found.probabilities.dtype) == (torch.bool, torch.float32)
    assert torch.equal(found.mask, found.probabilities > 0.6)
    assert 0 < found.mask.sum() < found.mask.numel()


def test_a_photograph_may_be_a_path_or_a_picture(model: TrainedModel, tmp_path: Path) -> None:
    """Upright or turned by its EXIF tag; and results are drawn on it as it was given."""
    photo, exif = photograph(), Image.Exif()
    exif[ORIENTATION] = 6
    for name in ("turned.png", "turned.tif"):
        photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / name, exif=exif)
    png, tif = tmp_path / "turned.png", tmp_path / "turned.tif"
    expected = predict(photo, model)
    drawings = (pictures.cutout_picture, pictures.overlay_picture)
    drawn = [draw(expected, photo) for draw in drawings]
    for same in (png, str(png), Image.open(png), tif, Image.open(tif)):
        found = predict(same, model)
        assert torch.equal(found.probabilities, expected.probabilities)
        for draw, picture in zip(drawings, drawn, strict=True):
            assert np.array_equal(draw(found, same), picture)
    assert photo == photograph()  # only looked at


def test_without_augmentation_it_is_one_pass() -> None:
    model, photo = other_model(), photograph()
    found = predict(photo, model, tta=False, refine=False).probabilities
    torch.testing.assert_close(found, by_hand(model, photo, one_pass=True))
    assert (found - by_hand(model, photo)).abs().max() > 0.01


def test_several_models_are_averaged(model: TrainedModel) -> None:
    """On the squares; those of a smaller model are enlarged first."""
    photo = photograph()
    for size in (16, 24):
        other = other_model(image_size=size, threshold=0.3)
        found = predict(photo, model, other, refine=False)
        alone = [predict(photo, each, refine=False).probabilities for each in (model, other)]
        mean, tolerance = (alone[0] + alone[1]) / 2, 1e-5 if size == 16 else 0.1
        torch.testing.assert_close(found.probabilities, mean, atol=tolerance, rtol=0)
        assert found.threshold == pytest.approx(0.4)
        assert torch.equal(found.mask, found.probabilities > found.threshold)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_batches_answer_as_one_by_one(model: TrainedModel, batch_size: int) -> None:
    photos = [photograph((40 + 9 * i, 50), (3 * i, 5, 20 + 3 * i, 30)) for i in range(5)]
    found = list(predict_all(photos, model, batch_size=batch_size))
    assert [photo for photo, _ in found] == photos
    for photo, each in found:
        torch.testing.assert_close(each.probabilities, predict(photo, model).probabilities)
    assert list(predict_all([], model)) == []


@pytest.mark.parametrize(
    ("photo", "text"),
    [
        ("none.jpg", r"^none.jpg cannot be read \(No such file"),
        (Image.new("F", (4, 4)), "the picture .*32 bits"),
    ],
    ids=range(2),  # the same in each of pytest-xdist's processes
)
def test_what_is_no_photograph_is_one_line(model: TrainedModel, photo: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        predict(photo, model)


def test_the_readme_s_lines_run(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("released").mkdir()
    shutil.copy(trained, f"released/{DEFAULT}.safetensors")
    photograph().save("pet.jpg", quality=95)
    exec(readme_block("python", "from unet import"), {})
    alpha = pixels_of(Path("cut.png"))[..., 3]
    assert iou(alpha > 127, truth()) > 0.75
