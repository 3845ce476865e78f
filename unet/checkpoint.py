"""Weights on disk: finished models as safetensors, unfinished trainings to resume from."""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from unet.model import UNet
from unet.process import written_whole

ARCHITECTURE = ("downsample_mode", "upsample_mode", "width", "depth")
STATES = ("state.bin", "previous.bin")  # SHA-256, then safetensors


def save_model(path: Path, state: dict[str, torch.Tensor], info: dict[str, Any]) -> None:
    """Write a state dict with ``info``: JSON values, among them the four of ARCHITECTURE, a
    ``threshold`` in (0, 1) and an ``epoch``."""
    assert all(name in info for name in (*ARCHITECTURE, "threshold", "epoch"))
    tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
    # One entry: the order of several is not defined, and the file's bytes would vary.
    metadata = {"unet": json.dumps(info, sort_keys=True)}
    with written_whole(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, metadata))


def load_model(path: str | Path, device: str | torch.device = "cpu") -> tuple[UNet, dict[str, Any]]:
    """The model saved at ``path``, in evaluation mode, and its info.

    Raises:
        ValueError: no such file, none that :func:`save_model` wrote, or weights not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            info = json.loads((file.metadata() or {})["unet"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        # Without memory first: what the metadata asks for may be of any size.
        with torch.device("meta"):
            model = UNet(**{name: info[name] for name in ARCHITECTURE})
        expected = {name: tensor.dtype for name, tensor in model.state_dict().items()}
        model.load_state_dict(state, assign=True)
        if wrong := [name for name, dtype in expected.items() if state[name].dtype != dtype]:
            raise ValueError(f"{wrong[0]} is of {state[wrong[0]].dtype}")
        if not 0 < info["threshold"] < 1 or not isinstance(info["epoch"], int):
            raise ValueError(f"threshold {info['threshold']}, epoch {info['epoch']}")
        broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
        if broken:
            raise ValueError(f"{broken[0]} holds values that are not finite")
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: run `dvc repro` or `dvc pull`") from None
    except (
        SafetensorError, OSError, KeyError, TypeError, ValueError, ArithmeticError, RuntimeError,
    ) as error:  # fmt: skip
        problem = " ".join(str(error).split())
        raise ValueError(f"{path} is not a model of this project ({problem})") from None
    return model.to(device, memory_format=torch.channels_last).eval(), info


def fingerprint(
    *parts: Any, files: Iterable[Path] = (), modules: Iterable[str] = ("unet", "stages", "__main__")
) -> str:
    """A name for a training: of its settings, the ``files`` that it reads and the source of what is
    loaded of ``modules``."""
    digest = hashlib.sha256(repr(parts).encode())
    packages = tuple(modules)
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] in packages and getattr(module, "__file__", None):
            digest.update(Path(module.__file__).read_bytes())
    for path in sorted(files):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def checkpoint_folder(name: str) -> Path:
    """Where the training ``name`` keeps its state: in the repository a copy was made of, so that a
    queued run that was broken off finds it again."""
    return Path(os.environ.get("DVC_ROOT", ".")) / ".checkpoints" / name


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write all that an interrupted training needs; what stood there before is kept beside it.

    Args:
        state: of dicts (keys of text or whole numbers), lists, tensors and JSON's values.
    """
    tensors: dict[str, torch.Tensor] = {}
    tree = json.dumps(_without_tensors(state, tensors))
    content = safetensors.torch.save(tensors, {"tree": tree})
    with written_whole(folder / STATES[0]) as temporary:
        temporary.write_bytes(hashlib.sha256(content).digest() + content)
        if (folder / STATES[0]).exists():
            (folder / STATES[0]).replace(folder / STATES[1])


def read_state(folder: Path) -> bytes | None:
    """The last whole state that :func:`save_state` wrote; None where there is nothing to resume."""
    for name in STATES:
        with suppress(FileNotFoundError):
            content = (folder / name).read_bytes()
            if hashlib.sha256(content[32:]).digest() == content[:32]:
                return content[32:]
            print(f"{folder / name} is damaged: not used", file=sys.stderr)
    return None


def load_state(content: bytes) -> dict[str, Any]:
    """The state in what :func:`read_state` read, on the CPU."""
    length = int.from_bytes(content[:8], "little")  # of safetensors' header, JSON
    tree = json.loads(content[8 : 8 + length])["__metadata__"]["tree"]
    return _with_tensors(json.loads(tree), safetensors.torch.load(content))


def _without_tensors(node: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """``node`` as JSON; its tensors, flat as they lie in memory, go to ``tensors``.

    Their strides are kept: a fused optimiser walks through weights and moments side by side.
    """
    if isinstance(node, torch.Tensor):
        if not node.is_contiguous(memory_format=torch.channels_last):
            node = node.contiguous()
        name = str(len(tensors))
        tensors[name] = node.detach().cpu().as_strided((node.numel(),), (1,))
        return {"tensor": name, "shape": list(node.shape), "stride": list(node.stride())}
    if isinstance(node, dict):
        # As pairs: JSON would make text of whole numbers.
        return {"dict": [[key, _without_tensors(item, tensors)] for key, item in node.items()]}
    if isinstance(node, list | tuple):
        return [_without_tensors(item, tensors) for item in node]
    return node


def _with_tensors(node: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(node, list):
        return [_with_tensors(item, tensors) for item in node]
    if isinstance(node, dict) and "dict" in node:
        return {key: _with_tensors(item, tensors) for key, item in node["dict"]}
    if isinstance(node, dict):
        return tensors[node["tensor"]].as_strided(node["shape"], node["stride"])
    return node
