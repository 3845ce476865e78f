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
        ValueError: one line per problem, as :func:`check` says; the section must be there.
    """
    return check(read_yaml(path)[name], schema, path=path, section=name)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read the mapping in ``path``.

    Raises:
        ValueError: it is not valid YAML 1.2.
    """
    try:
        return YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from None


def check(content: Any, schema: type[T], *, path: str | Path, section: str = "") -> T:
    """Validate ``content``, as :func:`read_yaml` returns it, and return it as a ``schema``.

    Args:
        path: the file that it was read from, for the messages.
        section: its section in the file; by default it is the whole file.

    Raises:
        ValueError: one line per problem, with the key, its value and what is allowed.
    """
    # As JSON, from which strict mode takes a list for a tuple and a mapping for a dataclass.
    text = json.dumps(content, default=str)
    try:
        return TypeAdapter(schema).validate_json(text)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for item in error.errors():
            keys, value = [section] if section else [], json.loads(text)
            for part in item["loc"]:  # ends with pydantic's names of a union's branches
                if isinstance(value, list) or (isinstance(value, dict) and part in value):
                    value = value[part]
                elif item["type"] != "missing":
                    break
                keys.append(str(part))
            place = ".".join(keys)
            if item["type"] != "missing" and not isinstance(value, dict | list):
                place += f" = {json.dumps(value)}"
            message = item["msg"].removeprefix("Value error, ").replace("an object", "a mapping")
            problems.setdefault(f"{path}: {place}", []).append(message)
        lines = [f"{place}: {' or '.join(messages)}" for place, messages in problems.items()]
        raise ValueError("\n".join(lines)) from None
