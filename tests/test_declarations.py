"""What dvc.yaml has to spell out agrees with the code and with params.yaml."""

import ast
from pathlib import Path

import pytest
import yaml

from research.ablation.design import FACTORS, NAMED
from tests.repo import ROOT

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
EXPERIMENTS = list(yaml.safe_load((ROOT / "params.yaml").read_text())["experiments"])


def stage(name: str) -> dict:
    entry = PIPELINE["stages"][name]
    return entry.get("do", entry)


def imported_modules(path: Path) -> set[Path]:
    """The project's modules that ``path`` imports by name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        candidates = (ROOT / f"{name.replace('.', '/')}.py" for name in names)
        found |= {candidate for candidate in candidates if candidate.is_file()}
    return found


def closure(path: Path) -> set[Path]:
    reached, waiting = set(), [path]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += imported_modules(module)
    return reached


STAGES = [
    pytest.param(entry.get("do", entry), id=f"{folder}{name}")
    for folder in ("", "study/")
    for name, entry in yaml.safe_load((ROOT / folder / "dvc.yaml").read_text())["stages"].items()
]


@pytest.mark.parametrize("entry", STAGES)
def test_code_dependencies_are_the_imports(entry: dict) -> None:
    module = entry["cmd"].split()[2]
    declared = {dep for dep in entry["deps"] if dep.endswith(".py")}
    imported = {str(p.relative_to(ROOT)) for p in closure(ROOT / f"{module.replace('.', '/')}.py")}
    assert declared == imported, f"deps of {module} in dvc.yaml: wrong {declared ^ imported}"


@pytest.mark.parametrize("package", ["unet", "stages", "study"])
def test_packages_hold_no_code_of_their_own(package: str) -> None:
    body = ast.parse((ROOT / package / "__init__.py").read_text()).body
    assert len(body) == 1 and isinstance(body[0], ast.Expr), "no stage depends on it"


@pytest.mark.parametrize("name", PIPELINE["stages"])
def test_commands_run_the_module_of_the_copy(name: str) -> None:
    assert stage(name)["cmd"].startswith(f"python -m stages.{name}")


@pytest.mark.parametrize("design", ["factorial", "published"])
def test_the_study_trains_the_cells_that_its_claims_need(design: str) -> None:
    matrix = yaml.safe_load((ROOT / "study/dvc.yaml").read_text())["stages"][design]["matrix"]
    if design == "factorial":
        assert {name: tuple(matrix[name]) for name in FACTORS} == FACTORS
    else:
        assert matrix["cell"] == list(NAMED.values())
    assert matrix["seed"] == f"${{{design}.seeds}}"


def test_plot_depends_on_every_experiment() -> None:
    expected = {
        path
        for key in EXPERIMENTS
        for path in (
            f"metrics/{key}.json",
            f"models/{key}.progress.npz",
            f"plots/curves/{key}.csv",
            f"predictions/{key}",
        )
    }
    declared = {dep for dep in stage("plot")["deps"] if not dep.endswith(".py")} - {"data/packed"}
    assert declared == expected, (
        "the experiments of params.yaml and the deps of the stage plot in dvc.yaml differ in "
        f"{sorted(declared ^ expected)}"
    )


@pytest.mark.parametrize("plot", PIPELINE["plots"], ids=lambda plot: next(iter(plot)))
def test_curves_show_every_experiment(plot: dict) -> None:
    title, properties = next(iter(plot.items()))
    expected = {f"plots/curves/{key}.csv" for key in EXPERIMENTS}
    assert set(properties["y"]) == expected, (
        f"the experiments of params.yaml and the plot {title!r} in dvc.yaml differ in "
        f"{sorted(set(properties['y']) ^ expected)}"
    )
    assert len(set(properties["y"].values())) == 1
