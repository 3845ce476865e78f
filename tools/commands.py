"""Git and DVC as commands; when one fails, its own reason is the error, in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path


def git(*arguments: str, folder: Path = Path()) -> bytes:
    """What ``git`` prints in ``folder``; a ValueError if it fails."""
    return _output(["git", *arguments], folder)


def dvc(*arguments: str, folder: Path = Path()) -> str:
    """What ``dvc`` prints in ``folder``; a ValueError if it fails."""
    return _output([sys.executable, "-m", "dvc", *arguments], folder).decode()


def dvc_status(*stages: str, folder: Path = Path()) -> dict[str, list]:
    """Stage -> what ``dvc status`` says has changed."""
    shown = dvc("status", "--json", *stages, folder=folder)
    return json.loads(shown[shown.index("{") :])


def _output(command: list[str], folder: Path) -> bytes:
    # Stages must run with this Python, even if its environment is not activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, capture_output=True, env=os.environ | {"PATH": path})
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines()
        said = [
            line.strip().removeprefix("ERROR: ").removeprefix("fatal: ")
            for line in lines
            if line.strip() and not line.startswith(("WARNING: ", "Having any troubles?"))
        ]
        raise ValueError("; ".join(said).replace(":; ", ": ") or f"`{' '.join(command)}` failed")
    return done.stdout
