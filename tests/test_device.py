import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from tests.repo import ROOT
from unet import hardware

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda", "mps"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Make the machine offer what is named."""

    def offer(*, cuda: bool = False, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return offer


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(False, False, "cpu"), (False, True, "mps"), (True, False, "cuda"), (True, True, "cuda")],
)
def test_auto_takes_the_best_device(machine, cuda: bool, mps: bool, expected: str) -> None:
    machine(cuda=cuda, mps=mps)
    assert hardware.resolve_device("auto").type == expected


def test_a_named_device_is_taken(machine) -> None:
    machine(cuda=True, mps=True)
    for name in ("cuda", "mps", "cpu"):
        assert hardware.resolve_device(name).type == name


@pytest.mark.parametrize(
    ("name", "there", "listed"),
    [("cuda", {}, "cpu"), ("mps", {}, "cpu"), ("mps", {"cuda": True}, "cuda, cpu"),
     ("cuda", {"mps": True}, "mps, cpu")],
)  # fmt: skip
def test_a_device_that_is_not_there(machine, name: str, there: dict, listed: str) -> None:
    machine(**there)
    with pytest.raises(ValueError) as error:
        hardware.resolve_device(name)
    assert str(error.value) == (
        f"device = {name}: not available here; choose auto or one of: {listed}"
    )


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((6, 1), "none"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16"),
     ((12, 0), "bf16")],
)  # fmt: skip
def test_auto_precision_of_gpus(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert hardware.resolve_amp("auto", CUDA) == expected


@pytest.mark.parametrize(
    ("capabilities", "bf16_seconds", "expected"),
    [
        ({}, 0.5, "none"),
        ({"avx512_bf16": False, "amx_bf16": False, "avx512_f": True}, 0.5, "none"),
        ({"avx512_bf16": True}, 0.5, "bf16"),
        ({"avx512_bf16": False, "amx_bf16": True}, 0.5, "bf16"),
        ({"avx512_bf16": True}, 2.0, "none"),
    ],
)
def test_auto_precision_of_cpus(
    monkeypatch: pytest.MonkeyPatch,
    capabilities: dict[str, bool],
    bf16_seconds: float,
    expected: str,
) -> None:
    seconds = {torch.bfloat16: bf16_seconds, torch.float32: 1.0}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(
        hardware, "_product_seconds", lambda *dtypes: {d: seconds[d] for d in dtypes}
    )
    assert hardware.cpu_gains_from_bf16() is (expected == "bf16")
    assert hardware.resolve_amp("auto", CPU) == expected


def test_products_are_timed_alike() -> None:
    """float64 takes twice as long everywhere; what float32 takes is of the same order each time."""
    seconds = hardware._product_seconds(torch.float32, torch.float64)
    assert 0 < seconds[torch.float32] < seconds[torch.float64]


def test_auto_precision_of_mps_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert hardware.resolve_amp("auto", MPS) == "none"


@pytest.mark.parametrize("device", [CPU, MPS])
def test_fp16_needs_cuda(device: torch.device) -> None:
    with pytest.raises(ValueError, match=f"train.amp = fp16 on {device.type}: needs cuda"):
        hardware.resolve_amp("fp16", device)
    assert hardware.resolve_amp("fp16", CUDA) == "fp16"


@pytest.mark.parametrize("name", ["bf16", "none"])
@pytest.mark.parametrize("device", [CPU, CUDA, MPS])
def test_a_named_precision_is_taken(name: str, device: torch.device) -> None:
    assert hardware.resolve_amp(name, device) == name


@pytest.mark.parametrize(
    ("amp", "dtype"),
    [("bf16", torch.bfloat16), ("fp16", torch.float16), ("none", torch.float32)],
)
def test_autocast_multiplies_in_its_precision(amp: str, dtype: torch.dtype) -> None:
    a = torch.ones(4, 4)
    with hardware.autocast(amp, CPU):
        assert (a @ a).dtype == dtype
    assert (a @ a).dtype == torch.float32


def test_threads_are_set(threads: int) -> None:
    assert hardware.set_threads("auto") == threads
    other = 1 if threads > 1 else 2
    assert hardware.set_threads(other) == other == torch.get_num_threads()
    assert hardware.set_threads("auto") == other


def test_repeatable_kernels_are_asked_of_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(
        torch, "use_deterministic_algorithms", lambda mode, warn_only: asked.append(mode)
    )
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    hardware.make_repeatable(CPU)
    assert asked == []
    hardware.make_repeatable(CUDA)
    assert asked == [True]
    assert torch.backends.cudnn.benchmark is False


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept() -> None:
    """In a process of its own: there is no way back."""
    code = """
import resource, torch
from unet.runtime.device import keep_freed_memory

def page_faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        [torch.ones(6 << 20) for _ in range(4)]  # 24 MiB each, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = page_faults()
keep_freed_memory()
page_faults()
print(given_back, page_faults())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    given_back, kept = map(int, done.stdout.split())
    assert kept < given_back / 10
