"""Pack ``data/raw`` into arrays of one size: ``data/packed``."""

import json
import shutil
from pathlib import Path

from unet.config import DataConfig, PreprocessConfig, load_params
from unet.preprocess import pack, replace_folder
from unet.process import only_run, run_stage

RAW, PACKED = Path("data/raw"), Path("data/packed")


def main() -> None:
    params = load_params()
    preprocess(params.data, params.preprocess, PACKED)


def preprocess(data: DataConfig, config: PreprocessConfig, packed: Path) -> None:
    packed.parent.mkdir(parents=True, exist_ok=True)
    new = packed.with_name(f".{packed.name}")
    with only_run(packed.with_name(f".{packed.name}.lock"), "preprocess"):
        try:
            shutil.rmtree(new, ignore_errors=True)  # of a run that was killed
            summary = pack(RAW, new, data, config)
            text = json.dumps(summary, indent=2) + "\n"
            (new / "dataset.json").write_text(text, encoding="utf-8")
            replace_folder(new, packed)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    for name, split in summary["splits"].items():
        shares = ", ".join(f"{label} {share:.1%}" for label, share in split["shares"].items())
        print(f"{name}: {split['images']} images; {shares}")
    unlisted, junk = summary["left_out"]["on_no_list"], summary["left_out"]["junk_files"]
    print(f"left out: {len(unlisted)} images on no list, {junk} junk files")


if __name__ == "__main__":
    run_stage("preprocess", main)
