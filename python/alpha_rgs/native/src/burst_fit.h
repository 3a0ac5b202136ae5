/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Channel, phases and alphabet of a burst by expectation and maximization:
// synchronization/burst_fit.py, of which this repeats BurstFit._tracked and ._best.

#ifndef INCLUDED_ALPHA_RGS_BURST_FIT_H
#define INCLUDED_ALPHA_RGS_BURST_FIT_H

#include "burst_batch.h"
#include "burst_phases.h"

namespace LANES_NAMESPACE {
namespace doubles {

// Of carriers that count: the gain (else 1), its inverse, and the snr (else 0).
static inline void strengths(
    const FitTask& task, const FitState& s, bool pilots, bool narrow, FitScratch& work)
{
    const FitJob& job = task.job;
    for (int k = 0; k < fit_carriers; k++) {
        const double power = s.gain.re[k] * s.gain.re[k] + s.gain.im[k] * s.gain.im[k];
        const bool use = job.clear[k] && (!narrow || job.used[k]) && power > 0 &&
                         (pilots || !task.model.pilots[k]);
        work.use[k] = use;
        work.weight[k] = use ? 1 / s.noise[k] : 0.0;
        work.snr[k] = use ? power / s.noise[k] : 0.0;
        work.gain.re[k] = use ? s.gain.re[k] : 1.0;
        work.gain.im[k] = use ? s.gain.im[k] : 0.0;
        const double share = use ? 1 / power : 1.0;
        work.inverse.re[k] = share * work.gain.re[k];
        work.inverse.im[k] = -share * work.gain.im[k];
    }
}

static inline void gain_powers(FitScratch& work)
{
    for (int k = 0; k < fit_carriers; k++)
        work.gain_power[k] = work.use[k] ? power(work.gain, k) : 0.0;
}

static inline void multiplied(const Row& a, const Row& b, Row& out)
{
    for (int k = 0; k < fit_carriers; k += lanes) {
        C s = zero();
        add(s, at(a, k), at(b, k));
        put(out, k, s);
    }
}

static inline void multiplied(const Row& a, Scalar b, Row& out)
{
    for (int k = 0; k < fit_carriers; k += lanes) {
        C s = zero();
        add(s, at(a, k), C{ all(b.re), all(b.im) });
        put(out, k, s);
    }
}

static inline Scalar rotation(double angle)
{
    return Scalar{ __builtin_cos(angle), __builtin_sin(angle) };
}

// What the carriers of symbol t are likely to be; returns its evidence.
static inline double expect(const FitTask& task, FitState& s, int t, FitScratch& work)
{
    const FitModel& m = task.model;
    Points found, other;
    multiplied(work.own[t], work.inverse, work.z);
    const bool head = t < m.preamble;
    int name = head ? 0 : s.data;
    likely_points(m, work.z, work.snr, name, found);
    if (head) {
        Row turned;
        multiplied(work.z, task.unturned, turned);
        likely_points(m, turned, work.snr, 0, other);
        if (other.evidence > found.evidence) {
            found = other;
            name = m.alphabets;
        }
        if (s.data) {
            likely_points(m, work.z, work.snr, s.data, other);
            if (other.evidence > found.evidence) {
                found = other;
                name = s.data;
            }
        }
    }
    s.points[t] = name;
    if (name == m.alphabets)
        multiplied(found.mean, task.turned, s.mean[t]);
    else
        s.mean[t] = found.mean;
    for (int k = 0; k < fit_carriers; k++)
        s.second[t].value[k] = found.second[k];
    return found.evidence;
}

// Noise of carriers, from what is left on them.
static inline void
find_noise(const FitTask& task, FitState& s, const FitScratch& work, int count, bool each)
{
    const double least = task.job.noise;
    double own[fit_carriers], total = 0;
    int n = 0;
    for (int k = 0; k < fit_carriers; k++)
        if (work.use[k]) {
            own[n] = work.left[k] / (count ? count : 1);
            total += own[n++];
        }
    double usual = !n || !count ? least : each ? median(own, n) : total / n;
    usual = usual > 0.5 * least ? usual : 0.5 * least;
    const double trust = task.model.trust;
    for (int k = 0; k < fit_carriers; k++) {
        double noise = usual;
        if (each && work.use[k])
            noise = (work.left[k] + trust * usual) / (count + trust);
        s.noise[k] = noise > 0.25 * least ? noise : 0.25 * least;
    }
}

// The channel from what its carriers are likely to be, and what is left.
static inline void maximize(
    const FitTask& task, FitState& s, const double* before, bool each, FitScratch& work)
{
    Row told{};
    double precision[fit_carriers] = {};
    for (int i = 0; i < task.count; i++) {
        const int t = task.active[i];
        multiplied(work.own[t], rotation(before[t] - s.phase[t]), work.own[t]);
        for (int k = 0; k < fit_carriers; k += lanes) {
            C sum = at(told, k);
            add_conjugate(sum, at(work.own[t], k), at(s.mean[t], k));
            put(told, k, sum);
            store(precision + k, load(precision + k) + load(s.second[t].value + k));
        }
    }
    for (int k = 0; k < fit_carriers; k++) {
        told.re[k] *= work.weight[k];
        told.im[k] *= work.weight[k];
        precision[k] *= work.weight[k];
    }
    Response found;
    response(task.model, *task.waves, told, precision, task.job.power, s.shape, found);
    V left[carrier_blocks] = {};
    for (int i = 0; i < task.count; i++) {
        const int t = task.active[i];
        for (int b = 0; b < carrier_blocks; b++) {
            const int k = b * lanes;
            const C own = at(work.own[t], k), gain = at(found.gain, k);
            C sent = zero();
            add(sent, gain, at(s.mean[t], k));
            left[b] += power(own) - 2.0 * (own.re * sent.re + own.im * sent.im) +
                       power(gain) * load(s.second[t].value + k);
        }
    }
    for (int b = 0; b < carrier_blocks; b++)
        store(work.left + b * lanes, left[b]);
    s.gain = found.gain;
    for (int k = 0; k < fit_carriers; k++)
        s.spread[k] = found.spread[k];
    for (int i = 0; i < task.model.taps; i++)
        s.taps[i] = found.taps[i];
    find_noise(task, s, work, task.count, each);
}

// The state after one turn.
static inline void
turn_once(const FitTask& task, FitState& s, bool pilots, bool each, FitScratch& work)
{
    const FitJob& job = task.job;
    strengths(task, s, pilots, true, work);
    s.evidence = 0;
    for (int i = 0; i < task.count; i++) {
        const int t = task.active[i];
        multiplied(task.v[t], rotation(-s.phase[t]), work.own[t]);
        if (job.kind[t] == alpha_rgs::data)
            s.evidence += expect(task, s, t, work);
        else
            know(task, s, t);
    }
    double noise = 0;
    for (int k = 0; k < fit_carriers; k++)
        noise += work.use[k] ? __builtin_log(s.noise[k]) : 0.0;
    s.evidence -= task.rows * noise;
    for (int t = 0; t < job.symbols; t++)
        work.before[t] = s.phase[t];
    find_phases(task, s, work);
    maximize(task, s, work.before, each, work);
}

// Symbols turned by a quarter where pilots are BPSK then.
static inline void by_pilots(const FitTask& task, FitState& s, FitScratch& work)
{
    const FitJob& job = task.job;
    if (!s.data) {
        turn_once(task, s, true, false, work);
        return;
    }
    strengths(task, s, true, true, work);
    for (int k = 0; k < fit_carriers; k++)
        work.snr[k] *= task.model.pilots[k];
    Points found;
    for (int t = 0; t < job.symbols; t++) {
        work.gained[t] = 0;
        if (!job.seen[t] || job.kind[t] != alpha_rgs::data)
            continue;
        multiplied(task.v[t], rotation(-s.phase[t]), work.z);
        multiplied(work.z, work.inverse, work.z);
        likely_points(task.model, work.z, work.snr, 0, found);
        const double before = found.evidence;
        multiplied(work.z, Scalar{ 0, -1 }, work.z);
        likely_points(task.model, work.z, work.snr, 0, found);
        work.gained[t] = found.evidence - before;
    }
    turn_quarters(job.symbols, task.model.slip, work.gained, s.phase, work.came);
    turn_once(task, s, true, false, work);
}

// How likely carriers are that are nothing but noise.
static inline double unknown(const FitTask& task, const FitState& s, FitScratch& work)
{
    strengths(task, s, true, true, work);
    double total = 0, noise = 0;
    for (int k = 0; k < fit_carriers; k++) {
        noise += task.job.clear[k] ? __builtin_log(s.noise[k]) : 0.0;
        if (!work.use[k])
            continue;
        const double share = work.weight[k] / (1 + work.snr[k]);
        double size = 0;
        for (int i = 0; i < task.count; i++)
            if (task.job.kind[task.active[i]] == alpha_rgs::data)
                size += power(task.v[task.active[i]], k);
        total -= size * share + task.rows * __builtin_log1p(work.snr[k]);
    }
    return total - task.rows * noise;
}

// The `likely` best of the states, in order of their evidence; among equals the first.
static inline int sorted(const FitState* states, int* order, int count, int likely)
{
    for (int i = 1; i < count; i++)
        for (int j = i;
             j > 0 && states[order[j]].evidence > states[order[j - 1]].evidence;
             j--) {
            const int other = order[j];
            order[j] = order[j - 1];
            order[j - 1] = other;
        }
    return count < likely ? count : likely;
}

// Which of the states is best; they begin alike but for their alphabets.
static inline FitState& best(const FitTask& task, FitState* states, FitScratch& work)
{
    const FitModel& m = task.model;
    const bool anew = task.job.alphabet != -2;
    int order[alpha_rgs::most_alphabets] = {};
    int count = task.job.alphabet == 0 ? 1 : m.alphabets;
    for (int i = 0; i < count; i++)
        order[i] = i;
    const int turns = m.turns[0] * (1 + anew);
    for (int turn = 0; turn < turns; turn++) {
        if (turn == turns / 2)
            count = sorted(states, order, count, m.likely);
        for (int i = 0; i < count; i++) {
            FitState& s = states[order[i]];
            for (int k = 0; k < fit_carriers && anew; k++) {
                const double cooler = m.cooling * s.noise[k];
                s.noise[k] = cooler > task.job.noise ? cooler : task.job.noise;
            }
            turn_once(task, s, !anew, false, work);
        }
    }
    for (int i = 0; i < count && anew; i++)
        by_pilots(task, states[order[i]], work);
    int first = 0;
    for (int i = 1; i < count; i++)
        if (states[order[i]].evidence > states[order[first]].evidence)
            first = i;
    FitState& s = states[order[first]];
    for (int turn = 0; turn < m.turns[1]; turn++)
        turn_once(task, s, true, turn > 0, work);
    if (!(s.evidence > unknown(task, s, work)))
        s.data = -1;
    return s;
}

} // namespace doubles
} // namespace LANES_NAMESPACE

#endif
