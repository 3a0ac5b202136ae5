/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Moments of symbols in Gaussian noise, and decisions.

#ifndef INCLUDED_ALPHA_RGS_ALPHABET_H
#define INCLUDED_ALPHA_RGS_ALPHABET_H

#include "model.h"
#include "simd.h"

namespace LANES_NAMESPACE {

using alpha_rgs::Alphabet;

// Mean and second moment of one part, whose levels are given, in noise of
// 1/(2·precision).
static inline void
part_moments(int n, const float* level, V x, V precision, V& mean, V& second)
{
    V least = all(1e30f);
    for (int i = 0; i < n; i++)
        least = smallest(least, (x - level[i]) * (x - level[i]));
    V total{}, first{};
    second = V{};
    for (int i = 0; i < n; i++) {
        V d = x - level[i];
        V w = exponential((least - d * d) * precision);
        total += w;
        first += w * level[i];
        second += w * (level[i] * level[i]);
    }
    V scale = inverse(total);
    mean = first * scale;
    second *= scale;
}

static inline void
part_of_signs(int n, const float* level, V x, V precision, V& mean, V& second)
{
    if (n == 1) {
        mean = second = V{};
        return;
    }
    float size = __builtin_fabsf(level[0]);
    mean = size * hyperbolic_tangent(2.0f * size * precision * x);
    second = all(size * size);
}

// E[a | x] and its variance, x = a + CN(0, 1/precision).
static inline C moments(const Alphabet& alphabet, C x, V precision, V& variance)
{
    C mean;
    V second, other;
    if (alphabet.levels[0]) {
        auto part = alphabet.signs ? part_of_signs : part_moments;
        part(alphabet.levels[0], alphabet.level[0], x.re, precision, mean.re, second);
        part(alphabet.levels[1], alphabet.level[1], x.im, precision, mean.im, other);
        variance = largest(second + other - power(mean), 0.0f);
        return mean;
    }
    V least = all(1e30f);
    for (int i = 0; i < alphabet.size; i++)
        least = smallest(least, power(x - all(alphabet.points + 2 * i)));
    V total{};
    mean = zero();
    second = V{};
    for (int i = 0; i < alphabet.size; i++) {
        C point = all(alphabet.points + 2 * i);
        V w = exponential((least - power(x - point)) * precision);
        total += w;
        mean = mean + w * point;
        second += w * power(point);
    }
    V scale = inverse(total);
    mean = scale * mean;
    variance = largest(second * scale - power(mean), 0.0f);
    return mean;
}

static inline V nearest_level(int n, const float* level, V x)
{
    V best = all(level[0]), least = magnitude(x - level[0]);
    for (int i = 1; i < n; i++) {
        V d = magnitude(x - level[i]);
        I closer = d < least;
        best = closer ? all(level[i]) : best;
        least = closer ? d : least;
    }
    return best;
}

static inline C nearest(const Alphabet& alphabet, C x)
{
    if (alphabet.signs)
        return C{ with_sign_of(all(alphabet.level[0][0]), x.re),
                  with_sign_of(all(alphabet.level[1][0]), x.im) };
    if (alphabet.levels[0])
        return C{ nearest_level(alphabet.levels[0], alphabet.level[0], x.re),
                  nearest_level(alphabet.levels[1], alphabet.level[1], x.im) };
    C best = all(alphabet.points);
    V least = power(x - best);
    for (int i = 1; i < alphabet.size; i++) {
        C point = all(alphabet.points + 2 * i);
        V d = power(x - point);
        I closer = d < least;
        best = C{ closer ? point.re : best.re, closer ? point.im : best.im };
        least = closer ? d : least;
    }
    return best;
}

} // namespace LANES_NAMESPACE

#endif
