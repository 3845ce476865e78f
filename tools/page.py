"""Write the record as one HTML page for a browser: ``python -m tools.page [A B]``.

It shows the scores, curves and pictures of the repository here, and runs its models on photographs.
With two revisions or experiments (``workspace`` is one), it sets these side by side instead.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path
from typing import Any

import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import resolve_rev

from research import page as research
from tools.commands import dvc
from tools.compare import RULE, TEST, Tree
from tools.table import COLUMNS, score_table, scores
from unet.config import load_params
from unet.data.masks import BOUNDARY_RULES
from unet.data.packed import data_title
from unet.report.figures import LOOKS
from unet.report.page import Json, as_table, data_url, fill_page, read_curve
from unet.report.page_models import page_models
from unet.runtime.config import read_yaml
from unet.runtime.files import write
from unet.runtime.process import run_stage

PICTURES = {  # file in plots/ -> its caption
    "comparison.jpg": "Test images and what the experiments predict, hard to easy",
    "iou_spread.jpg": "IoU of the single images; best, median and worst of each experiment",
    "progress.jpg": "Validation images, predicted as training went on",
}


def record_of(root: Path) -> Json:
    """What the page shows of the repository in ``root``.

    Raises:
        ValueError: a file of the record is missing or damaged.
    """
    params, lock = load_params(root / "params.yaml"), read_yaml(root / "dvc.lock")
    frame = complete(scores(root))
    packed = hash_in(lock, "preprocess", "outs", TEST)
    fits = [hash_in(lock, f"evaluate@{key}", "deps", TEST) == packed for key in frame.index]
    notes = [
        f"{key} is not shown: it was scored on other images. `dvc repro evaluate@{key}` scores it."
        for key in frame.index[[not fit for fit in fits]]
    ]
    if not any(fits):
        raise ValueError("no experiment was scored on the packed test images: run `dvc repro`")
    frame = frame[fits]
    source = params.data.source if params.data.is_downloaded else "folder"
    about = {"source": source, "path": params.data.path, "split": params.preprocess.split}
    rule = "" if source == "folder" else f", {BOUNDARY_RULES[params.train.boundary]}"
    files = [root / f"plots/timing/{key}.csv" for key in frame.index]
    minutes = [f"{pd.read_csv(file)['seconds'].sum() / 60:.1f}" for file in files]
    record: Json = {
        "about": f"{data_title(about)}, {frame['num_images'].iloc[0]:,} test images of "
                 f"{params.preprocess.image_size} px{rule}",
        "notes": notes,
        "looks": looks(frame.index),
        "table": as_table(score_table(frame).assign(**{"minutes of training": minutes})),
        "curves": [
            curve(key, params.experiments[key].loss, (root / path_of(key)).read_bytes())
            for key in frame.index
        ],
    }  # fmt: skip
    stale = dvc("status", "--json", "plot") if root == Path() else ""
    if '"metrics"' in stale or '"plots/curves"' in stale:
        notes.append("The pictures are older than the scores: `dvc repro plot` draws them anew.")
    else:
        record["pictures"] = [
            {"title": title, "urls": [data_url((root / "plots" / name).read_bytes())]}
            for name, title in PICTURES.items()
        ]
    if root == Path() and source == "official":
        record |= of_research("ablation", research.ablation)
    ranked = read_yaml("research/labels/dvc.lock")
    if hash_in(ranked, "rank", "deps", f"../../{TEST}") == packed:
        record |= of_research("labels", research.labels)
    return record


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with a row per experiment, if it lacks no score that the page shows."""
    for name in (*COLUMNS, "num_images"):
        lacking = frame.index if name not in frame else frame.index[frame[name].isna()]
        for key in lacking:
            raise ValueError(f"metrics/scores/{key}.json: {name} is missing: run `dvc repro`")
    return frame


def of_research(name: str, collect: Callable[[], Json]) -> Json:
    """What ``collect`` reads of ``research/NAME``; an error names that folder."""
    try:
        return collect()
    except (KeyError, OSError, ValueError) as error:
        way_out = f"`git restore research/{name}`"
        raise ValueError(f"research/{name} cannot be read ({error}): {way_out}") from None


def hash_in(lock: Json, stage: str, kind: str, path: str) -> str | None:
    """The hash that a lock file holds of a stage's ``deps`` or ``outs``; None if it has none."""
    entries = (lock.get("stages") or {}).get(stage, {}).get(kind, [])
    return next((entry["md5"] for entry in entries if entry["path"] == path), None)


def looks(keys: Iterable[str]) -> Json:
    """Experiment -> colour and style of its lines, as in the figures."""
    return {key: list(look) for key, look in zip(keys, cycle(LOOKS), strict=False)}


def path_of(key: str) -> str:
    return f"plots/curves/{key}.csv"


def curve(key: str, loss: str, content: bytes | None) -> Json:
    """A learning curve for the page."""
    return {"key": key, "loss": loss, **read_curve(path_of(key), content)}


def side_by_side(names: list[str]) -> Json:
    """What the page shows of two revisions or experiments."""
    trees = [Tree(commit_of(name)) for name in names]
    first, second = (tree.params for tree in trees)
    params = pd.DataFrame(
        [
            [name, first.get(name, ""), second.get(name, "")]
            for name in dict.fromkeys([*first, *second])
            if first.get(name) != second.get(name)
        ],
        columns=["param", *names],
    )
    keys = list(dict.fromkeys(k for tree in trees for k in tree.yaml("params.yaml")["experiments"]))
    rows, notes, curves = [], [], []
    for key in keys:
        found = [json.loads(t.read(f"metrics/scores/{key}.json") or b"{}") for t in trees]
        tested = [hash_in(t.yaml("dvc.lock"), f"evaluate@{key}", "deps", TEST) for t in trees]
        if all(found) and tested[0] != tested[1]:
            notes.append(f"{key}: scored on different test images, so the scores do not compare.")
        rows.append({"experiment": key} | {
            title: change(*(scores.get(name) for scores in found), factor, text)
            for name, (title, factor, text) in COLUMNS.items()
        })  # fmt: skip
        for name, tree in zip(names, trees, strict=True):
            if content := tree.read(path_of(key)):
                loss = tree.params.get(f"experiments.{key}.loss", "")
                curves.append(curve(key, loss, content) | {"revision": name})
    if first.get(RULE) != second.get(RULE):
        notes.append(f"{RULE} differs: each side's scores are by its own rule for the border.")
    both = {name: [tree.read(f"plots/{name}") for tree in trees] for name in PICTURES}
    return {
        "about": f"{names[1]} beside {names[0]}",
        "revisions": names,
        "params": as_table(params),
        "notes": notes,
        "looks": looks(keys),
        "table": as_table(pd.DataFrame(rows)),
        "curves": curves,
        "pictures": [
            {
                "title": PICTURES[name],
                "urls": [data_url(content) for content in contents if content],
            }
            for name, contents in both.items()
        ],
        "models": [],
    }


def commit_of(name: str) -> str:
    """The commit of a revision or of a DVC experiment."""
    try:
        return name if name == "workspace" else resolve_rev(Repo().scm, name)
    except DvcException:
        raise ValueError(f"{name}: no such revision, and no such experiment here") from None


def change(first: Any, second: Any, factor: float, text: str) -> str:
    """The second score minus the first, and both; a dash for one that there is not."""
    a, b = ("–" if score is None else text.format(factor * score) for score in (first, second))
    if first is None or second is None:
        return f"{a} → {b}"
    return f"{text.replace('{:', '{:+').format(factor * (second - first))}\n{a} → {b}"


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tools.page", description=__doc__.splitlines()[0])
    parser.add_argument("revisions", metavar="A B", nargs="*", help="two revisions or experiments")
    parser.add_argument("--root", type=Path, default=Path(), help="a folder with another record")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: report.html in the root")
    arguments = parser.parse_args()
    names, root = arguments.revisions, arguments.root
    if len(names) not in (0, 2):
        parser.error("name two revisions, or none")
    packed = {}
    if names:
        title, record = " and ".join(names), side_by_side(names)
    else:
        title, record = "U-Nets side by side", record_of(root)
        models = page_models(root, list(record["looks"]))
        record["models"] = [{"key": key, **about} for key, (about, _) in models.items()]
        record["examples"] = [
            {"name": path.stem, "url": data_url(path.read_bytes())}
            for path in sorted(Path("examples").glob("*.jpg"))
        ]
        packed = {f"model-{key}": content for key, (_, content) in models.items()}
    out = arguments.out or root / "report.html"
    write(out, fill_page(title, record, packed))
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, to open in a browser")


if __name__ == "__main__":
    run_stage("page", main)
