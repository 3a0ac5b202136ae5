/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Carriers of tiles, one tile per lane, eliminated by Cholesky: what the samples say of
// the symbols then, and of the carriers given the symbols.

#ifndef INCLUDED_ALPHA_RGS_BURST_ELIMINATION_H
#define INCLUDED_ALPHA_RGS_BURST_ELIMINATION_H

#include "bursts.h"
#include "doubles.h"

namespace LANES_NAMESPACE {
namespace doubles {

using alpha_rgs::BurstFamily;
using alpha_rgs::BurstJob;
using alpha_rgs::BurstTile;

// Tiles side by side in the lanes. A tile with fewer carriers than the most has some of
// amplitude zero, whose sites keep precision one. Rows: carriers, symbols, samples.
struct BurstGroup {
    const BurstTile* tiles;
    int count, carriers; // tiles; carriers of the one that has most
    bool decides;        // whether there are carriers with an alphabet
    C* gram;           // [row][column <= row]; of the samples' row, the conjugate of what
                       // they say
    V* precision;      // of sites, [carriers]
    C* shift;          // likewise
    I* alphabet;       // [carriers]: number; -1: Gaussian; -2: not there
    uint32_t* present; // [carriers]: bits of the numbers that there are
    C* gain;           // [carriers][symbols + 1]: conjugate change of a carrier's mean
                       // with the symbols; and its mean where they are zero
    V* own;            // [carriers]: its variance if the symbols were known
    C* side;           // of what was reduced, see burst_tridiagonal.h: beside the
                       // diagonal, which is `own`; `gain` is what couples the symbols
};

// What an elimination works on.
struct BurstScratch {
    C* root;    // [rows][carriers]; [rows][samples] while groups are built
    V* pivot;   // [carriers]: inverses of the root's diagonal
    C* column;  // [carriers][4]: of the root's inverse
    C* reduced; // [symbols + 1][column <= row]: what is left for the symbols
};

static inline size_t triangle(size_t n) { return n * (n + 1) / 2; }

// work(Count<n>, first) for blocks of `most` in [from, to), and of what is left.
template <int most, class Work>
static inline void in_blocks(int from, int to, Work work)
{
    for (; from + most <= to; from += most)
        work(Count<most>(), from);
    if constexpr (most > 1)
        in_blocks<most - 1>(from, to, work);
}

// s[r][c] = Σ_k a[r][k]·conj(b[c][k]), rows `step` apart.
template <int R, int N>
static inline void products(const C* a, const C* b, size_t step, int n, C (&s)[R][N])
{
    C sum[R][N]; // not s, which could be among what is read
    for (int r = 0; r < R; r++)
        for (int c = 0; c < N; c++)
            sum[r][c] = zero();
    for (int k = 0; k < n; k++) {
        C x[R];
        for (int r = 0; r < R; r++)
            x[r] = a[r * step + k];
        for (int c = 0; c < N; c++) {
            const C y = b[c * step + k];
            for (int r = 0; r < R; r++)
                add_conjugate(sum[r][c], x[r], y);
        }
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < N; c++)
            s[r][c] = sum[r][c];
}

// use(row, column, product) of all rows [from, to) with those before them, and with
// themselves; of the last one, with those before it alone.
template <class Use>
static inline void
all_products(const C* rows, size_t step, int n, int from, int to, Use use)
{
    in_blocks<4>(from, to - 1, [&](auto columns, int j) {
        in_blocks<2>(j, to, [&](auto block, int i) {
            C s[block.n][columns.n];
            products(rows + i * step, rows + j * step, step, n, s);
            for (int r = 0; r < block.n; r++)
                for (int c = 0; c < columns.n; c++)
                    if (j + c <= i + r)
                        use(i + r, j + c, s[r][c]);
        });
    });
}

// One wave of each tile, `stride` complex numbers from sample to sample, conjugate and in
// units of the noise: rows of [samples].
template <class From>
static inline void stage(const BurstJob& job, const BurstGroup& g, C* row, From from)
{
    const double* wave[lanes];
    const double* noise[lanes];
    size_t stride[lanes];
    for (int l = 0; l < g.count; l++) {
        const BurstTile& tile = g.tiles[l];
        wave[l] = from(job.families[tile.family], (size_t)tile.row, stride[l]);
        noise[l] = job.families[tile.family].noise + (size_t)tile.row * job.length;
    }
    for (int t = 0; t < job.length; t++) {
        C x = zero();
        V strength = all(1.0);
        for (int l = 0; l < g.count; l++)
            if (wave[l]) {
                const double* at = wave[l] + 2 * stride[l] * t;
                x.re[l] = at[0];
                x.im[l] = -at[1];
                strength[l] = noise[l][t];
            }
        row[t] = (1.0 / root(strength)) * x;
    }
}

// Statistics of the group's samples, and sites that know nothing.
static inline void build(const BurstJob& job, BurstGroup& g, const BurstScratch& work)
{
    const size_t length = (size_t)job.length;
    const int d = g.carriers, K = job.symbols;
    g.decides = g.tiles[0].decides;
    for (int c = 0; c < d; c++) {
        g.precision[c] = all(1.0);
        g.shift[c] = zero();
        g.alphabet[c] = I{} - 2;
        g.present[c] = 0;
        for (int l = 0; l < g.count; l++) {
            const BurstFamily& f = job.families[g.tiles[l].family];
            if (c >= f.carriers)
                continue;
            const int64_t number = f.alphabet[(size_t)g.tiles[l].row * f.carriers + c];
            g.alphabet[c][l] = number;
            g.present[c] |= number < 0 ? 0 : 1u << number;
        }
        stage(job, g, work.root + c * length, [&](auto& f, size_t row, size_t& stride) {
            stride = (size_t)f.carriers;
            return c < f.carriers ? f.waves + 2 * (row * length * stride + c) : nullptr;
        });
    }
    for (int k = 0; k < K; k++)
        stage(job,
              g,
              work.root + (d + k) * length,
              [&](auto& f, size_t row, size_t& stride) {
                  stride = (size_t)K;
                  return f.pulses + 2 * (row * length * stride + k);
              });
    stage(job, g, work.root + (d + K) * length, [&](auto& f, size_t row, size_t& stride) {
        stride = 1;
        return f.received + 2 * row * length;
    });
    all_products(work.root, length, job.length, 0, d + K + 1, [&](int i, int j, C s) {
        g.gram[triangle(i) + j] = s;
    });
}

// Columns j to j + N - 1 of the root of gram·cool + sites, given those before.
template <int N>
static inline void
factor(const BurstGroup& g, const BurstScratch& work, V cool, int j, int rows)
{
    const size_t d = (size_t)g.carriers;
    C* at = work.root + j * d;
    C s[N][N];
    products(at, at, d, j, s);
    for (int c = 0; c < N; c++)
        for (int r = c; r < N; r++) {
            C x = cool * g.gram[triangle(j + r) + j + c] - s[r][c];
            if (r == c)
                x.re += g.precision[j + c];
#pragma GCC unroll 4
            for (int b = 0; b < c; b++)
                subtract_conjugate(x, at[r * d + j + b], at[c * d + j + b]);
            if (r == c)
                work.pivot[j + c] = 1.0 / root(largest(x.re, 1e-12));
            at[r * d + j + c] = work.pivot[j + c] * x;
        }
    in_blocks<2>(j + N, rows, [&](auto block, int i) {
        C* row = work.root + i * d;
        C t[block.n][N];
        products(row, at, d, j, t);
        for (int r = 0; r < block.n; r++)
            for (int c = 0; c < N; c++) {
                C x = cool * g.gram[triangle(i + r) + j + c] - t[r][c];
                if (i + r == rows - 1)
                    x = x + conjugate(g.shift[j + c]);
#pragma GCC unroll 4
                for (int b = 0; b < c; b++)
                    subtract_conjugate(x, row[r * d + j + b], at[c * d + j + b]);
                row[r * d + j + c] = work.pivot[j + c] * x;
            }
    });
}

// Columns j to j + N - 1 of the root's inverse into work.column, [row][N] from row j on.
template <int N>
static inline void invert(int carriers, const BurstScratch& work, int j)
{
    const size_t d = (size_t)carriers;
    for (int i = j; i < carriers; i++) {
        const C* row = work.root + i * d;
        C s[N];
        for (int c = 0; c < N; c++)
            s[c] = C{ all(i == j + c ? 1.0 : 0.0), V{} };
        for (int k = j; k < i; k++)
            for (int c = 0; c < N; c++)
                subtract(s[c], row[k], work.column[(size_t)(k - j) * N + c]);
        for (int c = 0; c < N; c++)
            work.column[(size_t)(i - j) * N + c] = work.pivot[i] * s[c];
    }
}

// What carriers j to j + N - 1 are, given the symbols.
template <int N>
static inline void
given_symbols(const BurstGroup& g, const BurstScratch& work, int symbols, int j)
{
    const size_t d = (size_t)g.carriers, wide = (size_t)symbols + 1;
    const int left = g.carriers - j;
    invert<N>(g.carriers, work, j);
    for (int c = 0; c < N; c++) {
        V total{};
        for (int i = c; i < left; i++)
            total += power(work.column[(size_t)i * N + c]);
        g.own[j + c] = total;
    }
    in_blocks<2>(0, symbols + 1, [&](auto block, int k) {
        const C* row = work.root + (d + k) * d + j;
        C s[block.n][N];
        for (int r = 0; r < block.n; r++)
            for (int c = 0; c < N; c++)
                s[r][c] = zero();
        for (int i = 0; i < left; i++)
            for (int c = 0; c < N; c++)
                for (int r = 0; r < block.n; r++)
                    add(s[r][c], row[r * d + i], work.column[(size_t)i * N + c]);
        for (int r = 0; r < block.n; r++)
            for (int c = 0; c < N; c++)
                g.gain[(j + c) * wide + k + r] = s[r][c];
    });
}

// What is left for the symbols. rows: of the root, [symbols + 1][carriers].
static inline void left_for_symbols(
    const BurstGroup& g, const BurstScratch& work, const C* rows, int symbols, V cool)
{
    const int d = g.carriers;
    all_products(rows, (size_t)d, d, 0, symbols + 1, [&](int i, int j, C s) {
        work.reduced[triangle(i) + j] = cool * g.gram[triangle(d + i) + d + j] - s;
    });
}

// Eliminate the carriers, the noise being `heat` times as strong.
static inline void
eliminate(const BurstGroup& g, const BurstScratch& work, int symbols, double heat)
{
    const int d = g.carriers, rows = d + symbols + 1;
    const V cool = all(1 / heat);
    in_blocks<4>(
        0, d, [&](auto block, int j) { factor<block.n>(g, work, cool, j, rows); });
    left_for_symbols(g, work, work.root + (size_t)d * d, symbols, cool);
    if (g.decides)
        in_blocks<4>(0, d, [&](auto block, int j) {
            given_symbols<block.n>(g, work, symbols, j);
        });
}

// Inverse of the carriers' precision for whoever fits waves to the samples; after
// `eliminate`. memory: [carriers][carriers].
static inline void give_inverse(const BurstJob& job,
                                const BurstGroup& g,
                                const BurstScratch& work,
                                C* memory)
{
    const int d = g.carriers;
    const size_t wide = (size_t)d;
    in_blocks<4>(0, d, [&](auto block, int j) { // its transposed root
        invert<block.n>(d, work, j);
        for (int c = 0; c < block.n; c++)
            for (int i = 0; i < d; i++)
                memory[(j + c) * wide + i] =
                    i < j ? zero()
                          : conjugate(work.column[(size_t)(i - j) * block.n + c]);
    });
    for (int i = 0; i < d; i++)
        for (int j = 0; j <= i; j++) {
            C s[1][1];
            products(memory + i * wide + i, memory + j * wide + i, wide, d - i, s);
            for (int l = 0; l < g.count; l++) {
                const BurstFamily& f = job.families[g.tiles[l].family];
                const int own = f.carriers;
                if (i >= own || !f.inverse)
                    continue;
                double* out = f.inverse + 2 * (size_t)g.tiles[l].row * own * own;
                out[2 * (i * own + j)] = out[2 * (j * own + i)] = s[0][0].re[l];
                out[2 * (i * own + j) + 1] = s[0][0].im[l];
                out[2 * (j * own + i) + 1] = -s[0][0].im[l];
            }
        }
}

} // namespace doubles
} // namespace LANES_NAMESPACE

#endif
