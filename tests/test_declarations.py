"""What dvc.yaml repeats from the code agrees with it."""

from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import yaml

from stages.code import STAGES
from tests.repo import ROOT
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
