"""A user's own folder in the whole pipeline, under DVC."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.repo import KEYS, RUNNING, commit_all, copy_repository, make_tiny, run
from tools import page
from unet.data.synthetic import draw_animal
from unet.runtime.config import read_yaml

FIRST = KEYS[0]
OWN = ("-S", "data.source=official", "-S", "data.path=my photos")


def own_folder(folder: Path, count: int = 24) -> Path:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(count):
        image, trimap = draw_animal(np.random.default_rng([7, i]))
        name = f"{i:04}" if i else "a$_^$b"  # camera-like numbers; Matplotlib math
        image.save(folder / f"images/{name}.JPG")
        trimap.point(lambda code: 255 * (code == 1)).save(folder / f"masks/{name}_mask.png")
    return folder


def ran(output: str) -> set[str]:
    return {name.partition("@")[0] for name in RUNNING.findall(output)}


@pytest.mark.slow
def test_a_folder_through_all_stages(tmp_path: Path) -> None:
    repository = copy_repository(tmp_path)
    make_tiny(repository, keys=[FIRST])
    (repository / "dvc.lock").unlink()
    commit_all(repository)
    own = own_folder(repository / "my photos")
    output = run(repository, "dvc", "exp", "run", *OWN).stdout
    assert ran(output) == {"code", "download", "preprocess", "train", "evaluate", "plot"}
    assert "train: 17 images" in output and "masks: 24 of 0 and 255" in output
    assert list((repository / "data/raw").iterdir()) == []  # nothing was asked of the network
    lock = read_yaml(repository / "dvc.lock")["stages"]
    assert [dep["path"] for dep in lock["preprocess"]["deps"]] == [
        "code/preprocess.txt",
        "my photos",
    ]
    scores = json.loads((repository / f"metrics/scores/{FIRST}.json").read_text())
    assert scores["num_images"] == 5
    assert ran(run(repository, "dvc", "repro").stdout) == {"code"}
    table = run(repository, "python", "-m", "tools.compare").stdout
    workspace = re.findall(r"^workspace.*", table, re.MULTILINE)  # one line per table
    assert f"{scores['iou']:.4f}" in " ".join(workspace)
    shown = page.record_of(repository)
    assert shown["about"].startswith("images of my photos") and not shown["notes"]
    assert [row[0] for row in shown["table"]["rows"]] == [FIRST]
    assert any("worst test images" in picture["title"] for picture in shown["pictures"])
    assert not {"seeds", "effects", "suspects"} & shown.keys()

    tested = (repository / "data/packed/test/names.txt").read_text().split()
    mask = own / f"masks/{tested[-1]}_mask.png"
    with Image.open(mask) as image:
        corrected = Image.new("L", image.size)
    corrected.paste(255, (2, 2, 12, 9))
    corrected.save(mask)
    table = run(repository, "python", "-m", "tools.compare").stdout
    workspace = re.findall(r"^workspace.*", table, re.MULTILINE)
    assert f"{scores['iou']:.4f}" not in " ".join(workspace)  # the masks have changed since
    # A corrected test mask changes scores, no model; a stray file changes neither.
    assert ran(run(repository, "dvc", "repro").stdout) == {
        "code", "preprocess", "evaluate", "plot",
    }  # fmt: skip
    (own / "masks/Thumbs.db").write_bytes(b"no mask")
    assert ran(run(repository, "dvc", "repro").stdout) == {"code", "preprocess"}

    failed = run(repository, "dvc", "exp", "run", "-S", "data.path=nowhere", check=False)
    assert failed.returncode and ran(failed.stdout) == {"code"}
    assert "code: data.path = nowhere: no such file or folder" in failed.stdout
    assert (repository / "data/packed/dataset.json").exists()
