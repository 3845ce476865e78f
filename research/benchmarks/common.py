"""What the benchmarks share: the machine's description and peak, and their results' files."""

import json
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from unet.runtime.device import device_name, resolve_device

DATA = Path("data/packed")
RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """The device, its software and the commit that a benchmark ran on."""
    device = resolve_device("auto")
    # The name of a CPU does not tell which bf16 instructions it has.
    offered = ("avx512_bf16", "amx_bf16") if device.type == "cpu" else ()
    offered = [name for name in offered if torch.cpu.get_capabilities().get(name)]
    describe = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(describe, capture_output=True, text=True)
    return {
        "device": " ".join([device_name(device), *offered]),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
    }


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_flops(device: torch.device, dtype: torch.dtype, *, rounds: int = 10) -> float:
    """Best FLOP/s of a large matrix product; a multiplication and an addition count as two."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(3 + rounds):  # the first three warm up
        synchronize()
        started = time.perf_counter()
        a @ b
        synchronize()
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / min(seconds[3:])


def summary(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def read_results(name: str) -> Any:
    """The content of ``results/NAME.json``; an empty list if there is no such file."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def write_results(name: str, results: Any) -> None:
    """Write ``results/NAME.json``."""
    text = json.dumps(results, indent=1, default=str)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
