/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Symbols under bursts of OFDM (separators/joint_bursts.py) as the kernel is told of
// them: arrays of the Python side. Complex numbers are pairs of doubles.

#ifndef INCLUDED_ALPHA_RGS_BURSTS_H
#define INCLUDED_ALPHA_RGS_BURSTS_H

#include <cstddef>
#include <cstdint>

namespace alpha_rgs {

struct BurstAlphabet {
    int size;
    const double* points; // [size] complex
    // where each real level goes with each imaginary one; none where they do not
    int levels[2];
    const double* level[2];
};

// Tiles with equally many open carriers.
struct BurstFamily {
    int tiles, carriers;
    const double* received;  // [tiles][length] complex
    const double* waves;     // [tiles][length][carriers] complex
    const double* pulses;    // [tiles][length][symbols] complex
    const double* noise;     // [tiles][length]
    const int64_t* alphabet; // [tiles][carriers]; -1: Gaussian
    double* shift;           // out: of the carriers' sites, [tiles][carriers] complex
    double* inverse;         // out: [tiles][carriers][carriers] complex; or nullptr
};

struct BurstTile {
    int family, row;
    int window, first; // and symbol of it that is its first
    bool decides;      // whether there are carriers with an alphabet
};

// See inference/sites.py.
struct BurstLimits {
    double var, site, cavity, posterior;
};

// See `paused` of separators/joint_bursts.py.
struct BurstPauses {
    double gone, back, rest, stray, sure, cool;
};

struct BurstJob {
    int windows, length, symbols, total; // of a tile: samples, symbols; of a window
    int passes;
    const double* heat; // [passes]
    double damping;
    const BurstFamily* families;
    // Windows are done some at once, `together`: their tiles share lanes. Of batch b:
    // tiles begin[b] to begin[b + 1], those alike and with most carriers first.
    int together;
    const BurstTile* tiles;
    const int32_t* begin;
    const bool* exists; // [windows][total]
    BurstAlphabet symbol;
    const BurstAlphabet* carrier;
    int carriers; // alphabets
    BurstLimits limits;
    BurstPauses pauses;
    // out, of each pass: [passes][windows][total], soft complex
    double *soft, *var;
    // out, of the last one: [windows][total], mean complex
    double *mean, *spread, *away;
};

} // namespace alpha_rgs

#endif
