"""The page's section for photographs, in a browser: what it finds is what Python finds."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from tests.photographs import iou, pixels_of
from unet.inference.model_file import TrainedModel, find_model, load_model
from unet.inference.pictures import cutout_picture
from unet.inference.predict import predict, to_picture
from unet.report.page import data_url, fill_page
from unet.report.page_models import page_models

PAGE = Path("page")
NATIVE = Path("../shared/oxford-native-60/images.tar.gz")
VARIANTS = ["mp_tr_bce", "str_ups_dice"]
READY = (PAGE / "node_modules").is_dir() and shutil.which("chromium") and shutil.which("node")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not READY, reason="needs chromium, and `npm ci` in page/"),
]


def write_photos(folder: Path) -> list[Path]:
    """Twenty photographs of many forms."""
    cat, dog, spaniels = (Image.open(f"examples/{n}.jpg") for n in ("cat", "dog", "spaniels"))
    small = ImageOps.contain(cat, (480, 480))
    exif = Image.Exif()
    for tag in range(1, 9):
        exif[0x0112] = tag
        small.save(folder / f"exif{tag}.jpg", exif=exif)
    cut = dog.crop((0, 0, 611, 433))
    cut.convert("L").save(folder / "grey.jpg")
    cut.save(folder / "progressive.jpg", progressive=True)
    cut.save(folder / "odd.webp", lossless=True)
    cut.quantize(64).save(folder / "palette.gif")
    clear = ImageOps.contain(dog, (500, 500)).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(folder / "clear.png")
    dog.resize((31, 17)).save(folder / "tiny.png")
    small.resize((1201, 45)).save(folder / "panorama.png")
    spaniels.resize((90, 1107)).save(folder / "tower.jpg", quality=90)
    cat.resize((4000, 3000)).save(folder / "large.jpg")
    written = sorted(folder.iterdir())
    return written + [Path(f"examples/{name}.jpg").resolve() for name in ("cat", "dog", "spaniels")]


@pytest.fixture(scope="module")
def pets() -> TrainedModel:
    return load_model(find_model("pets"))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A folder of what the page has saved and said, and the photographs that it was given."""
    folder, photos = tmp_path_factory.mktemp("shown"), tmp_path_factory.mktemp("photos")
    models = page_models(Path(), VARIANTS)
    record = {
        "about": "",
        "models": [{"key": key, **about} for key, (about, _) in models.items()],
        "examples": [{"name": "dog", "url": data_url(Path("examples/dog.jpg").read_bytes())}],
    }
    packed = {f"model-{key}": content for key, (_, content) in models.items()}
    (folder / "page.html").write_text(fill_page("", record, packed), encoding="utf-8")
    given = write_photos(photos)
    command = ["node", PAGE / "tests/photo.mjs", folder / "page.html", folder, *given]
    subprocess.run(command, check=True, timeout=1800)
    return folder, given
