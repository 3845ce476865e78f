"""Write the record as one HTML page for a browser: ``python -m tools.page [--out FILE]``."""

import argparse
from pathlib import Path

from unet.config import load_params
from unet.report.page import data_url, fill_page
from unet.report.page_models import page_models
from unet.runtime.files import write
from unet.runtime.process import run_stage


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tools.page", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE")
    arguments = parser.parse_args()
    keys = list(load_params("params.yaml").experiments)
    models = page_models(Path(), keys)
    record = {
        "models": [{"key": key, **about} for key, (about, _) in models.items()],
        "examples": [
            {"name": path.stem, "url": data_url(path)}
            for path in sorted(Path("examples").glob("*.jpg"))
        ],
    }
    packed = {f"model-{key}": content for key, (_, content) in models.items()}
    write(arguments.out, fill_page("U-Nets on the pets dataset", record, packed))
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB, open it in a browser")


if __name__ == "__main__":
    run_stage("page", main)
