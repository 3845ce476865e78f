"""The command ``unet-predict``, on drawn photographs."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from tests.photographs import SIZE, iou, other_model, photograph, pixels_of, truth
from tests.repo import ENVIRONMENT, ROOT, readme_block
from unet.data.photos import ORIENTATION
from unet.inference import command, pictures
from unet.inference.model_file import DEFAULT, TrainedModel, load_model, save_model
from unet.inference.predict import predict


@pytest.fixture
def call(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Runs the command in an empty folder whose ``models/`` holds the default model."""
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    shutil.copy(trained, f"models/{DEFAULT}.safetensors")

    def run(*arguments: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["unet-predict", *arguments])
        code: int | str | None = 0
        try:
            command.main()
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        if isinstance(code, str):
            code, err = 1, f"{err}{code}\n"
        return SimpleNamespace(code=code or 0, out=out, err=err)

    return run


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return exif


def written(folder: str = "predicted") -> list[str]:
    paths = (path for path in Path(folder).rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def test_the_readme_s_commands_run(call) -> None:
    Path("examples").mkdir()
    photograph().save("examples/cat.jpg")
    for line in re.findall(r"\$ unet-predict (.*?)  +#", readme_block("console", "examples/cat")):
        assert call(*line.split()).code == 0
    assert Image.open("cut.png").mode == "RGBA"
    assert Image.open("predicted/cat_cutout.png").mode == "RGB"
    assert written() == ["cat_cutout.png", "cat_mask.png"]


# What is written


def test_the_command_writes_what_predict_finds(call, model: TrainedModel) -> None:
    photograph().save("pet.png")
    assert call("pet.png", "--out", "elsewhere/deep").code == 0
    assert written("elsewhere") == ["deep/pet_mask.png"]
    result = call("pet.png", "--cutout", "--overlay", "--probabilities")
    assert (result.code, result.err) == (0, "")
    assert re.search(r"^pet\.png: object \d\d\.\d%$", result.out, re.MULTILINE)
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
    cut = pictures.cutout_picture(found, "pet.png")
    assert np.array_equal(Image.open("predicted/pet_cutout.png"), cut)


def test_options_reach_the_prediction(call, model: TrainedModel) -> None:
    other = other_model(image_size=24, threshold=0.3)
    save_model(Path("models/other.safetensors"), other.model.state_dict(), other.info)
    photograph().save("pet.png")
    models = ["--model", DEFAULT, "--model", "other", "--probabilities"]
    assert call("pet.png", *models, "--no-tta", "--no-refine", "--threshold", "0.45").code == 0
    assert call("pet.png", *models, "--out", "augmented").code == 0
    other = load_model("models/other.safetensors")
    plain, augmented = (
        predict("pet.png", model, other, **options)
        for options in ({"tta": False, "refine": False}, {})
    )
    for folder, found in (("predicted", plain), ("augmented", augmented)):
        drawn = pixels_of(Path(folder, "pet_probabilities.png"))
        assert (drawn - 255 * found.probabilities).abs().max() <= 0.51
    assert (augmented.probabilities - plain.probabilities).abs().max() > 0.02
    mask = pixels_of(Path("predicted/pet_mask.png"))
    assert torch.equal(mask == 255, plain.probabilities > 0.45)


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
            assert not image.getexif() and "at home" not in str(image.info)
            kept = name in ("pet_cutout.png", "pet_overlay.jpg")
            assert image.info.get("icc_profile") == (profile if kept else None)


def test_a_picture_s_name_is_one_file(call, model: TrainedModel) -> None:
    photograph().save("pet.png")
    result = call("pet.png", "-o", "new/cut.png")
    assert (result.code, result.err) == (0, "") and result.out.endswith("into new/cut.png\n")
    assert Image.open("new/cut.png").mode == "RGBA"
    assert call("pet.png", "-o", "new/mask.png", "--only", "mask").code == 0
    assert call("pet.png", "-o", "new/seen.JPG", "--overlay").code == 0
    assert written("new") == ["cut.png", "mask.png", "seen.JPG"]
    assert Image.open("new/mask.png").mode == "L" and Image.open("new/seen.JPG").format == "JPEG"
    Path("folder.png").mkdir()
    assert call("pet.png", "-o", "folder.png", "--only", "cutout").code == 0
    assert written("folder.png") == ["pet_cutout.png"]


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


# Which photographs, to which names


def test_subfolders_are_mirrored_and_the_output_folder_is_no_input(call) -> None:
    for name in ("photos/a/deep", "photos/.hidden", "elsewhere", "photos/empty"):
        Path(name).mkdir(parents=True)
    for name in ("x.png", "a/x.png", "a/x.gif", "a/deep/b (1).JPG", ".hidden/z.png", "._x.png"):
        photograph().save(f"photos/{name}")
    photograph().save("elsewhere/z.png")
    Path("photos/linked").symlink_to("../elsewhere")
    for again in (False, True):
        result = call("photos", "photos/a", "photos/x.png", "-o", "photos/out")
        assert (result.code, result.err) == (0, "")
        assert result.out.count(": up to date\n") == (4 if again else 0)
        assert written("photos/out") == [
            "a/deep/b (1)_mask.png", "a/x.gif_mask.png", "a/x.png_mask.png", "x_mask.png",
        ]  # fmt: skip
    result = call("photos/empty", "photos")
    assert "photos/empty: no pictures in this folder" in result.err


def test_what_cannot_be_done_is_named_and_the_rest_done(call) -> None:
    Path("photos").mkdir()
    for name in ("good.png", "picture.of.a.cat", f"{'x' * 240}.png", f"{'y' * 251}.png"):
        photograph().save(f"photos/{name}", "PNG")
    Path("photos/empty.jpg").touch()
    Path("photos/cut.png").write_bytes(Path("photos/good.png").read_bytes()[:-60])
    Path("photos/lost.jpg").symlink_to("nowhere")
    Image.new("RGB", (70000, 1)).save("photos/long.png")
    photograph().save("photos/way.png")
    Path("predicted/way_mask.png").mkdir(parents=True)
    result = call("photos", "photos/picture.of.a.cat", "--overlay", "--overwrite", "--no-refine")
    assert result.code == 1
    *lines, last = result.err.splitlines()
    assert last == "predict: 7 of 9 not done: see above"
    for text in (
        "photos/empty.jpg is no picture", "photos/cut.png cannot be read (",
        "photos/lost.jpg: No such file",
        "too long: 'predicted/.xx", "too long: 'predicted/.yy", "photos/long.png: broken data",
        "Is a directory: ",
    ):  # fmt: skip
        assert sum(text in line for line in lines) == 1, text
    assert {"good_mask.png", "good_overlay.jpg", "picture.of.a_mask.png"} < {*written()}
    assert result.out.count(": object ") == 2


def test_no_photograph_or_background_is_replaced(call) -> None:
    for name in ("a.png", "a_mask.png", "ground.png"):
        photograph().save(name)
    Path("link.png").symlink_to("a.png")
    before = Path("a.png").read_bytes()
    for arguments in (
        ("a.png", "a_mask.png", "-o", "."),
        ("link.png", "-o", "a.png"),
        ("a.png", "-o", "link.png"),
        ("link.png", "-o", "ground.png", "--background", "ground.png"),
    ):
        result = call(*arguments, "--overwrite")
        assert result.code == 1 and "is one of the photographs" in result.err
    for name in ("a.png", "a_mask.png", "link.png"):
        assert Path(name).read_bytes() == before


# What is there already


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
        "threshold": None, "tta": True, "refine": True, "kind": "mask",
    }  # fmt: skip
    # A mask is the same on another background.
    Path("predicted/pet_cutout.png").unlink()
    assert call("pet.png", "--cutout", "--background", "white").code == 0


CHANGES = (
    "--threshold 0.6", "--no-tta", "--no-refine", "--model other", "--background white", "--crop",
    "the photograph",
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_made_otherwise_is_replaced_if_asked(call, change: str) -> None:
    other = other_model()
    save_model(Path("models/other.safetensors"), other.model.state_dict(), other.info)
    photograph().save("pet.png")
    assert call("pet.png", "-o", "cut.png").code == 0
    before = Path("cut.png").read_bytes()
    options = change.split() if change.startswith("--") else []
    if not options:
        photograph(box=(10, 10, 50, 40)).save("pet.png")
    result = call("pet.png", "-o", "cut.png", *options)
    assert result.code == 1 and "predict: pet.png: cut.png is there, made with" in result.err
    assert Path("cut.png").read_bytes() == before
    assert call("pet.png", "-o", "cut.png", *options, "--overwrite").code == 0
    assert call("pet.png", "-o", "cut.png", *options).out.startswith("pet.png: up to date\n")


def test_nothing_found_is_said_and_no_cutout_written(call) -> None:
    Path("photos").mkdir()
    Image.new("RGB", SIZE, (20, 20, 20)).save("photos/night.png")
    photograph().save("photos/pet.png")
    strict = ["--threshold", "0.9"]
    result = call("photos/night.png", "-o", "cut.png", *strict)
    assert result.code == 3 and not Path("cut.png").exists()
    text = "predict: photos/night.png: nothing found above 0.9: nothing was written"
    assert result.err.startswith(text) and result.err.count("\n") == 1

    result = call("photos", "--cutout", *strict)
    assert (result.code, result.err) == (0, "")
    assert "photos/night.png: nothing found\n" in result.out
    assert written() == ["night_mask.png", "pet_cutout.png", "pet_mask.png"]
    assert not pixels_of(Path("predicted/night_mask.png")).any()
    assert call("photos", *strict).out.count(": up to date\n") == 2
    # A cut-out of other settings goes.
    Path("predicted/night_cutout.png").touch()
    assert call("photos", "--cutout", *strict, "--overwrite").code == 0
    assert written() == ["night_mask.png", "pet_cutout.png", "pet_mask.png"]


# Errors of a whole run


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["empty"], "empty: no pictures in this folder"),
        (["empty", "-o", "x.png"], "--out x.png: holds one result of one photograph: name a"),
        (["pet.png", "-o", "x.webp"], "--out x.webp: must be a .png or .jpg, or a folder"),
        (["pet.png", "-o", "x.jpg"], "JPEG blurs a mask and has no transparency: name a .png"),
        (["pet.png", "--only", "mask", "--overlay"], "--only mask with --overlay: leave one out"),
        (["pet.png", "--background", "white"], "are for cut-outs: add --cutout"),
        (["pet.png", "--cutout", "--background", "wite"], "--background wite: no colour (as white "
         'or "#1a2b6d"), and as a picture cannot be read (No such file'),
        (["pet.png", "--threshold", "1"], "threshold = 1.0: must lie between 0 and 1"),
        (["pet.png", "--model", "mine"], "model mine: no such file, and no such model; there are"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(call, arguments: list[str], text: str) -> None:
    photograph().save("pet.png")
    Path("empty").mkdir()
    Path("empty/notes.txt").touch()
    result = call(*arguments)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("predict: ") and result.err.count("\n") == 1
    assert text in result.err
    assert not Path("predicted").exists() and not list(Path().glob("x.*"))


def test_arguments_that_it_does_not_take_are_named(call) -> None:
    for arguments, text in (
        ([], "the following arguments are required: PHOTO-OR-FOLDER"),
        (["pet.png", "--colour"], "unrecognized arguments: --colour"),
        (["pet.png", "--batch-size", "0"], "--batch-size 0: must be at least 1"),
        (["pet.png", "--model", ""], "an argument is empty"),
    ):
        result = call(*arguments)
        assert (result.code, result.out) == (2, "") and text in result.err


# In a process of its own


def test_a_photograph_goes_through_pipes(call, trained: Path) -> None:
    photograph().save("pet.jpg", exif=turned())
    assert call("pet.jpg", "-o", "cut.png", "--model", str(trained)).code == 0
    done = subprocess.run(
        [sys.executable, "-m", "tools.predict", "-", "-o", "-", "--model", trained], check=True,
        input=Path("pet.jpg").read_bytes(), capture_output=True,
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == Path("cut.png").read_bytes()
    lines = done.stderr.decode().splitlines()
    assert "/stdin: object " in lines[0] and lines[1].endswith(", into -")
    assert sorted(path.name for path in Path().iterdir()) == ["cut.png", "models", "pet.jpg"]


@pytest.mark.slow
def test_installed_it_needs_neither_the_repository_nor_dvc(trained: Path, tmp_path: Path) -> None:
    """Nor a model's name: the default model comes with it, and no other."""
    source, environment, work = (tmp_path / name for name in ("source", "environment", "work"))
    work.mkdir()
    shutil.copytree(ROOT / "unet", source / "unet", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tools", source / "tools")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "released").mkdir()
    for name in (f"{DEFAULT}.safetensors", f"{DEFAULT}.md", "other.safetensors"):
        shutil.copy(trained, source / "released" / name)
    # What is installed here serves there too, so that nothing is downloaded; the package is new.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")

    def python(*arguments: str | Path) -> list[str]:
        return subprocess.run(
            [scripts / "python", *arguments], cwd=work, env=clean, check=True, capture_output=True,
            text=True,
        ).stdout.splitlines()  # fmt: skip

    (packages,) = python("-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    Path(packages, "running.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    python("-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation", source)
    shutil.rmtree(source)

    photograph().save(work / "pet.png")
    subprocess.run([scripts / "unet-predict", "pet.png"], cwd=work, env=clean, check=True)
    assert iou(pixels_of(work / "predicted/pet_mask.png") == 255, truth()) > 0.75
    look = """
import sys, importlib.util
import unet.inference.command
heavy = {"dvc", "pandas", "pydantic", "matplotlib", "scipy", "ruamel"}
print(unet.__path__[0])
print(sorted(heavy & sys.modules.keys()))
print([name for name in ("stages", "tools", "tests") if importlib.util.find_spec(name)])
"""
    place, imported, found = python("-c", look)
    assert Path(place).is_relative_to(environment) and imported == found == "[]"
    installed = {path.relative_to(place) for path in Path(place).rglob("*.*")}
    modules = {path.relative_to(ROOT / "unet") for path in (ROOT / "unet").rglob("*.py")}
    assert {path for path in installed if "__pycache__" not in path.parts} == (
        modules | {Path(f"released/{DEFAULT}.safetensors")}
    )
