import pytest
import torch

from unet.runtime import device

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda", "mps"))


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((6, 1), "none"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((12, 0), "bf16")],
)
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
        ({"amx_bf16": True}, 0.5, "bf16"),
        ({"avx512_bf16": True}, 2.0, "none"),
    ],
)
def test_auto_precision_of_cpus_and_mps(
    monkeypatch: pytest.MonkeyPatch,
    capabilities: dict[str, bool],
    bf16_seconds: float,
    expected: str,
) -> None:
    seconds = {torch.bfloat16: bf16_seconds, torch.float32: 1.0}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(device, "_product_seconds", seconds.get)
    assert device.resolve_amp("auto", CPU) == expected
    assert device.resolve_amp("auto", MPS) == "none"


def test_a_named_precision_is_taken() -> None:
    assert device._product_seconds(torch.float32) > 0
    for on in (CPU, CUDA, MPS):
        assert [device.resolve_amp(name, on) for name in ("bf16", "none")] == ["bf16", "none"]
    assert device.resolve_amp("fp16", CUDA) == "fp16"
    for kind in ("cpu", "mps"):
        with pytest.raises(ValueError, match=f"train.amp = fp16 on {kind}: needs cuda"):
            device.resolve_amp("fp16", torch.device(kind))


@pytest.mark.parametrize(
    ("busy", "most", "expected"),
    [
        ([0, 1, 2, 0], 4, 4),
        ([0, 1, 2, 0], 2, 2),  # physical cores, or OMP_NUM_THREADS
        ([100, 3, 0, 5], 4, 3),
        ([52, 47, 3, 4], 4, 3),  # one thread that moved from core to core
        ([100, 98, 100, 100], 4, 1),
        ([100] * 4, 1, 1),
    ],
)
def test_auto_threads_are_the_idle_cores(
    monkeypatch: pytest.MonkeyPatch, busy: list[float], most: int, expected: int
) -> None:
    monkeypatch.setattr(device.psutil, "cpu_count", lambda: len(busy))
    monkeypatch.setattr(device.psutil, "cpu_percent", lambda _seconds, percpu: busy)
    monkeypatch.setattr(torch, "get_num_threads", lambda: most)
    assert device.resolve_threads("auto", CPU) == expected
    assert device.resolve_threads("auto", CUDA) == most
    assert device.resolve_threads(7, CPU) == 7
