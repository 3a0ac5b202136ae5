/* -*- c++ -*- */
/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "window_common.h"
#include <gnuradio/io_signature.h>
#include <gnuradio/scoresep/windows_to_stream.h>
#include <algorithm>
#include <vector>

namespace gr {
namespace scoresep {

class windows_to_stream_impl : public windows_to_stream
{
public:
    windows_to_stream_impl(int window, int hop)
        : gr::block("windows_to_stream",
                    gr::io_signature::make(1, 1, window * sizeof(gr_complex)),
                    gr::io_signature::make(1, 1, sizeof(gr_complex))),
          d_window(window),
          d_kept_end((window - hop) / 2 + hop),
          d_context((window - hop) / 2)
    {
        set_tag_propagation_policy(TPP_DONT);
        set_relative_rate(hop, 1);
        set_min_output_buffer(0, std::max(BUFFER_SAMPLES, 2 * window));
    }

    bool start() override
    {
        d_open = false;
        d_tail.clear();
        d_tail_sent = 0;
        return windows_to_stream::start();
    }

    // After the end of the input there is still the tail to give.
    void forecast(int, gr_vector_int& required) override
    {
        required[0] = detail()->input(0)->done() ? 0 : 1;
    }

    int general_work(int noutput_items,
                     gr_vector_int& ninput_items,
                     gr_vector_const_void_star& input_items,
                     gr_vector_void_star& output_items) override
    {
        auto in = static_cast<const gr_complex*>(input_items[0]);
        auto out = static_cast<gr_complex*>(output_items[0]);
        const auto out_begin = out, out_end = out + noutput_items;
        const int windows = ninput_items[0];
        const bool last = is_last_of(detail()->input(0), windows);

        int used = 0;
        for (; used < windows; used++, in += d_window) {
            if (!d_open)
                open(nitems_read(0) + used, nitems_written(0) + (out - out_begin));
            const auto count = std::min<long>(d_end - d_position, out_end - out);
            out = std::copy_n(in + d_position, count, out);
            d_position += count;
            if (d_position < d_end)
                break; // the output is full
            d_open = false;
            if (used == windows - 1) // a later one would have outdated its tail
                d_tail.assign(in + d_end, in + d_valid);
        }
        consume(0, used);

        if (!last || used < windows)
            return out - out_begin;
        const auto count = std::min<long>(d_tail.size() - d_tail_sent, out_end - out);
        out = std::copy_n(d_tail.begin() + d_tail_sent, count, out);
        d_tail_sent += count;
        return out == out_begin ? WORK_DONE : out - out_begin;
    }

private:
    // Begin window `index`, whose first kept sample leaves at `offset`.
    void open(uint64_t index, uint64_t offset)
    {
        d_open = true;
        d_valid = d_window;
        std::vector<tag_t> tags;
        get_tags_in_range(tags, 0, index, index + 1);
        for (const auto& tag : tags) {
            if (pmt::eqv(tag.key, window_samples_key()) && pmt::is_integer(tag.value)) {
                d_valid = std::clamp<long>(pmt::to_long(tag.value), 0, d_window);
            } else if (pmt::eqv(tag.key, window_samples_key()) &&
                       pmt::is_uint64(tag.value)) {
                d_valid = std::min<uint64_t>(pmt::to_uint64(tag.value), d_window);
            } else if (pmt::eqv(tag.key, window_tag_key()) && pmt::is_tuple(tag.value) &&
                       pmt::length(tag.value) == 4) {
                // Its sample has not left yet: the first window that holds a
                // sample is never later than the one that contributes it. A
                // tag may be added before its sample.
                add_item_tag(0,
                             pmt::to_uint64(pmt::tuple_ref(tag.value, 0)),
                             pmt::tuple_ref(tag.value, 1),
                             pmt::tuple_ref(tag.value, 2),
                             pmt::tuple_ref(tag.value, 3));
            } else {
                add_item_tag(0, offset, tag.key, tag.value, tag.srcid);
            }
        }
        d_end = std::min(d_kept_end, d_valid);
        d_position = std::min(index == 0 ? 0 : d_context, d_end);
    }

    const int d_window;
    const int d_kept_end; // the samples from d_context to here are kept of every window
    const int d_context;

    // The window that is being given out: which of its samples is next, where
    // the kept ones end, and how many are real.
    bool d_open = false;
    int d_position = 0;
    int d_end = 0;
    int d_valid = 0;

    std::vector<gr_complex> d_tail; // what follows d_end in the latest window
    size_t d_tail_sent = 0;
};

windows_to_stream::sptr windows_to_stream::make(int window, int hop)
{
    check_window("windows_to_stream", window, hop);
    return gnuradio::make_block_sptr<windows_to_stream_impl>(window, hop);
}

} // namespace scoresep
} // namespace gr
