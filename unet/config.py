"""``params.yaml`` as frozen dataclasses, checked as a whole before anything runs."""

import json
import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

MAX_VALUES = 100_000  # of a params.yaml; a few aliases can stand for billions
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Share = Annotated[float, Field(gt=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
# DVC looks a parameter up by its dotted path and makes file names of the key.
Key = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]*$")]


@dataclass(frozen=True, config=_STRICT)
class DataConfig:
    """Where the two archives come from."""

    source: Literal["official", "synthetic"]
    url: str  # of the official release; the environment's OXFORD_PETS_URL names a mirror instead
    images_md5: Md5
    annotations_md5: Md5
    num_synthetic: Annotated[int, Field(ge=40)]  # images that `source: synthetic` draws


@dataclass(frozen=True, config=_STRICT)
class PreprocessConfig:
    """What the packed arrays hold."""

    image_size: Annotated[int, Field(ge=8, le=1024)]  # pixels a side
    split: Literal["official", "sorted"]
    val_fraction: Share  # of trainval, for validation (official split)
    seed: Annotated[int, Field(ge=0)]
    limit: Annotated[int, Field(ge=2)] | None  # null, or at most so many images a split


@dataclass(frozen=True, config=_STRICT)
class AugmentConfig:
    """Ranges of the random transforms of training images; 0 (or [1, 1]) leaves one out."""

    flip: bool  # left to right, half of the images
    scale: tuple[Positive, Positive]  # side of the sampled window, in image sides
    shift: Annotated[float, Field(ge=0, le=1)]  # of the window's centre, in image sides
    rotate: Annotated[float, Field(ge=0, le=180)]  # degrees
    brightness: Annotated[float, Field(ge=0, lt=1)]  # factor 1 - b to 1 + b
    color: Annotated[float, Field(ge=0, lt=1)]  # offset of each channel, pixels in [0, 1]

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale = {list(self.scale)}: the lower bound stands first")


@dataclass(frozen=True, config=_STRICT)
class TrainConfig:
    """The recipe that all experiments share."""

    epochs: Count
    batch_size: Count
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    max_lr: Positive  # peak of the one-cycle schedule
    warmup: Share  # of the steps, until the peak
    weight_decay: NonNegative  # on matrices and kernels only
    grow_from: Annotated[float, Field(ge=0.5, le=1)]  # image side of epoch 1, in image_size
    grow_until: Annotated[float, Field(gt=0, le=1)]  # share of the epochs, until full size
    keep: Literal["last", "best"]  # weights of the last epoch or of the best validation accuracy
    amp: Literal["auto", "bf16", "fp16", "none"]
    device: Literal["auto", "cuda", "mps", "cpu"]
    threads: Count | Literal["auto"]  # CPU threads; another number gives other bits
    augment: AugmentConfig


@dataclass(frozen=True, config=_STRICT)
class EvaluateConfig:
    """How test images are predicted."""

    batch_size: Count
    device: Literal["auto", "cuda", "mps", "cpu"]


@dataclass(frozen=True, config=_STRICT)
class ExperimentConfig:
    """One variant: what the study varies."""

    downsample: Literal["mp", "str_conv"]
    upsample: Literal["tr", "ups"]
    loss: Literal["bce", "dice"]
    width: Annotated[int, Field(ge=1, le=512)]
    depth: Annotated[int, Field(ge=1, le=7)]
    pos_weight: Positive | Literal["auto"] | None = None  # of bce

    def __post_init__(self) -> None:
        if (self.loss == "bce") != (self.pos_weight is not None):
            raise ValueError(
                f"pos_weight = {self.pos_weight or 'null'} with loss = {self.loss}: bce needs one "
                "(auto or a number above 0), dice takes none"
            )


@dataclass(frozen=True, config=_STRICT)
class Params:
    """All of ``params.yaml``."""

    data: DataConfig
    preprocess: PreprocessConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    experiments: Annotated[dict[Key, ExperimentConfig], Field(min_length=1)]

    def __post_init__(self) -> None:
        size = self.preprocess.image_size
        for key, experiment in self.experiments.items():
            step = 2**experiment.depth
            if size % step or size < 2 * step:
                nearest = max(2, round(size / step)) * step
                raise ValueError(
                    f"preprocess.image_size = {size} with experiments.{key}.depth = "
                    f"{experiment.depth}: the size must be a multiple of {step} and at least "
                    f"{2 * step}; the nearest is {nearest}"
                )


def experiment_key(params: Params, arguments: list[str]) -> str:
    """The experiment that the one command-line argument of a stage names.

    Raises:
        ValueError: there is none of that name, or no single argument.
    """
    if len(arguments) != 1 or arguments[0] not in params.experiments:
        known = ", ".join(params.experiments)
        given = " ".join(arguments) or "no KEY"
        raise ValueError(f"{given}: KEY must be one of the experiments in params.yaml: {known}")
    return arguments[0]


class _Yaml12Loader(yaml.SafeLoader):
    """YAML as DVC reads it (1.2): ``off`` is text, ``4e-3`` a number; a key stands once."""

    yaml_implicit_resolvers = {}  # none of YAML 1.1's

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.composer.ComposerError(
                    None, None, f"the key {key!r} stands twice", node.start_mark
                )
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))  # a leading zero is no octal number


for _tag, _regexp, _first in [
    ("merge", "<<", "<"),
    ("null", "|~|null|Null|NULL", ["", "~", "n", "N"]),
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", "[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
]:
    _Yaml12Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_regexp})$"), list(_first)
    )


_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _Yaml12Loader.construct_yaml_int)


def _parse(text: str) -> Any:
    loader = _Yaml12Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded_size(node, {}) > MAX_VALUES:
            raise yaml.YAMLError(f"its aliases make more than {MAX_VALUES} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _expanded_size(node: yaml.Node, sizes: dict[int, float]) -> float:
    """How many values ``node`` has once each alias is what it stands for; infinite of a circle."""
    if id(node) not in sizes:
        sizes[id(node)] = math.inf
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        sizes[id(node)] = 1 + sum(_expanded_size(part, sizes) for part in parts)
    return sizes[id(node)]


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check ``path``.

    Raises:
        ValueError: one line for each problem, naming the key, its value and what is allowed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        raw = _parse(text)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: run from the repository's root") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"{path} is not valid YAML: {problem}") from None
    if not isinstance(raw, dict):
        raise ValueError(
            f"{path}: must be a mapping of {', '.join(f.name for f in fields(Params))}"
        )
    try:
        # Through JSON, whose strict reading takes a list for a tuple and a mapping for a dataclass.
        return TypeAdapter(Params).validate_json(json.dumps(raw))
    except ValidationError as error:
        raise ValueError("\n".join(sorted(_problems(error, path)))) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None


def _problems(error: ValidationError, path: str | Path) -> set[str]:
    """Each problem as a line; the branches of one union are put together again."""
    allowed: dict[tuple[str, str], list[str]] = {}
    missing: dict[str, list[str]] = {}
    for item in error.errors():
        # Names of union branches (``literal['auto']``, ``constrained-int``) are no part of the key.
        parts = [str(p) for p in item["loc"] if re.fullmatch(r"[A-Za-z0-9_]+|\d+", str(p))]
        parts = [p for p in parts if p not in ("float", "int", "none", "str")]
        if item["type"] == "value_error":
            where, what = ".".join(parts), str(item["ctx"]["error"])
        elif item["type"] == "missing":
            missing.setdefault(".".join(parts[:-1]), []).append(parts[-1])
            continue
        elif item["type"] == "unexpected_keyword_argument":
            names = ", ".join(f.name for f in fields(_section(parts[:-1])))
            where, what = ".".join(parts), f"unknown key; allowed: {names}"
        elif item["loc"][-1:] == ("[key]",):
            where = ".".join([*parts, str(item["input"])])
            what = (
                "a name is made of letters, digits, _ and -, and begins with one of the first two"
            )
        else:
            where = f"{'.'.join(parts)} = {json.dumps(item['input'])}"
            what = item["msg"].replace("Input should be", "must be")
            if parts[-1:] == ["limit"]:
                what += " or null"
        allowed.setdefault((where, str(path)), []).append(what)
    for section, keys in missing.items():
        if len(keys) == 1:
            where, what = f"{section}.{keys[0]}".strip("."), "is missing"
        else:
            where, what = section, f"{', '.join(keys)} are missing"
        allowed[where, str(path)] = [what]
    return {
        ": ".join(part for part in (file, where, " or ".join(dict.fromkeys(what))) if part).replace(
            " or must be", " or"
        )
        for (where, file), what in allowed.items()
    }


def _section(parts: list[str]) -> type:
    if parts[:1] == ["experiments"]:
        return ExperimentConfig
    section: Any = Params
    for part in parts:
        section = next(f.type for f in fields(section) if f.name == part)
    return section
