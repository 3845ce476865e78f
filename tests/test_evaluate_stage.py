"""The stage ``evaluate``: what it prints, and what it writes for a folder of one's own."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from stages import evaluate as stage
from tests.repo import ROOT, make_tiny
from tests.tiny import CPU, pack_drawn, tiny_model
from unet.data.masks import OBJECT
from unet.data.packed import load_split
from unet.inference.evaluation import evaluate
from unet.inference.model_file import load_model, save_model
from unet.model import ARCHITECTURE, TTA
from unet.runtime.files import file_sha256

KEY = "mp_tr_bce"
MODEL, START = Path(f"models/{KEY}.safetensors"), Path(f"start/{KEY}.safetensors")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Path:
    return pack_drawn(tmp_path_factory.mktemp("packed") / "packed", raw, image_size=32)


@pytest.fixture
def folder(tmp_path: Path, packed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model that was trained on a folder of one's own, and the one before it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/packed").symlink_to(packed)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    make_tiny(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["evaluate", KEY])
    monkeypatch.setattr(stage, "save_outlines", lambda path, *_, **__: path.touch())  # it takes 1 s
    make_model(START, seed=1, source="official")
    make_model(MODEL, start_from=f"{START.name}, SHA-256 {file_sha256(START)}")
    set_params(start_from="start")
    return tmp_path


def make_model(path: Path, *, seed: int = 0, **changes: Any) -> None:
    model = tiny_model(seed, random_head=True)
    settings = zip(ARCHITECTURE, ("mp", "tr", 4, 2), strict=True)
    info = {"threshold": 0.5 - seed / 10, "epoch": 1, "boundary": "object", "source": "folder"}
    save_model(path, model.state_dict(), dict(settings) | info | changes)


def set_params(*, start_from: str, tta: bool = False) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["train"]["start_from"] = start_from
    params["evaluate"]["tta"] = tta
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def outputs() -> dict[str, bytes]:
    paths = [path for top in ("metrics", "predictions") for path in Path(top).rglob("*.*")]
    return {path.as_posix(): path.read_bytes() for path in paths}


def evaluated(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run the stage; the lines that it printed and that are not empty."""
    stage.main()
    return [line for line in capsys.readouterr().out.splitlines() if line]


@pytest.mark.parametrize(("start_from", "tta"), [("start", False), ("{absolute}", True)])
def test_it_ends_with_both_models_on_the_same_images(
    folder: Path, capsys: pytest.CaptureFixture[str], start_from: str, tta: bool
) -> None:
    set_params(start_from=start_from.format(absolute=folder / START), tta=tta)
    title, header, *rows = evaluated(capsys)
    split = load_split(Path("data/packed/test"), CPU)
    passes = "with test-time augmentation" if tta else "one pass each"
    assert title == f"{len(split)} test images, {passes}:"
    assert header.split() == ["IoU", "boundary", "IoU", "(2", "%)"]
    assert rows[0].startswith(f"{KEY} ") and "from which it started" in rows[1]
    for row, path in zip(rows, (MODEL, START), strict=True):
        model, info = load_model(path)
        scores = evaluate(
            model, split, threshold=info["threshold"], batch_size=16, device=CPU,
            boundary="object", **(TTA if tta else {}),
        ).scores  # fmt: skip
        assert row.split()[-2:] == [f"{scores[s]:.4f}" for s in ("iou", "boundary_iou")]
    assert rows[0].split()[-2:] != rows[1].split()[-2:]


@pytest.mark.parametrize("what", ["changed", "missing"])
def test_a_start_that_is_no_longer_there_is_said_in_a_line(
    folder: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    evaluated(capsys)
    before = outputs()
    make_model(START, seed=2) if what == "changed" else START.unlink()
    line, _, _, *rows = evaluated(capsys)
    assert line.startswith(f"{KEY}: the model that it started from is not scored: {START.name} ")
    assert [row.split()[0] for row in rows] == [KEY]
    assert outputs() == before


def test_the_worst_images_come_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(stage, "NUM_SHOWN", 3)
    monkeypatch.setattr(stage, "save_outlines", lambda *given, title: calls.append((*given, title)))
    stage.main()
    (path, tiles, title) = calls[0]
    assert path == Path(f"predictions/{KEY}/worst.jpg")
    split = load_split(Path("data/packed/test"), CPU)
    model, info = load_model(MODEL)
    result = evaluate(model, split, threshold=info["threshold"], batch_size=16, device=CPU,
                      boundary="object")  # fmt: skip
    worst = result.table["iou"].sort_values(kind="stable").head(3)
    assert f"3 of {len(split)} test images" in title
    for (row, iou), (caption, image, labelled, predicted) in zip(worst.items(), tiles, strict=True):
        assert caption == f"{split.names[row]}\nIoU {iou:.3f}"
        assert torch.equal(image, split.images[row])
        assert torch.equal(labelled, split.masks[row] == OBJECT)
        assert torch.equal(predicted, torch.from_numpy(result.masks[row]))
