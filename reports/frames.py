"""Results as tables of pandas, for questions that the report does not answer."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from reports.coverage import RECORDS
from reports.results import Result, read

if TYPE_CHECKING:  # pandas takes a second to import, and few sessions need it
    from pandas import DataFrame

DTYPES = {"str": "str", "bool": "bool", "int | None": "Int64", "float | None": "float"}
"""Of the columns, by the types of the fields of `Result`."""

PLACE = ("id", "setting", "variant", "scale")


def load(results: str | os.PathLike[str]) -> DataFrame:
    """Return a table of results, a row for each place.

    Parameters
    ----------
    results : str or path
        A file of results, or the name of a scale for its record, as ``"digits"``.

    Returns
    -------
    DataFrame
        The columns are the fields of `Result` but for lists and mappings, of which the
        values of pairs are read by `load_pairs`.  What was not measured is missing;
        ``measured_at`` is a time in UTC.

    Raises
    ------
    FileNotFoundError
        There is no such file, or the scale has no record: names those that have.
    ValueError
        The file is not one of results: names the line.

    Examples
    --------
    >>> record = load("digits")
    >>> found = record[record.id == "renormalization/rescale-beats-repair"]
    >>> found.variant.tolist()
    ['activations', 'weights']
    """
    import pandas

    types = {field.name: str(field.type) for field in fields(Result)}
    columns = {name: DTYPES[kind] for name, kind in types.items() if kind in DTYPES}
    rows = [[getattr(r, name) for name in columns] for r in _read(results)]
    table = pandas.DataFrame(rows, columns=[*columns]).astype(columns)
    return table.assign(measured_at=pandas.to_datetime(table.measured_at, utc=True))


def load_pairs(results: str | os.PathLike[str]) -> DataFrame:
    """Return a table of what was measured on each pair, a row for each value.

    Parameters
    ----------
    results : str or path
        As of `load`, whose errors these are too.

    Returns
    -------
    DataFrame
        ``id``, ``setting``, ``variant`` and ``scale`` are the place, ``pair`` is the
        pair of networks, or another independent unit, by its seeds, ``column`` what
        was measured, of which ``decided`` is what the verdict is about, and ``value``
        how much of it.

    Examples
    --------
    >>> pairs = load_pairs("digits")
    >>> found = pairs[pairs.id == "renormalization/rescale-beats-repair"]
    >>> wide = found.pivot(index=["variant", "pair"], columns="column", values="value")
    >>> bool((wide.rescale - wide.repair - wide.decided).abs().max() < 1e-9)
    True
    """
    import pandas

    rows = [
        (*result.place, unit["pair"], column, value)
        for result in _read(results)
        for unit in result.pairs
        for column, value in unit.items()
        if column != "pair"
    ]
    table = pandas.DataFrame(rows, columns=[*PLACE, "pair", "column", "value"])
    return table.astype({"value": "float"})


def _read(results: str | os.PathLike[str]) -> list[Result]:
    records = {file.stem: file for file in sorted(RECORDS.glob("*.jsonl"))}
    path = records.get(os.fspath(results), Path(results))
    if not path.is_file():
        raise FileNotFoundError(
            f"{os.fspath(results)!r} is neither a file of results nor a scale with a "
            f"record: give a *.jsonl, or one of {', '.join(records) or 'no scales'}"
        )
    return read(path)
