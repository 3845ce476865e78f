"""``params.yaml``: read as DVC reads it (YAML 1.2), each section checked against its dataclass."""

import json
import re
from dataclasses import fields, is_dataclass
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
MAX_VALUES = 100_000  # in a params.yaml; a few aliases can expand to billions

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
    """Read the mapping in ``path``; its keys are unique and its values are JSON values.

    Raises:
        ValueError: the file is missing, not valid YAML 1.2, or not a mapping.
    """
    try:
        content = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
        _check_keys(content)
        chunks = json.JSONEncoder(allow_nan=True).iterencode(content)
        text = "".join(islice(chunks, MAX_VALUES))
        if next(chunks, None) is not None:
            raise ValueError(f"its aliases make more than {MAX_VALUES} values")
        content = json.loads(text)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: run from the repository's root") from None
    except YAMLError as error:
        problem = getattr(error, "problem", None) or error  # without an excerpt of the file
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{path} is not valid YAML: {line}{_one_line(problem)}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid YAML: {_one_line(error)}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must be a mapping of sections")
    return content


def _check_keys(content: Any) -> None:
    """Refuse names that YAML reads as a number or boolean: DVC makes no stage from them."""
    sections = [content, *(content.values() if isinstance(content, dict) else [])]
    for section in (section for section in sections if isinstance(section, dict)):
        if wrong := [key for key in section if not isinstance(key, str)]:
            raise ValueError(f"the key {wrong[0]} is no text: begin it with a letter")


def check(content: Any, schema: type[T], *, path: str | Path, section: str = "") -> T:
    """Validate ``content`` (JSON values) and return it as a ``schema``.

    Args:
        path: the file that it was read from, for the messages.
        section: its section in the file; by default it is the whole file.

    Raises:
        ValueError: one line per problem.
    """
    try:
        # From JSON, where strict mode accepts a list for a tuple and a mapping for a dataclass.
        return TypeAdapter(schema).validate_json(json.dumps(content))
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for item in error.errors():
            key, value = _locate(item, content)
            place = ".".join([section, *key] if section else key)
            # The message for a whole section already says which of its values is wrong.
            if item["type"] not in ("missing", "value_error") and not isinstance(value, dict):
                place += f" = {json.dumps(value)}"
            line = f"{path}: {place}" if place else f"{path}"
            problems[line] = problems.get(line, []) + _reword(item, schema, key)
        lines = (f"{line}: {' or '.join(dict.fromkeys(p))}" for line, p in problems.items())
        raise ValueError("\n".join(line.replace(" or must be", " or") for line in lines)) from None


def _locate(item: dict[str, Any], content: Any) -> tuple[list[str], Any]:
    """The key that a pydantic error is about, without pydantic's names of a union's branches."""
    key: list[str] = []
    for part in item["loc"]:
        in_list = isinstance(content, list) and isinstance(part, int) and part < len(content)
        if in_list or (isinstance(content, dict) and part in content):
            content = content[part]
            key.append(str(part))
    return (key + [str(item["loc"][-1])] if item["type"] == "missing" else key), content


def _reword(item: dict[str, Any], schema: Any, key: list[str]) -> list[str]:
    """A pydantic error in this project's words; the caller joins several with "or"."""
    if item["type"] == "value_error":
        return [str(item["ctx"]["error"])]
    if item["type"] == "missing":
        return ["is missing"]
    if item["loc"][-1:] == ("[key]",):
        return [
            "a name is made of letters, digits, _ and -, at most 100, and begins with one of the "
            "first two"
        ]
    if item["type"] == "unexpected_keyword_argument":
        allowed = ", ".join(field.name for field in fields(_type_of(schema, key[:-1])))
        return [f"unknown key; allowed: {allowed}"]
    problem = re.sub(r"^\w+ should", "must", item["msg"])
    for theirs, ours in [("an object", "a mapping"), ("a valid boolean", "true or false")]:
        problem = problem.replace(theirs, ours)
    # For `X | None` pydantic names only X.
    return [problem, "null"] if NoneType in get_args(_type_of(schema, key)) else [problem]


def _type_of(schema: Any, key: list[str]) -> Any:
    """The type of the value at ``key`` in ``schema``."""
    for part in key:
        while get_origin(schema) is Annotated:
            schema = get_args(schema)[0]
        if is_dataclass(schema):
            schema = next(field.type for field in fields(schema) if field.name == part)
        else:  # dict[...] or tuple[...]
            schema = get_args(schema)[-1]
    return schema


def _one_line(problem: object) -> str:
    return " ".join(str(problem).split())
