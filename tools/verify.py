"""Compare ``metrics/scores`` with those of the last commit: ``python -m tools.verify``.

After an evaluation it says whether the released models score what the record says: the same on the
CPU model that made the record, within 1e-4 on another. Exit status 1 where they do not.
"""

import json
import subprocess
from pathlib import Path

import pandas as pd
import torch

from unet.config import load_params
from unet.report.results import load_scores
from unet.runtime.device import device_name
from unet.runtime.process import run_stage

TOLERANCE = 1e-4  # another CPU rounds differently, and a few pixels fall on the other side


def main() -> None:
    """See the module's text."""
    worst: dict[str, float] = {}
    here = device_name(torch.device("cpu"))
    for key in load_params().experiments:
        recorded = json.loads(committed(f"metrics/scores/{key}.json"))
        found = load_scores(Path(), key)
        made_on = pd.read_csv(f"plots/timing/{key}.csv")["device"].iloc[-1]
        if recorded.pop("predictions") != found.pop("predictions") and made_on == here:
            raise ValueError(f"{key}: other predictions than recorded, on the same CPU ({here})")
        if recorded.keys() != found.keys():
            raise ValueError(f"{key}: other scores than recorded: {recorded.keys() ^ found.keys()}")
        worst[key] = max(abs(recorded[name] - found[name]) for name in found)
        print(f"{key}: {len(found)} scores, largest difference {worst[key]:.2g}")
    allowed = 0.0 if made_on == here else TOLERANCE
    if max(worst.values()) > allowed:
        raise ValueError(f"scores differ by more than {allowed:g} (recorded on {made_on})")
    print(f"as recorded, within {allowed:g} (recorded on {made_on}, here {here})")


def committed(path: str) -> str:
    """The text of ``path`` in the last commit.

    Raises:
        ValueError: it is not there.
    """
    done = subprocess.run(["git", "show", f"HEAD:{path}"], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{path}: not in the last commit: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    run_stage("verify", main)
