"""Tables as Markdown, and how to fill them in between markers in a text."""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table of a frame of text; all but the first column are right-aligned."""
    rule = ["---", *["---:"] * (len(table.columns) - 1)]
    rows = [list(table.columns), rule, *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def fill(text: str, blocks: Mapping[str, str]) -> str:
    """``text`` with each block between ``<!-- NAME -->`` and ``<!-- /NAME -->``.

    Raises:
        ValueError: a marker is missing or occurs twice.
    """
    for name, block in blocks.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        text, count = pattern.subn(lambda m, b=block: f"{m[1]}{b}{m[2]}", text)
        if count != 1:
            raise ValueError(f"the markers of {name} stand {count} times, not once")
    return text


def rewrite(pages: Mapping[Path, Mapping[str, str]]) -> None:
    """Rewrite each page with its blocks, see :func:`fill`."""
    texts = {page: fill(page.read_text(encoding="utf-8"), blocks) for page, blocks in pages.items()}
    for page, text in texts.items():
        page.write_text(text, encoding="utf-8", newline="\n")
