"""Scripts of page/tests, which look at a page in a real browser."""

import os
import shutil
import subprocess

import pytest

from tests.repo import ROOT

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
HERE = ROOT / "page"

needs_browser = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which(CHROMIUM) and (HERE / "node_modules").is_dir()),
    reason="needs node, chromium and `npm ci` in page/",
)


def look(script: str, *arguments: object, timeout: float = 600) -> str:
    """Run ``page/tests/SCRIPT``, which fails if the page is not as it should be."""
    done = subprocess.run(
        ["node", f"tests/{script}", *map(str, arguments)], cwd=HERE, text=True, timeout=timeout,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
