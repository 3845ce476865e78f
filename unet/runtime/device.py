"""Choose and set up what is fastest on this machine: device, precision, number of threads."""

import ctypes
import os
import platform
import re
import sys
import timeit
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import torch


def set_up(name: str) -> torch.device:
    """Prepare this process to compute reproducibly on the device ``auto | cuda | mps | cpu``."""
    device = resolve_device(name)
    make_repeatable(device)
    keep_freed_memory()
    return device


def resolve_device(name: str) -> torch.device:
    """The device that ``auto | cuda | mps | cpu`` means on this machine.

    Raises:
        ValueError: it is not available.
    """
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    there = [device for device, is_there in has.items() if is_there]
    name = there[0] if name == "auto" else name
    if name not in there:
        raise ValueError(
            f"device = {name}: not available here; choose auto or one of: {', '.join(there)}"
        )
    return torch.device(name)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step, instead of returning it to the system.

    A step frees hundreds of megabytes of activations; allocating them again costs a page fault per
    page. glibc only; elsewhere this does nothing.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        m_trim_threshold, m_mmap_threshold = -1, -3  # from malloc.h
        # Older versions of glibc refuse more than 32 MiB.
        libc.mallopt(m_mmap_threshold, 1 << 30) or libc.mallopt(m_mmap_threshold, 32 << 20)
        libc.mallopt(m_trim_threshold, (1 << 31) - 1)


def resolve_amp(name: str, device: torch.device) -> str:
    """The precision ``bf16 | fp16 | none`` that ``name`` (also ``auto``) means on ``device``.

    ``auto`` chooses what is faster: bf16 on CPUs that multiply it faster than float32 and on GPUs
    of compute capability 8.0 or more, fp16 on GPUs of 7.0 or more; else none.

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
    if device.type == "cpu":
        # Measured (in 0.1 s), because the instruction set alone does not tell: Zen 4 multiplies
        # bf16 at twice the speed of float32, a Xeon with AVX512-BF16 but hidden AMX at half of it.
        has = torch.cpu.get_capabilities()
        is_native = has.get("avx512_bf16") or has.get("amx_bf16")  # else it would be emulated
        if is_native and _product_seconds(torch.bfloat16) < _product_seconds(torch.float32):
            return "bf16"
    return "none"


def _product_seconds(dtype: torch.dtype) -> float:
    """The least time of five products of two matrices."""
    matrix = torch.ones(1024, 1024, dtype=dtype)
    return min(timeit.repeat(lambda: matrix @ matrix, number=1, repeat=5))


def resolve_threads(threads: int | str, device: torch.device) -> int:
    """The number of CPU threads that ``threads`` (also ``auto``) means.

    On a CPU ``auto`` is the number of cores that are idle now, at least 1 and at most torch's own
    number (the physical cores, or OMP_NUM_THREADS): at each operation all threads wait for the one
    whose core is shared with another process. On other devices it is torch's own number.
    """
    if threads != "auto":
        return threads
    most = torch.get_num_threads()
    if device.type != "cpu" or most == 1:
        return most
    busy = sum(psutil.cpu_percent(0.3, percpu=True)) / 100  # in cores
    return min(most, max(1, round(psutil.cpu_count() - busy)))


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
    """Make the same seed give the same bits. On CPUs this holds for a fixed number of threads.

    On CUDA, deterministic kernels are used where they exist; another GPU model, driver or torch
    may still round differently, so nothing is promised.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # slow and not needed here
