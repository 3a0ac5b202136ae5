/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// What a burst is taken to be while it is fitted, and the phases of its symbols:
// BurstFit._phases and _quarters of synchronization/burst_fit.py.

#ifndef INCLUDED_ALPHA_RGS_BURST_PHASES_H
#define INCLUDED_ALPHA_RGS_BURST_PHASES_H

#include "burst_points.h"

namespace LANES_NAMESPACE {
namespace doubles {

using alpha_rgs::FitJob;

constexpr double pi = 3.14159265358979323846;

struct Reals {
    double value[fit_carriers];
};

// See State of synchronization/burst_fit.py.
struct FitState {
    Row gain;
    double spread[fit_carriers], noise[fit_carriers], taps[most_taps];
    double evidence, scatter;
    int data, shape; // alphabet
    double* phase;   // [symbols]
    Row* mean;       // likewise
    Reals* second;
    int64_t* points;
};

// A job, and what follows from it.
struct FitTask {
    const FitModel& model;
    const FitJob& job;
    const TapWaves* waves;
    Row turned, unturned;
    Row* v;          // [symbols]: carriers without what is known to turn them
    Row* known;      // likewise: what training is
    int* active;     // [count]: symbols that are seen, and data or long training
    int count, rows; // rows: data
};

struct FitScratch {
    bool use[fit_carriers];
    double snr[fit_carriers], weight[fit_carriers], left[fit_carriers];
    double gain_power[fit_carriers]; // of those that count
    Row gain, inverse, z;
    Row* own; // [symbols]
    double *before, *measured, *info, *gained;
    uint8_t* came; // [symbols][2]
};

static inline double power(const Row& x, int k)
{
    return x.re[k] * x.re[k] + x.im[k] * x.im[k];
}

static inline void know(const FitTask& task, FitState& s, int t)
{
    s.mean[t] = task.known[t];
    for (int k = 0; k < fit_carriers; k++)
        s.second[t].value[k] = power(task.known[t], k);
}

static inline double median(double* x, int n) // of n > 0, which it sorts
{
    for (int i = 1; i < n; i++) {
        const double own = x[i];
        int j = i;
        for (; j > 0 && x[j - 1] > own; j--)
            x[j] = x[j - 1];
        x[j] = own;
    }
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

// Phases each of which lies within half a turn of the one before.
static inline void unwrap(double* x, int n)
{
    double before = n ? x[0] : 0.0, moved = 0;
    for (int i = 1; i < n; i++) {
        const double step = x[i] - before;
        before = x[i];
        double inside = __builtin_fmod(step + pi, 2 * pi);
        inside += inside < 0 ? 2 * pi : 0.0;
        inside -= pi;
        if (inside == -pi && step > 0)
            inside = pi;
        if (__builtin_fabs(step) >= pi)
            moved += inside - step;
        x[i] += moved;
    }
}

struct Line {
    double middle, value, slope;
    double at(double x) const { return value + slope * (x - middle); }
};

// The line through values of weights at the active symbols.
static inline Line
line_through(const FitTask& task, const double* value, const double* weight)
{
    double total = 0, middle = 0, mean = 0, across = 0, wide = 0;
    for (int i = 0; i < task.count; i++) {
        total += weight[i];
        middle += weight[i] * task.active[i];
        mean += weight[i] * value[i];
    }
    middle /= total;
    mean /= total;
    for (int i = 0; i < task.count; i++) {
        const double away = task.active[i] - middle;
        across += weight[i] * away * (value[i] - mean);
        wide += weight[i] * away * away;
    }
    return Line{ middle, mean, wide > 0 ? across / wide : 0.0 };
}

// Phases of active symbols as measured, and their information.
static inline void
measure_phases(const FitTask& task, const FitState& s, FitScratch& work)
{
    for (int i = 0; i < task.count; i++) {
        const int t = task.active[i];
        C seen = zero();
        V info{};
        for (int k = 0; k < fit_carriers; k += lanes) {
            const V weight = load(work.weight + k);
            C sent = zero();
            add(sent, at(s.gain, k), at(s.mean[t], k));
            add_conjugate(seen, weight * at(work.own[t], k), sent);
            info += load(work.snr + k) * load(s.second[t].value + k);
        }
        const double told = 2 * sum_of(info);
        work.info[i] = told > 2e-12 ? told : 2e-12;
        work.measured[i] = s.phase[t] + __builtin_atan2(sum_of(seen.im), sum_of(seen.re));
    }
}

// Own phases, drawn to the line through all as far as noise explains what they are off.
static inline void find_phases(const FitTask& task, FitState& s, FitScratch& work)
{
    const int n = task.count;
    measure_phases(task, s, work);
    s.scatter = 0;
    if (n < task.model.fewest) {
        for (int i = 0; i < n; i++) {
            s.phase[task.active[i]] = work.measured[i];
            s.scatter += 1 / work.info[i] / n;
        }
        return;
    }
    unwrap(work.measured, n);
    const Line line = line_through(task, work.measured, work.info);
    double rough = 0;
    for (int i = 0; i < n; i++) {
        work.measured[i] -= line.at(task.active[i]);
        rough += (work.measured[i] * work.measured[i] - 1 / work.info[i]) / n;
    }
    rough = rough > 0 ? rough : 0;
    for (int t = 0; t < task.job.symbols; t++)
        s.phase[t] = line.at(t);
    for (int i = 0; i < n; i++) {
        const double share = rough / (rough + 1 / work.info[i]);
        s.phase[task.active[i]] += share * work.measured[i];
        s.scatter += (share / work.info[i] + 2 / (n * work.info[i])) / n;
    }
}

// The likeliest sequence of symbols that are turned by a quarter, given by how many nats
// each is likelier turned; those are turned. came: [n][2].
static inline void
turn_quarters(int n, double slip, const double* gained, double* phase, uint8_t* came)
{
    double value[2] = { 0, 0 };
    for (int t = 0; t < n; t++) {
        double next[2];
        for (int state = 0; state < 2; state++) {
            const double stays = value[state], comes = value[1 - state] - slip;
            next[state] = (stays > comes ? stays : comes) + state * gained[t];
            came[2 * t + state] = (uint8_t)(stays >= comes ? state : 1 - state);
        }
        value[0] = next[0];
        value[1] = next[1];
    }
    int state = value[1] > value[0];
    for (int t = n - 1; t >= 0; t--) {
        phase[t] += state * pi / 2;
        state = came[2 * t + state];
    }
}

} // namespace doubles
} // namespace LANES_NAMESPACE

#endif
