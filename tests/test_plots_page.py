"""The page that `dvc plots show` and `dvc plots diff` write draws its charts without a network."""

import re
from pathlib import Path

import pytest

from tests.repo import copy_repository, run

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
