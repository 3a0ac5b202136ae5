/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// What one thread keeps of the group of stretches that it works on.

#ifndef INCLUDED_ALPHA_RGS_WORKSPACE_H
#define INCLUDED_ALPHA_RGS_WORKSPACE_H

#include "model.h"
#include "simd.h"

namespace LANES_NAMESPACE {

using alpha_rgs::FrameClass;
using alpha_rgs::Group;
using alpha_rgs::Job;
using alpha_rgs::Model;
using alpha_rgs::Stretch;

struct Site {
    V precision;
    C shift; // precision times mean
};

struct Work {
    const Model* model;
    const Job* job;
    const Stretch* stretch; // of lane 0
    const int32_t *classes, *firsts;
    int count, frames, symbols; // lanes in use, frames, symbols of a stretch
    int cut_frames;             // that are not skipped

    // of each frame
    C* clean;     // [M] decided
    C* stat;      // [K] statistics of symbols over the noise
    C* stat_open; // [carriers] of carriers that are not decided
    V* energy;    // left by the clean carriers
    int32_t* row; // -1, or the number of a frame that is cut in some lane
    size_t* base; // where the frame's carriers begin
    // of each frame that is cut
    C* comb;     // [N] sums of e^(2πi·d·n/N) over the samples that there are
    C* cross;    // [carriers][K]
    C* own;      // [K][K]
    V* residual; // left by all decisions
    I* flagged;  // whether that is too much
    // of a pass: what the way back needs of each frame
    C* gain;        // [carriers][K]
    C* open;        // [carriers], did all symbols vanish
    V* open_var;    // [carriers]
    C* factor;      // [K][K] columns of the eliminated symbols
    C* right;       // [K]
    V* pivot;       // [K] inverse
    Site* carriers; // [carriers]
    C* carrier;     // [carriers] posterior means
    // of each symbol
    Site* sites;
    C* turn;   // of its alphabet
    V* exists; // 1 or 0
    C* soft;   // cavity, in the alphabet's own turn
    V* spread;
    // of one frame at a time
    C *samples, *bins, *other;
    C* scratch;
    C* carrier0;   // the frames' carrier, where it stays as it is
    float* staged; // [lanes][frame] complex

    const FrameClass& frame_class(int f) const { return model->frame_class[classes[f]]; }
    bool cut(int f) const { return row[f] >= 0; }
    // a frame that is cut, and nothing is concluded from
    bool skipped(int f) const
    {
        return cut(f) && (f == 0 ? job->skip_head : job->skip_tail);
    }
    int carriers_of(int f) const
    {
        return !cut(f) ? model->near : skipped(f) ? 0 : model->near + model->clean;
    }
    // symbols that frame f reaches and no later one
    int leaving(int f) const
    {
        return f + 1 < frames ? firsts[f + 1] - firsts[f] : model->symbols;
    }
};

constexpr double two_pi = 6.283185307179586;

static inline const Stretch& stretch_of(const Work& w, int lane)
{
    return w.stretch[lane < w.count ? lane : 0]; // lanes without one do the first again
}

// Hands out parts of one piece of memory; without memory it counts.
struct Arena {
    char* base;
    size_t used;

    template <class T>
    void take(T*& to, size_t n)
    {
        used = (used + 63) / 64 * 64;
        to = base ? (T*)(base + used) : nullptr;
        used += n * sizeof(T);
    }
};

// Whether some lane's stretch ends within frame f.
static bool is_cut(const Work& w, int f)
{
    bool whole = true;
    for (int l = 0; l < w.count; l++) {
        const int64_t first = w.stretch[l].begin + (int64_t)f * w.model->frame;
        whole = whole && first >= w.stretch[l].low &&
                first + w.model->frame <= w.stretch[l].high;
    }
    return !whole;
}

// Sets up `w` in memory at `base` for a group; returns the bytes that this takes (base
// null: alone).
static size_t
lay_out(Work& w, const Model& model, const Job& job, const Group& group, char* base)
{
    const size_t D = model.near, K = model.symbols, F = group.frames,
                 whole = D + model.clean;
    w.model = &model;
    w.job = &job;
    w.stretch = job.stretches + group.first;
    w.classes = job.classes + group.at;
    w.firsts = job.firsts + group.at;
    w.count = group.count;
    w.frames = group.frames;
    w.symbols = w.firsts[F - 1] + model.symbols;
    Arena arena{ base, 0 };
    arena.take(w.row, F);
    arena.take(w.base, F);
    size_t rows = 0, carriers = 0;
    w.cut_frames = 0;
    for (size_t f = 0; f < F; f++) {
        const bool cut = is_cut(w, (int)f),
                   skipped = cut && (f == 0 ? job.skip_head : job.skip_tail);
        if (base) {
            w.row[f] = cut ? (int32_t)rows : -1;
            w.base[f] = carriers;
        }
        rows += cut;
        w.cut_frames += cut && !skipped;
        carriers += skipped ? 0 : cut ? whole : D;
    }
    const size_t n = w.symbols, widest = rows ? whole : D;
    arena.take(w.clean, F * model.clean);
    arena.take(w.stat, F * K);
    arena.take(w.stat_open, carriers);
    arena.take(w.energy, F);
    arena.take(w.comb, rows * model.transform);
    arena.take(w.cross, rows * whole * K);
    arena.take(w.own, rows * K * K);
    arena.take(w.residual, F);
    arena.take(w.flagged, F);
    arena.take(w.gain, carriers * K);
    arena.take(w.open, carriers);
    arena.take(w.open_var, carriers);
    arena.take(w.factor, F * K * K);
    arena.take(w.right, F * K);
    arena.take(w.pivot, F * K);
    arena.take(w.carriers, carriers);
    arena.take(w.carrier, carriers);
    arena.take(w.sites, n);
    arena.take(w.turn, n);
    arena.take(w.exists, n);
    arena.take(w.soft, n);
    arena.take(w.spread, n);
    arena.take(w.samples, model.frame);
    arena.take(w.bins, model.transform);
    arena.take(w.other, model.transform);
    arena.take(w.staged, 2 * model.frame * lanes);
    arena.take(w.carrier0, 1);
    arena.take(w.scratch, widest * widest + widest * K + 3 * widest + 2 * K * K + 4 * K);
    return arena.used;
}

} // namespace LANES_NAMESPACE

#endif
