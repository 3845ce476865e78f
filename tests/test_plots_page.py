"""The page that `dvc plots show` and `dvc plots diff` write draws its charts without a network."""

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from tests.repo import KEYS, commit_all, copy_repository, readme_block, run

# From how each library presents itself to a page's scripts.
LIBRARIES = ("self).vega={}", "self).vegaLite={}", "self).vegaEmbed=")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plots")
    copy_repository(folder / "repo")
    run(folder, "git", "clone", "-q", "repo", "clone")
    return folder / "clone"


@pytest.mark.parametrize(("folder", "command"), [(".", ("show",)), ("unet", ("diff", "HEAD"))])
def test_the_page_holds_all_that_it_needs(
    clone: Path, folder: str, command: tuple[str, ...]
) -> None:
    run(clone / folder, "dvc", "plots", *command, "-o", "written")
    page = (clone / folder / "written/index.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)\s*=\s*.?https?:", page)
    assert "{plot_divs}" not in page and "{refresh_tag}" not in page
    libraries, _, charts = page.partition("<body>")
    assert all(libraries.count(library) == 1 for library in LIBRARIES)
    assert charts.count("vegaEmbed(") >= 3  # the three charts of all variants, at least


def test_of_a_sweep_over_one_variant_each_revision_has_one_curve(clone: Path) -> None:
    """The command of docs/dvc.md; the sweep's runs have other curves of one variant alone."""
    curve = clone / f"plots/curves/{KEYS[0]}.csv"
    drawn = {}
    for number in (1, 2, 3):
        rows = pd.read_csv(curve)
        rows["val_iou"] = number / (rows["epoch"] + 4)
        rows.to_csv(curve, index=False)
        drawn[f"RUN{number}"] = rows["val_iou"].tolist()
        commit_all(clone)
        run(clone, "git", "tag", f"RUN{number}")
    (command,) = readme_block("console", "dvc plots diff RUN1").splitlines()
    run(clone, *shlex.split(command.removeprefix("$ ")), "-o", "written")
    page = (clone / "written/index.html").read_text(encoding="utf-8")
    (values,) = re.findall(r'"values": (\[.*?\])', page.partition("<body>")[2])
    found: dict[str, list[float]] = {}
    for value in json.loads(values):
        found.setdefault(value["rev"], []).append(float(value["val_iou"]))
    assert found == {rev: pytest.approx(values) for rev, values in drawn.items()}
