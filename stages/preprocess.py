"""Pack the dataset in ``data.path`` into arrays of one image size: ``data/packed``."""

import json
from pathlib import Path

from unet.data.config import DataConfig, PreprocessConfig
from unet.data.packing import pack_into
from unet.runtime.config import load_section
from unet.runtime.process import run_stage

PACKED = Path("data/packed")


def main() -> None:
    data = load_section("data", DataConfig)
    config = load_section("preprocess", PreprocessConfig)
    summary = pack_into(PACKED, Path(data.path), data, config)
    # What training reads of dataset.json, in a file of its own: DVC then does not train again
    # because of what dataset.json says about test images or files left out.
    source = {name: summary[name] for name in ("source", "split")}
    (PACKED / "source.json").write_text(json.dumps(source) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_stage("preprocess", main)
