"""The number of steps, known before any training begins."""

import sys
from pathlib import Path

import pytest

from stages import preprocess as stage
from tests.repo import ROOT, make_tiny, run
from unet.runtime.config import load_section
from unet.runtime.source import source_hashes
from unet.training.steps import FEW_STEPS, SCRATCH, Length


@pytest.mark.parametrize(
    ("num_images", "epochs", "batch_size", "expected"),
    [(1, 1, 16, 1), (16, 1, 16, 1), (17, 1, 16, 2), (17, 3, 16, 6), (5, 7, 1, 35)],
)
def test_the_last_batch_counts(
    num_images: int, epochs: int, batch_size: int, expected: int
) -> None:
    assert Length(epochs, batch_size, SCRATCH).num_steps(num_images) == expected


def test_what_helps_is_said_where_steps_are_few() -> None:
    length = Length(1, 8, SCRATCH)
    assert length.hint(8 * FEW_STEPS) == length.hint(8 * FEW_STEPS - 7) == ""
    text = length.hint(8 * FEW_STEPS - 8)
    assert text.startswith(f"{FEW_STEPS - 1} steps are few") and "\n" not in text
    for advice in ("train.epochs (= 1)", "train.batch_size (= 8)", "train.start_from=released"):
        assert advice in text
    assert "start_from" not in Length(1, 8, "released").hint(8), "it is set already"


def test_other_params_are_none_of_its_business(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("train: {epochs: 2, batch_size: 4, start_from: released, other: [1]}\n")
    assert load_section("train", Length, path) == Length(2, 4, "released")
    path.write_text("train: {epochs: 0, batch_size: 4}\n")
    with pytest.raises(ValueError) as error:
        load_section("train", Length, path)
    first, second = str(error.value).splitlines()
    assert "train.epochs = 0: must be greater" in first and "start_from: is missing" in second


@pytest.mark.parametrize("few", [True, False])
def test_preprocessing_says_it(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    few: bool,
) -> None:  # fmt: skip
    params = tmp_path / "params.yaml"
    params.write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    make_tiny(tmp_path)
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("epochs: 2", f"epochs: {2 if few else 200}"), encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/raw").symlink_to(raw)
    monkeypatch.chdir(tmp_path)
    stage.main()
    # 22 drawn images are for training, in batches of 8.
    assert ("training: 6 steps are few" in capsys.readouterr().out) == few


def test_preprocessing_depends_on_no_other_code_of_the_training() -> None:
    paths = {path for path in source_hashes("stages.preprocess") if "training" in path}
    assert paths == {"unet/training/steps.py"}
    code = "import sys, unet.training.steps; sys.exit('torch' in sys.modules)"
    run(ROOT, sys.executable, "-c", code)
