"""The benchmarks run, count what they say they count, and their page shows their results."""

import ast
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from research.benchmarks import report
from research.benchmarks.speed import Case, measure
from tests.repo import ROOT, copy_repository, make_tiny, run
from unet.report.tables import fill

TINY = Case(width=4, size=32, batch_size=8, num_images=32)


def test_the_pages_show_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for page, tables in report.blocks().items():
        text = page.read_text(encoding="utf-8")
        assert fill(text, tables) == text, f"{page}: python -m research.benchmarks.report"


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


def test_the_loops_train_on_the_dataset_s_files(tmp_path: Path) -> None:
    repository = copy_repository(tmp_path / "repo")
    make_tiny(repository)
    for stage in ("download", "preprocess"):
        run(repository, sys.executable, "-m", f"stages.{stage}")
    folder = f"TMPDIR={tmp_path}"
    case = replace(TINY, loop="plain")
    code = f"from research.benchmarks.speed import Case, measure; print(measure({case}, 1))"
    done = run(repository, "env", folder, sys.executable, "-c", code)
    assert ast.literal_eval(done.stdout.splitlines()[-1])["images_per_second"] > 0
    results = repository / "research/benchmarks/results"
    (results / "quality.json").unlink()
    module = (sys.executable, "-m", "research.benchmarks.quality")
    run(repository, "env", folder, *module, "fast", "--width", "4", "--seeds", "0", "1")
    runs = json.loads((results / "quality.json").read_text())
    assert [run["seed"] for run in runs] == [0, 1]
    sizes = [epoch["size"] for epoch in runs[0]["epochs"]]
    assert len(sizes) == 6 and sizes == sorted(sizes) and sizes[0] == 16 and sizes[-1] == 32
    assert all(0 <= epoch["val_accuracy"] <= 1 for run in runs for epoch in run["epochs"])
