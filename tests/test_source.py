"""What changes the hash of a stage's code, and what does not: that what is left means the same
(checked on made-up and real sources) implies that another meaning is another hash."""

import ast
import hashlib
import textwrap
from pathlib import Path

import pytest

from tests.repo import ROOT
from unet.runtime.source import source_hashes, stripped


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 'äöü本'  # ü\n", "x = 'äöü本'\n"),
        ("'äöü'\nx = 1\n", "x = 1\n"),
        ("def f(ü): 'ä'  # 本\n", "def f(ü):\n"),
        ("x = '\u2028'  # ends a line for str.splitlines alone\ny = 2\n", "x = '\u2028'\ny = 2\n"),
        ("x = '''\n# a\n'''  # b\n", "x = '''\n# a\n'''\n"),
        ("x = (1,  # one\n     # two\n     2)\n", "x = (1,\n     2)\n"),
        ("x = f'''{1}\n\n #{2}  \n'''  # c\n", "x = f'''{1}\n\n #{2}  \n'''\n"),
        ("x = f'{f\"#{1}\"}'  # c\n", "x = f'{f\"#{1}\"}'\n"),
        ("x = ('a'  # one\n     'b')\n", "x = ('a'\n     'b')\n"),
        ("'''doc\n\n''' ; x = '''\n\n'''\n", " ; x = '''\n\n'''\n"),
        ("b'no docstring'\n", "b'no docstring'\n"),
        ("f'no docstring'\n", "f'no docstring'\n"),
        ("x = 1\n'no docstring'\n", "x = 1\n'no docstring'\n"),
        ("# nothing\n\n'''but words'''\n", ""),
        ("class A:\n    ('Of '\n     'no form.')\n    x = 1\n", "class A:\n    x = 1\n"),
        ("x = 1  \t\n\n\ny = 2", "x = 1\ny = 2\n"),
        (
            "@a\nasync def f():\n    'd'\n    return '# c'  # c\n",
            "@a\nasync def f():\n    return '# c'\n",
        ),
        ("", ""),
    ],
)
def test_sources_at_the_edge(source: str, expected: str) -> None:
    assert stripped(source) == expected


def meaning(source: str) -> str:
    """The tree of ``source`` without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


@pytest.mark.parametrize("folder", ["unet/training", "stages", "tools"])
def test_no_meaning_is_lost_of_any_file_here(folder: str) -> None:
    for path in (ROOT / folder).glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert meaning(stripped(source)) == meaning(source), path
        assert stripped(stripped(source)) == stripped(source), path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project of one stage that imports in each way."""
    files = {
        "stages/__init__.py": '"""Nothing but words."""\n',
        "stages/run.py": """
            import os, unet.model
            from unet import metrics
            from unet.losses import dice as d

            def main() -> None:
                from unet.late import value
        """,
        "unet/__init__.py": "VERSION = 1\n",
        "unet/model.py": "from unet.deep.below import x\n",
        "unet/metrics.py": "import unet.model\n",
        "unet/losses.py": "import torch\nfrom . import relative\nfrom .deep import other\n",
        "unet/late.py": "value = 1\n",
        "unet/relative.py": "value = 1\n",
        "unet/deep/__init__.py": "from ..above import y\n",
        "unet/deep/below.py": "x = 1\n",
        "unet/deep/other.py": "x = 1\n",
        "unet/above.py": "y = 1\n",
        "unet/unused.py": "value = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return tmp_path


def test_imports_are_followed(root: Path) -> None:
    hashes = source_hashes("stages.run", root)
    assert list(hashes) == [
        "stages/run.py", "unet/__init__.py", "unet/above.py", "unet/deep/__init__.py",
        "unet/deep/below.py", "unet/deep/other.py", "unet/late.py", "unet/losses.py",
        "unet/metrics.py", "unet/model.py", "unet/relative.py",
    ]  # fmt: skip
    assert hashes["unet/late.py"] == hashlib.sha256(b"value = 1\n").hexdigest()
    assert list(source_hashes("unet.deep", root)) == [
        "unet/__init__.py", "unet/above.py", "unet/deep/__init__.py",
    ]  # fmt: skip


def test_a_change_is_of_its_file_alone(root: Path) -> None:
    before = source_hashes("stages.run", root)
    (root / "unet/late.py").write_text("# none\nvalue = 1\n")
    (root / "unet/unused.py").write_text("value = 2\n")
    assert source_hashes("stages.run", root) == before
    (root / "unet/late.py").write_text("value = 2\n")
    after = source_hashes("stages.run", root)
    assert [name for name in after if after[name] != before[name]] == ["unet/late.py"]


def test_the_hash_of_a_crlf_checkout_is_the_same(root: Path) -> None:
    before = source_hashes("stages.run", root)
    for path in root.rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert source_hashes("stages.run", root) == before


@pytest.mark.parametrize("stage", ["download", "preprocess", "train", "evaluate", "plot"])
def test_the_stages_of_this_project(stage: str) -> None:
    hashes = source_hashes(f"stages.{stage}")
    assert f"stages/{stage}.py" in hashes and "unet/runtime/process.py" in hashes
    assert ("unet/training/loop.py" in hashes) == (stage == "train")
    assert ("unet/report/figures.py" in hashes) == (stage == "plot")
    assert not any(name.startswith(("tests", "tools", "research")) for name in hashes)
    # Of the packages that hold more than words: the front door, which stages do not use.
    packages = [name for name in hashes if name.endswith("__init__.py")]
    assert packages == ["unet/__init__.py"]
