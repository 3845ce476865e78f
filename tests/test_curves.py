import yaml

from tests.repo import ROOT
from unet.report.curves import CHARTS, plots_definition


def test_each_chart_has_each_experiment_in_order() -> None:
    keys = ["b", "a", "on", "1e3", "x-y_z"]
    text = plots_definition(keys)
    charts = yaml.safe_load(text)["plots"]
    assert [list(chart) for chart in charts] == [[title] for title in CHARTS]
    for chart in charts:
        (definition,) = chart.values()
        assert list(definition["y"]) == [f"curves/{key}.csv" for key in keys]
    assert text.endswith("\n")


def test_the_recorded_curves_have_the_columns() -> None:
    for path in (ROOT / "plots/curves").glob("*.csv"):
        header = path.read_text().partition("\n")[0].split(",")
        assert {"epoch", *CHARTS.values()} <= set(header), path
