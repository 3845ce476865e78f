"""Files: written whole or not at all."""

import hashlib
from pathlib import Path

import pytest

from unet.runtime.files import atomic_write, file_sha256, sha256


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "scores.json"
    for before, text in ((None, "first"), ("first", "second")):
        with atomic_write(path) as temporary:
            temporary.write_text(text)
            assert (path.read_text() if path.exists() else None) == before
            assert temporary.parent == path.parent
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("former", ["former", None])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_half_written(
    tmp_path: Path, former: str | None, error: type[BaseException]
) -> None:
    path = tmp_path / "scores.json"
    if former:
        path.write_text(former)
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert [p.read_text() for p in tmp_path.iterdir()] == ([former] if former else [])


def test_sha256_is_of_all_contents_in_their_order(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    assert file_sha256(first) == hashlib.sha256(b"one").hexdigest()
    both = b"".join(hashlib.sha256(content).digest() for content in (b"one", b"two"))
    assert sha256(first, second) == hashlib.sha256(both).hexdigest()
    assert sha256(second, first) != sha256(first, second)
    first.write_bytes(b"onet")
    second.write_bytes(b"wo")
    assert sha256(first, second) != hashlib.sha256(both).hexdigest()
