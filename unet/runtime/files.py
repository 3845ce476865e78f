"""Write files completely or not at all; hash them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; renamed to it if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")  # what a killed process left is overwritten
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, content: str | bytes | memoryview) -> None:
    """Write a whole file by :func:`atomic_write`; text is UTF-8, its line ends stay.

    From memory, because what libraries raise while they write to a full disk does not say so.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as ``sha256sum`` prints it: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(*paths: Path) -> str:
    """The SHA-256 of the joined SHA-256 digests of the files ``paths``: 64 hexadecimal digits."""
    digests = b"".join(bytes.fromhex(file_sha256(path)) for path in paths)
    return hashlib.sha256(digests).hexdigest()
