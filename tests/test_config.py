"""``params.yaml``: what is accepted, how it is read, and the messages for mistakes."""

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from unet.config import Params, load_params
from unet.data.augment import AugmentConfig
from unet.data.config import PreprocessConfig
from unet.runtime.config import load_section, read_yaml
from unet.training.config import Experiments, TrainConfig, select_experiment

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
    width: 16
    depth: 4
  mp_tr_dice:
    downsample: mp
    upsample: tr
    loss: dice
    width: 16
    depth: 4
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_text(text: str) -> Params:
        path = tmp_path / "params.yaml"
        path.write_text(text, encoding="utf-8")
        return load_params(path)

    return load_text


def changed(old: str, new: str) -> str:
    """The valid params above with one place changed."""
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def test_the_repositorys_params_load_as_they_stand(root: Path, params_text: str) -> None:
    params = asdict(load_params(root / "params.yaml"))
    written = YAML(typ="safe").load(params_text)
    for experiment in written["experiments"].values():
        experiment.setdefault("pos_weight", None)
        experiment.setdefault("threshold", "auto")
    written["train"]["augment"]["scale"] = tuple(written["train"]["augment"]["scale"])
    assert params == written


def test_the_text_of_these_tests_loads(load: Load) -> None:
    params = load(TEXT)
    assert params.data.num_synthetic == 400
    assert params.preprocess.limit is None
    assert params.train.augment.scale == (0.75, 1.1)
    assert list(params.experiments) == ["mp_tr_bce", "mp_tr_dice"]
    assert params.experiments["mp_tr_bce"].pos_weight == "auto"
    assert params.experiments["mp_tr_dice"].pos_weight is None


MISTAKES = {
    "unknown key": (
        "    rotate: 12",
        "    rotate: 12\n    hue: 1",
        ["train.augment.hue", "unknown key", "rotate", "brightness", "color"],
    ),
    "unknown section": (
        "evaluate:",
        "eval:",
        ["params.yaml: eval:", "unknown key", "evaluate", "experiments"],
    ),
    "unknown key of an experiment": (
        "    width: 16",
        "    widths: 16",
        ["experiments.mp_tr_bce.widths", "unknown key", "width", "depth"],
    ),
    "text for a number": (
        "  epochs: 15",
        "  epochs: many",
        ["train.epochs", '"many"', "valid integer"],
    ),
    "quoted number": ("max_lr: 0.004", 'max_lr: "0.004"', ["train.max_lr", '"0.004"', "number"]),
    "fraction for an integer": (
        "  epochs: 15",
        "  epochs: 1.5",
        ["train.epochs", "1.5", "valid integer"],
    ),
    "float for an integer": (
        "image_size: 128\n",
        "image_size: 128.0\n",
        ["preprocess.image_size", "128.0", "valid integer"],
    ),
    "bool for an integer": ("seed: 0", "seed: true", ["preprocess.seed", "true", "valid integer"]),
    "number for a section": (
        "  augment:\n",
        "  augment: 3\n  x:\n",
        ["train.augment = 3: must be a mapping"],
    ),
    "below the range": ("  epochs: 15", "  epochs: 0", ["train.epochs = 0", "equal to 1"]),
    "weights from the trainings' own outputs": (
        "start_from: released/scratch",
        "start_from: ./models/mp_tr_bce.safetensors",
        ["params.yaml: train: start_from = ./models/mp", "copy the file elsewhere first"],
    ),
    "weights from all that there is": ("start_from: released/scratch", "start_from: .", ["copy"]),
    "weights from nowhere": (
        "start_from: released/scratch",
        "start_from: ''",
        ["train.start_from", "at least 1 character"],
    ),
    "no weights at all": (
        "start_from: released/scratch",
        "start_from: null",
        ["train.start_from = null", "valid string"],
    ),
    "images grow from too little": (
        "grow_from: 1.0",
        "grow_from: 0.25",
        ["train.grow_from = 0.25", "equal to 0.5"],
    ),
    "above the range": (
        "image_size: 128\n",
        "image_size: 2048\n",
        ["preprocess.image_size = 2048", "less than or equal to 1024"],
    ),
    "open range": (
        "val_fraction: 0.1",
        "val_fraction: 1.0",
        ["preprocess.val_fraction = 1.0", "less than 1"],
    ),
    "in a list": (
        "[0.75, 1.1]",
        "[0, 1.1]",
        ["train.augment.scale.0 = 0", "greater than 0"],
    ),
    "list too short": ("[0.75, 1.1]", "[1.1]", ["train.augment.scale.1", "missing"]),
    "off is no bool": ("  amp: auto", "  amp: off", ["train.amp", '"off"', "'bf16'", "'none'"]),
    "data in what is written": ("path: data/raw", "path: data", ["data.path = data: data/packed"]),
    "data that are written": (
        "path: data/raw",
        "path: ./data/packed/train",
        ["data.path = ./data/packed/train", "name a folder of its own"],
    ),
    "two names to some file systems": (
        "  mp_tr_dice:",
        "  MP_tr_BCE:",
        ["experiments.mp_tr_bce and experiments.MP_tr_BCE"],
    ),
    "a long name": ("  mp_tr_dice:", f"  {'a' * 101}:", ["letters, digits, _ and -, at most 100"]),
    "yes is no bool": ("flip: true", "flip: yes", ["train.augment.flip", '"yes"', "true or false"]),
    "choice": (
        "upsample: tr",
        "upsample: nearest",
        ["experiments.mp_tr_bce.upsample", '"nearest"', "'tr' or 'ups'"],
    ),
    "either of two kinds": (
        "threads: auto",
        "threads: all",
        ["train.threads", '"all"', "valid integer or 'auto'"],
    ),
    "either of two kinds, out of range": (
        "threads: auto",
        "threads: 0",
        ["train.threads = 0", "equal to 1 or 'auto'"],
    ),
    "limit out of range": (
        "limit: null",
        "limit: 1",
        ["preprocess.limit = 1: must be greater than or equal to 2 or null"],
    ),
    "limit of another kind": (
        "limit: null",
        "limit: all",
        ['preprocess.limit = "all": must be a valid integer or null'],
    ),
    "checksum": ("5c4f3ee8e5", "5c4f", ["data.images_md5", "[0-9a-f]{32}"]),
    "duplicate key": (
        "  epochs: 15",
        "  epochs: 15\n  epochs: 16",
        ['not valid YAML: line 20: found duplicate key "epochs" with value "16"'],
    ),
    "missing key": ("  epochs: 15\n", "", ["train.epochs", "is missing"]),
    "missing section": (
        "evaluate:\n  batch_size: 64\n  tta: false\n  device: auto\n",
        "",
        ["evaluate", "is missing"],
    ),
    "name with a dot": (
        "  mp_tr_dice:",
        "  mp.tr_dice:",
        ["experiments.mp.tr_dice", "letters, digits, _ and -"],
    ),
    "size and depth": (
        "image_size: 128\n",
        "image_size: 100\n",
        [
            "preprocess.image_size = 100",
            "experiments.mp_tr_bce.depth = 4",
            "multiple of 16",
            "nearest is 96",
        ],
    ),
    "size too small for the depth": (
        "    depth: 4",
        "    depth: 7",
        ["preprocess.image_size = 128", "mp_tr_bce.depth = 7", "at least 256", "nearest is 256"],
    ),
    "pos_weight with dice": (
        "    loss: dice",
        "    loss: dice\n    pos_weight: 2.0",
        ["experiments.mp_tr_dice", "pos_weight = 2.0", "loss = dice has none"],
    ),
    "bce without pos_weight": (
        "    pos_weight: auto",
        "    # pos_weight: auto",
        ["experiments.mp_tr_bce", "pos_weight = null", "loss = bce needs one", "above 0"],
    ),
    "negative pos_weight": (
        "    pos_weight: auto",
        "    pos_weight: -1",
        ["experiments.mp_tr_bce.pos_weight = -1", "greater than 0 or null or 'auto'"],
    ),
    "reversed range": (
        "[0.75, 1.1]",
        "[1.1, 0.75]",
        ["train.augment", "scale = [1.1, 0.75]", "lower bound stands first"],
    ),
    "not a number": ("max_lr: 0.004", "max_lr: .nan", ["train.max_lr = NaN", "finite"]),
    "infinite": ("max_lr: 0.004", "max_lr: .inf", ["train.max_lr = Infinity", "finite"]),
    "overflowing": ("max_lr: 0.004", "max_lr: 1e999", ["train.max_lr = Infinity", "finite"]),
    "invalid YAML": ("  epochs: 15", "  epochs: [15", ["not valid YAML: line 20: expected"]),
    "date": ("  seed: 0", "  seed: 2020-01-01", ["not valid YAML", "date"]),
    "list for a key": ("  seed: 0", "  ? [1, 2]\n  : 0", ["not valid YAML", "(1, 2) is no text"]),
    "object tag": ("epochs: 15", "epochs: !!python/object:os.system 15", ["not valid YAML"]),
}


@pytest.mark.parametrize(("old", "new", "fragments"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_in_one_line(
    load: Load,
    tmp_path: Path,
    old: str,
    new: str,
    fragments: list[str],
) -> None:
    with pytest.raises(ValueError) as caught:
        load(changed(old, new))
    lines = str(caught.value).splitlines()
    assert all(line.startswith(str(tmp_path / "params.yaml")) for line in lines)
    assert all(": " in line.removeprefix(str(tmp_path / "params.yaml")) for line in lines)
    assert [line for line in lines if all(fragment in line for fragment in fragments)], lines


@pytest.mark.parametrize("path", ["released", "models.safetensors", "my/models/a.safetensors"])
def test_weights_may_come_from_any_other_place(load: Load, path: str) -> None:
    for start in (path, f"/{path}"):
        assert load(changed("released/scratch", start)).train.start_from == start


def test_two_mistakes_are_two_lines(load: Load, tmp_path: Path) -> None:
    text = changed("  epochs: 15", "  epochs: 0").replace("flip: true", "flip: 1")
    with pytest.raises(ValueError) as caught:
        load(text)
    path = tmp_path / "params.yaml"
    assert str(caught.value).splitlines() == [
        f"{path}: train.epochs = 0: must be greater than or equal to 1",
        f"{path}: train.augment.flip = 1: must be true or false",
    ]


def test_missing_keys_are_a_line_each(load: Load) -> None:
    with pytest.raises(ValueError) as caught:
        load(changed("  epochs: 15\n  batch_size: 16\n", ""))
    first, second = str(caught.value).splitlines()
    assert first.endswith("params.yaml: train.epochs: is missing")
    assert second.endswith("params.yaml: train.batch_size: is missing")


def test_missing_experiments_are_a_mistake(load: Load) -> None:
    with pytest.raises(ValueError, match="experiments: is missing"):
        load(TEXT.partition("experiments:")[0])


def test_no_experiments_are_a_mistake(load: Load) -> None:
    with pytest.raises(ValueError, match="params.yaml: experiments: must have at least 1 item"):
        load(TEXT.partition("experiments:")[0] + "experiments: {}\n")


@pytest.mark.parametrize("text", ["", "[1, 2]\n", "hello\n", "3\n"])
def test_the_top_is_a_mapping(load: Load, text: str) -> None:
    with pytest.raises(ValueError, match=r"params\.yaml.*must be a mapping of sections"):
        load(text)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"params\.yaml is not valid YAML"):
        load_params(path)


def test_a_missing_file_says_where_to_run_from(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"params\.yaml is missing: run from the repository's"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("written", "value"), [("4e-3", 0.004), ("1", 1.0), ("+.5", 0.5), ("2E0", 2.0)]
)
def test_numbers_as_people_write_them(load: Load, written: str, value: float) -> None:
    max_lr = load(changed("max_lr: 0.004", f"max_lr: {written}")).train.max_lr
    assert max_lr == value
    assert isinstance(max_lr, float)


@pytest.mark.parametrize("nothing", ["null", "~", "", "Null"])
def test_nothing_is_null(load: Load, nothing: str) -> None:
    assert load(changed("limit: null", f"limit: {nothing}")).preprocess.limit is None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *((word, word) for word in ("off", "on", "yes", "no", "y", "n", "Off", "NO", "1:30", "1e")),
        *((word, None) for word in ("null", "Null", "NULL", "~", "")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *(("'true'", "true"), ('"1"', "1")),
        *(("010", 10), ("08", 8), ("-08", -8), ("+1", 1)),  # a leading zero means nothing
        *(("4e-3", 0.004), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), (".inf", math.inf)),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, written: str, value: object) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"key: {written}\n", encoding="utf-8")
    read = read_yaml(path)["key"]
    assert read == value and type(read) is type(value)


def test_the_whole_file_is_read_as_dvc_reads_it(root: Path) -> None:
    from dvc.utils.serialize import load_yaml

    assert read_yaml(root / "params.yaml") == load_yaml(root / "params.yaml")


BILLIONS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)


def test_aliases_that_stand_for_too_much(load: Load) -> None:
    with pytest.raises(ValueError, match="not valid YAML: its aliases make more than 100000 v"):
        load(BILLIONS)


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {b: *a}"])
def test_aliases_of_what_they_are_in(load: Load, text: str) -> None:
    with pytest.raises(ValueError, match="not valid YAML: Circular reference"):
        load(text)


def test_aliases_are_read_as_what_they_stand_for(load: Load) -> None:
    text = changed("  epochs: 15", "  epochs: &many 15").replace("size: 16", "size: *many")
    assert load(text).train.batch_size == 15


@pytest.mark.parametrize("text", ["[" * 3000, "{a: " * 3000, "- " * 3000])
def test_text_that_is_too_deep(load: Load, text: str) -> None:
    with pytest.raises(ValueError, match=r"params\.yaml is not valid YAML"):
        load(text)


def test_dataclasses_are_frozen(root: Path) -> None:
    params = load_params(root / "params.yaml")
    for section, name in [
        (params, "train"),
        (params.data, "url"),
        (params.preprocess, "seed"),
        (params.train, "epochs"),
        (params.train.augment, "flip"),
        (params.evaluate, "device"),
        (params.experiments["mp_tr_bce"], "loss"),
    ]:
        with pytest.raises(FrozenInstanceError):
            setattr(section, name, None)


def test_merge_keys(load: Load) -> None:
    text = TEXT.partition("experiments:")[0] + (
        "experiments:\n"
        "  first: &first {downsample: mp, upsample: tr, loss: dice, width: 4, depth: 2}\n"
        "  second: &second\n    <<: *first\n    width: 8\n"
        "  third:\n    <<: *second\n    upsample: ups\n"
    )
    experiments = load(text).experiments
    assert [e.width for e in experiments.values()] == [4, 8, 8]
    assert [e.upsample for e in experiments.values()] == ["tr", "tr", "ups"]
    assert all(e.depth == 2 for e in experiments.values())


def test_a_section_is_read_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(changed("  epochs: 15", "  epochs: 7").replace("eval", "other"))
    config = load_section("train", TrainConfig, path)
    assert config.epochs == 7
    assert isinstance(config.augment, AugmentConfig)
    assert list(load_section("experiments", Experiments, path)) == ["mp_tr_bce", "mp_tr_dice"]


def test_a_mistake_in_a_section_names_file_and_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_text(changed("  amp: auto", "  amp: off"))
    with pytest.raises(ValueError) as caught:
        load_section("train", TrainConfig)
    line = """params.yaml: train.amp = "off": must be 'auto', 'bf16', 'fp16' or 'none'"""
    assert str(caught.value) == line
    path.write_text(changed("upsample: tr", "up: tr"))
    with pytest.raises(ValueError) as caught:
        load_section("experiments", Experiments)
    missing, unknown = str(caught.value).splitlines()
    assert missing == "params.yaml: experiments.mp_tr_bce.upsample: is missing"
    allowed = "downsample, upsample, loss, width, depth, pos_weight, threshold"
    where = 'params.yaml: experiments.mp_tr_bce.up = "tr"'
    assert unknown == f"{where}: unknown key; allowed: {allowed}"


@pytest.mark.parametrize("section", ["null", "3", "[]"])
def test_a_section_that_is_no_mapping(tmp_path: Path, section: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"preprocess: {section}\n")
    with pytest.raises(ValueError) as caught:
        load_section("preprocess", PreprocessConfig, path)
    assert str(caught.value) == f"{path}: preprocess = {section}: must be a mapping"


def test_a_section_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("data: {}\n")
    with pytest.raises(ValueError, match=r"params\.yaml: the section train is missing"):
        load_section("train", TrainConfig, path)


@pytest.mark.parametrize(
    ("arguments", "given"), [([], "no KEY"), (["other"], "other"), (["a", "b"], "a b")]
)
def test_an_experiment_that_is_none(load: Load, arguments: list[str], given: str) -> None:
    experiments = load(TEXT).experiments
    assert select_experiment(experiments, ["mp_tr_dice"]) == "mp_tr_dice"
    with pytest.raises(ValueError) as caught:
        select_experiment(experiments, arguments)
    known = "experiments in params.yaml: mp_tr_bce, mp_tr_dice"
    assert str(caught.value) == f"{given}: KEY must be one of the {known}"


@settings(deadline=None, max_examples=20)
@given(name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,12}", fullmatch=True))
def test_any_plain_name_is_an_experiments(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(TEXT.replace("mp_tr_dice:", f"'{name}':"), encoding="utf-8")
    assert name in load_params(path).experiments


@pytest.mark.parametrize("name", ["a.b", "a b", "a/b", "_a", "-a", "ä", "''"])
def test_other_names_are_not(load: Load, name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits, _ and -"):
        load(changed("  mp_tr_dice:", f"  {name}:"))


@pytest.mark.parametrize("key", ["123", "0x10", "true", "null", "1.5"])
def test_a_name_that_yaml_reads_as_something_else_is_refused(tmp_path: Path, key: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"experiments:\n  {key}: {{}}\n")
    with pytest.raises(ValueError, match="is no text: begin it with a letter") as error:
        load_section("experiments", dict, path)
    assert "\n" not in str(error.value)
