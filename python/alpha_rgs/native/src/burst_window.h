/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// All passes of expectation propagation on one window.

#ifndef INCLUDED_ALPHA_RGS_BURST_WINDOW_H
#define INCLUDED_ALPHA_RGS_BURST_WINDOW_H

#include "burst_chain.h"
#include "burst_sites.h"
#include "burst_tridiagonal.h"

namespace LANES_NAMESPACE {
namespace doubles {

// Pieces of one block of memory; without one, how much they take.
struct Pieces {
    char* at;
    size_t taken = 0;

    template <class T>
    T* take(size_t n)
    {
        T* out = at ? (T*)(at + taken) : nullptr;
        taken += (n * sizeof(T) + 63) / 64 * 64;
        return out;
    }
};

struct BurstWindow {
    const BurstJob& job;
    int number, groups;
    BurstGroup* group;
    BurstScratch scratch;
    BurstChain chain;
    C* inverse;          // [carriers][carriers]
    double* precision;   // of the symbols' sites, [symbols]
    double *re, *im;     // their shifts, likewise
    double *soft, *side; // cavities' means, real and imaginary
    double *var, *away, *memory;
};

// How many of the tiles [first, last) make one group: side by side with one of many
// carriers, those of few would cost as much.
static inline int together(const BurstJob& job, const BurstTile* first, int left)
{
    const int most = job.families[first->family].carriers;
    int count = 1;
    while (count < lanes && count < left &&
           job.families[first[count].family].carriers * 2 >= most)
        count++;
    return count;
}

static inline BurstWindow laid_out(const BurstJob& job, int window, Pieces& pieces)
{
    const BurstTile *tile = job.tiles + job.begin[window],
                    *last = job.tiles + job.begin[window + 1];
    BurstWindow w{ job, window, 0 };
    w.group = pieces.take<BurstGroup>((size_t)(last - tile));
    size_t most = 0;
    const size_t wide = (size_t)job.symbols + 1;
    for (; tile < last; w.groups++) {
        BurstGroup own{};
        own.tiles = tile;
        own.count = together(job, tile, (int)(last - tile));
        own.carriers = job.families[tile->family].carriers;
        const size_t d = (size_t)own.carriers;
        most = d > most ? d : most;
        own.gram = pieces.take<C>(triangle(d + wide));
        own.precision = pieces.take<V>(d);
        own.shift = pieces.take<C>(d);
        own.alphabet = pieces.take<I>(d);
        own.present = pieces.take<uint32_t>(d);
        own.gain = pieces.take<C>(d * wide);
        own.own = pieces.take<V>(d);
        own.side = pieces.take<C>(d);
        if (w.group)
            w.group[w.groups] = own;
        tile += own.count;
    }
    const size_t length = (size_t)job.length > most ? (size_t)job.length : most;
    w.scratch.root = pieces.take<C>((most + wide) * length);
    w.scratch.pivot = pieces.take<V>(most);
    w.scratch.column = pieces.take<C>(4 * most);
    w.scratch.reduced = pieces.take<C>(triangle(wide));
    w.inverse = pieces.take<C>(most * most);
    w.chain.total = job.total;
    w.chain.width = job.symbols - 1;
    double* band = pieces.take<double>(w.chain.size());
    if (band)
        place(w.chain, band);
    const size_t n = padded((size_t)job.total);
    double** parts[] = { &w.precision, &w.re, &w.im, &w.soft, &w.side, &w.var };
    for (double** part : parts)
        *part = pieces.take<double>(n);
    w.away = pieces.take<double>(n);
    w.memory = pieces.take<double>(n);
    return w;
}

// What the tiles say of the symbols, into the chain.
static inline void tell_chain(BurstWindow& w, double heat, bool last)
{
    const int K = w.job.symbols;
    const size_t stride = w.chain.stride();
    clear(w.chain);
    for (int g = 0; g < w.groups; g++) {
        const BurstGroup& group = w.group[g];
        const bool invert =
            last && w.job.families[group.tiles[0].family].inverse != nullptr;
        if (group.decides || invert)
            eliminate(group, w.scratch, K, heat);
        else
            eliminate_reduced(group, w.scratch, K, heat);
        if (invert)
            give_inverse(w.job, group, w.scratch, w.inverse);
        const C* information = w.scratch.reduced + triangle((size_t)K);
        for (int l = 0; l < group.count; l++) {
            const int first = group.tiles[l].first;
            for (int k = 0; k < K; k++) {
                double *re = w.chain.re + (first + k) * stride,
                       *im = w.chain.im + (first + k) * stride;
                for (int o = 0; k + o < K; o++) {
                    const C& x = w.scratch.reduced[triangle((size_t)(k + o)) + k];
                    re[o] += x.re[l];
                    im[o] += x.im[l];
                }
                w.chain.h_re[first + k] += information[k].re[l];
                w.chain.h_im[first + k] -= information[k].im[l];
            }
        }
    }
    for (int i = 0; i < w.job.total; i++) {
        w.chain.re[i * stride] += w.precision[i];
        w.chain.h_re[i] += w.re[i];
        w.chain.h_im[i] += w.im[i];
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

// New sites of the carriers of a group.
static inline void update_carriers(BurstWindow& w, const BurstGroup& g)
{
    const BurstJob& job = w.job;
    const int K = job.symbols;
    const size_t span = w.chain.span();
    C* cov = w.scratch.reduced; // free after an elimination
    C* mean = w.scratch.root;   // likewise
    for (int k = 0; k < K; k++) {
        mean[k] = zero();
        for (int j = 0; j <= k; j++)
            cov[triangle((size_t)k) + j] = zero();
        for (int l = 0; l < g.count; l++) {
            const size_t at = (size_t)(g.tiles[l].first + k);
            mean[k].re[l] = w.chain.h_re[at];
            mean[k].im[l] = w.chain.h_im[at];
            const double *z_re = w.chain.z_re + at * span + w.chain.width - k,
                         *z_im = w.chain.z_im + at * span + w.chain.width - k;
            for (int j = 0; j <= k; j++) {
                cov[triangle((size_t)k) + j].re[l] = z_re[j];
                cov[triangle((size_t)k) + j].im[l] = z_im[j];
            }
        }
    }
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
static inline void find_pauses(BurstWindow& w, double heat)
{
    const BurstJob& job = w.job;
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

static inline Moments with_pauses(const BurstWindow& w, int i, Moments& cavity)
{
    cavity = Moments{ C{ load(w.soft + i), load(w.side + i) }, load(w.var + i) };
    return moments_with_pauses(w.job.symbol, w.job.pauses, cavity, load(w.away + i));
}

static inline void update_symbols(BurstWindow& w, double heat)
{
    const BurstJob& job = w.job;
    const bool* exists = job.exists + (size_t)w.number * job.total;
    find_pauses(w, heat);
    for (int i = 0; i < job.total; i += lanes) {
        Moments cavity;
        const Moments moments = with_pauses(w, i, cavity);
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
static inline void leave_sites_out(BurstWindow& w, int pass)
{
    const BurstJob& job = w.job;
    const size_t span = w.chain.span();
    for (int i = 0; i < job.total; i++)
        w.var[i] = w.chain.z_re[i * span + w.chain.width];
    for (int i = 0; i < job.total; i += lanes) {
        C mean{ V{}, V{} };
        for (int l = 0; l < lanes && i + l < job.total; l++) {
            mean.re[l] = w.chain.h_re[i + l];
            mean.im[l] = w.chain.h_im[i + l];
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

static inline void start(BurstWindow& w)
{
    const bool* exists = w.job.exists + (size_t)w.number * w.job.total;
    for (size_t i = 0; i < padded((size_t)w.job.total); i++) {
        w.precision[i] = (int)i < w.job.total && exists[i] ? 1.0 : 1e6;
        w.re[i] = w.im[i] = w.soft[i] = w.side[i] = w.away[i] = 0.0;
        w.var[i] = 1.0;
    }
    for (int g = 0; g < w.groups; g++) {
        build(w.job, w.group[g], w.scratch);
        if (!w.group[g].decides)
            reduce(w.group[g], w.scratch, w.job.symbols, w.inverse);
    }
}

// Posteriors, and the carriers' sites, of the last pass.
static inline void finish(BurstWindow& w)
{
    const BurstJob& job = w.job;
    const size_t at = (size_t)w.number * job.total;
    find_pauses(w, 1.0);
    for (int i = 0; i < job.total; i += lanes) {
        Moments cavity;
        const Moments moments = with_pauses(w, i, cavity);
        for (int l = 0; l < lanes && i + l < job.total; l++) {
            job.mean[2 * (at + i + l)] = moments.mean.re[l];
            job.mean[2 * (at + i + l) + 1] = moments.mean.im[l];
            job.spread[at + i + l] = moments.var[l];
            job.away[at + i + l] = w.away[i + l];
        }
    }
    for (int g = 0; g < w.groups; g++)
        for (int l = 0; l < w.group[g].count; l++) {
            const BurstTile& tile = w.group[g].tiles[l];
            const BurstFamily& f = job.families[tile.family];
            for (int c = 0; c < f.carriers; c++) {
                double* out = f.shift + 2 * ((size_t)tile.row * f.carriers + c);
                out[0] = w.group[g].shift[c].re[l];
                out[1] = w.group[g].shift[c].im[l];
            }
        }
}

} // namespace doubles

static inline size_t burst_bytes(const alpha_rgs::BurstJob& job, int window)
{
    doubles::Pieces pieces{ nullptr };
    doubles::laid_out(job, window, pieces);
    return pieces.taken;
}

// memory: 64-byte aligned.
static inline void burst_passes(const alpha_rgs::BurstJob& job, int window, char* memory)
{
    doubles::Pieces pieces{ memory };
    doubles::BurstWindow w = doubles::laid_out(job, window, pieces);
    doubles::start(w);
    for (int pass = 0; pass < job.passes; pass++) {
        const double heat = job.heat[pass];
        doubles::tell_chain(w, heat, pass + 1 == job.passes);
        doubles::solve(w.chain);
        doubles::leave_sites_out(w, pass);
        for (int g = 0; g < w.groups; g++)
            if (w.group[g].decides)
                doubles::update_carriers(w, w.group[g]);
        doubles::update_symbols(w, heat);
    }
    doubles::finish(w);
}

} // namespace LANES_NAMESPACE

#endif
