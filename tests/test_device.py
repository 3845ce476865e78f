import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.repo import ROOT
from unet.runtime import device

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
    assert device.resolve_device("auto").type == expected


def test_a_named_device_is_taken(machine) -> None:
    machine(cuda=True, mps=True)
    for name in ("cuda", "mps", "cpu"):
        assert device.resolve_device(name).type == name


@pytest.mark.parametrize(
    ("name", "there", "listed"),
    [("cuda", {}, "cpu"), ("mps", {}, "cpu"), ("mps", {"cuda": True}, "cuda, cpu"),
     ("cuda", {"mps": True}, "mps, cpu")],
)  # fmt: skip
def test_a_device_that_is_not_there(machine, name: str, there: dict, listed: str) -> None:
    machine(**there)
    with pytest.raises(ValueError) as error:
        device.resolve_device(name)
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
    assert device.resolve_amp("auto", CUDA) == expected


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
    monkeypatch.setattr(device, "_product_seconds", lambda *dtypes: {d: seconds[d] for d in dtypes})
    assert device.cpu_gains_from_bf16() is (expected == "bf16")
    assert device.resolve_amp("auto", CPU) == expected


def test_products_are_timed_in_turns_and_the_least_time_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0, 5, 5, 7, 7, 8, 8, 11])  # 5 and 2 seconds, then 1 and 3
    monkeypatch.setattr(device.time, "perf_counter", lambda: next(clock))
    seconds = device._product_seconds(torch.float32, torch.bfloat16, rounds=2)
    assert seconds == {torch.float32: 1, torch.bfloat16: 2}


def test_auto_precision_of_mps_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert device.resolve_amp("auto", MPS) == "none"


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_fp16_needs_cuda(kind: str) -> None:
    with pytest.raises(ValueError, match=f"train.amp = fp16 on {kind}: needs cuda"):
        device.resolve_amp("fp16", torch.device(kind))
    assert device.resolve_amp("fp16", CUDA) == "fp16"


@pytest.mark.parametrize("name", ["bf16", "none"])
@pytest.mark.parametrize("on", [CPU, CUDA, MPS])
def test_a_named_precision_is_taken(name: str, on: torch.device) -> None:
    assert device.resolve_amp(name, on) == name


@pytest.mark.parametrize(
    ("amp", "dtype"),
    [("bf16", torch.bfloat16), ("fp16", torch.float16), ("none", torch.float32)],
)
def test_autocast_multiplies_in_its_precision(amp: str, dtype: torch.dtype) -> None:
    a = torch.ones(4, 4)
    with device.autocast(amp, CPU):
        assert (a @ a).dtype == dtype
    assert (a @ a).dtype == torch.float32


class MadeUpStep:
    """A step whose time on a clock of its own depends on the number of threads."""

    def __init__(self, seconds: dict[int, list[float]]) -> None:
        self.seconds = {threads: iter(values) for threads, values in seconds.items()}
        self.now = 0.0
        self.calls: list[int] = []

    def __call__(self) -> None:
        self.calls.append(torch.get_num_threads())
        self.now += next(self.seconds[self.calls[-1]])


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, threads: int):
    """Let ``fastest_threads``, with two of them, try a made-up step."""

    def try_it(**seconds: list[float]) -> tuple[int, list[int]]:
        torch.set_num_threads(2)
        step = MadeUpStep({1: seconds["one"], 2: seconds["two"]})
        monkeypatch.setattr(device.time, "perf_counter", lambda: step.now)
        found = device.fastest_threads(step)
        assert torch.get_num_threads() == 2, "the number is what it was"
        return found, step.calls

    return try_it


def test_the_faster_number_of_threads_is_found(tried) -> None:
    assert tried(one=[0.02] * 6, two=[0.01] * 6) == (2, [1, 2] * 6)
    assert tried(one=[0.01] * 6, two=[0.02] * 6) == (1, [1, 2] * 6)


def test_first_steps_and_single_hiccups_do_not_count(tried) -> None:
    assert tried(one=[9e-1] + [0.01] * 5, two=[0.02] * 6)[0] == 1
    assert tried(one=[0.02] * 6, two=[9e-1] + [0.01] * 5)[0] == 2
    assert tried(one=[0.01, 0.9, 0.01, 0.01, 0.9, 0.01], two=[0.02] * 6)[0] == 1


def test_slow_steps_are_tried_less_often(tried) -> None:
    # Beside other work a step with all threads may take many seconds: once is enough.
    assert tried(one=[1.4], two=[11.7]) == (1, [1, 2])
    assert tried(one=[20.0], two=[0.5]) == (2, [1, 2])
    assert tried(one=[1.0] * 4, two=[1.5] * 4) == (1, [1, 2] * 4)


def test_steps_in_earnest(threads: int) -> None:
    torch.set_num_threads(2)

    def step() -> None:
        time.sleep(0.05 if torch.get_num_threads() == 1 else 0.001)

    assert device.fastest_threads(step) == 2


def test_one_thread_is_not_tried(threads: int) -> None:
    torch.set_num_threads(1)
    calls: list[int] = []
    assert device.fastest_threads(lambda: calls.append(1)) == 1
    assert calls == []


def test_the_number_of_threads_is_restored_where_the_step_fails(threads: int) -> None:
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        device.fastest_threads(lambda: 1 / 0)
    assert torch.get_num_threads() == 2


def test_the_devices_name_is_its_makers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "Some GPU 100")
    assert device.device_name(CUDA) == "Some GPU 100"
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(device, "Path", lambda _path: cpuinfo)
    monkeypatch.setattr(device.platform, "processor", lambda: "")
    monkeypatch.setattr(device.platform, "machine", lambda: "aarch64")
    assert device.device_name(CPU) == "aarch64"
    cpuinfo.write_text("processor\t: 0\n")
    assert device.device_name(CPU) == "aarch64"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2.20GHz\nflags\t: fpu\n" * 2)
    assert device.device_name(CPU) == "Some CPU @ 2.20GHz"


def test_setting_up_is_all_that_a_stage_needs(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(cuda=True)
    done: list[object] = []
    monkeypatch.setattr(device, "make_repeatable", done.append)
    monkeypatch.setattr(device, "keep_freed_memory", lambda: done.append("memory"))
    assert device.set_up("auto") == CUDA
    assert done == [CUDA, "memory"]


def test_repeatable_kernels_are_asked_of_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(
        torch, "use_deterministic_algorithms", lambda mode, warn_only: asked.append(mode)
    )
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    device.make_repeatable(CPU)
    assert asked == []
    device.make_repeatable(CUDA)
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
