/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// What the Python side calls of burst_fit.h and burst_taps.h.

#ifndef INCLUDED_ALPHA_RGS_BURST_FIT_CALLS_H
#define INCLUDED_ALPHA_RGS_BURST_FIT_CALLS_H

#include "burst_fit.h"

namespace LANES_NAMESPACE {
namespace doubles {

static inline FitState laid_out_state(size_t n, Pieces& pieces)
{
    FitState s{};
    s.phase = pieces.take<double>(n);
    s.mean = pieces.take<Row>(n);
    s.second = pieces.take<Reals>(n);
    s.points = pieces.take<int64_t>(n);
    return s;
}

struct FitMemory {
    TapWaves* waves;
    FitState* states; // [alphabets]
    FitScratch* work;
    Row *v, *known;
    int* active;
};

static inline FitMemory
laid_out_fit(const FitModel& model, const FitJob& job, Pieces& pieces)
{
    const size_t n = (size_t)job.symbols;
    FitMemory all{};
    all.waves = pieces.take<TapWaves>(1);
    all.states = pieces.take<FitState>((size_t)model.alphabets);
    all.work = pieces.take<FitScratch>(1);
    all.v = pieces.take<Row>(n);
    all.known = pieces.take<Row>(n);
    all.active = pieces.take<int>(n);
    for (int i = 0; i < model.alphabets; i++) {
        const FitState own = laid_out_state(n, pieces);
        if (all.states)
            all.states[i] = own;
    }
    FitScratch work{};
    work.own = pieces.take<Row>(n);
    double** parts[] = { &work.before, &work.measured, &work.info, &work.gained };
    for (double** part : parts)
        *part = pieces.take<double>(n);
    work.came = pieces.take<uint8_t>(2 * n);
    if (all.work)
        *all.work = work;
    return all;
}

static inline FitTask
task_of(const FitModel& model, const FitJob& job, const FitMemory& memory)
{
    FitTask task{ model,    job,          memory.waves,  {}, {},
                  memory.v, memory.known, memory.active, 0,  0 };
    tap_waves(model, *memory.waves);
    split(model.turned, task.turned);
    for (int k = 0; k < fit_carriers; k++) {
        task.unturned.re[k] = task.turned.re[k];
        task.unturned.im[k] = -task.turned.im[k];
    }
    for (int t = 0; t < job.symbols; t++) {
        Row turn;
        const size_t at = 2 * (size_t)t * fit_carriers;
        split(job.u + at, task.v[t]);
        split(job.turn + at, turn); // of modulus one
        for (double& im : turn.im)
            im = -im;
        multiplied(task.v[t], turn, task.v[t]);
        split(job.known + at, task.known[t]);
        if (!job.seen[t] || job.kind[t] < alpha_rgs::long_training)
            continue;
        task.active[task.count++] = t;
        task.rows += job.kind[t] == alpha_rgs::data;
    }
    return task;
}

static inline void begin(const FitTask& task, int data, FitState& s)
{
    const FitJob& job = task.job;
    split(job.gain, s.gain);
    for (int k = 0; k < fit_carriers; k++)
        s.noise[k] = job.scatter[k];
    s.data = data;
    s.shape = job.shape;
    for (int t = 0; t < job.symbols; t++) {
        s.phase[t] = job.phase[t];
        s.points[t] = -1;
        know(task, s, t);
    }
}

static inline void give(const FitTask& task, const FitState& s)
{
    const FitJob& job = task.job;
    join(s.gain, job.gain);
    for (int k = 0; k < fit_carriers; k++) {
        job.scatter[k] = s.noise[k];
        job.spread[k] = s.spread[k];
    }
    for (int i = 0; i < task.model.taps; i++)
        job.taps[i] = s.taps[i];
    for (int t = 0; t < job.symbols; t++) {
        job.phase[t] = s.phase[t];
        job.points[t] = s.points[t];
        join(s.mean[t], job.mean + 2 * (size_t)t * fit_carriers);
        for (int k = 0; k < fit_carriers; k++)
            job.second[(size_t)t * fit_carriers + k] = s.second[t].value[k];
    }
    job.numbers[0] = s.evidence;
    job.numbers[1] = s.scatter;
    job.numbers[2] = s.data;
}

// By how much symbol t is turned beyond `before`.
static inline double
turned_by(const FitTask& task, FitState& s, int t, double before, FitScratch& work)
{
    const bool training = task.job.kind[t] == alpha_rgs::long_training;
    multiplied(task.v[t], rotation(-before), work.z);
    multiplied(work.z, work.inverse, work.z);
    Points found;
    Row mean = task.known[t];
    double most = -1e300;
    for (int name = 0; name < task.model.alphabets && !training; name++) {
        likely_points(task.model, work.z, work.snr, name, found);
        if (found.evidence > most) {
            most = found.evidence;
            mean = found.mean;
        }
    }
    const double* weight = training ? work.gain_power : work.snr;
    C seen = zero();
    for (int k = 0; k < fit_carriers; k += lanes)
        add_conjugate(seen, load(weight + k) * at(work.z, k), at(mean, k));
    return __builtin_atan2(sum_of(seen.im), sum_of(seen.re));
}

} // namespace doubles

static inline size_t fit_bytes(const alpha_rgs::FitModel& model,
                               const alpha_rgs::FitJob& job)
{
    doubles::Pieces pieces{ nullptr };
    doubles::laid_out_fit(model, job, pieces);
    return pieces.taken;
}

// memory: 64-byte aligned.
static inline void
fit_best(const alpha_rgs::FitModel& model, const alpha_rgs::FitJob& job, char* memory)
{
    doubles::Pieces pieces{ memory };
    const doubles::FitMemory own = doubles::laid_out_fit(model, job, pieces);
    const doubles::FitTask task = doubles::task_of(model, job, own);
    for (int i = 0; i < model.alphabets; i++)
        doubles::begin(task, i, own.states[i]);
    doubles::give(task, doubles::best(task, own.states, *own.work));
}

// Phases of symbols from the first training field on in both directions, each from the
// one before.
static inline void
fit_tracked(const alpha_rgs::FitModel& model, const alpha_rgs::FitJob& job, char* memory)
{
    doubles::Pieces pieces{ memory };
    const doubles::FitMemory own = doubles::laid_out_fit(model, job, pieces);
    const doubles::FitTask task = doubles::task_of(model, job, own);
    doubles::FitState& s = own.states[0];
    doubles::begin(task, 0, s);
    doubles::strengths(task, s, true, false, *own.work);
    doubles::gain_powers(*own.work);
    int first = 0;
    while (first < job.symbols &&
           !(job.seen[first] && job.kind[first] == alpha_rgs::long_training))
        first++;
    if (first == job.symbols)
        return;
    auto follow = [&](int t, double before) {
        job.phase[t] = before;
        if (job.seen[t] && job.kind[t] >= alpha_rgs::long_training)
            job.phase[t] += doubles::turned_by(task, s, t, before, *own.work);
    };
    for (int t = first; t < job.symbols; t++)
        follow(t, t > first ? job.phase[t - 1] : 0.0);
    for (int t = first - 1; t >= 0; t--)
        follow(t, job.phase[t + 1]);
}

// Nats of each kind of channel, [kinds]; see `shapes` of synchronization/burst_taps.py.
static inline void taps_shapes(const alpha_rgs::FitModel& model,
                               const double* information,
                               const double* precision,
                               double strength,
                               double* out)
{
    using namespace doubles;
    TapWaves waves;
    tap_waves(model, waves);
    Row told;
    split(information, told);
    Scalar lag[most_taps], onto[most_taps];
    lags(model, waves, precision, lag);
    onto_taps(model, waves, told, onto);
    evidence_of_kinds(model, lag, onto, 1, strength, [&](int kind, int, double nats) {
        out[kind] = nats;
    });
}

// See `evidence` of synchronization/burst_taps.py; z: [n][carriers] complex. memory:
// [n][taps] complex.
static inline void taps_evidence(const alpha_rgs::FitModel& model,
                                 const double* z,
                                 const bool* use,
                                 int n,
                                 const double* noise_and_power,
                                 double* out,
                                 double* memory)
{
    using namespace doubles;
    TapWaves waves;
    tap_waves(model, waves);
    const double noise = noise_and_power[0], strength = noise_and_power[1];
    double precision[fit_carriers];
    int used = 0;
    for (int k = 0; k < fit_carriers; k++) {
        precision[k] = use[k] / noise;
        used += use[k];
    }
    Scalar lag[most_taps], *told = (Scalar*)memory;
    lags(model, waves, precision, lag);
    const double apart = used * __builtin_log1p(strength / noise);
    const double share = strength / (strength + noise) / noise;
    for (int t = 0; t < n; t++) {
        Row x;
        split(z + 2 * (size_t)t * fit_carriers, x);
        double size = 0;
        for (int k = 0; k < fit_carriers; k++) {
            size += use[k] ? power(x, k) : 0.0;
            x.re[k] *= precision[k];
            x.im[k] *= precision[k];
        }
        onto_taps(model, waves, x, told + (size_t)t * model.taps);
        out[t] = -1e300;
        memory[2 * (size_t)n * model.taps + t] = apart - size * share;
    }
    evidence_of_kinds(model, lag, told, n, strength, [&](int, int t, double nats) {
        out[t] = nats > out[t] ? nats : out[t];
    });
    for (int t = 0; t < n; t++)
        out[t] +=
            memory[2 * (size_t)n * model.taps + t] - __builtin_log((double)model.kinds);
}

// See `response` of synchronization/burst_taps.py.
static inline void taps_response(const alpha_rgs::FitModel& model,
                                 const double* information,
                                 const double* precision,
                                 double strength,
                                 int kind,
                                 double* gain,
                                 double* spread,
                                 double* taps)
{
    using namespace doubles;
    TapWaves waves;
    tap_waves(model, waves);
    Row told;
    split(information, told);
    Response found;
    response(model, waves, told, precision, strength, kind, found);
    join(found.gain, gain);
    for (int k = 0; k < fit_carriers; k++)
        spread[k] = found.spread[k];
    for (int i = 0; i < model.taps; i++)
        taps[i] = found.taps[i];
}

} // namespace LANES_NAMESPACE

#endif
