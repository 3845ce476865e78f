"""The ablation: its differences, records and tables, what its stages declare, and one real run."""

import json
import shutil
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from research.ablation import report
from research.ablation.design import CELLS, DESIGNS, FACTORS, HERE, NAMED, NUMBERS, Design
from research.ablation.gather import gather
from research.ablation.inference import INTERACTIONS, MAIN, PAIRS, contrasts, effects
from research.ablation.train import experiment_of, recipe
from tests.repo import ROOT, TINY, commit_all, copy_repository, run
from tests.tiny import tiny_config
from tools.same import SMALL, make_small
from unet.config import load_params
from unet.report.tables import fill

DESIGN = Design("official", 32, 4, 2, "none", 1, "cpu", [0, 1, 2])
STAGES = yaml.safe_load((ROOT / HERE / "dvc.yaml").read_text())["stages"]


def record(**planted: float) -> pd.DataFrame:
    """A made-up record: IoU with ``planted`` effects (``a__b`` for interactions) and noise."""
    rng = np.random.default_rng(0)
    rows = []
    for cell, number in product(CELLS, DESIGN.seeds):
        levels = dict(zip(FACTORS, cell.split("-"), strict=True))
        signs = {f: 0.5 if levels[f] == FACTORS[f][0] else -0.5 for f in FACTORS}
        iou = 0.7 + rng.normal(scale=1e-4)
        for term, effect in planted.items():
            iou += effect * np.prod([signs[factor] for factor in term.split("__")])
        row = levels | {"seed": number} | DESIGN.settings
        row |= {"epochs": 2, "torch": "t", "device": "cpu", "device_name": "a CPU"}
        rows.append(row | dict.fromkeys(NUMBERS, iou))
    return pd.DataFrame(rows)


def test_differences_are_those_of_means() -> None:
    frame = record(loss=0.02, downsample__loss=0.01)
    found = effects(frame, "iou", [*MAIN, *INTERACTIONS, *PAIRS])["estimate"]
    for factor, (first, second) in FACTORS.items():
        means = frame.groupby(factor)["iou"].mean()
        assert found[factor] == pytest.approx(means[first] - means[second])
    at = frame.groupby(["downsample", "loss"])["iou"].mean()
    by_loss = {loss: at["mp", loss] - at["str_conv", loss] for loss in ("bce", "dice")}
    assert found["downsample:loss"] == pytest.approx(by_loss["bce"] - by_loss["dice"])
    means = {key: runs["iou"].mean() for key, runs in report.by_key(frame).items()}
    for pair in PAIRS:
        first, second = pair.split(" - ")
        assert found[pair] == pytest.approx(means[first] - means[second])
    assert found["loss"] == pytest.approx(0.02, abs=1e-3)
    assert len(found) == len(contrasts()) == 3 + 3 + 6


# Designs and runs


def test_runs_are_gathered_if_they_are_alike(tmp_path: Path) -> None:
    frame = record()
    for name, row in zip(DESIGN.run_names(CELLS), frame.to_dict("records"), strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(row))
    pd.testing.assert_frame_equal(gather(tmp_path, CELLS, DESIGN), frame)
    file = tmp_path / "mp-ups-dice-1.json"
    row = json.loads(file.read_text())
    for column, value in {"width": 8, "torch": "x", "device": "cuda", "epochs": 3}.items():
        file.write_text(json.dumps(row | {column: value}))
        with pytest.raises(ValueError, match=f"runs with {column} = {row[column]}, {value}"):
            gather(tmp_path, CELLS, DESIGN)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=file.name):
        gather(tmp_path, CELLS, DESIGN)


def test_named_experiments_are_their_cells() -> None:
    assert list(NAMED) == list(report.PUBLISHED)
    experiments = load_params(ROOT / "params.yaml").experiments
    for key, experiment in experiments.items():
        if key in NAMED and experiment.depth == 4:  # others are a user's own
            design = replace(DESIGN, depth=4, width=experiment.width, image_size=128)
            assert experiment_of(f"{NAMED[key]}-2", CELLS, design) == (experiment, 2)


def test_no_epoch_is_chosen() -> None:
    # The few images that a run validates on are test images of the sorted split.
    own = {"amp": "auto", "threads": "auto", "device": "auto", "seed": 3}
    config = tiny_config(keep="best", start_from="released", boundary="object", **own)
    expected = tiny_config(keep="last", amp="none", threads=1, device="cpu", seed=1)
    assert recipe(config, DESIGN, 1) == expected


# Figure and tables


def test_pages_say_what_the_record_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for path, tables in report.blocks().items():
        text = path.read_text(encoding="utf-8")
        assert fill(text, tables) == text, f"{path} is stale: run `make readme`"


# A real run


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this repository with tiny params and drawn archives in data/raw."""
    repository = copy_repository(tmp_path_factory.mktemp("ablation") / "repository")
    make_small(repository, SMALL | TINY)
    shutil.rmtree(repository / HERE / "runs")  # they have other params
    commit_all(repository)
    run(repository, "dvc", "repro", "-q", "download")
    return repository


@pytest.mark.slow
def test_a_run_trains_and_is_no_record_alone(repository: Path) -> None:
    project = repository / HERE
    run(project, "dvc", "repro", "pack@factorial")
    run(project, "dvc", "repro", "-s", "factorial@mp-tr-bce-0")
    row = json.loads((project / "runs/factorial/mp-tr-bce-0.json").read_text())
    assert (row["downsample"], row["seed"], row["width"], row["epochs"]) == ("mp", 0, 4, 2)
    assert {*row} == {*record().columns, "threshold"}
    assert abs(row["iou_mirrored"] - row["iou"]) < 0.1
    counts = pd.read_csv(project / "runs/factorial/mp-tr-bce-0.csv", index_col="name").sum()
    assert counts["tp"] / (counts.sum() - counts["tn"]) == pytest.approx(row["iou"])
    assert (counts["tp"] + counts["tn"]) / counts.sum() == pytest.approx(row["accuracy"])
    assert not list(project.glob(".checkpoints/*/*/state.bin"))

    alone = run(project, "dvc", "repro", "-s", "gather@factorial", check=False)
    assert alone.returncode != 0 and "Traceback" not in alone.stdout
    assert "mp-tr-bce-1.json" in alone.stdout


@pytest.mark.parametrize("design", DESIGNS)
def test_the_study_trains_the_cells_that_its_claims_need(design: str) -> None:
    matrix = dict(STAGES[design]["matrix"])
    assert STAGES[design]["vars"] == [{"design": design}]
    assert matrix.pop("seed") == f"${{{design}.seeds}}"
    assert ["-".join(levels) for levels in product(*matrix.values())] == DESIGNS[design]
    for stage in ("pack", "gather"):
        assert STAGES[stage]["matrix"]["design"] == list(DESIGNS)
    for part in ("cmd", "params", "deps", "outs"):
        assert STAGES[design][part] == STAGES["factorial"][part]


def test_a_run_needs_no_dvc() -> None:
    modules = ("pack", "train", "gather")
    code = "".join(f"import research.ablation.{name}\n" for name in modules)
    seen = "import sys\nprint([name for name in sys.modules if name.startswith('dvc')])"
    assert run(ROOT, sys.executable, "-c", code + seen).stdout.strip() == "[]"
    assert run(ROOT, sys.executable, "-c", f"import dvc\n{seen}").stdout.strip() != "[]"
