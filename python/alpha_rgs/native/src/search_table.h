/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// What the list search needs of some frames in a row: the same for all lanes, so made
// once.

#ifndef INCLUDED_ALPHA_RGS_SEARCH_TABLE_H
#define INCLUDED_ALPHA_RGS_SEARCH_TABLE_H

#include <cstdlib>

#include "workspace.h"

namespace LANES_NAMESPACE {

constexpr int most_unknowns = 192;

struct Pair {
    float re, im;
};

static inline Pair operator+(Pair a, Pair b) { return Pair{ a.re + b.re, a.im + b.im }; }
static inline Pair operator-(Pair a, Pair b) { return Pair{ a.re - b.re, a.im - b.im }; }
static inline Pair operator*(Pair a, Pair b)
{
    return Pair{ a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re };
}
static inline float squared(Pair a) { return a.re * a.re + a.im * a.im; }

// n unknowns in the order in which they are eliminated; the last is decided first. The
// energy of a decision u is uᴴ·gram·u - 2·Re hᴴ·u; gram + 1 = L·Lᴴ, the prior of what is
// not decided yet.
struct SearchTable {
    int n, frames, symbol_low,
        symbol_high; // symbols, counted from the first that the first reaches
    int32_t classes[alpha_rgs::longest_search], firsts[alpha_rgs::longest_search];
    int32_t leaving;
    bool carrier[most_unknowns];
    int frame[most_unknowns],
        index[most_unknowns]; // a carrier's frame and number; a symbol's number
    int low[most_unknowns];   // first column of a row of L that is not zero
    int reach[most_unknowns]; // first unknown that decisions from this one on have an
                              // effect on
    Pair* gram;               // [n][n]
    float *real, *imag;       // of L, [n][most_unknowns]
};

static void discard(SearchTable* t)
{
    if (t) {
        free(t->gram);
        free(t->real);
        free(t->imag);
        free(t);
    }
}

// Number the unknowns; false where there are too many. order 0: a frame's symbols before
// its carriers.
static bool number_unknowns(const Work& w, int frames, int order, SearchTable& t)
{
    const int D = w.model->near;
    const int total = D * frames + t.symbol_high - t.symbol_low;
    if (t.symbol_high <= t.symbol_low || total > most_unknowns)
        return false;
    t.n = 0;
    int symbol = t.symbol_low;
    for (int f = 0; f < frames; f++)
        for (int part = 0; part < 2; part++) {
            if ((part == 1) == (order == 0)) {
                for (int i = 0; i < D; i++, t.n++) {
                    t.carrier[t.n] = true;
                    t.frame[t.n] = f;
                    t.index[t.n] = i;
                }
                continue;
            }
            const int stop = f + 1 < frames ? t.firsts[f + 1] : t.symbol_high;
            for (; symbol < stop && symbol < t.symbol_high; symbol++, t.n++) {
                t.carrier[t.n] = false;
                t.frame[t.n] = f;
                t.index[t.n] = symbol;
            }
        }
    return true;
}

// Gram of two unknowns.
static Pair product(const Work& w, int first, const SearchTable& t, int i, int j)
{
    const Model& m = *w.model;
    const int K = m.symbols;
    auto pair = [](const float* at, int index) {
        return Pair{ at[2 * index], at[2 * index + 1] };
    };
    Pair sum{ 0, 0 };
    if (t.carrier[i] && t.carrier[j])
        return t.frame[i] == t.frame[j] ? pair(m.gram, t.index[i] * m.near + t.index[j])
                                        : sum;
    if (!t.carrier[i] && t.carrier[j]) {
        Pair other = product(w, first, t, j, i);
        return Pair{ other.re, -other.im };
    }
    for (int f = 0; f < t.frames; f++) {
        const FrameClass& c = w.frame_class(first + f);
        const int b = t.index[j] - t.firsts[f],
                  a = t.carrier[i] ? 0 : t.index[i] - t.firsts[f];
        if (b < 0 || b >= K || a < 0 || a >= K || (t.carrier[i] && t.frame[i] != f))
            continue;
        sum = sum +
              (t.carrier[i] ? pair(c.cross, t.index[i] * K + b) : pair(c.own, a * K + b));
    }
    return sum;
}

// L of gram + 1, in double precision, and where its rows begin.
static void factorise(SearchTable& t)
{
    const int n = t.n;
    double* l = (double*)calloc(2 * (size_t)n * n, sizeof(double)); // complex
    for (int j = 0; j < n; j++)
        for (int i = j; i < n; i++) {
            double re = t.gram[i * n + j].re + (i == j), im = t.gram[i * n + j].im;
            for (int k = 0; k < j; k++) {
                const double *a = l + 2 * (i * n + k), *b = l + 2 * (j * n + k);
                re -= a[0] * b[0] + a[1] * b[1];
                im -= a[1] * b[0] - a[0] * b[1];
            }
            const double pivot = i == j ? 0 : l[2 * (j * n + j)];
            l[2 * (i * n + j)] =
                i == j ? __builtin_sqrt(re > 1e-6 ? re : 1e-6) : re / pivot;
            l[2 * (i * n + j) + 1] = i == j ? 0 : im / pivot;
        }
    for (int i = 0; i < n; i++) {
        t.low[i] = i;
        for (int j = i; j >= 0; j--) {
            const Pair own{ (float)l[2 * (i * n + j)], (float)l[2 * (i * n + j) + 1] };
            t.real[i * most_unknowns + j] = own.re;
            t.imag[i * most_unknowns + j] = own.im;
            if (squared(own) > 1e-12f)
                t.low[i] = j;
        }
    }
    for (int i = n - 1; i >= 0; i--) {
        t.reach[i] = t.low[i];
        if (i + 1 < n && t.reach[i + 1] < t.reach[i])
            t.reach[i] = t.reach[i + 1];
    }
    free(l);
}

static SearchTable* make_table(const Work& w, int first, int frames, int order)
{
    SearchTable* t = (SearchTable*)calloc(1, sizeof(SearchTable));
    t->frames = frames;
    for (int f = 0; f < frames; f++) {
        t->classes[f] = w.classes[first + f];
        t->firsts[f] = w.firsts[first + f] - w.firsts[first];
    }
    t->leaving = w.leaving(first + frames - 1);
    t->symbol_low = w.frame_class(first).before;
    t->symbol_high = t->firsts[frames - 1] + t->leaving;
    if (!number_unknowns(w, frames, order, *t)) {
        t->n = 0;
        return t;
    }
    t->gram = (Pair*)calloc((size_t)t->n * t->n, sizeof(Pair));
    t->real = (float*)calloc((size_t)t->n * most_unknowns, sizeof(float));
    t->imag = (float*)calloc((size_t)t->n * most_unknowns, sizeof(float));
    for (int i = 0; i < t->n; i++)
        for (int j = 0; j < t->n; j++)
            t->gram[i * t->n + j] = product(w, first, *t, i, j);
    factorise(*t);
    return t;
}

static bool fits(const SearchTable& t, const Work& w, int first, int frames)
{
    bool same = t.frames == frames && t.leaving == w.leaving(first + frames - 1);
    for (int f = 0; same && f < frames; f++)
        same = t.classes[f] == w.classes[first + f] &&
               t.firsts[f] == w.firsts[first + f] - w.firsts[first];
    return same;
}

// The table of `frames` frames from `first` on; null where there are too many unknowns.
// own: set to a table that the caller discards.
static const SearchTable*
table_of(const Work& w, int first, int frames, int order, SearchTable*& own)
{
    const int longest = alpha_rgs::longest_search;
    void** place =
        w.model->search_tables + (w.classes[first] * (longest + 1) + frames) * 2 + order;
    SearchTable* kept = (SearchTable*)__atomic_load_n(place, __ATOMIC_ACQUIRE);
    if (!kept) {
        SearchTable* made = make_table(w, first, frames, order);
        void* nothing = nullptr;
        const bool mine = __atomic_compare_exchange_n(
            place, &nothing, (void*)made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
        kept = mine ? made : (SearchTable*)nothing;
        if (!mine)
            discard(made);
    }
    if (!fits(*kept, w, first, frames))
        kept = own = make_table(w, first, frames, order);
    return kept->n ? kept : nullptr;
}

static float energy_of(const SearchTable& t, const Pair* h, const Pair* u)
{
    double energy = 0;
    for (int i = 0; i < t.n; i++) {
        Pair sum{ 0, 0 };
        for (int j = t.low[i]; j < i; j++)
            sum = sum + t.gram[i * t.n + j] * u[j];
        const Pair own{ 2 * (sum.re - h[i].re), 2 * (sum.im - h[i].im) };
        energy +=
            u[i].re * own.re + u[i].im * own.im + t.gram[i * t.n + i].re * squared(u[i]);
    }
    return (float)energy;
}

} // namespace LANES_NAMESPACE

#endif
