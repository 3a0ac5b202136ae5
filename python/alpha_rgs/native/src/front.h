/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// From samples to statistics: frames of all lanes are read, their clean carriers decided
// and subtracted, and what is left is correlated with near carriers and symbols.

#ifndef INCLUDED_ALPHA_RGS_FRONT_H
#define INCLUDED_ALPHA_RGS_FRONT_H

#include "alphabet.h"
#include "transform.h"
#include "workspace.h"

namespace LANES_NAMESPACE {

// e^(j·(angle + frequency·sample)) of each lane at frame f's first sample.
static C carrier_at(const Work& w, int f)
{
    C& out = *w.carrier0;
    for (int l = 0; l < lanes; l++) {
        if (stretch_of(w, l).frequency == 0 && f > 0)
            continue;
        double angle = stretch_of(w, l).angle +
                       two_pi * stretch_of(w, l).frequency * ((double)f * w.model->frame);
        angle -= two_pi * __builtin_floor(angle / two_pi);
        out.re[l] = __builtin_cos(angle);
        out.im[l] = __builtin_sin(angle);
    }
    return out;
}

// The mixture's samples of frame f in `out`, complex [frame], as they are; zeros where
// there are none.
static void read_frame(const Work& w, int f, C* out)
{
    const int period = w.model->frame;
    float* flat = (float*)out;
    const float* from[lanes];
    bool inside = true;
    for (int l = 0; l < lanes; l++) {
        const Stretch& s = stretch_of(w, l);
        int64_t first = s.begin + (int64_t)f * period;
        inside = inside && first >= s.low && first + period <= s.high;
        from[l] = w.job->mixture + 2 * first;
    }
    int n = 0;
    if (inside) { // a lane at a time: lanes lie apart, and their cache lines displace
                  // each other
        float* rows = w.staged;
        for (int l = 0; l < lanes; l++)
            __builtin_memcpy(rows + 2 * period * l, from[l], sizeof(float) * 2 * period);
        for (; n + lanes <= 2 * period; n += lanes) {
            V block[lanes];
            for (int l = 0; l < lanes; l++)
                block[l] = load(rows + 2 * period * l + n);
            transpose(block);
            for (int i = 0; i < lanes; i++)
                store(flat + (n + i) * lanes, block[i]);
        }
    }
    for (; n < 2 * period; n++)
        for (int l = 0; l < lanes; l++) {
            const Stretch& s = stretch_of(w, l);
            int64_t at = s.begin + (int64_t)f * period + n / 2;
            flat[n * lanes + l] = at >= s.low && at < s.high ? from[l][n] : 0.0f;
        }
}

// As read_frame, without the frames' carrier and in units of the linear modulation's
// gain.
static void load_frame(const Work& w, int f, C* out)
{
    const Model& m = *w.model;
    read_frame(w, f, out);
    C back = conjugate(carrier_at(w, f));
    for (int l = 0; l < lanes; l++) {
        back.re[l] /= stretch_of(w, l).gain;
        back.im[l] /= stretch_of(w, l).gain;
    }
    for (int n = 0; n < m.frame; n++)
        out[n] =
            m.turn ? back * (conjugate(all(m.turn + 2 * n)) * out[n]) : back * out[n];
}

// The symbols' linear estimate, [K] in `out`, from folded samples.
static void estimate_symbols(const Model& m, const FrameClass& c, const C* folded, C* out)
{
    by_blocks(0, m.symbols, [&](auto block, int k) {
        constexpr int n = decltype(block)::n;
        C sum[n];
        for (int j = 0; j < n; j++)
            sum[j] = zero();
        for (int i = 0; i < m.transform; i++)
            for (int j = 0; j < n; j++)
                add(sum[j], all(c.soft + 2 * ((k + j) * m.transform + i)), folded[i]);
        for (int j = 0; j < n; j++)
            out[k + j] = sum[j];
    });
}

// The waveform of clean carriers `decided` and, where given, near ones, body alone;
// returns where.
static C*
carriers_waveform(const Model& m, const C* decided, const C* near, C* bins, C* other)
{
    for (int i = 0; i < m.transform; i++)
        bins[i] = zero();
    for (int k = 0; k < m.clean; k++)
        bins[m.clean_bin[k]] = all(m.clean_wave + 2 * k) * decided[k];
    for (int k = 0; near && k < m.near; k++)
        bins[m.near_bin[k]] = all(m.near_wave + 2 * k) * near[k];
    return transform<true>(m, bins, other);
}

// Decide the clean carriers of frame f, and subtract them from its samples.
static void cancel_clean(Work& w, int f)
{
    const Model& m = *w.model;
    const FrameClass& c = w.frame_class(f);
    const int lag = m.transform - m.prefix;
    C* y = w.samples;
    for (int i = 0; i < m.transform; i++)
        w.bins[i] =
            i < lag ? y[m.prefix + i] : all(0.5f) * (y[m.prefix + i] + y[i - lag]);
    C* soft = w.scratch;
    estimate_symbols(m, c, w.bins, soft);
    const C* bins = transform<false>(m, w.bins, w.other);
    C* decided = w.clean + (size_t)f * m.clean;
    by_blocks(0, m.clean, [&](auto block, int k) {
        constexpr int n = decltype(block)::n;
        C sum[n];
        for (int j = 0; j < n; j++)
            sum[j] = all(c.direct + 2 * (k + j)) * bins[m.clean_bin[k + j]];
        for (int i = 0; i < m.symbols; i++)
            for (int j = 0; j < n; j++)
                subtract(sum[j], all(c.leak + 2 * ((k + j) * m.symbols + i)), soft[i]);
        for (int j = 0; j < n; j++)
            decided[k + j] = nearest(m.carrier, sum[j]);
    });
    const C* wave = carriers_waveform(m, decided, nullptr, w.bins, w.other);
    for (int n = 0; n < m.frame; n++)
        y[n] = y[n] - wave[n < m.prefix ? n + lag : n - m.prefix];
}

// The transform of samples of a frame, those of the prefix added to what they are copies
// of: products with carriers of unit amplitude, by bin.
static const C* carrier_products(Work& w, const C* y)
{
    const Model& m = *w.model;
    const int lag = m.transform - m.prefix;
    for (int i = 0; i < m.transform; i++)
        w.bins[i] = i < lag ? y[m.prefix + i] : y[m.prefix + i] + y[i - lag];
    return transform<false>(m, w.bins, w.other);
}

// Statistics of a frame over the noise: energy, carriers that are not decided, and
// symbols.
static void correlate(Work& w, int f)
{
    const Model& m = *w.model;
    const FrameClass& c = w.frame_class(f);
    if (w.skipped(f)) {
        for (int k = 0; k < m.symbols; k++)
            w.stat[(size_t)f * m.symbols + k] = zero();
        return;
    }
    const C* y = w.samples;
    V energy[4] = {};
    for (int n = 0; n < m.frame; n++)
        energy[n % 4] += power(y[n]);
    const float over = 1.0f / m.noise;
    w.energy[f] = over * ((energy[0] + energy[1]) + (energy[2] + energy[3]));
    const C* bins = carrier_products(w, y);
    for (int i = 0; i < w.carriers_of(f); i++)
        w.stat_open[w.base[f] + i] =
            all(over) * (conjugate(all(m.wave + 2 * i)) * bins[m.bin[i]]);
    for (int k = 0; k < m.symbols; k++) {
        const float* pulse = c.pulses + 2 * k * m.frame;
        const int stop = c.reach[2 * k + 1];
        C sum[2] = { zero(), zero() };
        for (int n = c.reach[2 * k]; n < stop; n++)
            add_conjugate(sum[n % 2], all(pulse + 2 * n), y[n]);
        w.stat[(size_t)f * m.symbols + k] = all(over) * (sum[0] + sum[1]);
    }
}

// 1 on the samples of frame f that there are, each lane's own, else 0.
static void present(const Work& w, int f, V* there)
{
    for (int n = 0; n < w.model->frame; n++)
        for (int l = 0; l < lanes; l++) {
            const Stretch& s = stretch_of(w, l);
            const int64_t at = s.begin + (int64_t)f * w.model->frame + n;
            there[n][l] = at >= s.low && at < s.high;
        }
}

// Tables of a frame that is cut, each lane's own: no carrier is clean there.
static void cut_tables(Work& w, int f)
{
    const Model& m = *w.model;
    const FrameClass& c = w.frame_class(f);
    const int K = m.symbols, P = m.frame, all_carriers = w.carriers_of(f);
    const float over = 1.0f / m.noise;
    const size_t row = w.row[f];
    if (w.skipped(f)) {
        for (int i = 0; i < K * K; i++)
            w.own[row * K * K + i] = zero();
        return;
    }
    V* there = (V*)w.staged;
    present(w, f, there);
    C* y = w.samples;
    for (int n = 0; n < P; n++)
        y[n] = C{ there[n], V{} };
    const C* sums = carrier_products(w, y);
    for (int d = 0; d < m.transform; d++)
        w.comb[row * m.transform + d] = all(over) * sums[d];
    for (int k = 0; k < K; k++) {
        const float* pulse = c.pulses + 2 * k * P;
        for (int n = 0; n < P; n++)
            y[n] = there[n] * all(pulse + 2 * n);
        for (int l = 0; l < K; l++) {
            C sum = zero();
            for (int n = c.reach[2 * l]; n < c.reach[2 * l + 1]; n++)
                add_conjugate(sum, all(c.pulses + 2 * (l * P + n)), y[n]);
            w.own[(row * K + l) * K + k] = all(over) * sum;
        }
        const C* bins = carrier_products(w, y);
        for (int i = 0; i < all_carriers; i++)
            w.cross[(row * all_carriers + i) * K + k] =
                all(over) * (conjugate(all(m.wave + 2 * i)) * bins[m.bin[i]]);
    }
}

static void front(Work& w)
{
    for (int f = 0; f < w.frames; f++) {
        if (w.cut(f))
            cut_tables(w, f);
        load_frame(w, f, w.samples);
        if (w.model->clean && !w.cut(f))
            cancel_clean(w, f);
        correlate(w, f);
    }
}

} // namespace LANES_NAMESPACE

#endif
