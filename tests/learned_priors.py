# SPDX-License-Identifier: GPL-3.0-or-later
"""Small learned priors with random weights, for tests."""
import numpy as np
import torch
from alpha_rgs import sources as priors
from alpha_rgs.nets import build
from alpha_rgs.nets.denoiser import CONDITIONS
from alpha_rgs.signals import LinearModulation as Signal
from alpha_rgs.sources import Gaussian, LinearModulation, with_network
from alpha_rgs.sources.mixtures import noise, paper_priors

QPSK = LinearModulation(Signal("qpsk", 8, "rrc", 0.5, 4), 4.0, 0.0, 1.0)
SOI, OFDM = paper_priors(symbols=80)            # bursts that fill windows of 1280 samples
DIFFWAVE = {"kind": "diffwave", "channels": 4, "layers": 2, "cycle": 2}


def fast(stride, hops=3, dilations=(1,)):
    return {"kind": "fast", "stride": stride, "kernel": hops * stride, "channels": 4, "dilations": list(dilations),
            "conditions": CONDITIONS}


def shaken(table, source, seed=1):
    """A denoiser with random weights, the layers that begin at zero too, for that source."""
    torch.manual_seed(seed)
    denoiser = build(table)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.03 * torch.randn_like(p))
    denoiser.spectrum = torch.tensor(source.psd(512).clip(1e-4), dtype=torch.float32)
    return denoiser.eval().requires_grad_(False)


def table_of(source, kind="fast"):
    return DIFFWAVE if kind == "diffwave" else fast(
        source.signal.samples_per_symbol if source.kind == "linear-modulation" else 4, 9 if source.kind == "gaussian" else 3)


def learned(source, kind="fast", seed=1):
    table = table_of(source, kind)
    return with_network(source, shaken(table, source, seed))


def covariance():
    """OFDM as a network for recordings has it: by its averaged covariance."""
    return Gaussian(OFDM.autocorrelation(np.arange(80))[None], sample_rate=1e6)


def saved(path, source, kind="fast", seed=1, **options):
    priors.save(learned(source, kind, seed), path, {"command": "by hand"}, **options)
    return path


def waves(batch, samples, seed=1):
    return noise((batch, samples), torch.Generator().manual_seed(seed))
