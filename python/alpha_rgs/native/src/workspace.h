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
    const int32_t *classes, *firsts, *edges;
    int count, frames, symbols; // lanes in use, frames, symbols of a stretch

    // of each frame
    C* clean;     // [M] decided
    C* stat;      // [D + K] statistics over the noise, carriers first
    V* energy;    // left by the clean carriers
    C* edge_gram; // [rows][K][K] of frames that are cut
    V* residual;  // left by all decisions
    I* flagged;   // whether that is too much
    // of a pass: what the way back needs of each frame
    C* gain;        // [D][K]
    C* open;        // [D] carriers, did all symbols vanish
    V* open_var;    // [D]
    C* factor;      // [K][K] columns of the eliminated symbols
    C* right;       // [K]
    V* pivot;       // [K] inverse
    Site* carriers; // [D]
    C* carrier;     // [D] posterior means
    // of each symbol
    Site* sites;
    C* turn; // of its alphabet
    C* soft; // cavity, in the alphabet's own turn
    V* spread;
    // of one frame at a time
    C *samples, *bins, *other;
    C* scratch;

    const FrameClass& frame_class(int f) const { return model->frame_class[classes[f]]; }
    int carriers_of(int f) const { return edges[f] < 0 ? model->near : 0; }
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

// Sets up `w` in memory at `base` for a group; returns the bytes that this takes (base null: alone).
static size_t lay_out(Work& w, const Model& model, const Job& job, const Group& group, char* base)
{
    const size_t D = model.near, K = model.symbols, F = group.frames;
    w.model = &model;
    w.job = &job;
    w.stretch = job.stretches + group.first;
    w.classes = job.classes + group.at;
    w.firsts = job.firsts + group.at;
    w.edges = job.edges + group.at;
    w.count = group.count;
    w.frames = group.frames;
    w.symbols = w.firsts[F - 1] + model.symbols;
    size_t cut = 0;
    for (size_t f = 0; f < F; f++)
        cut += w.edges[f] >= 0;
    const size_t n = w.symbols;
    Arena arena{ base, 0 };
    arena.take(w.clean, F * model.clean);
    arena.take(w.stat, F * (D + K));
    arena.take(w.energy, F);
    arena.take(w.edge_gram, cut * K * K);
    arena.take(w.residual, F);
    arena.take(w.flagged, F);
    arena.take(w.gain, F * D * K);
    arena.take(w.open, F * D);
    arena.take(w.open_var, F * D);
    arena.take(w.factor, F * K * K);
    arena.take(w.right, F * K);
    arena.take(w.pivot, F * K);
    arena.take(w.carriers, F * D);
    arena.take(w.carrier, F * D);
    arena.take(w.sites, n);
    arena.take(w.turn, n);
    arena.take(w.soft, n);
    arena.take(w.spread, n);
    arena.take(w.samples, model.frame);
    arena.take(w.bins, model.transform);
    arena.take(w.other, model.transform);
    arena.take(w.scratch, 2 * D * D + D * K + 2 * D + 2 * K * K + 4 * K);
    return arena.used;
}

} // namespace LANES_NAMESPACE

#endif
