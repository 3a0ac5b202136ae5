/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Vectors of float64, as simd.h has them of float32; in a namespace within that of the
// instruction set.

#ifndef INCLUDED_ALPHA_RGS_DOUBLES_H
#define INCLUDED_ALPHA_RGS_DOUBLES_H

#include "simd.h"

namespace LANES_NAMESPACE {
namespace doubles {

constexpr int lanes = LANES_NAMESPACE::lanes / 2;

typedef double V __attribute__((vector_size(8 * lanes)));
typedef int64_t I __attribute__((vector_size(8 * lanes)));

struct C {
    V re, im;
};

static inline V all(double x) { return x - V{}; }
static inline C zero() { return C{ V{}, V{} }; }
static inline V largest(V a, V b) { return a > b ? a : b; }
static inline V largest(V a, double b) { return largest(a, all(b)); }
static inline V smallest(V a, V b) { return a < b ? a : b; }
static inline V smallest(V a, double b) { return smallest(a, all(b)); }
static inline V magnitude(V x) { return (V)((I)x & INT64_MAX); }
static inline V with_sign_of(V size, V sign)
{
    return (V)((I)size | ((I)sign & INT64_MIN));
}
static inline V root(V x)
{
    for (int l = 0; l < lanes; l++)
        x[l] = __builtin_sqrt(x[l]);
    return x;
}

// e^x of x <= 0; 0 is e^-700.
static inline V exponential(V x)
{
    const double whole = 6755399441055744.0; // 1.5·2^52: added, it rounds
    x = largest(x, -700.0);
    const V rounded = x * 1.4426950408889634 + whole;
    const V n = rounded - whole;
    const V f = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    V p = all(1.0 / 6227020800);
    const double factors[] = { 479001600, 39916800, 3628800, 362880, 40320, 5040, 720,
                               120,       24,       6,       2,      1,     1 };
    for (double factor : factors)
        p = p * f + 1 / factor;
    return (V)((I)p + ((I)rounded << 52));
}

static inline V hyperbolic_tangent(V x)
{
    const V e = exponential(-2.0 * magnitude(x));
    return with_sign_of((1.0 - e) / (1.0 + e), x);
}

static inline C operator+(C a, C b) { return C{ a.re + b.re, a.im + b.im }; }
static inline C operator-(C a, C b) { return C{ a.re - b.re, a.im - b.im }; }
static inline C operator*(V a, C b) { return C{ a * b.re, a * b.im }; }
static inline C conjugate(C a) { return C{ a.re, -a.im }; }
static inline V power(C a) { return a.re * a.re + a.im * a.im; }
static inline V chosen(I mask, V a, V b) { return mask ? a : b; }
static inline C chosen(I mask, C a, C b)
{
    return C{ mask ? a.re : b.re, mask ? a.im : b.im };
}
static inline V between(V a, V b, V share) { return a + share * (b - a); }
static inline C between(C a, C b, V share) { return a + share * (b - a); }

static inline void add(C& s, C a, C b) // s += a·b
{
    s.re += a.re * b.re;
    s.re -= a.im * b.im;
    s.im += a.re * b.im;
    s.im += a.im * b.re;
}
static inline void subtract(C& s, C a, C b) // s -= a·b
{
    s.re -= a.re * b.re;
    s.re += a.im * b.im;
    s.im -= a.re * b.im;
    s.im -= a.im * b.re;
}
static inline void add_conjugate(C& s, C a, C b) // s += a·conj(b)
{
    s.re += a.re * b.re;
    s.re += a.im * b.im;
    s.im += a.im * b.re;
    s.im -= a.re * b.im;
}
static inline void subtract_conjugate(C& s, C a, C b) // s -= a·conj(b)
{
    s.re -= a.re * b.re;
    s.re -= a.im * b.im;
    s.im -= a.im * b.re;
    s.im += a.re * b.im;
}

static inline V load(const double* p) // unaligned
{
    V v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
static inline void store(double* p, V v) { __builtin_memcpy(p, &v, sizeof v); }

static inline size_t padded(size_t n) { return (n + lanes - 1) / lanes * lanes; }

} // namespace doubles
} // namespace LANES_NAMESPACE

#endif
