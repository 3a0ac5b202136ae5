/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Vectors of float32, one element per lane, by compiler vectors: the width follows from
// what the file is compiled for. Every file that includes this has its own namespace
// (LANES_NAMESPACE), so that no function compiled for one instruction set is linked into
// another's code; for the same reason nothing here uses templates of the standard
// library.

#ifndef INCLUDED_ALPHA_RGS_SIMD_H
#define INCLUDED_ALPHA_RGS_SIMD_H

#include <cstddef>
#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX__)
#include <immintrin.h>
#endif

namespace LANES_NAMESPACE {

#if defined(__AVX512F__)
constexpr int lanes = 16;
#elif defined(__AVX__)
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif

typedef float V __attribute__((vector_size(4 * lanes)));
typedef int32_t I __attribute__((vector_size(4 * lanes)));

struct C {
    V re, im;
};

static inline V all(float x) { return x - V{}; }
static inline C zero() { return C{ V{}, V{} }; }
static inline C all(float re, float im) { return C{ all(re), all(im) }; }
static inline C all(const float* pair) { return all(pair[0], pair[1]); }

#if defined(__AVX512F__)
static inline V largest(V a, V b) { return (V)_mm512_max_ps((__m512)a, (__m512)b); }
static inline V inverse(V x) // to float32's precision, by one step of Newton's
{
    V r = (V)_mm512_rcp14_ps((__m512)x);
    return r * (2.0f - x * r);
}
static inline V inverse_root(V x)
{
    V r = (V)_mm512_rsqrt14_ps((__m512)x);
    return r * (1.5f - 0.5f * x * r * r);
}
static inline float sum(V x) { return _mm512_reduce_add_ps((__m512)x); } // of all lanes
#elif defined(__AVX__)
static inline V largest(V a, V b) { return (V)_mm256_max_ps((__m256)a, (__m256)b); }
static inline V inverse(V x) { return 1.0f / x; }
static inline V inverse_root(V x) { return 1.0f / (V)_mm256_sqrt_ps((__m256)x); }
#else
static inline V largest(V a, V b) { return a > b ? a : b; }
static inline V inverse(V x) { return 1.0f / x; }
static inline V inverse_root(V x)
{
    for (int l = 0; l < lanes; l++)
        x[l] = 1.0f / __builtin_sqrtf(x[l]);
    return x;
}
#endif

static inline V largest(V a, float b) { return largest(a, all(b)); }
static inline V smallest(V a, V b) { return -largest(-a, -b); }
static inline V magnitude(V x) { return (V)((I)x & 0x7fffffff); }
static inline V with_sign_of(V magnitude, V sign)
{
    return (V)(((I)magnitude & 0x7fffffff) | ((I)sign & (int32_t)0x80000000));
}
static inline bool any(I mask)
{
    int32_t found = 0;
    for (int l = 0; l < lanes; l++)
        found |= mask[l];
    return found != 0;
}

// e^x of x <= 0, relative error 2e-6; 0 is e^-80.
static inline V exponential(V x)
{
    V t = largest(x, -80.0f) * 1.44269504f;
    I whole = __builtin_convertvector(t - 0.5f, I); // towards zero: t <= 0
    V f = t - __builtin_convertvector(whole, V);
    V p = 1.3333558e-3f * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    return (V)((I)p + (whole << 23));
}

static inline V hyperbolic_tangent(V x)
{
    V e = exponential(-2.0f * magnitude(x));
    return with_sign_of((1.0f - e) * inverse(1.0f + e), x);
}

static inline C operator+(C a, C b) { return C{ a.re + b.re, a.im + b.im }; }
static inline C operator-(C a, C b) { return C{ a.re - b.re, a.im - b.im }; }
static inline C operator*(V a, C b) { return C{ a * b.re, a * b.im }; }
static inline C operator*(C a, C b)
{
    return C{ a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re };
}
static inline C conjugate(C a) { return C{ a.re, -a.im }; }
static inline V power(C a) { return a.re * a.re + a.im * a.im; }
static inline V real_product(C a, C b)
{
    return a.re * b.re + a.im * b.im;
} // Re conj(a)·b

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
static inline void add_conjugate(C& s, C a, C b) // s += conj(a)·b
{
    s.re += a.re * b.re;
    s.re += a.im * b.im;
    s.im += a.re * b.im;
    s.im -= a.im * b.re;
}
static inline void subtract_conjugate(C& s, C a, C b) // s -= conj(a)·b
{
    s.re -= a.re * b.re;
    s.re -= a.im * b.im;
    s.im -= a.re * b.im;
    s.im += a.im * b.re;
}

template <int N>
struct Count {
    static constexpr int n = N;
};

// work(Count<n>, first) for blocks of `size` in [0, count), and of what is left:
// accumulators of a block stay in registers.
template <class Work>
static inline void by_blocks(int from, int count, Work work)
{
    int k = from;
    for (; k + 4 <= count; k += 4)
        work(Count<4>(), k);
    switch (count - k) {
    case 3:
        work(Count<3>(), k);
        break;
    case 2:
        work(Count<2>(), k);
        break;
    case 1:
        work(Count<1>(), k);
        break;
    }
}

#if defined(__GNUC__) && !defined(__clang__)
// Which elements of two rows, `step` apart, go into the first and into the second.
template <int step>
struct Exchange {
    alignas(sizeof(I)) int32_t first[lanes], second[lanes];
    constexpr Exchange() : first(), second()
    {
        for (int l = 0; l < lanes; l++) {
            first[l] = l & step ? lanes + l - step : l;
            second[l] = l & step ? lanes + l : l + step;
        }
    }
};

template <int step>
static inline void exchange(V (&rows)[lanes])
{
    static constexpr Exchange<step> places;
    const I first = *(const I*)places.first, second = *(const I*)places.second;
#pragma GCC unroll 16
    for (int i = 0; i < lanes; i++)
        if (!(i & step)) {
            const V a = rows[i], b = rows[i + step];
            rows[i] = __builtin_shuffle(a, b, first);
            rows[i + step] = __builtin_shuffle(a, b, second);
        }
    if constexpr (2 * step < lanes)
        exchange<2 * step>(rows);
}

// In place: rows of `lanes` floats become columns.
static inline void transpose(V (&rows)[lanes]) { exchange<1>(rows); }
#else
static inline void transpose(V (&rows)[lanes])
{
    for (int i = 0; i < lanes; i++)
        for (int l = 0; l < i; l++) {
            float kept = rows[i][l];
            rows[i][l] = rows[l][i];
            rows[l][i] = kept;
        }
}
#endif

#if !defined(__AVX512F__)
static inline float sum(V x) // of all lanes, halves added to each other
{
    float part[lanes];
    __builtin_memcpy(part, &x, sizeof x);
    for (int half = lanes / 2; half; half /= 2)
        for (int l = 0; l < half; l++)
            part[l] += part[l + half];
    return part[0];
}
#endif

static inline V load(const float* p) // unaligned
{
    V v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
static inline void store(float* p, V v) { __builtin_memcpy(p, &v, sizeof v); }

} // namespace LANES_NAMESPACE

#endif
