"""Compare ``metrics/scores`` with those of the last commit: ``python -m tools.verify``.

Run it after an evaluation. On the CPU model that made the record, the scores must be identical; on
another, they may differ by 1e-4. The exit status is 1 if they do not match.
"""

import json
from pathlib import Path

import pandas as pd
import torch

from tools.commands import git
from tools.models import PROJECTS
from unet.config import load_params
from unet.inference.model_file import load_model
from unet.report.results import load_scores, was_evaluated
from unet.runtime.device import device_name, resolve_amp
from unet.runtime.files import sha256
from unet.runtime.process import run_stage

TOLERANCE = 1e-4  # another CPU rounds differently, so a few pixels cross the threshold


def main() -> None:
    """See the module docstring."""
    cpu = torch.device("cpu")
    here, fastest = device_name(cpu), resolve_amp("auto", cpu)
    released = [project for project in PROJECTS if (project / "metrics/scores").exists()]
    experiments = [(p, key) for p in released for key in load_params(p / "params.yaml").experiments]
    missing = []
    for project, key in experiments:
        made_on = pd.read_csv(project / f"plots/timing/{key}.csv")["device"].iloc[-1]
        _, info = load_model(project / f"models/{key}.safetensors")
        # Different CPUs can have one name; whether bf16 is faster distinguishes some of them.
        exact = made_on == here and info["amp"] == fastest
        found = load_scores(project, key)
        if not was_evaluated(project, key, found["predictions"]):
            command = "dvc" if project == Path() else f"dvc --cd {project}"
            missing.append(f"`{command} repro --force --single-item evaluate@{key}`")
            continue
        file = (project / f"metrics/scores/{key}.json").as_posix()
        recorded = json.loads(git("show", f"HEAD:{file}"))
        difference = largest_difference(recorded, found, exact=exact)
        allowed = 0.0 if exact else TOLERANCE
        if difference > allowed:
            raise ValueError(
                f"{key}: a score differs by {difference:.2g}, more than {allowed:g} (trained on "
                f"{made_on}, here {here})"
            )
        print(f"{key}: as recorded, trained on {made_on}, within {allowed:g}")
    if missing:
        raise ValueError(
            f"not evaluated here, which needs the data: run {', '.join(missing)} before"
        )


def was_evaluated(project: Path, key: str, predictions: str) -> bool:
    """Whether the predictions here have the hash ``predictions``; a clone has the scores only."""
    files = [project / f"predictions/{key}/{name}" for name in ("images.csv", "masks.npy")]
    return all(file.is_file() for file in files) and sha256(*files) == predictions


def largest_difference(
    recorded: dict[str, float | str], found: dict[str, float | str], *, exact: bool
) -> float:
    """The largest absolute difference between two scores of the same name.

    Args:
        exact: whether the hashes of the predictions must be equal too.

    Raises:
        ValueError: the names of the scores differ, or the hashes do although ``exact`` is true.
    """
    if recorded.keys() != found.keys():
        raise ValueError(f"other scores than recorded: {sorted(recorded.keys() ^ found.keys())}")
    if exact and recorded["predictions"] != found["predictions"]:
        raise ValueError("other predictions than recorded, on the same CPU model")
    return max(abs(recorded[name] - found[name]) for name in found if name != "predictions")


if __name__ == "__main__":
    run_stage("verify", main)
