"""The page's section for photographs, in a browser: what it finds is what Python finds."""

import re
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from tests.browser import look, needs_browser
from tests.photographs import iou, pixels_of
from unet.inference.model_file import find_model, load_model
from unet.inference.pictures import cutout_picture
from unet.inference.predict import predict
from unet.report.page import as_table, data_url, fill_page
from unet.report.page_models import page_models

NEAREST = Image.Resampling.NEAREST
EXAMPLES = [Path(f"examples/{name}.jpg").resolve() for name in ("cat", "dog", "spaniels")]
NATIVE = Path("../shared/oxford-native-60/images.tar.gz")  # used where it is there
ALIKE = 0.99  # IoU of the page's mask and Python's
CURVE = dict.fromkeys(["epoch", "val_iou", "val_accuracy", "val_loss"], [0, 1])
VARIANTS = ["mp_tr_bce", "str_ups_dice"]


def write_photos(folder: Path) -> list[Path]:
    """Photographs of many forms, twenty with the examples."""
    cat, dog, spaniels = map(Image.open, EXAMPLES)
    small, exif = ImageOps.contain(cat, (480, 480)), Image.Exif()
    for exif[0x0112] in range(1, 9):
        small.save(folder / f"turned{exif[0x0112]}.jpg", exif=exif)
    odd = dog.crop((0, 0, 611, 433))
    odd.save(folder / "odd.jpg", progressive=True)
    odd.convert("L").save(folder / "grey.jpg")
    odd.quantize(64).save(folder / "palette.gif")
    odd.putalpha(Image.linear_gradient("L").resize(odd.size))
    odd.save(folder / "clear.png")
    odd.save(folder / "clear.webp", lossless=True)
    dog.resize((31, 17)).save(folder / "tiny.png")
    cat.resize((1201, 45)).save(folder / "panorama.png")
    spaniels.resize((90, 1107)).save(folder / "tower.jpg")
    cat.resize((4000, 3000)).save(folder / "large.jpg")
    if NATIVE.exists():
        with tarfile.open(NATIVE) as archive:
            archive.extractall(folder, archive.getmembers()[::6], filter="data")
    return [*EXAMPLES, *(path for path in sorted(folder.rglob("*")) if path.is_file())]


def write_page(file: Path) -> None:
    """A page with the models `pets` and VARIANTS."""
    models = page_models(Path(), VARIANTS)
    record = {
        "about": "", "notes": [], "looks": {"pets": ["#000000", "-"]},
        "table": as_table(pd.DataFrame()), "curves": [{"key": "pets", "loss": "bce"} | CURVE],
        "models": [{"key": key, **about} for key, (about, _) in models.items()],
        "examples": [{"name": "dog", "url": data_url(EXAMPLES[1].read_bytes())}],
    }  # fmt: skip
    packed = {f"model-{key}": content for key, (_, content) in models.items()}
    file.write_text(fill_page("", record, packed), encoding="utf-8")


@needs_browser
@pytest.mark.slow
def test_the_page_finds_what_python_finds(tmp_path: Path) -> None:
    folder, pets = tmp_path / "written", load_model(find_model("pets"))
    photos = write_photos(tmp_path)
    write_page(tmp_path / "report.html")
    said = look("photo.mjs", tmp_path / "report.html", folder, *photos, timeout=1800)
    masks = [pixels_of(folder / f"{i}.png")[..., 0] > 0 for i in range(len(photos))]

    def least_iou(chosen: list[Path], **options: float) -> float:
        """Of the page's masks and Python's."""
        found = [predict(photo, pets, **options).mask for photo in chosen]
        pairs = zip(masks[: len(chosen)], found, strict=True)
        return min(iou(a, b) if b.any() else not a.any() for a, b in pairs)

    assert least_iou(photos) >= ALIKE
    slid = predict(EXAMPLES[1], pets, threshold=0.9)
    assert iou(pixels_of(folder / "slid.png")[..., 0] > 0, slid.mask) >= ALIKE
    own, drawn = (np.asarray(p).astype(int) for p in (
        cutout_picture(slid, EXAMPLES[1]), Image.open(folder / "cutout.png")
    ))  # fmt: skip
    assert abs(own - drawn)[..., 3].mean() < 0.5
    assert abs(own - drawn)[own[..., 3] == 255].mean() < 0.5
    shares = [float(share) for share in re.findall(r"([\d.]+) % above", said)]
    for key, share in zip(VARIANTS, shares, strict=True):
        one = predict(photos[-1], load_model(find_model(key)), tta=False, refine=False)
        assert share == pytest.approx(100 * one.mask.float().mean().item(), abs=0.3)

    # Another threshold, another way to resize or other weights would be noticed.
    assert least_iou(EXAMPLES, threshold=0.45) < ALIKE
    with pytest.MonkeyPatch.context() as patched:
        resize = Image.Image.resize
        patched.setattr(Image.Image, "resize", lambda image, size, _: resize(image, size, NEAREST))
        assert least_iou(EXAMPLES) < ALIKE
    pets.model.head.weight.data *= 0.8
    assert least_iou(EXAMPLES) < ALIKE
