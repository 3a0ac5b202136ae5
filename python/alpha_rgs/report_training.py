# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a trained prior: how good it is, before anybody separates with it."""
from . import yardstick

_COLOURED = (10.0, 3.0, 1.0, 0.3, 0.1)


def write(folder, prior, data, provenance, history, trainer, against=None):
    """report.md and denoising.png into `folder`; lines for the terminal. against: the SignalNoise that it was trained on."""
    structure = data.structure if data.structure is not None else None
    white = yardstick.curve(prior.network, data.held_out, structure)
    tables = [("White noise", white)]
    if prior.network.coloured and trainer.settings.coloured:
        linear = structure if structure is not None and structure.kind in ("linear-modulation", "ofdm") else None
        tables.append(("Noise in the colour of RRC-QPSK, 16 samples per symbol, roll-off 0.5, over white noise at -20 dB",
                       yardstick.curve(prior.network, data.held_out, linear, _COLOURED, colour=yardstick.COLOUR)))
    held = "the last 20 % of the recordings, which it was not trained on" if structure is None else "windows drawn anew"
    lines = ["# A learned prior", "", f"Made by `{provenance['command']}` on {provenance['date']}, version "
             f"{provenance['version']}: {trainer.seconds / 60:.1f} minutes of training on {trainer.device.type}, {trainer.step} "
             f"steps of {trainer.settings.batch} windows in {trainer.world} process{'es' if trainer.world > 1 else ''}.", "",
             f"- Network: {type(prior.network.net).__name__} of {sum(p.numel() for p in prior.network.parameters())} weights.",
             *(f"- Warning: {line}." for line in data.warnings), "",
             f"## Denoising {held}", "Noise of known variance (per complex sample; the source has unit power) is added and taken "
             "off again; what is left, relative to the power. *Linear*: the best time-invariant filter, which a network must "
             "beat. *Exact*: the posterior mean by the source's structure, timing and phase known.", "",
             "![Denoising error](denoising.png)", ""]
    for title, points in tables:
        lines += [f"### {title}", "", "| noise variance | network | linear | exact | above exact |", "|---|---|---|---|---|"]
        lines += [f"| {p.noise_var:g} | {p.network:.2f} | {p.linear:.2f} | "
                  + ("– | – |" if p.exact is None else f"{p.exact:.2f} | {p.gap:+.2f} |") for p in points] + [""]
    if against is not None:
        lines += ["### One pass over mixtures", "What is left of this source in the band of the other one, relative to that "
                  "one's power there; white noise 13.5 dB below this source. The network was trained on such mixtures.", "",
                  "| SIR, dB | network, dB | linear, dB |", "|---|---|---|"]
        lines += [f"| {sir:g} | {network:.2f} | {linear:.2f} |" for sir, network, linear in yardstick.left_over(
            prior.network, data.held_out, against, (-24, -18, -12, -6, -3))] + [""]
    (folder / "report.md").write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")
    _draw(tables, history, folder / "denoising.png")
    return [f"noise variance {p.noise_var:g}: error {p.network:.2f} dB, linear {p.linear:.2f} dB"
            + ("" if p.exact is None else f", exact {p.exact:.2f} dB") for p in white]


def _draw(tables, history, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (title, points), colour in zip(tables, ("C0", "C1")):
        levels, name = [p.noise_var for p in points], title.split(",")[0].lower()
        left.semilogx(levels, [p.network for p in points], "o-", color=colour, label=f"network, {name}", markersize=4)
        if points[0].exact is not None:
            left.semilogx(levels, [p.exact for p in points], "k--" if colour == "C0" else "k:", label=f"exact, {name}")
        left.semilogx(levels, [p.linear for p in points], color=colour, alpha=0.4, label=f"linear, {name}")
    left.set(xlabel="noise variance per sample", ylabel="error, dB of the source's power", ylim=(-50, 1))
    left.legend(fontsize=8)
    right.plot([p.step for p in history], [p.error_db for p in history], linewidth=1)
    right.set(xlabel="step", ylabel="training error, mean of dB over all levels")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
