/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Windows that are done at once, and their memory.

#ifndef INCLUDED_ALPHA_RGS_BURST_BATCH_H
#define INCLUDED_ALPHA_RGS_BURST_BATCH_H

#include "burst_chain.h"
#include "burst_elimination.h"

namespace LANES_NAMESPACE {
namespace doubles {

// Pieces of one block of memory; without one, how much they take.
struct Pieces {
    char* at;
    size_t taken = 0;

    template <class T>
    T* take(size_t n)
    {
        T* out = at ? (T*)(at + taken) : nullptr;
        taken += (n * sizeof(T) + 63) / 64 * 64;
        return out;
    }
};

// The symbols of one window.
struct BurstWindow {
    int number;
    BurstChain* chain; // and its lane there
    int lane;
    double* precision;   // of sites, [symbols]
    double *re, *im;     // their shifts, likewise
    double *soft, *side; // cavities' means, real and imaginary
    double *var, *away, *memory;
};

struct BurstBatch {
    const BurstJob& job;
    int first, windows, groups, chains;
    BurstWindow* window;
    BurstChain* chain;
    BurstGroup* group;
    BurstScratch scratch;
    C* inverse; // [carriers][carriers]

    BurstWindow& of(const BurstTile& tile) const { return window[tile.window - first]; }
};

// How many of the tiles make one group: side by side with one of many carriers, those of
// few would cost as much.
static inline int together(const BurstJob& job, const BurstTile* first, int left)
{
    const int most = job.families[first->family].carriers;
    int count = 1;
    while (count < lanes && count < left && first[count].decides == first->decides &&
           job.families[first[count].family].carriers * 2 >= most)
        count++;
    return count;
}

static inline BurstGroup laid_out(const BurstJob& job,
                                  const BurstTile* tile,
                                  const BurstTile* last,
                                  Pieces& pieces)
{
    BurstGroup own{};
    const size_t wide = (size_t)job.symbols + 1;
    own.tiles = tile;
    own.count = together(job, tile, (int)(last - tile));
    own.carriers = job.families[tile->family].carriers;
    const size_t d = (size_t)own.carriers;
    own.gram = pieces.take<C>(triangle(d + wide));
    own.precision = pieces.take<V>(d);
    own.shift = pieces.take<C>(d);
    own.alphabet = pieces.take<I>(d);
    own.present = pieces.take<uint32_t>(d);
    own.gain = pieces.take<C>(d * wide);
    own.own = pieces.take<V>(d);
    own.side = pieces.take<C>(d);
    return own;
}

static inline BurstWindow laid_out(const BurstJob& job, int number, Pieces& pieces)
{
    BurstWindow w{};
    w.number = number;
    double** parts[] = { &w.precision, &w.re,  &w.im,   &w.soft,
                         &w.side,      &w.var, &w.away, &w.memory };
    for (double** part : parts)
        *part = pieces.take<double>(padded((size_t)job.total));
    return w;
}

static inline BurstChain laid_out_chain(const BurstJob& job, Pieces& pieces)
{
    BurstChain chain{};
    chain.total = job.total;
    chain.width = job.symbols - 1;
    chain.band = pieces.take<C>(chain.rows() * chain.wide());
    chain.z = pieces.take<C>(chain.rows() * chain.wide());
    chain.h = pieces.take<C>(chain.rows());
    chain.pivot = pieces.take<V>((size_t)job.total);
    return chain;
}

static inline BurstBatch laid_out_batch(const BurstJob& job, int batch, Pieces& pieces)
{
    const BurstTile *tile = job.tiles + job.begin[batch],
                    *last = job.tiles + job.begin[batch + 1];
    const int first = batch * job.together, left = job.windows - first;
    BurstBatch all{ job,     first,   left < job.together ? left : job.together,
                    0,       0,       nullptr,
                    nullptr, nullptr, {},
                    nullptr };
    all.chains = (all.windows + lanes - 1) / lanes;
    all.window = pieces.take<BurstWindow>((size_t)all.windows);
    all.chain = pieces.take<BurstChain>((size_t)all.chains);
    for (int k = 0; k < all.chains; k++) {
        const BurstChain own = laid_out_chain(job, pieces);
        if (all.chain)
            all.chain[k] = own;
    }
    all.group = pieces.take<BurstGroup>((size_t)(last - tile));
    size_t most = 0;
    const size_t wide = (size_t)job.symbols + 1;
    for (int w = 0; w < all.windows; w++) {
        BurstWindow own = laid_out(job, first + w, pieces);
        own.chain = all.chain ? all.chain + w / lanes : nullptr;
        own.lane = w % lanes;
        if (all.window)
            all.window[w] = own;
    }
    for (; tile < last; all.groups++) {
        const BurstGroup own = laid_out(job, tile, last, pieces);
        most = (size_t)own.carriers > most ? (size_t)own.carriers : most;
        if (all.group)
            all.group[all.groups] = own;
        tile += own.count;
    }
    const size_t length = (size_t)job.length > most ? (size_t)job.length : most;
    all.scratch.root = pieces.take<C>((most + wide) * length);
    all.scratch.pivot = pieces.take<V>(most);
    all.scratch.column = pieces.take<C>(4 * most);
    all.scratch.reduced = pieces.take<C>(triangle(wide));
    all.inverse = pieces.take<C>(most * most);
    return all;
}

} // namespace doubles
} // namespace LANES_NAMESPACE

#endif
