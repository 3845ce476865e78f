"""Write the record as one HTML page for a browser: ``python -m tools.page [A B]``.

It shows the scores, curves and pictures of the repository here, and runs its models on photographs.
With two revisions or experiments (``workspace`` is one), it sets these side by side instead.
"""

import argparse
import io
import json
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path

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
from unet.report.page import Json, as_table, data_url, fill_page, reading
from unet.report.page_models import page_models
from unet.report.results import was_evaluated
from unet.runtime.config import read_yaml
from unet.runtime.files import write
from unet.runtime.process import run_stage

CURVE_FILE = "plots/curves/{}.csv"
CURVE = ["epoch", "val_iou", "val_accuracy", "val_loss"]
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
    frame, packed = scores(root), hash_in(lock, "preprocess", "outs", TEST)
    lacking = frame.reindex(columns=[*COLUMNS, "num_images"]).isna().stack()
    for key, name in lacking.index[lacking]:
        raise ValueError(f"metrics/scores/{key}.json: {name} is missing: run `dvc repro`")
    fits = frame.index.map(lambda key: hash_in(lock, f"evaluate@{key}", "deps", TEST) == packed)
    if not fits.any():
        raise ValueError("no experiment was scored on the packed test images: run `dvc repro`")
    notes = [
        f"{key} is not shown: `dvc repro evaluate@{key}` scores it on these images."
        for key in frame.index[~fits]
    ]
    frame = frame[fits]
    with reading(f"{root}/plots/timing"):
        timing = [pd.read_csv(root / f"plots/timing/{key}.csv")["seconds"] for key in frame.index]
    frame = frame.assign(seconds=[seconds.sum() for seconds in timing])
    minutes = [f"{seconds / 60:.1f}" for seconds in frame["seconds"]]
    source = params.data.source if params.data.is_downloaded else "folder"
    rule = "" if source == "folder" else f", {BOUNDARY_RULES[params.train.boundary]}"
    about = {"source": source, "path": params.data.path, "split": params.preprocess.split}
    record: Json = {
        "about": ("Oxford-IIIT Pet, " if source == "official" else "")
                 + f"{data_title(about)}, {frame['num_images'].iloc[0]:,} test images of "
                 f"{params.preprocess.image_size} pixels{rule}",
        "notes": notes,
        "looks": dict(zip(frame.index, cycle(LOOKS), strict=False)),
        "table": as_table(score_table(frame).assign(**{"minutes of training": minutes}),
                          "Scores of the models here, one seed each"),
        "costs": [{"title": "the experiments here", "points": [
            {"key": key, "about": "one seed"} | {name: [float(x), 0] for name, x in row.items()}
            for key, row in frame[[*COLUMNS, "seconds"]].iterrows()
        ]}],
        "curves": [
            curve(key, params.experiments[key].loss, (root / CURVE_FILE.format(key)).read_bytes())
            for key in frame.index
        ],
    }  # fmt: skip
    stale = dvc("status", "--json", "plot") if root == Path() else ""
    if '"metrics"' in stale or '"plots/curves"' in stale:
        notes.append("The pictures are older than the scores: `dvc repro plot` draws them anew.")
    else:
        record["pictures"] = pictures([(root / f"plots/{name}").read_bytes()] for name in PICTURES)
        record["pictures"] += [
            {"title": f"{key}: the worst test images", "urls": [data_url(worst.read_bytes())]}
            for key, digest in frame["predictions"].items()
            if (worst := root / f"predictions/{key}/worst.jpg").is_file()
            and was_evaluated(root, key, digest)
        ]
    if root == Path() and source == "official":
        with reading("research/ablation", "`git restore research/ablation`"):
            record |= research.ablation()
    ranked = read_yaml("research/labels/dvc.lock")
    if hash_in(ranked, "rank", "deps", f"../../{TEST}") == packed:
        with reading("research/labels", "`git restore research/labels`"):
            record |= research.labels()
    return record


def side_by_side(names: list[str]) -> Json:
    """What the page shows of two revisions or experiments.

    Raises:
        ValueError: there is no such revision, or one of its files is damaged.
    """
    trees = [Tree(commit_of(name)) for name in names]
    a, b = (tree.params for tree in trees)
    differ = [p for p in dict.fromkeys([*a, *b]) if a.get(p) != b.get(p)]
    params = pd.DataFrame([[p, a.get(p, ""), b.get(p, "")] for p in differ])
    rows, curves, notes, apart = [], [], [], []
    if a.get(RULE) != b.get(RULE):
        notes.append(f"{RULE} differs: each side's scores are by its own rule for the border.")
    keys = dict.fromkeys(key for tree in trees for key in tree.variants)
    for key in keys:
        file = f"metrics/scores/{key}.json"
        with reading(file):
            found = [json.loads(tree.read(file) or b"{}") for tree in trees]
        rows.append({"experiment": key} | {
            title: change(*(scores.get(name) for scores in found), factor, text)
            for name, (title, factor, text) in COLUMNS.items()
        })  # fmt: skip
        tested = {hash_in(t.yaml("dvc.lock"), f"evaluate@{key}", "deps", TEST) for t in trees}
        if all(found) and len(tested) > 1:
            apart.append(key)
        for name, tree in zip(names, trees, strict=True):
            if content := tree.read(CURVE_FILE.format(key)):
                loss = tree.params.get(f"experiments.{key}.loss", "")
                curves.append(curve(key, loss, content) | {"revision": name})
    if apart:
        notes.append(f"Scored on different images, so not to be compared: {', '.join(apart)}.")
    return {
        "about": f"{names[1]} compared with {names[0]}",
        "revisions": names,
        "params": as_table(params.set_axis(["param", *names], axis=1)) if differ else None,
        "notes": notes,
        "looks": dict(zip(keys, cycle(LOOKS), strict=False)),
        "table": as_table(pd.DataFrame(rows)),
        "curves": curves,
        "pictures": pictures([tree.read(f"plots/{name}") for tree in trees] for name in PICTURES),
    }


def hash_in(lock: Json, stage: str, kind: str, path: str) -> str | None:
    """The hash that a lock file holds of a stage's ``deps`` or ``outs``; None if it has none."""
    entries = (lock.get("stages") or {}).get(stage, {}).get(kind, [])
    return next((entry["md5"] for entry in entries if entry["path"] == path), None)


def curve(key: str, loss: str, content: bytes) -> Json:
    """A learning curve for the page, from its file's content."""
    with reading(CURVE_FILE.format(key)):
        columns = pd.read_csv(io.BytesIO(content))[CURVE].astype(float)
        json.dumps(columns.to_dict("list"), allow_nan=False)
    return {"key": key, "loss": loss, **columns.to_dict("list")}


def pictures(contents: Iterable[list[bytes | None]]) -> list[Json]:
    """Each of PICTURES as the page shows it: its caption, and one or two files."""
    return [
        {"title": title, "urls": [content and data_url(content) for content in some]}
        for title, some in zip(PICTURES.values(), contents, strict=True)
        if any(some)
    ]


def commit_of(name: str) -> str:
    """The commit of a revision or of a DVC experiment."""
    try:
        return name if name == "workspace" else resolve_rev(Repo().scm, name)
    except DvcException:
        raise ValueError(f"{name}: there is no such revision or experiment here") from None


def change(first: float | None, second: float | None, factor: float, text: str) -> str:
    """The second score minus the first, and below it both; a dash for one that there is not."""
    a, b = ("–" if score is None else text.format(factor * score) for score in (first, second))
    if first is None or second is None:
        return f"{a} → {b}"
    difference = text.replace("{:", "{:+").format(factor * (second - first)).replace("-", "−")
    return f"{difference}\n{a} → {b}"


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
    title = " and ".join(names) or "U-Nets side by side"
    record = side_by_side(names) if names else record_of(root)
    models = {} if names else page_models(root, list(record["looks"]))
    record["models"] = [{"key": key, **about} for key, (about, _) in models.items()]
    packed = {f"model-{key}": content for key, (_, content) in models.items()}
    files = sorted(Path("examples").glob("*.jpg")) if models else []
    record["examples"] = [{"name": f.stem, "url": data_url(f.read_bytes())} for f in files]
    out = arguments.out or root / "report.html"
    write(out, fill_page(title, record, packed))
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, to open in a browser")


if __name__ == "__main__":
    run_stage("page", main)
