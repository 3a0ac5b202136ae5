/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// List search (the M-algorithm) over the decisions of a few frames of one lane, the
// symbols around them held: as inference/list_search.py, on the statistics that
// expectation propagation has.

#ifndef INCLUDED_ALPHA_RGS_SEARCH_H
#define INCLUDED_ALPHA_RGS_SEARCH_H

#include "search_table.h"

namespace LANES_NAMESPACE {

// Partial decisions that survive a step: where all is searched first, and where that did
// not help.
constexpr int usual_width = 32, width = 128;
constexpr float hopeless =
    60; // log likelihood ratio to the best from which none survives
// Log likelihood ratio from which a decision is certain: an error is less likely than
// 1e-13.
constexpr float certain = 30;
constexpr float least_gain = 1e-2f; // by which a decision must fit better
constexpr int most_points = 64;

// Survivors of one search, and how they came about.
struct List {
    int most, count; // survivors of a step, at most and now
    float metric[width];
    // what is left for each unknown, of the survivors before and after a step
    alignas(64) float re[2][width][most_unknowns], im[2][width][most_unknowns];
    uint8_t parent[most_unknowns][width], code[most_unknowns][width];
};

// Costs as ordered integers: of floats that are not negative.
static inline uint32_t ordered(float x)
{
    uint32_t bits;
    __builtin_memcpy(&bits, &x, 4);
    return bits;
}

// Which of n costs, none negative, are among the `most` least or a few fewer: their
// numbers in `chosen`, how many.
static int least_costs(const float* cost, int n, int most, int* chosen)
{
    float limit = hopeless;
    uint32_t low = 0, high = ordered(limit), at = high;
    for (int step = 0; step < 32; step++) { // bisection, until the list is nearly full
        int count = 0;
        __builtin_memcpy(&limit, &at, 4);
        for (int i = 0; i < n; i++)
            count += cost[i] <= limit;
        if (count > most)
            high = at;
        else if (at == high || count >= most - most / 8 || high - low < 2)
            break;
        else
            low = at;
        at = low + (high - low) / 2;
    }
    int count = 0;
    for (int i = 0; i < n && count < most;
         i++) { // without a branch that nobody can predict
        chosen[count] = i;
        count += cost[i] <= limit;
    }
    return count;
}

// Take the decided value of unknown i, (vr, vi) of each survivor, off what is left for
// those before it. Vectors reach a little further than that, where L is zero, or nobody
// looks any more.
static void propagate(const SearchTable& t,
                      int i,
                      const int* parent,
                      const float* vr,
                      const float* vi,
                      int now,
                      List& s)
{
    const float *lr = t.real + i * most_unknowns, *li = t.imag + i * most_unknowns;
    for (int m = 0; m < s.count; m++) {
        const float *re = s.re[now][parent[m]], *im = s.im[now][parent[m]];
        for (int j = t.reach[i] / lanes * lanes; j < i; j += lanes) {
            const V a = load(lr + j), b = load(li + j);
            store(s.re[!now][m] + j, load(re + j) - (a * vr[m] + b * vi[m]));
            store(s.im[!now][m] + j, load(im + j) - (a * vi[m] - b * vr[m]));
        }
    }
}

// points: of each unknown, [n][size of its alphabet].
static void search(const SearchTable& t,
                   const Pair* h,
                   const Pair* const* points,
                   const int* sizes,
                   List& s)
{
    for (int i = 0; i < t.n; i++) {
        const float *lr = t.real + i * most_unknowns, *li = t.imag + i * most_unknowns;
        Pair sum = h[i];
        for (int k = t.low[i]; k < i; k++)
            sum = sum - Pair{ lr[k], li[k] } * Pair{ s.re[0][0][k], s.im[0][0][k] };
        s.re[0][0][i] = sum.re / lr[i];
        s.im[0][0][i] = sum.im / lr[i];
    }
    for (int m = 0; m < 2 * s.most; m++) {
        __builtin_memcpy(s.re[m % 2][m / 2], s.re[0][0], sizeof(float) * t.n);
        __builtin_memcpy(s.im[m % 2][m / 2], s.im[0][0], sizeof(float) * t.n);
    }
    s.count = 1;
    s.metric[0] = 0;
    for (int i = t.n - 1, now = 0; i >= 0; i--, now = !now) {
        float cost[most_points * width], re[width], im[width];
        const float scale = t.real[i * most_unknowns + i];
        const int before = s.count;
        for (int m = 0; m < before; m++) {
            re[m] = s.re[now][m][i];
            im[m] = s.im[now][m][i];
        }
        float least = 1e30f;
        for (int c = 0; c < sizes[i]; c++) {
            const Pair p = points[i][c], goal{ scale * p.re, scale * p.im };
            const float own = p.re * p.re + p.im * p.im;
            for (int m = 0; m < before; m++) {
                const float a = re[m] - goal.re, b = im[m] - goal.im;
                cost[c * before + m] = s.metric[m] + a * a + b * b - own;
                least = cost[c * before + m] < least ? cost[c * before + m] : least;
            }
        }
        for (int q = 0; q < sizes[i] * before; q++)
            cost[q] -= least;
        int chosen[width + 1], parent[width];
        float vr[width], vi[width];
        s.count = least_costs(cost, sizes[i] * before, s.most, chosen);
        for (int m = 0; m < s.count; m++) {
            const int q = chosen[m];
            s.parent[i][m] = parent[m] = q % before;
            s.code[i][m] = q / before;
            s.metric[m] = cost[q];
            vr[m] = points[i][q / before].re;
            vi[m] = points[i][q / before].im;
        }
        propagate(t, i, parent, vr, vi, now, s);
    }
}

// The codes of survivor m, [n].
static void trace(const SearchTable& t, const List& s, int m, uint8_t* codes)
{
    for (int i = 0; i < t.n; i++) {
        codes[i] = s.code[i][m];
        m = s.parent[i][m];
    }
}

// A stretch of frames of one lane that is searched.
struct Doubt {
    int lane, first, frames; // of frames
    Pair h[most_unknowns];
    Pair decided[most_unknowns], best[most_unknowns];
    float spread[most_unknowns];
    const Pair* points[most_unknowns];
    int sizes[most_unknowns];
    Pair turned[most_unknowns][most_points]; // of symbols, in the frames' phase
};

static inline Pair of_lane(const C& value, int lane)
{
    return Pair{ value.re[lane], value.im[lane] };
}

// Information on each unknown, the symbols around the stretch being held; decisions so
// far.
static void gather(const Work& w, const SearchTable& t, Doubt& d, const C* symbols)
{
    const Model& m = *w.model;
    const int K = m.symbols, l = d.lane;
    for (int i = 0; i < t.n; i++) {
        Pair sum{ 0, 0 };
        const bool carrier = t.carrier[i];
        const int begin = carrier ? t.frame[i] : 0,
                  end = carrier ? t.frame[i] + 1 : t.frames;
        for (int q = begin; q < end; q++) {
            const int f = d.first + q,
                      k = carrier ? t.index[i] : t.index[i] - t.firsts[q];
            if (!carrier && (k < 0 || k >= K))
                continue;
            const FrameClass& c = w.frame_class(f);
            const float* row = carrier ? c.cross + 2 * k * K : c.own + 2 * k * K;
            sum = sum + of_lane(carrier ? w.stat_open[w.base[f] + k]
                                        : w.stat[(size_t)f * K + k],
                                l);
            for (int other = 0; other < K; other++) {
                const int number = t.firsts[q] + other;
                if (number < t.symbol_low || number >= t.symbol_high)
                    sum = sum - Pair{ row[2 * other], row[2 * other + 1] } *
                                    of_lane(symbols[w.firsts[d.first] + number], l);
            }
        }
        d.h[i] = sum;
        const int n = carrier ? 0 : w.firsts[d.first] + t.index[i];
        const size_t at = w.base[d.first + t.frame[i]] + t.index[i];
        d.decided[i] = carrier ? of_lane(nearest(m.carrier, w.carrier[at]), l)
                               : of_lane(symbols[n], l);
        const Alphabet& alphabet = carrier ? m.carrier : m.symbol;
        d.sizes[i] = alphabet.size;
        d.points[i] = carrier ? (const Pair*)alphabet.points : d.turned[i];
        for (int c = 0; !carrier && c < alphabet.size; c++)
            d.turned[i][c] = ((const Pair*)alphabet.points)[c] * of_lane(w.turn[n], l);
    }
}

// The decision of a survivor.
static void choose(const SearchTable& t, const List& s, int survivor, Doubt& d)
{
    uint8_t codes[most_unknowns];
    trace(t, s, survivor, codes);
    for (int i = 0; i < t.n; i++)
        d.best[i] = d.points[i][codes[i]];
}

// Of each unknown the variance at which its best competitor in the list is as unlikely as
// it is; at least that of noise alone, which is all that is left beside a certain
// decision.
static void judge(const SearchTable& t, const List& s, int best, Doubt& d)
{
    uint8_t own[most_unknowns], other[most_unknowns];
    trace(t, s, best, own);
    const bool full = s.count >= s.most - s.most / 8;
    float farthest = full ? 1.0f : hopeless;
    for (int m = 0; m < s.count && full; m++)
        farthest = s.metric[m] - s.metric[best] > farthest ? s.metric[m] - s.metric[best]
                                                           : farthest;
    for (int i = 0; i < t.n; i++) {
        float apart = 1e30f;
        for (int c = 0; c < d.sizes[i]; c++) {
            const float square = squared(d.points[i][c] - d.best[i]);
            apart = c != own[i] && square < apart ? square : apart;
        }
        const float noise = 1.0f / t.gram[i * t.n + i].re, near = apart / farthest;
        d.spread[i] = farthest < certain && near > noise ? near : noise;
    }
    for (int m = 0; m < s.count; m++) {
        const float gap = s.metric[m] - s.metric[best];
        if (gap >= certain)
            continue;
        trace(t, s, m, other);
        for (int i = 0; i < t.n; i++) {
            const float spread =
                squared(d.points[i][other[i]] - d.best[i]) / (gap > 1e-3f ? gap : 1e-3f);
            d.spread[i] = spread > d.spread[i] ? spread : d.spread[i];
        }
    }
}

// Write what was found: symbols at what the rest of the stretch says of them.
static void adopt(Work& w, const SearchTable& t, const Doubt& d, C* symbols)
{
    const int l = d.lane;
    for (int i = 0; i < t.n; i++) {
        if (t.carrier[i]) {
            C& mean = w.carrier[w.base[d.first + t.frame[i]] + t.index[i]];
            mean.re[l] = d.best[i].re;
            mean.im[l] = d.best[i].im;
            continue;
        }
        Pair sum = d.h[i];
        for (int k = 0; k < t.n; k++)
            sum = sum - t.gram[i * t.n + k] * d.best[k];
        const float scale = 1.0f / t.gram[i * t.n + i].re;
        const int n = w.firsts[d.first] + t.index[i];
        Pair turn = of_lane(w.turn[n], l),
             value = d.best[i] + Pair{ sum.re * scale, sum.im * scale };
        value = value * Pair{ turn.re, -turn.im };
        w.soft[n].re[l] = value.re;
        w.soft[n].im[l] = value.im;
        w.spread[n][l] = d.spread[i];
        symbols[n].re[l] = d.best[i].re;
        symbols[n].im[l] = d.best[i].im;
    }
}

// Search a stretch, if wanted in both orders, the second from what the first found;
// whether anything was.
static bool mend(Work& w, bool both, Doubt& d, List& list, C* symbols)
{
    bool found = false;
    for (int turn = 0; turn <= both; turn++) {
        const int order = turn ? !w.model->search_order : w.model->search_order;
        SearchTable* own = nullptr;
        const SearchTable* t = table_of(w, d.first, d.frames, order, own);
        if (t) {
            gather(w, *t, d, symbols);
            search(*t, d.h, d.points, d.sizes, list);
            int best = 0;
            for (int m = 1; m < list.count; m++)
                best = list.metric[m] < list.metric[best] ? m : best;
            choose(*t, list, best, d);
            if (energy_of(*t, d.h, d.best) < energy_of(*t, d.h, d.decided) - least_gain) {
                judge(*t, list, best, d);
                adopt(w, *t, d, symbols);
                found = true;
            }
        }
        discard(own);
    }
    return found;
}

} // namespace LANES_NAMESPACE

#endif
