"""The stage ``train``: which trainings it resumes, what it writes and what it prints."""

import csv
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from stages import train as stage
from stages.code import check_is_here
from tests.repo import make_tiny
from tests.tiny import CPU, pack_drawn, tiny_config, tiny_experiment
from unet.inference.model_file import TrainedModel, load_model, save_model
from unet.runtime.device import device_name
from unet.runtime.files import file_sha256
from unet.runtime.source import source_hashes
from unet.training.checkpoint import KEPT_FOR, STATE
from unet.training.loop import Training
from unet.training.steps import SCRATCH

KEY = "mp_tr_bce"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Path:
    return pack_drawn(tmp_path_factory.mktemp("packed") / "packed", raw, image_size=16)


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


def train(*, threshold: float | str = "auto", **changes: Any) -> None:
    config = tiny_config(**{"batch_size": 16, "threads": 1} | changes)
    stage.train_one(KEY, tiny_experiment(threshold=threshold), config, CPU)


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


def test_a_threshold_of_one_s_own_is_written_and_changes_no_weight(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, info = trained_model()
    assert fingerprint_of(monkeypatch, threshold=0.7) == fingerprint_of(monkeypatch)
    other, other_info = trained_model(threshold=0.7)
    assert info["threshold"] != other_info["threshold"] == 0.7
    assert info | {"threshold": 0.7} == other_info
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def trained_model(**changes: Any) -> TrainedModel:
    train(epochs=1, **changes)
    return load_model(f"models/{KEY}.safetensors")


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


def test_the_cpu_and_torch_are_named_beside_the_seconds_and_nowhere_else(folder: Path) -> None:
    train()
    with Path(f"plots/timing/{KEY}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["device"] for row in rows] == [device_name(CPU)] * 3
    assert [row["torch"] for row in rows] == [torch.__version__] * 3
    assert list(rows[0])[-1] == "torch"
    with safe_open(f"models/{KEY}.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert '"device": "cpu"' in metadata["unet"]
    for path in (*Path("models").iterdir(), *Path("plots/curves").iterdir()):
        assert device_name(CPU).encode() not in path.read_bytes(), path


def test_rows_from_before_a_column_was_added_stay(tmp_path: Path) -> None:
    stage.write_csv(tmp_path / "rows.csv", [{"epoch": 1}, {"epoch": 2, "torch": "2.9"}])
    assert (tmp_path / "rows.csv").read_text() == "epoch,torch\n1,\n2,2.9\n"


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


# What a training starts from

START = Path("start/some.safetensors")
GENTLE = {"epochs": 1, "max_lr": 1e-6}  # a training that leaves the weights almost as they are


def make_start(path: Path = START, **changes: Any) -> Path:
    """A model; ``changes`` are of the training that made it."""
    train(**changes)
    path.parent.mkdir(exist_ok=True)
    return Path(shutil.copy2(f"models/{KEY}.safetensors", path))


def distance_from(path: Path) -> float:
    """The largest difference of a trained model's parameter from that in the file."""
    models = (load_model(file)[0] for file in (f"models/{KEY}.safetensors", path))
    pairs = zip(*(model.parameters() for model in models), strict=True)
    return max((found - given).abs().max().item() for found, given in pairs)


def metadata() -> dict[str, Any]:
    return load_model(f"models/{KEY}.safetensors")[1]


def test_it_begins_with_the_weights_of_the_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = make_start(seed=1)
    assert "start_from" not in metadata()

    train(**GENTLE)
    assert distance_from(start) > 0.1, "random weights of another seed"
    train(**GENTLE, start_from=str(start))
    assert f"starts at epoch 1 of 1 from {start}, " in "".join(capsys.readouterr())
    assert distance_from(start) < 1e-4
    assert metadata()["start_from"] == f"some.safetensors, SHA-256 {file_sha256(start)}"


def test_random_weights_by_any_name_of_theirs(folder: Path) -> None:
    train(start_from=SCRATCH)
    first = Path(f"models/{KEY}.safetensors").read_bytes()
    for other in (f"./{SCRATCH}", f"../{SCRATCH}", f"/elsewhere/{SCRATCH}"):
        train(start_from=other)
        assert Path(f"models/{KEY}.safetensors").read_bytes() == first


def test_of_a_folder_it_takes_the_experiments_own(folder: Path) -> None:
    start = make_start(Path(f"start/{KEY}.safetensors"))
    (folder / "start/other.safetensors").write_bytes(b"another's, not looked at")
    train(**GENTLE, start_from=str(folder / "start"))
    assert metadata()["start_from"] == f"{KEY}.safetensors, SHA-256 {file_sha256(start)}"
    start.unlink()
    with pytest.raises(ValueError, match=f"train.start_from = start: .* start/{KEY}.safetensors"):
        train(start_from="start")


def test_another_content_is_another_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = make_start()
    before = fingerprint_of(monkeypatch, start_from=str(start))
    os.utime(start, (0, 0))
    assert fingerprint_of(monkeypatch, start_from=str(start)) == before
    make_start(seed=1)
    assert fingerprint_of(monkeypatch, start_from=str(start)) != before


def test_another_architecture_is_refused_in_one_line(folder: Path) -> None:
    make_start()
    _, info = load_model(START)
    others = {"downsample": "str_conv", "upsample": "ups", "width": 5, "depth": 3}
    for name, value in others.items():
        experiment = tiny_experiment(**{name: value})
        with pytest.raises(ValueError) as error:
            stage.load_start(START, "other", experiment)
        text = str(error.value)
        assert f"{name} {info[name]}" in text and f"{name} {value}" in text and "\n" not in text
        assert str(START) in text and "train@KEY" in text
    # The loss is no part of it.
    assert stage.load_start(START, "other", tiny_experiment(loss="dice")).weights


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_what_is_no_model_is_refused_in_one_line(folder: Path, content: bytes | None) -> None:
    START.parent.mkdir()
    if content is not None:
        START.write_bytes(content)
    with pytest.raises(ValueError, match=f"train.start_from.*{START}") as error:
        train(start_from=str(START))
    assert "\n" not in str(error.value)


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    model, info = load_model(make_start())
    state = model.state_dict() | {"head.bias": torch.tensor([float("nan")])}
    save_model(START, state, info)
    with pytest.raises(ValueError, match="train.start_from: .*head.bias holds values"):
        train(start_from=str(START))


def test_a_start_that_changes_while_it_trains_is_not_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = make_start()
    content, before = start.read_bytes(), Path(f"models/{KEY}.safetensors").read_bytes()
    real = stage.train

    def train_and_change(*args: Any, **options: Any) -> Training:
        training = real(*args, **options)
        start.write_bytes(b"another")
        return training

    with monkeypatch.context() as patch:
        patch.setattr(stage, "train", train_and_change)
        with pytest.raises(ValueError, match=f"{start} changed while {KEY} trained"):
            train(start_from=str(start))
    assert Path(f"models/{KEY}.safetensors").read_bytes() == before
    start.write_bytes(content)
    train(start_from=str(start))  # from the state that was kept
    assert Path(f"models/{KEY}.safetensors").read_bytes() != before


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
    with pytest.raises(ValueError, match="nowhere: no such file"):
        check_is_here("train.start_from", "nowhere", "name one")
    check_is_here("train.start_from", str(there), "name one")


def test_a_link_into_models_is_refused(folder: Path) -> None:
    """DVC would delete the model before the training could read it."""
    (folder / "models").mkdir(exist_ok=True)
    (folder / "best.safetensors").symlink_to(folder / "models/mine.safetensors")
    with pytest.raises(ValueError, match="models/ is written by the trainings"):
        replace(tiny_config(), start_from="best.safetensors")
