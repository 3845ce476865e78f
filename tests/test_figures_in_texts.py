"""The pages: the figures in sentences, which are written by hand, are the recorded ones; links lead
somewhere."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from research.ablation.figure import SCORES
from research.ablation.inference import MAIN, PAIRS, by_seed, effects
from research.ablation.report import PUBLISHED, by_key, named_records, points
from research.benchmarks.common import read_results
from research.labels.report import FINE, counts_of, subsets, tables
from tests.repo import ROOT, run
from unet import metrics
from unet.report.differences import noise, sign


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def said(*sentences: str, page: str = "docs/results.md") -> None:
    text = " ".join(Path(page).read_text(encoding="utf-8").split())
    for sentence in sentences:
        assert sentence in text, f"{page} does not say: {sentence}"


def test_which_choice_matters() -> None:
    record = pd.read_csv("research/ablation/factorial.csv")
    found = {title: effects(record, score, MAIN) for score, title in SCORES.items()}
    told = {
        factor: {t: verdict for t, table in found.items()
                 if (verdict := sign(*table.loc[factor, ["low", "high"]]))}
        for factor in MAIN
    }  # fmt: skip
    assert told == {
        "loss": {"accuracy": 1, "IoU at threshold 0.5": 1, "IoU without the boundary": -1},
        "downsample": {}, "upsample": {},
    }  # fmt: skip
    by_iou = found["IoU"][["estimate", "low", "high"]]
    dice, low, high = -by_iou.loc["loss", ["estimate", "high", "low"]]
    alone = noise(by_seed(record, "iou"))
    rates = record.groupby("loss")[["precision", "recall"]].mean()
    said(
        f"From {len(record)} runs, eight variants with {record['seed'].nunique()} seeds each",
        "holds here by IoU without the boundary; the other way round here by accuracy and IoU at "
        f"threshold 0.5; not distinguishable at 5 seeds by the other four. IoU: "
        f"{points(dice, low, high)}.",
        *(f"by all 7 scores. IoU: {points(*by_iou.loc[f])}." for f in ("downsample", "upsample")),
        "with weighted BCE {:.3f} and {:.3f}, with Dice {:.3f} and {:.3f}".format(
            *rates.loc["bce"], *rates.loc["dice"]
        ),
        f"moves the IoU of such a run by {100 * alone:.2f} points",
        f"differ by {100 * 2**0.5 * alone:.1f} points (root mean square)",
    )


def test_the_four_experiments_over_seeds() -> None:
    official, published = (named_records(split) for split in ("official", "sorted"))
    for record in (official | published).values():
        assert record["seed"].nunique() == 3  # "mean ± standard deviation of 3 seeds"
        for score in ("accuracy", "iou"):
            apart = [sign(low, high) != 0 for low, high in effects(record, score, PAIRS)[
                ["low", "high"]].to_numpy()]  # fmt: skip
            assert sum(apart) == 4  # "on both splits 4 of the 6 pairs are told apart"
    (record,) = published.values()
    runs = by_key(record)
    assert all((runs[key]["accuracy"] > PUBLISHED[key]).all() for key in PUBLISHED)
    means = [one["accuracy"].mean() for one in runs.values()]
    spans = [100 * (max(values) - min(values)) for values in (PUBLISHED.values(), means)]
    said("those are {:.1f} points apart, ours {:.1f}.".format(*spans))
    named = record["device_name"].notna().sum()
    said(f"({len(record) - named} runs on an AMD EPYC, {named} on an Intel Xeon)")


def test_what_the_data_allow() -> None:
    found = tables()
    looked_at, names = found["verdicts"], found["test_counts"]["name"]
    wrong = looked_at[looked_at["verdict"] != FINE]
    kinds = wrong["verdict"].value_counts(sort=False)
    chosen = subsets(names, found["pairs"], looked_at)
    of_key = counts_of(found["test_counts"])["mp_tr_bce"]
    rest, whole = (
        metrics.iou(of_key[torch.tensor(chosen[c].tolist())].sum(0)) for c in ("neither", "all")
    )
    ceiling = found["ceiling"].set_index("score")
    accuracy, iou, outlined = (
        "{:.3f} [{:.3f}, {:.3f}]".format(*ceiling.loc[score, ["value", "low", "high"]])
        for score in ("accuracy", "iou", "iou_outlined")
    )
    num_copies = (~chosen["no copies"]).sum()
    said(
        f"At least {num_copies} of the {len(chosen):,} test images have a copy in trainval.",
        f"({ceiling['pairs'].iloc[0]} pairs) agree at accuracy {accuracy} and IoU {iou};",
        f"in both at IoU {outlined}.",
        f"Of {len(looked_at)} masks that were looked at",
        f"{len(wrong)} are wrong ({', '.join(f'{n} {kind}' for kind, n in kinds.items())}), "
        f"{wrong['name'].isin(names).sum()} of them test masks.",
        f"`mp_tr_bce` has IoU {rest:.4f} on the test images instead of {whole:.4f}.",
    )
    pairs, photographs, equal = ceiling[["pairs", "photographs", "equal_masks"]].iloc[0]
    assert equal == 0  # "none of the pairs are the same mask"
    said(
        f"{num_copies} test images have a copy in trainval.",
        f"{pairs:.0f} pairs of masks of {photographs:.0f} photographs; none",
        page="research/labels/README.md",
    )


def test_what_few_photographs_gave() -> None:
    runs = read_results("few_photos")["runs"]
    iou = pd.DataFrame([run["iou"] for run in runs]).median()
    said(
        f"IoU {iou['from the released model, max_lr 0.001']:.2f} on 400 other",
        f"200 from random weights {iou['from random weights, max_lr 0.004']:.2f},",
        f"`mp_tr_bce` without training {iou['the released model as it is']:.2f} (",
        page="docs/own-data.md",
    )


# Links and length

PAGES = [Path(name) for name in run(ROOT, "git", "ls-files", "*.md").stdout.split()]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        assert there.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(there), f"{page}: {target}"


def test_readme_is_read_in_ten_minutes() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 170 and len(text.split()) <= 1500
