"""Output of every benchmark: a table on the screen, and JSON on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured number, with the limit it is held against."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    """The limit to reach; None for figures without a limit."""
    better: Literal["lower", "higher"] = "lower"

    @property
    def reached(self) -> bool | None:
        if self.limit is None:
            return None
        return bool(self.value <= self.limit if self.better == "lower" else self.value >= self.limit)


def report(title: str, figures: Sequence[Figure], json_path: Path | None) -> int:
    """Print the figures; write them as JSON where asked. Returns the number of figures that fall short."""
    table = Table(title=title, title_justify="left")
    for column in ("figure", "measured", "to reach", ""):
        table.add_column(column, justify="left" if column in ("figure", "") else "right")
    for figure in figures:
        sign = "<=" if figure.better == "lower" else ">="
        limit = "" if figure.limit is None else f"{sign} {figure.limit:g} {figure.unit}"
        verdict = {None: "", True: "reached", False: "SHORT"}[figure.reached]
        table.add_row(figure.name, f"{figure.value:.4g} {figure.unit}", limit, verdict)
    Console(width=110).print(table)
    write(title, figures, json_path)
    return sum(figure.reached is False for figure in figures)


def write(title: str, figures: Sequence[Figure], json_path: Path | None) -> None:
    """The figures as JSON, where asked."""
    if json_path is not None:
        rows = [{**asdict(figure), "reached": figure.reached} for figure in figures]
        json_path.write_text(json.dumps({"title": title, "figures": rows}, indent=1) + "\n")
        print(f"written: {json_path}", file=sys.stderr)


def grid(title: str, rows: Mapping[str, Mapping[str, str]], columns: Sequence[str]) -> None:
    """Print what was found of several subjects side by side: by subject, by column; what is not there is a dash."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name, values in rows.items():
        table.add_row(name, *(values.get(column, "-") for column in columns))
    Console(width=160).print(table)
