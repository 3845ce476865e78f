"""Existing models, scored on a folder of photographs and masks."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.photographs import INFO
from tests.repo import ROOT
from tests.test_folder_pipeline import own_folder
from tests.tiny import tiny_model
from tools import score
from unet.config import load_params
from unet.inference.model_file import load_model, save_model
from unet.inference.predict import predict

COUNT = 24


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photographs and masks, and two models beside, ``a`` and ``b``, of different image sizes."""
    monkeypatch.chdir(ROOT)
    for seed, (name, size) in enumerate({"a": 32, "b": 48}.items()):
        model = tiny_model(seed, random_head=True)
        info = {"image_size": size, "threshold": 0.4, "boundary": "background"}
        save_model(tmp_path / name, model.state_dict(), INFO | info)
    return own_folder(tmp_path / "own", COUNT)


@pytest.fixture
def scored(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What the tool prints."""

    def run(*arguments: str | Path) -> str:
        monkeypatch.setattr("sys.argv", ["score", *map(str, arguments)])
        score.main()
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("tta", [True, False])
def test_all_images_have_the_scores_of_their_predictions(folder: Path, scored, tta: bool) -> None:
    options = ["--all"] if tta else ["--all", "--no-tta"]
    said = scored(folder, "--model", folder.parent / "a", *options)
    model = load_model(folder.parent / "a")
    right = pixels = 0
    for photo in (folder / "images").iterdir():
        with Image.open(photo) as image:
            small = image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
        found = predict(small, model, tta=tta, refine=False).mask
        with Image.open(folder / f"masks/{photo.stem}_mask.png") as mask:
            truth = torch.from_numpy(np.array(mask.resize((32, 32), Image.Resampling.NEAREST)) > 0)
        right, pixels = right + (found == truth).sum().item(), pixels + found.numel()
    *_, row = said.splitlines()
    assert row.split()[:2] == [str(folder.parent / "a"), f"{right / pixels:.2%}"]
    assert f"All {COUNT} images of {folder}" in said and ("one pass" in said) != tta


def test_the_test_images_are_those_of_the_pipeline_and_all_is_every_image(
    folder: Path, scored
) -> None:
    photos = sorted(path.stem for path in (folder / "images").iterdir())
    for name, chosen in {"test": photos[:6], "val": photos[6:8], "train": photos[8:20]}.items():
        (folder / f"{name}.txt").write_text("\n".join(chosen))
    models = [part for name in "ab" for part in ("--model", folder.parent / name)]
    said = scored(folder, *models)
    assert f"The 6 test images of {folder}" in said
    assert said.count("masks: 20 of 0 and 255") == 1  # not once for each image size
    first, second = (line.split() for line in said.splitlines()[-2:])
    assert first[0].endswith("/a") and second[0].endswith("/b") and first[1:] != second[1:]
    said = scored(folder, *models[:2], "--all", "--no-tta")
    assert f"All {COUNT} images of {folder}" in said and "left out: 0 images on no list" in said


def test_all_models_of_a_table_have_one_truth(folder: Path, raw: Path, scored) -> None:
    weights = load_model(folder.parent / "a").model.state_dict()
    models = []
    for rule in ("object", "background"):
        info = {"image_size": 32, "source": "mirror", "boundary": rule}
        save_model(folder.parent / rule, weights, INFO | info)
        models += ["--model", folder.parent / rule]
    tables = {}
    for options in ([], ["--boundary", "background"]):
        said = scored(raw, *models, "--no-tta", *options)
        first, second = (line.split()[1:] for line in said.splitlines()[-2:])
        assert first == second
        (tables[first[0]],) = re.findall(r"boundary as (\w+), one pass each", said)
    assert list(tables.values()) == ["object", "background"]  # of different scores
    assert "boundary as" not in scored(folder, *models, "--no-tta")


def test_masks_in_files_are_scored_as_the_model_that_made_them(folder: Path, scored) -> None:
    model = load_model(folder.parent / "b")
    masks = folder.parent / "theirs"
    masks.mkdir()
    for number, photo in enumerate(sorted((folder / "images").iterdir())):
        found = predict(photo, model, tta=False, refine=False).mask.numpy()
        ending = "_mask" if number % 2 else ""
        full = 255 if number % 3 else 1
        Image.fromarray((found * full).astype(np.uint8)).save(masks / f"{photo.stem}{ending}.png")
    said = scored(folder, "--predicted", masks, "--all")
    assert "scored at {0} x {0} pixels".format(load_params().preprocess.image_size) in said
    by_files = said.splitlines()[-1].split()
    assert by_files[0] == str(masks) and by_files[-2:] == ["-", "-"]
    shown = scored(folder, "--model", folder.parent / "b", "--all", "--no-tta")
    # Resized once more, to another size: nearly the same.
    assert abs(float(by_files[2]) - float(shown.splitlines()[-1].split()[2])) < 0.05
    next(masks.iterdir()).unlink()
    with pytest.raises(ValueError, match=r"theirs has no mask of "):
        scored(folder, "--predicted", masks, "--all")
