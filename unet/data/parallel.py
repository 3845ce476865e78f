"""Apply a function to many files on all cores, in order, with few in memory at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

File = TypeVar("File")
Result = TypeVar("Result")


def in_order(
    files: Iterable[tuple[str, File]], read: Callable[[str, File], Result]
) -> Iterator[tuple[str, Result]]:
    """Yield (name, ``read(name, file)``) for each (name, file).

    Uses threads, because Pillow releases the GIL while it decodes and resizes.
    """
    workers = os.cpu_count() or 1
    waiting: deque[tuple[str, Any]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for name, file in files:
            waiting.append((name, pool.submit(read, name, file)))
            if len(waiting) > 8 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
