# SPDX-License-Identifier: GPL-3.0-or-later
"""What learned priors cost and what they reach: bit error rate against time per window, on two processor cores."""
import contextlib
import pathlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from alpha_rgs.errors import ParameterError
from alpha_rgs.separators import BRIEF, METHODS, separate
from alpha_rgs.sources import load, with_network
from alpha_rgs.sources.mixtures import draw_case, paper_case
from alpha_rgs.synchronization import acquire

BATCH, ESTIMATION, ONCE = 64, "estimation of the interference", "one pass, trained on mixtures"
EVALUATIONS, PRODUCTS, ITERATIONS = (1, 2, 4, 8, 16, 30), (4, 15, 60), (30, 100, 300, 1000)


def methods(learned_interference: Any, once: Any, iterations: Sequence[int]) -> list[tuple[str, str, str, dict[str, Any]]]:
    """(label, colour, method, options) of what is compared; once: there is a network for one pass."""
    rows: list[tuple[str, str, str, dict[str, Any]]] = [
            ("matched filter", "#7f7f7f", "matched_filter", {}),
            ("LMMSE, stationary", "#8c564b", "lmmse", {"covariance": "stationary"})]
    rows += [("α-RGS, SOI colour", "#d62728", "alpha_rgs", {"preset": "fast", "evaluations": n, "tones": 0}) for n in EVALUATIONS]
    rows += [("α-RGS, white, Newton", "#2ca02c", "alpha_rgs", {"preset": "white", "iterations": n, "tones": 0}) for n in PRODUCTS]
    rows += [("α-RGS as published", "#1f77b4", "alpha_rgs", {"preset": "paper", "iterations": n}) for n in iterations]
    if learned_interference:
        rows.append(("one pass of the same network", "#17becf", "amortised", {}))
    if once:
        rows += [(ONCE, "black", "amortised", {}), ("one pass so, and one of α-RGS", "#bcbd22", "alpha_rgs", {
            "preset": "fast", "evaluations": 1, "tones": 0, "levels": (0.3, 0.3), "amortised": once})]
    return rows


@contextlib.contextmanager
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cost(folder, case, sir_db, windows=128, iterations=ITERATIONS, seed=1, report=None):
    """Rows (dicts): case, sir_db, label, options, evaluations, ms_per_window, ber, ber_se. Learned: the SOI by folder's
    rrc-qpsk.prior, the interference too where there is <interference>.prior.

    Timing, phase and levels of the interference are estimated first, a row of its own (label ESTIMATION), and are not in the
    others' time. Windows go in batches of 64 and two threads, as in the engine: each a half, or torch's own for brief methods.
    The median batch counts.
    Raises ParameterError where there is no learned SOI.
    """
    soi, interference, mixtures_network = _priors(pathlib.Path(folder), case)
    rows: list[dict[str, Any]] = []
    mixture = draw_case(case, windows, sir_db, seed=seed)

    def cut(size):
        return [slice(i, min(i + size, windows)) for i in range(0, windows, size)]

    def add(label, options, ms, evaluations=0, errors=None):
        rows.append(dict(case=case, sir_db=sir_db, label=label, options={k: v for k, v in options.items() if k != "amortised"},
                         evaluations=evaluations, ms_per_window=ms, ber=None if errors is None else float(errors.mean()),
                         ber_se=None if errors is None else float(errors.std() / len(errors) ** 0.5)))
        if report:
            report(rows[-1])

    with _two_threads(), ThreadPoolExecutor(2, initializer=lambda: torch.set_num_threads(1)) as pool:
        def timed(solve, parts, warm=True):
            """(results of the parts, in order, ms per window)."""
            run: Any
            run, together = (map, 1) if len(parts) == len(wholes) else (pool.map, 2)
            if warm:
                list(run(solve, parts[:together]))          # filters are made once and kept
            results: list[Any] = []
            spent: list[float] = []
            for i in range(0, len(parts), together):
                began, these = time.perf_counter(), parts[i:i + together]
                results += run(solve, these)
                spent.append(1e3 * (time.perf_counter() - began) / sum(p.stop - p.start for p in these))
            return results, float(np.median(spent))

        def estimated(part):
            return acquire(mixture.y[part], soi, interference)

        halves, wholes = cut(BATCH // 2), cut(BATCH)
        found, ms = timed(estimated, halves)
        known = {part.start: rest for part, rest in zip(halves, found)}, {part.start: estimated(part) for part in wholes}
        add(ESTIMATION, {}, ms)
        for label, _, method, options in methods(interference.learned, mixtures_network, iterations):
            def solve(part, method=method, options=options):
                _, there, kappa, noise_var, _ = known[method in BRIEF][part.start]
                there = with_network(there, mixtures_network.network) if label == ONCE else there  # noqa: B023 - run at once
                with torch.inference_mode():
                    separator: Any = METHODS[method]
                    return separator(mixture.y[part], soi, there, kappa, noise_var, **options)

            out, ms = timed(solve, wholes if method in BRIEF else halves, warm=options.get("preset") != "paper")
            bits = torch.cat([soi.signal.alphabet.slice(o.symbols).reshape(len(o.symbols), -1) for o in out])
            add(label, options, ms, max(o.evaluations for o in out), (bits != mixture.bits).float().mean(1))
    return rows


def _priors(folder: pathlib.Path, case: str) -> tuple[Any, Any, Any]:
    """(learned SOI, interference, which is learned where there is a prior, the prior trained on mixtures or None). Raises
    ParameterError."""
    source = case.removesuffix("-noise")
    if not (folder / "rrc-qpsk.prior").exists():
        raise ParameterError(f"{folder}: holds no rrc-qpsk.prior; name the folder of the learned priors (--priors)")
    soi, interference = paper_case(case)
    soi = with_network(soi, load(folder / "rrc-qpsk.prior").network)
    path, once = folder / f"{source}.prior", folder / f"{source}-once.prior"
    interference = with_network(interference, load(path).network) if path.exists() else interference
    return soi, interference, load(once) if once.exists() else None


def throughput(folder, case, sir_db, batch, device="cpu", seed=1, rounds=3):
    """Both sources learned, α-RGS in the SOI's colour, levels and timing of the interference found too: a dict case, sir_db,
    device, batch, ms_per_window, windows_per_s, megasamples_per_s, evaluations, ber, ber_se. One batch at a time, all of torch's
    threads; the best of so many rounds after a first one counts.

    folder: as for cost; device: of torch. Raises ParameterError where a prior is missing.
    """
    soi, interference = paper_case(case)
    names = "rrc-qpsk.prior", f"{case.removesuffix('-noise')}.prior"
    for name in names:
        if not (pathlib.Path(folder) / name).exists():
            raise ParameterError(f"{folder}: holds no {name}; name the folder of the learned priors (--priors)")
    soi, interference = (with_network(prior, load(pathlib.Path(folder) / name).network)
                         for prior, name in zip((soi, interference), names))
    mixture, spent = draw_case(case, batch, sir_db, seed=seed), []
    y = mixture.y.to(device)
    for _ in range(rounds + 1):
        began = time.perf_counter()
        out = separate(y, soi, interference)
        bits = soi.signal.alphabet.slice(out.symbols).cpu()             # waits for the device
        spent.append(time.perf_counter() - began)
    wrong, best = (bits.reshape(batch, -1) != mixture.bits).float().mean(1), min(spent[1:])
    return dict(case=case, sir_db=sir_db, device=str(device), batch=batch, ms_per_window=1e3 * best / batch,
                windows_per_s=batch / best, megasamples_per_s=1e-6 * y.numel() / best, evaluations=out.evaluations,
                ber=float(wrong.mean()), ber_se=float(wrong.std() / batch ** 0.5))


def draw(rows, path):
    """The figure: one panel per case and SIR."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((r["case"], r["sir_db"]) for r in rows))
    figure = Figure(figsize=(6 * len(panels), 4.6), layout="constrained")
    for axes, key in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels):
        here = [r for r in rows if (r["case"], r["sir_db"]) == key]
        colours = {label: colour for label, colour, *_ in methods(True, True, ITERATIONS)}
        for label in dict.fromkeys(r["label"] for r in here if r["label"] != ESTIMATION):
            line = [r for r in here if r["label"] == label]
            axes.errorbar([r["ms_per_window"] for r in line], [max(r["ber"], 3e-5) for r in line], [r["ber_se"] for r in line],
                          fmt="o-", color=colours[label], label=label, markersize=5, linewidth=1)
        axes.axvline(100, color="0.7", linestyle=":", linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel="ms per window of 2560 samples, two cores, batches of 64",
                 ylabel="bit error rate (0 is drawn at 3e-5)", title=f"{key[0]}, SIR {key[1]:g} dB", ylim=(2e-5, 0.6))
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
