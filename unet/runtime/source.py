"""Hashes of the modules that a stage runs, without comments and docstrings."""

import ast
import hashlib
import io
import tokenize
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
    """
    reached: dict[Path, str] = {}
    waiting = {_file_of(module, root)}
    while waiting:
        path = waiting.pop()
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source, filename=str(path))
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
    within_string: set[int] = set()  # rows, from 1, whose end lies in a string
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column]
        # Since Python 3.12 an f-string is several tokens; between them a line ends with an NL.
        elif "STRING" in tokenize.tok_name[token.type]:
            within_string |= set(range(row, token.end[0]))
    for node in ast.walk(tree or ast.parse(source)):
        holds = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if holds and ast.get_docstring(node, clean=False) is not None:
            text, first, last = node.body[0], node.body[0].lineno, node.body[0].end_lineno
            before = lines[first - 1].encode()[: text.col_offset]  # columns are in bytes
            after = lines[last - 1].encode()[text.end_col_offset :]
            lines[first - 1 : last] = [""] * (last - first) + [(before + after).decode()]
            within_string -= set(range(first, last))
    kept = []
    for row, line in enumerate(lines, start=1):
        if row in within_string or line.strip():
            kept.append(line if row in within_string else line.rstrip())
    return "".join(f"{line}\n" for line in kept)


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
