"""Compare ``metrics/scores`` with those of the last commit: ``python -m tools.verify``.

Run it after an evaluation. On the CPU model that made the record, the scores must be identical; on
another, they may differ by 1e-4. The exit status is 1 if they do not match.
"""

import json

import pandas as pd
import torch

from tools.commands import git
from tools.models import PROJECTS
from unet.config import load_params
from unet.inference.model_file import load_model
from unet.report.results import load_scores, was_evaluated
from unet.runtime.device import device_name, resolve_amp
from unet.runtime.process import run_stage

TOLERANCE = 1e-4  # another CPU rounds differently, so a few pixels cross the threshold


def main() -> None:
    """See the module docstring."""
    cpu = torch.device("cpu")
    here, fastest = device_name(cpu), resolve_amp("auto", cpu)
    wrong = []
    for project in (p for p in PROJECTS if (p / "metrics/scores").exists()):
        for key in load_params(project / "params.yaml").experiments:
            found = load_scores(project, key)
            file = (project / f"metrics/scores/{key}.json").as_posix()
            recorded = json.loads(git("show", f"HEAD:{file}"))
            made_on = pd.read_csv(project / f"plots/timing/{key}.csv")["device"].iloc[-1]
            amp = load_model(project / f"models/{key}.safetensors").info["amp"]
            # Different CPUs can have one name; whether bf16 is faster distinguishes some of them.
            allowed = 0.0 if made_on == here and amp == fastest else TOLERANCE
            problem = differs(recorded, found, allowed)
            if not was_evaluated(project, key, found["predictions"]):
                problem = "not evaluated here"
            print(f"{key}: {problem or 'as recorded'}, trained on {made_on}, within {allowed:g}")
            wrong += [f"{key}: {problem}"] if problem else []
    if wrong:
        raise ValueError("; ".join(wrong))


def differs(
    recorded: dict[str, float | str], found: dict[str, float | str], allowed: float
) -> str | None:
    """How the scores differ by more than ``allowed``; 0 asks for equal predictions, too."""
    if allowed == 0 and recorded["predictions"] != found["predictions"]:
        return "other predictions than recorded, on the same CPU model"
    differences = pd.Series(found).drop("predictions") - pd.Series(recorded).drop("predictions")
    largest = differences.abs().max(skipna=False)  # NaN where one side lacks a score
    return None if largest <= allowed else f"a score differs by {largest:.2g}"


if __name__ == "__main__":
    run_stage("verify", main)
