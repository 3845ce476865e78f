"""Where a training step's time goes: ``python -m tools.profile KEY``.

Prints the operations that take the most time and writes a trace to ``profile/KEY.json.gz``.
"""

import sys
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from unet.config import load_params
from unet.data.packed import Split, load_split
from unet.runtime.device import resolve_amp, resolve_threads, set_up
from unet.runtime.process import run_stage
from unet.training.config import select_experiment
from unet.training.learner import Learner
from unet.training.loop import train_epoch

NUM_STEPS = 5


def main() -> None:
    """See the module docstring."""
    params = load_params()
    key, config = select_experiment(params.experiments, sys.argv[1:]), params.train
    device = set_up(config.device)
    torch.set_num_threads(resolve_threads(config.threads, device))
    whole = load_split(Path("data/packed/train"), device, boundary=config.boundary)
    few = slice(NUM_STEPS * config.batch_size)
    split = Split(whole.images[few], whole.masks[few], whole.names[few])
    learner = Learner(
        params.experiments[key], config, foreground_share=whole.foreground_share, device=device,
        amp=resolve_amp(config.amp, device),
    )  # fmt: skip

    def steps() -> None:
        train_epoch(learner, split, config, epoch=1, size=split.image_size, device=device, name=key)

    steps()  # to warm up
    activities, measure = [ProfilerActivity.CPU], "self_cpu_time_total"
    if device.type == "cuda":
        activities, measure = [*activities, ProfilerActivity.CUDA], "self_device_time_total"
    with profile(activities=activities) as profiler:
        steps()
    trace = Path(f"profile/{key}.json.gz")
    trace.parent.mkdir(exist_ok=True)
    profiler.export_chrome_trace(str(trace))
    table = profiler.key_averages().table(sort_by=measure, row_limit=20, max_name_column_width=50)
    print(f"{table}\n{trace}: open it at ui.perfetto.dev")


if __name__ == "__main__":
    run_stage("profile", main)
