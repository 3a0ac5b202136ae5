/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// A linear mixture (inference/linear_mixture.py) as the kernel is told of it: real
// unknowns in slots of segments. Slots of a segment: d local ones, and c of the chain,
// which reach into the next segment too.

#ifndef INCLUDED_ALPHA_RGS_MIXTURE_H
#define INCLUDED_ALPHA_RGS_MIXTURE_H

#include <cstddef>
#include <cstdint>

namespace alpha_rgs {

struct MixtureShape {
    int32_t local, chain, segments; // d, c, S
    int32_t samples;                // of a window

    int eliminated() const { return local + chain; } // p: of a segment's front
    int front() const { return local + 2 * chain; }  // n: and what it reaches of the next
    size_t triangle() const { return (size_t)front() * (front() + 1) / 2; }
    size_t slots() const { return (size_t)segments * (local + chain); }
};

// Columns of one source in all windows.
struct MixtureColumns {
    int32_t count, width, dimensions; // unknowns, samples, real parts of an unknown
    bool shared;                      // columns and starts are of all windows alike
    const int64_t* start;             // [windows or 1][count], ascending
    const float* columns;             // [windows or 1][count][width] complex
    const float* gain;                // [windows]
    const int32_t* slot; // [windows][count][dimensions]; -1 of an unknown that is not
                         // there

    // floats of a column's real, or imaginary, part, with zeros behind for whole vectors
    size_t stride(int lanes) const { return (size_t)(width + lanes); }
    size_t staged(int lanes) const { return 2 * stride(lanes) * count; } // of one window
};

// Windows side by side in the lanes, and what is kept of them; 64-byte aligned.
struct MixtureGroup {
    int first, count; // windows
    float* gram;      // [segments][triangle][lanes]: local, before, own
    float* stat;      // [slots][lanes]
    int32_t* from;    // [segments][front]: the first column that is not zero
    int32_t* place;   // [slots][2]: segment, and row of its front
    float* columns;   // [count] staged columns of all sources
};

struct MixtureSites {
    const float* noise;             // [windows] variance per real dimension
    const float *precision, *shift; // [windows][slots]
    float *mean, *var;              // [windows][slots]
    bool* sound;                    // [windows]: whether single precision has sufficed
};

} // namespace alpha_rgs

#endif
