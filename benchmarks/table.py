"""Rows of figures as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

__all__ = ["Columns", "Row", "print_table", "table"]

Row: TypeAlias = dict[str, Any]
"""Figures by the names that the JSON has for them."""
Columns: TypeAlias = Mapping[str, str]
"""The fields of a row that a table shows, each with its heading."""


def table(columns: Columns, rows: Iterable[Row]) -> str:
    """Ends with a line break. What a row does not have is a dash."""
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = (row.get(name) for name in columns)
        lines.append("| " + " | ".join("-" if cell is None else _cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def print_table(columns: Columns, rows: Iterable[Row]) -> None:
    print(table(columns, rows))
