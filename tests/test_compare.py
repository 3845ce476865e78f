import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repo import FINISHED, run
from tools.compare import DASH, NOT_RUN, NOTE, Tree, compare, rows

KEYS = ("mp_tr_bce", "mp_tr_dice")


class MadeUp(Tree):
    """A tree of files in memory."""

    def __init__(self, files: dict[str, str]) -> None:
        super().__init__()
        self.texts = files
        self.files = frozenset(files)

    def read(self, path: str) -> bytes | None:
        return self.texts[path].encode() if path in self.texts else None

    def code_is_seen(self, lock: dict[str, Any]) -> bool:
        return True


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def entry(path: str, content: str) -> dict[str, str]:
    return {"path": path, "hash": "md5", "md5": md5(content)}


def made_up_files(iou: float = 0.8) -> dict[str, str]:
    """A pipeline of two variants, a and b, as after `dvc repro`."""
    experiments = {"a": {"width": 4, "lr": 0.004}, "b": {"width": 8, "lr": 0.004}}
    params = {
        "data": {"path": "photos", "source": "official", "limit": None},
        "preprocess": {"split": "sorted", "image_size": 96},
        "train": {"epochs": 15},
        "experiments": experiments,
    }
    code = {f"code/{stage}.txt": f"code of {stage}" for stage in ("data", "train", "evaluate")}
    files = {"params.yaml": yaml.safe_dump(params, sort_keys=False)} | code
    stages: dict[str, Any] = {
        "code": {"outs": [entry(path, text) for path, text in code.items()]},
        "preprocess": {
            "deps": [entry("code/data.txt", "code of data")],
            "params": {"params.yaml": {"data": params["data"]}},
            "outs": [entry("data/train", "arrays"), entry("data/packed/test", "more arrays")],
        },
    }
    for key, experiment in experiments.items():
        scores = {
            "accuracy": iou + 0.1,
            "iou": iou,
            "epoch": 15,
            "num_images": 1234,
            "hash": "text",
        }
        named, flat = json.dumps({"iou": {key: iou}}), json.dumps(scores)
        files |= {f"metrics/{key}.json": named, f"metrics/scores/{key}.json": flat}
        stages[f"train@{key}"] = {
            "deps": [entry("code/train.txt", "code of train"), entry("data/train", "arrays")],
            "params": {"params.yaml": {"train": params["train"], f"experiments.{key}": experiment}},
            "outs": [entry(f"models/{key}", f"model {key}")],
        }
        stages[f"evaluate@{key}"] = {
            "deps": [
                entry("code/evaluate.txt", "code of evaluate"),
                entry("data/packed/test", "more arrays"),
                entry(f"models/{key}", f"model {key}"),
            ],
            "outs": [
                entry(f"metrics/{key}.json", named),
                entry(f"metrics/scores/{key}.json", flat),
            ],
        }
    return files | {"dvc.lock": yaml.safe_dump({"schema": "2.0", "stages": stages})}


def shown(files: dict[str, str]) -> tuple[float | None, float | None]:
    tree = MadeUp(files)
    return tree.score("a", "iou"), tree.score("b", "iou")


def changed(path: str, old: str, new: str) -> dict[str, str]:
    files = made_up_files()
    assert old in files[path]
    return files | {path: files[path].replace(old, new, 1)}


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("params.yaml", "epochs: 15", "epochs: 16", (None, None)),
        ("params.yaml", "limit: null", "limit: 9", (None, None)),
        ("params.yaml", "limit: null", "other: null", (None, None)),
        ("params.yaml", "width: 4", "width: 5", (None, 0.8)),
        ("params.yaml", "lr: 0.004", "lr: 4e-3", (0.8, 0.8)),  # the same to DVC
        ("code/train.txt", "code", "other code", (None, None)),
        ("code/data.txt", "code", "other code", (None, None)),
        ("metrics/b.json", "0.8", "0.9", (0.8, None)),
        ("metrics/scores/a.json", "0.8", "0.9", (None, 0.8)),
        ("dvc.lock", "models/a", "models/c", (None, 0.8)),
        ("dvc.lock", "evaluate@b", "evaluate@c", (0.8, None)),
        ("dvc.lock", "schema", "<<<<<<< HEAD\nschema", (None, None)),
    ],
)
def test_what_was_not_run_again_is_a_dash(
    path: str, old: str, new: str, expected: tuple[str, str]
) -> None:
    assert shown(changed(path, old, new)) == expected


def test_a_stage_that_ran_after_the_one_that_reads_it_leaves_a_dash() -> None:
    files = made_up_files()
    lock = yaml.safe_load(files["dvc.lock"])
    lock["stages"]["train@a"]["outs"] = [entry("models/a", "a model trained since")]
    assert shown(files | {"dvc.lock": yaml.safe_dump(lock)}) == (None, 0.8)
    lock["stages"]["preprocess"]["outs"][0] = entry("data/train", "arrays made since")
    assert shown(files | {"dvc.lock": yaml.safe_dump(lock)}) == (None, None)


def test_the_table() -> None:
    record = MadeUp(made_up_files())
    swept = MadeUp(changed("params.yaml", "width: 4", "width: 5"))
    table = compare([("workspace", record), ("main", record), ("  wide", swept)], "iou", 80)
    title, header, *rows, note = filter(None, table.splitlines())
    assert title == "iou on 1,234 test images (photos, split sorted, 96 px):" and note == NOTE
    assert header.split() == ["experiment", "experiments.a.width", "a", "b"]
    assert [row.split() for row in rows] == [
        ["workspace", "4", "0.8000", "0.8000"], ["main", "4", "0.8000", "0.8000"],
        ["wide", "5", DASH, "0.8000"],
    ]  # fmt: skip
    assert NOTE not in compare([("workspace", record)], "iou", 80)


def test_params_and_scores_stand_below_each_other_where_both_are_too_wide() -> None:
    trees = [(f"{n}", trained_with(0.8, some_long_name=n, another_one=n)) for n in range(2)]
    _, whole = compare(trees, "iou", 80).split("\n\n")
    _, left, right = compare(trees, "iou", len(whole.splitlines()[0]) - 1).split("\n\n")
    assert right.splitlines()[0].split() == ["experiment", "a", "b"]
    for one, two, both in zip(*(t.splitlines() for t in (left, right, whole)), strict=True):
        assert one.split() + two.split()[1:] == both.split()


def test_scores_of_other_test_images_are_kept_apart() -> None:
    record = MadeUp(made_up_files())
    files = made_up_files(iou=0.9)
    files["dvc.lock"] = files["dvc.lock"].replace(md5("more arrays"), md5("my arrays"))
    params = yaml.safe_load(files["params.yaml"])
    params["data"] |= {"source": "synthetic"}
    files["params.yaml"] = yaml.safe_dump(params, sort_keys=False)
    queued = MadeUp(files)  # its params are not those of its lock
    lock = yaml.safe_load(files["dvc.lock"])
    lock["stages"]["preprocess"]["params"]["params.yaml"]["data"] = params["data"]
    mine = MadeUp(files | {"dvc.lock": yaml.safe_dump(lock)})
    trees = [("workspace", mine), ("main", record), ("  queued", queued), ("  again", mine)]
    lines = [" ".join(line.split()) for line in compare(trees, "iou", 80).splitlines()]
    assert [line for line in lines if line and not line.startswith("experiment")] == [
        "iou on 1,234 test images (drawn, split sorted, 96 px):",
        "workspace synthetic 0.9000 0.9000",
        "again synthetic 0.9000 0.9000",
        "iou on 1,234 test images (photos, split sorted, 96 px):",
        "main official 0.8000 0.8000",
        "iou on unknown images:",
        f"queued synthetic {DASH} {DASH}",
        " ".join(NOTE.split()),
    ]


def test_errors_name_the_way_out() -> None:
    with pytest.raises(
        ValueError, match=r"^metric 'auc': must be one of accuracy, iou, epoch, num_images, "
    ):
        compare([("workspace", MadeUp(made_up_files()))], "auc", 80)
    with pytest.raises(ValueError, match="run `dvc repro`"):
        compare([("workspace", MadeUp({"params.yaml": "experiments: {a: {}}"}))], "iou", 80)


def trained_with(iou: float, **params: Any) -> MadeUp:
    """A made-up pipeline that was run with these params of the section train."""
    files = made_up_files(iou)
    for path in ("params.yaml", "dvc.lock"):
        content = yaml.safe_load(files[path])
        if path == "params.yaml":
            content["train"] |= params
        else:
            for key in "ab":
                content["stages"][f"train@{key}"]["params"]["params.yaml"]["train"] |= params
        files[path] = yaml.safe_dump(content, sort_keys=False)
    return MadeUp(files)


def test_over_seeds_groups_differ_in_nothing_else() -> None:
    record = trained_with(0.8, seed=0, lr=1)
    trees = [("workspace", record), ("main", record)]
    for lr, ious in ((1, (0.81, 0.82)), (2, (0.84, 0.85, 0.82))):
        for seed, iou in enumerate(ious, start=lr == 1):
            trees.append((f"  {lr}-{seed}", trained_with(iou, seed=seed, lr=lr)))
    text = compare(trees, "iou", 100, over="train.seed")
    tables = [[line.split() for line in table.splitlines()] for table in text.split("\n\n")[1:]]
    assert [table[1][1] for table in tables] == ["a", "b"] and DASH not in text.split()
    first, second = tables[0][1:]
    assert first[2:] == ["1", "3", "0.8100", "±", "0.0100"]
    assert second[2:7] == ["2", "3", "0.8367", "±", "0.0153"]
    # The differences are 0.04, 0.04 and 0.00: t(2, 97.5 %) = 4.3027, deviation 0.023094.
    half = 4.30265 * 0.0230940 / 3**0.5
    shown = [f"{0.08 / 3:+.4f}", f"({0.08 / 3 - half:+.4f}", "to", f"{0.08 / 3 + half:+.4f},"]
    assert second[7:11] == shown and second[-1] == "3)"
    # A run of another lr and seed has no partner, whether it comes first or last.
    alone = ("  alone", trained_with(0.9, seed=5, lr=3))
    for more in ([alone, *trees], [*trees, alone]):
        assert compare(more, "iou", 100, over="train.seed") == text


def test_over_seeds_what_has_no_score_is_named_and_has_no_table() -> None:
    trees = [(str(seed), trained_with(0.8, seed=seed)) for seed in range(2)]
    params = changed("params.yaml", "limit: null", "limit: 9")
    text = compare([*trees, ("  new (queued)", MadeUp(params))], "iou", 100, over="train.seed")
    assert text.count(" on ") == 1 and "NaN" not in text
    assert text.splitlines()[-1] == f"left out, {NOT_RUN}: new (queued)"


def test_over_seeds_variants_are_compared_where_nothing_else_differs() -> None:
    trees = [(str(seed), trained_with(0.8 + seed / 100, seed=seed)) for seed in range(3)]
    lines = compare(trees, "iou", 100, over="train.seed").splitlines()
    assert [line.split()[1:6] for line in lines[3:]] == [
        [key, "3", "0.8100", "±", "0.0100"] for key in "ab"
    ]
    assert lines[4].split()[6] == "+0.0000"
    with pytest.raises(ValueError, match=r"--over seeds: no such param"):
        compare(trees, "iou", 100, over="seeds")


def test_experiments_come_in_the_order_in_which_they_were_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def experiment(name: str, hour: int | None) -> dict[str, Any]:
        data = hour and {"timestamp": f"2026-01-01T{hour:02}:00:00"}
        revs = [{"name": name, "rev": name, "data": data}]
        return {"name": name, "executor": None, "revs": revs}

    runs = [experiment("now", None), experiment("second", 10), experiment("first", 9)]
    shown = json.dumps([{"name": "main", "rev": "a", "experiments": runs}])
    monkeypatch.setattr("tools.compare.dvc", lambda *_: shown)
    assert [name.strip() for name, _ in rows([])] == ["main", "first", "second", "now"]


def test_rows_of_two_boundary_rules_are_scored_by_one_or_it_is_said() -> None:
    trees = [(rule, trained_with(0.8, boundary=rule)) for rule in ("background", "ignore")]
    assert "iou is by each row's own train.boundary" in compare(trees, "iou", 100)
    one = compare(trees, "iou_boundary_background", 100).splitlines()
    assert [line.split()[-1] for line in one[3:5]] == ["0.8000", DASH]  # `ignore` has no such score
    assert "by each row's own" not in compare(trees[:1], "iou", 100)


@pytest.mark.slow
def test_a_run_of_one_variant_shows_no_other_ones_scores(repository: Path) -> None:
    first, *others = FINISHED
    run(repository, "dvc", "exp", "run", "-n", "fast", "-S", "train.epochs=3", f"evaluate@{first}")
    new = json.loads((repository / f"metrics/scores/{first}.json").read_text())
    command = ("env", "COLUMNS=200", "python", "-m", "tools.compare", "--metric", "accuracy")
    lines = run(repository, *command).stdout.splitlines()
    assert lines[2].split() == ["experiment", "epochs", first, *others]
    table = {line.split()[0]: line.split()[1:] for line in lines[3:6]}
    expected = ["3", f"{new['accuracy']:.4f}", *[DASH] * len(others)]
    assert table["workspace"] == table["fast"] == expected
    record = [name for name in table if name not in ("workspace", "fast")]
    assert table[record[0]][0] == "2" and DASH not in table[record[0]]
    assert lines[-1] == NOTE
    # Code that was changed since made none of the scores.
    losses = repository / "unet/losses.py"
    losses.write_text(losses.read_text().replace("eps: float = 1e-3", "eps: float = 1e-2"))
    line = run(repository, *command).stdout.splitlines()[3]
    assert line.split() == ["workspace", "3", DASH, *[DASH] * len(others)]

    done = run(repository, *command, "nowhere", check=False)
    assert done.returncode == 1 and "nowhere" in done.stdout and done.stdout.count("\n") == 1
