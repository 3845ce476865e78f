"""What several test files share: the repository's params and small archives to read."""

from pathlib import Path

import pytest

from unet.data.synthetic import write_archives

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def params_text() -> str:
    """The repository's ``params.yaml`` as it stands."""
    return (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two archives of 48 drawn images; not to be written to."""
    folder = tmp_path_factory.mktemp("raw")
    write_archives(folder, num_images=48)
    return folder
