"""The benchmarks run, count what they say they count, and their page shows their results."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from research.benchmarks import report
from research.benchmarks.common import in_turns
from research.benchmarks.plain import plain_model
from research.benchmarks.shortcuts import WAYS
from research.benchmarks.speed import SUITES, Case, measure
from tests.repo import copy_repository, make_tiny, run
from unet.model import UNet
from unet.report.tables import fill

TINY = Case(width=4, size=32, batch_size=8, num_images=32)


def test_the_page_shows_the_results() -> None:
    text = report.README.read_text(encoding="utf-8")
    shown = {name.partition("-")[0] for name in report.blocks()}
    others = {"pipeline", "quality", "shortcuts", "few_photos"}
    assert shown == SUITES.keys() - {"graphs"} | others  # that one has not run as it is
    assert "<!-- few_photos -->" in text
    for page, made in report.pages().items():
        text = page.read_text(encoding="utf-8")
        assert fill(text, made) == text, f"{page}: python -m research.benchmarks.report"


def test_a_way_that_does_not_pass_the_bar_is_not_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def epochs(*accuracies: float) -> list[dict]:
        return [
            {"val_accuracy": a, "val_accuracy_averaged": 0.92, "seconds": 10.0} for a in accuracies
        ]

    runs = [
        {"way": "short", "seed": 0, "epochs": epochs(0.90, 0.92)},
        {"way": "short", "seed": 1, "epochs": epochs(0.90, 0.90)},
    ]
    monkeypatch.setattr(report, "read_results", lambda _: {"runs": runs})
    live, averaged = report.shortcuts("shortcuts").splitlines()[2:]
    assert live.split(" | ")[1:3] == ["2, -", "-"]
    assert averaged.split(" | ")[1:3] == ["1, 1", "10 (10, 10)"]


def test_a_bar_is_passed_once() -> None:
    epochs = pd.DataFrame(
        {"val_accuracy": [0.5, 0.92, 0.90, 0.925], "gflop": [1e3] * 4, "seconds": [10, 20, 30, 40]}
    )
    assert report.until_bars(epochs) == {
        "to 91%": "epoch 2: 2 TFLOP, 30 s",
        "to 93%": "not in 4 epochs: 4 TFLOP, 100 s",
        "best accuracy": "92.50%",
    }


def test_the_readme_says_what_few_photographs_gave() -> None:
    runs = report.read_results("few_photos")["runs"]
    iou = pd.DataFrame([run["iou"] for run in runs]).median()
    text = (report.ROOT / "README.md").read_text(encoding="utf-8")
    text = " ".join(text.split())
    assert f"IoU {iou['from the released model, max_lr 0.001']:.2f} on 400 other" in text
    assert f"200 from random weights {iou['from random weights, max_lr 0.004']:.2f}," in text
    assert f"`mp_tr_bce` without training {iou['the released model as it is']:.2f} (" in text


@pytest.mark.parametrize("changes", [{}, {"data": "mapped"}, {"work": "evaluation"}])
def test_a_case(changes: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    figures = measure(replace(TINY, **changes), seconds=0.2)
    assert figures["images_per_second"] > 0
    # 3 x 3 convolutions of the first level alone; forward, or forward and backward.
    first = 2 * 32 * 32 * 9 * (3 * 4 + 4 * 4 + 8 * 4 + 4 * 4) / 1e9
    passes = 1 if changes.get("work") == "evaluation" else 2.5
    assert figures["gflop_an_image"] > passes * first
    assert figures["peak_gflops"] > 0


def test_works_are_taken_in_turns() -> None:
    done: list[str] = []
    works = {name: lambda name=name: done.append(name) for name in "ab"}
    seconds = in_turns(works, rounds=3)
    assert done == list("ab" * 4)
    assert all(len(values) == 3 for values in seconds.values())


def test_the_plain_model_is_torch_s_own() -> None:
    torch.manual_seed(0)
    model = plain_model(4)
    assert model.state_dict().keys() == UNet(width=4).state_dict().keys()
    assert model.head.weight.abs().max() > 0
    assert (model.pixel_mean == 0).all() and (model.pixel_std == 1).all()


def test_the_loops_train_on_the_dataset_s_files(tmp_path: Path) -> None:
    repository = copy_repository(tmp_path / "repo")
    make_tiny(repository)
    for stage in ("download", "preprocess"):
        run(repository, sys.executable, "-m", f"stages.{stage}")
    folder = f"TMPDIR={tmp_path}"
    case = json.dumps(asdict(replace(TINY, loop="plain")))
    module = (sys.executable, "-m", "research.benchmarks.speed")
    done = run(repository, "env", folder, *module, "--case", case, "--seconds", "1")
    assert json.loads(done.stdout.splitlines()[-1])["images_per_second"] > 0
    results = repository / "research/benchmarks/results"
    (results / "quality.json").unlink()
    module = (sys.executable, "-m", "research.benchmarks.quality")
    run(repository, "env", folder, *module, "fast", "--width", "4", "--seeds", "0", "1")
    runs = json.loads((results / "quality.json").read_text())
    assert [run["seed"] for run in runs] == [0, 1]
    sizes = [epoch["size"] for epoch in runs[0]["epochs"]]
    assert len(sizes) == 6 and sizes == sorted(sizes) and sizes[0] == 16 and sizes[-1] == 32
    assert all(0 <= epoch["val_accuracy"] <= 1 for run in runs for epoch in run["epochs"])
    run(repository, "env", folder, *module, "plain", "--width", "4")
    runs = json.loads((results / "quality.json").read_text())
    (plain,) = (run for run in runs if run["recipe"] == "plain")
    assert len(plain["epochs"]) == 15
    assert all(0 <= epoch["val_accuracy_at_half"] <= 1 for epoch in plain["epochs"])
    module = (sys.executable, "-m", "research.benchmarks.shortcuts")
    run(repository, "env", folder, *module, "--width", "4", "--seeds", "0")
    runs = json.loads((results / "shortcuts.json").read_text())["runs"]
    assert [(run["way"], run["seed"]) for run in runs] == [(way, 0) for way in WAYS]
    by_way = {run["way"]: pd.DataFrame(run["epochs"]) for run in runs}
    assert [len(epochs) for epochs in by_way.values()] == [way.epochs for way in WAYS.values()]
    full, growing, batches, _ = by_way.values()
    assert (full["size"] == 32).all() and growing["size"].tolist() == sizes
    assert batches["batch_size"].tolist() == [16 if size < 32 else 8 for size in sizes]
    assert growing["gflop"].sum() < full["gflop"].sum()
