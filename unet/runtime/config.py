"""``params.yaml``: read as DVC reads it (YAML 1.2), each section checked against its dataclass."""

import json
from dataclasses import fields, is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
MAX_VALUES = 100_000  # of a params.yaml; a few aliases can stand for billions

T = TypeVar("T")


def load_section(name: str, schema: type[T], path: str | Path = "params.yaml") -> T:
    """The section ``name`` of ``path`` as a ``schema``, a pydantic type.

    Raises:
        ValueError: one line for each problem, naming the key, its value and what is allowed.
    """
    content = read_yaml(path)
    if name not in content:
        raise ValueError(f"{path}: the section {name} is missing")
    return check(content[name], schema, where=f"{path}: {name}")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in ``path``; each key stands once, all values are JSON's.

    Raises:
        ValueError: the file is missing, is no YAML 1.2 or no mapping.
    """
    try:
        content = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
        chunks = json.JSONEncoder(allow_nan=True).iterencode(content)
        text = "".join(islice(chunks, MAX_VALUES))
        if next(chunks, None) is not None:
            raise ValueError(f"its aliases make more than {MAX_VALUES} values")
        content = json.loads(text)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: run from the repository's root") from None
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must be a mapping of sections")
    return content


def check(content: Any, schema: type[T], *, where: str) -> T:
    """``content``, JSON's values, as a ``schema``.

    Raises:
        ValueError: one line for each problem, beginning with ``where``.
    """
    try:
        # Through JSON, whose strict reading takes a list for a tuple and a mapping for a dataclass.
        return TypeAdapter(schema).validate_json(json.dumps(content))
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for item in error.errors():
            key, value = _locate(item, content)
            problem = _reword(item, schema, key)
            line = ".".join([where, *key])
            # A problem of a whole section says itself which of its values it means.
            if item["type"] not in ("missing", "value_error") and not isinstance(value, dict):
                line += f" = {json.dumps(value)}"
            problems.setdefault(line, []).append(problem)
        lines = (f"{key}: {' or '.join(dict.fromkeys(p))}" for key, p in problems.items())
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


def _reword(item: dict[str, Any], schema: Any, key: list[str]) -> str:
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    if item["type"] == "missing":
        return "is missing"
    if item["loc"][-1:] == ("[key]",):
        return "a name is made of letters, digits, _ and -, and begins with one of the first two"
    if item["type"] == "unexpected_keyword_argument":
        return f"unknown key; allowed: {', '.join(_keys(schema, key[:-1]))}"
    return item["msg"].replace("Input should be", "must be")


def _keys(schema: Any, path: list[str]) -> list[str]:
    """The keys of the section at ``path`` below ``schema``."""
    for part in path:
        if is_dataclass(schema):
            schema = next(field.type for field in fields(schema) if field.name == part)
        else:  # a mapping, perhaps annotated
            schema = get_args(get_args(schema)[0] if not is_mapping(schema) else schema)[-1]
    return [field.name for field in fields(schema)] if is_dataclass(schema) else []


def is_mapping(schema: Any) -> bool:
    """Whether ``schema`` is ``dict[...]`` itself, not an annotation of one."""
    return getattr(schema, "__origin__", None) is dict
