"""What the pipeline costs beside training: ``python -m research.benchmarks.pipeline [--rounds N]``.

preprocess    packing data/raw, compared with only reading, decoding and resizing its files
nothing to do ``dvc repro`` when everything is up to date (left out if it is not)
"""

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import count
from pathlib import Path

from PIL import Image

from research.benchmarks.common import in_turns, machine, summary, write_results
from research.benchmarks.plain import RAW
from unet.config import load_params
from unet.data import oxford_pets
from unet.data.packing import pack


def decode_all(size: int) -> None:
    """Read both archives once; decode and resize each image and trimap, on all cores."""

    def decode(content: bytes, mode: str, resample: Image.Resampling) -> None:
        Image.open(BytesIO(content)).convert(mode).resize((size, size), resample)

    decoded = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for archive, pattern, mode, resample in (
            (oxford_pets.IMAGES, oxford_pets.IMAGE_MEMBERS, "RGB", Image.Resampling.BILINEAR),
            (oxford_pets.ANNOTATIONS, oxford_pets.TRIMAP_MEMBERS, "L", Image.Resampling.NEAREST),
        ):
            for name, content in oxford_pets.members(RAW / archive, pattern):
                if not oxford_pets.is_junk(name):
                    decoded.append(pool.submit(decode, content, mode, resample))
        for one in decoded:
            one.result()


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    params = load_params()
    with tempfile.TemporaryDirectory() as folder:
        outs = (Path(folder) / str(number) for number in count())

        def preprocess() -> None:
            pack(RAW, next(outs), params.data, params.preprocess)

        seconds = in_turns(
            {
                "decode and resize": lambda: decode_all(params.preprocess.image_size),
                "preprocess": preprocess,
            },
            rounds=rounds,
        )
    dvc = [sys.executable, "-m", "dvc"]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    }

    def repro() -> None:
        subprocess.run([*dvc, "repro", "-q"], env=environment, check=True)

    dry = subprocess.run([*dvc, "repro", "--dry"], env=environment, capture_output=True, text=True)
    if dry.returncode == 0 and dry.stdout.count("Running stage") == 1:  # `code` always runs
        seconds |= in_turns({"dvc repro, nothing to do": repro}, rounds=rounds)
    results = {name: summary(values) for name, values in seconds.items()}
    for name, figures in results.items():
        print(f"{name}: {figures['median']:.2f} s", file=sys.stderr)
    write_results("pipeline", {"machine": machine(), "seconds": results})


if __name__ == "__main__":
    main()
