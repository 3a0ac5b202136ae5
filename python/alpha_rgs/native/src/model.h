/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// What the kernel is told, the same for all instruction sets: plain structures that point
// into arrays of Python's. Complex numbers are pairs of floats. Units: of the linear
// modulation's gain.

#ifndef INCLUDED_ALPHA_RGS_MODEL_H
#define INCLUDED_ALPHA_RGS_MODEL_H

#include <cstdint>

namespace alpha_rgs {

struct Alphabet {
    int size;            // points
    const float* points; // [size] complex
    int levels[2]; // of real and imaginary part, where these are independent; else 0
    const float* level[2];
    bool signs; // two levels in each part that is not zero: closed forms
};

// Frames in which the symbols lie alike. P samples, N of the transform, K symbols, D
// carriers near the linear modulation's spectrum, M clean ones.
struct FrameClass {
    const float* pulses;  // [K][P] complex
    const int32_t* reach; // [K][2]: samples between which a pulse is not zero
    const float* direct;  // [M] complex: a clean carrier's estimate from its bin
    const float*
        soft; // [K][N] complex: linear estimate of the symbols from folded samples
    const float*
        leak; // [M][K] complex: what that takes from the clean carriers' estimates
    const float* cross; // [D][K] complex: carriers with symbols, over the noise
    const float* own;   // [K][K] complex: symbols with symbols, over the noise
    int32_t before;     // symbols that reach the frame before, too
};

struct Model {
    int frame, prefix, transform; // samples
    int symbols, near, clean;     // K, D, M
    float noise;                  // variance per complex sample, with its floor
    float shrink;                 // of the interference where no carrier is decided
    Alphabet symbol, carrier;
    int32_t stages;        // of the transform
    const int32_t* radix;  // [stages]
    const float* twiddles; // of each stage, [m][radix - 1] complex
    const int32_t *near_bin, *clean_bin;
    const float *near_wave,
        *clean_wave;    // [D], [M] complex: a carrier's amplitude in its bin
    const int32_t* bin; // [D + M]: near ones, then clean ones
    const float* wave;  // [D + M] complex
    const float* gram;  // [D][D] complex: carriers with carriers, over the noise
    const float* turn;  // [P] complex: the carrier offset within a frame, or null
    int classes;
    const FrameClass* frame_class;
    float threshold[3]; // energy left in one frame, two and three neighbours: searched
                        // above
    int passes, cut_passes; // of groups without frames that are cut, and with
    float damping, cut_damping;
    int search_order; // 0: carriers are decided before symbols, being stronger; 1: after
                      // them
    void** search_tables; // [classes][longest_search + 1][2], made by the kernel when it
                          // needs them
};

constexpr int longest_search = 8; // frames

// One stretch of the mixture, which begins on a frame.
struct Stretch {
    int64_t begin;     // sample of frame 0, which may be before the first of the mixture
    int64_t low, high; // samples that there are
    int64_t keep_low, keep_high; // samples that are written
    int64_t symbol_out;          // where symbol `symbol_low` goes
    int32_t symbol_low, symbol_high;
    int32_t exist_low, exist_high; // symbols that there are
    double angle, symbol_angle;    // of the frames' carrier at `begin`, of symbol 0
    double frequency;   // carrier offset of the frames, cycles per sample; the model's
                        // `turn` may be of one that differs by little in a frame
    double symbol_step; // rad from symbol to symbol, of the difference of carriers
    float gain;
};

// Stretches that are alike: side by side in lanes.
struct Group {
    int32_t first, count; // of stretches
    int32_t frames, at;   // classes[at + f], firsts[at + f]
};

struct Job {
    const float* mixture; // complex
    const Stretch* stretches;
    const int32_t* classes;    // of frames
    const int32_t* firsts;     // number of the first symbol that reaches a frame
    float *soi, *interference; // complex, as the mixture; null: not wanted
    float *soft, *variance;    // of symbols
    float* excess; // [stretches]: most that is left in kept frames, over what is searched
    int64_t* count;            // stretches searched, frames searched, changed
    bool skip_head, skip_tail; // frames cut at the ends are context that nobody needs
};

} // namespace alpha_rgs

#endif
