"""Download the two archives into ``data/raw``, or write the synthetic dataset as such archives."""

from itertools import chain

from unet.data.config import DOWNLOADED, DataConfig
from unet.data.download import fetch_archives
from unet.data.synthetic import write_archives
from unet.runtime.config import load_section
from unet.runtime.process import run_stage


def main() -> None:
    config = load_section("data", DataConfig)
    if not config.is_downloaded:
        DOWNLOADED.mkdir(parents=True, exist_ok=True)  # DVC requires the output to exist
        print(f"nothing to download: the data are those in data.path = {config.path}")
    elif config.source == "synthetic":
        write_archives(DOWNLOADED, num_images=config.num_synthetic)
    else:
        fetch_archives(config, DOWNLOADED)
    # What broken transfers and killed processes left would be part of the output.
    for left in chain(DOWNLOADED.glob("*.part"), DOWNLOADED.glob(".*.tmp")):
        left.unlink()


if __name__ == "__main__":
    run_stage("download", main)
