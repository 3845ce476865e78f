"""``params.yaml``: what is accepted, how it is read, and the messages for mistakes."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from unet.config import Params, load_params
from unet.data.augment import AugmentConfig
from unet.runtime.config import load_section, read_yaml
from unet.training.config import TrainConfig, load_experiments, select_experiment

Load = Callable[[str], Params]

TEXT = """
data:
  path: data/raw
  object_values: auto
  not_counted: null
  source: official
  url: https://example.org/pets/
  images_md5: 5c4f3ee8e5d25df40f4fd59a7f44e54c
  annotations_md5: 95a8c909bbe2e81eed6a22bccdf3f68f
  num_synthetic: 400
preprocess:
  image_size: 128
  split: official
  val_fraction: 0.1
  test_fraction: 0.2
  seed: 0
  limit: null
model:
  width: 16
  depth: 4
train:
  epochs: 15
  batch_size: 16
  start_from: released/scratch
  boundary: background
  seed: 0
  max_lr: 0.004
  warmup: 0.2
  weight_decay: 0.05
  grow_from: 1.0
  grow_until: 0.6
  keep: last
  store: float32
  amp: auto
  device: auto
  threads: auto
  augment:
    flip: true
    scale: [0.75, 1.1]
    shift: 0.1
    rotate: 12
    brightness: 0.2
    color: 0.05
evaluate:
  batch_size: 64
  tta: false
  device: auto
experiments:
  mp_tr_bce:
    downsample: mp
    upsample: tr
    loss: bce
    pos_weight: auto
  mp_tr_dice:
    downsample: mp
    upsample: tr
    loss: dice
    width: 8
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.chdir(tmp_path)

    def load_text(text: str) -> Params:
        Path("params.yaml").write_text(text, encoding="utf-8")
        return load_params()

    return load_text


def changed(old: str, new: str) -> str:
    """The valid params above with one place changed."""
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def test_the_repositorys_params_load_as_they_stand(root: Path, params_text: str) -> None:
    params = asdict(load_params(root / "params.yaml"))
    written = YAML(typ="safe").load(params_text)
    for key, experiment in written["experiments"].items():
        defaults = {"pos_weight": None, "threshold": "auto"}
        written["experiments"][key] = written["model"] | defaults | experiment
    written["train"]["augment"]["scale"] = tuple(written["train"]["augment"]["scale"])
    assert params == written


def test_experiments_have_the_models_size_or_their_own(load: Load) -> None:
    for experiments in (load(TEXT).experiments, load_experiments()):
        first, second = experiments["mp_tr_bce"], experiments["mp_tr_dice"]
        assert (first.width, first.depth) == (16, 4)
        assert (second.width, second.depth) == (8, 4)
    assert load(changed("  width: 16", "  width: 64")).experiments["mp_tr_bce"].width == 64


# What people write -> what the one line says.
MISTAKES = [
    ("    rotate: 12", "    rotate: 12\n    hue: 1", "train.augment.hue = 1: Unexpected keyword"),
    ("evaluate:", "eval:", "evaluate: Field required"),
    ("    loss: bce", "    losses: bce", "experiments.mp_tr_bce.losses = \"bce\": Unexpected"),
    ("  epochs: 15", "  epochs: many", 'train.epochs = "many": Input should be a valid integer'),
    ("  epochs: 15", "  epochs: 0", "train.epochs = 0: Input should be greater than or equal to 1"),
    ("  epochs: 15\n", "", "train.epochs: Field required"),
    ("max_lr: 0.004", 'max_lr: "0.004"', 'train.max_lr = "0.004": Input should be a valid number'),
    ("max_lr: 0.004", "max_lr: .nan", "train.max_lr = NaN: Input should be a finite number"),
    ("size: 128\n", "size: 128.0\n", "preprocess.image_size = 128.0: Input should be a valid int"),
    ("seed: 0", "seed: true", "preprocess.seed = true: Input should be a valid integer"),
    ("seed: 0", "seed: 2020-01-01", 'preprocess.seed = "2020-01-01": Input should be a valid int'),
    ("flip: true", "flip: yes", 'train.augment.flip = "yes": Input should be a valid boolean'),
    ("  augment:\n", "  augment: 3\n  x:\n", "train.augment = 3: Input should be a mapping"),
    ("[0.75, 1.1]", "[0, 1.1]", "train.augment.scale.0 = 0: Input should be greater than 0"),
    ("[0.75, 1.1]", "[1.1, 0.75]", "train.augment: scale = [1.1, 0.75]: the lower"),
    ("upsample: tr", "upsample: up", "upsample = \"up\": Input should be 'tr' or 'ups'"),
    ("threads: auto", "threads: all", "Input should be a valid integer or Input should be 'auto'"),
    ("limit: null", "limit: 1", "preprocess.limit = 1: Input should be greater than or equal"),
    ("  mp_tr_dice:", "  mp.tr_dice:", "experiments.mp.tr_dice: String should match"),
    ("path: data/raw", "path: data", "data.path = data: data/packed"),
    ("path: data/raw", "path: ~/pets", "data.path = '~/pets': write the whole path"),
    ("released/scratch", "./models/a.safetensors", "train: start_from = ./models/a.safetensors: "),
    ("size: 128\n", "size: 100\n", "preprocess.image_size = 100 with mp_tr_bce of depth 4: the size"
     " must be a multiple of 16 and at least 32; the nearest is 96"),
    ("  depth: 4", "  depth: 7", "at least 256; the nearest is 256"),
    ("    loss: dice", "    loss: dice\n    pos_weight: 2.0", "pos_weight = 2.0: loss = dice has"),
    ("    pos_weight: auto\n", "", "mp_tr_bce: pos_weight = null: loss = bce needs"),
    ("  epochs: 15", "  epochs: 15\n  epochs: 16", "not valid YAML: line 23: found duplicate key"),
    ("  epochs: 15", "  epochs: [15", "is not valid YAML: line 23: expected"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line"), MISTAKES)
def test_a_mistake_is_one_line_with_the_key_and_its_value(
    load: Load, old: str, new: str, line: str
) -> None:
    with pytest.raises(ValueError) as caught:
        load(changed(old, new))
    lines = str(caught.value).splitlines()
    assert [text for text in lines if text.startswith("params.yaml") and line in text], lines


@pytest.mark.parametrize("text", ["", "[1, 2]\n", "hello\n"])
def test_the_top_is_a_mapping(load: Load, text: str) -> None:
    with pytest.raises(ValueError, match=r"params\.yaml: must be a mapping of sections"):
        load(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    with pytest.raises(ValueError, match=r"params\.yaml is missing: run from the repository's"):
        load_params(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"params\.yaml is not valid YAML"):
        load_params(path)


def test_the_whole_file_is_read_as_dvc_reads_it(root: Path) -> None:
    from dvc.utils.serialize import load_yaml

    assert read_yaml(root / "params.yaml") == load_yaml(root / "params.yaml")


def test_a_section_is_read_by_itself(load: Load) -> None:
    Path("params.yaml").write_text(changed("  epochs: 15", "  epochs: 7").replace("eval", "other"))
    config = load_section("train", TrainConfig)
    assert config.epochs == 7 and isinstance(config.augment, AugmentConfig)
    with pytest.raises(ValueError, match=r"params\.yaml: the section evaluate is missing"):
        load_section("evaluate", TrainConfig)


@pytest.mark.parametrize("arguments", [[], ["other"], ["a", "b"]])
def test_an_experiment_that_is_none(load: Load, arguments: list[str]) -> None:
    experiments = load(TEXT).experiments
    assert select_experiment(experiments, ["mp_tr_dice"]) == "mp_tr_dice"
    with pytest.raises(ValueError, match=r"experiments in params\.yaml: mp_tr_bce, mp_tr_dice"):
        select_experiment(experiments, arguments)


@pytest.mark.parametrize("name", ["a.b", "a b", "a/b", "_a", "-a", "ä", "''", "123", "1.5"])
def test_other_names_are_not(load: Load, name: str) -> None:
    """YAML reads the last two as something else than text: DVC makes no stage of them."""
    with pytest.raises(ValueError, match=r"params\.yaml: experiments\."):
        load(changed("  mp_tr_dice:", f"  {name}:"))
