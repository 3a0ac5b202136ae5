/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Which points carriers are likely to be: synchronization/burst_alphabets.py.

#ifndef INCLUDED_ALPHA_RGS_BURST_POINTS_H
#define INCLUDED_ALPHA_RGS_BURST_POINTS_H

#include "burst_sites.h"
#include "burst_taps.h"

namespace LANES_NAMESPACE {
namespace doubles {

// Of one symbol's carriers.
struct Points {
    Row mean;
    double second[fit_carriers], evidence;
};

// Of some carriers. likely: a factor of the likelihood, whose logarithm is to be taken;
// and its logarithm's rest.
struct AxisPoints {
    V mean, second, likely, nats;
};

static inline AxisPoints on_axis(int n, const double* level, V x, V snr)
{
    if (n == 1) {
        const V apart = x - level[0];
        return AxisPoints{
            all(level[0]), all(level[0] * level[0]), all(1.0), -(snr * apart * apart)
        };
    }
    const LevelSums sums = level_sums(n, level, x, snr);
    const V share = 1.0 / sums.total;
    return AxisPoints{ sums.first * share,
                       sums.second * share,
                       sums.total * (1.0 / n),
                       -(snr * sums.least) };
}

static inline AxisPoints chosen(I mask, const AxisPoints& a, const AxisPoints& b)
{
    return AxisPoints{ chosen(mask, a.mean, b.mean),
                       chosen(mask, a.second, b.second),
                       chosen(mask, a.likely, b.likely),
                       chosen(mask, a.nats, b.nats) };
}

static inline I mask_of(const bool* flags)
{
    I out{};
    for (int l = 0; l < lanes; l++)
        out[l] = flags[l] ? -1 : 0;
    return out;
}

static inline bool any(const bool* flags)
{
    bool out = false;
    for (int l = 0; l < lanes; l++)
        out |= flags[l];
    return out;
}

// See `likely` of synchronization/burst_alphabets.py; z equalised, snr: [carriers].
static inline void
likely_points(const FitModel& m, const Row& z, const double* snr, int number, Points& out)
{
    const BurstAlphabet &own = m.alphabet[number], &pilot = m.alphabet[0];
    V factor = all(1.0), nats{};
    for (int k = 0; k < fit_carriers; k += lanes) {
        const C x = at(z, k);
        const V strength = load(snr + k);
        AxisPoints re = on_axis(own.levels[0], own.level[0], x.re, strength);
        AxisPoints im = on_axis(own.levels[1], own.level[1], x.im, strength);
        if (number && any(m.pilots + k)) {
            const I mask = mask_of(m.pilots + k);
            re = chosen(
                mask, on_axis(pilot.levels[0], pilot.level[0], x.re, strength), re);
            im = chosen(
                mask, on_axis(pilot.levels[1], pilot.level[1], x.im, strength), im);
        }
        put(out.mean, k, C{ re.mean, im.mean });
        store(out.second + k, re.second + im.second);
        const I tells = strength > m.faint;
        factor *= chosen(tells, re.likely * im.likely, all(1.0));
        nats += chosen(tells, re.nats + im.nats, V{});
    }
    out.evidence = sum_of(nats);
    for (int l = 0; l < lanes; l++)
        out.evidence += __builtin_log(factor[l]);
}

} // namespace doubles
} // namespace LANES_NAMESPACE

#endif
