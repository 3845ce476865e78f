"""Bring the two archives into ``data/raw``, or draw the embedded data set as such archives."""

from pathlib import Path

from unet.data.config import DataConfig
from unet.data.download import fetch_archives
from unet.data.synthetic import write_archives
from unet.runtime.config import load_section
from unet.runtime.process import run_stage

RAW = Path("data/raw")


def main() -> None:
    config = load_section("data", DataConfig)
    if config.source == "synthetic":
        write_archives(RAW, num_images=config.num_synthetic)
    else:
        fetch_archives(config, RAW)


if __name__ == "__main__":
    run_stage("download", main)
