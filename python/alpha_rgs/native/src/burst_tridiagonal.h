/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Carriers of which no alphabet is known keep their sites: what samples say of the
// symbols then depends on the noise alone. Once their precision is tridiagonal (by
// Householder's reflections, which leave the sites, of precision one, as they are), each
// noise costs little.

#ifndef INCLUDED_ALPHA_RGS_BURST_TRIDIAGONAL_H
#define INCLUDED_ALPHA_RGS_BURST_TRIDIAGONAL_H

#include "burst_elimination.h"

namespace LANES_NAMESPACE {
namespace doubles {

// The reflection that leaves of x [n] its first element alone, which is returned: I -
// scale·v·vᴴ. v: in the place of x.
static inline C reflection(C* v, int n, V& scale)
{
    V total{};
    for (int i = 0; i < n; i++)
        total += power(v[i]);
    const V size = root(total), head = root(power(v[0]));
    const C turn = chosen(head > 0.0, (1.0 / head) * v[0], C{ all(1.0), V{} });
    v[0] = v[0] + size * turn;
    scale = chosen(size > 1e-100, 1.0 / (size * (size + head)), V{});
    return (-size) * turn;
}

// The reflection on both sides of a [n][n], of which the part below the diagonal counts;
// rows `step` apart. memory: [n].
static inline void reflect(C* a, size_t step, int n, const C* v, V scale, C* memory)
{
    C* w = memory;
    for (int i = 0; i < n; i++)
        w[i] = zero();
    for (int i = 0; i < n; i++) { // a·v
        const C *row = a + i * step, own = v[i];
        C s = row[i].re * own;
        for (int c = 0; c < i; c++) {
            add(s, row[c], v[c]);
            add_conjugate(w[c], own, row[c]);
        }
        w[i] = w[i] + s;
    }
    V along{};
    for (int i = 0; i < n; i++)
        along += v[i].re * w[i].re + v[i].im * w[i].im;
    along *= 0.5 * scale;
    for (int i = 0; i < n; i++)
        w[i] = scale * (w[i] - along * v[i]);
    for (int i = 0; i < n; i++) {
        C* row = a + i * step;
        const C mine = v[i], other = w[i];
        for (int c = 0; c <= i; c++) {
            subtract_conjugate(row[c], mine, w[c]);
            subtract_conjugate(row[c], other, v[c]);
        }
    }
}

// Fills own, side and gain of the group. memory: [carriers][carriers].
static inline void
reduce(const BurstGroup& g, const BurstScratch& work, int symbols, C* memory)
{
    const size_t d = (size_t)g.carriers;
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j <= i; j++)
            memory[i * d + j] = g.gram[triangle(i) + j];
    for (size_t k = 0; k <= (size_t)symbols; k++)
        for (size_t c = 0; c < d; c++)
            g.gain[k * d + c] = g.gram[triangle(d + k) + c];
    for (size_t j = 0; j < d; j++) {
        const int n = (int)(d - j) - 1;
        g.own[j] = memory[j * d + j].re;
        if (!n)
            break;
        C* v = work.column;
        V scale;
        for (int i = 0; i < n; i++)
            v[i] = memory[(j + 1 + i) * d + j];
        g.side[j + 1] = reflection(v, n, scale);
        reflect(memory + (j + 1) * d + j + 1, d, n, v, scale, v + n);
        for (int k = 0; k <= symbols; k++) {
            C *row = g.gain + k * d + j + 1, s = zero();
            for (int i = 0; i < n; i++)
                add(s, row[i], v[i]);
            s = scale * s;
            for (int i = 0; i < n; i++)
                subtract_conjugate(row[i], s, v[i]);
        }
    }
}

// As `eliminate`, of a group that was reduced.
static inline void
eliminate_reduced(const BurstGroup& g, const BurstScratch& work, int symbols, double heat)
{
    const size_t d = (size_t)g.carriers;
    const V cool = all(1 / heat);
    C* below = work.column; // of the root, whose diagonal is one
    V before = all(1.0);
    for (size_t i = 0; i < d; i++) {
        below[i] = i ? (cool / before) * conjugate(g.side[i]) : zero();
        before = cool * g.own[i] + 1.0 - before * power(below[i]);
        work.pivot[i] = 1.0 / root(before);
    }
    for (int k = 0; k <= symbols; k++) {
        const C* from = g.gain + k * d;
        C *to = work.root + k * d, last = zero();
        for (size_t i = 0; i < d; i++) {
            C x = cool * from[i];
            subtract(x, below[i], last);
            last = x;
            to[i] = work.pivot[i] * x;
        }
    }
    left_for_symbols(g, work, work.root, symbols, cool);
}

} // namespace doubles
} // namespace LANES_NAMESPACE

#endif
