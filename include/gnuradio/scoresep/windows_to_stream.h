/* -*- c++ -*- */
/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef INCLUDED_SCORESEP_WINDOWS_TO_STREAM_H
#define INCLUDED_SCORESEP_WINDOWS_TO_STREAM_H

#include <gnuradio/block.h>
#include <gnuradio/scoresep/api.h>

namespace gr {
namespace scoresep {

/*!
 * \brief Join overlapping windows into the stream they were cut from.
 * \ingroup scoresep
 *
 * \details
 * Input: vectors of \p window complex samples, as stream_to_windows makes them
 * with the same \p window and \p hop. Output: complex samples, exactly as many
 * as went into stream_to_windows.
 *
 * A method that sees one window at a time is at its worst near the window's
 * edges. With context = floor((window − hop)/2), of every window only the
 * samples context … context + hop − 1 are kept; of the first window also what
 * comes before them, of the last also what comes after them, up to the number
 * that its tag `window_samples` gives (all, without that tag). Nothing is added
 * or averaged.
 *
 * A tag `window_tag` is unwrapped and leaves on the very sample that the
 * original tag entered on. Any other tag on a window, such as one that the method
 * between the blocks has added, goes onto the first sample that the window
 * contributes.
 *
 * Constraints: 1 <= hop <= window <= 2^24. Between the two blocks, windows are
 * neither dropped nor inserted nor reordered.
 *
 * Cost: one copy per sample. The window − context − hop samples at the end of
 * the latest window are held back until it is known whether it is the last.
 */
class SCORESEP_API windows_to_stream : virtual public gr::block
{
public:
    typedef std::shared_ptr<windows_to_stream> sptr;

    /*!
     * \param window samples per window, as in stream_to_windows
     * \param hop samples from one window to the next, as in stream_to_windows
     * \throws std::invalid_argument when the constraints do not hold
     */
    static sptr make(int window, int hop);
};

} // namespace scoresep
} // namespace gr

#endif /* INCLUDED_SCORESEP_WINDOWS_TO_STREAM_H */
