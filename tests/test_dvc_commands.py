"""DVC's ordinary commands work: where the pipeline ran, in clones, on a fresh clone."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.repo import FINISHED, ROOT, RUNNING, commit_all, copy_repository, readme_block, run
from tools.fresh import stale_stages

FIRST = FINISHED[0]
MODEL = f"models/{FIRST}.safetensors"

# Each exits with 0 in any clone, whether its data are there or not.
ANYWHERE = [
    ["status"],
    ["exp", "show"],
    ["metrics", "show"],
    ["metrics", "diff", "HEAD~1"],
    ["plots", "show"],
    ["plots", "diff", "HEAD~1"],
    ["params", "diff", "HEAD~1"],
    ["dag"],
    ["list", "."],
    ["get", ".", MODEL, "--out", "got.safetensors", "--force"],
    ["repro", "--dry", "--allow-missing"],
]
# These need the pipeline's data in the workspace or the cache.
WITH_DATA = [
    ["checkout"],
    ["list", ".", "--recursive", "--dvc-only"],
    ["exp", "save", "--name", "saved", "--force"],
    ["exp", "apply", "saved"],
    ["gc", "--workspace", "--force"],
]


IN_A_ROW = """
import json, sys
from dvc.cli import main

for command in json.loads(sys.argv[1]):
    print(f"\\0{' '.join(command)}\\0", flush=True)
    print(f"\\0{main(command)}", flush=True)
"""


def all_work(repository: Path, commands: list[list[str]]) -> None:
    """In one process, since each takes longer to start than to work."""
    output = run(repository, "python", "-c", IN_A_ROW, json.dumps(commands), check=False).stdout
    texts = output.split("\0")[1:]  # of each its words, what it printed, its status
    assert len(texts) == 3 * len(commands), output
    failed = {}
    for words, printed, status in zip(*(texts[i::3] for i in range(3)), strict=True):
        stale = set(RUNNING.findall(printed)) - {"code"}
        if status.strip() != "0" or stale or "ERROR" in printed:
            failed[words] = printed[-500:]
    assert failed == {}


def with_history(repository: Path) -> None:
    """One more commit, to compare with the one before."""
    (repository / "note.txt").write_text("a note")
    commit_all(repository)


def clone_of(repository: Path) -> Path:
    """A clone of it and of one more commit, whose ``make`` takes the environment as it is."""
    with_history(repository)
    clone = repository.parent / "clone"
    run(repository.parent, "git", "clone", "-q", str(repository), "clone")
    (clone / ".venv").mkdir()
    (clone / ".venv/ready").touch()
    return clone


@pytest.mark.slow
def test_where_the_pipeline_ran(repository: Path) -> None:
    with_history(repository)
    all_work(repository, ANYWHERE + WITH_DATA)
    status = run(repository, "dvc", "status").stdout
    assert status.split() == ["code:", "always", "changed"]
    dag = run(repository, "dvc", "dag", "--collapse-foreach-matrix").stdout
    assert "factorial" not in dag and max(map(len, dag.splitlines())) < 120


@pytest.mark.slow
def test_between_two_clones_through_a_folder(repository: Path, tmp_path: Path) -> None:
    run(repository, "dvc", "remote", "add", "-d", "storage", str(tmp_path / "storage"))
    clone = clone_of(repository)
    run(tmp_path, "git", "init", "-q", "--bare", "hub")
    for folder in (repository, clone):
        run(folder, "git", "remote", "add", "hub", str(tmp_path / "hub"))
    run(repository, "dvc", "push")
    run(repository, "dvc", "exp", "run", "-n", "mine", "-S", "train.seed=1", f"evaluate@{FIRST}")
    run(repository, "dvc", "exp", "push", "hub", "mine")
    mine = (repository / MODEL).read_bytes()

    all_work(clone, [["pull"], *WITH_DATA])
    assert (clone / MODEL).read_bytes() != mine
    run(clone, "dvc", "exp", "pull", "hub", "mine")
    assert "mine" in run(clone, "python", "-m", "tools.compare").stdout
    run(clone, "dvc", "exp", "apply", "mine")
    assert set(RUNNING.findall(run(clone, "dvc", "repro", f"evaluate@{FIRST}").stdout)) == {"code"}
    assert (clone / MODEL).read_bytes() == mine
    run(clone, "dvc", "repro", "-f", "-s", f"train@{FIRST}")
    assert (clone / MODEL).read_bytes() == mine


@pytest.mark.slow
def test_after_the_demo(repository: Path) -> None:
    """`make demo` on a clone of a record whose data are nowhere, then what DVC prints: apply."""
    makefile = repository / "Makefile"
    makefile.write_text(makefile.read_text().replace("num_synthetic=480", "num_synthetic=48"))
    # What copies leave out, and the demo's page needs.
    shutil.copy2(ROOT / "released/pets.safetensors", repository / "released")
    shutil.copytree(ROOT / "page/shell", repository / "page/shell")
    clone = clone_of(repository)
    run(clone, "make", "demo")
    assert run(clone, "git", "status", "--short").stdout == ""
    assert (clone / "demo/plots/learning_curves.png").exists()
    assert (clone / "demo/report.html").exists()
    all_work(clone, [["exp", "apply", "demo"], *WITH_DATA, *ANYWHERE])
    assert "demo" in run(clone, "python", "-m", "tools.compare").stdout


def test_a_shallow_clone_is_refused_before_anything_trains(tmp_path: Path) -> None:
    copy_repository(tmp_path / "repo")
    with_history(tmp_path / "repo")
    run(tmp_path, "git", "clone", "-q", "--depth", "1", f"file://{tmp_path}/repo", "shallow")
    (tmp_path / "shallow/.venv").mkdir()
    (tmp_path / "shallow/.venv/ready").touch()
    done = run(tmp_path / "shallow", "make", "demo", check=False)
    assert done.returncode != 0 and "git fetch --unshallow" in done.stdout
    assert "Running stage" not in done.stdout


def test_no_value_reaches_a_shell_unchecked(tmp_path: Path) -> None:
    """DVC puts the experiments' names, folds and seeds into the stages' commands."""
    harmful = f"0; touch {tmp_path}/run #"
    copy = copy_repository(tmp_path / "repo")
    for project, section, item in (
        (".", "experiments", None),
        ("everyday", "experiments", None),
        ("research/labels", "suspects", "folds"),
        ("research/ablation", "factorial", "seeds"),
    ):
        path = copy / project / "params.yaml"
        params = yaml.safe_load(path.read_text())
        if item:
            params[section][item][0] = harmful
        else:
            params[section][harmful] = params[section].popitem()[1]
        path.write_text(yaml.safe_dump(params))
        refused = run(path.parent, "dvc", "repro", "--keep-going", check=False)
        run(copy, "git", "checkout", "-q", str(path))
        assert refused.returncode != 0 and "Traceback" not in refused.stdout
        assert f"params.yaml: {section}" in refused.stdout
        assert not (tmp_path / "run").exists()


FIFTH = "\n  fifth: {downsample: mp, upsample: ups, loss: dice, width: 4, depth: 2}\n"


@pytest.mark.slow
def test_a_fifth_a_renamed_and_a_removed_experiment(repository: Path) -> None:
    params = repository / "params.yaml"
    params.write_text(params.read_text().rstrip() + FIFTH)
    output = run(repository, "dvc", "repro").stdout
    assert set(RUNNING.findall(output)) == {"code", "train@fifth", "evaluate@fifth", "plot"}
    assert "fifth" in run(repository, "python", "-m", "tools.compare").stdout
    shown = run(repository, "dvc", "plots", "show").stdout
    assert "fifth" in Path(shown.strip().removeprefix("file://")).read_text()
    commit_all(repository)
    # The tests that read params.yaml stay green.
    files = ("declarations", "record", "learner", "cards", "config", "ablation", "results")
    run(repository, "python", "-m", "pytest", "-q", "-x", "-n", "0",
        "-m", "not slow", "-k", "not research and not everyday and not needs_no_dvc and not truth",
        *(f"tests/test_{file}.py" for file in files))  # fmt: skip

    params.write_text(params.read_text().replace("  fifth:", "  renamed:"))
    refused = run(repository, "dvc", "repro", check=False)
    assert refused.returncode != 0 and "Traceback" not in refused.stdout
    line = next(line for line in refused.stdout.splitlines() if "not in params.yaml" in line)
    assert "fifth" in line
    run(repository, *line[line.index("rm ") :].split())
    assert set(stale_stages(repository)) == {"train@renamed", "evaluate@renamed", "plot"}

    params.write_text(params.read_text()[: params.read_text().index("  renamed:")])
    output = run(repository, "dvc", "repro").stdout
    assert set(RUNNING.findall(output)) <= {"code", "plot"}  # `plot` may be in the run-cache
    assert stale_stages(repository) == {}


# From how each library presents itself to a page's scripts.
LIBRARIES = ("self).vega={}", "self).vegaLite={}", "self).vegaEmbed=")


def test_the_page_of_plots_holds_all_that_it_needs(finished: Path, tmp_path: Path) -> None:
    """It draws its charts without a network."""
    run(tmp_path, "git", "clone", "-q", str(finished), "clone")
    run(tmp_path / "clone/unet", "dvc", "plots", "diff", "HEAD", "-o", "written")
    page = (tmp_path / "clone/unet/written/index.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)\s*=\s*.?https?:", page)
    assert "{plot_divs}" not in page and "{refresh_tag}" not in page
    libraries, _, charts = page.partition("<body>")
    assert all(libraries.count(library) == 1 for library in LIBRARIES)
    assert charts.count("vegaEmbed(") >= 3  # the three charts of all variants, at least


def test_of_a_sweep_over_one_variant_each_revision_has_one_curve(
    finished: Path, tmp_path: Path
) -> None:
    """The command of docs/dvc.md; the sweep's runs have other curves of one variant alone."""
    run(tmp_path, "git", "clone", "-q", str(finished), "clone")
    clone = tmp_path / "clone"
    curve = clone / f"plots/curves/{FIRST}.csv"
    drawn = {}
    for number in (1, 2, 3):
        rows = pd.read_csv(curve)
        rows["val_iou"] = number / (rows["epoch"] + 4)
        rows.to_csv(curve, index=False)
        drawn[f"RUN{number}"] = rows["val_iou"].tolist()
        commit_all(clone)
        run(clone, "git", "tag", f"RUN{number}")
    (command,) = readme_block("console", "dvc plots diff RUN1").splitlines()
    run(clone, *shlex.split(command.removeprefix("$ ")), "-o", "written")
    page = (clone / "written/index.html").read_text(encoding="utf-8")
    (values,) = re.findall(r'"values": (\[.*?\])', page.partition("<body>")[2])
    found: dict[str, list[float]] = {}
    for value in json.loads(values):
        found.setdefault(value["rev"], []).append(float(value["val_iou"]))
    assert found == {rev: pytest.approx(values) for rev, values in drawn.items()}
