"""The experiments' scores as a table: printed, or written into the README.

``python -m tools.table [FOLDER]`` prints the table of the repository in FOLDER (default: here);
``python -m tools.table --readme`` rewrites the text between the README's markers.
"""

import argparse
from pathlib import Path

import pandas as pd

from tools.models import check_recorded, homes_of, recorded_outputs
from unet.config import Params, load_params
from unet.data.masks import BOUNDARY_RULES
from unet.inference.evaluation import RULE_ENDINGS
from unet.report.results import load_scores
from unet.report.tables import markdown, rewrite
from unet.runtime.process import run_stage

COLUMNS = {
    "accuracy": ("accuracy", lambda v: f"{v:.2%}"),
    "iou": ("IoU", lambda v: f"{v:.4f}"),
    "dice": ("Dice", lambda v: f"{v:.4f}"),
    "iou_per_image": ("IoU, mean over images", lambda v: f"{v:.4f}"),
    "boundary_iou": ("boundary IoU", lambda v: f"{v:.4f}"),
    "parameters": ("parameters", lambda v: f"{v / 1e6:.2f} M"),
    "gflops": ("GFLOP an image", lambda v: f"{v:.2f}"),
}


def scores(root: Path) -> pd.DataFrame:
    """One row per experiment, from ``metrics/scores/KEY.json``, in the order of ``params.yaml``.

    Raises:
        ValueError: scores are missing or cannot be read; the message names the experiments.
    """
    rows: dict[str, dict[str, float | str]] = {}
    missing: list[str] = []
    for key in load_params(root / "params.yaml").experiments:
        try:
            rows[key] = load_scores(root, key)
        except FileNotFoundError:
            missing.append(key)
        except (OSError, ValueError, RecursionError) as error:
            problem = " ".join(str(error).split())
            raise ValueError(
                f"scores of {key} cannot be read ({problem}): run `dvc repro -s -f evaluate@{key}`"
            ) from None
    if missing:
        inside = root != Path() and (root / "dvc.yaml").exists()
        command = f"dvc --cd {root} repro" if inside else "dvc repro"
        raise ValueError(
            f"{', '.join(missing)}: in {root / 'params.yaml'}, but without scores in "
            f"{root / 'metrics/scores'}: run `{command}`"
        )
    return pd.DataFrame.from_dict(rows, orient="index")


def score_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The scores in COLUMNS, as text, one row per experiment."""
    columns = {title: frame[name].map(form) for name, (title, form) in COLUMNS.items()}
    return pd.DataFrame(columns).rename_axis("experiment").reset_index()


def readme_blocks(root: Path) -> dict[str, str]:
    """Marker -> the text between its two lines in the README, for the released models or, if none
    is released, for all experiments. Each other project with released models has a block named
    after it.

    Raises:
        ValueError: scores or times of an experiment in ``params.yaml`` are missing, or a released
            model is not the recorded one.
    """
    frame = scores(root)
    released = [(root / f"released/{key}.safetensors").exists() for key in frame.index]
    recorded = recorded_outputs(root) if any(released) else {}
    for path in (root / "released").glob("*.safetensors"):
        check_recorded(path, recorded)
    frame = frame[released] if any(released) else frame
    params = load_params(root / "params.yaml")
    rule = params.train.boundary
    try:
        timing = {key: pd.read_csv(root / f"plots/timing/{key}.csv") for key in frame.index}
    except OSError as error:
        raise ValueError(f"{error}: run `dvc repro`") from None
    times = pd.DataFrame(
        {
            "experiment": list(timing),
            "training, all epochs": [f"{t['seconds'].sum() / 60:.1f} min" for t in timing.values()],
            "median images a second": [
                f"{t['images_per_second'].median():.0f}" for t in timing.values()
            ],
        }
    )
    halves = pd.DataFrame(
        {
            "experiment": list(frame.index),
            "threshold": frame["threshold"].map("{:.3f}".format),
            "accuracy, IoU at it": _pair(frame, ""),
            "at 0.5": _pair(frame, "_at_half"),
            **{
                BOUNDARY_RULES[other]: _pair(frame, ending)
                for other, ending in RULE_ENDINGS.items()
                if other != rule
            },
        }
    )
    homes = homes_of(root) if any(released) else {}
    models = (root / "released").glob("*.safetensors")
    others = sorted({homes[path.name] for path in models if path.name in homes} - {Path()})
    return {
        "scores": _captioned(frame, params),
        "treatments": markdown(halves),
        "times": markdown(times),
        **{project.name: _own_block(root / project) for project in others},
    }


def _own_block(project: Path) -> str:
    """The table of a project other than the root's. Its scores without the boundary favour no rule
    of training; they are comparable with the root's if `evaluate.tta` is the same."""
    frame = scores(project)
    params = load_params(project / "params.yaml")
    ignored = RULE_ENDINGS["ignore"]
    return _captioned(frame, params, **{BOUNDARY_RULES["ignore"]: _pair(frame, ignored)})


def _captioned(frame: pd.DataFrame, params: Params, **more: pd.Series) -> str:
    """The table of the scores and the columns ``more``, below a caption."""
    epochs = " or ".join(str(epoch) for epoch in frame["epoch"].unique())
    which = f"{params.preprocess.split.capitalize()} test split"
    if not params.data.is_from_download:
        which = f"Test split of {params.data.path}"
    caption = (
        f"{which}, "
        f"{frame['num_images'].iloc[0]:,} images, {BOUNDARY_RULES[params.train.boundary]}, "
        f"weights after epoch {epochs} (the {params.train.keep}), "
        + "predicted with test-time augmentation (six passes, the GFLOP shown are of one), "
        * params.evaluate.tta
        + "one seed."
    )
    table = score_table(frame).assign(**{name: list(column) for name, column in more.items()})
    return f"{caption}\n\n{markdown(table)}"


def _pair(frame: pd.DataFrame, suffix: str) -> pd.Series:
    accuracy, iou = frame[f"accuracy{suffix}"], frame[f"iou{suffix}"]
    return accuracy.map("{:.2%}, ".format) + iou.map("{:.4f}".format)


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tools.table", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), help="a repository")
    parser.add_argument("--readme", action="store_true", help="into README.md, not printed")
    arguments = parser.parse_args()
    if arguments.readme:
        rewrite({Path("README.md"): readme_blocks(Path())})
    else:
        print(score_table(scores(arguments.folder)).to_string(index=False))


if __name__ == "__main__":
    run_stage("table", main)
