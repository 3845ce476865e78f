"""Disks that are full or read-only, and a cache of hardlinks.

``sudo python -m research.robustness.full_disks``

Each stage runs on a small file system (tmpfs) with more and more free space, and on a read-only
one. If it fails, it must say why in one line and leave existing files unchanged; with enough space,
its next run must write the usual files. (For Linux, as root, because it mounts file systems.)
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from research.robustness.bad_input import inside, small_pipeline
from research.robustness.damages import KEY
from research.robustness.killed_runs import left
from tests.repo import commit_all, copy_repository, make_tiny, run
from unet.data.oxford_pets import md5

STAGES = {
    "download": [], "preprocess": [], "train": [KEY], "evaluate": [KEY], "plot": [],
}  # fmt: skip
ROOMS = (0, 4, 16, 64, 128, 256, 512, 1024, 2048)  # free KiB


def run_stage(stage: str, folder: Path) -> tuple[int, str]:
    """Run a stage in ``folder``; return its exit status and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}", *STAGES[stage]], cwd=folder, text=True,
        capture_output=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    return done.returncode, done.stderr


def fill(folder: Path, *, leave: int) -> None:
    """Fill the file system except for ``leave`` KiB."""
    room = shutil.disk_usage(folder).free - 1024 * leave
    (folder / "ballast").write_bytes(bytes(max(0, room)))


def full_disks(whole: Path, disk: Path) -> None:
    """Run each stage with more and more free space; print how it ended."""
    for stage in STAGES:
        expected = None
        for room in (1 << 14, *ROOMS):
            for path in disk.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            shutil.copytree(whole, disk, dirs_exist_ok=True)
            before = left(disk)
            fill(disk, leave=room)
            status, said = run_stage(stage, disk)
            (disk / "ballast").unlink()
            after = left(disk)
            if expected is None:
                assert status == 0, said
                expected = after
                continue
            if status == 0:
                other = {n for n in after.keys() | expected if after.get(n) != expected.get(n)}
                assert not other, other
                print(f"{stage}: {room} KiB are enough")
                break
            lines = [line for line in said.splitlines() if line.startswith(f"{stage}: ")]
            assert len(lines) == 1 and "Traceback" not in said, said
            assert "full" in lines[0] or "No space left" in lines[0], said
            temporary = {name for name in after if "/." in name or name.startswith(".")}
            wrong = [
                name
                for name, content in before.items()
                # A curve grows during its training.
                if after.get(name) not in (content, expected[name]) and "plots/curves" not in name
            ]
            assert not wrong, wrong
            assert {n for n in after.keys() - expected.keys() if n not in temporary} == set()
            status, said = run_stage(stage, disk)
            assert status == 0, said
            assert left(disk) == expected, left(disk).keys() ^ expected.keys()
            print(f"{stage}: {room} KiB: {lines[0]}")


def read_only(disk: Path) -> None:
    """Run each stage on a read-only file system."""
    before = left(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for stage in STAGES:
        status, said = run_stage(stage, disk)
        lines = said.splitlines()
        assert status == 1 and len(lines) == 1 and "Read-only" in lines[0], said
        print(lines[0])
    assert left(disk) == before


def hardlinks(folder: Path) -> None:
    """Rerun a pipeline whose files are hardlinks into DVC's cache; the cache must not change."""
    repository = copy_repository(folder)
    make_tiny(repository)
    run(repository, "dvc", "config", "cache.type", "hardlink")
    commit_all(repository)
    run(repository, "dvc", "repro", "-q")
    run(repository, "dvc", "repro", "-q", "-f")
    run(repository, "dvc", "exp", "run", "-q", "-S", "train.max_lr=0.01")
    blobs = [p for p in (repository / ".dvc/cache/files/md5").rglob("*") if p.is_file()]
    for path in blobs:
        name = path.parent.name + path.name
        assert md5(path) == name.removesuffix(".dir"), path
    links = [p for p in (repository / "data").rglob("*.npy") if p.stat().st_nlink > 1]
    assert links
    print(f"hardlinks: {len(blobs)} files in the cache are as their names say")


def main() -> None:
    """See the module docstring."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        whole, disk = Path(temporary) / "whole", Path(temporary) / "disk"
        whole.mkdir()
        disk.mkdir()
        small_pipeline(whole)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], check=True)
        try:
            with inside(Path(__file__).resolve().parents[2]):
                full_disks(whole, disk)
                read_only(disk)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        hardlinks(Path(temporary) / "repo")


if __name__ == "__main__":
    main()
