# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of `alpha-rgs evaluate coverage`: blocks of small cells, colours and marks for what came out."""
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .coverage import CONDITIONS, STATES, STRONGER_DB, WITHIN_DB

_LOOK = dict(zip(STATES, (("#57b26b", "", "within 2 dB of the interference-free curve"),
                          ("#f4cf5b", "", "better than no separation; the number: dB lost"),
                          ("#d9695f", "×", "no better than no separation"), ("#c9cdd2", "–", "refused, with a message"))))
_INK, _PALE = "#222222", "#666666"
_LEFT, _GAP, _HIGH, _KEY = 3.6, 0.35, 0.62, (1.75, 0.72)    # in cells' widths: margin, between blocks, height; cells of the key


def draw(rows, path):
    """rows: as coverage.cell returns them, of any part of the grid. Writes a PNG, 1800 pixels wide; returns the path."""
    found = {(r["soi"], r["interference"], r["condition"]): r for r in rows}
    sois, interferences = (list(dict.fromkeys(r[name] for r in rows)) for name in ("soi", "interference"))
    down, across = len(CONDITIONS), len(CONDITIONS[0])
    width, height = across + _GAP, down * _HIGH + _GAP
    total = _LEFT + max(len(interferences), 5) * width
    bottom = len(sois) * height + 0.35
    end = bottom + down * _KEY[1] + 0.75
    figure = Figure(figsize=(9, 9 * (end + 0.95) / total), dpi=200)
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, total), ylim=(end, -0.95))
    ax.axis("off")
    size = 9 * 72 / total * 0.36                            # points, of the marks in the cells
    for k, name in enumerate(interferences):
        title = f"{name} a symbol" if name[-1].isdigit() else name
        ax.text(_LEFT + k * width + across / 2, -0.25, title, ha="center", size=8.5, color=_INK, weight="bold")
    ax.text(0.15, -0.25, "wanted \\ interference", size=7, color=_PALE)
    for j, soi in enumerate(sois):
        name, _, sps = soi.partition(", ")
        level, whole = min(r["es_n0_db"] for r in rows if r["soi"] == soi), "frame" if name == "OFDM" else "symbol"
        for at, text, look in ((0.45, name, {"size": 9, "weight": "bold"}), (1.15, f"{sps} samples a {whole}", {"size": 6.8}),
                               (1.7, f"Es/N0 {level:.0f} dB", {"size": 6.8})):
            ax.text(0.15, j * height + at, text, va="center", color=_INK, **look)
        _name_lines(ax, {r["condition"] for r in rows if r["soi"] == soi}, j * height)
        for k, interference in enumerate(interferences):
            for a, line in enumerate(CONDITIONS):
                for b, condition in enumerate(line):
                    row = found.get((soi, interference, condition.name))
                    if row:
                        _cell(ax, row, _LEFT + k * width + b, j * height + a * _HIGH, size)
    _legend(ax, bottom, rows)
    ax.text(0.15, end - 0.32, "Of the interference the kind alone is given. Es/N0: where without interference, and with "
            f"{WITHIN_DB:.0f} dB more noise, 2 % of the bits are wrong.", size=6.6, color=_PALE, va="center")
    figure.savefig(path, dpi=200, facecolor="white")
    return path


def _name_lines(ax, own, top):
    """The names of a row's lines where it has so few conditions, their names being `own`, that its cells lie apart."""
    for a, line in enumerate(CONDITIONS):
        here = [condition for condition in line if condition.name in own]
        if len(here) == 1 and len(own) < len(line):
            name = f"{'kinds alone' if here[0].blind else 'known'}, {here[0].sir_db:.0f} dB".replace("-", "−")
            ax.text(_LEFT - 0.1, top + (a + 0.5) * _HIGH, name, size=6.2, color=_PALE, va="center", ha="right")


def _cell(ax, row, x, y, size):
    colour, mark, _ = _LOOK[row["state"]]
    ax.add_patch(Rectangle((x, y), 1, _HIGH, fc=colour, ec="white", lw=1.0))
    if row["state"] == "better":
        mark = f"{max(row['loss_db'], 0):.0f}"
    ax.text(x + 0.5, y + _HIGH / 2, mark, ha="center", va="center", size=size, color=_INK)


def _legend(ax, top, rows):
    """What the places in a block and the colours mean."""
    wide, high = _KEY
    lines = ("signal known, SIR", f"strong: {STRONGER_DB:.0f} dB less noise", "at −10 dB, not known:", "all: phase and gain too",
             "something told wrongly:")
    for a, (line, text) in enumerate(zip(CONDITIONS, lines)):
        middle = top + (a + 0.5) * high
        ax.text(_LEFT - 0.1, middle, text, size=6.6, color=_PALE, va="center", ha="right")
        for b, condition in enumerate(line):
            x = _LEFT + b * wide
            ax.add_patch(Rectangle((x, top + a * high), wide, high, fc="#f1f2f4", ec="white", lw=1.2))
            name = condition.name.replace(" dB, strong", " dB")
            ax.text(x + wide / 2, middle, name, ha="center", va="center", size=7, color=_INK)
    x = _LEFT + len(CONDITIONS[0]) * wide + 0.7
    for k, (state, (colour, mark, text)) in enumerate(_LOOK.items()):
        middle, count = top + (k + 0.5) * high, sum(r["state"] == state for r in rows)
        mark = "4" if state == "better" else mark
        ax.add_patch(Rectangle((x, middle - 0.28), 1, 0.56, fc=colour, ec="white"))
        ax.text(x + 0.5, middle, mark, ha="center", va="center", size=7.5, color=_INK)
        ax.text(x + 1.2, middle, f"{text}: {count}", va="center", size=7.5, color=_INK)
