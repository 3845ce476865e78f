"""The stage ``train``: what makes a training the same one, what it leaves and what it tells."""

import csv
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from stages import train as stage
from tests.repo import make_tiny
from tests.tiny import CPU, tiny_config, tiny_experiment
from unet.config import load_params
from unet.data.packing import pack_into
from unet.runtime.device import device_name
from unet.runtime.source import source_hashes
from unet.training.checkpoint import KEPT_FOR, STATE
from unet.training.loop import Training

KEY = "mp_tr_bce"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Path:
    params = load_params()
    folder = tmp_path_factory.mktemp("packed") / "packed"
    data = replace(params.data, source="synthetic", num_synthetic=48)
    pack_into(folder, raw, data, replace(params.preprocess, image_size=16))
    return folder


@pytest.fixture
def folder(tmp_path: Path, root: Path, packed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to train in, with a copy of the code that is hashed."""
    for name in ("unet", "stages"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/packed").symlink_to(packed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(stage, "source_hashes", lambda module: source_hashes(module, tmp_path))
    return tmp_path


def train(**changes: Any) -> None:
    config = tiny_config(**{"batch_size": 16, "threads": 1} | changes)
    stage.train_one(KEY, tiny_experiment(), config, CPU)


def train_and_stop(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    """Train for an epoch and break off in the second; where the state lies."""
    before = set(Path(".checkpoints").glob(f"{KEY}/*/{STATE}"))

    def write_csv(path: Path, rows: list) -> None:
        if len(rows) > 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage, "write_csv", write_csv)
        train(**changes)
    (state,) = set(Path(".checkpoints").glob(f"{KEY}/*/{STATE}")) - before
    return state.parent


def fingerprint_of(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str:
    """The name of the training that the stage would begin."""
    names: list[str] = []

    def stop(*_args: Any, checkpoint: Path, **_options: Any) -> None:
        names.append(checkpoint.name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage, "train", stop)
        train(**changes)
    return names[0]


def test_what_makes_another_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint_of(monkeypatch)
    path = folder / "unet/training/loop.py"
    source = path.read_text(encoding="utf-8")
    path.write_text(f"# A comment.\n{source}# Another.\n", encoding="utf-8")
    assert fingerprint_of(monkeypatch) == before
    # Evaluation is no part of it.
    (folder / "unet/inference/evaluation.py").write_text("X = 1\n")
    assert fingerprint_of(monkeypatch) == before
    changed = source.replace("1_000_003", "1_000_033")
    assert changed != source
    path.write_text(changed, encoding="utf-8")
    assert fingerprint_of(monkeypatch) != before
    path.write_text(source, encoding="utf-8")
    assert fingerprint_of(monkeypatch, seed=1) != before
    assert fingerprint_of(monkeypatch) == before


def test_what_auto_finds_is_no_part_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for amp, threads in (("none", 1), ("bf16", 2)):
        monkeypatch.setattr("unet.training.loop.resolve_amp", lambda *_, amp=amp: amp)
        monkeypatch.setattr("unet.training.loop.fastest_threads", lambda _, n=threads: n)
        names.add(fingerprint_of(monkeypatch, amp="auto", threads="auto"))
    assert len(names) == 1


def test_another_trainings_state_is_told_and_kept_for_a_week(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        return "".join(capsys.readouterr())

    other = train_and_stop(monkeypatch, epochs=3)
    assert "starts anew" not in said(), "there is none to speak of"
    train(epochs=2)
    text = said()
    assert f"{KEY}: starts anew; 1 unfinished training(s) of other params, code or data" in text
    assert str(other) in text and "another train.epochs is another training" in text
    assert [path.parent for path in Path(".checkpoints").glob(f"{KEY}/*/{STATE}")] == [other]

    train(epochs=3)
    text = said()
    assert "starts anew" not in text and "resumes after epoch 1 of 3" in text
    assert not other.exists()

    other = train_and_stop(monkeypatch, epochs=3)
    written = time.time() - KEPT_FOR - 1
    os.utime(other / STATE, (written, written))
    train(epochs=2)
    assert not other.exists()


def test_a_damaged_state_is_told_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = train_and_stop(monkeypatch) / STATE
    state.write_bytes(state.read_bytes()[:-1])
    capsys.readouterr()
    train()
    assert "".join(capsys.readouterr()).count("is damaged: the training starts anew") == 1


def test_the_cpu_is_named_beside_the_seconds_and_nowhere_else(folder: Path) -> None:
    train()
    with Path(f"plots/timing/{KEY}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["device"] for row in rows] == [device_name(CPU)] * 3
    with safe_open(f"models/{KEY}.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert '"device": "cpu"' in metadata["unet"]
    for path in (*Path("models").iterdir(), *Path("plots/curves").iterdir()):
        assert device_name(CPU).encode() not in path.read_bytes(), path


def test_params_that_change_while_it_trains_are_not_recorded_for_it(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = folder / "params.yaml"
    params.write_text((root / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    make_tiny(folder)
    before = params.read_text(encoding="utf-8")
    real = stage.train

    def train_and_change(*args: Any, **options: Any) -> Training:
        training = real(*args, **options)
        params.write_text(before.replace("epochs: 2", "epochs: 3"), encoding="utf-8")
        return training

    monkeypatch.setattr("sys.argv", ["train", KEY])
    with monkeypatch.context() as patch:
        patch.setattr(stage, "train", train_and_change)
        with pytest.raises(ValueError, match=f"params.yaml changed while {KEY} trained"):
            stage.main()
    assert not (folder / f"models/{KEY}.safetensors").exists()
    assert list((folder / f".checkpoints/{KEY}").glob(f"*/{STATE}"))

    params.write_text(before, encoding="utf-8")
    stage.main()  # from the state that was kept
    assert (folder / f"models/{KEY}.safetensors").exists()
    assert not list((folder / f".checkpoints/{KEY}").glob(f"*/{STATE}"))
