"""The sections ``train``, ``model`` and ``experiments`` of ``params.yaml``."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from unet.data.augment import AugmentConfig
from unet.data.masks import BOUNDARY_RULES
from unet.losses import LOSSES, arguments
from unet.runtime.config import STRICT, check, read_yaml

Count = Annotated[int, Field(ge=1, le=2**20)]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e38)]  # the range of float32
# DVC looks a parameter up by its dotted path and makes file names of the key.
Key = Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9_-]{0,99}$")]
Width = Annotated[int, Field(ge=1, le=512)]  # channels of the first level
Depth = Annotated[int, Field(ge=1, le=7)]  # levels below it


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """The recipe that all experiments share."""

    epochs: Count
    batch_size: Count
    start_from: Annotated[str, Field(min_length=1)]  # SCRATCH, a model's file or a folder of them
    boundary: Literal[*BOUNDARY_RULES]  # what the band around the object is learnt as
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    optimizer: Literal["muon", "adamw"]  # muon: for the kernels between features
    schedule: Literal["one_cycle", "constant"]
    max_lr: Positive  # peak of the one-cycle schedule, or the constant rate
    warmup: Share  # of the steps, until the peak of the one-cycle schedule
    weight_decay: Annotated[float, Field(ge=0, le=100)]  # on kernels only
    grow_from: Annotated[float, Field(ge=0.5, le=1)]  # image side in epoch 1, in image_size
    grow_until: Annotated[float, Field(gt=0, le=1)]  # share of the epochs, until full size
    keep: Literal["last", "best"]  # weights of the last epoch or of the best validation accuracy
    store: Literal["float32", "float16"]  # the kernels in the model's file
    amp: Literal["auto", "bf16", "fp16", "none"]
    device: Literal["auto", "cuda", "mps", "cpu"]
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"]  # of the CPU; affects rounding
    augment: AugmentConfig

    def __post_init__(self) -> None:
        models, start = Path("models").resolve(), Path(self.start_from).resolve()
        if start.is_relative_to(models) or models.is_relative_to(start):
            raise ValueError(
                f"start_from = {self.start_from}: models/ is written by the trainings themselves: "
                "copy the file elsewhere first, and name the copy"
            )


@dataclass(frozen=True, config=STRICT)
class ModelConfig:
    """The size of all experiments' models; an experiment may have its own."""

    width: Width
    depth: Depth


@dataclass(frozen=True, config=STRICT)
class ExperimentConfig:
    """One variant: what the experiments compare."""

    downsample: Literal["mp", "str_conv"]
    upsample: Literal["tr", "ups"]
    loss: Literal[*LOSSES]
    width: Width
    depth: Depth
    # Only for losses that take one.
    pos_weight: Annotated[float, Field(gt=0, le=1e6)] | Literal["auto"] | None = None
    loss_options: dict[str, float | bool] = field(default_factory=dict)  # of a loss that has some
    # Above this probability a pixel is the object's; auto: what follows from the loss.
    threshold: Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        taken = arguments(self.loss)
        if unknown := sorted(self.loss_options.keys() - (taken - {"pos_weight"})):
            known = ", ".join(sorted(taken - {"pos_weight"})) or "none"
            raise ValueError(f"loss_options: {self.loss} has no {unknown[0]}; it has {known}")
        if ("pos_weight" in taken) != (self.pos_weight is not None):
            need = "needs one (auto or a number above 0)" if self.pos_weight is None else "has none"
            raise ValueError(f"pos_weight = {self.pos_weight or 'null'}: loss = {self.loss} {need}")


Experiments = Annotated[dict[Key, ExperimentConfig], Field(min_length=1)]


def with_model(params: dict[str, Any]) -> dict[str, Any]:
    """``params`` as read from YAML, each experiment completed by the section ``model``."""
    model, experiments = params.get("model"), params.get("experiments")
    if isinstance(model, dict) and isinstance(experiments, dict):
        completed = {k: model | e if isinstance(e, dict) else e for k, e in experiments.items()}
        return params | {"experiments": completed}
    return params


def load_experiments(path: str | Path = "params.yaml") -> dict[str, ExperimentConfig]:
    """The experiments of ``path``, each completed by the section ``model``.

    Raises:
        ValueError: one line per problem, with the key, its value and what is allowed.
    """
    experiments = with_model(read_yaml(path)).get("experiments")
    return check(experiments, Experiments, path=path, section="experiments")


def select_experiment(experiments: dict[str, ExperimentConfig], arguments: list[str]) -> str:
    """The experiment that a command's arguments name; a ValueError if it is not exactly one."""
    if (key := " ".join(arguments)) not in experiments:
        raise ValueError(
            f"{key or 'no KEY'}: must be an experiment of params.yaml: {', '.join(experiments)}"
        )
    return key
