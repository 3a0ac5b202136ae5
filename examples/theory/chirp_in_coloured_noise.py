# SPDX-License-Identifier: GPL-3.0-or-later
"""A source from outside communications: a chirp of unknown start and sweep in coloured noise, 10 to 20 dB stronger.

Nothing but two denoisers is used, through the gradient form of α-RGS in waveform space: E[s | s + noise] for a chirp of 64 x 64
candidates and unknown phase, E[b | b + noise] for Gaussian noise of known covariance. Beside it: the Wiener filter, the matched
filter bank's decision, and what the whole model allows: the most probable candidate and E[s | y].
"""
import time

import numpy as np
import torch
from alpha_rgs.errors import CapabilityError
from alpha_rgs.sources import Source
from common import BLUE, GREEN, INK, OCHRE, RED, VIOLET, options, plt, save

from benchmarks.objective_landscape import descend

SAMPLES = 256
SIRS = (-10, -12, -14, -16, -18, -20)
# the levels at which each denoiser is undecided: a chirp is found in noise SAMPLES times as strong; b is linear
LEVELS = (np.geomspace(10, 1000, 8), np.geomspace(0.01, 1, 8))


class Chirp(Source):
    """exp(j*(phase + 2*pi*(f*n + r*n²/2))), phase unknown and uniform; f and r on a grid of 64 each, equally likely.

    f: 0 ... 0.246 cycles per sample in steps of 1/256; r*256, what is swept: 0.05 ... 0.3 cycles per sample.
    """

    kind = "chirp"

    def __init__(self):
        n = np.arange(SAMPLES)
        f, sweep = np.meshgrid(np.arange(64) / SAMPLES, np.linspace(0.05, 0.3, 64), indexing="ij")
        self.f, self.sweep = f.ravel(), sweep.ravel()
        angle = 2 * np.pi * (self.f[:, None] * n + self.sweep[:, None] * n ** 2 / (2 * SAMPLES))
        self.waveforms = torch.tensor(np.exp(1j * angle), dtype=torch.complex64)

    def bank(self, x):
        """c_kᴴ·x for all candidates: complex [batch, 4096]."""
        return x @ self.waveforms.mH

    def denoise(self, x, noise):
        """See Source.denoise. P(k | x) ∝ I0(2|z_k|/v), E[exp(j*phase) | x, k] = I1/I0(2|z_k|/v)*z_k/|z_k|, z_k = c_kᴴ·x."""
        return self.mean(self.bank(x) / self.white(noise))

    def mean(self, z, log_prior=0.0):
        """E[s] of the density exp(2·Re Σ_n conj(z_k)·exp(j*phase)) over candidates k (log_prior [4096]) and phases."""
        size = z.abs().clamp_min(1e-12)
        base = torch.special.i0e(2 * size)
        weight = torch.softmax(2 * size + base.log() + log_prior, -1) * torch.special.i1e(2 * size) / base
        return (weight * z / size) @ self.waveforms

    def decide(self, x):
        """(index, waveform) of the candidate that a matched filter bank finds in x, with the phase it finds."""
        z = self.bank(x)
        k = z.abs().argmax(-1)
        z = z.gather(1, k[:, None])
        return k, z / z.abs().clamp_min(1e-12) * self.waveforms[k]

    def at(self, start):
        """Not offered: a chirp has a beginning."""
        raise CapabilityError("chirp: windows of a stream are not supported")


class ColouredNoise(Source):
    """Stationary Gaussian noise of unit power: complex AR(2), resonances at 0.13 and 0.22 cycles per sample, in the band that
    the chirps sweep."""

    kind = "gaussian"
    poles = (0.97 * np.exp(2j * np.pi * 0.13), 0.9 * np.exp(2j * np.pi * 0.22))

    def __init__(self):
        grid = np.exp(-2j * np.pi * np.arange(16384) / 16384)
        spectrum = 1 / abs((1 - self.poles[0] * grid) * (1 - self.poles[1] * grid)) ** 2
        lags = np.fft.ifft(spectrum / spectrum.mean())
        n = np.arange(SAMPLES)
        self.covariance = lags[n[:, None] - n]
        self.spectrum = spectrum / spectrum.mean()
        values, vectors = np.linalg.eigh(self.covariance)
        self.values = torch.tensor(values.clip(1e-9), dtype=torch.float32)
        self.vectors = torch.tensor(vectors, dtype=torch.complex64)

    def filtered(self, x, gains):
        """U·diag(gains)·Uᴴ·x for each row of x."""
        return ((x @ self.vectors.conj()) * gains) @ self.vectors.T

    def denoise(self, x, noise):
        """See Source.denoise: C·(C + v·I)⁻¹·x, exact."""
        return self.filtered(x, self.values / (self.values + self.white(noise)))

    def draw(self, batch, generator):
        """complex64 [batch, SAMPLES]."""
        return self.filtered(torch.randn(batch, SAMPLES, dtype=torch.complex64, generator=generator), self.values.sqrt())

    def at(self, start):
        """Stationary: the same."""
        return self


def wiener(y, chirp, noise, kappa):
    """E[s | y] were s Gaussian with the candidates' covariance: complex [batch, samples]."""
    s = (chirp.waveforms.T @ chirp.waveforms.conj()) / len(chirp.waveforms)
    total = s + kappa ** 2 * torch.tensor(noise.covariance, dtype=torch.complex64)
    return torch.linalg.solve(total, y.T).T @ s.T


def whole_model(y, chirp, noise, kappa):
    """(most probable candidate, E[s | y]) with both sources' models at once."""
    whitened = noise.filtered(chirp.waveforms, 1 / noise.values) / kappa ** 2
    energy = (chirp.waveforms.conj() * whitened).sum(1).real
    z = y @ whitened.mH
    size = 2 * z.abs()
    return (size + torch.special.i0e(size).log() - energy).argmax(1), chirp.mean(z, -energy)


def annealed(y, kappa, chirp, noise, calls=30):
    """The same step without drawn noise: (s, E[s | s + noise]). The chirp's level falls as candidates drop out; the noise's
    rises: at a low level y - kappa·b̂ is whitened, which tells chirps apart; at a high one it keeps their amplitude."""
    s = torch.zeros_like(y)
    for t, u in zip(np.geomspace(300, 10, calls), np.geomspace(0.01, 0.3, calls)):
        s = s + 0.5 * ((chirp.denoise(s, t) - s) + (y - kappa * noise.denoise((y - s) / kappa, u) - s))
    return s, chirp.denoise(s, 30.0)


def measured(estimate, s, found, truth):
    """(error of the waveform in dB re its power, share of right candidates)."""
    return 10 * float((estimate - s).abs().square().mean().log10()), float((found == truth).double().mean())


def compare(sir_db, chirp, noise, args):
    """name -> (error dB, share found), and one window to look at: (mixture, estimate, index of the chirp)."""
    g = torch.Generator().manual_seed(args.seed)
    truth = torch.randint(0, len(chirp.f), (args.windows,), generator=g)
    turn = torch.polar(torch.ones(args.windows), 2 * torch.pi * torch.rand(args.windows, generator=g))
    s, kappa = chirp.waveforms[truth] * turn[:, None], 10 ** (-sir_db / 20)
    y = s + kappa * noise.draw(args.windows, g)
    found, decided = chirp.decide(y)
    out = {"matched filter bank": measured(decided, s, found, truth)}
    smooth = wiener(y, chirp, noise, kappa)
    out["Wiener filter"] = measured(smooth, s, chirp.decide(smooth)[0], truth)
    for name, levels, step in (("α-RGS, published levels", None, (5e-3, 1e-6)),
                               ("α-RGS, levels of the sources", LEVELS, (0.5, 0.02))):
        x = descend(y, kappa, chirp.denoise, noise.denoise, decided, levels, args.iterations, step=step,
                    normalised=levels is not None, seed=args.seed)
        estimate = chirp.denoise(x, 10.0) if levels is not None else x
        out[name] = measured(estimate, s, chirp.decide(x)[0], truth)
    x, estimate = annealed(y, kappa, chirp, noise)
    out["α-RGS, levels annealed, 30 calls"] = measured(estimate, s, chirp.decide(x)[0], truth)
    right = chirp.decide(x)[0] == truth
    found, mean = whole_model(y, chirp, noise, kappa)
    out["whole model"] = measured(mean, s, found, truth)
    return out, (y[right], estimate[right], truth[right])


def spectrogram(axes, x, title):
    """Power against time and frequency, dB below its largest, 48-sample Hann windows."""
    blocks = np.lib.stride_tricks.sliding_window_view(x, 48)[::4] * np.hanning(48)
    power = 20 * np.log10(abs(np.fft.fft(blocks, 256)) + 1e-9).T[:160]
    axes.imshow(power - power.max(), origin="lower", aspect="auto", vmin=-30, vmax=0, cmap="magma",
                extent=(24, SAMPLES - 24, 0, 160 / 256))
    axes.set(xlabel="sample", ylabel="cycles per sample", title=title)


def main():
    args = options(__doc__, "chirp_in_coloured_noise", windows=60, iterations=60)
    began = time.perf_counter()
    chirp, noise = Chirp(), ColouredNoise()
    rows = []
    for sir_db in SIRS:
        row, looked_at = compare(sir_db, chirp, noise, args)
        rows.append(row)
        for name, (error, share) in row.items():
            print(f"SIR {sir_db} dB: {name:34} error {error:6.1f} dB, right chirp {share:4.0%}", flush=True)
        if sir_db == -14:
            example = [x[0].numpy() for x in looked_at]
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.6), layout="constrained")
    for name, colour, style in zip(rows[0], (RED, OCHRE, INK, BLUE, VIOLET, GREEN), ("o-", "s-", "x:", "o-", "D-", "^--")):
        axes[0, 0].plot(SIRS, [100 * r[name][1] for r in rows], style, color=colour, ms=5, label=name)
        axes[0, 1].plot(SIRS, [r[name][0] for r in rows], style, color=colour, ms=5, label=name)
    axes[0, 0].set(xlabel="SIR, dB", ylabel="right candidate of 4096, %", ylim=(-3, 103), title="Which chirp is it?")
    axes[0, 1].set(xlabel="SIR, dB", ylabel="error, dB re the chirp", title="Recovered waveform")
    axes[0, 1].legend(fontsize=8)
    y, estimate, truth = example
    spectrogram(axes[1, 0], y, "One mixture, SIR −14 dB, of those where the chirp is found")
    spectrogram(axes[1, 1], estimate, "Annealed α-RGS (dashed: the truth)")
    n = np.arange(SAMPLES)
    axes[1, 1].plot(n, chirp.f[truth] + chirp.sweep[truth] * n / SAMPLES, "--", color=INK, lw=1)
    axes[1, 1].set_xlim(24, SAMPLES - 24)
    print(f"{time.perf_counter() - began:.0f} s")
    save(figure, args, __file__)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
