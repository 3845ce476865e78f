"""All of ``params.yaml``, checked before any stage runs; each stage then reads its own sections."""

from pathlib import Path

from pydantic.dataclasses import dataclass

from unet.data.config import DataConfig, PreprocessConfig
from unet.inference.config import EvaluateConfig
from unet.runtime.config import STRICT, check, read_yaml
from unet.training.config import Experiments, ModelConfig, TrainConfig, with_model


@dataclass(frozen=True, config=STRICT)
class Params:
    """The sections of ``params.yaml``."""

    data: DataConfig
    preprocess: PreprocessConfig
    model: ModelConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    experiments: Experiments

    def __post_init__(self) -> None:
        size = self.preprocess.image_size
        for key, experiment in self.experiments.items():
            step = 2**experiment.depth
            if size % step or size < 2 * step:
                nearest = max(2, round(size / step)) * step
                raise ValueError(
                    f"preprocess.image_size = {size} with {key} of depth {experiment.depth}: the "
                    f"size must be a multiple of {step} and at least {2 * step}; the nearest is "
                    f"{nearest}"
                )


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check ``path``.

    Raises:
        ValueError: one line per problem, with the key, its value and what is allowed.
    """
    return check(with_model(read_yaml(path)), Params, path=path)
