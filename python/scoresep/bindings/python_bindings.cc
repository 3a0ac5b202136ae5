/* -*- c++ -*- */
/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include <gnuradio/scoresep/stream_to_windows.h>
#include <gnuradio/scoresep/windows_to_stream.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;
using gr::scoresep::stream_to_windows;
using gr::scoresep::windows_to_stream;

PYBIND11_MODULE(scoresep_python, m)
{
    py::module::import("gnuradio.gr"); // the base classes

    py::class_<stream_to_windows,
               gr::block,
               gr::basic_block,
               std::shared_ptr<stream_to_windows>>(
        m,
        "stream_to_windows",
        "Cut a complex stream into overlapping windows, losing nothing at its end.\n\n"
        "Window k holds the samples k*hop ... k*hop + window - 1 (1 <= hop <= window).\n"
        "A partial last window is zero-padded and tagged window_samples. Each tag "
        "becomes\n"
        "a window_tag (offset, key, value, srcid) on the first window with its sample.")
        .def(py::init(&stream_to_windows::make), py::arg("window"), py::arg("hop"));

    py::class_<windows_to_stream,
               gr::block,
               gr::basic_block,
               std::shared_ptr<windows_to_stream>>(
        m,
        "windows_to_stream",
        "Join the windows of stream_to_windows into the stream they were cut from.\n\n"
        "Takes the same window and hop. Keeps the middle hop samples of every window, "
        "and\n"
        "the edges where the stream begins and ends; exactly as many samples leave as\n"
        "entered stream_to_windows, every tag on its sample. Other tags on a window go\n"
        "onto the first sample that it contributes.")
        .def(py::init(&windows_to_stream::make), py::arg("window"), py::arg("hop"));
}
