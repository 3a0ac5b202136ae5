/* -*- c++ -*- */
/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include <gnuradio/blocks/vector_sink.h>
#include <gnuradio/blocks/vector_source.h>
#include <gnuradio/scoresep/stream_to_windows.h>
#include <gnuradio/scoresep/windows_to_stream.h>
#include <gnuradio/top_block.h>
#include <boost/test/unit_test.hpp>
#include <algorithm>
#include <set>
#include <stdexcept>
#include <string>

using gr::scoresep::stream_to_windows;
using gr::scoresep::windows_to_stream;

namespace {

struct outcome {
    std::vector<gr_complex> windows, stream;
    std::vector<gr::tag_t> window_tags, stream_tags;
};

std::vector<gr_complex> ramp(int count)
{
    std::vector<gr_complex> samples(count);
    for (int n = 0; n < count; n++)
        samples[n] = gr_complex(n + 1, -n);
    return samples;
}

outcome run(int count,
            int window,
            int hop,
            int chunk,
            std::vector<gr::tag_t> tags = {},
            bool mark_end = false)
{
    auto source = gr::blocks::vector_source_c::make(ramp(count), false, 1, tags);
    auto cut = stream_to_windows::make(window, hop, mark_end);
    auto join = windows_to_stream::make(window, hop);
    auto windows = gr::blocks::vector_sink_c::make(window);
    auto stream = gr::blocks::vector_sink_c::make();
    auto tb = gr::make_top_block("qa_windows");
    tb->connect(source, 0, cut, 0);
    tb->connect(cut, 0, windows, 0);
    tb->connect(cut, 0, join, 0);
    tb->connect(join, 0, stream, 0);
    tb->run(chunk);
    return { windows->data(), stream->data(), windows->tags(), stream->tags() };
}

const std::vector<std::pair<int, int>> sizes{ { 1, 1 }, { 8, 8 },   { 8, 5 },  { 8, 1 },
                                              { 7, 4 }, { 64, 48 }, { 100, 3 } };

} // namespace

// As many windows as promised, each with the samples it should hold, for streams of every
// length around the places where the number changes; and the same samples out as in.
BOOST_AUTO_TEST_CASE(every_length_of_stream)
{
    for (const auto& [window, hop] : sizes) {
        std::set<int> counts{ 0, 1, 2, 3 };
        for (int k : { 0, 1, 2, 9 })
            for (int d : { -1, 0, 1 })
                counts.insert(std::max(0, window + k * hop + d));
        for (int count : counts) {
            BOOST_TEST_CONTEXT("N " << count << ", window " << window << ", hop " << hop)
            {
                const auto samples = ramp(count);
                const auto got = run(count, window, hop, 100000);
                const int beyond = std::max(0, count - window);
                const size_t expected = count == 0 ? 0 : (beyond + hop - 1) / hop + 1;
                BOOST_REQUIRE_EQUAL(got.windows.size(), expected * window);
                for (size_t k = 0; k < expected; k++)
                    for (int n = 0; n < window; n++) {
                        const size_t at = k * hop + n;
                        const auto want =
                            at < samples.size() ? samples[at] : gr_complex(0);
                        BOOST_REQUIRE_EQUAL(got.windows[k * window + n], want);
                    }
                BOOST_CHECK(got.stream == samples);

                const int in_last = count - (static_cast<int>(expected) - 1) * hop;
                const bool partial = expected > 0 && in_last < window;
                BOOST_REQUIRE_EQUAL(got.window_tags.size(), partial ? 1 : 0);
                if (partial) {
                    const auto& tag = got.window_tags[0];
                    BOOST_CHECK_EQUAL(tag.offset, expected - 1);
                    BOOST_CHECK_EQUAL(pmt::symbol_to_string(tag.key), "window_samples");
                    BOOST_CHECK_EQUAL(pmt::to_uint64(tag.value), in_last);
                }
            }
        }
    }
}

// Output space that ends in the middle of a window changes nothing.
BOOST_AUTO_TEST_CASE(little_room_per_call)
{
    for (const auto& [window, hop] : sizes)
        for (int chunk : { 1, 3, 17 })
            BOOST_CHECK(run(1003, window, hop, chunk).stream == ramp(1003));
}

// A tag travels on the first window that holds its sample and leaves once, on the sample
// that it entered on, with its value, source and order.
BOOST_AUTO_TEST_CASE(every_tag_on_its_sample)
{
    for (const auto& [window, hop] : sizes)
        for (int count : { 1, window, window + 1, 5 * hop + window, 1003 })
            BOOST_TEST_CONTEXT("N " << count << ", window " << window << ", hop " << hop)
            {
                std::vector<gr::tag_t> tags;
                for (int n = 0; n < count; n++)
                    for (int which : { 0, 1 }) { // two on every sample
                        gr::tag_t tag;
                        tag.offset = n;
                        tag.key = pmt::mp("key" + std::to_string(which));
                        tag.value = pmt::from_long(10 * n + which);
                        tag.srcid = pmt::mp("source");
                        tags.push_back(tag);
                    }
                const auto got = run(count, window, hop, 1000, tags);
                BOOST_REQUIRE_EQUAL(got.stream_tags.size(), tags.size());
                for (size_t i = 0; i < tags.size(); i++) {
                    BOOST_REQUIRE_EQUAL(got.stream_tags[i].offset, tags[i].offset);
                    BOOST_REQUIRE(pmt::eqv(got.stream_tags[i].key, tags[i].key));
                    BOOST_REQUIRE(pmt::eqv(got.stream_tags[i].value, tags[i].value));
                    BOOST_REQUIRE(pmt::eqv(got.stream_tags[i].srcid, tags[i].srcid));
                }
                for (const auto& tag : got.window_tags)
                    if (pmt::symbol_to_string(tag.key) == "window_tag") {
                        const auto n = pmt::to_uint64(pmt::tuple_ref(tag.value, 0));
                        BOOST_REQUIRE(n >= tag.offset * hop);
                        BOOST_REQUIRE(n < tag.offset * hop + window);
                        if (tag.offset > 0) // not in the one before
                            BOOST_REQUIRE(n >= (tag.offset - 1) * hop + window);
                    }
            }
}

// Wrong sizes are refused where they are given, in words that say what would be right.
BOOST_AUTO_TEST_CASE(wrong_sizes_are_refused)
{
    const auto says = [](const std::string& text) {
        return [text](const std::invalid_argument& e) {
            return std::string(e.what()).find(text) != std::string::npos;
        };
    };
    BOOST_CHECK_EXCEPTION(
        stream_to_windows::make(2560, 3000),
        std::invalid_argument,
        says("stream_to_windows: hop (3000) must not exceed window (2560)"));
    BOOST_CHECK_EXCEPTION(windows_to_stream::make(2560, 0),
                          std::invalid_argument,
                          says("windows_to_stream: hop (0) must be at least 1"));
    BOOST_CHECK_EXCEPTION(windows_to_stream::make(0, 0),
                          std::invalid_argument,
                          says("windows_to_stream: window (0) must be from 1 to"));
    BOOST_CHECK_EXCEPTION(stream_to_windows::make(1 << 25, 1),
                          std::invalid_argument,
                          says("window (33554432) must be from 1 to 16777216"));
}

// With mark_end one window is partial, the last, and the stream is what it was.
BOOST_AUTO_TEST_CASE(the_end_is_marked)
{
    for (const auto& [window, hop] : sizes) {
        if (hop == window) {
            BOOST_CHECK_THROW(stream_to_windows::make(window, hop, true),
                              std::invalid_argument);
            continue;
        }
        for (int count : { 0, 1, window - 1, window, window + 1, window + 3 * hop }) {
            BOOST_TEST_CONTEXT("N " << count << ", window " << window << ", hop " << hop)
            {
                const auto got = run(count, window, hop, 100000, {}, true);
                BOOST_TEST(got.stream == ramp(count), boost::test_tools::per_element());
                BOOST_REQUIRE_EQUAL(got.window_tags.size(), count > 0 ? 1 : 0);
                if (count == 0)
                    continue;
                BOOST_CHECK_EQUAL(got.window_tags[0].offset,
                                  got.windows.size() / window - 1);
                BOOST_CHECK_LT(pmt::to_uint64(got.window_tags[0].value),
                               static_cast<uint64_t>(window));
            }
        }
    }
}
