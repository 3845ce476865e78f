"""Say which recorded stages no longer match the code and params: ``python -m tools.fresh``.

Needs no data. A comment, a docstring or a blank line makes nothing stale. Exit status 1 where
something is.
"""

import json
import subprocess
import sys
from pathlib import Path

PROJECTS = (Path(), Path("research/ablation"))
MISSING = ("deleted", "not in cache")  # data that are not here: no difference in meaning


def stale_stages(project: Path) -> dict[str, list[str]]:
    """Stage -> what differs from the ``dvc.lock`` of the DVC project in the folder ``project``.

    Raises:
        ValueError: DVC cannot tell; with its message.
    """
    dvc(project, "repro", "--quiet", "--single-item", "code")
    output = dvc(project, "status", "--json")
    changed: dict[str, list[str]] = {}
    for stage, changes in json.loads(output[output.index("{") :]).items():
        for change in changes:
            parts = change.items() if isinstance(change, dict) else [(str(change), {})]
            found = [
                f"{path} {state}" if isinstance(state, str) else f"{path} {', '.join(state)}"
                for _, paths in parts
                for path, state in paths.items()
                if state not in MISSING
            ]
            if change == "changed command":
                found.append(change)
            if found:
                changed.setdefault(stage.rpartition("dvc.yaml:")[2], []).extend(found)
    return changed


def dvc(project: Path, *arguments: str) -> str:
    """What ``dvc`` prints in the folder ``project``."""
    done = subprocess.run(["dvc", *arguments], cwd=project, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"dvc {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout


def main() -> None:
    """See the module's text."""
    found = {project: stale_stages(project) for project in PROJECTS if (project / ".dvc").exists()}
    for project, stages in found.items():
        for stage, reasons in stages.items():
            print(f"{project / 'dvc.yaml'}: {stage}: {', '.join(reasons)}")
    if any(found.values()):
        sys.exit("stale, and all that follows from these; `git diff code` names the modules")
    print("nothing is stale")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"fresh: {error}")
