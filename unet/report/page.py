"""One HTML page that needs no other file: a record as JSON, its models and what runs them."""

import base64
import gzip
import html
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

PAGE = Path(__file__).parents[2] / "page"
RUNTIME = {"ort-js": "ort.mjs.gz", "ort-wasm": "ort.wasm.gz"}  # element -> file of the shell

Json = dict[str, Any]


def fill_page(title: str, record: Json, packed: Mapping[str, bytes]) -> str:
    """The page as HTML.

    Args:
        title: in the window's title and as the first heading.
        record: JSON values, which ``page/src/main.js`` shows; ``about`` stands below the title.
        packed: element's id -> the content of a file; if there are any, the runtime is added.
    """
    files = {name: gzip.compress(content, mtime=0) for name, content in packed.items()}
    if files:
        files |= {name: (PAGE / "shell" / file).read_bytes() for name, file in RUNTIME.items()}
    blocks = [
        f'<script type="text/plain" id="{html.escape(name)}">{base64.b64encode(content).decode()}'
        for name, content in files.items()
    ]
    parts = {
        "title": html.escape(title),
        "about": html.escape(record["about"]),
        "style": (PAGE / "style.css").read_text(encoding="utf-8"),
        "licence": html.escape((PAGE / "licences/onnxruntime.txt").read_text(encoding="utf-8")),
        "data": json.dumps(record, allow_nan=False).replace("<", "\\u003c"),
        "files": "".join(f"{block}</script>\n" for block in blocks),
        "script": (PAGE / "shell/page.js").read_text(encoding="utf-8"),
    }
    text = (PAGE / "template.html").read_text(encoding="utf-8")
    return re.sub(rf"\{{({'|'.join(parts)})\}}", lambda found: parts[found[1]], text)


def data_url(content: bytes) -> str:
    """A PNG's or a JPEG's content as a URL."""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def as_table(frame: pd.DataFrame, caption: str = "") -> Json:
    """A table of text, which the page sorts by the number that a cell begins with, or by name."""
    cells = frame.astype(str).to_numpy().tolist()
    return {"caption": caption, "columns": list(frame), "rows": cells}


@contextmanager
def reading(path: str, way_out: str = "`dvc repro` makes it anew") -> Iterator[None]:
    """Name ``path`` in the one line about what is wrong with it."""
    try:
        yield
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): {way_out}") from None
