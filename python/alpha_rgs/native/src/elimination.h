/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// A pass of expectation propagation: carriers are eliminated frame by frame, then the
// chain of symbols forwards and backwards; every unknown's cavity gives its next site.

#ifndef INCLUDED_ALPHA_RGS_ELIMINATION_H
#define INCLUDED_ALPHA_RGS_ELIMINATION_H

#include "alphabet.h"
#include "carriers.h"

namespace LANES_NAMESPACE {

// As inference/sites.py has them; a pass in single precision bears less certainty.
constexpr float least_var = 1e-4f, least_site = 1e-3f, least_cavity = 1e-4f;
constexpr float least_posterior = 1e-9f;
constexpr float surely_zero = 1e6f; // precision of symbols that there are not

// What the frame's K symbols are told, apart from their sites: precision M and
// information r, to which the frame's are added.
struct Chain {
    C *matrix, *right; // [K][K] lower triangle, [K]
};

// Add what frame f says of its symbols, and the sites of those that it is the first to
// reach.
template <class Frame>
static void
add_frame(Work& w, int f, const Frame& frame, const Eliminated& e, Chain& chain)
{
    const int D = frame.carriers, K = frame.m.symbols;
    const C* stat = w.stat + (size_t)f * K;
    for (int k = 0; k < K; k++) {
        C sum = chain.right[k] + stat[k];
        for (int i = 0; i < D; i++)
            subtract_conjugate(sum, e.half[i * K + k], e.told[i]);
        chain.right[k] = sum;
        by_blocks(0, k + 1, [&](auto block, int l) {
            constexpr int n = decltype(block)::n;
            C sum[n];
            for (int b = 0; b < n; b++)
                sum[b] = chain.matrix[k * K + l + b] + frame.own(k, l + b);
            for (int i = 0; i < D; i++)
                for (int b = 0; b < n; b++)
                    subtract_conjugate(sum[b], e.half[i * K + k], e.half[i * K + l + b]);
            for (int b = 0; b < n; b++)
                chain.matrix[k * K + l + b] = sum[b];
        });
    }
    for (int k = f ? K - w.leaving(f - 1) : 0; k < K; k++) {
        const Site& site = w.sites[w.firsts[f] + k];
        chain.right[k] = chain.right[k] + site.shift;
        chain.matrix[k * K + k].re += site.precision;
    }
}

// Eliminate the symbols that no later frame reaches: L·D·Lᴴ, columns of L in `factor`.
static void eliminate_symbols(Work& w, int f, Chain& chain, C* unscaled)
{
    const int K = w.model->symbols, leaving = w.leaving(f);
    C *factor = w.factor + (size_t)f * K * K, *right = w.right + (size_t)f * K;
    V* pivot = w.pivot + (size_t)f * K;
    for (int j = 0; j < leaving; j++) {
        for (int i = j; i < K; i++) {
            C sum = chain.matrix[i * K + j];
            for (int t = 0; t < j; t++)
                subtract(sum, factor[t * K + i], conjugate(unscaled[t * K + j]));
            unscaled[j * K + i] = sum;
        }
        right[j] = chain.right[j];
        for (int t = 0; t < j; t++)
            subtract(right[j], factor[t * K + j], right[t]);
        pivot[j] = inverse(largest(unscaled[j * K + j].re, 1e-12f));
        for (int i = j + 1; i < K; i++)
            factor[j * K + i] = pivot[j] * unscaled[j * K + i];
    }
    for (int i = leaving; i < K; i++) { // what is left moves to the front
        const int to = i - leaving;
        C sum = chain.right[i];
        for (int t = 0; t < leaving; t++)
            subtract(sum, factor[t * K + i], right[t]);
        chain.right[to] = sum;
        by_blocks(leaving, i + 1, [&](auto block, int k) {
            constexpr int n = decltype(block)::n;
            C sum[n];
            for (int b = 0; b < n; b++)
                sum[b] = chain.matrix[i * K + k + b];
            for (int t = 0; t < leaving; t++)
                for (int b = 0; b < n; b++)
                    subtract_conjugate(
                        sum[b], unscaled[t * K + k + b], factor[t * K + i]);
            for (int b = 0; b < n; b++)
                chain.matrix[to * K + k - leaving + b] = sum[b];
        });
    }
    for (int i = K - leaving; i < K; i++) {
        chain.right[i] = zero();
        for (int k = 0; k <= i; k++)
            chain.matrix[i * K + k] = zero();
    }
}

// Eliminate the carriers of frame f; what is left goes into the chain.
template <class Frame>
static void eliminate_carriers(Work& w,
                               int f,
                               const Frame& frame,
                               Eliminated& e,
                               Chain& chain,
                               bool variances,
                               C* column)
{
    const Site* site = w.carriers + w.base[f];
    factor_carriers(frame, site, e);
    reduce_symbols(frame, w.stat_open + w.base[f], site, e);
    solve_carriers(w, f, e, variances, column);
    add_frame(w, f, frame, e, chain);
}

static void forward(Work& w, bool variances)
{
    const int K = w.model->symbols,
              D = w.model->near + (w.cut_frames ? w.model->clean : 0);
    C* at = w.scratch;
    Eliminated e{ at, at + D * D, at + D * D + D * K, nullptr };
    at += D * D + D * K + D;
    e.root = (V*)at;
    at += D;
    C* column = at;
    at += D;
    Chain chain{ at, at + K * K };
    C* unscaled = at + K * K + K;
    for (int i = 0; i < K * K + K; i++)
        at[i] = zero();
    for (int f = 0; f < w.frames; f++) {
        if (w.cut(f))
            eliminate_carriers(w, f, cut_frame(w, f), e, chain, variances, column);
        else
            eliminate_carriers(w, f, whole_frame(w, f), e, chain, variances, column);
        eliminate_symbols(w, f, chain, unscaled);
    }
}

// The cavity of an unknown whose posterior is given, and, with a damping, its next site.
static inline void update(Site& site,
                          const Alphabet& alphabet,
                          C turn,
                          C mean,
                          V var,
                          float damping,
                          C& cavity,
                          V& spread)
{
    const V total = inverse(largest(var, least_posterior));
    const V precision = largest(total - site.precision, least_cavity);
    spread = inverse(precision);
    const C own = spread * (total * mean - site.shift);
    cavity = conjugate(turn) * own;
    if (damping == 0)
        return;
    V decided;
    const C point = turn * moments(alphabet, cavity, precision, decided);
    const V next = largest(inverse(largest(decided, least_var)) - precision, least_site);
    const C shift = (next + precision) * point - precision * own;
    site.precision += damping * (next - site.precision);
    site.shift = site.shift + all(damping) * (shift - site.shift);
}

// Posterior means and covariances S of the symbols that leave in frame f, from those of
// the rest.
static void symbols_back(const Work& w, int f, C* S, C* mean)
{
    const int K = w.model->symbols, leaving = w.leaving(f);
    const C *factor = w.factor + (size_t)f * K * K, *right = w.right + (size_t)f * K;
    const V* pivot = w.pivot + (size_t)f * K;
    if (f + 1 < w.frames)
        for (int i = K - 1; i >= leaving; i--) {
            mean[i] = mean[i - leaving];
            for (int k = K - 1; k >= leaving; k--)
                S[i * K + k] = S[(i - leaving) * K + k - leaving];
        }
    for (int j = leaving - 1; j >= 0; j--) {
        const C* low = factor + j * K;
        C sum = pivot[j] * right[j];
        for (int i = j + 1; i < K; i++)
            subtract_conjugate(sum, low[i], mean[i]);
        mean[j] = sum;
        V d = pivot[j];
        by_blocks(j + 1, K, [&](auto block, int i) {
            constexpr int n = decltype(block)::n;
            C sum[n];
            for (int b = 0; b < n; b++)
                sum[b] = zero();
            for (int k = j + 1; k < K; k++)
                for (int b = 0; b < n; b++)
                    subtract(sum[b], S[(i + b) * K + k], low[k]);
            for (int b = 0; b < n; b++) {
                S[(i + b) * K + j] = sum[b];
                S[j * K + i + b] = conjugate(sum[b]);
                d -= real_product(low[i + b], sum[b]);
            }
        });
        S[j * K + j] = C{ d, V{} };
    }
}

// The near carriers of frame f, given its symbols; after the last pass (damping 0) their
// means.
static void carriers_back(Work& w, int f, const C* S, const C* mean, float damping)
{
    const int D = w.carriers_of(f), K = w.model->symbols;
    const C one = all(1.0f, 0.0f);
    for (int i = 0; i < D; i++) {
        const size_t at = w.base[f] + i;
        const C* gain = w.gain + at * K;
        C sum = w.open[at];
        for (int k = 0; k < K; k++)
            subtract(sum, gain[k], mean[k]);
        w.carrier[at] = sum;
        if (damping == 0)
            continue;
        V var = w.open_var[at];
        by_blocks(0, K, [&](auto block, int k) { // gain·S·gainᴴ by its lower triangle
            constexpr int n = decltype(block)::n;
            C part[n];
            for (int b = 0; b < n; b++)
                part[b] = zero();
            for (int l = 0; l < k; l++)
                for (int b = 0; b < n; b++)
                    add(part[b], gain[l], S[l * K + k + b]);
            for (int b = 0; b < n; b++) {
                for (int l = k; l < k + b; l++)
                    add(part[b], gain[l], S[l * K + k + b]);
                var += 2.0f * real_product(gain[k + b], part[b]) +
                       S[(k + b) * K + k + b].re * power(gain[k + b]);
            }
        });
        C cavity;
        V spread;
        update(w.carriers[at], w.model->carrier, one, sum, var, damping, cavity, spread);
    }
}

// One pass; damping: weight of the new sites, 0 where no pass follows.
static void pass(Work& w, float damping)
{
    const int K = w.model->symbols;
    forward(w, damping > 0);
    C *S = w.scratch, *mean = S + K * K;
    for (int f = w.frames - 1; f >= 0; f--) {
        symbols_back(w, f, S, mean);
        carriers_back(w, f, S, mean, w.cut(f) ? damping * w.model->cut_damping : damping);
        const int leaving = w.leaving(f);
        for (int j = 0; j < leaving; j++) {
            const int n = w.firsts[f] + j;
            Site& site = w.sites[n];
            update(site,
                   w.model->symbol,
                   w.turn[n],
                   mean[j],
                   S[j * K + j].re,
                   damping,
                   w.soft[n],
                   w.spread[n]);
            site.precision = largest(site.precision, (1.0f - w.exists[n]) * surely_zero);
            site.shift = w.exists[n] * site.shift;
        }
    }
}

static void infer(Work& w)
{
    const Model& m = *w.model;
    const size_t carriers = w.base[w.frames - 1] + w.carriers_of(w.frames - 1);
    for (size_t i = 0; i < carriers; i++)
        w.carriers[i] = Site{ all(1.0f), zero() };
    C turn, step;
    for (int l = 0; l < lanes; l++) {
        step.re[l] = __builtin_cos(stretch_of(w, l).symbol_step);
        step.im[l] = __builtin_sin(stretch_of(w, l).symbol_step);
    }
    for (int n = 0; n < w.symbols; n++) {
        for (int l = 0; l < lanes; l++)
            w.exists[n][l] =
                n >= stretch_of(w, l).exist_low && n < stretch_of(w, l).exist_high;
        w.sites[n] = Site{ 1.0f + (1.0f - w.exists[n]) * surely_zero, zero() };
        if (n % 64 == 0) // anew, lest rounding adds up
            for (int l = 0; l < lanes; l++) {
                const double angle =
                    stretch_of(w, l).symbol_angle + stretch_of(w, l).symbol_step * n;
                turn.re[l] = __builtin_cos(angle);
                turn.im[l] = __builtin_sin(angle);
            }
        w.turn[n] = turn;
        turn = turn * step;
    }
    const int passes = w.cut_frames ? m.cut_passes : m.passes;
    for (int p = 0; p < passes; p++)
        pass(w, p + 1 < passes ? m.damping : 0.0f);
}

} // namespace LANES_NAMESPACE

#endif
