"""The stage ``code``: ``python -m research.ablation.check``.

Checks the params, then writes ``code/STAGE.txt``, as the root's stage does.
"""

from research.ablation.design import DESIGNS, HERE, load_design
from stages.code import write_hashes
from unet.config import load_params
from unet.runtime.process import run_stage


def main() -> None:
    """See the module docstring."""
    for name in DESIGNS:
        load_design(name)  # DVC puts `seeds` into commands of a shell
    load_params()
    stages = ["pack", "train", "gather", "images", "figure"]
    write_hashes("research.ablation", HERE / "code", stages)


if __name__ == "__main__":
    run_stage("code", main)
