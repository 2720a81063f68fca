"""Tables in plain text."""

from collections.abc import Mapping, Sequence


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows of the same keys as aligned columns, with the keys above them.

    Examples
    --------
    >>> print(table([{"group": "1", "size": 20}, {"group": "3", "size": None}]))
    group  size
    1      20
    3      -
    """
    if not rows:
        return ""
    header = list(rows[0])
    lines = [header, *([cell(row[key]) for key in header] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def cell(value: object) -> str:
    """Return a value in few characters: four digits, a dash for what is not there.

    Examples
    --------
    >>> cell(0.123456), cell({"a": 1.0, "b": 2}), cell(None), cell("x")
    ('0.1235', 'a: 1; b: 2', '-', 'x')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {cell(entry)}" for key, entry in value.items()) or "-"
    return "-" if value is None else str(value)
