/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// A linear mixture's Gram matrices and statistics from its sources' columns, and
// waveforms back, window by window.

#ifndef INCLUDED_ALPHA_RGS_MIXTURE_COLUMNS_H
#define INCLUDED_ALPHA_RGS_MIXTURE_COLUMNS_H

#include "mixture.h"
#include "simd.h"

namespace LANES_NAMESPACE {

using alpha_rgs::MixtureColumns;
using alpha_rgs::MixtureGroup;
using alpha_rgs::MixtureShape;

// One source in one window.
struct Staged {
    const MixtureColumns* source;
    const int64_t* start;
    const int32_t* slot;
    const float* columns; // [count] real parts, imaginary parts
    size_t stride;

    const float* column(int k) const { return columns + 2 * stride * k; }
    bool there(int k) const { return slot[k * source->dimensions] >= 0; }
};

static Staged staged(const MixtureColumns& source, int window, const float* columns)
{
    const size_t row = source.shared ? 0 : (size_t)window;
    return Staged{ &source,
                   source.start + row * source.count,
                   source.slot + (size_t)window * source.count * source.dimensions,
                   columns,
                   source.stride(lanes) };
}

// Columns of a window with the source's gain, zero outside the window.
static void
stage(const MixtureColumns& source, const MixtureShape& shape, int window, float* out)
{
    const size_t row = source.shared ? 0 : (size_t)window, stride = source.stride(lanes);
    const int64_t* start = source.start + row * source.count;
    const float* from = source.columns + 2 * row * source.count * source.width;
    const float gain = source.gain[window];
    for (int k = 0; k < source.count; k++, from += 2 * source.width, out += 2 * stride) {
        for (size_t t = 0; t < 2 * stride; t++)
            out[t] = 0.0f;
        const int64_t low = start[k] < 0 ? -start[k] : 0;
        int64_t high = shape.samples - start[k];
        high = high < source.width ? high : source.width;
        for (int64_t t = low; t < high; t++) {
            out[t] = gain * from[2 * t];
            out[stride + t] = gain * from[2 * t + 1];
        }
    }
}

// Σ conj(a)·b of that many samples, and zeros behind them: {re, im}.
static inline void inner_product(const float* a,
                                 size_t a_stride,
                                 const float* b,
                                 size_t b_stride,
                                 int count,
                                 float* out)
{
    V re{}, im{};
    for (int t = 0; t < count; t += lanes) {
        const V ar = load(a + t), ai = load(a + a_stride + t), br = load(b + t),
                bi = load(b + b_stride + t);
        re += ar * br;
        re += ai * bi;
        im += ar * bi;
        im -= ai * br;
    }
    out[0] = sum(re);
    out[1] = sum(im);
}

// Where two slots meet: their segment's front and their rows in it; false for nowhere.
struct Meeting {
    int segment, row, column;
};

static bool
meet(const MixtureShape& shape, const int32_t* one, const int32_t* other, Meeting& found)
{
    int row = one[1], column = other[1], segment = one[0];
    if (one[0] != other[0]) { // the earlier one has to reach into the later one's segment
        int& earlier = one[0] < other[0] ? row : column;
        segment = one[0] < other[0] ? other[0] : one[0];
        if (one[0] + other[0] != 2 * segment - 1 || earlier < shape.eliminated())
            return false;
        earlier -= shape.chain;
    }
    found =
        row > column ? Meeting{ segment, row, column } : Meeting{ segment, column, row };
    return true;
}

// Enter the product {re, im} of unknowns a and b, Σ conj·, into the Gram matrices.
static void enter(const MixtureShape& shape,
                  const MixtureGroup& group,
                  int lane,
                  const int32_t* a,
                  int a_parts,
                  const int32_t* b,
                  int b_parts,
                  const float* product)
{
    for (int x = 0; x < a_parts; x++)
        for (int y = 0; y < b_parts; y++) {
            Meeting at;
            if (!meet(shape, group.place + 2 * a[x], group.place + 2 * b[y], at))
                continue;
            const float value = x == y ? product[0] : x < y ? -product[1] : product[1];
            const size_t place = at.segment * shape.triangle() +
                                 (size_t)at.row * (at.row + 1) / 2 + at.column;
            group.gram[place * lanes + lane] = value;
            int32_t& from = group.from[at.segment * shape.front() + at.row];
            from = at.column < from ? at.column : from;
        }
}

// The products of unknowns [low, high) of a source with those of another that they
// overlap, of a window; of one with itself if they are the same. first: of the other's
// unknowns the first that may overlap, carried from call to call.
static void gram_of(const MixtureShape& shape,
                    const MixtureGroup& group,
                    int lane,
                    const Staged& a,
                    const Staged& b,
                    int low,
                    int high,
                    int& first)
{
    const int a_parts = a.source->dimensions, b_parts = b.source->dimensions;
    const bool same = a.source == b.source;
    for (int i = low; i < high; i++) {
        const int64_t begin = a.start[i], end = begin + a.source->width;
        while (first < b.source->count && b.start[first] + b.source->width <= begin)
            first++;
        for (int j = same ? i : first; j < b.source->count && b.start[j] < end; j++) {
            const int64_t behind = b.start[j] - begin;
            if (!a.there(i) || !b.there(j))
                continue;
            const int64_t skip_a = behind > 0 ? behind : 0,
                          skip_b = behind < 0 ? -behind : 0;
            const int64_t left_a = a.source->width - skip_a,
                          left_b = b.source->width - skip_b;
            float product[2];
            inner_product(a.column(i) + skip_a,
                          a.stride,
                          b.column(j) + skip_b,
                          b.stride,
                          (int)(left_a < left_b ? left_a : left_b),
                          product);
            enter(shape,
                  group,
                  lane,
                  a.slot + i * a_parts,
                  a_parts,
                  b.slot + j * b_parts,
                  b_parts,
                  product);
        }
    }
}

// Gram matrices of two sources, which may be one: about a segment at a time in all
// windows, so that their values, side by side in memory, are written while it is at hand.
static void gram_of_all(const MixtureShape& shape,
                        const MixtureGroup& group,
                        const MixtureColumns& one,
                        const float* columns,
                        const MixtureColumns& other,
                        const float* others)
{
    const int step = one.count / shape.segments + 1;
    int first[lanes] = {};
    for (int low = 0; low < one.count; low += step) {
        const int high = low + step < one.count ? low + step : one.count;
        for (int lane = 0; lane < group.count; lane++) {
            const int window = group.first + lane;
            const Staged a = staged(one, window, columns + lane * one.staged(lanes)),
                         b = staged(other, window, others + lane * other.staged(lanes));
            gram_of(shape, group, lane, a, b, low, high, first[lane]);
        }
    }
}

// Gram matrices, their outline and staged columns of a group.
static void mixture_build(const MixtureShape& shape,
                          const MixtureColumns* sources,
                          int count,
                          const MixtureGroup& group)
{
    const int S = shape.segments, d = shape.local, n = shape.front();
    for (size_t k = 0; k < S * shape.triangle() * lanes; k++)
        group.gram[k] = 0.0f;
    for (size_t k = 0; k < shape.slots() * lanes; k++)
        group.stat[k] = 0.0f;
    for (int s = 0; s < S; s++)
        for (int i = 0; i < n; i++) // rows of the chain's slots before meet each other
            group.from[s * n + i] = i < d || i >= shape.eliminated() ? i : d;
    int32_t* at = group.place;
    for (int s = 0; s < S; s++)
        for (int i = 0; i < d; i++, at += 2)
            at[0] = s, at[1] = i;
    for (int s = 0; s < S; s++)
        for (int i = shape.eliminated(); i < n; i++, at += 2)
            at[0] = s, at[1] = i;
    float* place = group.columns;
    for (int a = 0; a < count; a++)
        for (int lane = 0; lane < group.count; lane++) {
            stage(sources[a], shape, group.first + lane, place);
            place += sources[a].staged(lanes);
        }
    const float* first = group.columns;
    for (int a = 0; a < count; a++) {
        const float* second = first;
        for (int b = a; b < count; b++) {
            gram_of_all(shape, group, sources[a], first, sources[b], second);
            second += group.count * sources[b].staged(lanes);
        }
        first += group.count * sources[a].staged(lanes);
    }
}

// Statistics of windows, complex [windows][samples]. padded: 2·(samples + 2·margin)
// floats of scratch memory; margin: the widest column and a vector.
static void mixture_statistics(const MixtureShape& shape,
                               const MixtureColumns* sources,
                               int count,
                               const MixtureGroup& group,
                               const float* windows,
                               int margin,
                               float* padded)
{
    const int N = shape.samples;
    const size_t stride = (size_t)N + 2 * margin;
    for (size_t k = 0; k < 2 * stride; k++)
        padded[k] = 0.0f;
    for (int lane = 0; lane < group.count; lane++) {
        const float* window = windows + 2 * (size_t)N * (group.first + lane);
        for (int t = 0; t < N; t++) {
            padded[margin + t] = window[2 * t];
            padded[stride + margin + t] = window[2 * t + 1];
        }
        const float* place = group.columns;
        for (int a = 0; a < count; a++) {
            const size_t each = sources[a].staged(lanes);
            const Staged one =
                staged(sources[a], group.first + lane, place + lane * each);
            const int width = one.source->width, parts = one.source->dimensions;
            for (int k = 0; k < one.source->count; k++) {
                const int64_t start = one.start[k];
                if (!one.there(k) || start + width <= 0 || start >= N)
                    continue;
                float product[2];
                inner_product(one.column(k),
                              one.stride,
                              padded + margin + start,
                              stride,
                              width,
                              product);
                for (int x = 0; x < parts; x++)
                    group.stat[(size_t)one.slot[k * parts + x] * lanes + lane] =
                        product[x];
            }
            place += group.count * each;
        }
    }
}

// The waveform of one source, complex [windows][samples], of unknowns, complex
// [windows][count]; padded, margin: as of mixture_statistics.
static void mixture_waveform(const MixtureShape& shape,
                             const MixtureColumns* sources,
                             int number,
                             const MixtureGroup& group,
                             const float* unknowns,
                             float* windows,
                             int margin,
                             float* padded)
{
    const int N = shape.samples, n = sources[number].count;
    const size_t stride = (size_t)N + 2 * margin;
    const float* place = group.columns;
    for (int a = 0; a < number; a++)
        place += group.count * sources[a].staged(lanes);
    for (int lane = 0; lane < group.count; lane++) {
        const size_t window = (size_t)group.first + lane;
        const Staged own = staged(sources[number], (int)window, place);
        for (size_t k = 0; k < 2 * stride; k++)
            padded[k] = 0.0f;
        for (int k = 0; k < n; k++) {
            const int64_t start = own.start[k];
            if (!own.there(k) || start + own.source->width <= 0 || start >= N)
                continue;
            const V re = all(unknowns[2 * (window * n + k)]),
                    im = all(unknowns[2 * (window * n + k) + 1]);
            const float* column = own.column(k);
            float* to = padded + margin + start;
            for (int t = 0; t < own.source->width; t += lanes) {
                const V a = load(column + t), b = load(column + own.stride + t);
                store(to + t, load(to + t) + (re * a - im * b));
                store(to + stride + t, load(to + stride + t) + (re * b + im * a));
            }
        }
        float* out = windows + 2 * N * window;
        for (int t = 0; t < N; t++) {
            out[2 * t] = padded[margin + t];
            out[2 * t + 1] = padded[stride + margin + t];
        }
        place += sources[number].staged(lanes);
    }
}

} // namespace LANES_NAMESPACE

#endif
