"""Put the released models where the pipeline keeps them: ``python -m tools.models``.

DVC then takes their trainings as done: no network, no remote. ``--release`` goes the other way, for
a maintainer: the models of the pipeline become the released ones.
"""

import shutil
import sys
from pathlib import Path

from dvc.repo import Repo

from unet.data.oxford_pets import md5
from unet.runtime.config import read_yaml
from unet.runtime.files import atomic_write
from unet.runtime.process import run_stage

MODELS, RELEASED = Path("models"), Path("released")


def main() -> None:
    """See the module's text."""
    recorded = recorded_outputs()
    if sys.argv[1:] == ["--release"]:
        release(recorded)
    else:
        place(recorded)


def recorded_outputs(root: Path = Path()) -> dict[str, str]:
    """File name -> MD5 of each model, and what `plot` needs of its training, by ``dvc.lock``."""
    stages = read_yaml(root / "dvc.lock").get("stages", {})
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    return {
        Path(out["path"]).name: out["md5"] for out in outs if Path(out["path"]).parent == MODELS
    }


def check_recorded(path: Path, recorded: dict[str, str]) -> None:
    """Refuse a released model whose scores are not those that are here.

    Args:
        recorded: of :func:`recorded_outputs`.

    Raises:
        ValueError: ``dvc.lock`` records another model of that name, or none.
    """
    if recorded.get(path.name) != md5(path):
        raise ValueError(
            f"{path} is not the model that dvc.lock records, nor are the scores here its own: "
            "`python -m tools.models --release` releases the one here"
        )


def place(recorded: dict[str, str]) -> None:
    """Copy the released files into ``models/`` and DVC's cache.

    Raises:
        ValueError: one of them is not what ``dvc.lock`` records, or would replace another model.
    """
    files = sorted(RELEASED.glob("*.safetensors")) + sorted(RELEASED.glob("*.npz"))
    if not files:
        raise ValueError(f"{RELEASED}/ holds no models: `git checkout {RELEASED}` brings them back")
    for source in files:
        target, found = MODELS / source.name, md5(source)
        if recorded.get(source.name) != found:
            raise ValueError(
                f"{source} is not the model that dvc.lock records: `git checkout {RELEASED}` if it "
                "was changed; if your runs changed dvc.lock, `git checkout dvc.lock params.yaml`"
            )
        if target.exists() and (other := md5(target)) != found and not in_cache(other):
            raise ValueError(
                f"{target} is another model than the released one, and nowhere else: move it away"
            )
    for source in files:
        with atomic_write(MODELS / source.name) as temporary:
            shutil.copyfile(source, temporary)
    with Repo() as repo:  # into the cache, where experiments in copies of the repository find them
        for out in repo.index.outs:
            if Path(out.fs_path).name in recorded and Path(out.fs_path).exists():
                out.commit()
    keys = ", ".join(path.stem for path in files if path.suffix == ".safetensors")
    print(f"{MODELS}/: {keys}")


def in_cache(digest: str) -> bool:
    """Whether DVC's cache holds the file, so that nothing is lost where it is replaced."""
    with Repo() as repo:
        return repo.cache.local.exists(digest)


def release(recorded: dict[str, str]) -> None:
    """Copy the recorded models to ``released/``, and remove what is no longer recorded there: also
    the card of a model that changed (``python -m tools.cards`` writes it anew).

    Raises:
        ValueError: one is missing or not what ``dvc.lock`` records.
    """
    for name, expected in recorded.items():
        if not (MODELS / name).exists() or md5(MODELS / name) != expected:
            raise ValueError(f"{MODELS / name} is not what dvc.lock records: run `dvc repro`")
    models = RELEASED.glob("*.safetensors")
    cards = {path.with_suffix(".md") for path in models if recorded.get(path.name) == md5(path)}
    for old in RELEASED.glob("*.*"):
        if old not in cards:  # they may be all that is left of an evaluation
            old.unlink()
    for name in recorded:
        with atomic_write(RELEASED / name) as temporary:
            shutil.copyfile(MODELS / name, temporary)


if __name__ == "__main__":
    run_stage("models", main)
