"""The command ``unet-predict``, on drawn photographs."""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from tests.photographs import SIZE, iou, other_model, photograph, pixels_of, truth
from tests.repo import ENVIRONMENT, ROOT, readme_block
from unet.data import photos
from unet.data.photos import ORIENTATION
from unet.inference import command, pictures, predict_files
from unet.inference.model_file import DEFAULT, TrainedModel, find_model, load_model, save_model
from unet.inference.predict import predict


def test_the_readme_s_commands_run(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = re.findall(r"\$ unet-predict (.*?)  +#", readme_block("console", "examples/cat.jpg"))
    monkeypatch.chdir(tmp_path)
    for folder in ("released", "examples"):
        Path(folder).mkdir()
    shutil.copy(trained, f"released/{DEFAULT}.safetensors")
    photograph().save("examples/cat.jpg")
    for line in lines:
        monkeypatch.setattr(sys, "argv", ["unet-predict", *line.split()])
        command.main()
    assert Image.open("cut.png").mode == "RGBA"
    assert Image.open("predicted/cat_cutout.png").mode == "RGB"
    assert sorted(p.name for p in Path("predicted").iterdir()) == ["cat_cutout.png", "cat_mask.png"]


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
    shutil.copy(trained, f"models/{DEFAULT}.safetensors")

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


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return exif


def names_in(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).glob("*"))


def written() -> list[str]:
    return names_in("predicted")


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
    call("pet.png", "--cutout", "--no-refine")
    with Image.open("predicted/pet_cutout.png") as image:
        assert (image.mode, image.size) == ("RGBA", photo.size)
    cutout = pixels_of(Path("predicted/pet_cutout.png")).int()
    colours, alpha = cutout[..., :3], cutout[..., 3]
    assert alpha[250, 400] == 255 and alpha[0, -1] == 0
    assert (colours[alpha == 0] == 0).all()
    whole = alpha == 255  # partly transparent pixels lose the background's share
    assert torch.equal(colours[whole], torch.from_numpy(np.array(photo)).int()[whole])
    assert len(alpha.unique()) > 20
    # No jump anywhere, and half transparent where the mask ends.
    assert alpha.diff(dim=0).abs().max() < 64 and alpha.diff(dim=1).abs().max() < 64
    found = predict("pet.png", model, refine=False)
    assert torch.equal(alpha > 128, (alpha > 128) & found.mask)


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
    photo = photograph().transpose(Image.Transpose.ROTATE_90)
    photo.save("pet.jpg", exif=turned(), comment=b"at home", icc_profile=profile)
    cmyk = profile[:16] + b"CMYK" + profile[20:]
    photograph().convert("CMYK").save("print.jpg", icc_profile=cmyk)
    assert call("pet.jpg", "print.jpg", "--cutout", "--overlay").code == 0
    for name in written():
        with Image.open(Path("predicted") / name) as image:
            assert image.size == SIZE
            assert not image.getexif()
            notes = {"unet-predict", "comment"}  # the second in a JPEG
            assert sum("at home" not in str(image.info.get(note, "at home")) for note in notes) == 1
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
    assert "passed over: 2 " in result.out
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
        "predict: photos/lost.jpg cannot be read (No such file or directory)",
        *(f"predict: photos/{name} skipped: its results' names would be too long: rename it"
          for name in names),
        "predict: 3 of 4 not done: see above",
    ]  # fmt: skip
    assert written() == ["good_mask.png"]


def test_too_long_a_side_for_an_overlay_is_said_and_the_rest_done(call) -> None:
    Path("photos").mkdir()
    photograph().save("photos/good.png")
    Image.new("RGB", (70000, 1)).save("photos/long.png")
    result = call("photos", "--overlay")
    assert result.err.splitlines()[0] == (
        "predict: photos/long.png has more than 65500 pixels a side, too many for long_overlay.jpg"
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


def names(*photos: str) -> list[str]:
    return list(predict_files.output_names({Path(name): Path(name) for name in photos}).values())


def test_capitals_alone_do_not_tell_two_results_apart() -> None:
    assert names("A.png", "a.jpg", "b/a.png") == ["A.png", "a.jpg", "b/a"]
    with pytest.raises(ValueError, match="A.png and a.PNG"):
        names("A.png", "a.PNG")
    with pytest.raises(ValueError, match="cat.jpg and cat.jpg.png"):
        names("cat.jpg", "cat.png", "cat.jpg.png")


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
        "predict: pet.png skipped: predicted/pet_mask.png is there, made by something else "
        "(--overwrite replaces it)",
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
        (["pet.png", "--out", "pet.png"], "pet.png is one of the photographs (or the background)"),
        (["pet.png", "--out", "empty/notes.txt"], "--out empty/notes.txt: is a file"),
        (["empty", "-o", "x.png"], "--out x.png: holds the result of one photograph: name a"),
        (["pet.png", "-pet.png", "-o", "-"], "for the file of that name write ./-pet.png"),
        (["pet.png", "./-pet.png", "-o", "-"], "--out -: holds the result of one photograph"),
        (["pet.png", "--cutout", "--overlay", "-o", "x.png"], "holds one result, not cutout and"),
        (["pet.png", "-o", "x.webp"], "--out x.webp: must be a .png or .jpg, or a folder"),
        (["pet.png", "-o", "x.jpg"], "x.jpg: JPEG has no transparency: name a .png, or add --back"),
        (["pet.png", "-o", "x.JPG", "--only", "mask"], "JPEG would blur the mask: name a .png"),
        (["pet.png", "--only", "mask", "--overlay"], "--only mask with --overlay: leave one out"),
        (["pet.png", "--only", "masks"], "--only: invalid choice: 'masks'"),
        (["pet.png", "--background", "white"], "are for cut-outs: add --cutout"),
        (["pet.png", "--crop", "--only", "mask"], "are for cut-outs: add --cutout"),
        (["pet.png", "--cutout", "--background", "wite"], "--background wite: no colour (as white "
         'or "#1a2b6d"), and as a picture cannot be read (No such file'),
        (["-"], "-: a photograph from a pipe has no name: add -o cut.png, or -o -"),
        (["pet.png", "--out", "pet.png/deeper"], "Not a directory: 'pet.png/deeper'"),
        (["pet.png", "--threshold", "1"], "--threshold 1: must lie between 0 and 1"),
        (["pet.png", "--threshold", "nan"], "--threshold nan: must lie between 0 and 1"),
        (["pet.png", "--threshold", "half"], "--threshold: invalid float value: 'half'"),
        (["pet.png", "--batch-size", "0"], "--batch-size 0: must be at least 1"),
        (["pet.png", "--device", "tpu"], "--device: invalid choice: 'tpu'"),
        (["pet.png", "--model", "mine"], "model mine: no such file, and no such model; there are"),
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
    assert not Path("x.png").exists() and not list(Path().glob("x.*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(call) -> None:
    photograph().save("pet.png")
    result = call("pet.png", "--device", "cuda")
    assert result.code == 1 and "device = cuda: not available here" in result.err


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
        result = call("pet.png", "--cutout", "--overlay")
    assert (result.code, result.err) == (130, "predict: stopped\n")
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
    monkeypatch.setattr(predict_files, "predict_all", fail)
    result = call("pet.png")
    assert result.code == 1
    assert result.err == "predict: out of memory: lower --batch-size, or take smaller pictures\n"


def test_a_model_is_looked_up_in_models_then_released_then_as_a_file(call, trained: Path) -> None:
    Path("released").mkdir()
    for name in (DEFAULT, "mine"):
        shutil.copy(trained, f"released/{name}.safetensors")
    assert find_model(DEFAULT) == Path(f"models/{DEFAULT}.safetensors")
    assert find_model("mine") == Path("released/mine.safetensors")
    assert find_model("released/mine.safetensors") == Path("released/mine.safetensors")
    assert find_model(str(trained)) == trained
    with pytest.raises(ValueError, match="there are mine, "):
        find_model("yours")


def test_options_reach_the_prediction(call, model: TrainedModel) -> None:
    other = other_model(image_size=24, threshold=0.3)
    save_model(Path("models/other.safetensors"), other.model.state_dict(), other.info)
    photograph().save("pet.png")
    options = ["--no-tta", "--no-refine", "--threshold", "0.45", "--probabilities"]
    models = ["--model", DEFAULT, "--model", "other"]
    assert call("pet.png", *models, *options).code == 0
    other = load_model("models/other.safetensors")
    found = predict("pet.png", model, other, tta=False, refine=False)
    written = pixels_of(Path("predicted/pet_probabilities.png"))
    assert (written - 255 * found.probabilities).abs().max() <= 0.51
    mask = pixels_of(Path("predicted/pet_mask.png"))
    assert torch.equal(mask == 255, found.probabilities > 0.45)
    assert call("pet.png", *models, "--probabilities", "--out", "augmented").code == 0
    augmented = predict("pet.png", model, other)
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
    """Nor a model's name: the default model comes with it, and no other."""
    source, environment, work = (tmp_path / name for name in ("source", "environment", "work"))
    source.mkdir()
    work.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("unet", "stages", "tools"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    (source / "released").mkdir()
    for name in (f"{DEFAULT}.safetensors", f"{DEFAULT}.md", "other.safetensors"):
        shutil.copy(trained, source / "released" / name)
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
        [environment / scripts / "unet-predict", "pet.png", "--cutout"],
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
    installed = {path.relative_to(place) for path in Path(place).rglob("*.*")}
    modules = {path.relative_to(ROOT / "unet") for path in (ROOT / "unet").rglob("*.py")}
    assert {path for path in installed if "__pycache__" not in path.parts} == (
        modules | {Path(f"released/{DEFAULT}.safetensors")}
    )
    assert imported == "[]"
    assert found == "[]"


def test_a_picture_s_name_is_one_file(call, model: TrainedModel) -> None:
    photograph().save("pet.png")
    result = call("pet.png", "-o", "new/cut.png")
    assert (result.code, result.err) == (0, "") and result.out.endswith("into new/cut.png\n")
    cut = pictures.cutout_picture(predict("pet.png", model), "pet.png")
    assert np.array_equal(Image.open("new/cut.png"), cut)
    assert call("pet.png", "-o", "new/mask.png", "--only", "mask").code == 0
    assert call("pet.png", "-o", "new/seen.JPG", "--overlay").code == 0
    assert names_in("new") == ["cut.png", "mask.png", "seen.JPG"]
    assert Image.open("new/mask.png").mode == "L" and Image.open("new/seen.JPG").format == "JPEG"
    Path("folder.png").mkdir()
    assert call("pet.png", "-o", "folder.png", "--only", "cutout").code == 0
    assert names_in("folder.png") == ["pet_cutout.png"]


def test_a_cutout_gets_a_background_and_is_cropped(call) -> None:
    photograph().save("pet.png")
    assert call("pet.png", "-o", "blue.jpg", "--background", "#1a2b6d", "--crop").code == 0
    blue = pixels_of(Path("blue.jpg")).int()
    assert blue.shape[0] < SIZE[1] and blue.shape[1] < SIZE[0]
    assert (blue[0, 0] - torch.tensor([0x1A, 0x2B, 0x6D])).abs().max() < 12
    Image.new("RGB", (7, 9), "lime").save("grass.png")
    assert call("pet.png", "--cutout", "--background", "grass.png").code == 0
    lime = pixels_of(Path("predicted/pet_cutout.png"))
    assert lime.shape == (SIZE[1], SIZE[0], 3) and lime[0, 0].tolist() == [0, 255, 0]


def test_nothing_found_is_said_and_no_cutout_written(call) -> None:
    Path("photos").mkdir()
    Image.new("RGB", SIZE, (20, 20, 20)).save("photos/night.png")
    photograph().save("photos/pet.png")
    strict = ["--threshold", "0.9"]
    result = call("photos/night.png", "-o", "cut.png", *strict)
    assert result.code == 3 and not Path("cut.png").exists()
    assert result.err.startswith(
        "predict: photos/night.png: nothing found above 0.9: nothing was w"
    )
    assert result.err.count("\n") == 1

    result = call("photos", "--cutout", *strict)
    assert (result.code, result.err) == (0, "")
    assert "photos/night.png: nothing found, " in result.out
    assert "photos/pet.png: object " in result.out
    assert written() == ["night_mask.png", "pet_cutout.png", "pet_mask.png"]
    assert not pixels_of(Path("predicted/night_mask.png")).any()
    result = call("photos", "--cutout", *strict)
    assert result.code == 0 and result.out.count(": up to date\n") == 2
    # A cut-out of an earlier run goes.
    photograph().save("photos/night.png")
    assert call("photos", "--cutout", *strict, "--overwrite").code == 0
    assert "night_cutout.png" in written()
    Image.new("RGB", SIZE, (20, 20, 20)).save("photos/night.png")
    assert call("photos", "--cutout", *strict, "--overwrite").code == 0
    assert written() == ["night_mask.png", "pet_cutout.png", "pet_mask.png"]


def test_what_is_up_to_date_is_not_made_again(call, monkeypatch: pytest.MonkeyPatch) -> None:
    photograph().save("pet.png")
    kinds = ["--cutout", "--overlay", "--probabilities"]
    assert call("pet.png").code == 0
    assert call("pet.png", *kinds).code == 0  # those that were missing
    assert len(written()) == 4
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "mask_picture", None)  # nothing is drawn
        result = call("pet.png", *kinds)
    assert (result.code, result.err) == (0, "")
    first, last = result.out.splitlines()
    assert first == "pet.png: up to date" and last.startswith("0 done, 1 up to date, by models/")
    made = json.loads(Image.open("predicted/pet_mask.png").info["unet-predict"])
    model = hashlib.sha256(Path(f"models/{DEFAULT}.safetensors").read_bytes()).hexdigest()
    assert made == {
        "photograph": hashlib.sha256(Path("pet.png").read_bytes()).hexdigest(), "models": [model],
        "threshold": 0.5, "tta": True, "refine": True, "kind": "mask", "found": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        ["--threshold", "0.6"],
        ["--no-tta"],
        ["--no-refine"],
        ["--model", "other"],
        ["--background", "white"],
        ["--crop"],
        [],  # of the photograph
    ],
    ids=lambda change: change[0] if change else "photograph",
)
def test_what_was_made_otherwise_is_told_and_replaced_if_asked(call, change: list[str]) -> None:
    other = other_model()
    save_model(Path("models/other.safetensors"), other.model.state_dict(), other.info)
    photograph().save("pet.png")
    assert call("pet.png", "-o", "cut.png").code == 0
    before = Path("cut.png").read_bytes()
    if not change:
        photograph(box=(10, 10, 50, 40)).save("pet.png")
    result = call("pet.png", "-o", "cut.png", *change)
    assert result.code == 1
    assert result.err.splitlines() == [
        "predict: pet.png skipped: cut.png is there, made with other settings "
        "(--overwrite replaces it)",
        "predict: 1 of 1 not done: see above",
    ]
    assert Path("cut.png").read_bytes() == before
    assert call("pet.png", "-o", "cut.png", *change, "--overwrite").code == 0
    assert call("pet.png", "-o", "cut.png", *change).out.startswith("pet.png: up to date\n")


def test_a_new_background_leaves_masks_up_to_date(call) -> None:
    photograph().save("pet.png")
    assert call("pet.png", "--cutout").code == 0
    Path("predicted/pet_cutout.png").unlink()
    assert call("pet.png", "--cutout", "--background", "white").code == 0


def test_subfolders_are_mirrored_and_the_output_folder_is_no_input(call) -> None:
    for name in ("photos/a/deep", "photos/.hidden", "elsewhere", "photos/empty"):
        Path(name).mkdir(parents=True)
    for name in ("x.png", "a/x.png", "a/x.gif", "a/deep/y.png", ".hidden/z.png"):
        photograph().save(f"photos/{name}")
    photograph().save("elsewhere/z.png")
    Path("photos/linked").symlink_to("../elsewhere")
    for again in (False, True):
        result = call("photos", "photos/a", "photos/x.png", "-o", "photos/out")
        assert (result.code, result.err) == (0, "")
        assert result.out.startswith(f"passed over: {2 + again} ")  # .hidden, linked, out
        assert result.out.count(": up to date\n") == (4 if again else 0)
        files = [path for path in Path("photos/out").rglob("*") if path.is_file()]
        assert sorted(path.relative_to("photos/out").as_posix() for path in files) == [
            "a/deep/y_mask.png", "a/x.gif_mask.png", "a/x.png_mask.png", "x_mask.png",
        ]  # fmt: skip
    shutil.rmtree("photos/out/a")
    result = call("photos/empty", "photos")
    assert "photos/empty: no pictures in this folder (0 other entries)" in result.err


def command_line(*arguments: str | Path, **options: object) -> subprocess.Popen:
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", "tools.predict", *arguments], env=environment,
        stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_a_photograph_goes_through_pipes(call, trained: Path) -> None:
    photograph().save("pet.jpg", exif=turned())
    assert call("pet.jpg", "-o", "cut.png", "--model", str(trained)).code == 0
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = command_line("-", "-o", "-", "--model", trained, **pipes)
    out, err = process.communicate(Path("pet.jpg").read_bytes())
    assert process.returncode == 0
    assert out == Path("cut.png").read_bytes()
    lines = err.decode().splitlines()
    assert lines[0].startswith("standard input: object ") and lines[1].endswith(", into -")
    assert names_in(".") == ["cut.png", "models", "pet.jpg"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "predict: -: nothing came through the pipe"),
        (b"text", "predict: standard input is no picture of a format that can be read"),
    ],
)
def test_what_comes_through_a_pipe_may_be_no_picture(
    call, monkeypatch: pytest.MonkeyPatch, content: bytes, line: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    result = call("-", "-o", "cut.png")
    assert result.code == 1 and result.err.splitlines()[0] == line
    assert not Path("cut.png").exists()


@pytest.mark.skipif(os.name != "posix", reason="a closed pipe is another error")
def test_a_reader_that_has_gone_ends_it_quietly(call, trained: Path) -> None:
    photograph().save("pet.png")
    reader, writer = os.pipe()
    os.close(reader)
    process = command_line("pet.png", "--model", trained, stdout=writer)
    os.close(writer)
    assert process.communicate()[1] == b""
    assert process.returncode == 1


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_while_torch_is_imported_ends_it_in_one_line(tmp_path: Path) -> None:
    kill = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(20)\n"
    Path(tmp_path, "torch.py").write_text(kill)
    environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    # Where the tests run in the background, their children ignore SIGINT.
    process = command_line(
        "pet.png", cwd=tmp_path, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.communicate()[1] == b"predict: stopped\n"
    assert process.returncode == 130
    # Neither --help nor a wrong argument waits for it.
    asked = command_line("--help", cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    assert asked.communicate()[0].startswith(b"usage: python -m tools.predict ")
    assert asked.returncode == 0


def test_help_names_the_command(call) -> None:
    assert call("--help").out.startswith("usage: unet-predict ")


def test_no_photograph_background_or_file_of_others_is_lost(call) -> None:
    photograph().save("a.png")
    Path("link.png").symlink_to("a.png")
    before = Path("a.png").read_bytes()
    for arguments in (
        ("link.png", "-o", "a.png"),
        ("link.png", "-o", "ground.png", "--background", "ground.png"),
    ):
        Path("ground.png").write_bytes(before)
        result = call(*arguments, "--only", "cutout", "--overwrite")
        assert result.code == 1 and "is one of the photographs (or the background)" in result.err
        assert Path("a.png").read_bytes() == Path("ground.png").read_bytes() == before
    Image.new("RGB", SIZE).save("black.png")
    Path("out").mkdir()
    Path("out/black_cutout.png").write_bytes(before)  # not a result
    assert call("black.png", "-o", "out", "--cutout", "--overwrite").code == 0
    assert Path("out/black_cutout.png").read_bytes() == before


def test_a_folder_in_the_way_and_a_broken_result_are_seen(call) -> None:
    photograph().save("a.png")
    Path("out/a_mask.png").mkdir(parents=True)
    result = call("a.png", "-o", "out", "--overwrite")
    assert result.code == 1 and "out/a_mask.png is a folder: move it" in result.err
    assert call("a.png", "-o", "cut.png").code == 0
    content = Path("cut.png").read_bytes()
    Path("cut.png").write_bytes(content[: len(content) // 2])
    result = call("a.png", "-o", "cut.png")
    assert result.code == 1 and "made by something else" in result.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_named_pipe_in_a_folder_is_passed_over(call) -> None:
    Path("in").mkdir()
    photograph().save("in/a.png")
    os.mkfifo("in/pipe.png")
    result = call("in", "-o", "out")
    assert result.code == 0 and "passed over: 1 " in result.out
