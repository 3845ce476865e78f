"""Pack the images of a design: ``python -m research.ablation.pack DESIGN``."""

import sys
from dataclasses import replace
from pathlib import Path

from research.ablation.design import HERE, load_design
from unet.data.config import DataConfig, PreprocessConfig
from unet.data.packing import pack_into
from unet.runtime.config import load_section
from unet.runtime.process import run_stage


def main() -> None:
    """See the module docstring."""
    name = " ".join(sys.argv[1:])
    design = load_design(name)
    config = load_section("preprocess", PreprocessConfig)
    config = replace(config, split=design.split, image_size=design.image_size)
    pack_into(HERE / "data" / name, Path("data/raw"), load_section("data", DataConfig), config)


if __name__ == "__main__":
    run_stage("pack", main)
