"""The stage ``code``: ``python -m research.labels.check``.

Checks the params, then writes ``code/STAGE.txt``, as the root's stage does, and ``code/start.txt``:
the weights that the folds start from.
"""

from research.labels.fold import HERE, load_labels
from stages.code import write_hashes
from unet.config import load_params
from unet.runtime.files import file_sha256, write
from unet.runtime.process import run_stage
from unet.training.config import select_experiment
from unet.training.start import start_file


def main() -> None:
    """See the module docstring."""
    labels = load_labels()  # DVC puts `folds` into commands of a shell
    params = load_params()
    key = select_experiment(params.experiments, [labels.experiment])
    start = start_file(params.train.start_from, key)
    write(HERE / "code/start.txt", f"{file_sha256(start) if start else 'random weights'}\n")
    write_hashes("research.labels", HERE / "code", ["fold", "rank"])


if __name__ == "__main__":
    run_stage("code", main)
