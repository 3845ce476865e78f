"""Hashes of the modules that a stage runs, without comments and docstrings."""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def hash_lines(module: str, root: Path = ROOT) -> str:
    """The text of ``code/STAGE.txt``: one line per entry of :func:`source_hashes`."""
    return "".join(f"{sha}  {path}\n" for path, sha in source_hashes(module, root).items())


def source_hashes(module: str, root: Path = ROOT) -> dict[str, str]:
    """Hashes of ``module`` and of all that it imports below ``root``, directly or not.

    Returns:
        Path from ``root`` -> SHA-256 of its source without comments, docstrings and blank lines, 64
        hexadecimal digits; sorted by path. Files without any code are left out.

    Raises:
        ValueError: there is no such module, or one of the files is not valid Python.
    """
    start = _file_of(module, root)
    if start is None:
        raise ValueError(f"{module}: no such module below {root}")
    reached: dict[Path, str] = {}
    waiting = {start}
    while waiting:
        path = waiting.pop()
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
        except (SyntaxError, ValueError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            problem = error.msg if isinstance(error, SyntaxError) else error
            raise ValueError(f"{path.relative_to(root)}{line}: {problem}") from None
        reached[path] = stripped(source, tree)
        inits = {parent / "__init__.py" for parent in path.parents if root in parent.parents}
        waiting |= _imported(tree, path, root) | {file for file in inits if file.is_file()}
        waiting -= reached.keys()
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(text.encode()).hexdigest()
        for path, text in sorted(reached.items())
        if text
    }


def stripped(source: str, tree: ast.AST | None = None) -> str:
    """``source`` without comments, docstrings, blank lines and white space at the ends of lines.

    Other strings stay as they are. Works on the text, not on its syntax tree or tokens, because
    those differ between versions of Python.
    """
    lines = source.split("\n")  # not splitlines, which splits at more characters than Python
    blanks = [_position(node, lines) for node in _docstrings(tree or ast.parse(source))]
    within_string: set[int] = set()  # rows whose end lies in a string
    opened = []  # f-strings, which have tokens of their own since Python 3.12
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "COMMENT":
            blanks.append((token.start, token.end))
        elif kind == "STRING":
            within_string |= set(range(token.start[0], token.end[0]))
        elif kind.endswith("STRING_START"):
            opened.append(token.start[0])
        elif kind.endswith("STRING_END"):
            within_string |= set(range(opened.pop(), token.end[0]))
    for (row, column), (end_row, end_column) in blanks:
        for index in range(row, end_row + 1):
            line = lines[index - 1]
            start = column if index == row else 0
            end = end_column if index == end_row else len(line)
            lines[index - 1] = line[:start] + " " * (end - start) + line[end:]
            within_string -= {index} if index < end_row else set()
    kept = []
    for row, line in enumerate(lines, start=1):
        if row in within_string:
            kept.append(line)
        elif line.strip():
            kept.append(line.rstrip())
    return "".join(f"{line}\n" for line in kept)


def _docstrings(tree: ast.AST) -> Iterator[ast.Expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", 0), str):
                yield first


def _position(node: ast.Expr, lines: list[str]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where ``node`` starts and ends: rows from 1, columns in characters as tokens count them."""

    def characters(row: int, num_bytes: int) -> int:
        return len(lines[row - 1].encode()[:num_bytes].decode())

    start = (node.lineno, characters(node.lineno, node.col_offset))
    return start, (node.end_lineno, characters(node.end_lineno, node.end_col_offset))


def _imported(tree: ast.AST, path: Path, root: Path) -> set[Path]:
    """The files below ``root`` that ``tree``, the source of ``path``, imports by name."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = list(path.relative_to(root).parts[: -node.level]) if node.level else []
            parts += [node.module] if node.module else []
            names += [".".join(parts), *(".".join([*parts, alias.name]) for alias in node.names)]
    return {file for name in names if (file := _file_of(name, root))}


def _file_of(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for file in (base / "__init__.py", base.with_suffix(".py")):  # Python prefers the package
        if file.is_file():
            return file
    return None
