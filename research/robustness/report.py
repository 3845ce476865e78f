"""Write the tables in README.md here, from results/: ``python -m research.robustness.report``."""

import json
from pathlib import Path

import pandas as pd

from unet.report.tables import markdown, rewrite

README = Path(__file__).parent / "README.md"
RESULTS = Path(__file__).parent / "results"


def bad_input() -> str:
    """One row per kind of damage: counts of the verdicts, in process and by DVC."""
    results = json.loads((RESULTS / "bad_input.json").read_text(encoding="utf-8"))
    rows: dict[str, dict[str, str]] = {}
    for run, content in results["runs"].items():
        for damage, counts in content["damages"].items():
            said = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
            rows.setdefault(damage, {"damage": damage})[run] = said
    return markdown(pd.DataFrame(rows.values()).fillna(""))


def photographs() -> str:
    """One row per kind of case: counts of the verdicts."""
    results = json.loads((RESULTS / "photographs.json").read_text(encoding="utf-8"))
    columns = ("used", "some refused", "refused")
    rows = [
        {"case": kind} | {column: str(counts.get(column, "")) for column in columns}
        for kind, counts in results["kinds"].items()
    ]
    return markdown(pd.DataFrame(rows))


def killed_runs() -> str:
    """One row per stage: counts of the verdicts."""
    results = json.loads((RESULTS / "killed_runs.json").read_text(encoding="utf-8"))
    rows = []
    for stage, kinds in results.items():
        row = {"stage": stage}
        for kind, counts in kinds.items():
            row[kind] = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
        rows.append(row)
    return markdown(pd.DataFrame(rows).fillna(""))


def blocks() -> dict[str, str]:
    """Marker -> table."""
    return {
        "bad_input": bad_input(),
        "photographs": photographs(),
        "killed_runs": killed_runs(),
    }


def main() -> None:
    """See the module docstring."""
    rewrite({README: blocks()})


if __name__ == "__main__":
    main()
