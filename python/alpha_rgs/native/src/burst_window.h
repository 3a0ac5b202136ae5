/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// All passes of expectation propagation on some windows.

#ifndef INCLUDED_ALPHA_RGS_BURST_WINDOW_H
#define INCLUDED_ALPHA_RGS_BURST_WINDOW_H

#include "burst_batch.h"
#include "burst_sites.h"
#include "burst_tridiagonal.h"

namespace LANES_NAMESPACE {
namespace doubles {

// What the tiles say of the symbols, into the chains.
static inline void tell_chains(BurstBatch& batch, double heat, bool last)
{
    const BurstJob& job = batch.job;
    const int K = job.symbols;
    for (int k = 0; k < batch.chains; k++)
        clear(batch.chain[k]);
    for (int g = 0; g < batch.groups; g++) {
        const BurstGroup& group = batch.group[g];
        const bool invert =
            last && job.families[group.tiles[0].family].inverse != nullptr;
        if (group.decides || invert)
            eliminate(group, batch.scratch, K, heat);
        else
            eliminate_reduced(group, batch.scratch, K, heat);
        if (invert)
            give_inverse(job, group, batch.scratch, batch.inverse);
        const C *reduced = batch.scratch.reduced, *said = reduced + triangle((size_t)K);
        for (int l = 0; l < group.count; l++) {
            const BurstWindow& window = batch.of(group.tiles[l]);
            const BurstChain& chain = *window.chain;
            const int lane = window.lane;
            for (int k = 0; k < K; k++) {
                const size_t at = (size_t)(group.tiles[l].first + k);
                C* row = chain.band + at * chain.wide();
                for (int o = 0; k + o < K; o++) {
                    const C& x = reduced[triangle((size_t)(k + o)) + k];
                    row[o].re[lane] += x.re[l];
                    row[o].im[lane] += x.im[l];
                }
                chain.h[at].re[lane] += said[k].re[l];
                chain.h[at].im[lane] -= said[k].im[l];
            }
        }
    }
}

static inline void tell_sites(BurstWindow& w)
{
    const BurstChain& chain = *w.chain;
    for (int i = 0; i < chain.total; i++) {
        chain.band[i * chain.wide()].re[w.lane] += w.precision[i];
        chain.h[i].re[w.lane] += w.re[i];
        chain.h[i].im[w.lane] += w.im[i];
    }
}

// Σ_kl gain_k·covariance_kl·conj(gain_l); gain: conjugates. cov: [row][column <= row].
static inline V spread_by(const C* gain, const C* cov, int K)
{
    V total{};
    for (int k = 0; k < K; k++) {
        C across = zero();
        for (int l = 0; l < k; l++)
            add(across, cov[triangle((size_t)k) + l], gain[l]);
        across = across + across;
        add(across, C{ cov[triangle((size_t)k) + k].re, V{} }, gain[k]);
        total += gain[k].re * across.re + gain[k].im * across.im;
    }
    return total;
}

// Posteriors of the symbols that reach the tiles of a group: means, and covariances
// [row][column <= row].
static inline void
gather(const BurstBatch& batch, const BurstGroup& g, int K, C* mean, C* cov)
{
    for (int k = 0; k < K; k++) {
        mean[k] = zero();
        for (int j = 0; j <= k; j++)
            cov[triangle((size_t)k) + j] = zero();
        for (int l = 0; l < g.count; l++) {
            const BurstWindow& window = batch.of(g.tiles[l]);
            const BurstChain& chain = *window.chain;
            const int lane = window.lane;
            const size_t first = (size_t)g.tiles[l].first;
            mean[k].re[l] = chain.h[first + k].re[lane];
            mean[k].im[l] = chain.h[first + k].im[lane];
            for (int j = 0; j <= k; j++) {
                const C& z = chain.z[(first + j) * chain.wide() + (k - j)];
                cov[triangle((size_t)k) + j].re[l] = z.re[lane];
                cov[triangle((size_t)k) + j].im[l] = -z.im[lane];
            }
        }
    }
}

// New sites of the carriers of a group.
static inline void update_carriers(BurstBatch& batch, const BurstGroup& g)
{
    const BurstJob& job = batch.job;
    const int K = job.symbols;
    C* cov = batch.scratch.reduced; // free after an elimination
    C* mean = batch.scratch.root;   // likewise
    gather(batch, g, K, mean, cov);
    for (int c = 0; c < g.carriers; c++) {
        if (!g.present[c])
            continue;
        const C* gain = g.gain + (size_t)c * (K + 1);
        Moments now{ conjugate(gain[K]), g.own[c] + spread_by(gain, cov, K) };
        for (int k = 0; k < K; k++)
            subtract(now.mean, mean[k], conjugate(gain[k]));
        const Moments cavity = cavity_of(job.limits, now, g.precision[c], g.shift[c]);
        for (int number = 0; number < job.carriers; number++) {
            if (!(g.present[c] >> number & 1))
                continue;
            const I here = g.alphabet[c] == number;
            V precision;
            C shift;
            new_site(job.limits,
                     moments_of(job.carrier[number], cavity),
                     cavity,
                     precision,
                     shift);
            const V share = all(job.damping);
            g.precision[c] =
                chosen(here, between(g.precision[c], precision, share), g.precision[c]);
            g.shift[c] = chosen(here, between(g.shift[c], shift, share), g.shift[c]);
        }
    }
}

// Probabilities of pauses; see `moments` of separators/joint_bursts.py.
static inline void find_pauses(const BurstJob& job, BurstWindow& w, double heat)
{
    const bool* exists = job.exists + (size_t)w.number * job.total;
    if (heat > job.pauses.cool) {
        for (int i = 0; i < job.total; i++)
            w.away[i] = 0.0;
        return;
    }
    for (int i = 0; i < job.total; i += lanes) {
        const Moments seen{ C{ load(w.soft + i), load(w.side + i) }, load(w.var + i) };
        store(w.away + i, odds_of_pause(job.symbol, job.pauses, seen));
    }
    for (int i = 0; i < job.total; i++)
        w.away[i] = exists[i] ? w.away[i] : 1.0;
    smooth(job.pauses, job.total, w.away, w.memory);
}

static inline Moments
with_pauses(const BurstJob& job, const BurstWindow& w, int i, Moments& cavity)
{
    cavity = Moments{ C{ load(w.soft + i), load(w.side + i) }, load(w.var + i) };
    return moments_with_pauses(job.symbol, job.pauses, cavity, load(w.away + i));
}

static inline void update_symbols(const BurstJob& job, BurstWindow& w, double heat)
{
    const bool* exists = job.exists + (size_t)w.number * job.total;
    find_pauses(job, w, heat);
    for (int i = 0; i < job.total; i += lanes) {
        Moments cavity;
        const Moments moments = with_pauses(job, w, i, cavity);
        V precision;
        C shift;
        new_site(job.limits, moments, cavity, precision, shift);
        const V share = all(job.damping);
        precision = between(load(w.precision + i), precision, share);
        shift = between(C{ load(w.re + i), load(w.im + i) }, shift, share);
        for (int l = 0; l < lanes && i + l < job.total; l++)
            if (exists[i + l]) {
                w.precision[i + l] = precision[l];
                w.re[i + l] = shift.re[l];
                w.im[i + l] = shift.im[l];
            }
    }
}

// Cavities of the symbols.
static inline void leave_sites_out(const BurstJob& job, BurstWindow& w, int pass)
{
    const BurstChain& chain = *w.chain;
    for (int i = 0; i < job.total; i++)
        w.var[i] = chain.z[i * chain.wide()].re[w.lane];
    for (int i = 0; i < job.total; i += lanes) {
        C mean{ V{}, V{} };
        for (int l = 0; l < lanes && i + l < job.total; l++) {
            mean.re[l] = chain.h[i + l].re[w.lane];
            mean.im[l] = chain.h[i + l].im[w.lane];
        }
        const Moments cavity = cavity_of(job.limits,
                                         Moments{ mean, load(w.var + i) },
                                         load(w.precision + i),
                                         C{ load(w.re + i), load(w.im + i) });
        store(w.soft + i, cavity.mean.re);
        store(w.side + i, cavity.mean.im);
        store(w.var + i, cavity.var);
    }
    const size_t at = ((size_t)pass * job.windows + w.number) * job.total;
    for (int i = 0; i < job.total; i++) {
        job.soft[2 * (at + i)] = w.soft[i];
        job.soft[2 * (at + i) + 1] = w.side[i];
        job.var[at + i] = w.var[i];
    }
}

static inline void start(BurstBatch& batch)
{
    const BurstJob& job = batch.job;
    for (int k = 0; k < batch.windows; k++) {
        BurstWindow& w = batch.window[k];
        const bool* exists = job.exists + (size_t)w.number * job.total;
        for (size_t i = 0; i < padded((size_t)job.total); i++) {
            w.precision[i] = (int)i < job.total && exists[i] ? 1.0 : 1e6;
            w.re[i] = w.im[i] = w.soft[i] = w.side[i] = w.away[i] = 0.0;
            w.var[i] = 1.0;
        }
    }
    for (int g = 0; g < batch.groups; g++) {
        build(job, batch.group[g], batch.scratch);
        if (!batch.group[g].decides)
            reduce(batch.group[g], batch.scratch, job.symbols, batch.inverse);
    }
}

// Posteriors of the symbols after the last pass.
static inline void give_moments(const BurstJob& job, BurstWindow& w)
{
    const size_t at = (size_t)w.number * job.total;
    find_pauses(job, w, 1.0);
    for (int i = 0; i < job.total; i += lanes) {
        Moments cavity;
        const Moments moments = with_pauses(job, w, i, cavity);
        for (int l = 0; l < lanes && i + l < job.total; l++) {
            job.mean[2 * (at + i + l)] = moments.mean.re[l];
            job.mean[2 * (at + i + l) + 1] = moments.mean.im[l];
            job.spread[at + i + l] = moments.var[l];
            job.away[at + i + l] = w.away[i + l];
        }
    }
}

static inline void give_shifts(const BurstJob& job, const BurstGroup& g)
{
    for (int l = 0; l < g.count; l++) {
        const BurstFamily& f = job.families[g.tiles[l].family];
        for (int c = 0; c < f.carriers; c++) {
            double* out = f.shift + 2 * ((size_t)g.tiles[l].row * f.carriers + c);
            out[0] = g.shift[c].re[l];
            out[1] = g.shift[c].im[l];
        }
    }
}

static inline void pass_once(BurstBatch& batch, int pass)
{
    const BurstJob& job = batch.job;
    const double heat = job.heat[pass];
    tell_chains(batch, heat, pass + 1 == job.passes);
    for (int w = 0; w < batch.windows; w++)
        tell_sites(batch.window[w]);
    for (int k = 0; k < batch.chains; k++)
        solve(batch.chain[k]);
    for (int w = 0; w < batch.windows; w++)
        leave_sites_out(job, batch.window[w], pass);
    for (int g = 0; g < batch.groups; g++)
        if (batch.group[g].decides)
            update_carriers(batch, batch.group[g]);
    for (int w = 0; w < batch.windows; w++)
        update_symbols(job, batch.window[w], heat);
}

} // namespace doubles

static inline size_t burst_bytes(const alpha_rgs::BurstJob& job, int number)
{
    doubles::Pieces pieces{ nullptr };
    doubles::laid_out_batch(job, number, pieces);
    return pieces.taken;
}

// memory: 64-byte aligned.
static inline void burst_passes(const alpha_rgs::BurstJob& job, int number, char* memory)
{
    doubles::Pieces pieces{ memory };
    doubles::BurstBatch batch = doubles::laid_out_batch(job, number, pieces);
    doubles::start(batch);
    for (int pass = 0; pass < job.passes; pass++) {
        if (pass + 1 == job.passes) // as its inverses have them
            for (int g = 0; g < batch.groups; g++)
                doubles::give_shifts(job, batch.group[g]);
        doubles::pass_once(batch, pass);
    }
    for (int w = 0; w < batch.windows; w++)
        doubles::give_moments(job, batch.window[w]);
}

} // namespace LANES_NAMESPACE

#endif
