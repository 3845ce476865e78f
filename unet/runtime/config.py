"""``params.yaml``: read as DVC reads it (YAML 1.2), each section checked against its dataclass."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

T = TypeVar("T")


def load_section(name: str, schema: type[T], path: str | Path = "params.yaml") -> T:
    """The section ``name`` of ``path`` as a ``schema``, a pydantic type.

    Raises:
        ValueError: one line per problem, with the key, its value and what is allowed.
    """
    content = read_yaml(path)
    if name not in content:
        raise ValueError(f"{path}: the section {name} is missing")
    return check(content[name], schema, path=path, section=name)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read the mapping in ``path``.

    Raises:
        ValueError: the file is missing, not valid YAML 1.2, or not a mapping.
    """
    try:
        content = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: run from the repository's root") from None
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ValueError(f"{path} is not valid YAML: {line}{problem}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must be a mapping of sections")
    return content


def check(content: Any, schema: type[T], *, path: str | Path, section: str = "") -> T:
    """Validate ``content``, as :func:`read_yaml` returns it, and return it as a ``schema``.

    Args:
        path: the file that it was read from, for the messages.
        section: its section in the file; by default it is the whole file.

    Raises:
        ValueError: one line per problem.
    """
    # As JSON, from which strict mode takes a list for a tuple and a mapping for a dataclass.
    text = json.dumps(content, default=str)
    try:
        return TypeAdapter(schema).validate_json(text)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for item in error.errors():
            message = item["msg"].removeprefix("Value error, ").replace("an object", "a mapping")
            problems.setdefault(_place(item, json.loads(text), section), []).append(message)
        lines = [f"{path}: {place}{' or '.join(text)}" for place, text in problems.items()]
        raise ValueError("\n".join(lines)) from None


def _place(item: dict[str, Any], value: Any, section: str) -> str:
    """The key that a pydantic error is about, and its value if it is a single one."""
    keys = [section] if section else []
    for part in item["loc"]:  # ends with pydantic's names of a union's branches
        if item["type"] == "missing":
            keys.append(str(part))
        elif isinstance(value, dict | list) and (isinstance(value, list) or part in value):
            value = value[part]
            keys.append(str(part))
    single = item["type"] != "missing" and not isinstance(value, dict | list)
    shown = f" = {json.dumps(value)}" if single else ""
    return f"{'.'.join(keys)}{shown}: " if keys else ""
