/* -*- c++ -*- */
/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "window_common.h"
#include <gnuradio/io_signature.h>
#include <gnuradio/scoresep/stream_to_windows.h>
#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace gr {
namespace scoresep {

class stream_to_windows_impl : public stream_to_windows
{
public:
    stream_to_windows_impl(int window, int hop, bool mark_end)
        : gr::block("stream_to_windows",
                    gr::io_signature::make(1, 1, sizeof(gr_complex)),
                    gr::io_signature::make(1, 1, window * sizeof(gr_complex))),
          d_window(window),
          d_hop(hop),
          d_mark_end(mark_end),
          d_begun(window)
    {
        set_tag_propagation_policy(TPP_DONT);
        set_relative_rate(1, hop);
        set_min_output_buffer(0, std::max(2, BUFFER_SAMPLES / window));
    }

    bool start() override
    {
        d_filled = d_overlap = 0;
        d_marked = false;
        return stream_to_windows::start();
    }

    // After the end of the input there is still the partial window to give.
    void forecast(int, gr_vector_int& required) override
    {
        required[0] = detail()->input(0)->done() ? 0 : 1;
    }

    int general_work(int noutput_items,
                     gr_vector_int& ninput_items,
                     gr_vector_const_void_star& input_items,
                     gr_vector_void_star& output_items) override
    {
        const auto begin = static_cast<const gr_complex*>(input_items[0]);
        const auto end = begin + ninput_items[0];
        auto in = begin;
        auto out = static_cast<gr_complex*>(output_items[0]);
        const bool last = is_last_of(detail()->input(0), ninput_items[0]);

        int produced = 0;
        while (produced < noutput_items && in < end) {
            const auto taken = std::min<long>(d_window - d_filled, end - in);
            if (d_filled + taken < d_window) {
                std::copy_n(in, taken, d_begun.begin() + d_filled);
                d_filled += taken;
            } else {
                std::copy_n(d_begun.begin(), d_filled, out);
                std::copy_n(in, taken, out + d_filled);
                d_filled = d_overlap = d_window - d_hop;
                std::copy_n(out + d_hop, d_overlap, d_begun.begin());
                out += d_window;
                produced++;
            }
            in += taken;
        }
        wrap_tags(in - begin);
        consume(0, in - begin);

        if (!last || in < end)
            return produced;
        const bool mark = d_mark_end && !d_marked && d_filled > 0;
        if ((d_filled > d_overlap || mark) && produced < noutput_items) {
            std::copy_n(d_begun.begin(), d_filled, out);
            std::fill_n(out + d_filled, d_window - d_filled, gr_complex(0));
            add_item_tag(0,
                         nitems_written(0) + produced,
                         window_samples_key(),
                         pmt::from_uint64(d_filled),
                         alias_pmt());
            d_overlap = d_filled;
            d_marked = true;
            produced++;
        }
        return produced == 0 ? WORK_DONE : produced;
    }

private:
    // Tags of the next `count` input samples, which may belong to a window yet to come.
    void wrap_tags(int count)
    {
        std::vector<tag_t> tags;
        get_tags_in_window(tags, 0, 0, count);
        for (const auto& tag : tags) {
            const uint64_t size = d_window;
            const uint64_t first =
                tag.offset < size ? 0 : (tag.offset - size) / d_hop + 1;
            add_item_tag(0,
                         first,
                         window_tag_key(),
                         pmt::make_tuple(
                             pmt::from_uint64(tag.offset), tag.key, tag.value, tag.srcid),
                         alias_pmt());
        }
    }

    const int d_window;
    const int d_hop;
    const bool d_mark_end;
    std::vector<gr_complex> d_begun; // the window that is being filled
    int d_filled = 0;                // its samples so far
    int d_overlap = 0;               // how many of them have left already
    bool d_marked = false;           // whether the end has left
};

stream_to_windows::sptr stream_to_windows::make(int window, int hop, bool mark_end)
{
    check_window("stream_to_windows", window, hop);
    if (mark_end && hop == window)
        throw std::invalid_argument("stream_to_windows: mark_end needs a hop (" +
                                    std::to_string(hop) + ") shorter than window");
    return gnuradio::make_block_sptr<stream_to_windows_impl>(window, hop, mark_end);
}

} // namespace scoresep
} // namespace gr
