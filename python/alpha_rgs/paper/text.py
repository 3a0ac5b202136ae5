# SPDX-License-Identifier: GPL-3.0-or-later
"""Sections of a report, as markdown for files and as tables for a terminal."""
import math
import os
import pathlib
from dataclasses import dataclass, field

from rich import box
from rich.markup import escape
from rich.table import Table as RichTable


@dataclass
class Grid:
    """A table: header, lines (of texts), and a caption for what lies above it. Cells may hold a line break."""

    header: list
    lines: list
    caption: str = ""


@dataclass
class Section:
    """A heading, text, tables, and pictures (paths)."""

    title: str
    text: str = ""
    grids: list = field(default_factory=list)
    figures: list = field(default_factory=list)
    level: int = 3


def rate(value, error=None, limit=None, separator=" "):
    """A rate of errors with its standard error: `1.5e-02 ±2e-03`; none seen: `0 <9e-05` with the upper limit."""
    if value is None or math.isnan(value):
        return "–"
    if value == 0:
        return "0" if limit is None else f"0{separator}<{limit:.0e}"
    return f"{value:.1e}" + ("" if error is None or math.isnan(error) else f"{separator}±{error:.0e}")


def decibels(value, error=None, separator=" "):
    """`-12.3 ±0.4`."""
    if math.isnan(value):
        return "–"
    if value <= -100:       # nothing but rounding
        return "<-100"
    return f"{value:.1f}" + ("" if error is None or math.isnan(error) else f"{separator}±{error:.1f}")


def duration(seconds):
    """Seconds per window with a unit: `3.1 ms`."""
    if seconds >= 0.9995:
        return f"{seconds:.2g} s"
    return f"{1e3 * seconds:.2g} ms" if seconds < 0.0995 else f"{1e3 * seconds:.0f} ms"


def count(value):
    """Evaluations: thousands apart; – where there are none to count."""
    return "–" if value is None else f"{value:,}".replace(",", " ")


def markdown(sections, folder):
    """The sections as one text; pictures by their paths relative to `folder`."""
    parts = []
    for section in sections:
        parts.append(f"{'#' * section.level} {section.title}")
        if section.text:
            parts.append(section.text)
        for grid in section.grids:
            if grid.caption:
                parts.append(grid.caption)
            rows = [grid.header, ["---"] * len(grid.header), *grid.lines]
            parts.append("\n".join("| " + " | ".join(str(c).replace("|", "\\|").replace("\n", " ") for c in row) + " |"
                                   for row in rows))
        for figure in section.figures:
            path = pathlib.PurePath(os.path.relpath(figure, folder)).as_posix()
            parts.append(f"![{section.title}]({path})")
    return "\n\n".join(parts) + "\n"


def show(sections, console):
    """The sections on a terminal, pictures by their names."""
    for section in sections:
        if section.text or not section.grids:
            console.print(f"\n[bold]{escape(section.title)}[/]")
            if section.text:
                console.print(escape(section.text), highlight=False)
        for grid in section.grids:
            title = grid.caption or ("" if section.text else section.title)
            table = RichTable(title=escape(title) or None, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD,
                              padding=(0, 1, 0, 0), pad_edge=False)
            for i, name in enumerate(grid.header):
                table.add_column(escape(str(name)), justify="right" if i else "left", no_wrap=bool(i), overflow="fold")
            for line in grid.lines:
                table.add_row(*(escape(str(cell)) for cell in line))
            console.print()
            console.print(table)
