# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit in noise: posterior marginals of RRC-QPSK under OFDM-QPSK by a sampler that mixes, next to `joint`.

Nuisances, kappa and noise_var are known; y = H·a + kappa·A·c + w, all symbols a and all carriers c of all frames QPSK. Gibbs
sampling (Geman & Geman, 1984) in blocks as large as can be drawn exactly:

1. Pretended observations (data augmentation; Tanner & Wong, 1987). The near carriers, under the SOI's spectrum, fall into two
   groups, which the cyclic prefix couples by C = U·S·Vᴴ. Observing S^½(Uᴴ·c₁ - Vᴴ·c₂) + noise, drawn given c, cancels C.
2. All symbols of the window, given these and the far carriers, the near ones summed over: the words of a group are a matrix
   product, and the rest is a trellis over frames: nine symbols reach a frame, four of them the next too, 256 states of 1024
   branches. Forward filtering, backward sampling; the smoothed marginals of every symbol come with it. Then the near carriers.
3. All carriers given the symbols, three times: other pretended observations, of body samples without a copy, make them
   independent.

Marginals, averaged over sweeps, decide the bits: no receiver errs less. Three chains must agree: from the decision of
`joint`, from the truth, and from random carriers.
"""
import argparse
import itertools
import math
import sys
import time
from collections import namedtuple

import numpy as np
import torch
from alpha_rgs.separators import separate
from alpha_rgs.sources.mixtures import draw, paper_priors

REACH, STEP, SHARED = 9, 5, 4       # symbols that reach a frame; of them new ones, and those that reach the next frame too
NEGLIGIBLE = 1e-12                  # filtered probability below which a state is dropped; what is lost has 256 times this at most
SKIP = 32                           # outer bits of each side: 16 symbols
STARTS = ("joint", "truth", "random")


def words(points, length):
    """All words over the alphabet, complex [n**length, length], first letter slowest."""
    return torch.tensor(list(itertools.product(points.tolist(), repeat=length)), dtype=torch.complex128)


# in frames: y [F, 80] (zero outside), mask [F, 80], pulses H [F, 80, 9], first symbol of each frame [F], A [80, 56]
Window = namedtuple("Window", "y mask H first A")


def cut(y, soi, ofdm, offset, phase):
    """One window of samples y as a Window."""
    samples, period, sps = len(y), ofdm.signal.frame_length, soi.signal.samples_per_symbol
    n = offset - period + torch.arange((-(-samples // period) + 1) * period).reshape(-1, period)
    mask = (n >= 0) & (n < samples)
    rows = torch.where(mask, y[n.clamp(0, samples - 1)], 0)
    first = torch.ceil((n[:, 0] - soi.signal.half_length - soi.timing) / sps).long()
    number = first[:, None] + torch.arange(REACH)
    H = torch.tensor(soi.signal.pulse_at((n[:, :, None] - soi.timing - sps * number[:, None]).numpy()))
    H = H * mask[..., None] * ((number >= 0) & (number < soi.symbols))[:, None]
    return Window(rows.to(torch.complex128), mask, H, first, torch.tensor(ofdm.matrix) * np.exp(1j * phase))


class Sampler:
    """The conditional draws in one window, for several chains at a time: carriers c are complex [K, F, 56]."""

    def __init__(self, window, kappa, noise_var, alphabet, near, generator):
        self.kappa, self.noise_var, self.g, self.near = kappa, noise_var, generator, torch.as_tensor(near)
        self.points = alphabet.points.to(torch.complex128)
        A, H, period = window.A, window.H.to(torch.complex128), window.A.shape[0]
        self.body = A[-64:]
        self.fold = torch.zeros(64, period, dtype=torch.float64)            # body sample of each sample of a frame
        self.fold[(torch.arange(period) - (period - 64)) % 64, torch.arange(period)] = 1
        self.seen = window.mask.to(torch.float64) @ self.fold.mT
        self.missing = self.seen.amax(1, keepdim=True) - self.seen
        self.stat = kappa / noise_var * window.y @ A.conj()                                          # [F, 56]
        self.symbol_stat = (H.mT @ window.y[..., None])[..., 0] / noise_var                          # [F, 9]
        self.B = kappa / noise_var * A.mH @ H                                                        # [F, 56, 9]
        gram = kappa ** 2 / noise_var * A.mH @ (window.mask[..., None] * A)                          # [F, 56, 56]
        self.gram, half = gram[:, self.near], len(near) // 2
        self.blocks, inner = (slice(0, half), slice(half, 2 * half)), self.gram[:, :, self.near]
        u, s, vh = torch.linalg.svd(inner[:, self.blocks[0], self.blocks[1]])
        self.link = torch.cat([u, -vh.mH], 1) * s.sqrt()[:, None]           # [F, near, half]: pretend link^H c + noise
        inner = inner + self.link @ self.link.mH
        self.words = words(self.points, half)
        self.power = [((self.words.conj() @ inner[:, b, b]) * self.words).sum(-1).real for b in self.blocks]     # [F, 4**half]
        self.old, self.new = words(self.points, SHARED), words(self.points, STEP)
        J = (window.H.mT @ window.H / noise_var).to(torch.complex128)
        kinds, self.kind = torch.unique(J.real.flatten(1).round(decimals=6), dim=0, return_inverse=True)
        first = [int((self.kind == k).nonzero()[0]) for k in range(len(kinds))]
        self.fixed = [self._fixed(J[f], self.B[f, self.near]) for f in first]       # most frames of a window are alike

    def _fixed(self, J, B):
        """Of a kind of frame: exponents of the old symbols [256] and the new [1024], factors of both, and of new and carriers."""
        pairs = (self.old, J[:SHARED, :SHARED]), (self.new, J[SHARED:, SHARED:])
        own = [-((x @ j.mT) * x.conj()).sum(-1).real for x, j in pairs]
        cross = -2 * (self.old.conj() @ J[:SHARED, SHARED:] @ self.new.mT).real
        columns = []
        for b in self.blocks:
            x = -2 * ((self.new @ B[b, SHARED:].mT) @ self.words.mH).real                            # [1024, 4**half]
            top = x.amax(1)
            own[1] = own[1] + top
            columns.append((x - top[:, None]).exp().mT.contiguous())
        return own[0], own[1], (cross - cross.max()).exp(), columns

    def select(self, f, h, information, state, kept):
        """p(frame f | its symbols)·state up to a constant [K, n, 1024]. h [K, near]: what the near carriers know without
        symbols; information [K, 9]: the same of the symbols; state [K, n]: weights of the old symbols' words kept [K, n]."""
        own, other, table, columns = self.fixed[self.kind[f]]
        B, parts, old = self.B[f, self.near], [], self.old[kept]
        row = own[kept] + 2 * (old @ information[:, :SHARED, None].conj())[..., 0].real + state.clamp_min(1e-200).log()
        column = other + 2 * (information[:, SHARED:].conj() @ self.new.mT).real                     # [K, 1024]
        for b, power in zip(self.blocks, self.power):
            x = 2 * ((h[:, None, b] - old @ B[b, :SHARED].mT) @ self.words.mH).real - power[f]
            top = x.amax(-1)
            row = row + top
            parts.append((x - top[..., None]).exp())
        parts[0] *= (row - row.amax(1, keepdim=True)).exp()[..., None]
        out = (parts[0] @ columns[0]).mul_(parts[1] @ columns[1]).mul_(table[kept])
        return out.mul_((column - column.amax(1, keepdim=True)).exp()[:, None])

    def sweep(self, c, repeats=3):
        """One sweep. Returns (c, marginals of the symbols [K, 5F + 4, 4])."""
        chains, frames = len(c), len(self.stat)
        far = c.clone()
        far[..., self.near] = 0
        linked = self.link.mH @ c[..., self.near, None] + noise((chains, frames, self.link.shape[2], 1), self.g)
        h = self.stat[:, self.near] - (self.gram @ far[..., None])[..., 0] + (self.link @ linked)[..., 0]
        information = self.symbol_stat - (self.B.mH @ far[..., None])[..., 0]
        state, forward = torch.full((chains, 256), 1 / 256, dtype=torch.float64), []
        for f in range(frames):
            weight, kept = state.topk(int((state > NEGLIGIBLE).sum(1).max()), 1)
            joint = self.select(f, h[:, f], information[:, f], weight, kept)
            total = joint.sum(1).reshape(chains, 4, 256)
            forward.append((joint, total, kept))
            state = normalised(total.sum(1))
        marginals = torch.zeros(chains, STEP * frames + SHARED, 4, dtype=torch.float64)
        numbers = torch.zeros(chains, STEP * frames + SHARED, dtype=torch.long)
        letters = torch.arange(256)[:, None] // 4 ** torch.arange(SHARED - 1, -1, -1) % 4
        member = torch.nn.functional.one_hot(letters, 4).to(torch.float64).flatten(1)               # [256, 16]
        last, smooth, chain = torch.multinomial(state, 1, generator=self.g)[:, 0], state, torch.arange(chains)
        for f in range(frames - 1, -2, -1):
            at = slice(STEP * f + STEP, STEP * f + REACH)
            numbers[:, at], marginals[:, at] = letters[last], (smooth @ member).reshape(chains, SHARED, 4)
            if f < 0:
                break
            joint, total, kept = forward[f]
            ratio = smooth / total.sum(1).clamp_min(1e-300)
            marginals[:, STEP * f + SHARED] = (total * ratio[:, None]).sum(2)
            weights = joint.reshape(chains, -1, 4, 256)[chain, :, :, last].flatten(1)
            pick = torch.multinomial(normalised(weights), 1, generator=self.g)[:, 0]
            numbers[:, STEP * f + SHARED], last = pick % 4, kept[chain, pick // 4]
            smooth = normalised(torch.zeros_like(state).scatter(1, kept, (joint @ ratio.repeat(1, 4)[..., None])[..., 0]))
        local = torch.arange(frames)[:, None] * STEP + torch.arange(REACH)
        heard = (self.B @ self.points[numbers[:, local]][..., None])[..., 0]        # of the symbols, by the carriers
        near = h - heard[..., self.near]
        for b, power in zip(self.blocks, self.power):
            logits = 2 * (near[..., b] @ self.words.mH).real - power
            pick = torch.multinomial(torch.softmax(logits, -1).flatten(0, 1), 1, generator=self.g)
            far[..., self.near[b]] = self.words[pick.reshape(chains, frames)]
        for _ in range(repeats):
            far = self.redraw(far, self.stat - heard)
        return far, marginals

    def redraw(self, c, h):
        """Block 3, all carriers given the symbols: c from its conditional, h what the carriers know [K, F, 56]."""
        q = self.missing * self.kappa * (c @ self.body.mT) + (self.missing * self.noise_var).sqrt() * noise(
            (*c.shape[:2], self.missing.shape[1]), self.g)
        h = h + self.kappa / self.noise_var * q @ self.body.conj()
        p = torch.sigmoid(2 * math.sqrt(2) * torch.view_as_real(h))
        up = torch.rand(p.shape, dtype=p.dtype, generator=self.g) < p
        return torch.view_as_complex(up.to(p.dtype) * 2 - 1) / math.sqrt(2)


def normalised(x):
    """Probabilities [K, n]."""
    return x / x.sum(1, keepdim=True)


def noise(shape, generator):
    """CN(0, 1), complex128."""
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


def carriers_of(sampler, rows):
    """The carriers nearest to a waveform kappa·b, cut into frames as y is [F, 80]: complex [F, 56]. Exact for whole frames."""
    z = (rows @ sampler.fold.mT.to(rows.dtype)) / sampler.seen.clamp_min(1) @ sampler.body.conj()
    return torch.view_as_complex(torch.where(torch.view_as_real(z) < 0, -1.0, 1.0).to(torch.float64)) / math.sqrt(2)


def measure(sir_db, es_n0_db, args):
    """All chains of one point; interior bits. Returns P(bit = 1) by chain [starts, windows, bits] and, uint8 [windows, bits],
    the decisions of joint and of the matched filter without interference, and the truth."""
    soi, ofdm = paper_priors()
    alphabet, generator = soi.signal.alphabet, torch.Generator().manual_seed(args.seed)
    m = draw(soi, ofdm, args.windows, 2560, sir_db, es_n0_db - 10 * math.log10(soi.signal.samples_per_symbol), seed=args.seed)
    known = dict(kappa=m.kappa, noise_var=m.noise_var)
    out = separate(m.y, soi, m.interference, "joint", **known)
    clear = separate(m.y - m.kappa * m.b, soi, m.interference, "matched_filter", **known)
    p = torch.zeros(len(STARTS), *m.bits.shape, dtype=torch.float64)
    for i in range(args.windows):
        window, b, guess = (cut(x[i], soi, ofdm, int(m.interference.frame_offset[i]), float(m.interference.phase[i]))
                            for x in (m.y, m.b, out.interference))
        near = np.flatnonzero(abs(ofdm.signal.carriers) <= args.near)
        sampler = Sampler(window, m.kappa, m.noise_var, alphabet, near, generator)
        at = torch.arange(soi.symbols) - int(window.first[0])
        anything = torch.randint(0, 2, (len(b.y), 2 * len(ofdm.signal.carriers)), generator=generator)
        c = torch.stack((carriers_of(sampler, guess.y), carriers_of(sampler, b.y), alphabet.map(anything).to(torch.complex128)))
        for step in range(-args.burn, args.sweeps):
            c, marginals = sampler.sweep(c)
            if step >= 0:
                p[:, i] += (marginals[:, at] @ alphabet.labels.to(torch.float64)).flatten(1) / args.sweeps
        print(f"{sir_db:g} dB, Es/N0 {es_n0_db:g} dB: window {i + 1} of {args.windows}", file=sys.stderr)
    return tuple(x[..., SKIP:-SKIP] for x in (p, alphabet.slice(out.symbols), alphabet.slice(clear.symbols), m.bits))


def report(sir_db, es_n0_db, chains, joint, clear, bits):
    """Prints error rates with standard errors over windows, differences to joint paired, and what the marginals expect."""
    pooled = chains.mean(0)
    wrong = {"joint": joint != bits} | {f"MCMC from {name}": (q > 0.5) != bits for name, q in zip(STARTS, chains)}
    wrong |= {"MCMC, all chains": (pooled > 0.5) != bits, "matched filter, no interference": clear != bits}
    print(f"SIR {sir_db:g} dB, Es/N0 {es_n0_db:g} dB: {bits.numel()} interior bits in {len(bits)} windows")
    for name, errors in wrong.items():
        rate, gap = errors.double().mean(1), (errors.double() - wrong["joint"].double()).mean(1)
        print(f"  {name:32s} BER {_plus_minus(rate)}   minus joint {_plus_minus(gap)}")
    # decided by the chains that judge: too low, they flatter themselves; by the other two: not below the least rate
    least, ours = torch.minimum(pooled, 1 - pooled), torch.where(joint == 1, 1 - pooled, pooled)
    others = (chains.sum(0) - chains) / (len(chains) - 1)
    apart = torch.where(others > 0.5, 1 - chains, chains).mean(0)
    print(f"  expected from the marginals: joint {_plus_minus(ours.mean(1))}, least {least.mean():.2e} to {apart.mean():.2e}")
    print(f"  joint minus these {_plus_minus((ours - least).mean(1))}, {_plus_minus((ours - apart).mean(1))}")
    rms = [f"{(chains[i] - chains[j]).square().mean().sqrt():.3f}" for i, j in ((0, 1), (0, 2), (1, 2))]
    print(f"  rms difference of marginals: joint/truth, joint/random, truth/random {', '.join(rms)}", flush=True)


def _plus_minus(x):
    return f"{x.mean():.2e} ± {x.std() / len(x) ** 0.5:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", default="-6:10,-9:10,-12:10", metavar="SIR:ESN0,...", help="dB; write --points=-6:10")
    for name, default, text in (("windows", 20, "2 or more"), ("sweeps", 32, "kept, of a chain"), ("burn", 8, "left out"),
                                ("seed", 1, None), ("near", 3, "carriers -near ... near are summed over with the symbols")):
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    args, began = parser.parse_args(), time.perf_counter()
    torch.set_num_threads(1)
    for point in args.points.split(","):
        sir_db, es_n0_db = map(float, point.split(":"))
        report(sir_db, es_n0_db, *measure(sir_db, es_n0_db, args))
    print(f"seed {args.seed}, {args.burn} + {args.sweeps} sweeps a chain, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
