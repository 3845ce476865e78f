"""What dvc.yaml repeats from the code agrees with it."""

import shutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from stages.code import STAGES
from tests.repo import ROOT, run
from unet.data.config import DataConfig, PreprocessConfig
from unet.inference.config import EvaluateConfig

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
EVERYDAY = yaml.safe_load((ROOT / "everyday/dvc.yaml").read_text(encoding="utf-8"))["stages"]


def stage(name: str, pipeline: dict = PIPELINE) -> dict:
    entry = pipeline[name]
    return entry.get("do", entry)


def keys_of(section: str, schema: type) -> list[str]:
    """Each field of a section by its dotted name, those of a section within it one by one."""
    keys = []
    for field in fields(schema):
        name = f"{section}.{field.name}"
        keys += keys_of(name, field.type) if is_dataclass(field.type) else [name]
    return keys


READ = {
    "download": keys_of("data", DataConfig),
    "preprocess": [
        "data.path", "data.object_values", "data.not_counted",
        "data.source", "data.images_md5", "data.annotations_md5",
        *keys_of("preprocess", PreprocessConfig),
    ],
    "train": ["train", "model", "experiments.${key}"],
    "evaluate": keys_of("evaluate", EvaluateConfig),
    "plot": ["experiments", "train.boundary"],
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_params_are_the_keys_of_the_sections_that_a_stage_reads(name: str) -> None:
    assert sorted(stage(name)["params"]) == sorted(READ[name])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    """A DVC project with the root's params, whose stage ``train`` declares them as the root's does
    and has run."""
    folder = tmp_path_factory.mktemp("params")
    declared = [name.replace("${key}", "mp_tr_bce") for name in stage("train")["params"]]
    stages = {"train": {"cmd": "true", "params": declared}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    run(folder, "dvc", "init", "-q", "--no-scm")
    run(folder, "dvc", "repro")
    with Repo(str(folder)) as repo:
        yield repo


@pytest.mark.parametrize(
    ("names", "value"),
    [
        (["augment", "scale"], [0.9, 1.1]),  # nested
        (["augment", "added"], 0),
        (["seed"], "removed"),
    ],
)
def test_dvc_notices_each_change_in_the_section_train(
    trained: Repo, names: list[str], value: object
) -> None:
    file = Path(trained.root_dir, "params.yaml")
    before = file.read_text(encoding="utf-8")
    params = yaml.safe_load(before)
    section = params["train"]
    for name in names[:-1]:
        section = section[name]
    if value == "removed":
        del section[names[-1]]
    else:
        section[names[-1]] = value
    assert trained.status() == {}
    file.write_text(yaml.safe_dump(params), encoding="utf-8")
    try:
        assert [name.rpartition(":")[2] for name in trained.status()] == ["train"]
    finally:
        file.write_text(before, encoding="utf-8")


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("*/dvc.yaml")) + sorted(ROOT.glob("research/*/dvc.yaml"))
)
def test_stages_run_inside_their_project(path: Path) -> None:
    """DVC runs a stage with a ``wdir`` outside its project once, but cannot restore its outputs."""
    assert "wdir:" not in path.read_text(encoding="utf-8")


def test_every_stage_depends_on_its_code_alone() -> None:
    outs = {path for out in PIPELINE["code"]["outs"] for path in out}
    assert outs == {f"code/{name}.txt" for name in PIPELINE if name != "code"}
    assert outs == {f"code/{name}.txt" for name in STAGES}
    for name in STAGES:
        code = [dep for dep in stage(name)["deps"] if dep.startswith("code") or ".py" in dep]
        assert code == [f"code/{name}.txt"], name
    assert PIPELINE["code"]["always_changed"] is True


@pytest.mark.parametrize("name", EVERYDAY)
def test_the_everyday_pipeline_is_the_roots_run_in_its_folder(name: str) -> None:
    """The same params, code and outputs; the archives in place of their folder, and no stage that
    brings or draws anything."""
    there, here = stage(name, EVERYDAY), stage(name)
    assert ("foreach" in EVERYDAY[name]) == ("foreach" in PIPELINE[name])
    if name == "code":
        stages = [other for other in EVERYDAY if other != "code"]
        assert there["cmd"] == f"PYTHONPATH=.. python -m stages.code {' '.join(stages)}"
        assert [path for out in there["outs"] for path in out] == [
            f"code/{other}.txt" for other in stages
        ]
        return
    assert there["cmd"] == f"PYTHONPATH=.. {here['cmd']}"
    assert sorted(there["params"]) == sorted(here["params"])
    assert there["outs"] == here["outs"]
    archives = {f"${{data.path}}/{name}.tar.gz" for name in ("annotations", "images")}
    assert set(there["deps"]) - archives == set(here["deps"]) - {"${data.path}"}
