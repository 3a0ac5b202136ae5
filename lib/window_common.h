/* -*- c++ -*- */
/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef INCLUDED_SCORESEP_WINDOW_COMMON_H
#define INCLUDED_SCORESEP_WINDOW_COMMON_H

#include <gnuradio/block_detail.h>
#include <gnuradio/buffer_reader.h>
#include <pmt/pmt.h>
#include <stdexcept>
#include <string>

namespace gr {
namespace scoresep {

//! Samples that the output buffers hold, so that the next block gets several windows a
//! call.
constexpr int BUFFER_SAMPLES = 262144;

//! The tags that go with the windows; their meaning is in the two public headers.
inline pmt::pmt_t window_tag_key() { return pmt::mp("window_tag"); }
inline pmt::pmt_t window_samples_key() { return pmt::mp("window_samples"); }

inline void check_window(const std::string& block, int window, int hop)
{
    constexpr int largest = 1 << 24;
    const auto w = std::to_string(window), h = std::to_string(hop);
    if (window < 1 || window > largest)
        throw std::invalid_argument(block + ": window (" + w + ") must be from 1 to " +
                                    std::to_string(largest) + " samples");
    if (hop < 1)
        throw std::invalid_argument(block + ": hop (" + h +
                                    ") must be at least 1 and at most window (" + w +
                                    ")");
    if (hop > window)
        throw std::invalid_argument(block + ": hop (" + h + ") must not exceed window (" +
                                    w + ")");
}

//! Has the input ended, and is \p available all that is left of it?
inline bool is_last_of(const buffer_reader_sptr& input, int available)
{
    gr::thread::scoped_lock guard(*input->mutex());
    return input->done() && input->items_available() == available;
}

} // namespace scoresep
} // namespace gr

#endif /* INCLUDED_SCORESEP_WINDOW_COMMON_H */
