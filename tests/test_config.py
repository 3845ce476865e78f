"""``params.yaml``: what is accepted, how it is read, and the messages for mistakes."""

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from tests.repo import ROOT
from unet.config import Params, load_params
from unet.data.augment import AugmentConfig
from unet.runtime.config import load_section, read_yaml
from unet.training.config import TrainConfig, load_experiments, select_experiment

Load = Callable[[Any], Params]

VALID = read_yaml(ROOT / "params.yaml") | {
    "model": {"width": 16, "depth": 4},
    "experiments": {
        "mp_tr_bce": {"downsample": "mp", "upsample": "tr", "loss": "bce", "pos_weight": "auto"},
        "mp_tr_dice": {"downsample": "mp", "upsample": "tr", "loss": "dice", "width": 8},
    },
}
VALID["preprocess"]["image_size"] = 128


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)

    def load_written(params: Any) -> Params:
        text = params if isinstance(params, str) else yaml.safe_dump(params)
        Path("params.yaml").write_text(text, encoding="utf-8")
        return load_params()

    return load_written


def changed(name: str, value: Any) -> dict[str, Any]:
    """The valid params with the key of this dotted ``name`` set, or removed if ``...``."""
    params = copy.deepcopy(VALID)
    section = params
    *parents, last = name.split(".")
    for parent in parents:
        section = section[parent]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return params


def test_the_repositorys_params_load_as_they_stand() -> None:
    params = asdict(load_params(ROOT / "params.yaml"))
    written = YAML(typ="safe").load(ROOT / "params.yaml")
    for key, experiment in written["experiments"].items():
        defaults = {"pos_weight": None, "threshold": "auto", "loss_options": {}}
        written["experiments"][key] = written["model"] | defaults | experiment
    written["train"]["augment"]["scale"] = tuple(written["train"]["augment"]["scale"])
    assert params == written


def test_experiments_have_the_models_size_or_their_own(load: Load) -> None:
    for experiments in (load(VALID).experiments, load_experiments()):
        first, second = experiments["mp_tr_bce"], experiments["mp_tr_dice"]
        assert (first.width, first.depth) == (16, 4)
        assert (second.width, second.depth) == (8, 4)
    assert load(changed("model.width", 64)).experiments["mp_tr_bce"].width == 64


# What people write -> what the one line says.
MISTAKES = [
    ("train.augment.hue", 1, "train.augment.hue = 1: Unexpected keyword"),
    ("evaluate", ..., "evaluate: Field required"),
    ("train.epochs", 0, "train.epochs = 0: Input should be greater than or equal to 1"),
    ("train.max_lr", "0.004", 'train.max_lr = "0.004": Input should be a valid number'),
    ("train.max_lr", float("nan"), "train.max_lr = NaN: Input should be a finite number"),
    ("train.augment.flip", "yes", 'train.augment.flip = "yes": Input should be a valid boolean'),
    ("train.augment.scale", [1.1, 0.75], "train.augment: scale = [1.1, 0.75]: the lower"),
    ("train.start_from", "./models/a.safetensors", "start_from = ./models/a.safetensors: "),
    ("preprocess.image_size", 100, "preprocess.image_size = 100 with mp_tr_bce of depth 4: the size"
     " must be a multiple of 16 and at least 32; the nearest is 96"),
    ("model.depth", 7, "at least 256; the nearest is 256"),
    ("experiments.mp_tr_bce.upsample", "up", "upsample = \"up\": Input should be 'tr' or 'ups'"),
    ("experiments.mp_tr_dice.pos_weight", 2.0, "pos_weight = 2.0: loss = dice has"),
    ("experiments.mp_tr_bce.pos_weight", ..., "mp_tr_bce: pos_weight = null: loss = bce needs"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "line"), MISTAKES)
def test_a_mistake_is_one_line_with_the_key_and_its_value(
    load: Load, name: str, value: Any, line: str
) -> None:
    with pytest.raises(ValueError) as caught:
        load(changed(name, value))
    lines = str(caught.value).splitlines()
    assert [text for text in lines if text.startswith("params.yaml") and line in text], lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: 1\nseed: 2\n", "(?s:is not valid YAML: .*found duplicate key.*line 2)"),
        ("a: 1\nb: [15\n", "(?s:is not valid YAML: .*expected.*line 3)"),
        ("a: \xff\x00", "is not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_read(load: Load, text: str, line: str) -> None:
    with pytest.raises(ValueError, match=rf"params\.yaml.*{line}"):
        load(text)


def test_the_whole_file_is_read_as_dvc_reads_it() -> None:
    from dvc.utils.serialize import load_yaml

    assert read_yaml(ROOT / "params.yaml") == load_yaml(ROOT / "params.yaml")


def test_a_section_is_read_by_itself(load: Load) -> None:
    params = changed("train.epochs", 7) | {"data": "wrong"}
    del params["evaluate"]
    Path("params.yaml").write_text(yaml.safe_dump(params))
    config = load_section("train", TrainConfig)
    assert config.epochs == 7 and isinstance(config.augment, AugmentConfig)


@pytest.mark.parametrize("arguments", [[], ["other"], ["a", "b"]])
def test_an_experiment_that_is_none(load: Load, arguments: list[str]) -> None:
    experiments = load(VALID).experiments
    assert select_experiment(experiments, ["mp_tr_dice"]) == "mp_tr_dice"
    with pytest.raises(ValueError, match=r"an experiment of params\.yaml: mp_tr_bce, mp_tr_dice"):
        select_experiment(experiments, arguments)


@pytest.mark.parametrize("name", ["a.b", "a b", "a/b", "_a", "-a", "ä", "", 123, 1.5])
def test_names_that_are_no_experiments(load: Load, name: object) -> None:
    """YAML reads the last two as something else than text: DVC makes no stage of them."""
    with pytest.raises(ValueError, match=r"params\.yaml: experiments\."):
        load(changed("experiments", {name: VALID["experiments"]["mp_tr_bce"]}))
