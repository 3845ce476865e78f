"""What Git and DVC say when they fail is one line of our tools."""

import getpass
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from tests.repo import copy_repository, run
from tools.models import dvc_in

# As in a container whose user is not in /etc/passwd.
NO_NAME = """
import getpass

def nobody():
    raise KeyError("getpwuid(): uid not found: 54321")

getpass.getuser = nobody
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_repository(tmp_path_factory.mktemp("clone") / "repo")


@pytest.mark.parametrize(
    ("tool", "trouble"),
    [
        ("compare", "no Git"),
        ("compare", "no name"),
        ("fresh", "no Git"),
        ("fresh", "no name"),
        ("fresh", "another owner"),  # by a variable that DVC's library does not know
    ],
)
def test_the_reason_is_one_line(clone: Path, tmp_path: Path, tool: str, trouble: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NAME)
    variables, reason = {
        "no Git": ({"PATH": str(Path(sys.executable).parent)}, "'git'"),
        "no name": ({"PYTHONPATH": str(tmp_path)}, "uid not found: 54321"),
        "another owner": ({"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}, "safe.directory"),
    }[trouble]
    done = run(clone, sys.executable, "-m", f"tools.{tool}", check=False, **variables)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{tool}: ") and reason in done.stdout
    assert done.stdout.count("\n") == 1, done.stdout


def test_models_say_dvcs_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> NoReturn:
        raise KeyError("uid not found: 54321")

    run(tmp_path, "dvc", "init", "-q", "--no-scm")
    monkeypatch.setattr(getpass, "getuser", nobody)
    for folder, reason in ((tmp_path, "uid not found: 54321"), (tmp_path / "not", "not")):
        folder.mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=reason), dvc_in(folder):
            pass
