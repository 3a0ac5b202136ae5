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
    """A table: header, lines (of texts), and a caption for what lies above it. Cells may hold a line break. folded: in markdown
    it opens on a click on its caption."""

    header: list
    lines: list
    caption: str = ""
    folded: bool = False


@dataclass
class Section:
    """A heading, text, tables, and pictures (paths). folded: all of it but the heading, likewise."""

    title: str
    text: str = ""
    grids: list = field(default_factory=list)
    figures: list = field(default_factory=list)
    folded: bool = False


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
    """The sections as one text, open tables and pictures before folded tables; pictures by paths relative to `folder`."""
    parts = []
    for section in sections:
        pictures = [f"![{section.title}]({pathlib.PurePath(os.path.relpath(figure, folder)).as_posix()})"
                    for figure in section.figures]
        blocks = [section.text, *(_table(grid) for grid in section.grids if not grid.folded), *pictures,
                  *(_fold(grid.caption, _table(grid, False)) for grid in section.grids if grid.folded)]
        inside = "\n\n".join(text for text in blocks if text)
        parts.append(_fold(f"<b>{section.title}</b>", inside) if section.folded else f"### {section.title}\n\n{inside}")
    return "\n\n".join(parts) + "\n"


def _table(grid, captioned=True):
    rows = [grid.header, ["---"] * len(grid.header), *grid.lines]
    text = "\n".join("| " + " | ".join(str(c).replace("|", "\\|").replace("\n", " ") for c in row) + " |" for row in rows)
    return f"{grid.caption}\n\n{text}" if captioned and grid.caption else text


def _fold(summary, text):
    """GitHub's markdown: what lies between blank lines inside is markdown again; the summary is not."""
    return f"<details><summary>{summary.replace('`', '').rstrip('.')}</summary>\n\n{text}\n\n</details>"


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
