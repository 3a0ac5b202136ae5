/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// A burst from its first look on: what its symbols are, training, and the fit. This
// repeats BurstFit.__init__ of synchronization/burst_fit.py, but for bursts without
// training.

#ifndef INCLUDED_ALPHA_RGS_BURST_FIT_WHOLE_H
#define INCLUDED_ALPHA_RGS_BURST_FIT_WHOLE_H

#include "burst_fit_calls.h"

namespace LANES_NAMESPACE {
namespace doubles {

using alpha_rgs::FitStage;

// Mean power of symbol t on carriers for which use(k).
template <class Use>
static inline double mean_power(const FitJob& job, int t, Use use)
{
    const double* u = job.u + 2 * (size_t)t * fit_carriers;
    double total = 0;
    int n = 0;
    for (int k = 0; k < fit_carriers; k++)
        if (use(k)) {
            total += u[2 * k] * u[2 * k] + u[2 * k + 1] * u[2 * k + 1];
            n++;
        }
    return n ? total / n : 0.0;
}

// The power of the burst, and what its symbols seem to be. level: [symbols].
static inline bool look(const FitModel& m, FitJob& job, double* level, double* sorted)
{
    int count = 0;
    for (int t = 0; t < job.symbols; t++) {
        level[t] = mean_power(job, t, [&](int k) { return job.clear[k]; });
        job.kind[t] = alpha_rgs::data;
        if (job.seen[t])
            sorted[count++] = level[t];
    }
    const double power = count ? median(sorted, count) - job.noise : 0.0;
    job.power = power > 0 ? power : 0.0;
    if (!(job.power > 0))
        return false;
    for (int t = 0; t < job.symbols; t++) {
        if (!job.seen[t])
            continue;
        const double off =
            mean_power(job, t, [&](int k) { return job.clear[k] && !m.sparse[k]; });
        const double on =
            mean_power(job, t, [&](int k) { return job.clear[k] && m.sparse[k]; });
        if (level[t] - job.noise < m.empty * job.power)
            job.kind[t] = alpha_rgs::nothing;
        else if (off - job.noise < m.thin * (on - job.noise))
            job.kind[t] = alpha_rgs::short_training;
    }
    return true;
}

// Whether the burst has the outermost carriers, too.
static inline void find_width(const FitModel& m, FitJob& job)
{
    double size[2] = { 0, 0 };
    int count[2] = { 0, 0 }, rows = 0;
    for (int t = 0; t < job.symbols; t++) {
        if (!job.seen[t] || job.kind[t] != alpha_rgs::data)
            continue;
        rows++;
        for (int inner = 0; inner < 2; inner++)
            size[inner] += mean_power(job, t, [&](int k) {
                return job.whole[k] && (inner ? m.legacy[k] && m.outer[k] : !m.legacy[k]);
            });
    }
    for (int k = 0; k < fit_carriers; k++) {
        count[0] += job.whole[k] && !m.legacy[k];
        count[1] += job.whole[k] && m.legacy[k] && m.outer[k];
    }
    if (!rows || !count[0] || !count[1] ||
        !(size[0] / rows - job.noise > 0.5 * (size[1] / rows - job.noise)))
        return;
    for (int k = 0; k < fit_carriers; k++) {
        job.used[k] = true;
        job.clear[k] = job.whole[k];
    }
}

// What is seen of the channel by training fields; [symbols] each of the last two.
struct Training {
    Row total;
    double* nats; // [ways][symbols]
    int count;
};

// Carriers of symbol t as a way of long training has them, divided by what is sent.
static inline void
as_training(const FitModel& m, const FitJob& job, int t, int way, Row& out)
{
    Row sent, turn;
    split(job.u + 2 * (size_t)t * fit_carriers, out);
    split(m.sent + 2 * (size_t)way * fit_carriers, sent);
    split(m.sent_turn + 2 * (size_t)way * fit_carriers, turn);
    for (double& im : turn.im)
        im = -im; // of modulus one
    multiplied(out, turn, out);
    multiplied(out, sent, out);
}

// Adds symbol t, a training field; phases of fields are not alike.
static inline void
add_training(const FitModel& m, FitJob& job, int t, int way, Training& all)
{
    Row z;
    as_training(m, job, t, way, z);
    double re = 0, im = 0;
    for (int k = 0; k < fit_carriers; k++)
        if (job.clear[k]) {
            re += all.total.re[k] * z.re[k] + all.total.im[k] * z.im[k];
            im += all.total.re[k] * z.im[k] - all.total.im[k] * z.re[k];
        }
    if (all.count++)
        multiplied(z, rotation(-__builtin_atan2(im, re)), z);
    for (int k = 0; k < fit_carriers; k++)
        if (job.clear[k]) {
            all.total.re[k] += z.re[k];
            all.total.im[k] += z.im[k];
        }
    const size_t at = 2 * (size_t)t * fit_carriers, from = 2 * (size_t)way * fit_carriers;
    for (int k = 0; k < 2 * fit_carriers; k++) {
        job.known[at + k] = m.sent[from + k];
        job.turn[at + k] = m.sent_turn[from + k];
    }
    job.kind[t] = alpha_rgs::long_training;
}

// The channel that training shows, as the job's start.
static inline void begin_by_training(const FitModel& m, FitJob& job, const Training& seen)
{
    double information[2 * fit_carriers], precision[fit_carriers],
        nats[alpha_rgs::most_kinds];
    Row told{};
    for (int k = 0; k < fit_carriers; k++) {
        const bool on = job.clear[k] && power(seen.total, k) > 0;
        precision[k] = on ? seen.count / job.noise : 0.0;
        told.re[k] = on ? seen.total.re[k] / job.noise : 0.0;
        told.im[k] = on ? seen.total.im[k] / job.noise : 0.0;
        job.scatter[k] = job.noise;
    }
    join(told, information);
    taps_shapes(m, information, precision, job.power, nats);
    job.shape = 0;
    for (int kind = 1; kind < m.kinds; kind++)
        if (nats[kind] > nats[job.shape])
            job.shape = kind;
    job.alphabet = -2;
    taps_response(
        m, information, precision, job.power, job.shape, job.gain, job.spread, job.taps);
    for (int t = 0; t < job.symbols; t++)
        job.phase[t] = 0;
}

// Short training whose carriers are what the channel says is known.
static inline void look_at_short(const FitModel& m, FitJob& job)
{
    for (int t = 0; t < job.symbols; t++) {
        if (!job.seen[t] || job.kind[t] != alpha_rgs::short_training)
            continue;
        Row u, gain, sent;
        const size_t at = 2 * (size_t)t * fit_carriers;
        split(job.u + at, u);
        split(job.gain, gain);
        split(m.short_sent, sent);
        multiplied(gain, sent, gain);
        multiplied(gain, Scalar{ m.short_gain, 0 }, gain);
        double re = 0, im = 0, off = 0, noise = 0;
        int n = 0;
        auto used = [&](int k) { return job.clear[k] && power(sent, k) > 0; };
        for (int k = 0; k < fit_carriers; k++)
            if (used(k)) {
                re += gain.re[k] * u.re[k] + gain.im[k] * u.im[k];
                im += gain.re[k] * u.im[k] - gain.im[k] * u.re[k];
                noise += job.scatter[k];
                n++;
            }
        const double angle = __builtin_atan2(im, re);
        multiplied(gain, rotation(angle), gain);
        for (int k = 0; k < fit_carriers; k++)
            if (used(k))
                off += (u.re[k] - gain.re[k]) * (u.re[k] - gain.re[k]) +
                       (u.im[k] - gain.im[k]) * (u.im[k] - gain.im[k]);
        off /= n;
        noise /= n;
        const double strength = m.short_gain * m.short_gain * job.power;
        if (!(off < m.far * noise || off < m.fit * strength))
            continue;
        for (int k = 0; k < 2 * fit_carriers; k++)
            job.known[at + k] = m.short_sent[k];
        job.phase[t] = angle;
        job.off[t] = (off > noise ? off - noise : 0.0) / strength;
    }
}

// Finds training fields; memory: of taps_evidence, and [symbols][carriers + ways + 1].
static inline Training find_training(const FitModel& m, FitJob& job, double* memory)
{
    const size_t n = (size_t)job.symbols;
    double *z = memory, *nats = z + 2 * n * fit_carriers, *rest = nats + n * m.ways;
    for (int way = 0; way < m.ways; way++) {
        bool use[fit_carriers];
        for (int k = 0; k < fit_carriers; k++)
            use[k] = job.clear[k] && m.sent[2 * ((size_t)way * fit_carriers + k)] != 0;
        int rows = 0;
        for (int t = 0; t < job.symbols; t++) {
            if (!job.seen[t] || job.kind[t] != alpha_rgs::data)
                continue;
            Row row;
            as_training(m, job, t, way, row);
            join(row, z + 2 * (size_t)rows++ * fit_carriers);
        }
        const double both[] = { job.noise, job.power };
        taps_evidence(m, z, use, rows, both, nats + way * n, rest);
    }
    Training seen{ {}, nats, 0 };
    for (int t = 0, row = 0; t < job.symbols; t++) {
        if (!job.seen[t] || job.kind[t] != alpha_rgs::data)
            continue;
        int best = 0;
        for (int way = 1; way < m.ways; way++)
            if (nats[way * n + row] > nats[best * n + row])
                best = way;
        if (nats[best * n + row] >= m.trained)
            add_training(m, job, t, best, seen);
        row++;
    }
    return seen;
}

} // namespace doubles

static inline size_t whole_doubles(const alpha_rgs::FitModel& model,
                                   const alpha_rgs::FitJob& job)
{
    const size_t n = (size_t)job.symbols;
    return n * (2 * doubles::fit_carriers + model.ways + 2 * model.taps + 1) + 2 * n;
}

static inline size_t whole_bytes(const alpha_rgs::FitModel& model,
                                 const alpha_rgs::FitJob& job)
{
    return fit_bytes(model, job) + 8 * whole_doubles(model, job) + 64;
}

// memory: 64-byte aligned.
static inline void
fit_whole(const alpha_rgs::FitModel& model, const alpha_rgs::FitJob& told, char* memory)
{
    using namespace doubles;
    FitJob job = told;
    double* numbers = (double*)(memory + fit_bytes(model, job) / 64 * 64 + 64);
    const size_t n = (size_t)job.symbols;
    auto stage = [&](FitStage reached) {
        job.numbers[3] = reached;
        job.numbers[4] = job.power;
        job.numbers[5] = job.shape;
    };
    if (!look(model, job, numbers, numbers + n))
        return stage(alpha_rgs::unseen);
    find_width(model, job);
    const Training seen = find_training(model, job, numbers);
    if (!seen.count)
        return stage(alpha_rgs::untrained);
    begin_by_training(model, job, seen);
    fit_tracked(model, job, memory);
    bool data = false;
    for (int t = 0; t < job.symbols; t++)
        data |= job.seen[t] && job.kind[t] == alpha_rgs::data;
    if (!data) {
        look_at_short(model, job);
        return stage(alpha_rgs::dataless);
    }
    fit_best(model, job, memory);
    look_at_short(model, job);
    stage(alpha_rgs::fitted);
}

} // namespace LANES_NAMESPACE

#endif
