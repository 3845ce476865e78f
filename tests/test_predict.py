"""Users' own photographs: the API of three lines, and the command."""

import errno
import itertools
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import Tensor
from torch.nn import functional as F

from tests.repo import ENVIRONMENT, ROOT
from tests.tiny import run_training, tiny_augment, tiny_model
from unet.data import photos
from unet.data.photos import ORIENTATION
from unet.inference import command, pictures
from unet.inference.model_file import TrainedModel, load_model, save_model
from unet.inference.predict import predict, predict_all

INFO = {
    "downsample": "mp", "upsample": "tr", "width": 4, "depth": 2, "threshold": 0.5, "epoch": 1,
    "image_size": 16,
}  # fmt: skip
BOX = (20, 10, 60, 40)  # of the object: left, top, right, bottom
SIZE = (96, 64)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a model that finds bright rectangles."""
    folder = tmp_path_factory.mktemp("trained")
    # Over five seeds it finds at least 0.88 (IoU) of the rectangles below.
    augment = tiny_augment(flip=True)
    training = run_training(folder / "checkpoint", epochs=30, batch_size=4, augment=augment)
    save_model(folder / "bright.safetensors", training.weights, INFO)
    return folder / "bright.safetensors"


@pytest.fixture(scope="module")
def model(trained: Path) -> TrainedModel:
    return load_model(trained)


def other_model(**info: object) -> TrainedModel:
    """A model that was not trained, whose answer depends on all of the picture."""
    return TrainedModel(tiny_model(seed=3, random_head=True), INFO | info)


def photograph(size: tuple[int, int] = SIZE, box: tuple[int, ...] = BOX) -> Image.Image:
    """A bright rectangle on dark noise."""
    pixels = np.random.default_rng(0).integers(0, 100, (size[1], size[0], 3))
    left, top, right, bottom = box
    pixels[top:bottom, left:right] += 130
    return Image.fromarray(pixels.astype(np.uint8))


def truth(size: tuple[int, int] = SIZE, box: tuple[int, ...] = BOX) -> Tensor:
    mask = torch.zeros(size[1], size[0], dtype=torch.bool)
    left, top, right, bottom = box
    mask[top:bottom, left:right] = True
    return mask


def iou(a: Tensor, b: Tensor) -> float:
    return ((a & b).sum() / (a | b).sum()).item()


def pixels_of(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path)))


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
    found = predict(photo, model)
    expected = by_hand(model, photo)
    torch.testing.assert_close(found.probabilities, expected)
    assert found.mask.shape == found.probabilities.shape == size[::-1]
    assert (found.mask.dtype, found.probabilities.dtype) == (torch.bool, torch.float32)
    assert torch.equal(found.mask, found.probabilities > 0.6)
    assert 0 < found.mask.sum() < found.mask.numel()


@pytest.mark.parametrize(
    ("size", "box"), [(SIZE, BOX), ((400, 90), (40, 10, 180, 60)), ((12, 10), (1, 1, 7, 6))]
)
def test_a_trained_model_finds_the_object(
    model: TrainedModel, size: tuple[int, int], box: tuple[int, ...]
) -> None:
    found = predict(photograph(size, box), model)
    assert iou(found.mask, truth(size, box)) > 0.75
    assert iou(found.mask.flip(1), truth(size, box)) < 0.75


def test_a_photograph_may_be_a_path_a_picture_or_a_tensor(
    model: TrainedModel, tmp_path: Path
) -> None:
    photo = photograph()
    photo.save(tmp_path / "photo.png")
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
    expected = predict(photo, model).probabilities
    path = tmp_path / "photo.png"
    rounded = [(pixels + shift).clamp(0, 255) / 255 for shift in (-0.4, 0.4)]
    for same in (
        path, str(path), Image.open(path), pixels, pixels / 255, pixels.double() / 255, *rounded
    ):  # fmt: skip
        assert torch.equal(predict(same, model).probabilities, expected)


@pytest.mark.parametrize("opened", [False, True])
def test_a_turned_photograph_is_found_upright(
    model: TrainedModel, tmp_path: Path, opened: bool
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = tmp_path / "turned.png"
    photograph().transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    found = predict(Image.open(path) if opened else path, model)
    assert torch.equal(found.mask, predict(photograph(), model).mask)


@pytest.mark.parametrize("draw", [pictures.cutout_picture, pictures.overlay_picture])
def test_results_are_drawn_on_the_photograph_as_it_was_given(
    model: TrainedModel, tmp_path: Path, draw: Callable[..., Image.Image]
) -> None:
    upright, path = photograph(), tmp_path / "turned.tif"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.save(path, exif=exif)
    turned.save(tmp_path / "turned.png", exif=exif)
    opened = Image.open(tmp_path / "turned.png")
    expected = draw(predict(upright, model), upright)
    assert expected.size == SIZE
    pixels = torch.from_numpy(np.array(upright)).permute(2, 0, 1)
    for photo in (path, str(path), Image.open(path), opened, pixels, pixels / 255):
        assert np.array_equal(draw(predict(photo, model), photo), expected)
    assert upright == photograph() and opened.size == SIZE[::-1]  # only looked at


def test_the_answer_is_an_ordinary_tensor(model: TrainedModel) -> None:
    p = predict(photograph(), model).probabilities
    assert not p.is_inference() and not p.requires_grad
    p[p < 0.1] = 0
    (p * torch.ones((), requires_grad=True)).sum().backward()


def test_without_augmentation_it_is_one_pass() -> None:
    model, photo = other_model(), photograph()
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    both = [predict(each, model).probabilities for each in (photo, mirrored)]
    torch.testing.assert_close(both[0], both[1].flip(1))
    alone = [predict(each, model, tta=False).probabilities for each in (photo, mirrored)]
    assert (alone[0] - alone[1].flip(1)).abs().max() > 0.01
    torch.testing.assert_close(alone[0], by_hand(model, photo, one_pass=True))


def test_several_models_are_averaged(model: TrainedModel) -> None:
    other, photo = other_model(image_size=24, threshold=0.3), photograph()
    found = predict(photo, model, other)
    alone = [predict(photo, each).probabilities for each in (model, other)]
    torch.testing.assert_close(found.probabilities, (alone[0] + alone[1]) / 2)
    assert found.threshold == pytest.approx(0.4)
    assert torch.equal(found.mask, found.probabilities > found.threshold)


def test_models_of_different_rules_have_no_mean(model: TrainedModel) -> None:
    network, info = model
    outlined = TrainedModel(network, info | {"boundary": "object"})
    with pytest.raises(ValueError, match=r"different rules \(background, object\)"):
        predict(photograph(), model, outlined)
    # A folder's masks have no boundary.
    of_a_folder = TrainedModel(network, info | {"source": "folder"})
    predict(photograph(), outlined, of_a_folder)


def test_a_threshold_of_one_s_own(model: TrainedModel) -> None:
    masks = [predict(photograph(), model, threshold=t).mask for t in (0.2, 0.5, 0.8)]
    counts = [mask.sum() for mask in masks]
    assert counts[0] > counts[1] > counts[2] > 0
    assert torch.equal(masks[1], predict(photograph(), model).mask)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_batches_answer_as_one_by_one(model: TrainedModel, batch_size: int) -> None:
    photos = [photograph((40 + 9 * i, 50), (3 * i, 5, 20 + 3 * i, 30)) for i in range(5)]
    found = list(predict_all(photos, model, batch_size=batch_size))
    assert [photo for photo, _ in found] == photos
    for photo, each in found:
        torch.testing.assert_close(each.probabilities, predict(photo, model).probabilities)
    assert list(predict_all([], model)) == []


def test_photographs_without_end_are_read_a_batch_or_two_ahead(model: TrainedModel) -> None:
    taken = itertools.count()

    def endless():
        while True:
            next(taken)
            yield photograph()

    results = predict_all(endless(), model, batch_size=3)
    assert len(list(itertools.islice(results, 10))) == 10
    assert next(taken) <= 10 + 2 * 3 + 1
    results.close()


def test_what_cannot_be_read_is_told_and_the_rest_done(model: TrainedModel, tmp_path: Path) -> None:
    photograph().save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"")
    photos = [tmp_path / name for name in ("bad.png", "good.png", "none.png", "good.png")]
    told = []
    found = predict_all(photos, model, on_error=lambda photo, error: told.append((photo, error)))
    assert [photo.name for photo, _ in found] == ["good.png", "good.png"]
    assert [(photo.name, str(error)) for photo, error in told] == [
        ("bad.png", f"{photos[0]} is empty"),
        ("none.png", f"{photos[2]} cannot be read (No such file or directory)"),
    ]
    with pytest.raises(ValueError, match="bad.png is empty"):
        list(predict_all(photos, model))


def test_a_buffer_that_is_used_again(model: TrainedModel) -> None:
    photos = [torch.rand(3, 20, 30) for _ in range(5)]
    buffer = torch.empty(3, 20, 30)

    def camera() -> Iterator[torch.Tensor]:
        for photo in photos:
            yield buffer.copy_(photo)

    found = [prediction for _, prediction in predict_all(camera(), model, batch_size=4)]
    for photo, prediction in zip(photos, found, strict=True):
        expected = predict(photo, model).probabilities
        torch.testing.assert_close(prediction.probabilities, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("photo", "text"),
    [
        ("none.jpg", r"^none.jpg cannot be read \(No such file"),
        (np.zeros((8, 8, 3), np.uint8), "type ndarray.*Image.fromarray"),
        (None, "type NoneType"),
        (torch.zeros(8, 8, 3), r"shape \(8, 8, 3\): must be \(3, H, W\)"),
        (torch.zeros(1, 3, 8, 8), r"shape \(1, 3, 8, 8\): must be \(3, H, W\)"),
        (torch.zeros(3, 0, 8), r"shape \(3, 0, 8\)"),
        (torch.full((3, 8, 8), 200.0), "from 200 to 200: must be uint8, or floats"),
        (torch.full((3, 8, 8), -0.5), "from -0.5 to -0.5"),
        (torch.full((3, 8, 8), torch.nan), "from nan to nan"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64"),
        (Image.new("RGB", (0, 4)), "0 x 4 pixels"),
        (Image.new("F", (4, 4)), "the picture cannot be read .32 bits"),
    ],
    ids=range(12),  # the same in each of pytest-xdist's processes
)
def test_what_is_no_photograph_is_one_line(model: TrainedModel, photo: object, text: str) -> None:
    with pytest.raises(ValueError, match=text) as error:
        predict(photo, model)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("models", "options", "text"),
    [
        ((), {}, "no model"),
        ((tiny_model(),), {}, "type UNet: must be what load_model returns"),
        (("model.safetensors",), {}, "type str: must be what load_model returns"),
        ((TrainedModel(tiny_model(), {"threshold": 0.5}),), {}, "image_size = None"),
        ((other_model(),), {"threshold": 0}, "threshold = 0: must"),
        ((other_model(),), {"threshold": 1.0}, "threshold = 1.0: must"),
        ((other_model(),), {"threshold": float("nan")}, "threshold = nan: must"),
        ((other_model(),), {"threshold": "0.5"}, "threshold = '0.5': must"),
    ],
)
def test_what_is_no_model_or_threshold_is_one_line(models: tuple, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text) as error:
        predict(photograph(), *models, **options)
    assert "\n" not in str(error.value)


def test_a_batch_of_none_is_refused(model: TrainedModel) -> None:
    for tta in ("no", 1, None):
        with pytest.raises(ValueError, match=f"tta = {tta!r}: must be True or False"):
            predict(photograph(), model, tta=tta)
    with pytest.raises(ValueError, match="batch_size = 0"):
        list(predict_all([photograph()], model, batch_size=0))


def test_one_photograph_is_no_list_of_them(model: TrainedModel) -> None:
    for photo in ("cat.jpg", Path("cat.jpg"), photograph()):
        with pytest.raises(ValueError, match="photos: must be several"):
            list(predict_all(photo, model))


def readme_block(language: str, having: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (block,) = [block for block in blocks if having in block]
    return block


def test_the_readme_s_lines_run(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snippet = readme_block("python", "unet.inference.predict")
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"released/\w+\.safetensors", snippet):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy(trained, name)
    photograph().save("pet.jpg", quality=95)
    variables: dict = {}
    exec(snippet, variables)
    assert variables["found"].mask.shape == SIZE[::-1]
    assert iou(variables["found"].mask, truth()) > 0.75


def test_the_readme_s_command_runs(trained: Path, tmp_path: Path) -> None:
    line = re.findall(r"\$ (python -m tools\.predict .*?)  #", readme_block("console", "--cutout"))[
        0
    ]
    (tmp_path / "released").mkdir()
    shutil.copy(trained, tmp_path / f"released/{command.DEFAULT}.safetensors")
    photograph().save(tmp_path / "cat.jpg")
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *line.split()[1:]], cwd=tmp_path, env=environment, check=True)
    assert sorted(path.name for path in (tmp_path / "predicted").iterdir()) == [
        "cat_cutout.png", "cat_mask.png", "cat_overlay.jpg",
    ]  # fmt: skip


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def call(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Runs the command in an empty folder whose ``models/`` holds the default model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    Path("models").mkdir()
    shutil.copy(trained, f"models/{command.DEFAULT}.safetensors")

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["unet-predict", *arguments])
        code: int | str | None = 0
        try:
            command.main()
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        if isinstance(code, str):
            code, err = 1, f"{err}{code}\n"
        return Result(code or 0, out, err)

    return run


def written() -> list[str]:
    return sorted(path.name for path in Path("predicted").glob("*"))


def test_the_command_writes_what_predict_finds(call, model: TrainedModel) -> None:
    photograph().save("pet.png")
    result = call("pet.png", "--cutout", "--overlay", "--probabilities")
    assert (result.code, result.err) == (0, "")
    assert re.search(r"^pet\.png: object \d\d\.\d%, \d+\.\d\d s$", result.out, re.MULTILINE)
    assert written() == [
        "pet_cutout.png", "pet_mask.png", "pet_overlay.jpg", "pet_probabilities.png"
    ]  # fmt: skip
    found = predict("pet.png", model)
    mask = pixels_of(Path("predicted/pet_mask.png"))
    assert torch.equal(mask, found.mask * torch.tensor(255, dtype=torch.uint8))
    probabilities = pixels_of(Path("predicted/pet_probabilities.png"))
    assert (probabilities - 255 * found.probabilities).abs().max() <= 0.51
    with Image.open("predicted/pet_overlay.jpg") as overlay:
        assert (overlay.mode, overlay.size) == ("RGB", SIZE)


def test_only_the_mask_is_written_unasked(call) -> None:
    photograph().save("pet.png")
    call("pet.png", "--out", "elsewhere/deep")
    assert [path.name for path in Path("elsewhere/deep").iterdir()] == ["pet_mask.png"]


def test_a_cutout_has_a_soft_edge_and_no_surroundings(call, model: TrainedModel) -> None:
    photo = photograph((960, 640), (200, 100, 600, 400))
    photo.save("pet.png")
    call("pet.png", "--cutout")
    with Image.open("predicted/pet_cutout.png") as image:
        assert (image.mode, image.size) == ("RGBA", photo.size)
    cutout = pixels_of(Path("predicted/pet_cutout.png")).int()
    colours, alpha = cutout[..., :3], cutout[..., 3]
    assert alpha[250, 400] == 255 and alpha[0, -1] == 0
    assert (colours[alpha == 0] == 0).all()
    assert torch.equal(colours[alpha > 0], torch.from_numpy(np.array(photo)).int()[alpha > 0])
    assert len(alpha.unique()) > 20
    # No jump anywhere, and half transparent where the mask ends.
    assert alpha.diff(dim=0).abs().max() < 64 and alpha.diff(dim=1).abs().max() < 64
    assert torch.equal(alpha > 128, (alpha > 128) & predict("pet.png", model).mask)


def test_an_overlay_leaves_the_object_in_colour(call) -> None:
    photograph((960, 640), (200, 100, 600, 400)).save("pet.png")
    call("pet.png", "--overlay")
    overlay = pixels_of(Path("predicted/pet_overlay.jpg")).int()
    photo = pixels_of(Path("pet.png")).int()
    middle, corner = (slice(200, 300), slice(350, 450)), (slice(500, 640), slice(800, 960))
    assert (overlay[middle] - photo[middle]).float().mean(dim=(0, 1)).abs().max() < 3
    assert overlay[corner].float().mean() < 0.8 * photo[corner].float().mean()
    assert overlay[corner].float().std(dim=-1).mean() < 2  # grey


@pytest.mark.filterwarnings("error")
def test_results_carry_no_metadata_but_the_colour_profile(call) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    photo = photograph().transpose(Image.Transpose.ROTATE_90)
    photo.save("pet.jpg", exif=exif, comment=b"at home", icc_profile=profile)
    cmyk = profile[:16] + b"CMYK" + profile[20:]
    photograph().convert("CMYK").save("print.jpg", icc_profile=cmyk)
    assert call("pet.jpg", "print.jpg", "--cutout", "--overlay").code == 0
    for name in written():
        with Image.open(Path("predicted") / name) as image:
            assert image.size == SIZE
            assert not image.getexif() and "comment" not in image.info
            kept = name in ("pet_cutout.png", "pet_overlay.jpg")
            assert image.info.get("icc_profile") == (profile if kept else None)


def test_a_folder_s_pictures_are_done_and_the_broken_named(call) -> None:
    Path("photos/inside").mkdir(parents=True)
    for name in ("a.png", "b (1).JPG", "c.webp"):
        photograph().save(f"photos/{name}")
    Path("photos/notes.txt").write_text("no picture")
    Path("photos/._a.png").write_bytes(b"of a Mac")
    result = call("photos", "--batch-size", "2")
    assert (result.code, result.err) == (0, "")
    assert "passed over: 3 " in result.out
    assert written() == ["a_mask.png", "b (1)_mask.png", "c_mask.png"]

    Path("photos/b0.jpg").write_bytes(b"")
    Path("photos/d.png").write_bytes(Path("photos/a.png").read_bytes()[:-60])
    result = call("photos", "--overwrite")
    assert result.code == 1
    lines = result.err.splitlines()
    assert lines[0] == "predict: photos/b0.jpg is empty"
    assert lines[1].startswith("predict: photos/d.png cannot be read (")
    assert lines[2:] == ["predict: 2 of 5 not done: see above"]
    assert written() == ["a_mask.png", "b (1)_mask.png", "c_mask.png"]
    assert result.out.count(": object ") == 3


def test_links_to_nowhere_and_too_long_names_are_named_and_the_rest_done(call) -> None:
    Path("photos").mkdir()
    photograph().save("photos/good.png")
    Path("photos/lost.jpg").symlink_to("nowhere")
    names = [f"{letter * length}.png" for letter, length in (("x", 230), ("y", 251))]
    for name in names:
        photograph().save(f"photos/{name}")
    result = call("photos")
    assert result.err.splitlines() == [
        *(f"predict: photos/{name} skipped: its results' names would be too long: rename it"
          for name in names),
        "predict: photos/lost.jpg cannot be read (No such file or directory)",
        "predict: 3 of 4 not done: see above",
    ]  # fmt: skip
    assert written() == ["good_mask.png"]


def test_too_long_a_side_for_an_overlay_is_said_and_the_rest_done(call) -> None:
    Path("photos").mkdir()
    photograph().save("photos/good.png")
    Image.new("RGB", (70000, 1)).save("photos/long.png")
    result = call("photos", "--overlay")
    assert result.err.splitlines()[0] == (
        "predict: photos/long.png has more than 65500 pixels a side: do it without --overlay"
    )
    assert written() == ["good_mask.png", "good_overlay.jpg"]
    assert call("photos/long.png").code == 0


def test_a_file_named_is_tried_whatever_its_name(call) -> None:
    photograph().save("picture.of.a.cat", "PNG")
    assert call("picture.of.a.cat").code == 0
    assert written() == ["picture.of.a_mask.png"]


def test_pictures_of_one_stem_keep_their_whole_names(call) -> None:
    for name in ("pet.png", "pet.gif", "other.png"):
        photograph().save(name)
    assert call("pet.png", "pet.gif", "other.png", "./pet.png").code == 0
    assert written() == ["other_mask.png", "pet.gif_mask.png", "pet.png_mask.png"]


def test_a_whole_name_that_is_another_s_stem() -> None:
    photos = [Path(name) for name in ("cat.jpg", "cat.png", "cat.jpg.png", "dog.png")]
    assert command.output_names(photos) == ["cat.jpg", "cat.png", "cat.jpg.png", "dog"]


def test_capitals_alone_do_not_tell_two_results_apart() -> None:
    assert command.output_names([Path("A.png"), Path("a.jpg")]) == ["A.png", "a.jpg"]
    with pytest.raises(ValueError, match="A.png and a.PNG"):
        command.output_names([Path("A.png"), Path("a.PNG")])


def test_two_results_of_one_name_are_refused_before_any_work(call) -> None:
    for name in ("a", "b"):
        Path(name).mkdir()
        photograph().save(f"{name}/x.png")
    result = call("a/x.png", "b")
    assert result.code == 1
    assert result.err.startswith("predict: a/x.png and b/x.png: ") and result.err.count("\n") == 1
    assert not Path("predicted").exists()


def test_results_are_not_overwritten_unasked(call) -> None:
    photograph().save("pet.png")
    photograph().save("new.png")
    Path("predicted").mkdir()
    Path("predicted/pet_mask.png").write_text("mine")
    result = call("pet.png", "new.png", "--cutout")
    assert result.code == 1
    assert result.err.splitlines() == [
        "predict: pet.png skipped: predicted/pet_mask.png is there (--overwrite replaces it)",
        "predict: 1 of 2 not done: see above",
    ]
    assert Path("predicted/pet_mask.png").read_text() == "mine"
    assert written() == ["new_cutout.png", "new_mask.png", "pet_mask.png"]
    assert call("pet.png", "new.png", "--cutout", "--overwrite").code == 0
    assert pixels_of(Path("predicted/pet_mask.png")).shape == SIZE[::-1]


def test_a_photograph_is_never_replaced(call) -> None:
    for name in ("x.png", "x_mask.png"):
        photograph().save(name)
    before = Path("x_mask.png").read_bytes()
    result = call("x.png", "x_mask.png", "--out", ".", "--overwrite")
    assert result.code == 1 and "x_mask.png is one of the photographs" in result.err
    assert Path("x_mask.png").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "the following arguments are required: PHOTO-OR-FOLDER"),
        (["none.jpg"], "none.jpg: no such file or folder"),
        (["empty"], "empty: no pictures in this folder (1 other entries)"),
        (["pet.png", "--out", "pet.png"], "--out pet.png: is a file"),
        (["pet.png", "--out", "pet.png/deeper"], "Not a directory: 'pet.png/deeper'"),
        (["pet.png", "--threshold", "1"], "--threshold 1: must lie between 0 and 1"),
        (["pet.png", "--threshold", "nan"], "--threshold nan: must lie between 0 and 1"),
        (["pet.png", "--threshold", "half"], "--threshold: invalid float value: 'half'"),
        (["pet.png", "--batch-size", "0"], "--batch-size 0: must be at least 1"),
        (["pet.png", "--device", "tpu"], "--device tpu: must be cpu, cuda, mps or auto"),
        (["pet.png", "--model", "mine"], f"model mine: no such file, and no such key in models/ "
         f"or released/; there are {command.DEFAULT}"),
        (["pet.png", "--model", "pet.png"], "pet.png is not a model of this project"),
        (["pet.png", "--cut"], "unrecognized arguments: --cut"),
        (["pet.png", "--colour"], "unrecognized arguments: --colour"),
        (["-pet.png"], "for the file of that name write ./-pet.png"),
        (["pet.png", ""], "an argument is empty"),
        (["pet.png", "--out", ""], "an argument is empty"),
        (["empty", "--out", "./empty"], "--out empty: is the photographs' own folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(call, arguments: list[str], text: str) -> None:
    photograph().save("pet.png")
    photograph().save("-pet.png")
    Path("empty").mkdir()
    Path("empty/notes.txt").touch()
    result = call(*arguments)
    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith("predict: ") and result.err.count("\n") == 1
    assert text in result.err
    assert written() == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(call) -> None:
    photograph().save("pet.png")
    result = call("pet.png", "--device", "cuda")
    assert result.code == 1 and "device = cuda: not available here" in result.err


def test_without_any_model_a_file_is_asked_for(call) -> None:
    photograph().save("pet.png")
    shutil.rmtree("models")
    result = call("pet.png")
    assert result.code == 1 and "name a model's file" in result.err


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    call, monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph().save("pet.png")

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    result = call("pet.png")
    assert result.code == 1
    assert "No space left" in result.err and "pet_mask.png" in result.err
    assert result.err.count("\n") == 1
    assert written() == []


def test_the_files_of_a_photograph_appear_together(call, monkeypatch: pytest.MonkeyPatch) -> None:
    photograph().save("pet.png")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("unet.inference.pictures.overlay_picture", stopped)
        assert call("pet.png", "--cutout", "--overlay").err == "predict: stopped\n"
    assert written() == []
    assert call("pet.png", "--cutout", "--overlay").code == 0
    assert written() == ["pet_cutout.png", "pet_mask.png", "pet_overlay.jpg"]


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")])
def test_too_little_memory_is_one_line(
    call, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    photograph().save("pet.png")
    monkeypatch.setattr(command, "predict_all", fail)
    result = call("pet.png")
    assert result.code == 1
    assert result.err == "predict: out of memory: lower --batch-size, or take smaller pictures\n"


def test_a_model_is_looked_up_in_models_then_released_then_as_a_file(call, trained: Path) -> None:
    Path("released").mkdir()
    for name in (command.DEFAULT, "mine"):
        shutil.copy(trained, f"released/{name}.safetensors")
    assert command.find_model(command.DEFAULT) == Path(f"models/{command.DEFAULT}.safetensors")
    assert command.find_model("mine") == Path("released/mine.safetensors")
    assert command.find_model("released/mine.safetensors") == Path("released/mine.safetensors")
    assert command.find_model(str(trained)) == trained
    with pytest.raises(ValueError, match=f"there are mine, {command.DEFAULT}$"):
        command.find_model("yours")


def test_options_reach_the_prediction(call, model: TrainedModel) -> None:
    other = other_model(image_size=24, threshold=0.3)
    save_model(Path("models/other.safetensors"), other.model.state_dict(), other.info)
    photograph().save("pet.png")
    options = ["--no-tta", "--threshold", "0.45", "--probabilities"]
    models = ["--model", command.DEFAULT, "--model", "other"]
    assert call("pet.png", *models, *options).code == 0
    found = predict("pet.png", model, load_model("models/other.safetensors"), tta=False)
    written = pixels_of(Path("predicted/pet_probabilities.png"))
    assert (written - 255 * found.probabilities).abs().max() <= 0.51
    mask = pixels_of(Path("predicted/pet_mask.png"))
    assert torch.equal(mask == 255, found.probabilities > 0.45)
    assert call("pet.png", *models, "--probabilities", "--out", "augmented").code == 0
    augmented = predict("pet.png", model, load_model("models/other.safetensors"))
    written = pixels_of(Path("augmented/pet_probabilities.png"))
    assert (written - 255 * augmented.probabilities).abs().max() <= 0.51
    assert (augmented.probabilities - found.probabilities).abs().max() > 0.02


def test_large_pictures_are_done_without_a_warning_and_giants_refused(
    call, monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph().save("large.png")
    photograph((200, 200)).save("giant.png")
    monkeypatch.setattr(photos, "MAX_PIXELS", SIZE[0] * SIZE[1])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIZE[0] * SIZE[1] - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        photos.read_photo(Path("large.png"))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = call("large.png", "giant.png")
    assert not seen
    assert result.code == 1
    assert result.err.startswith("predict: giant.png has more than ")
    assert written() == ["large_mask.png"]


@pytest.mark.slow
def test_installed_it_needs_neither_the_repository_nor_dvc(trained: Path, tmp_path: Path) -> None:
    source, environment, work = (tmp_path / name for name in ("source", "environment", "work"))
    source.mkdir()
    work.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("unet", "stages", "tools"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    # What is installed here serves there too, so that nothing is downloaded; the package is new.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = environment / scripts / "python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run(
        [python, "-c", query], check=True, capture_output=True, text=True
    ).stdout.strip()
    running = Path(torch.__file__).parents[1]
    Path(packages, "running.pth").write_text(f"{running}\n", encoding="utf-8")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", source], check=True)
    shutil.rmtree(source)

    photograph().save(work / "pet.png")
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(
        [environment / scripts / "unet-predict", "pet.png", "--model", trained, "--cutout"],
        cwd=work, env=clean, check=True,
    )  # fmt: skip
    assert iou(pixels_of(work / "predicted/pet_mask.png") == 255, truth()) > 0.75
    look = """
import sys, importlib.util
import unet.inference.command
heavy = {"dvc", "pandas", "pydantic", "matplotlib", "torchvision", "scipy", "ruamel"}
print(unet.__path__[0])
print(sorted(heavy & sys.modules.keys()))
print([name for name in ("stages", "tools", "tests") if importlib.util.find_spec(name)])
"""
    place, imported, found = subprocess.run(
        [python, "-c", look], cwd=work, env=clean, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert Path(place).is_relative_to(environment)
    assert imported == "[]"
    assert found == "[]"


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"source": "official", "boundary": "background"}, "Oxford-IIIT Pet"),
        ({"source": "mirror", "boundary": "object"}, "Oxford-IIIT Pet, the outline as object"),
        ({"source": "official", "boundary": "ignore"}, "Oxford-IIIT Pet, the outline left out"),
        (
            {"source": "official", "boundary": "middle"},
            "Oxford-IIIT Pet, the outline divided in the middle",
        ),
        ({"source": "folder", "boundary": "object"}, "a folder of one's own"),
        ({"source": "synthetic"}, "drawn images"),
        ({}, "unknown images"),
    ],
)
def test_what_a_model_learnt_from_in_words(info: dict[str, str], words: str) -> None:
    assert command.trained_on(info) == words
