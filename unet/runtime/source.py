"""What a stage's code means: a hash of each module that it runs, comments and docstrings apart."""

import ast
import hashlib
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def source_hashes(module: str, root: Path = ROOT) -> dict[str, str]:
    """Hashes of ``module`` and of all that it imports below ``root``, directly or not.

    Returns:
        Path from ``root`` -> SHA-256 of its source without comments, docstrings and blank lines, 64
        hexadecimal digits; sorted by path. Files without any code are left out.

    Raises:
        ValueError: there is no such module, or one of the files is no Python.
    """
    start = _file_of(module, root)
    if start is None:
        raise ValueError(f"{module}: no such module below {root}")
    reached: dict[Path, str] = {}
    waiting = {start}
    while waiting:
        path = waiting.pop()
        source = path.read_text(encoding="utf-8")
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            where = f"{path.relative_to(root)}, line {error.lineno}"
            raise ValueError(f"{where}: {error.msg}") from None
        reached[path] = stripped(source, tree)
        packages = {parent / "__init__.py" for parent in path.parents if parent != root}
        waiting |= _imported(tree, root) | {file for file in packages if file.is_file()}
        waiting -= reached.keys()
    return {
        str(path.relative_to(root).as_posix()): hashlib.sha256(text.encode()).hexdigest()
        for path, text in sorted(reached.items())
        if text
    }


def stripped(source: str, tree: ast.AST | None = None) -> str:
    """``source`` without comments, docstrings, blank lines and white space at the ends of lines.

    The text itself, not a dump of its tree: that differs between versions of Python.
    """
    lines = [line.encode() for line in source.splitlines()]  # positions count bytes
    for node in ast.walk(tree or ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", 0), str):
                start, end = (
                    (first.lineno, first.col_offset),
                    (first.end_lineno, first.end_col_offset),
                )
                _blank(lines, *start, *end)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            (row, column), text = token.start, token.line
            start = len(text[:column].encode())
            _blank(lines, row, start, row, start + len(token.string.encode()))
    kept = (line.decode().rstrip() for line in lines)
    return "".join(f"{line}\n" for line in kept if line)


def _blank(lines: list[bytes], row: int, column: int, end_row: int, end_column: int) -> None:
    """Spaces in place of what lies between two positions; rows count from 1."""
    for index in range(row - 1, end_row):
        line = lines[index]
        start = column if index == row - 1 else 0
        end = end_column if index == end_row - 1 else len(line)
        lines[index] = line[:start] + b" " * (end - start) + line[end:]


def _imported(tree: ast.AST, root: Path) -> set[Path]:
    """The files below ``root`` that ``tree`` imports by name."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return {file for name in names if (file := _file_of(name, root))}


def _file_of(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None
