/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// The symbols of one window, of which each tile couples neighbours: a Gaussian whose
// precision is banded, by LDLᴴ and Takahashi's recursion.

#ifndef INCLUDED_ALPHA_RGS_BURST_CHAIN_H
#define INCLUDED_ALPHA_RGS_BURST_CHAIN_H

#include "doubles.h"

namespace LANES_NAMESPACE {
namespace doubles {

// One window per lane. Rows after the last symbol are zero.
struct BurstChain {
    int total, width; // symbols; neighbours that one is coupled with, on either side
    C* band;          // [total + width][width + 1]: precision of a symbol and those after
                      // it; then of the root, whose diagonal stands in `pivot`
    C* h;             // [total + width]: precision times mean, then mean
    V* pivot;         // [total]: inverses
    C* z; // [total + width][width + 1]: E[a·conj(b)] of a symbol and those after it

    size_t wide() const { return (size_t)width + 1; }
    size_t rows() const { return (size_t)(total + width); }
};

static inline void clear(BurstChain& chain)
{
    for (size_t k = 0; k < chain.rows() * chain.wide(); k++)
        chain.band[k] = zero();
    for (size_t k = 0; k < chain.rows(); k++)
        chain.h[k] = zero();
}

// LDLᴴ in place, and the right side forth.
static inline void factor(BurstChain& chain)
{
    const size_t wide = chain.wide();
    const int w = chain.width;
    for (int i = 0; i < chain.total; i++) {
        C* row = chain.band + i * wide;
        const V inverse = 1.0 / largest(row[0].re, 1e-12);
        chain.pivot[i] = inverse;
        for (int b = 1; b <= w; b++) {
            // what is left of column i + b, from its diagonal on
            const C l = inverse * row[b];
            C* to = row + b * wide - b;
            for (int a = b; a <= w; a++)
                subtract_conjugate(to[a], row[a], l);
            subtract(chain.h[i + b], l, chain.h[i]);
        }
        for (int a = 0; a <= w; a++)
            row[a] = inverse * row[a];
    }
}

// Σ_o conj(root_o)·z of symbols o and j after one, o > 0.
static inline C across(const BurstChain& chain, const C* row, const C* z, int j)
{
    const size_t wide = chain.wide();
    C sum = zero();
    for (int o = 1; o <= j; o++)
        add_conjugate(sum, z[o * wide + j - o], row[o]);
    for (int o = j + 1; o <= chain.width; o++)
        add_conjugate(sum, conjugate(z[j * wide + o - j]), row[o]);
    return sum;
}

// Means, and covariances within the band.
static inline void solve(BurstChain& chain)
{
    const size_t wide = chain.wide();
    const int w = chain.width;
    factor(chain);
    for (size_t k = (size_t)chain.total * wide; k < chain.rows() * wide; k++)
        chain.z[k] = zero();
    for (int i = chain.total - 1; i >= 0; i--) {
        const C* row = chain.band + i * wide;
        C *z = chain.z + i * wide, mean = chain.pivot[i] * chain.h[i];
        for (int o = 1; o <= w; o++)
            subtract_conjugate(mean, chain.h[i + o], row[o]);
        chain.h[i] = mean;
        for (int j = 1; j <= w; j++) {
            const C sum = across(chain, row, z, j);
            z[j] = C{ -sum.re, -sum.im };
        }
        V own = chain.pivot[i];
        for (int o = 1; o <= w; o++)
            own -= row[o].re * z[o].re - row[o].im * z[o].im;
        z[0] = C{ own, V{} };
    }
}

} // namespace doubles
} // namespace LANES_NAMESPACE

#endif
