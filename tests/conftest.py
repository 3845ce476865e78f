"""What several test files share: the repository's params and small archives to read."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from tests.photographs import INFO
from tests.repo import ENVIRONMENT, FINISHED, TINY, commit_all, copy_repository, make_tiny, run
from tests.tiny import run_training, tiny_augment
from tools.models import PROJECTS
from unet.data.synthetic import write_archives
from unet.inference.model_file import TrainedModel, load_model, save_model

torch.set_num_threads(1)  # another number gives other bits, and the workers share the cores
# What trainings compute in where a test does not say it; they must pass with bf16, too.
TINY["amp"] = os.environ.get("TESTS_AMP", TINY["amp"])


@pytest.fixture(autouse=True)
def alike() -> Iterator[None]:
    """A test gets the same random numbers and threads, whatever ran before it, on any machine."""
    torch.manual_seed(0)
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What commands under test leave among the system's temporary files (torchrun its logs, a
    killed process anything) is removed with the tests' own."""
    for environment in (os.environ, ENVIRONMENT):
        environment["TMPDIR"] = str(tmp_path_factory.mktemp("temporary"))
    tempfile.tempdir = None  # so that tempfile reads TMPDIR again


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two archives of 48 drawn images; not to be written to."""
    folder = tmp_path_factory.mktemp("raw")
    write_archives(folder, num_images=48)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose pipeline ran through, on drawn data, with the experiments FINISHED; not to
    be written to: tests change copies of it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # shared by all workers: the first that needs it makes it
    with FileLock(shared / "finished.lock"):
        if not (shared / "finished").exists():
            make_finished(shared / "making")
            (shared / "making").rename(shared / "finished")
    return shared / "finished"


def make_finished(repository: Path) -> None:
    shutil.rmtree(repository, ignore_errors=True)
    copy_repository(repository)
    make_tiny(repository, keys=FINISHED)
    # These belong to released models, which were not copied.
    for project in PROJECTS:
        (repository / project / "dvc.lock").unlink(missing_ok=True)
    for name in ("metrics", "plots/curves", "plots/timing"):
        shutil.rmtree(repository / name, ignore_errors=True)
    run(repository, "dvc", "repro")
    commit_all(repository)


@pytest.fixture
def repository(finished: Path, tmp_path: Path) -> Path:
    """A copy of ``finished`` to change."""
    return Path(shutil.copytree(finished, tmp_path / "repo", symlinks=True))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a model that finds bright rectangles."""
    folder = tmp_path_factory.mktemp("trained")
    # Over five seeds it finds at least 0.88 (IoU) of the rectangles below.
    augment = tiny_augment(flip=True)
    training = run_training(folder / "checkpoint", epochs=30, batch_size=4, augment=augment)
    save_model(folder / "bright.safetensors", training.weights, INFO)
    return folder / "bright.safetensors"


@pytest.fixture(scope="session")
def model(trained: Path) -> TrainedModel:
    return load_model(trained)
