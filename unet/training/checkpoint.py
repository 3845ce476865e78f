"""The state of an unfinished training on disk, from which it resumes."""

import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import torch

from unet.runtime.files import sha256, write
from unet.runtime.source import source_hashes
from unet.training.distributed import rank

STATE = "state.bin"


@contextmanager
def unfinished(key: str, module: str, *settings: Any, files: Iterable[Path]) -> Iterator[Path]:
    """The folder for the state of one training; the training of other settings has another.

    It is held during the block and deleted if the block succeeds. It lies in the original
    repository, not in the copy where a queued run works, so that the run finds it again after an
    interruption.

    Args:
        key: names the training in messages.
        module: what trains; its source is part of the training's settings.
        files: the data.
    """
    parts = (settings, torch.__version__, source_hashes(module), sha256(*sorted(files)))
    name = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("DVC_ROOT", ".")) / ".checkpoints" / key / name
    if rank() > 0:  # the first rank holds it for all
        yield folder
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / "lock", timeout=0):  # freed if the process dies
            yield folder
    except filelock.Timeout:
        raise ValueError(f"another run of {key} is at work here: wait for it, or stop it") from None
    shutil.rmtree(folder, ignore_errors=True)


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write what an interrupted training needs to resume: dicts, lists, tensors, numbers, text."""
    torch.save(state, buffer := io.BytesIO())
    write(folder / STATE, buffer.getbuffer())


def load_state(folder: Path) -> dict[str, Any] | None:
    """What :func:`save_state` wrote, on the CPU, or None; tensors keep their strides."""
    if not (folder / STATE).exists():
        return None
    return torch.load(folder / STATE, map_location="cpu", weights_only=True)
