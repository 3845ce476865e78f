"""Reading results, refusing broken ones, and the pictures made from them."""

import io
import itertools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from stages import plot
from tests.repo import ROOT
from tests.tiny import tiny_split
from unet.data.packed import Split, create_split
from unet.report import figures
from unet.report.results import (
    EXAMPLE_QUANTILES,
    NEEDED_SCORES,
    Result,
    check_leftovers,
    extreme_rows,
    load_result,
    load_scores,
    read_table,
    rows_at_quantiles,
)
from unet.runtime.files import sha256

SIZE = 16


def table_of(ious: list[float], objects: list[bool] | None = None) -> pd.DataFrame:
    """A table of images whose IoUs are these; without an object, TP and FN are 0."""
    there = [True] * len(ious) if objects is None else objects
    return pd.DataFrame(
        {
            "name": [f"image_{i}" for i in range(len(ious))],
            "tp": [0] * len(ious),
            "fp": [3] * len(ious),
            "fn": [5 if holds else 0 for holds in there],
            "iou": ious,
        }
    )


def curve_of(loss_name: str = "bce", epochs: int = 4) -> pd.DataFrame:
    rows = np.arange(1, epochs + 1)
    falling = 1 / rows
    frame = pd.DataFrame(
        {
            "epoch": rows, "train_loss": falling, "val_loss": 1.1 * falling,
            "val_iou": 1 - falling / 2, "val_accuracy": 1 - falling / 4,
        }
    )  # fmt: skip
    frame.attrs["loss_name"] = loss_name
    return frame


def result_of(table: pd.DataFrame, **scores: float) -> Result:
    none = np.empty(0)
    return Result(scores, curve_of(), table, none, [], none, none)


def masks(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((*shape, SIZE, SIZE)) < 0.4


def photographs(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def rendered(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    picture = np.asarray(Image.open(buffer).convert("RGB"))
    assert picture.std() > 5
    return picture


def pixels(ax: Axes) -> np.ndarray:
    """The picture that ``ax`` shows."""
    return np.asarray(ax.images[0].get_array())


def keys_of(count: int) -> list[str]:
    return [f"variant_{i}" for i in range(count)]


SCORES = dict.fromkeys(NEEDED_SCORES - {"predictions"}, 0.5) | {"threshold": 0.75}
DATA = {"names": ("image_0", "image_1", "image_2"), "num_val": 8}


def write_result(
    root: Path, key: str, *, names: tuple[str, ...] = DATA["names"], loss_name: str = "bce"
) -> tuple[np.ndarray, np.ndarray]:
    """The files that a training and an evaluation leave; returns the masks and probabilities."""
    predicted = masks(len(names))
    probabilities = np.arange(2 * 2 * SIZE * SIZE, dtype=np.uint64) % 256
    probabilities = probabilities.astype(np.uint8).reshape(2, 2, SIZE, SIZE)
    for folder in ("metrics/scores", "plots/curves", f"predictions/{key}", "models"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    curve = root / f"plots/curves/{key}.csv"
    curve_of(loss_name).to_csv(curve, index=False)
    ious = [(i + 1) / 10 for i in range(len(names))]
    table = table_of(ious).assign(name=names)
    table.to_csv(root / f"predictions/{key}/images.csv", index=False)
    np.save(root / f"predictions/{key}/masks.npy", np.packbits(predicted, axis=-1))
    np.savez_compressed(
        root / f"models/{key}.progress.npz",
        indices=np.array([4, 7]), epochs=np.array([1, 5]), probabilities=probabilities,
        curve=np.array(sha256(curve)),
    )  # fmt: skip
    change_scores(root, key)
    return predicted, probabilities


def change_scores(root: Path, key: str = "mine", **changes: Any) -> None:
    """Write the scores, of the predictions that are there."""
    files = [root / f"predictions/{key}/{name}" for name in ("images.csv", "masks.npy")]
    scores = SCORES | {"predictions": sha256(*files)} | changes
    (root / f"metrics/scores/{key}.json").write_text(json.dumps(scores))


def change_table(root: Path, **changes: Any) -> None:
    table = table_of([0.1, 0.2, 0.3]).assign(**changes)
    table.to_csv(root / "predictions/mine/images.csv", index=False)
    change_scores(root)


def change_masks(root: Path, packed: np.ndarray) -> None:
    np.save(root / "predictions/mine/masks.npy", packed)
    change_scores(root)


def change_progress(root: Path, **changes: np.ndarray) -> None:
    path = root / "models/mine.progress.npz"
    with np.load(path) as archive:
        content = dict(archive)
    np.savez_compressed(path, **content | changes)


def change_curve(root: Path, curve: pd.DataFrame) -> None:
    """Write the curve, and a progress of the same training."""
    path = root / "plots/curves/mine.csv"
    curve.to_csv(path, index=False)
    change_progress(root, curve=np.array(sha256(path)))


AGAIN = {
    "evaluate": "run `dvc repro -s -f evaluate@mine`",
    "train": "run `dvc repro -s -f train@mine`, then `dvc repro`",
}
FILES = {  # file -> the stage that writes it
    "metrics/scores/{}.json": "evaluate",
    "predictions/{}/images.csv": "evaluate",
    "predictions/{}/masks.npy": "evaluate",
    "plots/curves/{}.csv": "train",
    "models/{}.progress.npz": "train",
}


def refusal(root: Path) -> str:
    with pytest.raises(ValueError) as error:
        load_result(root, "mine", "bce", **DATA)
    text = str(error.value)
    assert text.startswith("results of mine cannot be read (")
    assert len(text.splitlines()) == 1
    return text


def test_names_are_text(tmp_path: Path) -> None:
    names = ["0001", "1e5", "NA", "nan", "True", "", "1,2"]
    frame = pd.DataFrame({"name": names, "iou": 0.5})
    frame.to_csv(tmp_path / "images.csv", index=False)
    assert read_table(tmp_path / "images.csv")["name"].tolist() == names


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    predicted, probabilities = write_result(tmp_path, "mine")
    result = load_result(tmp_path, "mine", "dice", **DATA)
    assert {k: v for k, v in result.scores.items() if k != "predictions"} == SCORES
    assert result.scores == load_scores(tmp_path, "mine")
    assert result.masks.dtype == bool
    assert np.array_equal(result.masks, predicted)
    assert result.table["iou"].tolist() == [0.1, 0.2, 0.3]
    assert result.curve["epoch"].tolist() == [1, 2, 3, 4]
    assert result.curve.attrs["loss_name"] == "dice"
    assert result.epochs == [1, 5]
    assert result.watched.tolist() == [4, 7]
    assert np.array_equal(result.progress, probabilities > 191)


def test_masks_of_a_side_that_is_no_multiple_of_8(tmp_path: Path) -> None:
    write_result(tmp_path, "mine")
    odd = np.random.default_rng(1).random((3, 12, 12)) < 0.5
    change_masks(tmp_path, np.packbits(odd, axis=-1))
    change_progress(tmp_path, probabilities=np.zeros((2, 2, 12, 12), dtype=np.uint8))
    assert np.array_equal(load_result(tmp_path, "mine", "bce", **DATA).masks, odd)


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\xff\xfe no such file")


def cut_short(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


DAMAGES = [(name, damage) for name in FILES for damage in (missing, empty, garbage)]
DAMAGES += [(name, cut_short) for name in FILES if not name.endswith(".csv")]


@pytest.mark.parametrize(
    ("name", "damage"), DAMAGES, ids=[f"{name}-{damage.__name__}" for name, damage in DAMAGES]
)
def test_a_result_that_cannot_be_read_names_the_stage_that_writes_it(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    write_result(tmp_path, "mine")
    damage(tmp_path / name.format("mine"))
    assert refusal(tmp_path).endswith(AGAIN[FILES[name]])


LIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a score as text": (lambda root: change_scores(root, iou="good"), "is not of numbers"),
    "no number": (lambda root: change_scores(root, iou=None), "is not of numbers"),
    "NaN": (lambda root: change_scores(root, dice=float("nan")), "not finite"),
    "a list": (
        lambda root: (root / "metrics/scores/mine.json").write_text("[1, 2]"),
        "is no mapping",
    ),
    "scores less": (
        lambda root: (root / "metrics/scores/mine.json").write_text('{"threshold": 0.5, "iou": 1}'),
        "lacks accuracy, boundary_iou, dice, predictions",
    ),
    "deep": (lambda root: (root / "metrics/scores/mine.json").write_text("[" * 100_000), ""),
    "other images": (
        lambda root: change_table(root, name=["image_0", "image_2", "image_1"]),
        "its table is of other images",
    ),
    "words in the table": (lambda root: change_table(root, tp="many"), "many"),
    "a gap in the table": (
        lambda root: change_table(root, iou=[0.1, None, 0.3]),
        "its table is not of numbers",
    ),
    "a mask less": (
        lambda root: change_masks(root, np.packbits(masks(2), axis=-1)),
        "its masks are of other images",
    ),
    "masks of floats": (
        lambda root: change_masks(root, np.zeros((3, SIZE, SIZE // 8))),
        "its masks are no bytes",
    ),
    "one number": (lambda root: change_masks(root, np.zeros(())), "index out of range"),
}
LIES_OF_THE_TRAINING: dict[str, tuple[Callable[[Path], None], str]] = {
    "words in the curve": (lambda root: change_curve(root, curve_of().assign(val_iou="up")), "up"),
    "a gap in the curve": (
        lambda root: change_curve(root, curve_of().assign(val_iou=[0.1, None, 0.2, 0.3])),
        "its curve is not of numbers",
    ),
    "no epoch": (lambda root: change_curve(root, curve_of(epochs=0)), "its curve is not of"),
    "beyond the split": (
        lambda root: change_progress(root, indices=np.array([4, 8])),
        "its progress is of other images",
    ),
    "half an image": (
        lambda root: change_progress(root, indices=np.array([4, 6.5])),
        "its progress is of no images",
    ),
    "half an epoch": (
        lambda root: change_progress(root, epochs=np.array([1, 4.5])),
        "its progress is of no epochs",
    ),
    "an epoch more": (
        lambda root: change_progress(root, epochs=np.array([1, 2, 5])),
        "its progress is of another shape",
    ),
    "another size": (
        lambda root: change_progress(root, probabilities=np.zeros((2, 2, 8, 8), np.uint8)),
        "its progress is of another shape",
    ),
    "progress of floats": (
        lambda root: change_progress(root, probabilities=np.zeros((2, 2, SIZE, SIZE))),
        "its progress is no bytes",
    ),
}


@pytest.mark.parametrize(
    ("lie", "text", "stage"),
    [(*lie, "evaluate") for lie in LIES.values()]
    + [(*lie, "train") for lie in LIES_OF_THE_TRAINING.values()],
    ids=[*LIES, *LIES_OF_THE_TRAINING],
)
def test_a_result_that_was_edited_says_what_is_wrong(
    tmp_path: Path, lie: Callable[[Path], None], text: str, stage: str
) -> None:
    write_result(tmp_path, "mine")
    load_result(tmp_path, "mine", "bce", **DATA)
    lie(tmp_path)
    problem, _, way_out = refusal(tmp_path).rpartition("): ")
    assert text in problem
    assert way_out == AGAIN[stage]


@pytest.mark.parametrize("name", ["images.csv", "masks.npy"])
def test_predictions_of_another_run_are_refused(tmp_path: Path, name: str) -> None:
    """Each file is whole and of these images; only the scores tell that it is another run's."""
    for folder in ("here", "there"):
        write_result(tmp_path / folder, "mine")
    change_table(tmp_path / "there", iou=[0.3, 0.2, 0.1])
    change_masks(tmp_path / "there", np.packbits(masks(3, seed=1), axis=-1))
    load_result(tmp_path / "there", "mine", "bce", **DATA)
    path = f"predictions/mine/{name}"
    (tmp_path / "here" / path).write_bytes((tmp_path / "there" / path).read_bytes())
    text = refusal(tmp_path / "here")
    assert "its predictions are of another run" in text
    assert text.endswith(AGAIN["evaluate"])


@pytest.mark.parametrize("name", ["plots/curves/mine.csv", "models/mine.progress.npz"])
def test_progress_of_another_training_is_refused(tmp_path: Path, name: str) -> None:
    for folder in ("here", "there"):
        write_result(tmp_path / folder, "mine")
    change_curve(tmp_path / "there", curve_of(epochs=6))
    load_result(tmp_path / "there", "mine", "bce", **DATA)
    (tmp_path / "here" / name).write_bytes((tmp_path / "there" / name).read_bytes())
    text = refusal(tmp_path / "here")
    assert "its progress is of another training" in text
    assert text.endswith(AGAIN["train"])


def test_leftovers_are_named_with_the_command_that_removes_them(tmp_path: Path) -> None:
    wanted = ("metrics/mine.json", "metrics/scores/mine.json", "plots/curves/mine.csv")
    left = (
        "metrics/old.json", "metrics/summary.json", "metrics/scores/old.json",
        "plots/curves/old one.csv", "plots/timing/old.csv",
    )  # fmt: skip
    for name in (*wanted, *left, "metrics/.gitignore", "plots/comparison.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ValueError) as error:
        check_leftovers(tmp_path, ["mine", "not_run_yet"])
    text = str(error.value)
    assert len(text.splitlines()) == 1
    assert text.startswith("old, summary, old one: not in params.yaml, but has results here: rm ")
    subprocess.run(text[text.index("rm ") :], shell=True, cwd=tmp_path, check=True)
    assert not any((tmp_path / name).exists() for name in left)
    assert all((tmp_path / name).exists() for name in wanted)
    check_leftovers(tmp_path, ["mine"])


def test_no_folders_no_leftovers(tmp_path: Path) -> None:
    check_leftovers(tmp_path, ["mine"])


@settings(deadline=None, max_examples=30)
@given(data=st.data(), num_images=st.integers(1, 30))
def test_rows_at_quantiles_rise_in_mean_iou(data: st.DataObject, num_images: int) -> None:
    share = st.floats(0, 1)
    column = st.lists(share, min_size=num_images, max_size=num_images)
    first, second = data.draw(column), data.draw(column)
    objects = data.draw(st.lists(st.booleans(), min_size=num_images, max_size=num_images))
    objects[data.draw(st.integers(0, num_images - 1))] = True
    results = {
        "a": result_of(table_of(first, objects)),
        "b": result_of(table_of(second, objects)),
    }
    rows = rows_at_quantiles(results, [0.0, *EXAMPLE_QUANTILES, 1.0])
    means = [(first[row] + second[row]) / 2 for row in rows]
    assert means == sorted(means)
    assert all(objects[row] for row in rows)
    with_object = [(a + b) / 2 for a, b, o in zip(first, second, objects, strict=True) if o]
    assert means[0] == min(with_object)
    assert means[-1] == max(with_object)


def test_rows_at_known_quantiles() -> None:
    ious = [0.9, 0.1, 0.5, 0.7, 0.3, 0.0, 1.0]
    objects = [True, True, True, True, True, False, False]
    rows = rows_at_quantiles({"a": result_of(table_of(ious, objects))}, (0, 0.25, 0.5, 0.75, 1))
    assert rows == [1, 4, 2, 3, 0]


def test_extreme_rows() -> None:
    ious = [0.9, 0.1, 0.5, 0.7, 0.3, 0.0, 1.0]
    objects = [True, True, True, True, True, False, False]
    assert extreme_rows(table_of(ious, objects)) == {"best": 0, "median": 2, "worst": 1}
    assert extreme_rows(table_of([0.4])) == {"best": 0, "median": 0, "worst": 0}


@pytest.mark.parametrize("kinds", [("dice",), ("bce", "dice"), ("bce", "dice", "focal")])
@pytest.mark.parametrize("count", [3, 5])
def test_learning_curves_draw_each_variant(count: int, kinds: tuple[str, ...]) -> None:
    curves = {
        key: curve_of(kinds[i % len(kinds)], epochs=3 + i) for i, key in enumerate(keys_of(count))
    }
    figure = figures.learning_curves(curves)
    rendered(figure)
    iou, accuracy, *others = figure.axes
    losses = {ax.get_title(): ax for ax in others if ax.axison}
    for ax, column, factor in ((iou, "val_iou", 1), (accuracy, "val_accuracy", 100)):
        assert [line.get_label() for line in ax.lines] == list(curves)
        for line, frame in zip(ax.lines, curves.values(), strict=True):
            assert list(line.get_xdata()) == frame["epoch"].tolist()
            assert list(line.get_ydata()) == pytest.approx((factor * frame[column]).tolist())
    assert losses.keys() == {f"losses of the {kind} variants" for kind in kinds}
    for kind in kinds:
        of_kind = {k: curve for k, curve in curves.items() if curve.attrs["loss_name"] == kind}
        lines = {line.get_label(): line for line in losses[f"losses of the {kind} variants"].lines}
        parts = {"training": "train_loss", "validation": "val_loss"}
        assert lines.keys() == {f"{key}, {part}" for key in of_kind for part in parts}
        for (key, frame), (part, column) in itertools.product(of_kind.items(), parts.items()):
            drawn = lines[f"{key}, {part}"].get_ydata()
            assert list(drawn) == pytest.approx(frame[column].tolist())


def test_learning_curves_of_one_epoch() -> None:
    rendered(figures.learning_curves({"only": curve_of(epochs=1)}))


def test_eight_variants_have_colours_of_their_own_and_none_of_the_overlays() -> None:
    keys = keys_of(8)
    curves = figures.learning_curves({key: curve_of() for key in keys})
    tables = {key: table_of([0.1, 0.5, 0.9]) for key in keys}
    tile = ("tile", photographs(1)[0], masks(1)[0], masks(1)[0])
    spread = figures.iou_spread(tables, [tile], title="Spread")
    drawn = [[to_hex(line.get_color()) for line in ax.lines]
             for ax in (*curves.axes[:2], spread.axes[1])]  # fmt: skip
    assert drawn[0] == drawn[1] == drawn[2], "a variant keeps its colour"
    assert len(set(drawn[0])) == 8
    painted = {to_hex(colour) for colour in (figures.HIT, figures.MISS, figures.FALSE_ALARM)}
    assert not painted & set(drawn[0])


def test_more_than_eight_variants_are_told_apart_by_their_lines() -> None:
    figure = figures.learning_curves({key: curve_of() for key in keys_of(40)})
    lines = figure.axes[0].lines
    assert len(lines) == 40
    assert len({(line.get_color(), line.get_linestyle()) for line in lines[:32]}) == 32


@pytest.mark.parametrize("count", [2, 5])
def test_comparison_has_a_tile_a_variant_and_image(count: int) -> None:
    keys = keys_of(count)
    figure = figures.comparison(
        photographs(3),
        masks(3),
        {key: masks(3, seed=i) for i, key in enumerate(keys)},
        ["easy", "middling", "hard"],
        {key: [f"{key} {row}" for row in range(3)] for key in keys},
        title="All together",
    )
    rendered(figure)
    assert len(figure.axes) == 3 * (2 + count)
    assert [ax.get_title() for ax in figure.axes[: 2 + count]] == ["photograph", "truth", *keys]
    notes = [ax.get_xlabel() for ax in figure.axes[2 + count : 2 * (2 + count)]]
    assert notes == ["", "", *(f"{key} 1" for key in keys)]
    assert figure.axes[2 + count].get_ylabel() == "middling"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["hit", "miss", "false alarm"]


def test_comparison_paints_prediction_and_truth() -> None:
    images, targets, predicted = photographs(1), masks(1), masks(1, seed=5)
    figure = figures.comparison(
        images, targets, {"a": predicted}, ["row"], {"a": ["note"]}, title="One"
    )
    tiles = [pixels(ax) for ax in figure.axes]
    assert np.array_equal(tiles[0], images[0])
    assert np.array_equal(tiles[1], figures.overlay(images[0], targets[0], targets[0]))
    assert np.array_equal(tiles[2], figures.overlay(images[0], predicted[0], targets[0]))


@pytest.mark.parametrize("count", [2, 5])
def test_iou_spread_counts_every_image(count: int) -> None:
    keys = keys_of(count)
    rng = np.random.default_rng(0)
    tables = {key: table_of(rng.random(50).tolist()) for key in keys}
    tiles = [
        (f"{key} {which}", photographs(1)[0], masks(1)[0], masks(1, seed=1)[0])
        for key in keys
        for which in ("best", "median", "worst")
    ]
    figure = figures.iou_spread(tables, tiles, title="Spread")
    rendered(figure)
    histogram, shares, *pictures = figure.axes
    assert len(histogram.patches) == count
    for line, table in zip(shares.lines, tables.values(), strict=True):
        assert list(line.get_xdata()) == sorted(table["iou"])
        assert list(line.get_ydata()) == pytest.approx([2.0 * i for i in range(1, 51)])
        assert f"median {np.median(table['iou']):.3f}" in line.get_label()
    shown = [ax.get_title() for ax in pictures if ax.axison]
    assert shown == [caption for caption, *_ in tiles]


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("epochs", [[1], [1, 2], [1, 8, 15]])
def test_progress_has_a_row_a_variant(count: int, epochs: list[int]) -> None:
    predicted = {key: masks(len(epochs), 3, seed=i) for i, key in enumerate(keys_of(count))}
    images, targets = photographs(3), masks(3, seed=9)
    figure = figures.progress(images, targets, predicted, epochs, title="Progress")
    rendered(figure)
    grid = np.array(figure.axes).reshape(count + 1, 3, max(2, len(epochs)))  # row, image, epoch
    assert [ax.get_ylabel() for ax in grid[1:, 0, 0]] == list(predicted)
    for k in range(3):
        head = [ax for ax in grid[0, k] if ax.axison]
        assert [ax.get_title() for ax in head] == ["photograph", "truth"]
        truth = figures.overlay(images[k], targets[k], targets[k])
        assert np.array_equal(pixels(head[0]), images[k])
        assert np.array_equal(pixels(head[1]), truth)
        for row, mask in zip(grid[1:, k], predicted.values(), strict=True):
            shown = [ax for ax in row if ax.axison]
            for e, ax in enumerate(shown):
                expected = figures.overlay(images[k], mask[e, k], targets[k])
                assert np.array_equal(pixels(ax), expected)
            assert len(shown) == len(epochs)
        shown = [ax.get_title() for ax in grid[1, k] if ax.axison]
        assert shown == [f"epoch {epoch}" for epoch in epochs]


def test_overlay_colours_hits_misses_and_false_alarms() -> None:
    image = photographs(1)[0]
    predicted, target = np.zeros((2, SIZE, SIZE), dtype=bool)
    predicted[:, :8] = True
    target[:8] = True
    painted = figures.overlay(image, predicted, target)
    assert painted.shape == image.shape
    assert painted.dtype == np.uint8
    grey = np.repeat(image.astype(float).mean(-1, keepdims=True).round(), 3, axis=-1)
    colours = [
        (slice(0, 8), slice(0, 8), figures.HIT),
        (slice(0, 8), slice(8, 16), figures.MISS),
        (slice(8, 16), slice(0, 8), figures.FALSE_ALARM),
    ]
    expected = grey.copy()
    for rows, columns, colour in colours:
        expected[rows, columns] *= 0.45
        expected[rows, columns] += 0.55 * 255 * np.array(to_rgb(colour))
    assert np.abs(painted - expected).max() <= 1


@pytest.mark.parametrize("kind", ["nothing", "hits", "misses", "false alarms"])
def test_overlay_of_one_kind_alone(kind: str) -> None:
    full, none = np.ones((SIZE, SIZE), dtype=bool), np.zeros((SIZE, SIZE), dtype=bool)
    predicted, target, colour = {
        "nothing": (none, none, None),
        "hits": (full, full, figures.HIT),
        "misses": (none, full, figures.MISS),
        "false alarms": (full, none, figures.FALSE_ALARM),
    }[kind]
    painted = figures.overlay(np.full((SIZE, SIZE, 3), 100, np.uint8), predicted, target)
    expected = np.full(3, 100.0)
    if colour is not None:
        expected = 45 + 0.55 * 255 * np.array(to_rgb(colour))
    assert np.abs(painted - expected).max() <= 1


def test_overlay_leaves_its_image_alone() -> None:
    image = photographs(1)[0]
    before = image.copy()
    figures.overlay(image, masks(1)[0], masks(1, seed=1)[0])
    assert np.array_equal(image, before)


def test_legend_names_what_the_overlay_paints() -> None:
    black = np.zeros((1, SIZE, SIZE, 3), dtype=np.uint8)
    predicted, target = np.zeros((2, 1, SIZE, SIZE), dtype=bool)
    predicted[..., :8] = True
    target[:, :8] = True
    figure = figures.comparison(black, target, {"a": predicted}, ["row"], {"a": ["note"]}, title="")
    tile = pixels(figure.axes[2])
    painted = {"hit": tile[0, 0], "miss": tile[0, -1], "false alarm": tile[-1, 0]}
    legend = figure.legends[0]
    named = {
        text.get_text(): np.array(to_rgb(patch.get_facecolor()))
        for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)
    }
    assert named.keys() == painted.keys()
    for label, colour in named.items():
        assert np.abs(painted[label] - 0.55 * 255 * colour).max() <= 1, label
    assert not tile[-1, -1].any()
    assert len({tuple(colour) for colour in painted.values()}) == 3


def write_split(folder: Path, split: Split) -> None:
    images, masks = create_split(folder, list(split.names), split.image_size)
    images[:], masks[:] = split.images.numpy(), split.masks.numpy()


@pytest.mark.parametrize("source", ["synthetic", "official"])
def test_titles_of_drawn_pictures_say_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    test, val = tiny_split(6, SIZE), tiny_split(8, SIZE, seed=1)
    for name, split in (("test", test), ("val", val)):
        write_split(tmp_path / "data/packed" / name, split)
    splits = {"train": {"shares": {"object": 0.3}}}
    content = {"source": source, "split": "official", "splits": splits}
    (tmp_path / "data/packed/dataset.json").write_text(json.dumps(content))
    experiments = {
        key: {"downsample": "mp", "upsample": "tr", "loss": "dice", "width": 4, "depth": 2}
        for key in ("a", "b")
    }
    train = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["train"]
    params = {"experiments": experiments, "train": train | {"boundary": "background"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    for key in experiments:
        write_result(tmp_path, key, names=test.names, loss_name="dice")
    monkeypatch.chdir(tmp_path)
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(plot, "save", lambda figure, name: drawn.setdefault(name, figure))
    plot.main()
    titles = {name: figure.get_suptitle() for name, figure in drawn.items()}
    of_images = {"comparison.jpg", "iou_spread.jpg", "progress.jpg"}
    assert titles.keys() == of_images | {"learning_curves.png"}
    for name in of_images:
        assert "official split" in titles[name]
        assert ("drawn images" in titles[name]) == (source == "synthetic")
