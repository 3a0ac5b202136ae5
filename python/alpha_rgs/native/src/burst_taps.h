/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// Channels of a few taps from what is seen on some carriers: synchronization/
// burst_taps.py. Taps are a sample apart, so that what carriers tell of two of them
// depends on their distance alone.

#ifndef INCLUDED_ALPHA_RGS_BURST_TAPS_H
#define INCLUDED_ALPHA_RGS_BURST_TAPS_H

#include "burst_elimination.h"
#include "burst_fit_model.h"

namespace LANES_NAMESPACE {
namespace doubles {

using alpha_rgs::fit_carriers;
using alpha_rgs::FitModel;
using alpha_rgs::most_taps;

constexpr int carrier_blocks = fit_carriers / lanes;

// A complex number of each carrier.
struct Row {
    double re[fit_carriers], im[fit_carriers];
};

static inline double sum_of(V x)
{
    double s = 0;
    for (int l = 0; l < lanes; l++)
        s += x[l];
    return s;
}

static inline void split(const double* pairs, Row& out)
{
    for (int k = 0; k < fit_carriers; k++) {
        out.re[k] = pairs[2 * k];
        out.im[k] = pairs[2 * k + 1];
    }
}

static inline void join(const Row& row, double* pairs)
{
    for (int k = 0; k < fit_carriers; k++) {
        pairs[2 * k] = row.re[k];
        pairs[2 * k + 1] = row.im[k];
    }
}

static inline C at(const Row& row, int k)
{
    return C{ load(row.re + k), load(row.im + k) };
}

static inline void put(Row& row, int k, C x)
{
    store(row.re + k, x.re);
    store(row.im + k, x.im);
}

// Waves of a channel's taps, and what carriers say of these.
struct TapWaves {
    Row wave[most_taps], lag[most_taps];
};

static inline void tap_waves(const FitModel& model, TapWaves& out)
{
    for (int i = 0; i < model.taps; i++) {
        split(model.wave + 2 * i * fit_carriers, out.wave[i]);
        split(model.lag + 2 * i * fit_carriers, out.lag[i]);
    }
}

struct Scalar {
    double re, im;
};

// Σ_k weight_k·conj(lag_k): of taps so many samples apart.
static inline void
lags(const FitModel& m, const TapWaves& w, const double* weight, Scalar* out)
{
    for (int i = 0; i < m.taps; i++) {
        V re{}, im{};
        for (int k = 0; k < fit_carriers; k += lanes) {
            const V own = load(weight + k);
            re += own * load(w.lag[i].re + k);
            im -= own * load(w.lag[i].im + k);
        }
        out[i] = Scalar{ sum_of(re), sum_of(im) };
    }
}

// Σ_k conj(wave_k)·x_k of each tap.
static inline void
onto_taps(const FitModel& m, const TapWaves& w, const Row& x, Scalar* out)
{
    for (int i = 0; i < m.taps; i++) {
        C s = zero();
        for (int k = 0; k < fit_carriers; k += lanes)
            add_conjugate(s, at(x, k), at(w.wave[i], k));
        out[i] = Scalar{ sum_of(s.re), sum_of(s.im) };
    }
}

// Root of the taps' precision, one kind of channel per lane.
struct TapsRoot {
    V amplitude[most_taps], pivot[most_taps]; // pivot: inverses of the diagonal
    C root[most_taps * (most_taps + 1) / 2];  // [row][column <= row]
};

// kinds `first` to first + count - 1, the channel being `scale` times as strong.
static inline void factor_taps(const FitModel& m,
                               const Scalar* lag,
                               int first,
                               int count,
                               double scale,
                               TapsRoot& out)
{
    for (int i = 0; i < m.taps; i++)
        for (int l = 0; l < lanes; l++)
            out.amplitude[i][l] =
                scale * m.amplitude[(first + (l < count ? l : 0)) * m.taps + i];
    for (int i = 0; i < m.taps; i++) {
        C* row = out.root + triangle((size_t)i);
        for (int j = 0; j <= i; j++) {
            const C* other = out.root + triangle((size_t)j);
            const V both = out.amplitude[i] * out.amplitude[j];
            C s{ both * lag[i - j].re, both * lag[i - j].im };
            for (int k = 0; k < j; k++)
                subtract_conjugate(s, row[k], other[k]);
            if (i == j) {
                out.pivot[i] = 1.0 / root(largest(s.re + 1.0, 1e-300));
                row[j] = C{ 1.0 / out.pivot[i], V{} };
            } else {
                row[j] = out.pivot[j] * s;
            }
        }
    }
}

// y = root⁻¹·(amplitude·b); returns |y|².
static inline V whitened(const FitModel& m, const TapsRoot& root, const Scalar* b, C* y)
{
    V total{};
    for (int i = 0; i < m.taps; i++) {
        const C* row = root.root + triangle((size_t)i);
        C s{ root.amplitude[i] * b[i].re, root.amplitude[i] * b[i].im };
        for (int k = 0; k < i; k++)
            subtract(s, row[k], y[k]);
        y[i] = root.pivot[i] * s;
        total += power(y[i]);
    }
    return total;
}

// Nats that the taps of each lane's kind cost.
static inline V volume(const FitModel& m, const TapsRoot& root)
{
    V total{};
    for (int l = 0; l < lanes; l++)
        for (int i = 0; i < m.taps; i++)
            total[l] -= 2 * __builtin_log(root.pivot[i][l]);
    return total;
}

// How much likelier each kind of channel makes each of n rows of information than
// nothing's being there: use(kind, row, nats). told: [n][taps], see onto_taps.
template <class Use>
static inline void evidence_of_kinds(const FitModel& m,
                                     const Scalar* lag,
                                     const Scalar* told,
                                     int n,
                                     double strength,
                                     Use use)
{
    const double scale = __builtin_sqrt(strength);
    TapsRoot root;
    C y[most_taps];
    for (int first = 0; first < m.kinds; first += lanes) {
        const int count = m.kinds - first < lanes ? m.kinds - first : lanes;
        factor_taps(m, lag, first, count, scale, root);
        const V cost = volume(m, root);
        for (int t = 0; t < n; t++) {
            const V nats = whitened(m, root, told + (size_t)t * m.taps, y) - cost;
            for (int l = 0; l < count; l++)
                use(first + l, t, nats[l]);
        }
    }
}

struct Response {
    Row gain;
    double spread[fit_carriers], taps[most_taps];
};

// Variance of the channel on all carriers.
static inline void
spread_of(const FitModel& m, const TapWaves& w, const TapsRoot& root, double* out)
{
    for (int k = 0; k < fit_carriers; k += lanes) {
        V total{};
        C y[most_taps];
        for (int i = 0; i < m.taps; i++) {
            const C* row = root.root + triangle((size_t)i);
            C s = all(root.amplitude[i][0]) * conjugate(at(w.wave[i], k));
            for (int j = 0; j < i; j++)
                subtract(s, C{ all(row[j].re[0]), all(row[j].im[0]) }, y[j]);
            y[i] = all(root.pivot[i][0]) * s;
            total += power(y[i]);
        }
        store(out + k, total);
    }
}

// See `response` of synchronization/burst_taps.py.
static inline void response(const FitModel& m,
                            const TapWaves& w,
                            const Row& information,
                            const double* precision,
                            double strength,
                            int kind,
                            Response& out)
{
    Scalar lag[most_taps], told[most_taps];
    lags(m, w, precision, lag);
    onto_taps(m, w, information, told);
    TapsRoot root;
    factor_taps(
        m, lag, kind, 1, __builtin_sqrt(strength > 1e-30 ? strength : 1e-30), root);
    C y[most_taps];
    whitened(m, root, told, y);
    for (int i = m.taps - 1; i >= 0; i--) { // rootᴴ·x = y, in place
        C s = y[i];
        for (int k = i + 1; k < m.taps; k++) {
            const C below = root.root[triangle((size_t)k) + i];
            subtract(s, conjugate(below), y[k]);
        }
        y[i] = root.pivot[i] * s;
    }
    for (int i = 0; i < m.taps; i++) {
        y[i] = root.amplitude[i] * y[i];
        out.taps[i] = power(y[i])[0];
    }
    for (int k = 0; k < fit_carriers; k += lanes) {
        C s = zero();
        for (int i = 0; i < m.taps; i++)
            add(s, C{ all(y[i].re[0]), all(y[i].im[0]) }, at(w.wave[i], k));
        put(out.gain, k, s);
    }
    spread_of(m, w, root, out.spread);
}

} // namespace doubles
} // namespace LANES_NAMESPACE

#endif
