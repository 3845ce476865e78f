"""The ablation: its statistics, the checks of its record, its claims, and one real run."""

import json
import re
import shutil
import sys
from dataclasses import asdict, fields, replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from research.ablation import report
from research.ablation.design import (
    CELLS,
    DESIGNS,
    FACTORS,
    HERE,
    NAMED,
    NUMBERS,
    Design,
    load_design,
    named_designs,
    run_names,
)
from research.ablation.design import settings as design_settings
from research.ablation.figure import SCORES, draw
from research.ablation.images import load_counts
from research.ablation.inference import contrasts, effects, image_intervals, pairs, verdict
from research.ablation.record import gather, load_record
from research.ablation.train import experiment_of, recipe
from tests.repo import ROOT, commit_all, copy_repository, make_study_tiny, make_tiny, run
from tests.tiny import tiny_config
from unet.config import load_params
from unet.report.tables import fill

DESIGN = Design("official", 32, 4, 2, "none", 1, "cpu", [0, 1, 2])
NAMES = run_names(CELLS, DESIGN)


# A different offset for each score, so that mixed-up scores are noticed.
OFFSETS = {
    "iou": 0, "accuracy": 0.2, "boundary_iou": -0.3, "iou_at_half": -0.01,
    "accuracy_at_half": 0.19, "iou_mirrored": 0.01, "accuracy_mirrored": 0.21, "precision": 0.15,
    "recall": 0.16, "iou_per_image": -0.02, "iou_boundary_ignored": 0.05,
}  # fmt: skip


def record(
    *,
    noise: float = 0.003,
    block_noise: float = 0.02,
    seed: int = 0,
    num_seeds: int = 3,
    **planted: float,
) -> pd.DataFrame:
    """A made-up record: IoU with ``planted`` effects (``a__b`` for interactions), noise of each run
    and noise that a seed's runs share."""
    rng = np.random.default_rng(seed)
    rows = []
    blocks = rng.normal(scale=block_noise, size=num_seeds)
    for (downsample, upsample, loss), block in product(
        product(*FACTORS.values()), range(num_seeds)
    ):
        levels = {"downsample": downsample, "upsample": upsample, "loss": loss}
        sign = {f: 0.5 if levels[f] == FACTORS[f][0] else -0.5 for f in FACTORS}
        iou = 0.7 + blocks[block] + rng.normal(scale=noise)
        for term, effect in planted.items():
            iou += effect * np.prod([sign[factor] for factor in term.split("__")])
        scores = {score: iou + offset for score, offset in OFFSETS.items()}
        same = {"epochs": 2, "torch": "t", "device": "cpu", "device_name": "a CPU"}
        numbers = scores | {"parameters": 1000, "gflops": 0.1, "seconds": 3.0}
        numbers = {name: numbers[name] for name in NUMBERS}
        rows.append(levels | {"seed": block} | design_settings(DESIGN) | same | numbers)
    names = [f"{'-'.join(str(row[k]) for k in (*FACTORS, 'seed'))}" for row in rows]
    return pd.DataFrame(rows, index=names)


# Statistics


def test_planted_effects_are_found() -> None:
    planted = {"downsample": 0.01, "loss": -0.02, "upsample__loss": 0.005}
    frame = record(noise=1e-6, **planted)
    found = effects(frame, "iou")
    expected = {term.replace("__", ":"): value for term, value in planted.items()}
    for term, row in found.table.iterrows():
        assert row["estimate"] == pytest.approx(expected.get(term, 0), abs=5e-6), term
    assert found.num_seeds == 3
    one_cell = frame.loc[[f"mp-tr-bce-{seed}" for seed in range(3)], "iou"]
    assert found.noise == pytest.approx(one_cell.std(), rel=1e-3)


def test_an_interval_of_seeds_alone_knows_their_own_spread() -> None:
    frame = record(num_seeds=4, loss=0.01)
    by_seed = frame.groupby(["seed", "loss"])["iou"].mean().unstack()
    differences = by_seed["bce"] - by_seed["dice"]
    half = 3.18245 * differences.std() / 2  # t at 97.5 % with 3 degrees of freedom, sqrt(4) seeds
    row = effects(frame, "iou").table.loc["loss"]
    assert row["low_alone"] == pytest.approx(differences.mean() - half, rel=1e-4)
    assert row["high_alone"] == pytest.approx(differences.mean() + half, rel=1e-4)

    # A seed favours one loss: the pooled interval spreads that over all effects; this one does not.
    sign = frame["loss"].map({"bce": 0.5, "dice": -0.5})
    favoured = frame.assign(
        iou=frame["iou"] + sign * frame["seed"].map([0.0, 0.04, -0.04, 0.0].__getitem__)
    )
    row = effects(favoured, "iou").table.loc["loss"]
    assert row["high_alone"] - row["low_alone"] > 1.5 * (row["high_pooled"] - row["low_pooled"])


def test_the_noise_is_what_another_seed_does() -> None:
    found = effects(record(noise=0.003, block_noise=0.004, num_seeds=60), "iou")
    assert found.noise == pytest.approx(0.005, rel=0.2)  # variances add up


def test_estimates_are_differences_of_means() -> None:
    frame = record(noise=0.01)
    table = effects(frame, "iou").table
    means = frame.groupby("loss")["iou"].mean()
    assert table.loc["loss", "estimate"] == pytest.approx(means["bce"] - means["dice"])
    cells = frame.groupby(["downsample", "upsample"])["iou"].mean()
    at = {up: cells["mp", up] - cells["str_conv", up] for up in ("tr", "ups")}
    assert table.loc["downsample:upsample", "estimate"] == pytest.approx(at["tr"] - at["ups"])


def test_the_interval_is_the_wider_of_both() -> None:
    for seed in range(5):
        table = effects(record(seed=seed), "iou").table
        for low, high in (("low_pooled", "high_pooled"), ("low_alone", "high_alone")):
            assert (table["low"] <= table[low]).all() and (table[high] <= table["high"]).all()
        wide = table[["high_pooled", "high_alone"]].max(axis=1) - table["estimate"]
        np.testing.assert_allclose(table["high"] - table["estimate"], wide)
        np.testing.assert_allclose(table["estimate"] - table["low"], wide)


def test_what_a_seed_does_to_all_cells_widens_no_interval() -> None:
    frame = record()
    shifted = frame.assign(iou=frame["iou"] + 0.1 * frame["seed"])
    pd.testing.assert_frame_equal(effects(frame, "iou").table, effects(shifted, "iou").table)
    alone = frame.assign(iou=frame["iou"] + 0.1 * (frame.index == "mp-tr-bce-1"))
    widths = [
        (t["high_pooled"] - t["low_pooled"]).min()
        for t in (effects(f, "iou").table for f in (frame, alone))
    ]
    assert widths[1] > 5 * widths[0]


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    tables = [effects(record(seed=seed, loss=0.004), "iou").table for seed in range(100)]
    for kind in ("pooled", "alone"):
        holds = [
            table.loc[term, f"low_{kind}"] <= truth <= table.loc[term, f"high_{kind}"]
            for table in tables
            for term, truth in (("loss", 0.004), ("upsample", 0.0))
        ]
        assert 0.90 < np.mean(holds) < 0.99, kind


def test_one_seed_tells_nothing() -> None:
    with pytest.raises(ValueError, match="two at the least"):
        effects(record(num_seeds=1), "iou")


def test_no_variation_is_no_certainty() -> None:
    with pytest.raises(ValueError, match="the same in all runs"):
        effects(record().assign(iou=0.5), "iou")


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((0.2, 0.1, 0.3), 1), ((-0.2, -0.3, -0.1), -1), ((0.1, -0.1, 0.3), 0), ((0.1, 0.0, 0.2), 0)],
)
def test_verdict(interval: tuple[float, float, float], expected: int) -> None:
    assert verdict(*interval) == expected


def image_counts(num_images: int, hit_rate: float, seed: int) -> np.ndarray:
    """Counts (I, 4) of a run without false alarms that finds so much of each pet."""
    rng = np.random.default_rng(seed)
    pets = rng.integers(50, 150, num_images)
    tp = rng.binomial(pets, hit_rate)
    return np.stack([tp, np.zeros_like(tp), pets - tp, 256 - pets], axis=1)


FIRST_BEATS_SECOND = pd.DataFrame([[1.0, -1.0]], index=["a - b"])


def test_contrasts_are_differences_of_means() -> None:
    frame = record(noise=0.01)
    found = contrasts(NAMES) @ frame["iou"]
    table = effects(frame, "iou").table
    for factor in FACTORS:
        assert found[factor] == pytest.approx(table.loc[factor, "estimate"])
    means = {key: frame.filter(like=cell, axis=0)["iou"].mean() for key, cell in NAMED.items()}
    for a, b in combinations(NAMED, 2):
        assert found[f"{a} - {b}"] == pytest.approx(means[a] - means[b])
    assert len(found) == 3 + 6


def test_differences_are_of_pooled_scores_and_of_means() -> None:
    counts = np.stack([image_counts(200, 0.9, 0), image_counts(200, 0.8, 0)])
    (row,) = image_intervals(counts, FIRST_BEATS_SECOND, num_resamples=300).to_dict("records")
    tp, _, fn, tn = counts.sum(axis=1).T
    assert row["iou"] == pytest.approx(np.subtract(*(tp / (tp + fn))))
    assert row["accuracy"] == pytest.approx(np.subtract(*((tp + tn) / (200 * 256))))
    each = counts[..., 0] / counts[..., [0, 2]].sum(axis=-1)
    assert row["iou_per_image"] == pytest.approx(np.subtract(*each.mean(axis=1)))
    for score in ("iou", "accuracy", "iou_per_image"):
        assert 0 < row[f"{score}_low"] < row[score] < row[f"{score}_high"] < 0.2
    again = image_intervals(counts, FIRST_BEATS_SECOND, num_resamples=300).to_dict("records")
    assert again == [row]


def test_an_interval_over_images_knows_their_spread() -> None:
    counts = np.stack([image_counts(400, 0.9, 0), image_counts(400, 0.8, 1)])
    row = image_intervals(counts, FIRST_BEATS_SECOND).iloc[0]
    each = np.subtract(*(counts[..., 0] / counts[..., [0, 2]].sum(axis=-1)))
    half = 1.96 * each.std() / 400**0.5
    assert row["iou_per_image_high"] - row["iou_per_image"] == pytest.approx(half, rel=0.1)
    assert row["iou_per_image"] - row["iou_per_image_low"] == pytest.approx(half, rel=0.1)


def test_an_image_without_a_pet_counts_as_found() -> None:
    counts = np.stack([image_counts(20, 0.8, 0)] * 2)
    counts[:, 0] = [(0, 0, 0, 256), (0, 6, 0, 250)]
    row = image_intervals(counts, FIRST_BEATS_SECOND).iloc[0]
    assert row["iou_per_image"] == pytest.approx(1 / 20)


def test_a_model_is_no_better_than_itself() -> None:
    counts = np.stack([image_counts(50, 0.8, 0)] * 2)
    row = image_intervals(counts, FIRST_BEATS_SECOND, num_resamples=50).iloc[0]
    assert row["iou_low"] == row["iou"] == row["iou_high"] == 0


def test_images_are_resampled_in_pairs() -> None:
    # One model is always a little better: paired images show it, unpaired ones would not.
    base = image_counts(60, 0.7, 0)
    counts = np.stack([base, base + [-1, 0, 1, 0]])
    row = image_intervals(counts, FIRST_BEATS_SECOND, num_resamples=200).iloc[0]
    assert row["iou_low"] > 0.5 * row["iou"] > 0


def test_counts_are_of_the_same_images(tmp_path: Path) -> None:
    columns = ["tp", "fp", "fn", "tn"]
    tables = {
        name: pd.DataFrame(image_counts(20, 0.8, seed), columns=columns).rename_axis("name")
        for seed, name in enumerate(("a-0", "a-1"))
    }
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv")
    np.testing.assert_array_equal(load_counts(tmp_path, tables), np.stack(list(tables.values())))

    tables["a-1"].iloc[::-1].to_csv(tmp_path / "a-1.csv")
    with pytest.raises(ValueError, match=r"a-1\.csv is of other images"):
        load_counts(tmp_path, ["a-0", "a-1"])
    with pytest.raises(ValueError, match=r"b-1\.csv cannot be read"):
        load_counts(tmp_path, ["a-0", "b-1"])


# The record


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    frame = record()
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "r.csv", index=False)
    pd.testing.assert_frame_equal(load_record(tmp_path / "r.csv", NAMES, DESIGN), frame)


def test_runs_are_gathered(tmp_path: Path) -> None:
    frame = record()
    for name, row in zip(frame.index, frame.to_dict("records"), strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(row))
    pd.testing.assert_frame_equal(gather(tmp_path, NAMES, DESIGN), frame)
    (tmp_path / "mp-ups-dice-1.json").write_text("{")
    with pytest.raises(ValueError, match="mp-ups-dice-1.json cannot be read"):
        gather(tmp_path, NAMES, DESIGN)
    (tmp_path / "mp-ups-dice-1.json").unlink()
    with pytest.raises(ValueError, match="mp-ups-dice-1.json cannot be read"):
        gather(tmp_path, NAMES, DESIGN)
    (tmp_path / "mp-ups-dice-1.json").write_text((tmp_path / "mp-ups-dice-2.json").read_text())
    with pytest.raises(ValueError, match="mp-ups-dice-2 stands twice"):
        gather(tmp_path, NAMES, DESIGN)


def put(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    frame = frame.astype({column: object})
    frame.loc["mp-ups-dice-1", column] = value
    return frame


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda f: f.drop("mp-ups-dice-1"), "the run mp-ups-dice-1 is missing"),
        (lambda f: pd.concat([f, f.loc[["mp-ups-dice-1"]]]), "the run mp-ups-dice-1 stands twice"),
        (lambda f: put(f, "seed", 7), "the run mp-ups-dice-1 is missing"),
        (lambda f: put(f, "torch", "x"), "the run mp-ups-dice-1 has another torch .*x, not t"),
        (lambda f: put(f, "device", "x"), "the run mp-ups-dice-1 has another device .*x, not cpu"),
        (lambda f: put(f, "epochs", 3), "the run mp-ups-dice-1 has another epochs .*3, not 2"),
        (lambda f: put(f, "width", 8), "the run mp-ups-dice-1 has width = 8, .* 4"),
        (lambda f: put(f, "iou", float("nan")), "the run mp-ups-dice-1 has a value"),
        (lambda f: put(f, "accuracy", "high"), "the column accuracy is not of numbers"),
        (lambda f: f.drop(columns="torch"), "no column torch"),
        (lambda f: f.drop(columns="iou_mirrored"), "no column iou_mirrored"),
        (lambda f: f.assign(torch=None), "the run mp-tr-bce-0 does not say its torch"),
        (lambda f: pd.concat([f, f.loc[["mp-tr-bce-1"]].assign(seed=9)]), "mp-tr-bce-9 is none of"),
        (lambda f: f.iloc[:0], "mp-tr-bce-0 is missing"),
    ],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, spoil, line: str) -> None:
    path = tmp_path / "r.csv"
    spoil(record()).to_csv(path, index=False)
    with pytest.raises(ValueError, match=line) as caught:
        load_record(path, NAMES, DESIGN)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "", "a,b\n1", '"'])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "r.csv").write_text(content)
    with pytest.raises(ValueError, match="r.csv"):
        load_record(tmp_path / "r.csv", NAMES, DESIGN)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"image_size": 33}, "image_size = 33 with depth = 2: must be a multiple of 4"),
        ({"width": 0}, "factorial.width = 0"),
        ({"seeds": []}, "factorial.seeds"),
        ({"seeds": [1, 1]}, "one stands twice"),
        ({"amp": "auto"}, 'factorial.amp = "auto"'),
        ({"colour": 1}, "factorial.colour = 1"),
    ],
)
def test_a_wrong_design_is_refused(tmp_path: Path, change: dict, line: str) -> None:
    path = tmp_path / "params.yaml"
    design = asdict(DESIGN)
    path.write_text(yaml.safe_dump({"factorial": design}))
    assert load_design("factorial", path) == DESIGN
    path.write_text(yaml.safe_dump({"factorial": design | change}))
    with pytest.raises(ValueError, match=re.escape(line)) as caught:
        load_design("factorial", path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="other: must be one of factorial, official"):
        load_design("other", path)


def test_named_experiments_are_their_cells() -> None:
    assert list(NAMED) == list(report.PUBLISHED)
    experiments = load_params(ROOT / "params.yaml").experiments
    for key, experiment in experiments.items():
        if key not in NAMED or experiment.depth != 4:  # a user's own
            continue
        design = replace(load_design("published", PARAMS), width=experiment.width, seeds=[5])
        assert experiment_of(f"{NAMED[key]}-5", CELLS, design) == (experiment, 5)


def test_no_epoch_is_chosen() -> None:
    # The few images that a run validates on are test images of the sorted split.
    config = tiny_config(
        keep="best",
        amp="auto",
        threads="auto",
        device="auto",
        seed=3,
        start_from="released",
        boundary="object",
    )
    found = recipe(config, DESIGN, 1)
    assert found == tiny_config(keep="last", amp="none", threads=1, device="cpu", seed=1)


@pytest.mark.parametrize(
    "name", ["", "mp", "mp-tr-bce", "mp-tr-bce-", "mp-tr-bce-x", "mp-tr-bce-3", "a-b-c-1"]
)
def test_a_run_of_no_cell_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be one of mp-tr-bce"):
        experiment_of(name, CELLS, DESIGN)


def test_a_run_of_a_cell_that_the_design_lacks_is_refused() -> None:
    assert experiment_of("mp-ups-bce-1", CELLS, DESIGN)[1] == 1
    with pytest.raises(ValueError, match="mp-ups-bce-1: must be one of mp-tr-bce, mp-tr-dice"):
        experiment_of("mp-ups-bce-1", DESIGNS["official"], DESIGN)


# Claims


@pytest.mark.parametrize(
    ("planted", "outcome"),
    [
        ({"loss": -0.02, "downsample": 0.02, "upsample": 0.02}, "holds here"),
        ({"loss": 0.02, "downsample": -0.02, "upsample": -0.02}, "the other way round here"),
        ({}, "not distinguishable at 3 seeds"),
    ],
)
def test_claims_follow_from_the_record(planted: dict, outcome: str) -> None:
    lines = [line for line in report.findings(record(**planted)).splitlines() if line[:1] == "-"]
    assert [line[3:].partition(" beats")[0] + " beats" for line in lines] == [
        "Dice beats",
        "max pooling beats",
        "transposed conv beats",
    ]
    for line in lines:
        assert f"**{outcome}**, by all 7 scores" in line


def test_a_claim_that_the_scores_part_on_is_told_by_score() -> None:
    frame = record(loss=-0.02)
    turned = frame.assign(accuracy=1.6 - frame["accuracy"])
    line = next(li for li in report.findings(turned).splitlines() if "Dice beats" in li)
    assert "**it depends on the score**: holds here by IoU, accuracy at threshold 0.5, " in line
    assert "boundary IoU; the other way round here by accuracy. IoU: +" in line

    undecided = frame.assign(accuracy=record(noise=0.1)["accuracy"])
    line = next(li for li in report.findings(undecided).splitlines() if "Dice beats" in li)
    assert "depends" not in line
    assert "boundary IoU; not distinguishable at 3 seeds by accuracy. IoU: +" in line


def test_findings_show_the_difference_that_is_claimed() -> None:
    frame = record(loss=-0.02, upsample=-0.01)
    table = 100 * effects(frame, "iou").table[["estimate", "low", "high"]]
    lines = report.findings(frame).splitlines()
    for claim, factor, sign in (("Dice", "loss", -1), ("transposed", "upsample", 1)):
        (line,) = (line for line in lines if line.startswith(f"- *{claim}"))
        shown = [float(word.strip("[],.")) for word in line.partition("IoU: ")[2].split()]
        low, high = sorted(sign * table.loc[factor, ["low", "high"]])
        expected = (sign * table.loc[factor, "estimate"], low, high)
        assert shown == pytest.approx(expected, abs=0.006)


def test_findings_say_which_way_each_loss_leans() -> None:
    frame = record(loss=-0.02)
    line = report.findings(frame).splitlines()[-1]
    for loss, words in (("bce", "with weighted BCE"), ("dice", "with Dice")):
        runs = frame[frame["loss"] == loss]
        assert f"{words} {runs['precision'].mean():.3f} and {runs['recall'].mean():.3f}" in line


def test_tables_show_the_right_scores() -> None:
    frame = record(noise=0, block_noise=0.01)
    mean = 100 * frame["iou"].mean()
    cells = report.cells_table(frame).splitlines()
    assert len(cells) == 2 + len(CELLS)
    shown = [[float(v.split(" ±")[0]) for v in row.split("|")[2:7]] for row in cells[2:]]
    expected = [mean, mean + 20, mean - 30, mean - 1, mean + 1]
    np.testing.assert_allclose(shown, [expected] * len(CELLS), atol=0.006)

    frame = record(loss=-0.02, upsample__loss=0.02)
    rows = [row.split("|") for row in report.effects_table(frame, report.MAIN).splitlines()]
    assert [row[1].strip() for row in rows[2:]] == list(SCORES.values())
    assert rows[0][4].strip() == "weighted BCE − Dice"
    for row, score in zip(rows[2:], SCORES, strict=True):
        estimate, low, high = 100 * effects(frame, score).table.loc["loss"].iloc[:3]
        assert f"{estimate:+.2f} [{low:+.2f}, {high:+.2f}], alone [" in row[4]
    rows = [row.split("|") for row in report.effects_table(frame, report.INTERACTIONS).splitlines()]
    assert rows[0][4].strip() == (
        "(transposed conv − nearest upsampling), with weighted BCE − with Dice"
    )
    assert all(1 < float(row[4].split()[0]) < 3 for row in rows[2:])


# The four experiments over seeds


def named_record(design: Design = DESIGN, **planted: float) -> pd.DataFrame:
    """A made-up record of the four named experiments."""
    frame = record(num_seeds=len(design.seeds), **planted)
    frame = frame.assign(**design_settings(design))
    return frame.loc[run_names(list(NAMED.values()), design)]


def test_two_by_two_differences_are_those_of_paired_seeds() -> None:
    frame = named_record(loss=0.02)
    found = pairs(frame, "iou")
    assert list(found.table.index) == [f"{a} - {b}" for a, b in combinations(NAMED, 2)]
    for a, b in combinations(NAMED, 2):
        first, second = (frame.filter(like=NAMED[key], axis=0).set_index("seed") for key in (a, b))
        differences = first["iou"] - second["iou"]
        row = found.table.loc[f"{a} - {b}"]
        assert row["estimate"] == pytest.approx(differences.mean())
        half = 4.30265 * differences.std() / 3**0.5  # t at 97.5 % with 2 degrees of freedom
        assert row["high_alone"] - row["estimate"] == pytest.approx(half, rel=1e-4)
        assert row["low"] == min(row["low_pooled"], row["low_alone"])
        assert row["high"] == max(row["high_pooled"], row["high_alone"])

    # Pooled: the residuals of cells and seeds, with 3 * 2 degrees of freedom.
    wide = frame.assign(cell=frame.index.str[:-2]).pivot(index="seed", columns="cell", values="iou")
    rest = wide.sub(wide.mean(axis=1), axis=0).sub(wide.mean() - wide.to_numpy().mean())
    half = 2.44691 * ((rest**2).to_numpy().sum() / 6 * 2 / 3) ** 0.5
    table = found.table
    np.testing.assert_allclose(table["high_pooled"] - table["estimate"], half, rtol=1e-4)

    shifted = frame.assign(iou=frame["iou"] + 0.1 * frame["seed"])  # a shift per seed, in all four
    pd.testing.assert_frame_equal(pairs(shifted, "iou").table, table)
    with pytest.raises(ValueError, match="two at the least"):
        pairs(frame[frame["seed"] == 0], "iou")


def test_two_by_two_claims_follow_from_the_record() -> None:
    def lines_of(frame: pd.DataFrame) -> list[str]:
        return report.told_apart({"a": (DESIGN, frame)}).splitlines()

    def cells_of(frame: pd.DataFrame) -> dict[str, list[str]]:
        """Difference -> accuracy, IoU."""
        rows = [line.strip("| ").split(" | ") for line in lines_of(frame) if line[0:1] == "|"]
        assert rows[0] == [
            "difference",
            *(f"Official split, width 4: {s}" for s in ("accuracy", "IoU")),
        ]
        return {name: cells for name, *cells in rows[2:]}

    planted = named_record(loss=0.02, upsample=0.02, noise=1e-5)
    cells = cells_of(planted)
    assert list(cells) == [f"{a} − {b}" for a, b in combinations(NAMED, 2)]
    apart = [name for name, (_, iou) in cells.items() if iou.startswith("**")]
    assert apart == [name for name in cells if name != "mp_tr_bce − str_tr_bce"]
    assert cells["mp_tr_bce − mp_tr_dice"][1].startswith("**+2.0")
    assert "3 seeds: told apart 5 of 6 by accuracy and 5 of 6 by IoU." in lines_of(planted)[-2]
    assert "3 seeds are few" in lines_of(planted)[-1]
    assert "2 degrees of freedom" in lines_of(planted)[-1]

    alike = named_record()
    assert not any("**" in cell for row in cells_of(alike).values() for cell in row)
    assert "told apart 0 of 6 by accuracy" in lines_of(alike)[-2]
    turned = cells_of(planted.assign(iou=1 - planted["iou"]))
    assert turned["mp_tr_bce − mp_tr_dice"][1].startswith("**-2.0")
    (one,) = lines_of(planted[planted["seed"] == 0])
    assert "one seed; of no two rows" in one
    many = replace(DESIGN, seeds=list(range(report.ENOUGH_SEEDS)))
    assert "are few" not in report.told_apart({"a": (many, named_record(many))})


def test_the_official_table_has_means_and_spreads() -> None:
    frame = named_record(noise=0.01)
    caption, _, _, _, *rows = report.official_table({"official": (DESIGN, frame)}).splitlines()
    assert "mean ± standard deviation of 3 seeds" in caption and "on a CPU (cpu)" in caption
    assert len(rows) == len(NAMED)
    for row, (key, cell) in zip(rows, NAMED.items(), strict=True):
        runs = frame[frame.index.str.startswith(f"{cell}-")]
        texts = [text.strip() for text in row.split("|")[1:-1]]
        accuracy, iou = 100 * runs["accuracy"], runs["iou"]
        dice = 2 * iou / (1 + iou)
        assert texts[:5] == [
            key,
            "4",
            f"{accuracy.mean():.2f} ± {accuracy.std():.2f}%",
            f"{iou.mean():.4f} ± {iou.std():.4f}",
            f"{dice.mean():.4f} ± {dice.std():.4f}",
        ]


def test_the_published_table_sets_ours_beside_the_published() -> None:
    def lines_of(frame: pd.DataFrame) -> list[str]:
        return report.published_table({"published": (DESIGN, frame)}).splitlines()

    frame = named_record(noise=0.01)
    for key, cell, row in zip(NAMED, NAMED.values(), lines_of(frame)[4:8], strict=True):
        runs = frame[frame.index.str.startswith(f"{cell}-")]
        texts = [text.strip() for text in row.split("|")[1:-1]]
        mean = runs["accuracy"].mean()
        assert texts[:3] == [key, f"{report.PUBLISHED[key]:.2%}", "4"]
        assert texts[3] == f"{100 * mean:.2f} ± {100 * runs['accuracy'].std():.2f}%"
        assert float(texts[4]) == pytest.approx(100 * (mean - report.PUBLISHED[key]), abs=0.006)
        for text, score in zip(texts[5:7], ("accuracy_at_half", "accuracy_mirrored"), strict=True):
            assert text.startswith(f"{100 * runs[score].mean():.2f} ±")
        assert texts[7].startswith(f"{runs['iou'].mean():.4f} ±")

    same = lines_of(frame.assign(accuracy=0.925))[-1]
    assert "2 of our 4 rows are above the published ones (6 of 12 runs)" in same
    assert "those are 3.0 points apart, ours 0.0" in same
    one = lines_of(frame[frame["seed"] == 0])
    assert one[0].startswith("Width 4: one seed of the 3 that `params.yaml` names")
    assert not any("±" in line for line in one) and "runs)" not in one[-1]


def test_another_width_follows_in_the_same_tables() -> None:
    wide = replace(DESIGN, width=64, seeds=[0])
    records = {"official": (DESIGN, named_record()), "official_64": (wide, named_record(wide))}
    text = report.official_table(records)
    rows = [row.split("|") for row in text.splitlines() if row.startswith("| ")][2:]
    assert [row[1].strip() for row in rows] == [*NAMED, *NAMED]
    assert [row[2].strip() for row in rows] == ["4"] * 4 + ["64"] * 4
    assert ["±" in row[3] for row in rows] == [True] * 4 + [False] * 4
    table = report.published_table(records).splitlines()
    assert [line[:9] for line in table[-2:]] == ["Width 4: ", "Width 64:"]
    assert "width 64: one seed" in report.told_apart(records)


def test_the_machines_are_those_of_the_record() -> None:
    frame = named_record()
    assert report.machines(frame) == "trained on a CPU (cpu)"
    names = ["GPU A"] * 9 + ["GPU B"] * 3
    mixed = report.machines(frame.assign(device="cuda", device_name=names))
    assert mixed == "trained on 2 kinds of GPU: 9 runs on GPU A and 3 runs on GPU B"
    assert "not recorded" in report.machines(frame.assign(device_name=""))


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """The ablation's folder, with its params alone."""
    shutil.copy2(PARAMS, tmp_path)
    return tmp_path


def filled(folder: Path) -> dict[str, str]:
    """Marker -> its text in the root's page."""
    return report.named_blocks(*(report.load_named(folder, s) for s in ("official", "sorted")))


def test_pages_with_and_without_the_records_over_seeds(pages: Path) -> None:
    texts = filled(pages)
    for name, marker in (("official", "official"), ("published", "published")):
        assert texts[marker] == f"The design `{name}` (width 16) has not been run yet."
    assert "None of the four" in texts["pairs"]

    designs = named_designs("official", PARAMS) | named_designs("sorted", PARAMS)
    for name, design in designs.items():
        made_up = named_record(design, noise=0.001, loss=0.03)
        made_up.to_csv(pages / f"{name}.csv", index=False)
    texts = filled(pages)
    for marker in ("official", "published"):
        assert texts[marker].count("\n| mp_tr_bce | ") == 1
    for split in ("Official", "Published"):
        assert f"| {split} split, width 16: IoU |" in texts["pairs"]
        assert f"{split} split, width 16, 3 seeds: told apart" in texts["pairs"]

    # Only some seeds, from before the machine's name was recorded.
    early = made_up[made_up["seed"] == 0].drop(columns="device_name")
    early.to_csv(pages / "published.csv", index=False)
    assert "one seed of the 3 that `params.yaml` names" in filled(pages)["published"]
    early.iloc[1:].to_csv(pages / "published.csv", index=False)
    with pytest.raises(ValueError, match=r"published.csv: the run mp-tr-bce-0 is missing"):
        filled(pages)


def test_another_design_is_a_line_and_a_section(
    pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pages / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["official_64"] = params["official"] | {"width": 64, "seeds": [0], "device": "cuda"}
    path.write_text(yaml.safe_dump(params))
    monkeypatch.setitem(DESIGNS, "official_64", list(NAMED.values()))
    assert "`official_64` (width 64) has not been run yet" in filled(pages)["official"]
    wide = named_record(load_design("official_64", path))
    wide.to_csv(pages / "official_64.csv", index=False)
    assert "| mp_tr_bce | 64 | " in filled(pages)["official"]


def test_images_of_another_record_are_refused() -> None:
    frame = record(num_seeds=2)
    counts = np.stack([image_counts(9, 0.8, seed) for seed in range(len(frame))])
    table = image_intervals(counts, contrasts(list(frame.index)), num_resamples=9)
    tp, fp, fn, tn = counts.astype(float).sum(axis=1).T
    frame = frame.assign(
        accuracy=(tp + tn) / (tp + fp + fn + tn),
        iou=tp / (tp + fp + fn),
        iou_per_image=(counts[..., 0] / counts[..., :3].sum(axis=-1)).mean(axis=1),
    )
    pd.testing.assert_frame_equal(report.of_record(table, frame), table)
    rows = report.images_table(table).splitlines()[2:]
    assert rows[2].startswith("| weighted BCE − Dice |")
    assert rows[3].startswith("| mp_tr_bce − mp_tr_dice |")
    assert f"| {100 * table['iou'].iloc[3]:+.2f} [" in rows[3]
    frame.loc["mp-tr-bce-0", "iou"] += 1e-5
    with pytest.raises(ValueError, match="downsample is of other runs"):
        report.of_record(table, frame)


def test_the_figure_draws_every_run() -> None:
    *panels, runs, _ = draw(record()).axes
    assert sum(len(points.get_offsets()) for points in runs.collections) == 24
    assert [len(panel.lines) for panel in panels] == [2 * len(SCORES) + 1] * 3


PARAMS = ROOT / "research/ablation/params.yaml"


def test_pages_say_what_the_record_says() -> None:
    for path, texts in report.blocks(ROOT).items():
        text = path.read_text(encoding="utf-8")
        assert fill(text, texts) == text, f"{path} is stale: run `make readme`"


# A real run


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this repository with tiny params and drawn archives in data/raw."""
    repository = copy_repository(tmp_path_factory.mktemp("ablation") / "repository")
    make_tiny(repository)
    make_study_tiny(repository)
    commit_all(repository)
    run(repository, "dvc", "repro", "-q", "download")
    return repository


@pytest.mark.slow
def test_a_run_trains_and_is_no_record_alone(repository: Path) -> None:
    project = repository / HERE
    run(project, "dvc", "repro", "pack@factorial")
    run(project, "dvc", "repro", "-s", "factorial@mp-tr-bce-0")
    row = json.loads((project / "runs/factorial/mp-tr-bce-0.json").read_text())
    assert (row["downsample"], row["seed"], row["width"], row["epochs"]) == ("mp", 0, 4, 2)
    assert {*row} == {*record().columns, "threshold"}
    assert 0 <= row["iou"] < row["accuracy"] <= 1
    assert abs(row["iou_mirrored"] - row["iou"]) < 0.1
    counts = load_counts(project / "runs/factorial", ["mp-tr-bce-0"])
    tp, fp, fn, tn = counts.sum(axis=(0, 1))
    assert tp / (tp + fp + fn) == pytest.approx(row["iou"])
    assert (tp + tn) / counts.sum() == pytest.approx(row["accuracy"])
    assert not list(project.glob(".checkpoints/*/*/state.bin"))

    alone = run(project, "dvc", "repro", "-s", "gather@factorial", check=False)
    assert alone.returncode != 0
    assert "mp-tr-bce-1.json cannot be read" in alone.stdout
    assert "Traceback" not in alone.stdout
    module = ("python", "-m", "research.ablation.train")
    unknown = run(repository, *module, "factorial", "mp-tr-mse-0", check=False)
    assert unknown.returncode == 1 and "must be one of mp-tr-bce" in unknown.stdout
    assert "Traceback" not in unknown.stdout


@pytest.mark.slow
def test_data_that_a_clone_lacks_are_packed_again(repository: Path) -> None:
    """By a stage whose lock entry is up to date, as after `git clone`."""
    project = repository / HERE
    run(project, "dvc", "repro", "-q", "pack@published")
    before = (project / "dvc.lock").read_bytes()
    shutil.rmtree(project / "data/published")
    shutil.rmtree(project / ".dvc/cache", ignore_errors=True)
    run(project, "dvc", "repro", "-q", "pack@published")
    assert (project / "data/published/train/images.npy").is_file()
    assert (project / "dvc.lock").read_bytes() == before


@pytest.mark.slow
def test_the_root_does_not_see_the_ablation(repository: Path) -> None:
    listed = [
        run(repository, "dvc", *command).stdout
        for command in (("status",), ("dag",), ("stage", "list", "--all"), ("list", ".", str(HERE)))
    ]
    status, dag, stages, files = listed
    assert "preprocess" in status and "plot" in dag and "train@" in stages
    for output in (status, dag, stages):
        assert "ablation" not in output and "factorial" not in output
    assert "dvc.yaml" in files
    own = run(repository, "dvc", "--cd", str(HERE), "stage", "list", "--name-only").stdout.split()
    assert {name.partition("@")[0] for name in own} == {
        "code", "pack", *DESIGNS, "gather", "images", "figure",
    }  # fmt: skip


@pytest.mark.parametrize("design", DESIGNS)
def test_the_study_trains_the_cells_that_its_claims_need(design: str) -> None:
    stages = yaml.safe_load((ROOT / HERE / "dvc.yaml").read_text())["stages"]
    matrix = dict(stages[design]["matrix"])
    assert stages[design]["vars"] == [{"design": design}]
    assert matrix.pop("seed") == f"${{{design}.seeds}}"
    assert ["-".join(levels) for levels in product(*matrix.values())] == DESIGNS[design]
    for stage in ("pack", "gather"):
        assert stages[stage]["matrix"]["design"] == list(DESIGNS)
    assert {key: stages[design][key] for key in ("cmd", "params", "deps", "outs")} == {
        key: stages["factorial"][key] for key in ("cmd", "params", "deps", "outs")
    }


def test_every_setting_of_a_design_is_tracked() -> None:
    """A run's by its stage; the seeds are the runs themselves."""
    stages = yaml.safe_load((ROOT / HERE / "dvc.yaml").read_text())["stages"]
    *own, _ = stages["factorial"]["params"]
    settings = {field.name for field in fields(Design)} - {"seeds"}
    assert sorted(own) == sorted(f"${{design}}.{setting}" for setting in settings)


def test_a_run_needs_no_dvc() -> None:
    modules = ("pack", "train", "gather")
    code = "".join(f"import research.ablation.{name}\n" for name in modules)
    seen = "import sys\nprint([name for name in sys.modules if name.startswith('dvc')])"
    assert run(ROOT, sys.executable, "-c", code + seen).stdout.strip() == "[]"
    assert run(ROOT, sys.executable, "-c", f"import dvc\n{seen}").stdout.strip() != "[]"
