"""Put the released models where their pipelines keep them: ``python -m tools.models``.

DVC then treats their trainings as done, without network or remote. ``--release`` is for maintainers
and does the opposite: the models of the pipelines become the released ones.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from unet.data.oxford_pets import md5
from unet.runtime.config import read_yaml
from unet.runtime.files import write
from unet.runtime.process import run_stage

MODELS, RELEASED = Path("models"), Path("released")
PROJECTS = (Path(), Path("everyday"))  # the DVC projects whose models are released

Recorded = dict[str, tuple[Path, str]]  # a file's name -> its project, its MD5


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tools.models", description=__doc__.splitlines()[0])
    parser.add_argument("--release", action="store_true", help="models/ -> released/")
    (release if parser.parse_args().release else place)(recorded_outputs())


def recorded_outputs(root: Path = Path()) -> Recorded:
    """Each model, and the file of its training that `plot` reads, in the locks of all PROJECTS.

    Raises:
        ValueError: two projects have an experiment of the same name.
    """
    recorded: Recorded = {}
    for home in (home for home in PROJECTS if (root / home / "dvc.lock").exists()):
        stages = read_yaml(root / home / "dvc.lock")["stages"].values()
        outs = (out for stage in stages for out in stage.get("outs", []))
        for path, digest in ((Path(out["path"]), out["md5"]) for out in outs):
            if path.parent == MODELS:
                if path.name in recorded:
                    raise ValueError(
                        f"{path.stem} is an experiment of the root and of {home}/: name one of "
                        "them otherwise in its params.yaml"
                    )
                recorded[path.name] = home, digest
    return recorded


def check_recorded(path: Path, recorded: Recorded) -> None:
    """Refuse a released model that the recorded scores do not belong to.

    Raises:
        ValueError: ``dvc.lock`` records another model of that name, or none.
    """
    if path.name not in recorded or recorded[path.name][1] != md5(path):
        raise ValueError(
            f"{path} is not the model that dvc.lock records, nor are the scores here its own: "
            "`python -m tools.models --release` releases the one here"
        )


def place(recorded: Recorded) -> None:
    """Copy the released files into their projects' ``models/`` and DVC's cache.

    Raises:
        ValueError: a file is missing, is not what ``dvc.lock`` records, or would replace a model
            that has no other copy; or DVC fails.
    """
    files = {path.name for kind in ("*.safetensors", "*.npz") for path in RELEASED.glob(kind)}
    keys = {name.split(".")[0] for name in files}
    names = sorted(files | {name for name in recorded if name.split(".")[0] in keys})
    if not names:
        raise ValueError(f"{RELEASED}/ holds no model: `git restore -SW {RELEASED}`")
    for name in names:
        source, (home, digest) = RELEASED / name, recorded.get(name, (Path(), ""))
        if not source.exists() or md5(source) != digest:
            raise ValueError(
                f"{source} is not the model that dvc.lock records: `git restore -SW {RELEASED}` if "
                "it was changed; if your runs changed dvc.lock, `git restore -SW dvc.lock "
                "params.yaml`"
            )
    for home in sorted({recorded[name][0] for name in names}):
        with dvc_in(home) as repo:
            placed = {Path(out.fs_path).name: out for out in repo.index.outs}
            placed = {name: out for name, out in placed.items() if name in names}
            for target in (home / MODELS / name for name in placed):
                there = md5(target) if target.exists() else recorded[target.name][1]
                if there != recorded[target.name][1] and not repo.cache.local.exists(there):
                    raise ValueError(
                        f"{target} is another model than the released one, and nowhere else: move "
                        "it away"
                    )
            for name, out in placed.items():
                write(home / MODELS / name, (RELEASED / name).read_bytes())
                out.commit()  # experiments in copies of the repository find it in the cache
        models = [Path(name).stem for name in placed if name.endswith(".safetensors")]
        print(f"{home / MODELS}/: {', '.join(models)}")


@contextmanager
def dvc_in(project: Path) -> Iterator[Repo]:
    """DVC's view of the project; its errors become ValueErrors."""
    try:
        with Repo(str(project)) as repo:
            yield repo
    except (DvcException, KeyError) as error:  # KeyError: the user has no name
        raise ValueError(f"dvc: {error}") from None


def release(recorded: Recorded) -> None:
    """Copy the recorded models to ``released/`` and remove files there that are not recorded,
    including the cards of changed models (``python -m tools.cards`` rewrites them).

    Raises:
        ValueError: a model as ``dvc.lock`` records it is neither here nor released.
    """
    sources = {}
    for name, (home, digest) in recorded.items():
        released, here = RELEASED / name, home / MODELS / name
        found = (path for path in (released, here) if path.exists() and md5(path) == digest)
        if not (source := next(found, None)):
            raise ValueError(
                f"{here} is not what dvc.lock records: run `dvc --cd {home.as_posix()} repro`"
            )
        sources[released] = source
    # A card may be all that is left of an evaluation.
    cards = {path.with_suffix(".md") for path, source in sources.items() if source == path}
    for old in {*RELEASED.glob("*.*")} - sources.keys() - cards:
        old.unlink()
    for path, source in sources.items():
        if source != path:
            write(path, source.read_bytes())


if __name__ == "__main__":
    run_stage("models", main)
