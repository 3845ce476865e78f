"""Put the released models where their pipelines keep them: ``python -m tools.models``.

DVC then treats their trainings as done, without network or remote. ``--release`` is for maintainers
and does the opposite: the models of the pipelines become the released ones.
"""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from unet.data.oxford_pets import md5
from unet.runtime.config import read_yaml
from unet.runtime.files import atomic_write
from unet.runtime.process import run_stage

MODELS, RELEASED = Path("models"), Path("released")
GET_BACK = f"git restore -SW {RELEASED}"
PROJECTS = (Path(), Path("everyday"))  # the DVC projects whose models are released


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser("python -m tools.models", description=__doc__.splitlines()[0])
    parser.add_argument("--release", action="store_true", help="models/ -> released/")
    arguments = parser.parse_args()
    recorded = recorded_outputs()
    if arguments.release:
        release(recorded)
    else:
        place(recorded)


def recorded_outputs(root: Path = Path()) -> dict[str, str]:
    """File name -> MD5 of each model, and of the file of its training that `plot` reads, as
    recorded in the lock files of all PROJECTS.

    Raises:
        ValueError: two projects have an experiment of the same name.
    """
    recorded: dict[str, str] = {}
    for project in PROJECTS:
        for name, digest in _outputs(root, project):
            if name in recorded:
                raise ValueError(
                    f"{name.split('.')[0]} is an experiment of the root and of {project}/: name "
                    "one of them otherwise in its params.yaml"
                )
            recorded[name] = digest
    return recorded


def homes_of(root: Path = Path()) -> dict[str, Path]:
    """File name -> the project that makes it, for each file of :func:`recorded_outputs`."""
    return {name: project for project in PROJECTS for name, _ in _outputs(root, project)}


def _outputs(root: Path, project: Path) -> list[tuple[str, str]]:
    lock = root / project / "dvc.lock"
    if project != Path() and not lock.exists():  # not run yet
        return []
    outs = [
        o for stage in read_yaml(lock).get("stages", {}).values() for o in stage.get("outs", [])
    ]
    return [
        (Path(out["path"]).name, out["md5"]) for out in outs if Path(out["path"]).parent == MODELS
    ]


def check_recorded(path: Path, recorded: dict[str, str]) -> None:
    """Refuse a released model that the recorded scores do not belong to.

    Args:
        recorded: the result of :func:`recorded_outputs`.

    Raises:
        ValueError: ``dvc.lock`` records another model of that name, or none.
    """
    if recorded.get(path.name) != md5(path):
        raise ValueError(
            f"{path} is not the model that dvc.lock records, nor are the scores here its own: "
            "`python -m tools.models --release` releases the one here"
        )


def place(recorded: dict[str, str]) -> None:
    """Copy the released files into their projects' ``models/`` and DVC's cache.

    Raises:
        ValueError: a file is missing, is not what ``dvc.lock`` records, or would replace a model
            that has no other copy.
    """
    files = sorted(RELEASED.glob("*.safetensors")) + sorted(RELEASED.glob("*.npz"))
    if not files:
        raise ValueError(
            f"{RELEASED}/ holds no models: `git restore -SW {RELEASED}` brings them back"
        )
    released = {path.name.split(".")[0] for path in files}
    parts = {name for name in recorded if name.split(".")[0] in released}
    if missing := sorted(parts - {path.name for path in files}):
        raise ValueError(f"{RELEASED / missing[0]} is missing: `{GET_BACK}`")
    homes, targets = homes_of(), {}
    for source in files:
        found = md5(source)
        if recorded.get(source.name) != found:
            raise ValueError(
                f"{source} is not the model that dvc.lock records: `{GET_BACK}` if it was "
                "changed; if your runs changed dvc.lock, `git restore -SW dvc.lock params.yaml`"
            )
        home = homes[source.name]
        target = targets[source] = home / MODELS / source.name
        if target.exists() and (other := md5(target)) != found and not in_cache(other, home):
            raise ValueError(
                f"{target} is another model than the released one, and nowhere else: move it away"
            )
    for source, target in targets.items():
        with atomic_write(target) as temporary:
            shutil.copyfile(source, temporary)
    for home in sorted(set(homes.values())):
        # Experiments that run in copies of the repository find the models in the cache.
        with dvc_in(home) as repo:
            for out in repo.index.outs:
                if Path(out.fs_path).name in recorded and Path(out.fs_path).exists():
                    out.commit()
        placed = [t.stem for t in targets.values() if t.parent == home / MODELS]
        keys = ", ".join(stem for stem in placed if "." not in stem)
        print(f"{home / MODELS}/: {keys}")


@contextmanager
def dvc_in(project: Path) -> Iterator[Repo]:
    """DVC's view of the project.

    Raises:
        ValueError: DVC fails; the message is its own.
    """
    try:
        with Repo(str(project)) as repo:
            yield repo
    except (DvcException, KeyError) as error:  # KeyError: the user has no name
        raise ValueError(f"dvc: {error}") from None


def in_cache(digest: str, project: Path) -> bool:
    """Whether the project's cache has the file, so that replacing it loses nothing."""
    with dvc_in(project) as repo:
        return repo.cache.local.exists(digest)


def release(recorded: dict[str, str]) -> None:
    """Copy the recorded models to ``released/`` and remove files there that are not recorded,
    including the cards of changed models (``python -m tools.cards`` rewrites them).

    Raises:
        ValueError: a model as ``dvc.lock`` records it is neither here nor released; or a missing
            lock file may record what would be removed.
    """
    homes = homes_of()
    projects = [project for project in PROJECTS if project.is_dir()]
    not_run = [project for project in projects if not (project / "dvc.lock").exists()]
    unknown = [path for path in RELEASED.glob("*.safetensors") if path.name not in recorded]
    if not_run and unknown:
        raise ValueError(
            f"{unknown[0]} is in no lock, and {not_run[0] / 'dvc.lock'} is missing: "
            f"`git restore -SW {not_run[0] / 'dvc.lock'}`, or remove the model"
        )
    there = {path for path in RELEASED.glob("*.*") if recorded.get(path.name) == md5(path)}
    for name, expected in recorded.items():
        model = homes[name] / MODELS / name
        if RELEASED / name not in there and (not model.exists() or md5(model) != expected):
            way = "`dvc repro`" if homes[name] == Path() else f"`dvc --cd {homes[name]} repro`"
            raise ValueError(f"{model} is not what dvc.lock records: run {way}")
    cards = {path.with_suffix(".md") for path in there if path.suffix == ".safetensors"}
    for old in RELEASED.glob("*.*"):
        if old not in there | cards:  # a card may be all that is left of an evaluation
            old.unlink()
    for name in recorded:
        if RELEASED / name not in there:
            with atomic_write(RELEASED / name) as temporary:
                shutil.copyfile(homes[name] / MODELS / name, temporary)


if __name__ == "__main__":
    run_stage("models", main)
