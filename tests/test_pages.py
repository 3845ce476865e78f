"""The pages stay short, their links lead somewhere, their commands run, their messages are ours."""

import ast
import re
from pathlib import Path

import pytest

from tests.repo import ROOT, run

PAGES = [Path(name) for name in run(ROOT, "git", "ls-files", "*.md").stdout.split()]
# How a page's command begins: the file of tests that runs it, or what is behind it; or what it
# needs that is not here.
COMMANDS = {
    "make demo": "test_dvc_commands",
    "make test": "needs nothing: it runs this test",
    "make setup": "needs a network, and .ci/run begins with it",
    "make models": "test_dvc_commands",
    "make compare": "test_compare",
    "make suspects": "test_labels",
    "make study": "test_ablation",
    "make readme": "needs a new record; test_record compares the pages with this one",
    "unet-predict": "test_command",
    "python -m tools.predict": "test_command",
    "python -m tools.page": "test_page",
    "make page": "test_page",
    "python -m tools.score": "test_score",
    "python -m tools.models --release": "test_dvc_commands",
    "python -m tools.export": "test_export",
    "python -m tools.cutouts": "needs a person to look at the picture",
    "python -m research.benchmarks.quality": "test_benchmarks",
    "python -m research.benchmarks.report": "test_benchmarks",
    "python -m research.benchmarks.speed": "test_benchmarks",
    "python -m research.benchmarks.few_photos": "needs the real data and a quarter of an hour",
    "dvc repro": "test_pipeline",
    "dvc exp run": "test_pipeline",
    "dvc exp run -n mine -S data.path=my_photos": "test_folder_pipeline",
    "dvc exp run -S data.path=my_photos": "test_folder_pipeline",
    "dvc exp show": "test_dvc_commands",
    "dvc exp push": "test_pipeline",
    "dvc exp pull": "test_pipeline",
    "dvc exp apply": "test_pipeline",
    "dvc plots diff": "test_dvc_commands",
    "dvc queue": "test_pipeline",
    "dvc status": "test_dvc_commands",
    "dvc commit": "needs a training that DVC did not run",
    "dvc remote add": "test_dvc_commands",
    "dvc push": "test_dvc_commands",
    "git restore -SW params.yaml dvc.lock code metrics plots": "test_pipeline",
    "torchrun": "test_distributed",
    "OXFORD_PETS_URL=/data/pets dvc repro": "test_download",
    "python3 -m venv": "needs a network",
    "pip install": "needs a network",
    "grep -vE": "needs a network",
    **dict.fromkeys(
        (". .venv/bin/activate", "cp", "mkdir", "touch", "git add", "git commit"), "needs a user"
    ),
}


def read(page: Path | str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of the headings."""
    headings = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        assert there.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(there), f"{page}: {target}"


def test_the_pages_are_read_once() -> None:
    lines = {page: len(read(page).splitlines()) for page in PAGES}
    assert lines.pop(Path("README.md")) <= 170 and len(read("README.md").split()) <= 1500
    assert max(lines.values()) <= 150
    assert sum(number for page, number in lines.items() if page.parts[0] == "docs") <= 600


def test_each_command_runs_in_a_test_or_needs_what_is_not_here() -> None:
    used = set()
    for page in PAGES:
        text = read(page).replace("\\\n", "")
        for line in re.findall(r"^ *\$ (.+?)(?: +#.*)?$", text, re.MULTILINE):
            for command in line.split(" && "):
                known = [begin for begin in COMMANDS if f"{command} ".startswith(f"{begin} ")]
                assert known, f"{page}: {command}"
                used.add(max(known, key=len))
    assert used == set(COMMANDS)
    for where in COMMANDS.values():
        assert where.startswith("needs ") or (ROOT / f"tests/{where}.py").exists(), where


def test_the_messages_that_the_troubleshooting_page_quotes_are_in_the_source() -> None:
    """Part by part: … stands for what is filled in."""
    sources = run(ROOT, "git", "ls-files", "unet/*.py", "stages/*.py", "tools/*.py").stdout.split()
    nodes = [node for source in sources for node in ast.walk(ast.parse(read(source)))]
    strings = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    everything = "\n".join([*strings, read("Makefile")])
    _, ours = read("docs/troubleshooting.md").split("## Of set-up")
    messages = re.findall(r"^\| (?!message|-)(.+?) \| ", ours, re.MULTILINE)
    parts = [part for message in messages for part in re.split(r" ?… ?", message) if part]
    assert len(messages) > 20 and [part for part in parts if part not in everything] == []
