/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Fourier transforms, one in each lane: Stockham's, of any size whose radices are given.

#ifndef INCLUDED_ALPHA_RGS_TRANSFORM_H
#define INCLUDED_ALPHA_RGS_TRANSFORM_H

#include "model.h"
#include "simd.h"

namespace LANES_NAMESPACE {

using alpha_rgs::Model;

template <bool Inverse>
static inline C twiddled(const float* pair, C x)
{
    return all(pair[0], Inverse ? -pair[1] : pair[1]) * x;
}

// One butterfly of radix 4: from[j·apart] to to[j·stride]; w: three twiddles, or null.
template <bool Inverse>
static inline void butterfly4(const C* from, int apart, C* to, int stride, const float* w)
{
    C a = from[0] + from[2 * apart], b = from[0] - from[2 * apart];
    C c = from[apart] + from[3 * apart], d = from[apart] - from[3 * apart];
    C turned = Inverse ? C{ -d.im, d.re } : C{ d.im, -d.re };
    C out[4] = { a + c, b + turned, a - c, b - turned };
    to[0] = out[0];
    for (int j = 1; j < 4; j++)
        to[j * stride] = w ? twiddled<Inverse>(w + 2 * (j - 1), out[j]) : out[j];
}

// Of any radix r: root holds e^(-2πi k/r) of k = 0 ... r-1.
template <bool Inverse>
static inline void butterfly(
    int r, const float* root, const C* from, int apart, C* to, int stride, const float* w)
{
    for (int j = 0; j < r; j++) {
        C sum = from[0];
        for (int i = 1; i < r; i++)
            sum = sum + twiddled<Inverse>(root + 2 * (i * j % r), from[i * apart]);
        to[j * stride] = w && j ? twiddled<Inverse>(w + 2 * (j - 1), sum) : sum;
    }
}

// The transform of x, without a factor, in x or in `other`; returns where. Both
// [model.transform].
template <bool Inverse>
static C* transform(const Model& model, C* x, C* other)
{
    int n = model.transform, stride = 1;
    const float* table = model.twiddles;
    for (int stage = 0; stage < model.stages; stage++) {
        const int r = model.radix[stage], m = n / r;
        const float* root = table;
        table += 2 * r;
        for (int p = 0; p < m; p++) {
            const float* w = p ? table + 2 * (r - 1) * p : nullptr;
            for (int q = 0; q < stride; q++) {
                const C* from = x + q + stride * p;
                C* to = other + q + stride * r * p;
                if (r == 4)
                    butterfly4<Inverse>(from, stride * m, to, stride, w);
                else
                    butterfly<Inverse>(r, root, from, stride * m, to, stride, w);
            }
        }
        table += 2 * (r - 1) * m;
        C* swapped = x;
        x = other;
        other = swapped;
        n = m;
        stride *= r;
    }
    return x;
}

} // namespace LANES_NAMESPACE

#endif
