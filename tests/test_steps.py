"""The number of steps, known before any training begins."""

from pathlib import Path

import pytest

from stages import preprocess as stage
from tests.repo import ROOT, make_tiny
from unet.runtime.config import load_section
from unet.training.steps import SCRATCH, Length, start_file


def test_a_start_is_a_file_or_a_folders_file_of_the_key(tmp_path: Path) -> None:
    for scratch in (SCRATCH, f"./{SCRATCH}", f"../{SCRATCH}", f"/elsewhere/{SCRATCH}"):
        assert start_file(scratch, "pets") is None
    assert start_file(str(tmp_path), "pets") == tmp_path / "pets.safetensors"
    assert start_file("some.safetensors", "pets") == Path("some.safetensors")


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
    assert load_section("train", Length) == Length(2 if few else 200, 8, SCRATCH)
    stage.main()
    # 22 drawn images are for training, in batches of 8.
    assert ("training: 6 steps are few" in capsys.readouterr().out) == few
