"""The pages: the figures in sentences, which are written by hand, are the recorded ones; links lead
somewhere."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from research.ablation.figure import SCORES, contrast
from research.ablation.inference import MAIN, PAIRS, by_seed, effects
from research.ablation.report import PUBLISHED, by_key, named_records, points
from research.benchmarks.common import read_results
from research.labels.report import FINE, counts_of, subsets, tables
from tests.repo import ROOT
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
    of = {f: f"{contrast(f)}: {points(*by_iou.loc[f])}." for f in MAIN}  # as the figure subtracts
    alone = noise(by_seed(record, "iou"))
    rates = record.groupby("loss")[["precision", "recall"]].mean()
    said(
        f"From {len(record)} runs, eight variants with {record['seed'].nunique()} seeds each",
        "holds here by IoU without the boundary; the other way round here by accuracy and IoU at "
        f"threshold 0.5; not distinguishable at 5 seeds by the other four. {of['loss']}",
        *(f"by all 7 scores. {of[f]}" for f in ("downsample", "upsample")),
        "with weighted BCE {:.3f} and {:.3f}, with Dice {:.3f} and {:.3f}".format(
            *rates.loc["bce"], *rates.loc["dice"]
        ),
        f"moves the IoU of such a run by {100 * alone:.2f} points",
        f"differ by {100 * 2**0.5 * alone:.1f} points (root mean square)",
    )
    (official,) = named_records("official").values()
    least = min(runs["iou"].std() for runs in by_key(official).values())
    said(f"moves the IoU by [{100 * least:.1f} to {100 * alone:.1f} points]", page="README.md")


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
    agreement = found["agreement"].set_index("score")
    accuracy, iou, outlined = (
        "{:.3f} [{:.3f}, {:.3f}]".format(*agreement.loc[score, ["value", "low", "high"]])
        for score in ("accuracy", "iou", "iou_outlined")
    )
    num_copies = (~chosen["no copies"]).sum()
    said(
        f"At least {num_copies} of the {len(chosen):,} test images have a copy in trainval.",
        f"({agreement['pairs'].iloc[0]} pairs) agree at accuracy {accuracy} and IoU {iou};",
        f"in both at IoU {outlined}.",
        f"Of {len(looked_at)} masks that were [looked at]",
        f"{len(wrong)} are wrong ({', '.join(f'{n} {kind}' for kind, n in kinds.items())}), "
        f"{wrong['name'].isin(names).sum()} of them test masks.",
        f"`mp_tr_bce` has IoU {rest:.4f} on the test images instead of {whole:.4f}.",
    )
    pairs, photographs, equal = agreement[["pairs", "photographs", "equal_masks"]].iloc[0]
    assert equal == 0  # "none of the pairs are the same mask"
    said(
        f"{num_copies} test images have a copy in trainval.",
        f"{pairs:.0f} pairs of masks of {photographs:.0f} photographs; none",
        page="research/labels/README.md",
    )


def test_what_the_benchmarks_gave() -> None:
    names = ("steps", "sizes", "optimizers", "mapped", "peers-xeon", "levers-xeon")
    cases = {name: read_results(name)["cases"] for name in names}

    def speed(suite: str, case: str) -> float:
        return cases[suite][case]["images_per_second"]["median"]

    def ratios(suite: str, first: str, second: str) -> list[float]:
        pairs = [(f"{first}, width {width}", f"{second}, width {width}") for width in (16, 64)]
        return [speed(suite, one) / speed(suite, other) for one, other in pairs]

    peak = max(case["peak_gflops"]["max"] for case in cases["sizes"].values())
    shares = [
        speed("sizes", size) * cases["sizes"][size]["gflop_an_image"]["median"] / peak
        for size in ("width 8", "width 64")
    ]
    said(
        "ran at {:.1f} images a second with data loading and augmentation, and at {:.1f}".format(
            speed("steps", "training, width 16"), speed("steps", "training without data, width 16")
        ),
        "{:.0f} % at width 8 and {:.0f} % at width 64".format(*(100 * share for share in shares)),
        "has {:.2f} of the speed at width 16 and {:.2f} at width 64".format(
            *ratios("optimizers", "Muon", "AdamW")
        ),
        "{:.1f} images a second instead of {:.1f}, with".format(
            speed("mapped", "mapped"), speed("mapped", "in memory")
        ),
        "{:.2f} times as fast as `plain` at width 16 and {:.2f} times at".format(
            *ratios("peers-xeon", "ours", "plain")
        ),
        "{:.1f} images a second instead of {:.1f} (".format(
            speed("levers-xeon", "+ bf16"), speed("levers-xeon", "+ channels last")
        ),
        page="research/benchmarks/README.md",
    )
