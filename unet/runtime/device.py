"""What the machine offers: the device, the precision and the number of threads that pay on it."""

import ctypes
import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

import torch


def set_up(name: str) -> torch.device:
    """Prepare this process to compute on the device ``auto | cuda | mps | cpu``, repeatably.

    Raises:
        ValueError: it is not available.
    """
    device = resolve_device(name)
    make_repeatable(device)
    keep_freed_memory()
    return device


def resolve_device(name: str) -> torch.device:
    """The device that ``auto | cuda | mps | cpu`` names here.

    Raises:
        ValueError: it is not available.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        there = ", ".join(device for device, there in available.items() if there)
        raise ValueError(f"device = {name}: not available here; choose auto or one of: {there}")
    return torch.device(name)


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next step, instead of giving it back.

    A step frees hundreds of megabytes of activations; asked for anew, each page of them costs a
    fault. glibc only; elsewhere nothing happens.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        m_trim_threshold, m_mmap_threshold = -1, -3  # of malloc.h
        # Older versions refuse more than 32 MiB.
        libc.mallopt(m_mmap_threshold, 1 << 30) or libc.mallopt(m_mmap_threshold, 32 << 20)
        libc.mallopt(m_trim_threshold, (1 << 31) - 1)


def resolve_amp(name: str, device: torch.device) -> str:
    """The precision ``bf16 | fp16 | none`` that ``name`` (also ``auto``) means on ``device``.

    ``auto`` takes what is faster: bf16 on CPUs that multiply it faster than float32 and on GPUs of
    compute capability 8.0 or more, fp16 on GPUs of 7.0 or more; else none.

    Raises:
        ValueError: fp16 without a CUDA device.
    """
    if name == "fp16" and device.type != "cuda":
        raise ValueError(f"train.amp = fp16 on {device.type}: needs cuda; use auto, bf16 or none")
    if name != "auto":
        return name
    if device.type == "cuda":
        major = torch.cuda.get_device_capability(device)[0]
        return "bf16" if major >= 8 else "fp16" if major >= 7 else "none"
    if device.type == "cpu" and cpu_gains_from_bf16():
        return "bf16"
    return "none"


def cpu_gains_from_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware, and faster than float32.

    Measured (a tenth of a second), since the instructions alone do not say: Zen 4 multiplies bf16
    at twice the speed of float32, a Xeon of the same AVX512-BF16 whose AMX is hidden at half of it.
    """
    capabilities = torch.cpu.get_capabilities()
    if not (capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")):
        return False  # it would be emulated
    seconds = _product_seconds(torch.bfloat16, torch.float32)
    return seconds[torch.bfloat16] < seconds[torch.float32]


def _product_seconds(*dtypes: torch.dtype, rounds: int = 5) -> dict[torch.dtype, float]:
    """The least time of a matrix product in each of ``dtypes``, taken in turns."""
    seconds = dict.fromkeys(dtypes, math.inf)
    for _ in range(rounds):
        for dtype in dtypes:
            matrix = torch.ones(1024, 1024, dtype=dtype)
            started = time.perf_counter()
            matrix @ matrix
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - started)
    return seconds


def fastest_threads(step: Callable[[], object], *, rounds: int = 5, budget: float = 3.0) -> int:
    """The number of CPU threads, 1 or all that torch takes now, with which ``step`` is the fastest.

    Beside other work a thread for each core is slow: at each operation the others wait for the one
    whose core is shared.

    Args:
        rounds: of a step with each number that count, after one to warm up.
        budget: seconds after which no further round begins, if three have counted or if one number
            has taken four times as long as the other: beside other work a step may take long.
    """
    candidates = sorted({1, torch.get_num_threads()})
    if len(candidates) == 1:
        return 1
    seconds: dict[int, list[float]] = {threads: [] for threads in candidates}
    try:
        for _ in range(1 + rounds):
            for threads in candidates:
                torch.set_num_threads(threads)
                started = time.perf_counter()
                step()
                seconds[threads].append(time.perf_counter() - started)
            spent = [sum(taken) for taken in seconds.values()]
            clear = len(seconds[1]) > 3 or max(spent) > 4 * min(spent)
            if clear and sum(spent) > budget:
                break
    finally:
        torch.set_num_threads(max(candidates))
    # The median, not the least: what else runs is part of what is asked.
    return min(candidates, key=lambda threads: median(seconds[threads][1:] or seconds[threads]))


def device_name(device: torch.device) -> str:
    """The model of the GPU or CPU, as its maker calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())):
        return found[1].strip()
    return platform.processor() or platform.machine()


def autocast(amp: str, device: torch.device) -> AbstractContextManager:
    """The autocast context of ``amp`` (``bf16 | fp16 | none``) on ``device``."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(amp)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def make_repeatable(device: torch.device) -> None:
    """Ask for the same bits from the same seed. CPUs keep to it at a fixed number of threads.

    On CUDA, kernels that are told to repeat are chosen where there are any; another GPU model,
    driver or torch may still round differently, and nothing is promised.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, repeats nothing
