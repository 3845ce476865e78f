"""Pack the data set in ``data.path`` into arrays of one size: ``data/packed``."""

from pathlib import Path

from unet.data.config import DataConfig, PreprocessConfig
from unet.data.packing import pack_into
from unet.runtime.config import load_section
from unet.runtime.process import run_stage


def main() -> None:
    data = load_section("data", DataConfig)
    config = load_section("preprocess", PreprocessConfig)
    pack_into(Path("data/packed"), Path(data.path), data, config)


if __name__ == "__main__":
    run_stage("preprocess", main)
