"""Write a model as one ONNX file: ``python -m tools.export KEY-or-FILE [--out FILE]``.

KEY names ``models/KEY.safetensors`` or, if that is missing, ``released/KEY.safetensors``.
``--check`` first compares the ONNX model with torch on the packed test split, and writes nothing
if a probability differs by 1e-4 or more.
"""

import argparse
from pathlib import Path

import torch

from unet.data.packed import load_split
from unet.inference.export import TOLERANCE, largest_difference, to_onnx
from unet.inference.model_file import find_model, load_model
from unet.runtime.files import file_sha256, write
from unet.runtime.process import run_stage

TEST = Path("data/packed/test")
BATCH_SIZE = 16


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tools.export", description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="KEY-or-FILE", help="mp_tr_bce, or a .safetensors file")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: KEY.onnx, here")
    parser.add_argument("--overwrite", action="store_true", help="also where FILE exists")
    parser.add_argument("--check", action="store_true", help=f"compare with torch on {TEST} first")
    arguments = parser.parse_args()

    source = find_model(arguments.model)
    out = arguments.out or Path(f"{source.stem}.onnx")
    if out.exists() and not arguments.overwrite:
        raise ValueError(f"{out} exists: --overwrite replaces it, --out names another")
    model, info = load_model(source)
    content = to_onnx(model, info, file_sha256(source))
    if arguments.check:
        split = load_split(TEST, torch.device("cpu"))
        difference = largest_difference(content, model, split, batch_size=BATCH_SIZE)
        said = f"{len(split)} images, largest difference of a probability {difference:.1e}"
        if not difference < TOLERANCE:
            raise ValueError(f"{source}: {said}, not below {TOLERANCE:g}: nothing was written")
        print(f"{TEST}: {said}")
    write(out, content)
    print(
        f"{out}: {len(content) / 1e6:.1f} MB, images of {info['image_size']} pixels a side, "
        f"threshold {info['threshold']:.3f}"
    )


if __name__ == "__main__":
    run_stage("export", main)
