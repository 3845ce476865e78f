"""Compare two outputs: arrays, tables and JSON by value, anything else by bytes."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

# What differs between runs of the same code: times, the machine's name, the hash of the code.
LEFT_OUT = frozenset({"seconds", "images_per_second", "device_name", "code"})
TIMING = "timing"  # a folder that holds only times
Arrays = dict[str, tuple[str, tuple[int, ...], bytes]]  # name -> dtype, shape, bytes


def differences(old: Path, new: Path) -> dict[str, str]:
    """What differs between two files or folders.

    Returns:
        Name of each file that differs, relative to the folder ("" if ``old`` and ``new`` are files)
        -> why, in a few words. Files that do not match their suffix are compared by bytes.
    """
    if old.is_dir() and new.is_dir():
        paths = [(path, folder) for folder in (old, new) for path in folder.rglob("*")]
        names = sorted({p.relative_to(f).as_posix() for p, f in paths if p.is_file()})
        found = {name: _of_files(old / name, new / name) for name in names}
    else:
        found = {"": _of_files(old, new)}
    return {name: reason for name, reason in found.items() if reason}


def _of_files(old: Path, new: Path) -> str | None:
    for path, which in ((old, "before"), (new, "now")):
        if not path.exists():
            return f"missing {which}"
    if old.is_dir() or new.is_dir():
        return "a file on one side, a folder on the other"
    if new.parent.name == TIMING or old.read_bytes() == new.read_bytes():
        return None
    compare = BY_ENDING.get(new.suffix) if old.suffix == new.suffix else None
    try:
        return compare(old, new) if compare else "other bytes"
    except (ValueError, OSError, EOFError, KeyError, TypeError, csv.Error, SafetensorError):
        return "other bytes"


def _of_safetensors(old: Path, new: Path) -> str | None:
    (first, meta), (second, new_meta) = map(_read_safetensors, (old, new))
    reasons = [_of_arrays(first, second), None if meta == new_meta else "metadata"]
    return " and ".join(reason for reason in reasons if reason) or None


def _read_safetensors(path: Path) -> tuple[Arrays, Any]:
    # Read with torch: NumPy has no bfloat16.
    arrays = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(name).contiguous()
            content = tensor.flatten().view(torch.uint8).numpy().tobytes()
            arrays[name] = (str(tensor.dtype), tuple(tensor.shape), content)
        metadata = file.metadata() or {}
    return arrays, {name: _without_timings(_parsed(text)) for name, text in metadata.items()}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _of_numpy(old: Path, new: Path) -> str | None:
    return _of_arrays(_read_numpy(old), _read_numpy(new))


def _read_numpy(path: Path) -> Arrays:
    loaded = np.load(path, allow_pickle=False)
    named = {"array": loaded} if isinstance(loaded, np.ndarray) else loaded
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in named.items()}


def _of_arrays(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    names = sorted(old.keys() | new.keys())
    wrong = [name for name in names if old.get(name) != new.get(name)]
    return f"{len(wrong)} of {len(names)} arrays differ" if wrong else None


def _of_tables(old: Path, new: Path) -> str | None:
    first, second = _read_table(old), _read_table(new)
    columns = [*first, *(name for name in second if name not in first)]
    if wrong := [name for name in columns if name not in first or name not in second]:
        return f"column {wrong[0]} on one side only"
    rows = [len(next(iter(table.values()), [])) for table in (first, second)]
    if rows[0] != rows[1]:
        return f"{rows[0]} rows, now {rows[1]}"
    wrong = [
        name
        for name in columns
        if not all(map(_same_value, map(_number, first[name]), map(_number, second[name])))
    ]
    return f"column {', '.join(wrong)}" if wrong else None


def _read_table(path: Path) -> dict[str, list[str]]:
    """Column -> its cells, without the columns LEFT_OUT.

    Raises:
        ValueError: it is not a table, or two columns have the same name.
    """
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    if any(len(row) != len(header) for row in rows) or len(set(header)) != len(header):
        raise ValueError(f"{path} is no table")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    return {name: cells for name, cells in columns.items() if name not in LEFT_OUT}


def _number(cell: str) -> str | float:
    try:
        return float(cell)
    except ValueError:
        return cell


def _of_json(old: Path, new: Path) -> str | None:
    first, second = (_without_timings(json.loads(p.read_text("utf-8"))) for p in (old, new))
    wrong = _different_keys(first, second)
    return f"key {', '.join(wrong[:3])}" + (", …" if len(wrong) > 3 else "") if wrong else None


def _without_timings(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _without_timings(value) for k, value in node.items() if k not in LEFT_OUT}
    return [_without_timings(item) for item in node] if isinstance(node, list) else node


def _different_keys(old: Any, new: Any, where: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        wrong = []
        for key in [*old, *(key for key in new if key not in old)]:
            name = f"{where}.{key}" if where else key
            both = key in old and key in new
            wrong += _different_keys(old[key], new[key], name) if both else [name]
        return wrong
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = zip(old, new, strict=True)
        same = all(not _different_keys(a, b, where or "/") for a, b in pairs)
    else:
        same = type(old) is type(new) and _same_value(old, new)
    return [] if same else [where or "/"]


def _same_value(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return old == new or (math.isnan(old) and math.isnan(new))
    return old == new


BY_ENDING = {
    ".safetensors": _of_safetensors,
    ".npz": _of_numpy,
    ".npy": _of_numpy,
    ".csv": _of_tables,
    ".json": _of_json,
}
