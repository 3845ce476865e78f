"""Typical use of Git and DVC over time: ``python -m research.robustness.history``.

In a small pipeline with a history, it checks out an older commit, and runs ``dvc gc``,
``git bisect run`` with ``dvc repro``, and a queued experiment that is killed and run again.
"""

import re
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

from research.robustness.damages import KEY
from tests.repo import RUNNING, commit_all, copy_repository, make_tiny, run, start_queue
from unet.data.oxford_pets import md5

MODEL = f"models/{KEY}.safetensors"
CHECK = f"""dvc repro -q -s train@{KEY} && exit 0
exit 1
"""


def set_rate(repository: Path, rate: float) -> None:
    """Set train.max_lr in params.yaml."""
    path = repository / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["train"]["max_lr"] = rate
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def older_commit(repository: Path) -> str:
    """Check out an older commit and return; then again after ``dvc gc`` has removed its files."""
    train = ("dvc", "repro", "-q", "-s", f"train@{KEY}")
    first = run(repository, "git", "rev-parse", "HEAD").stdout.strip()
    old = md5(repository / MODEL)
    set_rate(repository, 0.01)
    run(repository, *train)
    commit_all(repository)
    new = md5(repository / MODEL)
    assert new != old
    run(repository, "git", "checkout", "-q", first)
    run(repository, "dvc", "checkout", "-q", "-f", f"train@{KEY}")
    assert md5(repository / MODEL) == old
    assert "Running stage" not in run(repository, "dvc", "repro", "-s", f"train@{KEY}").stdout
    run(repository, "git", "checkout", "-q", "main")
    run(repository, "dvc", "checkout", "-q", "-f", f"train@{KEY}")
    assert md5(repository / MODEL) == new
    run(repository, "dvc", "gc", "-q", "-f", "--workspace")
    run(repository, "git", "checkout", "-q", first)
    output = run(repository, "dvc", "repro", "-s", f"train@{KEY}").stdout
    assert RUNNING.findall(output) == [f"train@{KEY}"], output
    assert md5(repository / MODEL) == old
    run(repository, "git", "checkout", "-q", "-f", "main")
    return "an older commit: its model comes back; after dvc gc it is trained again, the same bytes"


def bisect(repository: Path) -> str:
    """Find the commit whose learning rate breaks the training."""
    commits = []
    for rate in (0.011, 0.012, 1e38, 1e37, 1e36):
        set_rate(repository, rate)
        commit_all(repository)
        commits.append(run(repository, "git", "rev-parse", "HEAD").stdout.strip())
    script = repository.parent / "check.sh"
    script.write_text(CHECK)
    run(repository, "git", "bisect", "start", commits[-1], commits[0])
    output = run(repository, "git", "bisect", "run", "sh", str(script)).stdout
    found = re.search(r"^(\w{40}) is the first bad commit", output, re.MULTILINE)
    assert found and found[1] == commits[2], output
    run(repository, "git", "checkout", "-q", "-f", "main")
    return "git bisect run with dvc repro finds the commit that breaks the training"


def queued(repository: Path) -> str:
    """Kill a queued experiment and its worker; when run again, the experiment must resume."""
    command = ("-S", "train.epochs=1200", f"train@{KEY}")
    run(repository, "dvc", "exp", "run", "--queue", *command)
    start_queue(repository)
    deadline = time.monotonic() + 120
    while not list((repository / ".checkpoints").glob("*/*/state.bin")):
        assert time.monotonic() < deadline, "the queue's worker does not train"
        time.sleep(0.1)
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd().startswith(str(repository)):
                process.kill()
    output = run(repository, "dvc", "exp", "run", "--temp", *command).stdout
    assert f"{KEY}: resumes after epoch" in output, output
    return "a queued experiment that was killed with its worker goes on when it is run again"


def main() -> None:
    """See the module docstring."""
    with tempfile.TemporaryDirectory() as temporary:
        repository = copy_repository(Path(temporary) / "repo")
        run(repository, "git", "branch", "-M", "main")
        make_tiny(repository, keys=[KEY])
        commit_all(repository)
        for stage in ("code", "download", "preprocess", f"train@{KEY}"):
            run(repository, "dvc", "repro", "-q", "-s", stage)
        commit_all(repository)
        print(queued(repository), flush=True)
        print(older_commit(repository), flush=True)
        print(bisect(repository), flush=True)


if __name__ == "__main__":
    main()
