/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// The kernel for each instruction set that this file's compiler knows.

#ifndef INCLUDED_ALPHA_RGS_KERNELS_H
#define INCLUDED_ALPHA_RGS_KERNELS_H

#include <cstddef>

#include "burst_fit_model.h"
#include "bursts.h"
#include "mixture.h"
#include "model.h"

namespace alpha_rgs {

struct MixtureKernel {
    // scratch memory that a posterior needs
    size_t (*bytes)(const MixtureShape&);
    void (*build)(const MixtureShape&,
                  const MixtureColumns* sources,
                  int count,
                  const MixtureGroup&);
    void (*statistics)(const MixtureShape&,
                       const MixtureColumns* sources,
                       int count,
                       const MixtureGroup&,
                       const float* windows,
                       int margin,
                       float* padded);
    void (*waveform)(const MixtureShape&,
                     const MixtureColumns* sources,
                     int number,
                     const MixtureGroup&,
                     const float* unknowns,
                     float* windows,
                     int margin,
                     float* padded);
    void (*posterior)(const MixtureShape&,
                      const MixtureGroup&,
                      const MixtureSites&,
                      char* memory);
};

struct BurstKernel {
    // memory that a batch of windows needs, 64-byte aligned
    size_t (*bytes)(const BurstJob&, int batch);
    void (*passes)(const BurstJob&, int batch, char* memory);
};

// See burst_fit_calls.h and burst_fit_whole.h.
struct BurstFitKernel {
    size_t (*bytes)(const FitModel&, const FitJob&);
    void (*best)(const FitModel&, const FitJob&, char* memory);
    // from a burst's carriers alone
    size_t (*whole_bytes)(const FitModel&, const FitJob&);
    void (*whole)(const FitModel&, const FitJob&, char* memory);
    void (*shapes)(const FitModel&,
                   const double* information,
                   const double* precision,
                   double strength,
                   double* nats);
    void (*response)(const FitModel&,
                     const double* information,
                     const double* precision,
                     double strength,
                     int kind,
                     double* gain,
                     double* spread,
                     double* taps);
};

struct Kernel {
    const char* name;
    int lanes;
    // memory that `detect` needs, 64-byte aligned
    size_t (*bytes)(const Model&, const Job&, const Group&);
    void (*detect)(const Model&, const Job&, const Group&, char* memory, int64_t* count);
    void (*discard)(void* search_table);
    MixtureKernel mixture;
    BurstKernel bursts;
    BurstFitKernel burst_fit;
};

extern const Kernel baseline;
#if defined(__x86_64__)
extern const Kernel avx2, avx512;
#endif

} // namespace alpha_rgs

#endif
