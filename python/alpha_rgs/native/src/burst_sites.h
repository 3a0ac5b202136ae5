/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Sites of expectation propagation in float64 (inference/sites.py), moments over
// alphabets, and pauses.

#ifndef INCLUDED_ALPHA_RGS_BURST_SITES_H
#define INCLUDED_ALPHA_RGS_BURST_SITES_H

#include "bursts.h"
#include "doubles.h"

namespace LANES_NAMESPACE {
namespace doubles {

using alpha_rgs::BurstAlphabet;
using alpha_rgs::BurstLimits;
using alpha_rgs::BurstPauses;

struct Moments {
    C mean;
    V var;
};

// The posterior without its site; var: at least limits.posterior.
static inline Moments
cavity_of(const BurstLimits& limits, const Moments& posterior, V precision, C shift)
{
    const V total = 1.0 / largest(posterior.var, limits.posterior);
    const V var = 1.0 / largest(total - precision, limits.cavity);
    return Moments{ var * (total * posterior.mean - shift), var };
}

// The site under which the cavity has these moments.
static inline void new_site(const BurstLimits& limits,
                            const Moments& moments,
                            const Moments& cavity,
                            V& precision,
                            C& shift)
{
    const V own = 1.0 / cavity.var;
    precision = largest(1.0 / largest(moments.var, limits.var) - own, limits.site);
    shift = (precision + own) * moments.mean - own * cavity.mean;
}

// Of levels, weighted by their likelihood over that of the nearest: sums of the weights,
// and of levels and their squares times these; and the nearest's distance, squared.
struct LevelSums {
    V total, first, second, least;
};

static inline LevelSums level_sums(int n, const double* level, V x, V scale)
{
    LevelSums sums{ V{}, V{}, V{}, all(1e300) };
    for (int i = 0; i < n; i++)
        sums.least = smallest(sums.least, (x - level[i]) * (x - level[i]));
    for (int i = 0; i < n; i++) {
        const V apart = x - level[i];
        const V weight = exponential((sums.least - apart * apart) * scale);
        sums.total += weight;
        sums.first += weight * level[i];
        sums.second += weight * (level[i] * level[i]);
    }
    return sums;
}

// Mean and second moment of one part, whose levels are given, in noise of var/2.
static inline void
part_moments(int n, const double* level, V x, V scale, V& mean, V& second)
{
    if (n == 1) {
        mean = all(level[0]);
        second = all(level[0] * level[0]);
        return;
    }
    if (n == 2 && level[0] == -level[1]) {
        const double size = level[0] < 0 ? -level[0] : level[0];
        mean = size * hyperbolic_tangent(2.0 * size * scale * x);
        second = all(size * size);
        return;
    }
    const LevelSums sums = level_sums(n, level, x, scale);
    mean = sums.first / sums.total;
    second = sums.second / sums.total;
}

// E[a | x] and its variance, x = a + CN(0, var).
static inline Moments moments_of(const BurstAlphabet& alphabet, const Moments& cavity)
{
    const V scale = 1.0 / largest(cavity.var, 1e-12);
    const C x = cavity.mean;
    C mean = zero();
    V second{};
    if (alphabet.levels[0]) {
        V part;
        part_moments(alphabet.levels[0], alphabet.level[0], x.re, scale, mean.re, second);
        part_moments(alphabet.levels[1], alphabet.level[1], x.im, scale, mean.im, part);
        return Moments{ mean, largest(second + part - power(mean), 0.0) };
    }
    V least = all(1e300), total{};
    for (int i = 0; i < alphabet.size; i++) {
        const double *p = alphabet.points + 2 * i, re = p[0], im = p[1];
        least = smallest(least, power(C{ x.re - re, x.im - im }));
    }
    for (int i = 0; i < alphabet.size; i++) {
        const double *p = alphabet.points + 2 * i, re = p[0], im = p[1];
        const V weight = exponential((least - power(C{ x.re - re, x.im - im })) * scale);
        total += weight;
        mean.re += weight * re;
        mean.im += weight * im;
        second += weight * (re * re + im * im);
    }
    const V share = 1.0 / total;
    mean = share * mean;
    return Moments{ mean, largest(second * share - power(mean), 0.0) };
}

// Σ exp((least - |x - p|²)·scale) over all points p.
static inline V points_near(const BurstAlphabet& alphabet, C x, V scale, V& least)
{
    least = all(1e300);
    for (int i = 0; i < alphabet.size; i++) {
        const double* p = alphabet.points + 2 * i;
        least = smallest(least, power(C{ x.re - p[0], x.im - p[1] }));
    }
    V total{};
    for (int i = 0; i < alphabet.size; i++) {
        const double* p = alphabet.points + 2 * i;
        const V distance = power(C{ x.re - p[0], x.im - p[1] });
        total += exponential((least - distance) * scale);
    }
    return total;
}

// How much likelier an estimate is in a pause than a symbol. A symbol that is there is a
// point of the alphabet or, seldom, anything.
static inline V
odds_of_pause(const BurstAlphabet& alphabet, const BurstPauses& p, const Moments& seen)
{
    const V scale = 1.0 / seen.var, power_seen = power(seen.mean);
    V least;
    const V points = points_near(alphabet, seen.mean, scale, least);
    const V near = -least * scale, stray = -power_seen / (seen.var + 1.0),
            rest = -power_seen / (seen.var + p.rest);
    const V most = largest(largest(near, stray), rest);
    const V there = exponential(near - most) * points * scale / (double)alphabet.size +
                    exponential(stray - most) * p.stray / (seen.var + 1.0);
    const V here = exponential(rest - most) / (seen.var + p.rest);
    const double limit = __builtin_exp(p.sure);
    return smallest(largest(here / there, 1 / limit), limit);
}

// Forward-backward algorithm, in place: odds of each symbol by itself become the
// probability of a pause. memory: [n].
static inline void smooth(const BurstPauses& p, int n, double* odds, double* memory)
{
    double now = p.gone / p.back;
    for (int k = 0; k < n; k++) {
        memory[k] = now;
        now *= odds[k];
        now = (now * (1 - p.back) + p.gone) / (now * p.back + 1 - p.gone);
    }
    now = 1.0;
    for (int k = n - 1; k >= 0; k--) {
        const double after = now;
        now *= odds[k];
        now = (now * (1 - p.back) + p.back) / (now * p.gone + 1 - p.gone);
        const double whole = memory[k] * odds[k] * after;
        odds[k] = whole / (1 + whole);
    }
}

// Of a symbol that pauses with probability `away`.
static inline Moments moments_with_pauses(const BurstAlphabet& alphabet,
                                          const BurstPauses& p,
                                          const Moments& cavity,
                                          V away)
{
    const Moments there = moments_of(alphabet, cavity);
    const V share = p.rest / (p.rest + cavity.var);
    const C weak = share * cavity.mean;
    const V apart = away * (1.0 - away) * power(there.mean - weak);
    return Moments{ between(there.mean, weak, away),
                    between(there.var, share * cavity.var, away) + apart };
}

} // namespace doubles
} // namespace LANES_NAMESPACE

#endif
