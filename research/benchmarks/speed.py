"""Images a second, memory, and the share of the machine's peak.

``python -m research.benchmarks.speed SUITE [--rounds N] [--as NAME]``, SUITE one of:

steps       a training step with and without data, and evaluation
peers       this project, the loop of the tutorials, segmentation-models-pytorch's example
levers      the gain of each optimisation, added one after the other
optimizers  the cost of Muon, compared with AdamW on all weights
batches     different batch sizes
sizes       different image sizes, widths and numbers of images
mapped      arrays in memory or memory-mapped, with the page cache emptied first
graphs      on a GPU: a step as one CUDA graph or as single kernels

Each case runs in its own process, case after case, round after round, so that other load on the
machine affects all of them alike. Results go to results/NAME.json: NAME is SUITE, or SUITE-WORD for
another machine. ``peers`` reads data/raw and data/packed (``dvc repro preprocess``) and needs
requirements.txt here; the other suites use random pixels.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from research.benchmarks.common import (
    DATA,
    machine,
    peak_flops,
    summary,
    synchronize,
    write_results,
)
from research.benchmarks.plain import PlainTraining, extract
from unet.config import load_params
from unet.data.augment import draw_transforms
from unet.data.packed import Split, create_split, load_split
from unet.inference.evaluation import evaluate
from unet.runtime.device import keep_freed_memory, make_repeatable, resolve_amp, resolve_device
from unet.training.learner import Learner
from unet.training.loop import RunningScores, load_batch


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
        loop: ours | plain | smp.
        work: training | evaluation.
        data: noise | packed (the dataset) | mapped (noise, on disk) | none (one batch, reused).
        num_images: number of noise images.
    """

    loop: str = "ours"
    work: str = "training"
    width: int = 16
    size: int = 128
    batch_size: int = 16
    data: str = "noise"
    num_images: int = 512
    amp: str = "auto"
    channels_last: bool = True
    keep_memory: bool = True
    muon: bool = True
    compiled: bool = False
    graph: bool = True  # use a CUDA graph, if on a GPU


PLAIN = Case(data="none", amp="none", channels_last=False, keep_memory=False, muon=False)
SUITES: dict[str, dict[str, Case]] = {
    "steps": {
        f"{name}, width {width}": replace(case, width=width)
        for width in (16, 64)
        for name, case in {
            "training": Case(),
            "training without data": Case(data="none"),
            "evaluation": Case(work="evaluation", num_images=128),
        }.items()
    },
    "peers": {
        f"{name}, width {width}": replace(case, width=width)
        for width in (16, 64)
        for name, case in {
            "ours": Case(data="packed"),
            "plain": Case(loop="plain"),
            "plain in batches of 32": Case(loop="plain", batch_size=32),
            "smp": Case(loop="smp"),
        }.items()
    },
    "levers": {
        "float32": PLAIN,
        "+ channels last": (case := replace(PLAIN, channels_last=True)),
        "+ bf16": (case := replace(case, amp="bf16")),
        "+ freed memory kept": (case := replace(case, keep_memory=True)),
        "+ torch.compile": replace(case, compiled=True),
        "bf16 alone": replace(PLAIN, amp="bf16"),
    },
    "optimizers": {
        f"{name}, width {width}": Case(data="none", width=width, muon=muon)
        for width in (16, 64)
        for name, muon in {"AdamW": False, "Muon": True}.items()
    },
    "batches": {f"batches of {n}": Case(batch_size=n) for n in (8, 16, 32, 64)},
    "sizes": {
        **{f"width {width}": Case(width=width) for width in (8, 16, 32, 64)},
        **{f"{size} px": Case(size=size) for size in (64, 128, 256)},
        **{f"{n:,} images": Case(num_images=n) for n in (512, 4096, 16384)},
    },
    "mapped": {
        "in memory": Case(num_images=16384),
        "mapped": Case(data="mapped", num_images=16384),
    },
    "graphs": {
        f"{name}, width {width}, batches of {n}": replace(case, width=width, batch_size=n)
        for width, n in ((16, 16), (64, 16), (64, 64))
        for name, case in {
            "one by one": Case(graph=False),
            "+ torch.compile": Case(graph=False, compiled=True),
            "graph": Case(),
        }.items()
    },
}
MIN_STEPS = 3  # per measurement, however long they take
# Width -> a U-Net of segmentation-models-pytorch that costs about as much as ours.
SMP_MODELS: dict[int, dict[str, Any]] = {
    16: {"encoder_name": "mobilenet_v2"},
    64: {"encoder_name": "resnet34", "decoder_channels": (1024, 512, 256, 128, 64)},
}


def split_of(case: Case, device: torch.device) -> Split:
    """The data that ``case`` names; noise lies in a temporary folder, and is used again."""
    if case.data == "packed":
        return load_split(DATA / "train", device)
    folder = Path(tempfile.gettempdir()) / f"unet-benchmark-noise-{case.size}-{case.num_images}"
    if not folder.exists():
        generator = np.random.default_rng(0)
        part = folder.with_name(f"{folder.name}.part")
        names = [f"noise_{index}" for index in range(case.num_images)]
        images, masks = create_split(part, names, case.size)
        for image, mask in zip(images, masks, strict=True):
            image[:] = generator.integers(0, 256, image.shape, dtype=np.uint8)
            mask[:] = generator.integers(0, 3, mask.shape, dtype=np.uint8)
        part.rename(folder)
    if case.data != "mapped":
        return load_split(folder, device)
    if hasattr(os, "posix_fadvise"):  # not in the page cache, as if larger than memory
        for path in folder.glob("*.npy"):
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return load_split(folder, torch.device("meta"))  # which has no memory, so it stays mapped


def ours(case: Case, device: torch.device) -> tuple[Callable[[], int], float]:
    """A function that runs the next batch and returns its number of images; FLOP per image."""
    params = load_params()
    experiment = replace(params.experiments["mp_tr_bce"], width=case.width)
    optimizer = "muon" if case.muon else "adamw"
    config = replace(params.train, batch_size=case.batch_size, optimizer=optimizer)
    if case.keep_memory:
        keep_freed_memory()
    split = split_of(case, device)
    amp = resolve_amp(case.amp, device)
    learner = Learner(experiment, config, foreground_share=0.3, device=device, amp=amp)
    if case.work == "evaluation":
        model = learner.model.eval()

        def score() -> int:
            evaluate(model, split, threshold=0.5, batch_size=case.batch_size, device=device)
            return len(split)

        with FlopCounterMode(display=False) as counter:
            model.predict(split.batch(torch.arange(1), device)[0])
        return score, counter.get_total_flops()

    if not case.channels_last:
        learner.model.to(memory_format=torch.contiguous_format)
    learner.model.train()
    scores = RunningScores(learner.loss_function, device)
    generator = torch.Generator().manual_seed(0)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
        while True:
            for indices in torch.randperm(len(split), generator=generator).split(case.batch_size):
                transforms = draw_transforms(len(indices), config.augment, generator)
                yield load_batch(split, indices, transforms, size=case.size, device=device)

    source = batches()
    kept = next(source)

    def step() -> int:
        images, targets, _ = kept if case.data == "none" else next(source)
        loss, logits = learner.step(images, targets, 1e-3)
        if case.data != "none":
            scores.add(loss, logits, targets)
        return len(images)

    captures, learner.captures = learner.captures and case.graph, False  # replays are not counted
    with FlopCounterMode(display=False) as counter:
        num_images = step()
    learner.captures = captures
    if case.compiled:
        learner.net.compile()
    return step, counter.get_total_flops() / num_images


def plain(case: Case, device: torch.device) -> tuple[Callable[[], int], float]:
    """The same for the loop of the tutorials."""
    folder = extract()
    cpu = torch.device("cpu")
    names = {name: load_split(DATA / name, cpu).names for name in ("train", "val")}
    training = PlainTraining(
        folder, names, size=case.size, width=case.width, batch_size=case.batch_size,
        device=device.type,
    )  # fmt: skip
    if case.loop == "smp":
        use_smp(training, SMP_MODELS[case.width], device)
    steps = (count for _ in iter(int, 1) for count in training.steps())
    # Count three forward passes instead of a step: in a backward pass the counter takes depthwise
    # convolutions, which smp's model has, for dense ones.
    with FlopCounterMode(display=False) as counter:
        training.model(torch.zeros(2, 3, case.size, case.size, device=device))
    return lambda: next(steps), 3 * counter.get_total_flops() / 2


def use_smp(training: PlainTraining, model: dict[str, Any], device: torch.device) -> None:
    """Use model, loss, statistics and optimiser of segmentation-models-pytorch's example."""
    import segmentation_models_pytorch as smp

    training.model = smp.Unet(**model, encoder_weights=None).to(device)
    training.optimizer = torch.optim.Adam(training.model.parameters(), lr=2e-4)
    dice = smp.losses.DiceLoss(smp.losses.BINARY_MODE, from_logits=True)
    outputs = []

    def criterion(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        predicted = (logits.sigmoid() > 0.5).long()
        outputs.append(smp.metrics.get_stats(predicted, masks.long(), mode="binary"))
        return dice(logits, masks)

    training.criterion = criterion


def measure(case: Case, seconds: float) -> dict[str, float]:
    """Run ``case`` for about ``seconds``, at least MIN_STEPS steps, after a warm-up."""
    device = resolve_device("auto")
    make_repeatable(device)
    batch, flop = (ours if case.loop == "ours" else plain)(case, device)
    started = time.perf_counter()
    batch()
    while time.perf_counter() - started < min(3.0, seconds):
        batch()
    synchronize()
    started, num_images, num_steps = time.perf_counter(), 0, 0
    while time.perf_counter() - started < seconds or num_steps < MIN_STEPS:
        num_images += batch()
        num_steps += 1
    synchronize()
    speed = num_images / (time.perf_counter() - started)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trains = case.loop == "ours" and case.work == "training"
    amp = resolve_amp(case.amp, device) if trains else "none"
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(amp, torch.float32)
    return {
        "images_per_second": speed,
        "gflop_an_image": flop / 1e9,
        "peak_gflops": peak_flops(device, dtype) / 1e9,
        "process_mib": memory / (2**20 if sys.platform == "darwin" else 2**10),
    }


def run_suite(suite: str, *, name: str, rounds: int, seconds: float) -> None:
    """Measure the cases of a suite in turns and write ``results/NAME.json``."""
    cases = SUITES[suite]
    runs: dict[str, list[dict[str, float]]] = {label: [] for label in cases}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, max_tasks_per_child=1) as pool:
        for turn, (label, case) in product(range(rounds), cases.items()):
            runs[label].append(pool.submit(measure, case, seconds).result())
            speed = runs[label][-1]["images_per_second"]
            print(f"round {turn + 1}: {label}: {speed:.1f} images/s", file=sys.stderr, flush=True)
    results: dict[str, Any] = {"machine": machine(), "rounds": rounds, "cases": {}}
    for label, case in cases.items():
        figures = {key: summary([run[key] for run in runs[label]]) for key in runs[label][0]}
        results["cases"][label] = {"case": asdict(case), **figures}
    write_results(name, results)


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--as", dest="name", metavar="NAME", help="SUITE, or SUITE-WORD")
    arguments = parser.parse_args()
    suite, name = arguments.suite, arguments.name or arguments.suite
    if name.partition("-")[0] != suite:
        parser.error(f"--as {name}: must be {suite}, or {suite}- and a word")
    run_suite(suite, name=name, rounds=arguments.rounds, seconds=arguments.seconds)


if __name__ == "__main__":
    main()
