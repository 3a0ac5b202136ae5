/* -*- c++ -*- */
/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef INCLUDED_SCORESEP_STREAM_TO_WINDOWS_H
#define INCLUDED_SCORESEP_STREAM_TO_WINDOWS_H

#include <gnuradio/block.h>
#include <gnuradio/scoresep/api.h>

namespace gr {
namespace scoresep {

/*!
 * \brief Cut a stream into overlapping windows, losing nothing at its end.
 * \ingroup scoresep
 *
 * \details
 * Input: complex samples. Output: vectors of \p window complex samples, the
 * input of a method that looks at one window at a time. windows_to_stream with
 * the same \p window and \p hop puts the windows together again.
 *
 * Window k holds the samples k·hop … k·hop + window − 1. A stream of N > 0
 * samples gives max(1, ceil((N − window)/hop) + 1) windows; N = 0 gives none.
 * When the last one is partial, it is padded with zeros and carries a tag
 * `window_samples` (uint64): how many of its samples are real. With \p mark_end, a
 * last window is always marked so: where the stream ends with a whole window, one
 * more follows that holds the samples after the hop once again. A method that must
 * see the end otherwise than the rest then knows it in time.
 *
 * A tag on a sample becomes a tag `window_tag` on the first window that holds
 * that sample. Its value is the tuple (uint64 absolute offset of the sample,
 * key, value, srcid) of the original, from which windows_to_stream restores it.
 *
 * Constraints: 1 <= hop <= window <= 2^24. Reconfiguring a running flowgraph (lock,
 * unlock) begins a new stream: GNU Radio resets its counters and drops the tags in
 * flight, and the window that was being filled goes with them.
 *
 * Cost: one copy per sample, and one more per sample of overlap. A window
 * leaves when its last sample has come, so the first sample waits for
 * window − 1 others. GNU Radio rounds a buffer of vectors up to a common
 * multiple of the vector and the memory page: a \p window that is a multiple of
 * 512 gets a buffer of 65 536 samples; an odd one may take 10 MB and more, and
 * GNU Radio then prints a warning about alignment, which is harmless.
 */
class SCORESEP_API stream_to_windows : virtual public gr::block
{
public:
    typedef std::shared_ptr<stream_to_windows> sptr;

    /*!
     * \param window samples per window. A longer one gives the method between
     *        the two blocks more to see, and delays the stream by as much.
     * \param hop samples from one window to the next. The method's work per
     *        sample grows as window/hop; window − hop samples are seen twice, so
     *        that windows_to_stream can keep the middles and drop the edges.
     * \param mark_end whether the end of the stream always has a partial window;
     *        needs hop < window
     * \throws std::invalid_argument when the constraints do not hold
     */
    static sptr make(int window, int hop, bool mark_end = false);
};

} // namespace scoresep
} // namespace gr

#endif /* INCLUDED_SCORESEP_STREAM_TO_WINDOWS_H */
