"""Copies of photographs, agreement of masks, and suspect masks, end to end on drawn images."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch.nn.functional import interpolate as resize

from research.labels import report
from research.labels.agreement import agreement
from research.labels.fold import HERE
from research.labels.pairs import find_pairs
from research.labels.rank import label_quality
from research.labels.report import subsets
from tests.repo import ROOT, commit_all, copy_repository, run
from tests.test_declarations import keys_of
from tests.tiny import pack_drawn, tiny_split
from tools.same import SMALL, make_small
from unet.data.masks import BACKGROUND, BOUNDARY, NOT_COUNTED, OBJECT
from unet.data.synthetic import write_archives
from unet.report.tables import fill
from unet.training.config import TrainConfig

# Copies of a photograph


def scenes(count: int, side: int = 96) -> torch.Tensor:
    """(N, 3, S, S) uint8: each of other coloured patches, coarse and fine."""
    large = [
        weight * resize(torch.rand(count, 3, cells, cells), (side, side), mode="bicubic")
        for weight, cells in ((3, 3), (2, 5), (1, 11))
    ]
    return (sum(large) / 6 * 255).clamp(0, 255).to(torch.uint8)


def test_a_copy_a_mirror_image_and_a_crop_are_found_and_nothing_else() -> None:
    images = scenes(12)
    brighter = (images[0] * 0.8).to(torch.uint8)
    crop = images[2][None, :, 10:76, 15:90].float()
    crop = resize(crop, size=(96, 96), mode="bilinear")[0]
    more = torch.stack([brighter, images[1].flip(-1), crop.to(torch.uint8)])
    names = [f"cat_{i}" for i in range(12)] + ["cat_9copy", "cat_9mirror", "cat_9crop"]
    splits = ["train"] * 12 + ["test", "val", "test"]
    found = find_pairs(torch.cat([images, more]), names, splits)
    found = found.set_index("kind")
    pairs = {kind: {row["first"], row["second"]} for kind, row in found.iterrows()}
    assert pairs == {
        "same": {"cat_0", "cat_9copy"},
        "mirrored": {"cat_1", "cat_9mirror"},
        "crop": {"cat_2", "cat_9crop"},
    }
    assert found["across"].to_dict() == {"same": True, "mirrored": False, "crop": True}
    row = found.loc["crop"]
    window = [(15 + 90) / 96 - 1, (10 + 76) / 96 - 1, 75 / 96, 66 / 96]
    assert row["first"] == "cat_9crop"
    assert row[["x", "y", "width", "height"]].tolist() == pytest.approx(window, abs=0.03)


# The agreement of masks


def test_a_mask_agrees_with_itself_and_another_less() -> None:
    masks = tiny_split(6).masks
    whole = agreement(masks, masks, list(range(6)))
    np.testing.assert_array_equal(whole[["value", "low", "high"]], 1.0)
    other = agreement(masks, masks.roll(1, dims=-1), list(range(6)))
    assert (other["value"] < 1).all() and (other["low"] < other["high"]).all()
    assert ((other["low"] <= other["value"]) & (other["value"] <= other["high"])).all()
    back = agreement(masks.roll(1, dims=-1), masks, list(range(6)))
    pd.testing.assert_frame_equal(other, back)  # neither is the truth


# Suspect masks


def test_quality_is_the_soft_minimum() -> None:
    masks = torch.tensor([[[OBJECT, BACKGROUND, BOUNDARY, NOT_COUNTED]]], dtype=torch.uint8)
    own = np.array([0.9, 0.6, 0.2])  # of the three that count
    probabilities = torch.tensor([[[0.9, 0.4, 0.8, 0.5]]])
    weights = np.exp((1 - own) / 0.2)
    expected = (weights * own).sum() / weights.sum()
    assert label_quality(probabilities, masks).item() == pytest.approx(expected, rel=1e-5)
    assert min(own) < expected < np.mean(own)


def test_subsets_leave_out_copies_and_wrong_masks() -> None:
    pairs = pd.DataFrame({"first": ["a", "c"], "second": ["x", "b"], "across": [True, False]})
    verdicts = pd.DataFrame({"name": ["a", "b", "c"], "verdict": ["fine", "inverted", "fine"]})
    frame = subsets(pd.Series(["a", "b", "c"]), pairs, verdicts)
    assert frame["all"].all()
    assert frame.index[~frame["no copies"]].tolist() == ["a"]
    assert frame.index[~frame["no wrong masks"]].tolist() == ["b"]
    assert frame.index[frame["neither"]].tolist() == ["c"]


@pytest.mark.slow
def test_folds_train_and_a_planted_mask_becomes_suspect(tmp_path: Path) -> None:
    repository = copy_repository(tmp_path)
    assert {"folds", "epochs"} <= make_small(repository, SMALL | {"epochs": 4})
    (raw := tmp_path / "raw").mkdir()
    write_archives(raw, num_images=48)
    packed = pack_drawn(repository / "data/packed", raw, image_size=32)
    commit_all(repository)

    for number in "01":
        run(repository, "python", "-m", "research.labels.fold", number)
    assert not list(repository.glob(".checkpoints/*/*/state.bin"))
    folds = [np.load(repository / HERE / f"folds/{number}.npz") for number in "01"]
    assert not set(folds[0]["names"]) & set(folds[1]["names"])
    run(repository, "python", "-m", "research.labels.rank")
    ranking = pd.read_csv(repository / HERE / "suspects.csv")
    names = [name for split in ("train", "val", "test")
             for name in (packed / split / "names.txt").read_text().split()]  # fmt: skip
    assert sorted(ranking["name"]) == sorted(names)
    assert ranking["score"].is_monotonic_increasing

    masks = np.load(packed / "test/masks.npy")
    masks[0] = np.where(masks[0] == OBJECT, BACKGROUND, OBJECT)
    np.save(packed / "test/masks.npy", masks)
    run(repository, "python", "-m", "research.labels.rank")
    again = pd.read_csv(repository / HERE / "suspects.csv")
    planted = (packed / "test/names.txt").read_text().split()[0]
    before, after = (table.set_index("name")["score"] for table in (ranking, again))
    assert after[planted] < before[planted]
    assert after.index.get_loc(planted) < before.index.get_loc(planted)
    pd.testing.assert_series_equal(after.drop(planted), before.drop(planted))
    assert (repository / HERE / "suspects.jpg").stat().st_size > 10_000


def test_a_fold_declares_what_it_reads() -> None:
    stage = yaml.safe_load((ROOT / HERE / "dvc.yaml").read_text())["stages"]["fold"]
    own, others = stage["params"]
    assert own == "suspects"
    (declared,) = map(set, others.values())
    suspected = "experiments.${suspects.experiment}"
    fixed = {"train.keep", "train.boundary", "train.store"}
    trained = set(keys_of("train", TrainConfig)) - fixed
    assert declared == trained | {"evaluate.batch_size", "model", suspected}


# The record


def test_the_tables_are_those_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for path, blocks in report.blocks().items():
        text = path.read_text(encoding="utf-8")
        assert fill(text, blocks) == text, "make readme"
