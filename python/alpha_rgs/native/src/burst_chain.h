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

// Real and imaginary parts stand apart. Rows after the last symbol are zero.
struct BurstChain {
    int total, width;    // symbols; neighbours that one is coupled with, on either side
    double *re, *im;     // [total + width][stride]: precision of a symbol and those after
                         // it; then of the root, whose diagonal stands in `pivot`
    double *h_re, *h_im; // [total + width]: precision times mean, then mean
    double* pivot;       // [total]: inverses
    double *z_re, *z_im; // [total + width][span]: E[a·conj(b)] of a symbol and those from
                         // `width` before it to `width` after it

    size_t stride() const { return padded((size_t)width + 1) + lanes; }
    size_t span() const { return 2 * stride() + lanes; }
    size_t rows() const { return (size_t)(total + width); }
    size_t size() const { return rows() * 2 * (stride() + span() + 1) + total; }
};

static inline void place(BurstChain& chain, double* memory)
{
    const size_t band = chain.rows() * chain.stride(), z = chain.rows() * chain.span();
    chain.re = memory;
    chain.im = chain.re + band;
    chain.z_re = chain.im + band;
    chain.z_im = chain.z_re + z;
    chain.h_re = chain.z_im + z;
    chain.h_im = chain.h_re + chain.rows();
    chain.pivot = chain.h_im + chain.rows();
    for (size_t k = 0; k < chain.size(); k++)
        memory[k] = 0.0;
}

static inline void clear(BurstChain& chain)
{
    const size_t band = chain.rows() * chain.stride();
    for (size_t k = 0; k < 2 * band; k++)
        chain.re[k] = 0.0;
    for (size_t k = 0; k < 2 * chain.rows(); k++)
        chain.h_re[k] = 0.0;
}

// LDLᴴ in place, and the right side forth.
static inline void factor(BurstChain& chain)
{
    const size_t stride = chain.stride();
    const int w = chain.width;
    for (int i = 0; i < chain.total; i++) {
        double *re = chain.re + i * stride, *im = chain.im + i * stride;
        const double inverse = 1.0 / (re[0] > 1e-12 ? re[0] : 1e-12);
        chain.pivot[i] = inverse;
        for (int b = 1; b <= w; b++) {
            // what is left of column i + b, from its diagonal on
            const double l_re = re[b] * inverse, l_im = im[b] * inverse;
            double *to_re = re + b * stride, *to_im = im + b * stride;
            for (int a = b; a <= w; a += lanes) {
                const V x = load(re + a), y = load(im + a);
                store(to_re + a - b, load(to_re + a - b) - (x * l_re + y * l_im));
                store(to_im + a - b, load(to_im + a - b) - (y * l_re - x * l_im));
            }
            chain.h_re[i + b] -= l_re * chain.h_re[i] - l_im * chain.h_im[i];
            chain.h_im[i + b] -= l_re * chain.h_im[i] + l_im * chain.h_re[i];
        }
        for (int a = 0; a <= w; a += lanes) {
            store(re + a, load(re + a) * inverse);
            store(im + a, load(im + a) * inverse);
        }
    }
}

// Means, and covariances within the band.
static inline void solve(BurstChain& chain)
{
    const size_t stride = chain.stride(), span = chain.span();
    const int w = chain.width;
    factor(chain);
    for (int i = chain.total - 1; i >= 0; i--) {
        const double *re = chain.re + i * stride, *im = chain.im + i * stride;
        double *z_re = chain.z_re + i * span + w, *z_im = chain.z_im + i * span + w;
        double x = chain.h_re[i] * chain.pivot[i], y = chain.h_im[i] * chain.pivot[i];
        for (int o = 1; o <= w; o++) { // conj(l)·mean
            x -= re[o] * chain.h_re[i + o] + im[o] * chain.h_im[i + o];
            y -= re[o] * chain.h_im[i + o] - im[o] * chain.h_re[i + o];
        }
        chain.h_re[i] = x;
        chain.h_im[i] = y;
        for (int j = 1; j <= w; j += lanes) {
            V sum_re{}, sum_im{};
            for (int o = 1; o <= w; o++) {
                const V a = load(z_re + o * span - o + j),
                        b = load(z_im + o * span - o + j);
                sum_re -= re[o] * a + im[o] * b;
                sum_im -= re[o] * b - im[o] * a;
            }
            for (int l = 0; l < lanes && j + l <= w; l++) {
                z_re[j + l] = sum_re[l];
                z_im[j + l] = sum_im[l];
                z_re[(j + l) * span - (j + l)] = sum_re[l];
                z_im[(j + l) * span - (j + l)] = -sum_im[l];
            }
        }
        double own = chain.pivot[i];
        for (int o = 1; o <= w; o++)
            own -= re[o] * z_re[o] - im[o] * z_im[o];
        z_re[0] = own;
        z_im[0] = 0.0;
    }
}

} // namespace doubles
} // namespace LANES_NAMESPACE

#endif
