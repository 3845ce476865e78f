"""Pack the images of a design: ``python -m research.ablation.pack factorial | published``."""

import sys
from dataclasses import replace
from pathlib import Path

from research.ablation.design import load_design
from stages.preprocess import preprocess
from unet.config import load_params
from unet.runtime.process import run_stage


def main() -> None:
    """See the module's text."""
    params, name = load_params(), " ".join(sys.argv[1:])
    design = load_design(name)
    config = replace(params.preprocess, split=design.split, image_size=design.image_size)
    preprocess(params.data, config, Path("study/data") / name)


if __name__ == "__main__":
    run_stage("pack", main)
