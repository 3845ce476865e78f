"""Profile training steps with torch.profiler."""

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from unet.data.augment import draw_transforms
from unet.data.packed import Split
from unet.training.config import ExperimentConfig, TrainConfig
from unet.training.learner import Learner
from unet.training.loop import RunningScores, load_batch


def profile_training(
    experiment: ExperimentConfig,
    config: TrainConfig,
    *,
    split: Split,
    foreground_share: float,
    device: torch.device,
    amp: str,
    trace: Path,
    num_warm_up: int = 3,
    num_steps: int = 5,
) -> str:
    """Train for a few steps; write a trace that Perfetto and chrome://tracing open.

    Args:
        trace: the file to write; compressed if its name ends in .gz.

    Returns:
        A table of the operations with the most self time.
    """
    learner = Learner(experiment, config, foreground_share=foreground_share, device=device, amp=amp)
    learner.model.train()
    scores = RunningScores(learner.loss_function, device)
    generator = torch.Generator().manual_seed(config.seed)

    def step() -> None:
        indices = torch.randint(len(split), (config.batch_size,), generator=generator)
        transforms = draw_transforms(len(indices), config.augment, generator)
        images, targets, counted = load_batch(
            split, indices, transforms, size=split.image_size, device=device,
            soft_edges=config.augment.soft_edges,
        )  # fmt: skip
        loss, logits = learner.step(images, targets, config.max_lr / 25, counted=counted)
        scores.add(loss, logits, targets, counted)

    for _ in range(num_warm_up):
        step()
    activities, measure = [ProfilerActivity.CPU], "self_cpu_time_total"
    if device.type == "cuda":
        activities, measure = [*activities, ProfilerActivity.CUDA], "self_device_time_total"
    with profile(activities=activities) as profiler:
        for _ in range(num_steps):
            step()
        scores.compute()
    trace.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(trace))
    return profiler.key_averages().table(sort_by=measure, row_limit=20, max_name_column_width=50)
