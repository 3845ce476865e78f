"""Pack the dataset in ``data.path`` into arrays of one image size: ``data/packed``."""

from pathlib import Path

from unet.data.config import DataConfig, PreprocessConfig
from unet.data.packing import pack_into
from unet.runtime.config import load_section
from unet.runtime.process import run_stage
from unet.training.steps import Length


def main() -> None:
    data = load_section("data", DataConfig)
    config = load_section("preprocess", PreprocessConfig)
    num_images = pack_into(Path("data/packed"), Path(data.path), data, config)
    if hint := load_section("train", Length).hint(num_images):
        print(f"training: {hint}")


if __name__ == "__main__":
    run_stage("preprocess", main)
