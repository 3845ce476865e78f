"""Reading results, refusing those of another run, and the pictures made from them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from tests.repo import ROOT
from unet.report import figures
from unet.report.curves import CHARTS, plots_definition
from unet.report.results import (
    EXAMPLE_QUANTILES,
    Result,
    extreme_rows,
    load_result,
    read_table,
    rows_at_quantiles,
)
from unet.runtime.files import sha256

SIZE = 16


def table_of(ious: list[float], objects: list[bool] | None = None) -> pd.DataFrame:
    """A table of images whose IoUs are these; without an object, TP and FN are 0."""
    there = [True] * len(ious) if objects is None else objects
    names = [f"image_{i}" for i in range(len(ious))]
    fn = [5 if holds else 0 for holds in there]
    return pd.DataFrame({"name": names, "tp": 0, "fp": 3, "fn": fn, "iou": ious})


def curve_of(loss_name: str = "bce", epochs: int = 4) -> pd.DataFrame:
    rows = np.arange(1, epochs + 1)
    frame = pd.DataFrame(
        {
            "epoch": rows, "train_loss": 1 / rows, "val_loss": 1.1 / rows,
            "val_iou": 1 - 0.5 / rows, "val_accuracy": 1 - 0.25 / rows,
        }
    )  # fmt: skip
    frame.attrs["loss_name"] = loss_name
    return frame


def result_of(table: pd.DataFrame) -> Result:
    none = np.empty(0)
    return Result({}, curve_of(), table, none, [], none, none)


def masks(*shape: int, seed: int = 0, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).random((*shape, size, size)) < 0.4


def photographs(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def pixels(ax: Axes) -> np.ndarray:
    """The picture that ``ax`` shows."""
    return np.asarray(ax.images[0].get_array())


# Reading

NAMES = ("image_0", "image_1", "image_2")


def write_result(
    root: Path, key: str = "mine", *, names: tuple[str, ...] = NAMES, seed: int = 0,
    size: int = SIZE,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The files that a training and an evaluation leave; returns the masks and probabilities."""
    predicted = masks(len(names), seed=seed, size=size)
    values = np.arange(2 * 2 * size * size) % 256
    probabilities = values.astype(np.uint8).reshape(2, 2, size, size)
    for folder in ("metrics/scores", "plots/curves", f"predictions/{key}", "models"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    curve = root / f"plots/curves/{key}.csv"
    curve_of(epochs=4 + seed).to_csv(curve, index=False)
    table = table_of([(i + 1) / 10 for i in range(len(names))]).assign(name=names, fp=seed)
    files = [root / f"predictions/{key}/{name}" for name in ("images.csv", "masks.npy")]
    table.to_csv(files[0], index=False)
    np.save(files[1], np.packbits(predicted, axis=-1))
    np.savez_compressed(
        root / f"models/{key}.progress.npz",
        indices=np.array([4, 7]), epochs=np.array([1, 5]), probabilities=probabilities,
        curve=np.array(sha256(curve)),
    )  # fmt: skip
    scores = {"iou": 0.5, "threshold": 0.75, "predictions": sha256(*files)}
    (root / f"metrics/scores/{key}.json").write_text(json.dumps(scores))
    return predicted, probabilities


EVALUATE = "run `dvc repro -s -f evaluate@mine`"
TRAIN = "run `dvc repro -s -f train@mine`, then `dvc repro`"


def refusal(root: Path) -> str:
    with pytest.raises(ValueError) as error:
        load_result(root, "mine", "bce")
    assert str(error.value).startswith("results of mine cannot be read (")
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_names_are_text(tmp_path: Path) -> None:
    names = ["0001", "1e5", "NA", "nan", "True", "", "1,2"]
    frame = pd.DataFrame({"name": names, "iou": 0.5})
    frame.to_csv(tmp_path / "images.csv", index=False)
    assert read_table(tmp_path / "images.csv")["name"].tolist() == names


@pytest.mark.parametrize("size", [SIZE, 12])  # 12: the last byte of a row is not full
def test_a_result_is_read_as_it_was_written(tmp_path: Path, size: int) -> None:
    predicted, probabilities = write_result(tmp_path, size=size)
    result = load_result(tmp_path, "mine", "dice")
    assert result.scores["iou"] == 0.5
    assert result.masks.dtype == bool
    assert np.array_equal(result.masks, predicted)
    assert result.table["iou"].tolist() == [0.1, 0.2, 0.3]
    assert result.curve["epoch"].tolist() == [1, 2, 3, 4]
    assert result.curve.attrs["loss_name"] == "dice"
    assert result.epochs == [1, 5]
    assert result.watched.tolist() == [4, 7]
    assert np.array_equal(result.progress, probabilities > 191)


@pytest.mark.parametrize(
    ("name", "again", "problem"),
    [
        ("metrics/scores/mine.json", EVALUATE, "predictions are of another run"),
        ("predictions/mine/images.csv", EVALUATE, "predictions are of another run"),
        ("predictions/mine/masks.npy", EVALUATE, "predictions are of another run"),
        ("plots/curves/mine.csv", TRAIN, "progress is of another training"),
        ("models/mine.progress.npz", TRAIN, "progress is of another training"),
    ],
)
def test_a_file_that_is_missing_or_of_another_run_names_its_stage(
    tmp_path: Path, name: str, again: str, problem: str
) -> None:
    write_result(tmp_path)
    write_result(tmp_path / "other", seed=1)
    (tmp_path / "other" / name).replace(tmp_path / name)
    text = refusal(tmp_path)
    assert problem in text and text.endswith(again)
    (tmp_path / name).unlink()
    text = refusal(tmp_path)
    assert "No such file" in text and text.endswith(again)


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


def test_extreme_rows() -> None:
    ious = [0.9, 0.1, 0.5, 0.7, 0.3, 0.0, 1.0]
    objects = [True, True, True, True, True, False, False]
    assert extreme_rows(table_of(ious, objects)) == {"best": 0, "median": 2, "worst": 1}
    assert extreme_rows(table_of([0.4])) == {"best": 0, "median": 0, "worst": 0}


# Drawing


@pytest.mark.parametrize("count", [1, 5])
def test_every_variant_is_drawn(count: int) -> None:
    keys = [f"variant_{i}" for i in range(count)]
    images, targets = photographs(3), masks(3)
    curves = figures.learning_curves({key: curve_of() for key in keys})
    for ax, column, factor in zip(curves.axes, ("val_iou", "val_accuracy"), (1, 100), strict=False):
        assert [line.get_label() for line in ax.lines] == keys
        for line in ax.lines:
            assert list(line.get_ydata()) == pytest.approx((factor * curve_of()[column]).tolist())

    predicted = {key: masks(3, seed=i) for i, key in enumerate(keys)}
    notes = {key: [f"{key} {row}" for row in range(3)] for key in keys}
    comparison = figures.comparison(images, targets, predicted, list("abc"), notes, title="")
    grid = np.array(comparison.axes).reshape(3, 2 + count)
    assert [ax.get_title() for ax in grid[0]] == ["photograph", "truth", *keys]
    for row in range(3):
        assert np.array_equal(pixels(grid[row, 0]), images[row])
        for ax, mask in zip(grid[row, 1:], [targets, *predicted.values()], strict=True):
            expected = figures.overlay(images[row], mask[row], targets[row])
            assert np.array_equal(pixels(ax), expected)

    tables = {key: table_of(np.random.default_rng(0).random(50).tolist()) for key in keys}
    tile = (images[0], targets[0], targets[1])
    spread = figures.iou_spread(tables, [(key, *tile) for key in keys], title="")
    for line, table in zip(spread.axes[1].lines, tables.values(), strict=True):
        assert list(line.get_xdata()) == sorted(table["iou"])
    assert [ax.get_title() for ax in spread.axes[2:] if ax.axison] == keys

    found = {key: masks(2, 3, seed=i) for i, key in enumerate(keys)}
    progress = figures.progress(images, targets, found, [1, 8], title="")
    rows = np.array(progress.axes).reshape(count + 1, 3, 2)  # row, image, epoch
    for row, mask in zip(rows[1:], found.values(), strict=True):
        expected = figures.overlay(images[2], mask[1, 2], targets[2])
        assert np.array_equal(pixels(row[2, 1]), expected)


@pytest.mark.parametrize("kinds", [["bce"], ["bce", "dice"], ["bce", "dice", "tversky"]])
def test_learning_curves_have_a_panel_a_loss_and_no_empty_one(kinds: list[str]) -> None:
    figure = figures.learning_curves({kind: curve_of(kind) for kind in kinds})
    figure.draw_without_rendering()
    boxes = [ax.get_position() for ax in figure.axes]
    assert len(boxes) == 2 + len(kinds) and all(ax.lines for ax in figure.axes)
    for row in (boxes[:2], boxes[2:]):  # both fill the figure's width
        assert row[0].x0 < 0.1 and row[-1].x1 > 0.95


def test_overlay_colours_hits_misses_and_false_alarms_as_the_legend_says() -> None:
    (image,), top, bottom = photographs(1), slice(0, 8), slice(8, 16)
    predicted, target = np.zeros((2, SIZE, SIZE), dtype=bool)
    predicted[:, top] = target[top] = True
    expected = np.repeat(image.astype(float).mean(-1, keepdims=True).round(), 3, axis=-1)
    places = {"hit": (top, top), "miss": (top, bottom), "false alarm": (bottom, top)}
    for label, place in places.items():
        colour = 255 * np.array(to_rgb(figures.LEGEND[label]))
        expected[place] = 0.45 * expected[place] + 0.55 * colour
    assert np.abs(figures.overlay(image, predicted, target) - expected).max() <= 1


def test_each_chart_has_each_experiment_in_order() -> None:
    keys = ["b", "a", "on", "1e3", "x-y_z"]
    text = plots_definition(keys)
    charts = yaml.safe_load(text)["plots"]
    assert [list(chart) for chart in charts] == [[title] for title in CHARTS]
    for chart in charts:
        (definition,) = chart.values()
        assert list(definition["y"]) == [f"curves/{key}.csv" for key in keys]
    assert text.endswith("\n")


def test_the_recorded_curves_have_the_columns() -> None:
    for path in (ROOT / "plots/curves").glob("*.csv"):
        header = path.read_text().partition("\n")[0].split(",")
        assert {"epoch", *CHARTS.values()} <= set(header), path
