"""The stage ``train``: what makes another training, what it starts from and what it writes."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages import train as stage
from stages.code import check_is_here
from tests.repo import ROOT, make_tiny
from tests.tiny import pack_drawn, tiny_config, tiny_experiment
from tools import profile
from unet.inference.model_file import TrainedModel, load_model
from unet.runtime.files import file_sha256
from unet.runtime.source import source_hashes
from unet.training.checkpoint import STATE
from unet.training.start import SCRATCH, load_start, start_file

KEY = "mp_tr_bce"
MODEL = Path(f"models/{KEY}.safetensors")
START = Path("start/some.safetensors")
GENTLE = {"epochs": 1, "max_lr": 1e-6}  # a training that leaves the weights almost as they are


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Path:
    return pack_drawn(tmp_path_factory.mktemp("packed") / "packed", raw, image_size=16)


@pytest.fixture
def folder(tmp_path: Path, packed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to train in, with a copy of the code that is hashed."""
    for name in ("unet", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/packed").symlink_to(packed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train", KEY])
    monkeypatch.setattr(
        "unet.training.checkpoint.source_hashes", lambda module: source_hashes(module, tmp_path)
    )
    return tmp_path


def train(*, threshold: float | str = "auto", **changes: Any) -> TrainedModel:
    experiment = asdict(tiny_experiment(threshold=threshold))
    config = asdict(tiny_config(**{"batch_size": 16} | changes))
    params = {"train": config, "experiments": {KEY: experiment}}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    stage.main()
    return load_model(MODEL)


def interrupt(*_args: Any, **_options: Any) -> None:
    raise KeyboardInterrupt


def fingerprint_of(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str:
    """The name of the training that the stage would begin."""
    names: list[str] = []

    def stop(*_args: Any, checkpoint: Path, **_options: Any) -> None:
        names.append(checkpoint.name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage, "fit", stop)
        train(**changes)
    return names[0]


def test_what_makes_another_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint_of(monkeypatch)
    path = folder / "unet/training/loop.py"
    source = path.read_text(encoding="utf-8")
    path.write_text(f"# A comment.\n{source}# Another.\n", encoding="utf-8")
    # Neither evaluation nor what is written afterwards is part of it.
    (folder / "unet/inference/evaluation.py").write_text("X = 1\n")
    assert fingerprint_of(monkeypatch, threshold=0.7, store="float16") == before
    changed = source.replace("1_000_003", "1_000_033")
    assert changed != source
    path.write_text(changed, encoding="utf-8")
    assert fingerprint_of(monkeypatch) != before
    path.write_text(source, encoding="utf-8")
    assert fingerprint_of(monkeypatch, seed=1) != before
    assert fingerprint_of(monkeypatch) == before


@pytest.mark.parametrize("what", ["params.yaml", str(START)])
def test_what_changes_while_it_trains_is_not_recorded_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    train(seed=1)
    START.parent.mkdir()
    MODEL.rename(START)
    real: Callable = stage.fit
    before: list[bytes] = []

    def fit_and_change(*args: Any, **options: Any) -> tuple:
        result = real(*args, **options)
        before.append(Path(what).read_bytes())
        Path(what).write_bytes(before[0].replace(b"epochs: 3", b"epochs: 4") + b"\n")
        return result

    with monkeypatch.context() as patch:
        patch.setattr(stage, "fit", fit_and_change)
        with pytest.raises(ValueError, match=f"{what} changed while {KEY} trained"):
            train(start_from=str(START))
    assert not MODEL.exists()
    assert list(Path(f".checkpoints/{KEY}").glob(f"*/{STATE}"))
    Path(what).write_bytes(before[0])
    monkeypatch.setattr("unet.training.loop.train_epoch", None)  # the state that was kept is enough
    stage.main()
    assert MODEL.exists()
    assert not list(Path(f".checkpoints/{KEY}").glob(f"*/{STATE}"))


def test_few_steps_are_said_when_a_training_begins(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """22 drawn images are for training, in batches of 16."""
    for epochs, few in ((3, True), (100, False)):
        with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
            patch.setattr("unet.training.loop.train_epoch", interrupt)
            train(epochs=epochs)
        text = f"{KEY}: {2 * epochs} steps are few"
        assert (text in "".join(capsys.readouterr())) == few


# What a training starts from


def test_a_start_is_a_file_or_a_folders_file_of_the_key(tmp_path: Path) -> None:
    for scratch in (SCRATCH, f"./{SCRATCH}", f"../{SCRATCH}", f"/elsewhere/{SCRATCH}"):
        assert start_file(scratch, "pets") is None
    assert start_file(str(tmp_path), "pets") == tmp_path / "pets.safetensors"
    assert start_file("some.safetensors", "pets") == Path("some.safetensors")


def make_start(path: Path = START, **changes: Any) -> Path:
    """A model; ``changes`` are of the training that made it."""
    train(**changes)
    path.parent.mkdir(exist_ok=True)
    return Path(shutil.copy2(MODEL, path))


def test_it_begins_with_the_weights_of_the_file_or_of_the_folders_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = make_start(Path(f"start/{KEY}.safetensors"), seed=1)
    (folder / "start/other.safetensors").write_bytes(b"another's, not looked at")

    def distance(**changes: Any) -> float:
        """The largest difference of a trained parameter from that in the file."""
        models = (train(**GENTLE, **changes)[0], load_model(start)[0])
        pairs = zip(*(model.parameters() for model in models), strict=True)
        return max((found - given).abs().max().item() for found, given in pairs)

    assert distance() > 0.1, "random weights of another seed"
    assert "start_from" not in load_model(MODEL)[1]
    for start_from in (str(start), "start"):
        assert distance(start_from=start_from) < 1e-4
        assert f"starts at epoch 1 of 1 from {start}, " in "".join(capsys.readouterr())
        recorded = f"{start.name}, SHA-256 {file_sha256(start)}"
        assert load_model(MODEL)[1]["start_from"] == recorded


def test_another_architecture_is_refused_in_one_line(folder: Path) -> None:
    make_start()
    _, info = load_model(START)
    others = {"downsample": "str_conv", "upsample": "ups", "width": 5, "depth": 3}
    for name, value in others.items():
        with pytest.raises(ValueError) as error:
            load_start(str(START), "other", vars(tiny_experiment(**{name: value})))
        text = str(error.value)
        assert f"{name} {info[name]}" in text and f"{name} {value}" in text and "\n" not in text
        assert str(START) in text and "train@KEY" in text
    # The loss is no part of it.
    assert load_start(str(START), "other", vars(tiny_experiment(loss="dice"))).weights


def test_what_is_missing_is_told_before_anything_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "copy").mkdir()
    (folder / "here.safetensors").touch()
    check_is_here("train.start_from", "here.safetensors", "name one")
    with pytest.raises(ValueError, match="train.start_from = nowhere: no such file.*; name one"):
        check_is_here("train.start_from", "nowhere", "name one")
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.chdir(folder / "copy")
    there = folder / "here.safetensors"
    with pytest.raises(ValueError, match=f"in a copy of the repo.*absolute path, {there}"):
        check_is_here("train.start_from", "here.safetensors", "name one")
    check_is_here("train.start_from", str(there), "name one")


def test_a_profile_is_a_trace_of_the_trainings_operations(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy2(ROOT / "params.yaml", folder)
    make_tiny(folder)
    monkeypatch.setattr(profile, "NUM_STEPS", 2)
    profile.main()
    trace = gzip.decompress(Path(f"profile/{KEY}.json.gz").read_bytes())
    names = [event.get("name") for event in json.loads(trace)["traceEvents"]]
    assert names.count("aten::grid_sampler_2d") == 4  # images and targets of two steps
    assert "aten::convolution_backward" in names
    assert "aten::convolution_backward" in capsys.readouterr().out
