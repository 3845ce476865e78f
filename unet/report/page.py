"""One self-contained HTML page from a template: the record as JSON, models and runtime packed."""

import base64
import gzip
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "page"
RUNTIME = {"ort-js": "ort.mjs.gz", "ort-wasm": "ort.wasm.gz"}  # element -> file of the shell


def fill_page(title: str, record: Mapping[str, Any], packed: Mapping[str, bytes]) -> str:
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
        blocks.append(f'<script type="text/plain" id="{name}">{text}</script>')
    parts = {
        "title": html.escape(title),
        "style": (PAGE / "style.css").read_text(encoding="utf-8"),
        "blocks": "\n".join(blocks),
        "script": (PAGE / "shell/page.js").read_text(encoding="utf-8"),
    }
    text = (PAGE / "template.html").read_text(encoding="utf-8")
    return re.sub(r"\{(title|style|blocks|script)\}", lambda found: parts[found[1]], text)


def data_url(path: Path) -> str:
    """A picture's content as a URL."""
    kind = {".png": "png"}.get(path.suffix, "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
