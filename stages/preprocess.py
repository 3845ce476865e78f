"""Pack ``data/raw`` into arrays of one size: ``data/packed``."""

from pathlib import Path

from unet.data.config import DataConfig, PreprocessConfig
from unet.data.packing import pack_into
from unet.runtime.config import load_section
from unet.runtime.process import run_stage
from unet.training.steps import Length


def main() -> None:
    data = load_section("data", DataConfig)
    config = load_section("preprocess", PreprocessConfig)
    pack_into(Path("data/packed"), Path("data/raw"), data, config)
    names = Path("data/packed/train/names.txt").read_text(encoding="utf-8").splitlines()
    if hint := load_section("train", Length).hint(len(names)):
        print(f"training: {hint}")


if __name__ == "__main__":
    run_stage("preprocess", main)
