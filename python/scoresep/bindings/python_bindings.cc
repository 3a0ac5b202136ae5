/* -*- c++ -*- */
/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include <gnuradio/hier_block2.h>
#include <gnuradio/scoresep/stream_to_windows.h>
#include <gnuradio/scoresep/windows_to_stream.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <string>
#include <vector>

namespace py = pybind11;
using gr::scoresep::stream_to_windows;
using gr::scoresep::windows_to_stream;

namespace {

/* A pointer to a block as a flowgraph should keep it. Of a block written in Python, GNU
 * Radio's own pointer holds only the C++ half, which crashes once the Python half is
 * gone; this one owns the Python half, which owns the other. */
gr::basic_block_sptr owning(const py::object& block)
{
    auto release = [](py::object* owned) {
        if (Py_IsInitialized()) { // else it went with the interpreter
            py::gil_scoped_acquire lock;
            delete owned;
        }
    };
    auto basic = block.attr("to_basic_block")().cast<gr::basic_block_sptr>();
    std::shared_ptr<py::object> owner(new py::object(block), release);
    return gr::basic_block_sptr(owner, basic.get());
}

void adopt(const py::object& hier,
           const py::object& part,
           const std::vector<std::string>& out,
           const std::vector<std::string>& in)
{
    const auto basic = hier.attr("to_basic_block")();
    const auto block = basic.cast<std::shared_ptr<gr::hier_block2>>();
    /* The flowgraph inside must not own the block that owns that flowgraph. */
    const gr::basic_block_sptr unowned(gr::basic_block_sptr(), block.get());
    const auto owned = owning(part);
    for (const auto& port : out) {
        const auto name = pmt::intern(port);
        block->message_port_register_hier_out(name);
        block->msg_connect(owned, name, unowned, name);
    }
    for (const auto& port : in) {
        const auto name = pmt::intern(port);
        block->message_port_register_hier_in(name);
        block->msg_connect(unowned, name, owned, name);
    }
}

} // namespace

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
        "A partial last window is zero-padded and tagged window_samples; with mark_end\n"
        "there is always one. Each tag becomes\n"
        "a window_tag (offset, key, value, srcid) on the first window with its sample.")
        .def(py::init(&stream_to_windows::make),
             py::arg("window"),
             py::arg("hop"),
             py::arg("mark_end") = false);

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

    m.def(
        "adopt",
        &adopt,
        "Let a hierarchical block own a part written in Python, and forward its "
        "ports.\n\n"
        "As message_port_register_hier_out(port), msg_connect(part, port, self, port) "
        "for\n"
        "ports out, and their counterparts for ports in, but GNU Radio then keeps the\n"
        "Python half of the part too, and the block does not own itself: both are freed\n"
        "with the last reference to the block.",
        py::arg("hier"),
        py::arg("part"),
        py::arg("out"),
        py::arg("in") = std::vector<std::string>());
}
