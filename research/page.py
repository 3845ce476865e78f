"""What the records of the ablation and of the labels add to the page of :mod:`tools.page`."""

import pandas as pd

from research.ablation.design import HERE
from research.ablation.figure import SCORES, contrast
from research.ablation.inference import MAIN, PAIRS, effects
from research.ablation.report import RESULTS, by_key, named_records, named_runs
from research.labels.fold import HERE as LABELS
from unet.report.page import Json, as_table, data_url


def ablation() -> Json:
    """The README's table, charts of quality against cost, and the differences with intervals."""
    official, published = named_records("official"), named_records("sorted")
    runs = named_runs(official).assign(accuracy=named_runs(published)["accuracy"])
    (named,), factorial = official.values(), pd.read_csv(HERE / "factorial.csv")
    cells = {"-".join(levels): cell for levels, cell in factorial.groupby(MAIN, sort=False)}
    charts = {"the four experiments": by_key(named), "all eight variants": cells}
    seeds = f"Mean and standard deviation over {named['seed'].nunique()} seeds"
    return {
        "seeds": as_table(runs[[*RESULTS]].rename(columns=RESULTS), seeds),
        "costs": [{"title": title, "points": points(runs)} for title, runs in charts.items()],
        "effects": [
            group("each choice alone", factorial, MAIN),
            group("the four experiments two by two", named, PAIRS),
        ],
    }


def about(record: pd.DataFrame) -> str:
    """A design in a few words."""
    first = record.iloc[0]
    return f"width {first['width']}, {first['image_size']} px, {record['seed'].nunique()} seeds"


def points(variants: dict[str, pd.DataFrame]) -> list[Json]:
    """Each variant's costs, and its scores' mean and standard deviation over the seeds."""
    return [
        {"key": key, "about": about(runs)}
        | {cost: [runs[cost].median(), 0] for cost in ("parameters", "gflops", "seconds")}
        | {score: [runs[score].mean(), runs[score].std()] for score in SCORES}
        for key, runs in variants.items()
    ]


def group(title: str, record: pd.DataFrame, terms: list[str]) -> Json:
    """For each of ``terms`` its estimate and 95 % interval for each score, in points."""
    found = {label: 100 * effects(record, score, terms) for score, label in SCORES.items()}
    panels = [
        {
            "title": term.replace("-", "−") if term in PAIRS else contrast(term),
            "rows": [{"label": label, **of.loc[term]} for label, of in found.items()],
        }
        for term in terms
    ]
    return {"title": f"{title} ({about(record)})", "panels": panels}


def labels() -> Json:
    """The masks that models contradict most, each with the verdict of who looked at it."""
    ranking = pd.read_csv(LABELS / "suspects.csv", dtype={"name": str}, keep_default_na=False)
    verdicts = pd.read_csv(LABELS / "verdicts.csv", dtype=str)
    shown = ranking.head(60).merge(verdicts, "left", "name").fillna("")  # 60 were looked at
    shown.insert(0, "place", range(1, len(shown) + 1))
    shown.columns = [column.replace("_", " ") for column in shown]
    caption = f"The first {len(shown)} of {len(ranking):,} masks"
    picture = data_url((LABELS / "suspects.jpg").read_bytes())
    return {"suspects": as_table(shown, caption) | {"picture": picture}}
