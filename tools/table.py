"""The experiments' scores as a table: printed, or by each rule for the border in docs/results.md.

``python -m tools.table [FOLDER]`` prints the table of the repository in FOLDER (default: here);
``python -m tools.table --readme`` rewrites the text between that page's markers.
"""

import argparse
from pathlib import Path

import pandas as pd

from tools.models import check_recorded, recorded_outputs
from unet.config import load_params
from unet.data.masks import BOUNDARY_RULES
from unet.inference.evaluation import RULE_ENDINGS
from unet.report.results import load_scores
from unet.report.tables import markdown, rewrite
from unet.runtime.process import run_stage

RESULTS = Path("docs/results.md")
COLUMNS = {  # score -> its column's title, factor and format
    "accuracy": ("accuracy", 1, "{:.2%}"),
    "iou": ("IoU", 1, "{:.4f}"),
    "dice": ("Dice", 1, "{:.4f}"),
    "iou_per_image": ("IoU, mean over images", 1, "{:.4f}"),
    "boundary_iou": ("boundary IoU", 1, "{:.4f}"),
    "parameters": ("parameters", 1e-6, "{:.2f} M"),
    "gflops": ("GFLOP an image", 1, "{:.2f}"),
}


def scores(root: Path) -> pd.DataFrame:
    """One row per experiment, from ``metrics/scores/KEY.json``, in the order of ``params.yaml``.

    Raises:
        ValueError: an experiment has no scores yet.
    """
    rows = {}
    for key in load_params(root / "params.yaml").experiments:
        try:
            rows[key] = load_scores(root, key)
        except (OSError, ValueError) as error:
            raise ValueError(f"{key} has no scores ({error}): run `dvc repro`") from None
    return pd.DataFrame.from_dict(rows, orient="index")


def score_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The scores in COLUMNS, as text, one row per experiment."""
    columns = {
        title: (frame[name] * factor).map(text.format)
        for name, (title, factor, text) in COLUMNS.items()
    }
    return pd.DataFrame(columns).rename_axis("experiment").reset_index()


def readme_blocks(root: Path) -> dict[str, str]:
    """Marker -> the text between its two lines in RESULTS, for the released models or, if none
    is released, for all experiments.

    Raises:
        ValueError: an experiment has no scores, or a released model is not the recorded one.
    """
    recorded, frame = recorded_outputs(root), scores(root)
    models = {path.name: path for path in (root / "released").glob("*.safetensors")}
    for path in models.values():
        check_recorded(path, recorded)
    rule = load_params(root / "params.yaml").train.boundary
    if models:
        frame = frame[[f"{key}.safetensors" in models for key in frame.index]]
    endings = {"accuracy, IoU at it": "", "at 0.5": "_at_half"}
    endings |= {BOUNDARY_RULES[r]: ending for r, ending in RULE_ENDINGS.items() if r != rule}
    treatments = pd.DataFrame({
        "experiment": frame.index,
        "threshold": [f"{threshold:.3f}" for threshold in frame["threshold"]],
        **{title: _pair(frame, ending) for title, ending in endings.items()},
    })  # fmt: skip
    return {"treatments": markdown(treatments)}


def _pair(frame: pd.DataFrame, suffix: str) -> list[str]:
    pairs = zip(frame[f"accuracy{suffix}"], frame[f"iou{suffix}"], strict=True)
    return [f"{accuracy:.2%}, {iou:.4f}" for accuracy, iou in pairs]


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tools.table", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), help="a repository")
    parser.add_argument("--readme", action="store_true", help="into docs/results.md, not printed")
    arguments = parser.parse_args()
    if arguments.readme:
        rewrite({RESULTS: readme_blocks(Path())})
    else:
        print(score_table(scores(arguments.folder)).to_string(index=False))


if __name__ == "__main__":
    run_stage("table", main)
