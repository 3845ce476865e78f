"""The state of an unfinished training on disk, from which it resumes."""

import hashlib
import io
import os
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from unet.runtime.files import atomic_write, sha256

STATE = "state.bin"  # SHA-256, then what torch.save writes
KEPT_FOR = 7 * 24 * 3600  # seconds that the state of an abandoned training is kept


def fingerprint(*parts: Any, files: Iterable[Path] = ()) -> str:
    """A name for a training, from its settings and the content of ``files``: 16 hex digits."""
    return hashlib.sha256(repr((parts, sha256(*sorted(files)))).encode()).hexdigest()[:16]


def checkpoint_folder(key: str, name: str) -> Path:
    """Where the training ``name`` of the experiment ``key`` keeps its state.

    It is in the original repository, not in the copy where a queued run works, so that the run
    finds it again after an interruption.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / ".checkpoints" / key / name


def other_states(folder: Path) -> list[Path]:
    """Folders of other unfinished trainings of the same experiment."""
    return sorted(path.parent for path in folder.parent.glob(f"*/{STATE}") if path.parent != folder)


def remove_checkpoint(folder: Path) -> None:
    """Delete ``folder``, and the same experiment's other states that are older than KEPT_FOR."""
    shutil.rmtree(folder)
    for other in other_states(folder):
        with suppress(FileNotFoundError):  # another process may remove it, too
            if (other / STATE).stat().st_mtime < time.time() - KEPT_FOR:
                shutil.rmtree(other, ignore_errors=True)


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write what an interrupted training needs to resume.

    Args:
        state: made of dicts, lists, tensors, numbers and text.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    with atomic_write(folder / STATE) as temporary:
        temporary.write_bytes(hashlib.sha256(content).digest() + content)


def read_state(folder: Path) -> bytes | None:
    """What :func:`save_state` wrote; None if it is missing or damaged."""
    try:
        content = (folder / STATE).read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content[32:]).digest() == content[:32]:
        return content[32:]
    print(f"{folder / STATE} is damaged: the training starts anew", file=sys.stderr)
    return None


def load_state(content: bytes) -> dict[str, Any]:
    """Decode what :func:`read_state` returned, onto the CPU; tensors keep their strides."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
