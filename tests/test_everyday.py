"""The pipeline in everyday/: the root's stages, run in its folder, up to the released model."""

import json
import shutil
from pathlib import Path

import pytest

from tests.repo import ROOT, RUNNING, TINY, commit_all, run
from tests.test_dvc_commands import ANYWHERE, MODEL, all_work, clone_of
from tools.same import SMALL, make_small
from unet.config import load_params
from unet.data.masks import BOUNDARY_RULES
from unet.inference.model_file import load_model
from unet.training.start import start_file

EVERYDAY = load_params(ROOT / "everyday/params.yaml")
KEY = next(iter(EVERYDAY.experiments))


def test_its_params_are_its_own_pipelines() -> None:
    assert not EVERYDAY.experiments.keys() & load_params(ROOT / "params.yaml").experiments.keys()
    assert not EVERYDAY.data.is_downloaded
    assert start_file(f"everyday/{EVERYDAY.train.start_from}", KEY).is_file()


@pytest.fixture(scope="module")
def released(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a finished repository whose pipeline in everyday/ has run, all models released."""
    repository = tmp_path_factory.mktemp("everyday") / "repo"
    shutil.copytree(finished, repository, symlinks=True)
    before = (repository / "params.yaml").read_bytes()
    make_small(repository, SMALL | TINY)
    (repository / "params.yaml").write_bytes(before)  # it ran with these
    run(repository, "dvc", "--cd", "everyday", "repro")
    for command in (["models", "--release"], ["cards"]):
        run(repository, "python", "-m", f"tools.{command[0]}", *command[1:])
    commit_all(repository)
    return repository


@pytest.mark.slow
def test_it_trains_scores_and_releases_by_its_own_params(released: Path) -> None:
    home = released / "everyday"
    scores = json.loads((home / f"metrics/scores/{KEY}.json").read_text(encoding="utf-8"))
    rule = EVERYDAY.train.boundary
    assert rule in BOUNDARY_RULES and rule != "background"
    assert scores["iou"] == scores[f"iou_boundary_{rule}"]
    by_rule = [scores[f"accuracy_boundary_{name}"] for name in (rule, "background")]
    assert scores["accuracy"] == by_rule[0] != by_rule[1]
    model = released / f"released/{KEY}.safetensors"
    assert model.read_bytes() == (home / f"models/{KEY}.safetensors").read_bytes()
    _, info = load_model(model)
    assert (info["boundary"], info["store"]) == (rule, EVERYDAY.train.store)
    card = model.with_suffix(".md").read_text(encoding="utf-8")
    assert "is divided in the middle" in card
    assert f"{scores['iou']:.4f}" in card
    assert not (released / f"models/{KEY}.safetensors").exists()
    assert KEY not in run(released, "python", "-m", "tools.table").stdout
    assert KEY in run(released, "python", "-m", "tools.table", "everyday").stdout


@pytest.mark.slow
def test_a_clone_takes_the_released_models_trainings_as_done(released: Path) -> None:
    clone = clone_of(released)
    told = run(clone, "python", "-m", "tools.models").stdout
    assert f"everyday/models/: {KEY}" in told
    assert (clone / MODEL).read_bytes() == (released / MODEL).read_bytes()
    run(clone, "dvc", "pull", check=False)  # there is no remote
    run(clone, "dvc", "checkout", check=False)  # the data are nowhere
    all_work(clone, ANYWHERE)  # neither has spoilt anything
    (clone / "got.safetensors").unlink(missing_ok=True)
    for project in (".", "everyday"):
        ran = RUNNING.findall(run(clone, "dvc", "--cd", project, "repro").stdout)
        assert "preprocess" in ran and not any(name.startswith("train") for name in ran)
    assert run(clone, "git", "status", "--short").stdout == ""
    assert f"{KEY}: as recorded" in run(clone, "python", "-m", "tools.verify", check=False).stdout
    (clone / MODEL).unlink()  # it may be a link into the cache
    (clone / MODEL).write_bytes(b"a model of the user's own")
    refused = run(clone, "python", "-m", "tools.models", check=False)
    assert refused.returncode == 1 and "nowhere else" in refused.stdout
    assert (clone / MODEL).read_bytes() == b"a model of the user's own"
    # The released models stay, also where one of them is not in its pipeline's folder.
    shutil.rmtree(clone / "everyday/models")
    run(clone, "python", "-m", "tools.models", "--release")
    assert run(clone, "git", "status", "--short").stdout == ""
