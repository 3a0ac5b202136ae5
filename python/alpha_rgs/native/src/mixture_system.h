/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// A posterior of a linear mixture from sites outside the lanes, and the memory it needs.

#ifndef INCLUDED_ALPHA_RGS_MIXTURE_SYSTEM_H
#define INCLUDED_ALPHA_RGS_MIXTURE_SYSTEM_H

#include "mixture_pass.h"

namespace LANES_NAMESPACE {

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
