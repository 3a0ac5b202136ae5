/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// A linear mixture's Gram matrices and statistics from its sources' columns, window by
// window, and what goes in and out of the lanes.

#ifndef INCLUDED_ALPHA_RGS_MIXTURE_SYSTEM_H
#define INCLUDED_ALPHA_RGS_MIXTURE_SYSTEM_H

#include "mixture_pass.h"

namespace LANES_NAMESPACE {

using alpha_rgs::MixtureColumns;

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

static inline float sum_of(V x)
{
    float total = 0.0f;
    for (int l = 0; l < lanes; l++)
        total += x[l];
    return total;
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
    out[0] = sum_of(re);
    out[1] = sum_of(im);
}

// Where two slots meet: their segment's front and their rows in it; false for nowhere.
struct Meeting {
    int segment, row, column;
};

static bool meet(const MixtureShape& shape, int a, int b, Meeting& found)
{
    const int d = shape.local, c = shape.chain, locals = shape.segments * d;
    if (a > b) {
        const int kept = a;
        a = b;
        b = kept;
    }
    const bool a_local = a < locals, b_local = b < locals;
    const int s = a_local ? a / d : (a - locals) / c,
              t = b_local ? b / d : (b - locals) / c;
    const int i = a_local ? a % d : (a - locals) % c,
              j = b_local ? b % d : (b - locals) % c;
    if (a_local && b_local)
        found = Meeting{ s, j, i };
    else if (a_local)
        found = Meeting{ s, (t == s ? d + c : d) + j, i };
    else
        found = Meeting{ t, d + c + j, (t == s ? d + c : d) + i };
    return t == s || (!b_local && (a_local ? t == s - 1 : t == s + 1));
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
            if (!meet(shape, a[x], b[y], at))
                continue;
            const float value = x == y ? product[0] : x < y ? -product[1] : product[1];
            const size_t place = at.segment * shape.triangle() +
                                 (size_t)at.row * (at.row + 1) / 2 + at.column;
            group.gram[place * lanes + lane] = value;
            int32_t& from = group.from[at.segment * shape.front() + at.row];
            from = at.column < from ? at.column : from;
        }
}

// The products of two sources' unknowns that overlap, of a window; of one with itself if
// they are the same.
static void gram_of(const MixtureShape& shape,
                    const MixtureGroup& group,
                    int lane,
                    const Staged& a,
                    const Staged& b,
                    bool same)
{
    const int a_parts = a.source->dimensions, b_parts = b.source->dimensions;
    int first = 0;
    for (int i = 0; i < a.source->count; i++) {
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
            if (left_b <= 0)
                continue;
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
    float* place = group.columns;
    for (int a = 0; a < count; a++)
        for (int lane = 0; lane < group.count; lane++) {
            stage(sources[a], shape, group.first + lane, place);
            place += sources[a].staged(lanes);
        }
    for (int lane = 0; lane < group.count; lane++) {
        const float* first = group.columns;
        for (int a = 0; a < count; a++) {
            const size_t each = sources[a].staged(lanes);
            const Staged one =
                staged(sources[a], group.first + lane, first + lane * each);
            const float* second = first;
            for (int b = a; b < count; b++) {
                const size_t size = sources[b].staged(lanes);
                const Staged other =
                    staged(sources[b], group.first + lane, second + lane * size);
                gram_of(shape, group, lane, one, other, a == b);
                second += group.count * size;
            }
            first += group.count * each;
        }
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

// Rows of `count` floats of the windows in use -> vectors; `other` in the other lanes.
static void into_lanes(const float* rows, size_t count, int used, float other, V* out)
{
    for (size_t k = 0; k < count; k++)
        out[k] = all(other);
    for (int lane = 0; lane < used; lane++)
        for (size_t k = 0; k < count; k++)
            ((float*)out)[k * lanes + lane] = rows[lane * count + k];
}

static void out_of_lanes(const V* from, size_t count, int used, float* rows)
{
    for (int lane = 0; lane < used; lane++)
        for (size_t k = 0; k < count; k++)
            rows[lane * count + k] = ((const float*)from)[k * lanes + lane];
}

// Memory of a pass.
static MixtureWork mixture_work(const MixtureShape& shape,
                                const MixtureGroup& group,
                                char* memory,
                                size_t& bytes)
{
    const size_t d = shape.local, c = shape.chain, n = shape.front(),
                 p = shape.eliminated(), S = shape.segments;
    char* at = memory;
    auto take = [&](size_t count, size_t each) {
        char* own = at;
        at += (count * each + 63) / 64 * 64;
        return own;
    };
    auto vectors = [&](size_t count) { return (V*)take(count, sizeof(V)); };
    V* slots[4];
    for (V*& own : slots)
        own = vectors(shape.slots());
    V* low = vectors((S + 1) * (n + 1) * p);
    V* pivot = vectors((S + 1) * p);
    V* rest = vectors((c + 1) * c);
    V* joint = vectors(4 * c * c);
    const size_t widest = d * (d + 2 * c) > 2 * c * c ? d * (d + 2 * c) : 2 * c * c;
    V *solved = vectors(widest), *part = vectors(c * c), *cov = vectors(c * c),
      *point = vectors(2 * c);
    int *from = (int*)take(n + 1, sizeof(int)), *last = (int*)take(p, sizeof(int));
    bytes = (size_t)(at - memory);
    return MixtureWork{
        shape, group, slots[0], slots[1], slots[2], slots[3], low,  pivot,
        rest,  joint, solved,   part,     cov,      point,    from, last
    };
}

static size_t mixture_bytes(const MixtureShape& shape)
{
    size_t bytes;
    mixture_work(shape, MixtureGroup{}, nullptr, bytes);
    return bytes;
}

static void mixture_posterior(const MixtureShape& shape,
                              const MixtureGroup& group,
                              const MixtureSites& sites,
                              char* memory)
{
    size_t bytes;
    const size_t slots = shape.slots(), first = (size_t)group.first * slots;
    const int used = group.count;
    const MixtureWork w = mixture_work(shape, group, memory, bytes);
    into_lanes(sites.precision + first, slots, used, 1.0f, w.precision);
    into_lanes(sites.shift + first, slots, used, 0.0f, w.shift);
    V noise;
    into_lanes(sites.noise + group.first, 1, used, 1.0f, &noise);
    I bad{};
    forward(w, 1.0f / noise, bad);
    backward(w, bad);
    out_of_lanes(w.mean, slots, used, sites.mean + first);
    out_of_lanes(w.var, slots, used, sites.var + first);
    for (int lane = 0; lane < used; lane++)
        sites.sound[group.first + lane] = !bad[lane];
}

} // namespace LANES_NAMESPACE

#endif
