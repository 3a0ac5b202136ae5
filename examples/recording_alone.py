# SPDX-License-Identifier: GPL-3.0-or-later
"""Two sources known by networks alone, against the matched filter: what `docs/learned.md` says of them comes from here.

    ./run exec python examples/recording_alone.py [FOLDER]

1. QPSK under GMSK, known by priors/gmsk.prior, which finds timing and phase itself.
2. QPSK under DSSS that is known from one recording of it: 24 ms of 802.11b-like signal with noise 34 dB below, made here;
   `alpha-rgs train` finds its period of 25 samples and learns the rest (some minutes on two cores). FOLDER (out/recording_alone)
   keeps recording and prior; they are used again.
"""
import pathlib
import subprocess
import sys
from dataclasses import replace

import torch
from alpha_rgs import sources as priors
from alpha_rgs.io import recordings
from alpha_rgs.separators import separate
from alpha_rgs.sources import mixtures

ROOT = pathlib.Path(__file__).resolve().parents[1]
WINDOWS = 64


def table(title, soi, interference, network, draw, sirs):
    """Bit error rates, printed: one row per SIR; the interference's level and the noise found in the mixture, or given."""
    print(f"\n{title}\n{'SIR, dB':>8} {'matched filter':>15} {'levels found':>13} {'levels given':>13} {'evaluations':>12}")
    for sir in sirs:
        mixture = draw(soi, interference, sir)
        given = dict(kappa=mixture.kappa, noise_var=mixture.noise_var)
        outs = [separate(mixture.y, soi, network, method, **known) for method, known in (
            ("matched_filter", given), ("alpha_rgs", {}), ("alpha_rgs", given))]
        rates = [float((soi.signal.alphabet.slice(out.symbols) != mixture.bits).float().mean()) for out in outs]
        print(f"{sir:8g} {rates[0]:15.2g} {rates[1]:13.2g} {rates[2]:13.2g} {outs[1].evaluations:12d}", flush=True)


def main():
    torch.set_num_threads(1)
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "out" / "recording_alone")
    soi, dsss = mixtures.paper_case("dsss-noise")
    table("QPSK under GMSK (BT 0.3, 4 samples per symbol), white noise 20 dB below the QPSK", soi, priors.load(
        ROOT / "priors" / "gmsk.toml"), priors.load(ROOT / "priors" / "gmsk.prior"),
        lambda a, b, sir: mixtures.draw(a, b, WINDOWS, 2560, sir, 20.0, seed=5), (-18, -12, -6))
    recording, prior = folder / "dsss.sigmf-meta", folder / "dsss.prior"
    if not recording.exists():
        generator = torch.Generator().manual_seed(11)
        wave = mixtures.alone(replace(dsss, phase=None, timing=None), 1, 600_000, generator, scrambled=False)[0][0]
        recordings.save(folder / "dsss", (wave + 0.02 * mixtures.noise(wave.shape, generator)).numpy(), 25e6)
    if not prior.exists():
        subprocess.run([sys.executable, "-m", "alpha_rgs.cli", "train", str(recording), "--period", "auto", "--window", "2560",
                        "--batch", "32", "--steps", "4000", "-o", str(prior)], check=True)
    table("QPSK under DSSS known from a recording, white noise 13.5 dB below the DSSS", soi, dsss, priors.load(prior),
          lambda a, b, sir: mixtures.draw(a, b, WINDOWS, 2560, sir, sir + mixtures.DSSS_NOISE_DB, seed=5), (-18, -15, -12, -6))


if __name__ == "__main__":
    main()
