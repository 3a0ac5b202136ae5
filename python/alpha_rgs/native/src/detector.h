/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// One group of stretches from samples to soft symbols and waveforms.

#ifndef INCLUDED_ALPHA_RGS_DETECTOR_H
#define INCLUDED_ALPHA_RGS_DETECTOR_H

#include "elimination.h"
#include "front.h"
#include "search.h"

namespace LANES_NAMESPACE {

// Decided symbols [symbols] of all lanes, in the frames' phase.
static void decide(const Work& w, C* symbols)
{
    for (int n = 0; n < w.symbols; n++)
        symbols[n] = w.exists[n] * (w.turn[n] * nearest(w.model->symbol, w.soft[n]));
}

// The energy that decisions leave in frame f, over the noise. symbols: decided,
// [symbols].
template <class Frame>
static V energy_left(const Work& w, int f, const Frame& frame, const C* symbols)
{
    const int D = frame.carriers, K = frame.m.symbols;
    const C *stat = w.stat + (size_t)f * K, *a = symbols + w.firsts[f];
    const C *mean = w.carrier + w.base[f], *open = w.stat_open + w.base[f];
    C* carriers = w.scratch;
    V energy = w.energy[f];
    for (int i = 0; i < D; i++)
        carriers[i] = nearest(frame.m.carrier, mean[i]);
    for (int i = 0; i < D; i++) {
        C sum = zero();
        for (int k = 0; k < K; k++)
            add(sum, frame.cross(i, k), a[k]);
        sum = sum - open[i];
        sum = sum + sum;
        for (int j = 0; j < D; j++)
            add(sum, frame.gram(i, j), carriers[j]);
        energy += real_product(carriers[i], sum);
    }
    for (int k = 0; k < K; k++) {
        C sum = all(-2.0f) * stat[k];
        for (int l = 0; l < K; l++)
            add(sum, frame.own(k, l), a[l]);
        energy += real_product(a[k], sum);
    }
    return energy;
}

// That of each whole frame; 0 of others.
static void residuals(Work& w, const C* symbols)
{
    for (int f = 0; f < w.frames; f++)
        w.residual[f] = w.cut(f) ? V{} : energy_left(w, f, whole_frame(w, f), symbols);
}

// Flag frames in which too much is left, alone or with one or two neighbours: errors that
// spread over frames show in no single one. times: the limits. Returns whether there are
// any.
static bool flag(Work& w, float times)
{
    const float* limit = w.model->threshold;
    I found{};
    for (int f = 0; f < w.frames; f++)
        w.flagged[f] = I{};
    for (int f = 0; f < w.frames; f++) {
        V sum{};
        for (int n = 0; n < 3 && f + n < w.frames; n++) {
            sum += w.residual[f + n];
            const I over = sum > all(times * limit[n]);
            for (int k = f; k <= f + n; k++)
                w.flagged[k] |= over;
            found |= over;
        }
    }
    return any(found);
}

constexpr float hardly = 1.25f; // times the limits, beyond which a search has not helped

// Search the flagged frames of each lane, with as many around them as share symbols with
// them, and `more`; in both orders then.
static void
search_flagged(Work& w, C* symbols, int more, Doubt& doubt, List& list, int64_t* count)
{
    const int longest = alpha_rgs::longest_search, F = w.frames;
    const int shared = w.model->symbols - w.leaving(0); // by neighbouring frames, about
    const int around = (shared > w.leaving(0) ? 2 : 1) + more;
    for (int l = 0; l < w.count; l++)
        for (int f = 1; f < F - 1; f++) {
            if (!w.flagged[f][l])
                continue;
            int end = f + 1;
            while (end < F - 1 && w.flagged[end][l] &&
                   end + 1 - f <= longest - 2 * around)
                end++;
            int low = f, high = end;
            while (low > 1 && f - low < around && !w.cut(low - 1))
                low--;
            while (high < F - 1 && high - end < around && !w.cut(high))
                high++;
            f = end - 1;
            if (w.cut(low))
                continue;
            doubt.lane = l;
            doubt.first = low;
            doubt.frames = high - low;
            count[0]++;
            count[1] += doubt.frames;
            count[2] += mend(w, more > 0, doubt, list, symbols);
        }
}

// Where sample n of frame f lies in the outputs, for a lane; -1 where it is not kept.
static inline int64_t kept(const Work& w, const Stretch& s, int f, int n)
{
    int64_t at = s.begin + (int64_t)f * w.model->frame + n;
    return at >= s.keep_low && at < s.keep_high ? at : -1;
}

// Write frame f, complex [frame], to each lane's place in `out`.
static void write_frame(const Work& w, int f, const C* values, float* out)
{
    const int period = w.model->frame;
    const float* flat = (const float*)values;
    bool inside = true;
    for (int l = 0; l < w.count; l++)
        inside = inside && kept(w, w.stretch[l], f, 0) >= 0 &&
                 kept(w, w.stretch[l], f, period - 1) >= 0;
    int n = 0;
    if (inside)
        for (; n + lanes <= 2 * period; n += lanes) {
            V block[lanes];
            for (int i = 0; i < lanes; i++)
                block[i] = load(flat + (n + i) * lanes);
            transpose(block);
            for (int l = 0; l < lanes; l++)
                store(w.staged + 2 * period * l + n, block[l]);
        }
    for (int l = 0; n && l < w.count; l++)
        __builtin_memcpy(out + 2 * (w.stretch[l].begin + (int64_t)f * period),
                         w.staged + 2 * period * l,
                         sizeof(float) * n);
    for (; n < 2 * period; n++)
        for (int l = 0; l < w.count; l++) {
            const int64_t at = kept(w, w.stretch[l], f, n / 2);
            if (at >= 0)
                out[2 * at + n % 2] = flat[n * lanes + l];
        }
}

// The linear modulation's waveform in frame f, [frame] in `out`, from the symbols' means.
static void modulate(const Work& w, int f, const C* means, C* out)
{
    const Model& m = *w.model;
    const FrameClass& c = w.frame_class(f);
    for (int n = 0; n < m.frame; n++)
        out[n] = zero();
    for (int k = 0; k < m.symbols; k++) {
        const C a = means[w.firsts[f] + k];
        const float* pulse = c.pulses + 2 * k * m.frame;
        for (int n = c.reach[2 * k]; n < c.reach[2 * k + 1]; n++)
            add(out[n], all(pulse + 2 * n), a);
    }
}

// Carriers of a whole frame that too little is left in for one of them to be wrong, as
// they are decided: the means after few passes lie between.
static void settle(Work& w, int f)
{
    const I sound = w.residual[f] <= all(hardly * w.model->threshold[0]);
    for (int i = 0; i < w.carriers_of(f); i++) {
        C& mean = w.carrier[w.base[f] + i];
        const C decided = nearest(w.model->carrier, mean);
        mean.re = sound ? decided.re : mean.re;
        mean.im = sound ? decided.im : mean.im;
    }
}

// Both waveforms as received, of all frames of which something is kept.
static void write_waveforms(Work& w, C* means, C* received)
{
    const Model& m = *w.model;
    const int lag = m.transform - m.prefix;
    for (int n = 0; n < w.symbols; n++) {
        V var;
        means[n] =
            w.exists[n] *
            (w.turn[n] *
             moments(m.symbol, w.soft[n], inverse(largest(w.spread[n], 1e-9f)), var));
    }
    for (int f = 0; f < w.frames; f++) {
        bool wanted = false;
        for (int l = 0; l < w.count; l++)
            wanted = wanted ||
                     (w.stretch[l].begin + (int64_t)(f + 1) * m.frame >
                          w.stretch[l].keep_low &&
                      w.stretch[l].begin + (int64_t)f * m.frame < w.stretch[l].keep_high);
        if (!wanted)
            continue;
        C turn = carrier_at(w, f), *y = w.samples;
        for (int l = 0; l < lanes; l++) {
            turn.re[l] *= stretch_of(w, l).gain;
            turn.im[l] *= stretch_of(w, l).gain;
        }
        auto as_received = [&](int n, C x) {
            return m.turn ? turn * (all(m.turn + 2 * n) * x) : turn * x;
        };
        modulate(w, f, means, y);
        for (int n = 0; n < m.frame; n++)
            y[n] = as_received(n, y[n]);
        write_frame(w, f, y, w.job->soi);
        if (w.cut(f)) {
            read_frame(w, f, received);
            for (int n = 0; n < m.frame; n++)
                y[n] = all(m.shrink) * (received[n] - y[n]);
        } else {
            settle(w, f);
            const C* wave = carriers_waveform(
                m, w.clean + (size_t)f * m.clean, w.carrier + w.base[f], w.bins, w.other);
            for (int n = 0; n < m.frame; n++)
                y[n] = as_received(n, wave[n < m.prefix ? n + lag : n - m.prefix]);
        }
        write_frame(w, f, y, w.job->interference);
    }
}

static void write_symbols(const Work& w)
{
    for (int l = 0; l < w.count; l++) {
        const Stretch& s = w.stretch[l];
        for (int n = s.symbol_low; n < s.symbol_high; n++) {
            const int64_t at = s.symbol_out + n - s.symbol_low;
            w.job->soft[2 * at] = w.soft[n].re[l];
            w.job->soft[2 * at + 1] = w.soft[n].im[l];
            w.job->variance[at] = w.spread[n][l];
        }
    }
}

// Of a frame that is cut, a lane's, what is left over the limit of a whole one; 0 where
// so few of its samples are there that wrong carriers explain them.
static float excess_of_cut(const Work& w, int f, int lane, V left)
{
    constexpr float enough = 0.75f, rounding = 4e-6f; // share of samples; of the energy
    const Stretch& s = w.stretch[lane];
    const int64_t first = s.begin + (int64_t)f * w.model->frame;
    const int64_t low = first > s.low ? first : s.low, end = first + w.model->frame;
    const int64_t present = (end < s.high ? end : s.high) - low;
    if (w.skipped(f) || (float)present < enough * (float)w.model->frame)
        return 0;
    return left[lane] / (w.model->threshold[0] + rounding * w.energy[f][lane]);
}

// The most that is left in frames of which something is kept, alone or with one or two
// neighbours, over the limits.
static void write_excess(const Work& w, const C* symbols)
{
    const int period = w.model->frame;
    constexpr int blind =
        3; // frames beside one that is skipped: their symbols are not seen whole
    const int from = w.skipped(0) ? blind : 0;
    const int to = w.frames - (w.skipped(w.frames - 1) ? blind : 0);
    for (int l = 0; l < w.count; l++)
        w.job->excess[w.stretch + l - w.job->stretches] = 0;
    for (int f = 0; f < w.frames; f++) {
        const V cut =
            w.cut(f) && !w.skipped(f) ? energy_left(w, f, cut_frame(w, f), symbols) : V{};
        for (int l = 0; l < w.count; l++) {
            const Stretch& s = w.stretch[l];
            const int64_t first = s.begin + (int64_t)f * period;
            float sum = 0, most = w.cut(f) ? excess_of_cut(w, f, l, cut) : 0;
            for (int n = 0; n < 3 && f >= from && f + n < to; n++) {
                sum += w.residual[f + n][l];
                const bool wanted =
                    first + period > s.keep_low && first + n * period < s.keep_high;
                const float excess = sum / w.model->threshold[n];
                most = wanted && excess > most ? excess : most;
            }
            float& worst = w.job->excess[&s - w.job->stretches];
            worst = most > worst ? most : worst;
        }
    }
}

static size_t bytes_needed(const Model& model, const Job& job, const Group& group)
{
    Work w;
    Arena arena{ nullptr, lay_out(w, model, job, group, nullptr) };
    C* some = nullptr;
    arena.take(some, w.symbols);
    arena.take(some, model.frame);
    Doubt* doubt = nullptr;
    arena.take(doubt, 1);
    List* list = nullptr;
    arena.take(list, 1);
    return arena.used + 64;
}

static void detect(
    const Model& model, const Job& job, const Group& group, char* memory, int64_t* count)
{
    Work w;
    Arena arena{ memory, lay_out(w, model, job, group, memory) };
    C *symbols, *received;
    Doubt* doubt;
    List* list;
    arena.take(symbols, w.symbols);
    arena.take(received, model.frame);
    arena.take(doubt, 1);
    arena.take(list, 1);
    front(w);
    infer(w);
    decide(w, symbols);
    residuals(w, symbols);
    for (int turn = 0; turn < 2 && flag(w, turn ? hardly : 1.0f); turn++) {
        list->most = turn ? width : usual_width;
        search_flagged(w, symbols, turn, *doubt, *list, count);
        residuals(w, symbols);
    }
    write_symbols(w);
    write_excess(w, symbols);
    if (job.soi)
        write_waveforms(w, symbols, received);
}

} // namespace LANES_NAMESPACE

#endif
