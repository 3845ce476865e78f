"""Bring the two archives into ``data/raw``, or draw the embedded data set as such archives."""

from pathlib import Path

from unet.config import load_params
from unet.download import fetch_archives
from unet.process import run_stage
from unet.synthetic import write_archives

RAW = Path("data/raw")


def main() -> None:
    config = load_params().data
    if config.source == "synthetic":
        write_archives(RAW, num_images=config.num_synthetic)
    else:
        fetch_archives(config, RAW)


if __name__ == "__main__":
    run_stage("download", main)
