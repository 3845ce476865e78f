"""The recorded runs: lock files, scores, released models and README match the current code."""

import json
import re
from pathlib import Path

import pytest

from research.ablation.design import NAMED
from research.ablation.figure import SCORES
from tests.repo import ROOT, commit_all, copy_repository, run
from tools.cards import cards
from tools.compare import Tree, scored_on
from tools.fresh import PROJECTS, stale_stages
from tools.models import recorded_outputs
from tools.table import RESULTS, readme_blocks, scores
from unet.config import load_params
from unet.data.oxford_pets import md5
from unet.inference.model_file import load_model
from unet.report.tables import fill
from unet.runtime.config import read_yaml
from unet.training.start import SCRATCH

KEYS = tuple(load_params(ROOT / "params.yaml").experiments)
RUN = [project for project in PROJECTS if (ROOT / project / "dvc.lock").exists()]


def released_files(root: Path) -> list[Path]:
    """All but the cards and what stands for random weights."""
    files = (root / "released").iterdir() if (root / "released").is_dir() else ()
    return sorted(p for p in files if p.suffix != ".md" and p.name != Path(SCRATCH).name)


def has_own_results(root: Path) -> bool:
    """Whether the lock files record other models than the released ones, and these are as Git has
    them: README and ``released/`` then still speak of the record.

    It is not so where a file in ``released/`` is changed, missing or too many.
    """
    if run(root, "git", "status", "--short", "--untracked-files", "released").stdout:
        return False
    here, recorded = released_files(root), recorded_outputs(root)
    wrong = [path for path in here if path.name in recorded and recorded[path.name][1] != md5(path)]
    return not here or bool(wrong)


RELEASED = released_files(ROOT)
of_the_record = pytest.mark.skipif(
    has_own_results(ROOT), reason="the results here are not those of the released models"
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_repository(tmp_path_factory.mktemp("record"))


@pytest.mark.parametrize("project", RUN, ids=str)
def test_nothing_is_stale(copy: Path, project: Path) -> None:
    recorded = read_yaml(copy / project / "dvc.lock")["stages"]
    stale = {k: why for k, why in stale_stages(copy / project).items() if k in recorded}
    if project != Path():  # the ablation's record keeps its own recipe where the root's has changed
        own = {k: [r for r in why if "../../params.yaml" not in r] for k, why in stale.items()}
        stale = {k: why for k, why in own.items() if why}
    assert stale == {}, "`python -m tools.same REV --accept` or `dvc repro`"
    changed = run(copy, "git", "status", "--short", f"{project / 'code'}").stdout
    assert changed == "", f"commit {project / 'code'}/"


@pytest.mark.slow
def test_a_comment_makes_nothing_stale_and_a_constant_what_it_means(tmp_path: Path) -> None:
    """A stage depends on its code by what the stage `code` writes alone (test_declarations.py)."""
    copy = copy_repository(tmp_path)
    for project in set(RUN) - {Path()}:
        (copy / project / "dvc.lock").unlink()  # so that `fresh` looks at the root's alone
    before = stale_stages(copy)
    commit_all(copy)
    losses = copy / "unet/losses.py"
    text = losses.read_text(encoding="utf-8")
    assert text.startswith('"""')  # its docstring
    losses.write_text(f'# a comment\n"""Another text. {text[3:]}', encoding="utf-8")
    assert stale_stages(copy) == before
    assert run(copy, "git", "status", "--short").stdout.split() == ["M", "unet/losses.py"]

    losses.write_text(text.replace("eps: float = 1e-3", "eps: float = 1e-2"), encoding="utf-8")
    told = run(copy, "python", "-m", "tools.fresh", check=False)
    assert told.returncode == 1
    for key in KEYS:
        assert f"train@{key}: code/train.txt modified" in told.stdout
    changed = run(copy, "git", "diff", "-U0", "code").stdout
    assert {*re.findall(r"^\+[0-9a-f]{64}  (.*)", changed, re.MULTILINE)} == {"unet/losses.py"}
    assert "code/evaluate.txt" not in changed and "code/preprocess.txt" not in changed


def test_all_experiments_are_recorded() -> None:
    recorded = read_yaml(ROOT / "dvc.lock")["stages"]
    assert {f"{stage}@{key}" for stage in ("train", "evaluate") for key in KEYS} <= recorded.keys()
    assert tuple(scores(ROOT).index) == KEYS


@of_the_record
def test_the_released_models_are_the_recorded_ones() -> None:
    stems = {path.name.partition(".")[0] for path in RELEASED}
    assert {path.name for path in RELEASED} == {
        f"{stem}.{ending}" for stem in stems for ending in ("safetensors", "progress.npz")
    }
    assert {path.stem for path in (ROOT / "released").glob("*.md")} == stems, "run `make readme`"
    recorded = recorded_outputs(ROOT)
    for path in RELEASED:
        assert md5(path) == recorded[path.name][1]
    for path in (path for path in RELEASED if path.suffix == ".safetensors"):
        key, home = path.stem, ROOT / recorded[path.name][0]
        model, info = load_model(path)
        row = scores(home).loc[key]
        assert (info["experiment"], info["epoch"]) == (key, row["epoch"])
        assert sum(p.numel() for p in model.parameters()) == row["parameters"]
        params = load_params(home / "params.yaml")
        assert info["width"] == params.experiments[key].width
        assert info["boundary"] == params.train.boundary


@of_the_record
def test_seed_0_of_the_ablation_gave_the_recorded_scores_again() -> None:
    """As README says."""
    for key, cell in NAMED.items():
        path = ROOT / f"research/ablation/runs/official/{cell}-0.json"
        run_again = json.loads(path.read_text(encoding="utf-8"))
        row = scores(ROOT).loc[key]
        same = [name for name in SCORES if run_again[name] == row[name]]
        assert same == list(SCORES), f"{key}: another machine's runs? Then README says too much"


@of_the_record
def test_artifacts_name_the_released_models() -> None:
    artifacts = read_yaml(ROOT / "dvc.yaml")["artifacts"]
    released = {f"released/{path.name}" for path in RELEASED if path.suffix == ".safetensors"}
    assert {entry["path"] for entry in artifacts.values()} == released


@of_the_record
def test_the_tables_are_those_of_the_metrics() -> None:
    page = (ROOT / RESULTS).read_text(encoding="utf-8")
    assert fill(page, readme_blocks(ROOT)) == page, "run `make readme`"


@of_the_record
def test_the_pages_show_the_record_as_make_compare_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    frame = scores(ROOT)
    heading = scored_on([Tree()])
    row = " .* " + " +".join(map("{:.4f}".format, frame["iou"]))
    head = rf"^iou_boundary_background on {re.escape(heading)}:\n\nexperiment .*\n"
    table = rf"{head}workspace{row}\nmain{row}$"
    assert re.search(table, (ROOT / "docs/dvc.md").read_text(encoding="utf-8"), re.MULTILINE)


@of_the_record
def test_the_cards_are_those_of_the_metrics() -> None:
    for path, text in cards(ROOT).items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, f"{path}: run `make readme`"
