"""Gather, check and read the runs of a design as one table."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from research.ablation.design import FACTORS, HERE, NUMBERS, Design, settings

# Columns that must be equal in all rows of a record. dvc.lock ensures that all runs have the same
# code, data and recipe: each run's stage depends on them.
SAME = ("epochs", "torch", "device")
# The model of the CPU or GPU; empty in old runs, which did not record it.
MACHINE = "device_name"


def gather(folder: Path, names: Iterable[str], design: Design) -> pd.DataFrame:
    """One row per run, from the JSON files that ``research.ablation.train`` wrote to ``folder``.

    Raises:
        ValueError: a run is missing, or does not match its name or ``design``.
    """
    rows = []
    for name in names:
        path = folder / f"{name}.json"
        try:
            rows.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read ({error}): run `make study`") from None
    return checked(pd.DataFrame(rows), names, design)


def load_record(path: Path, names: Iterable[str], design: Design) -> pd.DataFrame:
    """Read a table that :func:`gather` made.

    Raises:
        ValueError: as in :func:`gather`.
    """
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): run `make study`") from None
    try:
        return checked(frame, names, design)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def with_recorded_seeds(path: Path, design: Design) -> Design:
    """``design`` with only the seeds that are in the record ``path``; with all of its seeds if
    none is, or if there is no record."""
    try:
        found = set(pd.read_csv(path)["seed"])
    except (OSError, ValueError, KeyError):
        return design
    return replace(design, seeds=[s for s in design.seeds if s in found] or design.seeds)


def checked(frame: pd.DataFrame, names: Iterable[str], design: Design) -> pd.DataFrame:
    """The columns of a record in ``frame``, with the runs ``names`` in this order.

    Raises:
        ValueError: a column or a run is missing, a run is there twice, is not in ``names``, has
            other settings than ``design`` or the other runs, or a value that is not finite.
    """
    if MACHINE not in frame:
        frame = frame.assign(**{MACHINE: ""})
    frame = frame.assign(**{MACHINE: frame[MACHINE].astype(object).fillna("").astype(str)})
    columns = [*FACTORS, "seed", *settings(design), *SAME, MACHINE, *NUMBERS]
    if missing := [column for column in columns if column not in frame]:
        raise ValueError(f"there is no column {missing[0]}")
    keys = frame[[*FACTORS, "seed"]].astype(str).itertuples(index=False)
    found = pd.Index(["-".join(key) for key in keys], dtype=str)
    if twice := found[found.duplicated()].tolist():
        raise ValueError(f"the run {twice[0]} stands twice")
    if absent := [name for name in names if name not in set(found)]:
        raise ValueError(f"the run {absent[0]} is missing: run `make study`")
    if strange := [name for name in found if name not in set(names)]:
        raise ValueError(f"the run {strange[0]} is none of {HERE / 'params.yaml'}")
    frame = frame.set_axis(found).loc[list(names), columns]
    for column, value in settings(design).items():
        if wrong := frame.index[frame[column] != value].tolist():
            raise ValueError(
                f"the run {wrong[0]} has {column} = {frame[column][wrong[0]]}, "
                f"{HERE / 'params.yaml'} {value}: run `make study`"
            )
    for column in SAME:
        if unknown := frame.index[frame[column].isna()].tolist():
            raise ValueError(f"the run {unknown[0]} does not say its {column}: run `make study`")
        usual = frame[column].mode()[0]
        if other := frame.index[frame[column] != usual].tolist():
            raise ValueError(
                f"the run {other[0]} has another {column} than the others "
                f"({frame[column][other[0]]}, not {usual}): train one or the others anew, "
                f"`dvc --cd {HERE} repro -f -s` with their stages"
            )
    scores = frame.select_dtypes("number")
    for column in NUMBERS:
        if column not in scores:
            raise ValueError(f"the column {column} is not of numbers")
    if broken := scores.index[~np.isfinite(scores).all(axis=1)].tolist():
        raise ValueError(f"the run {broken[0]} has a value that is no finite number")
    return frame
