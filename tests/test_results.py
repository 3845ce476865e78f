import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from unet.report import figures
from unet.report.results import (
    EXAMPLE_QUANTILES,
    SUMMARY_SCORES,
    Result,
    extreme_rows,
    load_result,
    nested_summary,
    rows_at_quantiles,
)

SIZE = 16


def table_of(ious: list[float], pets: list[bool] | None = None) -> pd.DataFrame:
    """A table of images whose IoUs are these; without a pet, TP and FN are 0."""
    there = [True] * len(ious) if pets is None else pets
    return pd.DataFrame(
        {
            "name": [f"image_{i}" for i in range(len(ious))],
            "tp": [0] * len(ious),
            "fp": [3] * len(ious),
            "fn": [5 if pet else 0 for pet in there],
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


def keys_of(count: int) -> list[str]:
    return [f"variant_{i}" for i in range(count)]


SCORES = dict.fromkeys(SUMMARY_SCORES, 0.5) | {"threshold": 0.75}
DATA = {"names": ("image_0", "image_1", "image_2"), "num_val": 8}


def write_result(root: Path, key: str, threshold: float = 0.75) -> tuple[np.ndarray, np.ndarray]:
    """The files that a training and an evaluation leave; returns the masks and probabilities."""
    predicted = masks(3)
    probabilities = np.arange(2 * 2 * SIZE * SIZE, dtype=np.uint64) % 256
    probabilities = probabilities.astype(np.uint8).reshape(2, 2, SIZE, SIZE)
    for folder in ("metrics", "plots/curves", f"predictions/{key}", "models"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / f"metrics/{key}.json").write_text(json.dumps(SCORES | {"threshold": threshold}))
    curve_of().to_csv(root / f"plots/curves/{key}.csv", index=False)
    table_of([0.1, 0.2, 0.3]).to_csv(root / f"predictions/{key}/images.csv", index=False)
    np.save(root / f"predictions/{key}/masks.npy", np.packbits(predicted, axis=-1))
    np.savez_compressed(
        root / f"models/{key}.progress.npz",
        indices=np.array([4, 7]), epochs=np.array([1, 5]), probabilities=probabilities,
    )  # fmt: skip
    return predicted, probabilities


FILES = [
    "metrics/{}.json", "plots/curves/{}.csv", "predictions/{}/images.csv",
    "predictions/{}/masks.npy", "models/{}.progress.npz",
]  # fmt: skip


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    predicted, probabilities = write_result(tmp_path, "mine")
    result = load_result(tmp_path, "mine", "dice", **DATA)
    assert result.scores == SCORES
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
    np.save(tmp_path / "predictions/mine/masks.npy", np.packbits(odd, axis=-1))
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
def test_a_result_that_cannot_be_read_names_its_experiment(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    write_result(tmp_path, "mine")
    damage(tmp_path / name.format("mine"))
    with pytest.raises(ValueError, match="results of mine cannot be read") as error:
        load_result(tmp_path, "mine", "bce", **DATA)
    assert "dvc repro" in str(error.value)


def change_progress(root: Path, **changes: np.ndarray) -> None:
    path = root / "models/mine.progress.npz"
    with np.load(path) as archive:
        content = dict(archive)
    np.savez_compressed(path, **content | changes)


def change_scores(root: Path, **changes: Any) -> None:
    (root / "metrics/mine.json").write_text(json.dumps(SCORES | changes))


def change_table(root: Path, **changes: Any) -> None:
    table_of([0.1, 0.2, 0.3]).assign(**changes).to_csv(
        root / "predictions/mine/images.csv", index=False
    )


LIES: dict[str, Callable[[Path], None]] = {
    "a score as text": lambda root: change_scores(root, iou="good"),
    "no number": lambda root: change_scores(root, iou=None),
    "NaN": lambda root: change_scores(root, dice=float("nan")),
    "a list": lambda root: (root / "metrics/mine.json").write_text("[1, 2]"),
    "a score less": lambda root: (root / "metrics/mine.json").write_text('{"threshold": 0.5}'),
    "deep": lambda root: (root / "metrics/mine.json").write_text("[" * 100_000),
    "words in the curve": lambda root: (
        curve_of().assign(val_iou="up").to_csv(root / "plots/curves/mine.csv", index=False)
    ),
    "a gap in the curve": lambda root: (
        curve_of().assign(val_iou=[0.1, None, 0.2, 0.3]).to_csv(root / "plots/curves/mine.csv")
    ),
    "no epoch": lambda root: curve_of(epochs=0).to_csv(root / "plots/curves/mine.csv"),
    "other images": lambda root: change_table(root, name=["image_0", "image_2", "image_1"]),
    "words in the table": lambda root: change_table(root, tp="many"),
    "a mask less": lambda root: np.save(root / "predictions/mine/masks.npy", masks(2)),
    "masks of floats": lambda root: np.save(
        root / "predictions/mine/masks.npy", np.zeros((3, SIZE, SIZE // 8))
    ),
    "one number": lambda root: np.save(root / "predictions/mine/masks.npy", np.zeros(())),
    "beyond the split": lambda root: change_progress(root, indices=np.array([4, 8])),
    "an epoch more": lambda root: change_progress(root, epochs=np.array([1, 2, 5])),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_result_that_was_edited_names_its_experiment(
    tmp_path: Path, lie: Callable[[Path], None]
) -> None:
    write_result(tmp_path, "mine")
    load_result(tmp_path, "mine", "bce", **DATA)
    lie(tmp_path)
    with pytest.raises(ValueError, match="results of mine cannot be read .*: run `dvc repro`"):
        load_result(tmp_path, "mine", "bce", **DATA)


def test_summary_holds_each_score_of_each_experiment() -> None:
    results = {
        "a": result_of(table_of([0.5]), **SCORES | {"iou": 0.1, "dice": 0.2}, other=9.0),
        "b": result_of(table_of([0.5]), **SCORES | {"iou": 0.3, "dice": 0.4}, other=9.0),
    }
    summary = nested_summary(results)
    assert summary["iou"] == {"a": 0.1, "b": 0.3}
    assert summary["dice"] == {"a": 0.2, "b": 0.4}
    assert tuple(summary) == SUMMARY_SCORES


@settings(deadline=None, max_examples=30)
@given(data=st.data(), num_images=st.integers(1, 30))
def test_rows_at_quantiles_rise_in_mean_iou(data: st.DataObject, num_images: int) -> None:
    share = st.floats(0, 1)
    column = st.lists(share, min_size=num_images, max_size=num_images)
    first, second = data.draw(column), data.draw(column)
    pets = data.draw(st.lists(st.booleans(), min_size=num_images, max_size=num_images))
    pets[data.draw(st.integers(0, num_images - 1))] = True
    results = {
        "a": result_of(table_of(first, pets)),
        "b": result_of(table_of(second, pets)),
    }
    rows = rows_at_quantiles(results, [0.0, *EXAMPLE_QUANTILES, 1.0])
    means = [(first[row] + second[row]) / 2 for row in rows]
    assert means == sorted(means)
    assert all(pets[row] for row in rows)
    with_pet = [(a + b) / 2 for a, b, pet in zip(first, second, pets, strict=True) if pet]
    assert means[0] == min(with_pet)
    assert means[-1] == max(with_pet)


def test_rows_at_known_quantiles() -> None:
    ious = [0.9, 0.1, 0.5, 0.7, 0.3, 0.0, 1.0]
    pets = [True, True, True, True, True, False, False]
    rows = rows_at_quantiles({"a": result_of(table_of(ious, pets))}, (0, 0.25, 0.5, 0.75, 1))
    assert rows == [1, 4, 2, 3, 0]


def test_extreme_rows() -> None:
    ious = [0.9, 0.1, 0.5, 0.7, 0.3, 0.0, 1.0]
    pets = [True, True, True, True, True, False, False]
    assert extreme_rows(table_of(ious, pets)) == {"best": 0, "median": 2, "worst": 1}
    assert extreme_rows(table_of([0.4])) == {"best": 0, "median": 0, "worst": 0}


@pytest.mark.parametrize("kinds", [("dice",), ("bce", "dice")])
@pytest.mark.parametrize("count", [2, 5])
def test_learning_curves_draw_each_variant(count: int, kinds: tuple[str, ...]) -> None:
    curves = {
        key: curve_of(kinds[i % len(kinds)], epochs=3 + i) for i, key in enumerate(keys_of(count))
    }
    figure = figures.learning_curves(curves)
    rendered(figure)
    iou, accuracy, *losses = figure.axes
    for ax, column, factor in ((iou, "val_iou", 1), (accuracy, "val_accuracy", 100)):
        assert [line.get_label() for line in ax.lines] == list(curves)
        for line, frame in zip(ax.lines, curves.values(), strict=True):
            assert list(line.get_xdata()) == frame["epoch"].tolist()
            assert list(line.get_ydata()) == pytest.approx((factor * frame[column]).tolist())
    drawn = {line.get_label() for ax in losses if ax.axison for line in ax.lines}
    assert drawn == {f"{key}, {part}" for key in curves for part in ("training", "validation")}
    assert sum(ax.axison for ax in losses) == len(kinds)


def test_learning_curves_of_one_epoch() -> None:
    rendered(figures.learning_curves({"only": curve_of(epochs=1)}))


@pytest.mark.parametrize("count", [2, 5])
def test_curves_have_colours_of_their_own(count: int) -> None:
    figure = figures.learning_curves({key: curve_of() for key in keys_of(count)})
    lines = figure.axes[0].lines
    assert len({line.get_color() for line in lines}) == count


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
    tiles = [np.asarray(ax.images[0].get_array()) for ax in figure.axes]
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
@pytest.mark.parametrize("epochs", [[1], [1, 8, 15]])
def test_progress_has_a_row_a_variant(count: int, epochs: list[int]) -> None:
    predicted = {key: masks(len(epochs), 3, seed=i) for i, key in enumerate(keys_of(count))}
    images, targets = photographs(3), masks(3, seed=9)
    figure = figures.progress(images, targets, predicted, epochs, title="Progress")
    rendered(figure)
    columns = 3 * len(epochs)
    grid = np.array(figure.axes).reshape(count + 1, columns)
    assert [ax.get_ylabel() for ax in grid[1:, 0]] == list(predicted)
    assert [ax.get_title() for ax in grid[1]] == [f"epoch {e}" for _ in images for e in epochs]
    for row, mask in zip(grid[1:], predicted.values(), strict=True):
        for column, ax in enumerate(row):
            k, e = divmod(column, len(epochs))
            expected = figures.overlay(images[k], mask[e, k], targets[k])
            assert np.array_equal(np.asarray(ax.images[0].get_array()), expected)


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


def test_legend_names_the_overlays_colours() -> None:
    colours = [figures.HIT, figures.MISS, figures.FALSE_ALARM]
    assert list(figures.LEGEND.values()) == colours
    assert len(set(colours)) == 3
