"""What Git and DVC say when they fail is one line of our tools."""

import sys
from pathlib import Path

import pytest

from tests.repo import ROOT, copy_repository, run

# As in a container whose user is not in /etc/passwd.
NO_NAME = """
import getpass

def nobody():
    raise KeyError("getpwuid(): uid not found: 54321")

getpass.getuser = nobody
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clone = copy_repository(tmp_path_factory.mktemp("clone") / "repo")
    for part in ("safetensors", "progress.npz"):
        (clone / f"released/pets.{part}").write_bytes((ROOT / f"released/pets.{part}").read_bytes())
    return clone


@pytest.mark.parametrize(("tool", "trouble"), [("compare", "no Git"), ("models", "no name")])
def test_the_reason_is_one_line(clone: Path, tmp_path: Path, tool: str, trouble: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NAME)
    variables, reason = {
        "no Git": ({"PATH": str(Path(sys.executable).parent)}, "'git'"),
        "no name": ({"PYTHONPATH": str(tmp_path)}, "uid not found: 54321"),
    }[trouble]
    done = run(clone, sys.executable, "-m", f"tools.{tool}", check=False, **variables)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{tool}: ") and reason in done.stdout
    assert done.stdout.count("\n") == 1, done.stdout
