"""Say which recorded stages no longer match the code and params: ``python -m tools.fresh``.

Needs no data. Changed comments, docstrings and blank lines make nothing stale. The exit status is 1
if something is stale.
"""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from tools.commands import dvc, git
from unet.runtime.config import read_yaml
from unet.runtime.process import run_stage

PROJECTS = (Path(), Path("everyday"), Path("research/ablation"), Path("research/labels"))


def stale_stages(project: Path) -> dict[str, list[str]]:
    """Stale stage -> what differs from ``dvc.lock``, for the DVC project in the folder ``project``.

    Raises:
        ValueError: DVC or Git fails; the message is theirs.
    """
    read_yaml(project / "params.yaml")  # DVC would not report a broken file here
    dvc("repro", "--single-item", "code", folder=project)
    tracked = git("ls-files", folder=project).decode().splitlines()
    tracked += [part for path in tracked for part in map(str, Path(path).parents)]
    output = dvc("status", "--json", folder=project)
    stale: dict[str, list[str]] = {}
    for stage, changes in json.loads(output[output.index("{") :]).items():
        reasons = []
        for change in changes:
            if isinstance(change, dict):  # deps or outs: path -> state, or states of params
                for path, state in next(iter(change.values())).items():
                    what = state if isinstance(state, str) else ", ".join(state)
                    name = os.path.relpath(project / path, project)  # DVC's path may be absolute
                    # Data are not in Git; they are not reported, whether they are here or not.
                    if not isinstance(state, str) or name in set(tracked):
                        reasons.append(f"{name} {what}")
            elif change != "always changed":
                reasons.append(change)
        if reasons:
            stale[stage] = reasons
    return stale


def is_recorded(project: Path) -> bool:
    """Whether a stage other than ``code`` has run in ``project``; this tool runs ``code``."""
    lock = project / "dvc.lock"
    return lock.exists() and bool(read_yaml(lock).get("stages", {}).keys() - {"code"})


def not_run_yet(project: Path, stages: Iterable[str]) -> list[str]:
    """Those of ``stages`` without an entry in the lock file, and the ``gather`` stages of designs
    with such a run: the pages say themselves which seeds their tables have."""
    recorded = read_yaml(project / "dvc.lock")["stages"]
    new = {stage for stage in stages if stage not in recorded}
    gathering = {f"gather@{stage.partition('@')[0]}" for stage in new}
    return [stage for stage in stages if stage in new | gathering]


def main() -> None:
    """See the module docstring."""
    stale = False
    for project in filter(is_recorded, PROJECTS):
        stages = stale_stages(project)
        if waiting := not_run_yet(project, stages):
            names = ", ".join(waiting[:3]) + ", …" * (len(waiting) > 3)
            print(f"{project / 'dvc.yaml'}: {len(waiting)} stages have not run yet: {names}")
        for stage in stages.keys() - set(waiting):
            stale = True
            print(f"{project / 'dvc.yaml'}: {stage}: {', '.join(stages[stage])}")
    if stale:
        sys.exit(
            "stale, and all that follows from these; `git diff code` or `git log -p code` names "
            "the modules"
        )
    print("nothing that has run is stale")


if __name__ == "__main__":
    run_stage("fresh", main)
