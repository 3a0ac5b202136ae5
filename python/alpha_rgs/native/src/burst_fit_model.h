/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// A burst of OFDM whose channel, phases and alphabet are found
// (synchronization/burst_fit.py), as the kernel is told of it: arrays of the Python side.
// Complex numbers are pairs of doubles.

#ifndef INCLUDED_ALPHA_RGS_BURST_FIT_MODEL_H
#define INCLUDED_ALPHA_RGS_BURST_FIT_MODEL_H

#include <cstdint>

#include "bursts.h"

namespace alpha_rgs {

constexpr int fit_carriers = 56;
constexpr int most_taps = 32, most_kinds = 256, most_alphabets = 8;

// What is true of all bursts.
struct FitModel {
    int alphabets; // BPSK first
    BurstAlphabet alphabet[most_alphabets];
    double faint;            // snr of a carrier that tells something
    const bool* pilots;      // [carriers]
    const double* turned;    // [carriers] complex: of symbols of BPSK that are turned
    int kinds, taps;         // of channels
    const double* amplitude; // [kinds][taps]
    const double* wave;      // [taps][carriers] complex: response of each tap
    const double* lag; // [taps][carriers] complex: of taps so many samples behind another
    // see the constants of synchronization/burst_fit.py
    int preamble, fewest, likely, turns[2];
    double cooling, trust, slip;
    const bool *legacy, *outer, *sparse; // [carriers]: of all bursts, the outermost of
                                         // these, and those of short training
    const double* short_sent;            // [carriers] complex: short training
    int ways;                            // of long training
    const double *sent, *sent_turn; // [ways][carriers] complex: what it is, and turns it
    double trained, empty, thin, far, fit, short_gain;
};

enum FitStage { unseen, untrained, dataless, fitted };

enum FitKind : int64_t { nothing, short_training, long_training, data };

// One burst.
struct FitJob {
    int symbols;
    const double* u;    // [symbols][carriers] complex
    double* turn;       // likewise
    double* known;      // likewise
    int64_t* kind;      // [symbols], FitKind
    const bool* seen;   // [symbols]
    const bool* whole;  // [carriers]: that no other signal reaches
    bool *clear, *used; // [carriers]
    double noise, power;
    int alphabet; // -1: unknown, -2: unknown, but training was seen
    int shape;    // of the channel
    // in and out
    double* gain;    // [carriers] complex
    double* phase;   // [symbols]
    double* scatter; // [carriers]: noise
    // out
    double* spread;  // [carriers]
    double* taps;    // [taps]
    double* mean;    // [symbols][carriers] complex
    double* second;  // [symbols][carriers]
    int64_t* points; // [symbols]: alphabet, or `alphabets` where BPSK is turned; else -1
    double* off;     // [symbols]: error power of short training
    double* numbers; // [6]: evidence, variance of phases, alphabet (-1: Gaussian),
                     // FitStage, power, shape
};

} // namespace alpha_rgs

#endif
