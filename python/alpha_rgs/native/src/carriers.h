/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// The carriers of a frame under expectation propagation: their elimination, given their
// sites.

#ifndef INCLUDED_ALPHA_RGS_CARRIERS_H
#define INCLUDED_ALPHA_RGS_CARRIERS_H

#include "workspace.h"

namespace LANES_NAMESPACE {

// Products over the noise of carriers and symbols in a whole frame, the same in all
// lanes.
struct WholeFrame {
    const Model& m;
    const FrameClass& c;
    int carriers;
    C gram(int i, int j) const { return all(m.gram + 2 * (i * m.near + j)); }
    C cross(int i, int k) const { return all(c.cross + 2 * (i * m.symbols + k)); }
    C own(int k, int l) const { return all(c.own + 2 * (k * m.symbols + l)); }
};

// In a frame that is cut.
struct CutFrame {
    const Model& m;
    const C *comb, *products, *symbols;
    int carriers;
    C gram(int i, int j) const
    {
        const int apart = m.bin[i] - m.bin[j];
        const C sum = comb[apart < 0 ? apart + m.transform : apart];
        return conjugate(all(m.wave + 2 * i)) * (all(m.wave + 2 * j) * sum);
    }
    C cross(int i, int k) const { return products[i * m.symbols + k]; }
    C own(int k, int l) const { return symbols[k * m.symbols + l]; }
};

static inline WholeFrame whole_frame(const Work& w, int f)
{
    return WholeFrame{ *w.model, w.frame_class(f), w.model->near };
}

static inline CutFrame cut_frame(const Work& w, int f)
{
    const size_t row = w.row[f], K = w.model->symbols, n = w.carriers_of(f);
    return CutFrame{ *w.model,
                     w.comb + row * w.model->transform,
                     w.cross + row * n * K,
                     w.own + row * K * K,
                     (int)n };
}

// The carriers of a frame, given their sites: Cholesky factor L, V = L⁻¹·(cross), t =
// L⁻¹·(stat).
struct Eliminated {
    C *low, *half, *told; // [D][D], [D][K], [D]
    V* root;              // [D] inverse of L's diagonal
};

template <class Frame>
static void factor_carriers(const Frame& frame, const Site* site, Eliminated& e)
{
    const int D = frame.carriers;
    for (int j = 0; j < D; j++) {
        V d = frame.gram(j, j).re + site[j].precision;
        for (int k = 0; k < j; k++)
            d -= power(e.low[j * D + k]);
        e.root[j] = inverse_root(largest(d, 1e-12f));
        by_blocks(j + 1, D, [&](auto block, int i) {
            constexpr int n = decltype(block)::n;
            C sum[n];
            for (int b = 0; b < n; b++)
                sum[b] = frame.gram(i + b, j);
            for (int k = 0; k < j; k++) {
                C other = conjugate(e.low[j * D + k]);
                for (int b = 0; b < n; b++)
                    subtract(sum[b], e.low[(i + b) * D + k], other);
            }
            for (int b = 0; b < n; b++)
                e.low[(i + b) * D + j] = e.root[j] * sum[b];
        });
    }
}

template <class Frame>
static void
reduce_symbols(const Frame& frame, const C* stat, const Site* site, Eliminated& e)
{
    const int D = frame.carriers, K = frame.m.symbols;
    for (int i = 0; i < D; i++) {
        const C* low = e.low + i * D;
        C sum = stat[i] + site[i].shift;
        for (int j = 0; j < i; j++)
            subtract(sum, low[j], e.told[j]);
        e.told[i] = e.root[i] * sum;
        by_blocks(0, K, [&](auto block, int k) {
            constexpr int n = decltype(block)::n;
            C sum[n];
            for (int b = 0; b < n; b++)
                sum[b] = frame.cross(i, k + b);
            for (int j = 0; j < i; j++)
                for (int b = 0; b < n; b++)
                    subtract(sum[b], low[j], e.half[j * K + k + b]);
            for (int b = 0; b < n; b++)
                e.half[i * K + k + b] = e.root[i] * sum[b];
        });
    }
}

// What the way back needs: gain = L⁻ᴴ·V, the carriers did all symbols vanish, and their
// variances.
static void solve_carriers(Work& w, int f, const Eliminated& e, bool variances, C* column)
{
    const int D = w.carriers_of(f), K = w.model->symbols;
    C *gain = w.gain + w.base[f] * K, *open = w.open + w.base[f];
    for (int i = D - 1; i >= 0; i--) {
        C sum = e.told[i];
        for (int j = i + 1; j < D; j++)
            subtract_conjugate(sum, e.low[j * D + i], open[j]);
        open[i] = e.root[i] * sum;
        by_blocks(0, K, [&](auto block, int k) {
            constexpr int n = decltype(block)::n;
            C sum[n];
            for (int b = 0; b < n; b++)
                sum[b] = e.half[i * K + k + b];
            for (int j = i + 1; j < D; j++)
                for (int b = 0; b < n; b++)
                    subtract_conjugate(sum[b], e.low[j * D + i], gain[j * K + k + b]);
            for (int b = 0; b < n; b++)
                gain[i * K + k + b] = e.root[i] * sum[b];
        });
    }
    for (int j = 0; variances && j < D; j++) { // columns of L⁻¹
        V d = e.root[j] * e.root[j];
        column[j] = C{ e.root[j], V{} };
        for (int i = j + 1; i < D; i++) {
            C sum = zero();
            for (int k = j; k < i; k++)
                subtract(sum, e.low[i * D + k], column[k]);
            column[i] = e.root[i] * sum;
            d += power(column[i]);
        }
        w.open_var[w.base[f] + j] = d;
    }
}

} // namespace LANES_NAMESPACE

#endif
