/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// The posterior of a linear mixture under the sites of all unknowns: segment by segment
// its local slots are eliminated, and the chain's slots of the segment before; then means
// and covariances of the chain go back through the segments (Takahashi's recursion).

#ifndef INCLUDED_ALPHA_RGS_MIXTURE_PASS_H
#define INCLUDED_ALPHA_RGS_MIXTURE_PASS_H

#include "mixture_front.h"

namespace LANES_NAMESPACE {

using alpha_rgs::MixtureGroup;
using alpha_rgs::MixtureShape;
using alpha_rgs::MixtureSites;

struct MixtureWork {
    const MixtureShape& shape;
    const MixtureGroup& group;
    V *precision, *shift, *mean, *var; // [slots]: local ones, then those of the chain
    V* low;                            // [segments + 1][n + 1][p]
    V* pivot;                          // [segments + 1][p]
    V* rest;                           // [c + 1][c]: what is carried to the next segment
    V* joint; // [2c][2c]: covariances, lower triangle, what is beside the diagonal twice
    V *solved, *part; // [d][d + 2c] and [c][2c]; [c][c]
    V *cov, *point;   // [c][c] of the segment's own slots; [2c] means
    int *from, *last; // [n + 1], [p]

    const V* gram(int s) const { return (const V*)group.gram + s * shape.triangle(); }
    V* slots(V* of, int s, bool chain) const
    {
        const int S = shape.segments, d = shape.local, c = shape.chain;
        return of + (chain ? S * d + s * c : s * d);
    }
};

static Front front_of(const MixtureWork& w, int s)
{
    const int n = w.shape.front(), p = w.shape.eliminated();
    return Front{
        w.low + (size_t)s * (n + 1) * p, p, n + 1, w.pivot + (size_t)s * p, w.from
    };
}

// Where the rows of segment s begin to differ from zero, and where its columns end.
static void outline(const MixtureWork& w, int s)
{
    const int n = w.shape.front(), p = w.shape.eliminated(), d = w.shape.local;
    for (int i = 0; i < n; i++)
        w.from[i] = w.group.from[s * n + i];
    w.from[n] = 0;
    for (int k = 0; k < p; k++)
        w.last[k] = k < d ? k + 1 : p;
    for (int i = 0; i < d; i++)
        for (int k = i; k >= w.from[i]; k--)
            w.last[k] = i + 1;
}

// The front of segment s: its Gram matrix over the noise, sites, and what is carried.
static void assemble(const MixtureWork& w, int s, V weight)
{
    const MixtureShape& shape = w.shape;
    const int d = shape.local, c = shape.chain, n = shape.front(), p = shape.eliminated();
    const Front f = front_of(w, s);
    const V* gram = w.gram(s);
    for (int i = 0; i < n; i++, gram += i)
        for (int j = 0; j <= i && j < p; j++)
            f.low[(size_t)i * p + j] = weight * gram[j];
    V* right = f.low + (size_t)n * p;
    const V *stat = w.slots((V*)w.group.stat, s, false),
            *site = w.slots(w.precision, s, false), *shift = w.slots(w.shift, s, false);
    for (int i = 0; i < d; i++) {
        f.low[(size_t)i * p + i] += site[i];
        right[i] = weight * stat[i] + shift[i];
    }
    for (int i = 0; i < c; i++) {
        for (int j = 0; j <= i; j++)
            f.low[(size_t)(d + i) * p + d + j] += w.rest[i * c + j];
        right[d + i] = w.rest[c * c + i];
    }
    gram = w.gram(s) + (size_t)p * (p + 1) / 2;
    stat = w.slots((V*)w.group.stat, s, true);
    site = w.slots(w.precision, s, true);
    shift = w.slots(w.shift, s, true);
    for (int i = 0; i < c; i++) {
        for (int j = 0; j <= i; j++)
            w.rest[i * c + j] = weight * gram[p + j];
        w.rest[i * c + i] += site[i];
        w.rest[c * c + i] = weight * stat[i] + shift[i];
        gram += p + i + 1;
    }
}

// The chain's slots of the last segment: a front of their own.
static Front last_front(const MixtureWork& w)
{
    const int c = w.shape.chain;
    V* low = front_of(w, w.shape.segments).low;
    for (int i = 0; i < (c + 1) * c; i++)
        low[i] = w.rest[i];
    for (int i = 0; i <= c; i++)
        w.from[i] = 0;
    for (int i = 0; i < c; i++)
        w.last[i] = c;
    return Front{ low, c, c + 1, front_of(w, w.shape.segments).pivot, w.from };
}

// Means of rows of L⁻ᵀ·(z - Lᵗ·x): solved as of solve_back, q columns of z, others of x.
static void
means_back(const V* solved, int q, int others, const V* z, const V* x, V* mean)
{
    const int across = q + others;
    for (int k = 0; k < q; k++) {
        const V* row = solved + k * across;
        V sum{};
        for (int j = k; j < q; j++)
            sum += row[j] * z[j];
        for (int j = 0; j < others; j++)
            sum -= row[q + j] * x[j];
        mean[k] = sum;
    }
}

// Variances of the local slots of segment s, from the joint covariance of the chain's.
static void local_variances(const MixtureWork& w, int s)
{
    const int d = w.shape.local, e = 2 * w.shape.chain, across = d + e;
    V* var = w.slots(w.var, s, false);
    for (int k = 0; k < d; k++) {
        const V* row = w.solved + k * across;
        V sum{};
        for (int j = k; j < d; j++)
            sum += row[j] * row[j];
        var[k] = sum;
    }
    in_tiles<tile_columns>(0, e, [&](auto wide, int at) {
        constexpr int W = decltype(wide)::n;
        in_tiles<tile_rows>(0, d, [&](auto tall, int k) {
            constexpr int R = decltype(tall)::n;
            const V* gain = w.solved + k * across + d;
            V sum[R][W] = {};
            subtract_products(sum, gain, across, w.joint + at * e, e, 0, at + W);
            for (int r = 0; r < R; r++)
                for (int i = 0; i < W; i++)
                    var[k + r] -= sum[r][i] * gain[r * across + at + i];
        });
    });
}

// From the chain's covariance of segment s (cov) and means (the second half of point) to
// those of the segment before; `joint` of both.
static void chain_back(const MixtureWork& w, const Front& f, V* mean)
{
    const int d = w.shape.local, c = w.shape.chain, n = w.shape.front(), e = 2 * c;
    V* solved = w.solved;
    solve_back(f, d, d + c, c, solved, w.last);
    means_back(solved, c, c, f.low + (size_t)n * f.columns + d, w.point + c, mean);
    products<false>(w.part, c, c, solved + c, e, w.cov, c, c, false);
    for (int i = 0; i < c; i++)
        for (int j = 0; j < c; j++) {
            w.joint[(c + i) * e + j] = -2.0f * w.part[j * c + i];
            w.joint[(c + i) * e + c + j] = j < i    ? 2.0f * w.cov[i * c + j]
                                           : j == i ? w.cov[i * c + j]
                                                    : V{};
        }
    products<true>(w.cov, c, c, solved, e, solved, e, c, false);
    products<true>(w.cov, c, c, w.part, c, solved + c, e, c, true);
    for (int i = 0; i < c; i++)
        for (int j = 0; j < c; j++) {
            if (j > i)
                w.cov[i * c + j] = w.cov[j * c + i];
            w.joint[i * e + j] = j < i    ? 2.0f * w.cov[i * c + j]
                                 : j == i ? w.cov[i * c + j]
                                          : V{};
            w.joint[i * e + c + j] = V{};
        }
}

static void forward(const MixtureWork& w, V weight, I& bad)
{
    const int c = w.shape.chain;
    for (int i = 0; i <= c; i++) // nothing is before the first segment
        for (int j = 0; j < c; j++)
            w.rest[i * c + j] = i == j ? all(1.0f) : V{};
    for (int s = 0; s < w.shape.segments; s++) {
        outline(w, s);
        assemble(w, s, weight);
        const Front f = front_of(w, s);
        factor(f, bad);
        reduce(f, w.rest, c);
    }
}

static void backward(const MixtureWork& w, I& bad)
{
    const int d = w.shape.local, c = w.shape.chain, n = w.shape.front();
    if (c) {
        const Front f = last_front(w);
        factor(f, bad);
        solve_back(f, 0, c, 0, w.solved, w.last);
        means_back(w.solved, c, 0, f.low + (size_t)c * c, nullptr, w.point);
        products<true>(w.cov, c, c, w.solved, c, w.solved, c, c, false);
        for (int i = 0; i < c; i++)
            for (int j = i + 1; j < c; j++)
                w.cov[i * c + j] = w.cov[j * c + i];
    }
    for (int s = w.shape.segments - 1; s >= 0; s--) {
        V *mean = w.slots(w.mean, s, true), *var = w.slots(w.var, s, true);
        for (int i = 0; i < c; i++) {
            mean[i] = w.point[c + i] = w.point[i];
            var[i] = w.cov[i * c + i];
        }
        outline(w, s);
        const Front f = front_of(w, s);
        if (c)
            chain_back(w, f, w.point);
        solve_back(f, 0, d, 2 * c, w.solved, w.last);
        means_back(w.solved,
                   d,
                   2 * c,
                   f.low + (size_t)n * f.columns,
                   w.point,
                   w.slots(w.mean, s, false));
        local_variances(w, s);
    }
}

} // namespace LANES_NAMESPACE

#endif
