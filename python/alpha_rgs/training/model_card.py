# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a trained prior: how good it is, before anybody separates with it."""
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..nets import BurstDenoiser
from ..signals.wifi import ALPHABETS
from . import denoising_metrics
from .dataset_builder import DatasetBuilder
from .trainer import Progress, Trainer

_COLOURED = (10.0, 3.0, 1.0, 0.3, 0.1)
_SIRS = (-24, -18, -12, -6, -3)
_HEAD = "| noise variance | network | linear | exact | above exact |", "|---|---|---|---|---|"
_SHOWN = {"qpsk": "QPSK", "64qam": "64QAM"}
_FLOOR = 10 ** -1.35      # variance of the white noise in mixtures, per unit power of the source


_Curve = tuple[str, list[float], list[float]]       # name, x, y
_Report = tuple[list[str], list[str], tuple[list[_Curve], str, bool]]       # lines, lines for the terminal, what _draw draws


def write(folder: pathlib.Path, prior: Any, data: DatasetBuilder, provenance: Mapping[str, Any], history: Sequence[Progress],
          trainer: Trainer, against: Any = None) -> list[str]:
    """Write report.md and denoising.png into `folder`; returns lines for the terminal. against: the SignalNoise that the network
    was trained on, if any: then the report is of what one pass leaves of the source, and not of Gaussian noise."""
    held = "the last 20 % of the recordings, which it was not trained on" if data.structure is None else "windows drawn anew"
    lines = ["# A learned prior", "", f"Made by `{provenance['command']}` on {provenance['date']}, version "
             f"{provenance['version']}: {trainer.seconds / 60:.1f} minutes of training on {trainer.device.type}, {trainer.step} "
             f"steps of {trainer.settings.batch} windows in {trainer.world} process{'es' if trainer.world > 1 else ''}.", *(
                 [f"Begun with the weights of `{provenance['begun']}`."] if "begun" in provenance else []), "",
             f"- Network: {type(prior.network.net).__name__} of {sum(p.numel() for p in prior.network.parameters())} weights.",
             *(f"- Warning: {line}." for line in data.warnings), "",
             "![What is left, and the course of training](denoising.png)", ""]
    if against:
        more, summary, curves = _mixtures(prior, data, against, held)
    elif isinstance(prior.network, BurstDenoiser):
        more, summary, curves = _carriers(prior)
    else:
        more, summary, curves = _gaussian(prior, data, held)
    (folder / "report.md").write_text("\n".join(lines + more).rstrip("\n") + "\n", encoding="utf-8")
    _draw(*curves, history, folder / "denoising.png")
    return summary


def _gaussian(prior: Any, data: DatasetBuilder, held: str) -> _Report:
    """Of a network that removes Gaussian noise."""
    white = denoising_metrics.curve(prior.network, data.held_out, data.structure)
    tables = [("White noise", "white", white)]
    if prior.takes_basis:
        exact = data.structure if data.structure is not None and data.structure.takes_basis else None
        tables.append(("Noise in the colour of RRC-QPSK, 16 samples per symbol, roll-off 0.5, over white noise at -20 dB",
                       "RRC-QPSK's colour", denoising_metrics.curve(prior.network, data.held_out, exact, _COLOURED,
                                                                    colour=denoising_metrics.COLOUR)))
    lines = [f"## Denoising {held}", "Noise of known variance (per complex sample; the source has unit power) is added and "
             "removed again; what is left, relative to the power. *Linear*: the best time-invariant filter, which a network "
             "must beat. *Exact*: the posterior mean by the source's structure (of a linear modulation with known timing, by its "
             "matched filter: exact to about -40 dB).", ""]
    for title, _, points in tables:
        lines += [f"### {title}", "", *_HEAD]
        lines += [f"| {p.noise_var:g} | {p.network:.2f} | {p.linear:.2f} | "
                  + ("– | – |" if p.exact is None else f"{p.exact:.2f} | {p.gap:+.2f} |") for p in points] + [""]
    summary = [f"noise variance {p.noise_var:g}: error {p.network:.2f} dB, linear {p.linear:.2f} dB"
            + ("" if p.exact is None else f", exact {p.exact:.2f} dB") for p in white]
    curves: list[_Curve] = []
    for _, name, points in tables:
        levels = [p.noise_var for p in points]
        curves += [(f"network, {name}", levels, [p.network for p in points]),
                   (f"linear, {name}", levels, [p.linear for p in points])]
        if points[0].exact is not None:
            curves.append((f"exact, {name}", levels, [p.exact for p in points if p.exact is not None]))
    return lines, summary, (curves, "noise variance per sample", True)


def _mixtures(prior: Any, data: DatasetBuilder, against: Any, held: str) -> _Report:
    """Of a network for one pass."""
    floor = getattr(against, "floor", _FLOOR)
    rows = denoising_metrics.left_over(prior.network, data.held_out, against, _SIRS, floor)
    noise = f"white noise {-10 * math.log10(floor):.1f} dB below this source" if floor else "no noise"
    lines = [f"## One pass over mixtures, {held}", "What is left of this source in the band of the other one, relative to "
             f"that one's power there; {noise}. *Linear*: by the best time-invariant filter. The "
             "network was trained on such mixtures and is for nothing else.", "",
             "| SIR, dB | network, dB | linear, dB |", "|---|---|---|"]
    lines += [f"| {sir:g} | {network:.2f} | {linear:.2f} |" for sir, network, linear in rows]
    curves = [(name, [r[0] for r in rows], [r[i] for r in rows]) for i, name in ((1, "network"), (2, "linear"))]
    summary = [f"SIR {sir:g} dB: left in the other's band {network:.2f} dB, linear {linear:.2f} dB"
               for sir, network, linear in rows]
    return lines, summary, (curves, "SIR, dB", False)


def _carriers(prior: Any) -> _Report:
    """Of a network that decides the carriers of bursts."""
    tables = {name: denoising_metrics.carriers(prior.network, name) for name in ALPHABETS}
    lines = ["## Deciding carriers, bursts drawn anew", f"Seven carriers in the middle of bursts of {denoising_metrics.FRAMES} "
             f"symbols are in noise of the given variance (carriers have unit mean power), all others of "
             f"{denoising_metrics.CLEAN:g}; what is "
             "left, relative to their power, in dB. Channel, phases and alphabet are unknown to the network. *Linear*: each "
             "carrier scaled by itself; *exact*: the posterior mean where channel, phases and alphabet are known.", ""]
    curves: list[_Curve] = []
    summary: list[str] = []
    for name, points in tables.items():
        lines += [f"### {name.upper()}", "", *_HEAD, *(
            f"| {p.noise_var:g} | {p.network:.2f} | {p.linear:.2f} | {p.exact:.2f} | {p.gap:+.2f} |" for p in points), ""]
        summary += [f"{name}, noise variance {p.noise_var:g}: error {p.network:.2f} dB, linear {p.linear:.2f} dB, exact "
                 f"{p.exact:.2f} dB" for p in points]
        if name in _SHOWN:
            curves += [(f"{kind}, {_SHOWN[name]}", [p.noise_var for p in points], [getattr(p, kind) for p in points])
                       for kind in ("network", "linear", "exact")]
    return lines, summary, (curves, "noise variance per carrier", True)


def _draw(curves: Sequence[_Curve], label: str, logarithmic: bool, history: Sequence[Progress], path: pathlib.Path) -> None:
    """Errors by level on the left, the course of training on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, x, y in curves:
        kind, _, which = name.partition(", ")
        first = which in ("", "white", "QPSK")
        style = {"network": "o-", "linear": "-", "exact": "k--" if first else "k:"}[kind]
        colour = {} if kind == "exact" else {"color": "C0" if first else "C1"}
        left.plot(x, y, style, label=name, markersize=4, alpha=0.4 if kind == "linear" else 1, **colour)
    left.set(xlabel=label, ylabel="what is left, dB", ylim=(-50, 2) if logarithmic else (-65, 5),
             xscale="log" if logarithmic else "linear")
    left.legend(fontsize=8)
    right.plot([p.step for p in history], [p.error_db for p in history], linewidth=1)
    right.set(xlabel="step", ylabel="training error, mean of dB over all levels")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
