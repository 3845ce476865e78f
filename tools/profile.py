"""Where a training step's time goes: ``python -m tools.profile KEY``.

Prints the operations that take the most time and writes a trace to ``profile/KEY.json.gz``.
"""

import sys
from pathlib import Path

import torch

from unet.config import load_params
from unet.data.packed import load_split
from unet.runtime.device import resolve_amp, set_up
from unet.runtime.process import run_stage
from unet.training.config import select_experiment
from unet.training.profiling import profile_training

DATA = Path("data/packed")


def main() -> None:
    """See the module docstring."""
    params = load_params()
    key = select_experiment(params.experiments, sys.argv[1:])
    device = set_up(params.train.device)
    if params.train.threads != "auto":
        torch.set_num_threads(params.train.threads)
    split = load_split(DATA / "train", device, boundary=params.train.boundary)
    trace = Path(f"profile/{key}.json.gz")
    table = profile_training(
        params.experiments[key],
        params.train,
        split=split,
        foreground_share=split.foreground_share,
        device=device,
        amp=resolve_amp(params.train.amp, device),
        trace=trace,
    )
    print(f"{table}\n{trace}: open it at ui.perfetto.dev")


if __name__ == "__main__":
    run_stage("profile", main)
