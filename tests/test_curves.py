from pathlib import Path

import yaml

from tests.repo import ROOT, run
from unet.report.curves import CHARTS, plots_definition


def test_each_chart_has_each_experiment_in_order() -> None:
    keys = ["b", "a", "on", "1e3", "x-y_z"]
    text = plots_definition(keys)
    charts = yaml.safe_load(text)["plots"]
    assert [list(chart) for chart in charts] == [[title] for title in CHARTS]
    for chart in charts:
        (definition,) = chart.values()
        assert list(definition["y"]) == [f"curves/{key}.csv" for key in keys]
    assert text == plots_definition(iter(keys)) and text.endswith("\n")


def test_the_recorded_curves_have_the_columns() -> None:
    for path in (ROOT / "plots/curves").glob("*.csv"):
        header = path.read_text().partition("\n")[0].split(",")
        assert {"epoch", *CHARTS.values()} <= set(header), path


def test_dvc_draws_every_experiment_in_one_chart(tmp_path: Path) -> None:
    keys = ["first", "second", "third"]
    run(tmp_path, "git", "init", "-q")
    run(tmp_path, "dvc", "init", "-q")
    (tmp_path / ".dvc/plots/curves.json").parent.mkdir(exist_ok=True)
    template = (ROOT / ".dvc/plots/curves.json").read_text()
    (tmp_path / ".dvc/plots/curves.json").write_text(template)
    (tmp_path / "plots/curves").mkdir(parents=True)
    (tmp_path / "plots/dvc.yaml").write_text(plots_definition(keys))
    for key in keys:
        lines = [",".join(["epoch", *CHARTS.values()]), "1,0.1,0.2,0.3", "2,0.2,0.3,0.2", ""]
        (tmp_path / f"plots/curves/{key}.csv").write_text("\n".join(lines))
    assert "failed" not in run(tmp_path, "dvc", "plots", "show").stdout.lower()
    page = (tmp_path / "dvc_plots/index.html").read_text(encoding="utf-8")
    for title in CHARTS:
        assert page.count(f'"title": "{title}"') == 1
    for key in keys:
        assert page.count(f'{key}.csv"') == 2 * len(CHARTS)  # both epochs of each chart
