"""``plots/dvc.yaml``: which learning curves ``dvc plots show`` and ``dvc plots diff`` draw.

DVC has no ``foreach`` for top-level plots, so this list of the experiments' files is written by the
stage ``code``. It cannot be an output of that stage: DVC accepts no ``dvc.yaml`` as an output.
"""

from collections.abc import Collection

import yaml

# Title of a chart -> column of plots/curves/KEY.csv.
CHARTS = {
    "validation IoU": "val_iou",
    "validation accuracy": "val_accuracy",
    "validation loss (only losses of one kind compare)": "val_loss",
}
HEAD = """\
# Written by `python -m stages.code` from the experiments in params.yaml: change those, not this.
# Colour = the variant, dash = the revision. Paths are relative to this file.
"""


def plots_definition(keys: Collection[str]) -> str:
    """The text of ``plots/dvc.yaml`` for the experiments ``keys``: one chart per column."""
    plots = [
        {title: {"template": "curves", "x": "epoch", "y": {f"curves/{k}.csv": y for k in keys}}}
        for title, y in CHARTS.items()
    ]
    return HEAD + yaml.safe_dump({"plots": plots}, sort_keys=False, allow_unicode=True)
