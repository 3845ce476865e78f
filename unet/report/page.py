"""One HTML page that needs no other file: a record as JSON, its models and what runs them."""

import base64
import gzip
import html
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PAGE = Path(__file__).parents[2] / "page"
RUNTIME = {"ort-js": "ort.mjs.gz", "ort-wasm": "ort.wasm.gz"}  # element -> file of the shell
CURVES = ["epoch", "val_iou", "val_accuracy", "train_loss", "val_loss"]

Json = dict[str, Any]


def fill_page(title: str, record: Json, packed: Mapping[str, bytes]) -> str:
    """The page as HTML.

    Args:
        title: in the window's title and as the first heading.
        record: JSON values, which ``page/src/main.js`` shows.
        packed: element's id -> the content of a file; if there are any, the runtime is added.
    """
    data = json.dumps(record, allow_nan=False).replace("<", "\\u003c")
    blocks = [f'<script type="application/json" id="data">{data}</script>']
    files = {name: gzip.compress(content, mtime=0) for name, content in packed.items()}
    if files:
        files |= {name: (PAGE / "shell" / file).read_bytes() for name, file in RUNTIME.items()}
    for name, content in files.items():
        text = base64.b64encode(content).decode()
        blocks.append(f'<script type="text/plain" id="{html.escape(name)}">{text}</script>')
    parts = {
        "title": html.escape(title),
        "about": html.escape(record["about"]),
        "style": (PAGE / "style.css").read_text(encoding="utf-8"),
        "blocks": "\n".join(blocks),
        "script": (PAGE / "shell/page.js").read_text(encoding="utf-8"),
    }
    text = (PAGE / "template.html").read_text(encoding="utf-8")
    return re.sub(r"\{(title|about|style|blocks|script)\}", lambda found: parts[found[1]], text)


def data_url(content: bytes) -> str:
    """A PNG's or a JPEG's content as a URL."""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def as_table(frame: pd.DataFrame, caption: str = "") -> Json:
    """A table of text, which the page sorts by the number that a cell begins with, or by name."""
    cells = frame.astype(str).to_numpy().tolist()
    return {"caption": caption, "columns": list(frame), "rows": cells}


def read_curve(path: str, content: bytes | None) -> Json:
    """The columns CURVES of a learning curve, as lists.

    Raises:
        ValueError: there is no ``content``, or it is damaged.
    """
    try:
        frame = pd.read_csv(io.BytesIO(content or b""))[CURVES].astype(float)
        if not np.isfinite(frame.to_numpy()).all():
            raise ValueError("a value is missing")
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): run `dvc repro`") from None
    return frame.to_dict("list")
