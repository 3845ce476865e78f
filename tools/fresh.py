"""Say which recorded stages no longer match the code and params: ``python -m tools.fresh``.

Needs no data. Changed comments, docstrings and blank lines make nothing stale. The exit status is 1
if something is stale.
"""

import os
import sys
from pathlib import Path

from tools.commands import dvc, dvc_status, git
from unet.runtime.config import read_yaml
from unet.runtime.process import run_stage

PROJECTS = (Path(), Path("everyday"), Path("research/ablation"), Path("research/labels"))


def stale_stages(project: Path) -> dict[str, list[str]]:
    """Stale stage -> what differs from ``dvc.lock``, for the DVC project in the folder ``project``.

    Raises:
        ValueError: DVC or Git fails; the message is theirs.
    """
    dvc("repro", "--single-item", "code", folder=project)
    tracked = set(git("ls-files", folder=project).decode().splitlines())
    tracked |= {str(parent) for path in tracked for parent in Path(path).parents}
    stale: dict[str, list[str]] = {}
    for stage, changes in dvc_status(folder=project).items():
        reasons = [why for why in changes if isinstance(why, str) and why != "always changed"]
        for files in (files for why in changes if isinstance(why, dict) for files in why.values()):
            for file, state in files.items():
                path = os.path.relpath(project / file, project)  # those outside are absolute
                # Data are not in Git; they are not reported, whether they are here or not.
                if isinstance(state, dict):  # of params
                    reasons.append(f"{path} {', '.join(state)}")
                elif path in tracked:
                    reasons.append(f"{path} {state}")
        if reasons:
            stale[stage] = reasons
    return stale


def main() -> None:
    """See the module docstring."""
    stale = False
    for project in (p for p in PROJECTS if (p / "dvc.lock").exists()):
        found = stale_stages(project)
        recorded = read_yaml(project / "dvc.lock")["stages"]
        for stage, reasons in found.items():
            what = ", ".join(reasons) if stage in recorded else "has not run yet"
            print(f"{project / 'dvc.yaml'}: {stage}: {what}")
            stale |= stage in recorded
    if stale:
        sys.exit(
            "stale, and all that follows from these; `git diff code` or `git log -p code` names "
            "the modules"
        )
    print("nothing that has run is stale")


if __name__ == "__main__":
    run_stage("fresh", main)
