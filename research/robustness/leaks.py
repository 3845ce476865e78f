"""Check that memory does not grow in a long training: ``python -m research.robustness.leaks``."""

import gc
import tempfile
from pathlib import Path

import psutil

from tests.tiny import run_training


def long_run(folder: Path) -> str:
    """Resident memory of this process after 50 and after 200 epochs, in MiB, as text.

    Raises:
        AssertionError: it grew by 8 MiB or more in between.
    """
    memory: list[float] = []

    def on_epoch(training: object) -> None:
        gc.collect()
        memory.append(psutil.Process().memory_info().rss / 2**20)

    run_training(folder, epochs=200, on_epoch=on_epoch)
    assert len(memory) == 200
    assert memory[199] < memory[49] + 8, memory
    return f"200 epochs: {memory[49]:.0f} MiB after 50, {memory[199]:.0f} MiB after 200"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(long_run(Path(temporary) / "state"))
