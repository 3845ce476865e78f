"""How a stage behaves as a process: one line for an error, no orphans."""

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from unet.runtime.source import hash_lines


def run_stage(
    name: str,
    main: Callable[[], None],
    smaller: str = "batch_size, preprocess.image_size or a width",
) -> None:
    """Run ``main``; exit with status 1 and one line on stderr for errors that a user can fix.

    Ctrl-C ends it with one line and status 130, a reader that has gone (``| head``) without a word.

    Args:
        smaller: what to lower if the memory is too small.
    """
    stop_with_dvc()
    try:
        check_code()
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        sys.exit(1)
    except (ValueError, OSError) as error:
        sys.exit(f"{name}: {error}")
    except (MemoryError, RuntimeError) as error:
        # In torch's messages: CUDA, CPU on Linux, CPU on Windows.
        memory = re.compile("out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
        if isinstance(error, RuntimeError) and not memory.search(str(error)):
            raise
        sys.exit(f"{name}: out of memory: lower {smaller}")


def check_code() -> None:
    """Refuse to run as a DVC stage if the code has changed since the stage ``code`` ran.

    DVC would record the result as the old code's.
    """
    spec = sys.modules["__main__"].__spec__
    package, _, stage = spec.name.rpartition(".") if spec else ("", "", "")
    folder = Path() if package == "stages" else Path(*package.split("."))
    file = folder / "code" / f"{stage}.txt"
    if "DVC_STAGE" in os.environ and file.exists() and file.read_text() != hash_lines(spec.name):
        raise ValueError(
            "the source changed since the stage `code` ran: run `dvc repro` without --single-item, "
            "or `dvc repro -s code` before"
        )


def stop_with_dvc(interval: float = 1.0) -> None:
    """Exit within about ``interval`` seconds after the ``dvc`` that started this process is gone.

    A killed DVC leaves its stages running, which would write during the next run.
    """

    def watch(dvc: psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess):
            while dvc.is_running() and dvc.status() != psutil.STATUS_ZOMBIE:
                time.sleep(interval)
        print("stopped: the dvc that started this stage is gone", file=sys.stderr, flush=True)
        os._exit(1)

    with suppress(psutil.Error):
        for process in psutil.Process().parents() if "DVC_STAGE" in os.environ else ():
            # There may be a shell in between.
            if any(Path(part).stem == "dvc" for part in process.cmdline()[:3]):
                threading.Thread(target=watch, args=(process,), daemon=True).start()
                break
