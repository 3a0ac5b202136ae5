/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Dense algebra of a segment's front, windows in the lanes: rows of its local slots, of
// the chain's slots of the segment before, of its own, and of the right-hand side.

#ifndef INCLUDED_ALPHA_RGS_MIXTURE_FRONT_H
#define INCLUDED_ALPHA_RGS_MIXTURE_FRONT_H

#include "mixture.h"
#include "simd.h"

namespace LANES_NAMESPACE {

// Rows and columns of a block whose sums stay in registers.
constexpr int tile_rows = lanes == 16 ? 4 : 2, tile_columns = 4;

template <int most, class Work>
static inline void in_tiles(int from, int to, Work work)
{
    int k = from;
    for (; k + most <= to; k += most)
        work(Count<most>(), k);
    if constexpr (most > 2) {
        if (to - k == 3)
            work(Count<3>(), k);
        if (to - k == 2)
            work(Count<2>(), k);
    }
    if (to - k == 1)
        work(Count<1>(), k);
}

// sum[r][w] -= Σ_k a[r][k]·b[w][k], k in [from, to): rows `across` apart.
template <int R, int W>
static inline void subtract_products(
    V (&sum)[R][W], const V* a, int a_across, const V* b, int b_across, int from, int to)
{
    for (int k = from; k < to; k++) {
        V own[R];
        for (int r = 0; r < R; r++)
            own[r] = a[r * a_across + k];
        for (int w = 0; w < W; w++) {
            const V other = b[w * b_across + k];
            for (int r = 0; r < R; r++)
                sum[r][w] -= own[r] * other;
        }
    }
}

// sum[r][w] -= Σ_i low[i][r]·x[i][w], i in [from, to).
template <int R, int W>
static inline void subtract_outer(V (&sum)[R][W],
                                  const V* low,
                                  int low_across,
                                  const V* x,
                                  int x_across,
                                  int from,
                                  int to)
{
    for (int i = from; i < to; i++) {
        V own[R];
        for (int r = 0; r < R; r++)
            own[r] = low[i * low_across + r];
        for (int w = 0; w < W; w++) {
            const V other = x[i * x_across + w];
            for (int r = 0; r < R; r++)
                sum[r][w] -= own[r] * other;
        }
    }
}

// Matrix [rows][across] of which the first `columns` are eliminated: A, then its factor
// L.
struct Front {
    V* low;
    int columns, rows; // rows with the right-hand side, which is the last one
    V* pivot;          // [columns] 1 over the diagonal
    const int* from;   // [rows] the first column that is not zero
};

static inline int first_of(const Front& f, int row, int count)
{
    int least = f.from[row];
    for (int i = 1; i < count; i++)
        least = f.from[row + i] < least ? f.from[row + i] : least;
    return least;
}

// Of a diagonal's value: a pivot that is less has lost its digits.
constexpr float lost = 2e-5f;

// The factor of a diagonal tile; marks lanes whose pivots have lost their digits.
template <int W>
static inline void factor_tile(const Front& f, int at, V (&sum)[W][W], I& bad)
{
    const int p = f.columns;
    for (int w = 0; w < W; w++) {
        V* row = f.low + (size_t)(at + w) * p + at;
        const V whole = row[w];
        for (int v = 0; v < w; v++) {
            for (int u = 0; u < v; u++)
                sum[w][v] -= sum[w][u] * sum[v][u];
            sum[w][v] *= f.pivot[at + v];
            sum[w][w] -= sum[w][v] * sum[w][v];
            row[v] = sum[w][v];
        }
        bad |= sum[w][w] < lost * whole;
        const V kept = largest(sum[w][w], lost * whole);
        f.pivot[at + w] = inverse_root(kept);
        row[w] = kept * f.pivot[at + w];
    }
}

// Columns [at, at + W) of the factor.
template <int W>
static inline void factor_columns(const Front& f, int at, I& bad)
{
    const int p = f.columns, first = first_of(f, at, W);
    V* own = f.low + (size_t)at * p;
    V diagonal[W][W];
    for (int r = 0; r < W; r++)
        for (int w = 0; w < W; w++)
            diagonal[r][w] = w <= r ? own[r * p + at + w] : V{};
    subtract_products(diagonal, own, p, own, p, first, at);
    factor_tile<W>(f, at, diagonal, bad);
    in_tiles<tile_rows>(at + W, f.rows, [&](auto block, int i) {
        constexpr int R = decltype(block)::n;
        const int reach = first_of(f, i, R);
        if (reach >= at + W)
            return;
        V* row = f.low + (size_t)i * p;
        V sum[R][W];
        for (int r = 0; r < R; r++)
            for (int w = 0; w < W; w++)
                sum[r][w] = row[r * p + at + w];
        subtract_products(sum, row, p, own, p, reach > first ? reach : first, at);
        for (int w = 0; w < W; w++)
            for (int r = 0; r < R; r++) {
                for (int v = 0; v < w; v++)
                    sum[r][w] -= sum[r][v] * own[w * p + at + v];
                sum[r][w] *= f.pivot[at + w];
                row[r * p + at + w] = sum[r][w];
            }
    });
}

static void factor(const Front& f, I& bad)
{
    in_tiles<tile_columns>(0, f.columns, [&](auto block, int at) {
        factor_columns<decltype(block)::n>(f, at, bad);
    });
}

// What the elimination leaves of the rows behind its columns: rest [rows - columns][c],
// lower triangle with the right-hand side as its last row, which holds their own part.
static void reduce(const Front& f, V* rest, int c)
{
    const int p = f.columns;
    in_tiles<tile_columns>(0, c, [&](auto wide, int at) {
        constexpr int W = decltype(wide)::n;
        const int first = first_of(f, p + at, W);
        in_tiles<tile_rows>(at, c + 1, [&](auto block, int i) {
            constexpr int R = decltype(block)::n;
            const int reach = first_of(f, p + i, R);
            V sum[R][W];
            for (int r = 0; r < R; r++)
                for (int w = 0; w < W; w++)
                    sum[r][w] = rest[(i + r) * c + at + w];
            subtract_products(sum,
                              f.low + (size_t)(p + i) * p,
                              p,
                              f.low + (size_t)(p + at) * p,
                              p,
                              reach > first ? reach : first,
                              p);
            for (int r = 0; r < R; r++)
                for (int w = 0; w < W; w++)
                    rest[(i + r) * c + at + w] = sum[r][w];
        });
    });
}

// Rows [low, high) of L⁻ᵀ·[1 | Lᵗ of the rows from `high` on]: out [high - low][across],
// across = high - low + others. `others` rows of L follow row `high`. last: [columns] the
// row behind the last one that reaches a column.
static void
solve_back(const Front& f, int low, int high, int others, V* out, const int* last)
{
    const int p = f.columns, q = high - low, across = q + others;
    const V* factor = f.low + (size_t)low * p + low;
    for (int end = q; end > 0;) {
        const int R = end >= tile_rows ? tile_rows : 1, at = end - R;
        auto solved = [&](auto tall) {
            constexpr int R = decltype(tall)::n;
            int reach = end;
            for (int r = 0; r < R; r++) {
                const int own = last[low + at + r] - low;
                reach = own > reach ? own : reach;
            }
            reach = reach > q ? q : reach;
            in_tiles<tile_columns>(at, across, [&](auto wide, int j) {
                constexpr int W = decltype(wide)::n;
                V sum[R][W];
                for (int w = 0; w < W; w++)
                    for (int r = 0; r < R; r++)
                        sum[r][w] = j + w < q ? (j + w == at + r ? all(1.0f) : V{})
                                              : factor[(j + w) * p + at + r];
                subtract_outer(sum, factor + at, p, out + j, across, end, reach);
                for (int r = R - 1; r >= 0; r--)
                    for (int w = 0; w < W; w++) {
                        for (int s = r + 1; s < R; s++)
                            sum[r][w] -= factor[(at + s) * p + at + r] * sum[s][w];
                        sum[r][w] *= f.pivot[low + at + r];
                        out[(at + r) * across + j + w] = sum[r][w];
                    }
            });
            for (int r = 0; r < R; r++) // below the diagonal
                for (int j = 0; j < at; j++)
                    out[(at + r) * across + j] = V{};
        };
        if (R == tile_rows)
            solved(Count<tile_rows>());
        else
            solved(Count<1>());
        end = at;
    }
}

// out[i][j] = Σ_k a[i][k]·b[j][k] for j < columns, of a symmetric product j <= i alone.
template <bool symmetric>
static void products(V* out,
                     int rows,
                     int columns,
                     const V* a,
                     int a_across,
                     const V* b,
                     int b_across,
                     int count,
                     bool add)
{
    in_tiles<tile_columns>(0, columns, [&](auto wide, int j) {
        constexpr int W = decltype(wide)::n;
        in_tiles<tile_rows>(symmetric ? j : 0, rows, [&](auto tall, int i) {
            constexpr int R = decltype(tall)::n;
            V sum[R][W] = {};
            subtract_products(
                sum, a + i * a_across, a_across, b + j * b_across, b_across, 0, count);
            for (int r = 0; r < R; r++)
                for (int w = 0; w < W; w++) {
                    V& to = out[(i + r) * columns + j + w];
                    to = add ? to - sum[r][w] : -sum[r][w];
                }
        });
    });
}

} // namespace LANES_NAMESPACE

#endif
