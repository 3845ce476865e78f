"""Weights on disk: finished models as safetensors, unfinished trainings to resume from."""

import hashlib
import io
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from unet.model import UNet
from unet.process import written_whole

ARCHITECTURE = ("downsample_mode", "upsample_mode", "width", "depth")


def save_model(path: Path, state: dict[str, torch.Tensor], info: dict[str, Any]) -> None:
    """Write a state dict with ``info`` (JSON values; the four of ARCHITECTURE among them)."""
    assert all(name in info for name in ARCHITECTURE)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
    # One entry: the order of several is not defined, and the file's bytes would vary.
    metadata = {"unet": json.dumps(info, sort_keys=True)}
    with written_whole(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, metadata))


def load_model(path: str | Path, device: str | torch.device = "cpu") -> tuple[UNet, dict[str, Any]]:
    """The model saved at ``path``, in evaluation mode, and its info.

    Raises:
        ValueError: no such file, or none that :func:`save_model` wrote.
    """
    try:
        with safe_open(path, framework="pt") as file:
            info = json.loads((file.metadata() or {})["unet"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model = UNet(**{name: info[name] for name in ARCHITECTURE})
        model.load_state_dict(state)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: run `dvc repro` or `dvc pull`") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"{path} is not a model of this project ({problem})") from None
    return model.to(device, memory_format=torch.channels_last).eval(), info


def fingerprint(*parts: Any, modules: Iterable[str] = ("unet", "stages", "__main__")) -> str:
    """A name for a training: of its settings and the source of what is loaded of ``modules``."""
    digest = hashlib.sha256(repr(parts).encode())
    packages = tuple(modules)
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] in packages and getattr(module, "__file__", None):
            digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()[:16]


def checkpoint_folder(name: str) -> Path:
    """Where the training ``name`` keeps its state: in the repository a copy was made of, so that a
    queued run that was broken off finds it again."""
    return Path(os.environ.get("DVC_ROOT", ".")) / ".checkpoints" / name


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write all that an interrupted training needs, in place of what stood there."""
    buffer = io.BytesIO()  # writing it ourselves, a full disk is an OSError
    torch.save(state, buffer)
    with written_whole(folder / "state.pt") as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_state(folder: Path) -> bytes | None:
    """What :func:`save_state` wrote last; None where there is nothing to resume."""
    path = folder / "state.pt"
    return path.read_bytes() if path.exists() else None


def load_state(content: bytes) -> dict[str, Any]:
    """The state in what :func:`read_state` read, on the CPU."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
