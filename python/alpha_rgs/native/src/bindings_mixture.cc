/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "arrays.h"
#include "detector_class.h"
#include "mixture_class.h"

namespace py = pybind11;
using namespace alpha_rgs;

namespace {

// The Python object: the mixture and what it points into.
struct BoundMixture {
    std::vector<py::object> held;
    std::vector<MixtureColumns> sources;
    std::unique_ptr<Mixture> mixture;
    MixtureShape shape{};
    size_t windows;

    BoundMixture(const py::dict& from, const std::string& instructions, int threads);
    MixtureColumns columns(const py::dict& from);
    void statistics(const Array<Complex>& y, int threads);
    Array<Complex> waveform(int source, const Array<Complex>& unknowns, int threads);
    py::tuple posterior(const Array<float>& noise,
                        const Array<float>& precision,
                        const Array<float>& shift,
                        int threads);
};

MixtureColumns BoundMixture::columns(const py::dict& from)
{
    MixtureColumns out{};
    out.count = number<int>(from, "count");
    out.width = number<int>(from, "width");
    out.dimensions = number<int>(from, "dimensions");
    out.shared = number<bool>(from, "shared");
    const size_t count = (size_t)out.count, rows = out.shared ? 1 : windows,
                 slots = windows * count * (size_t)out.dimensions;
    out.start = array<int64_t>(from, "start", rows * count, held);
    out.columns = complexes(from, "columns", rows * count * (size_t)out.width, held);
    out.gain = array<float>(from, "gain", windows, held);
    out.slot = array<int32_t>(from, "slot", slots, held);
    for (size_t k = 0; k < slots; k++)
        if (out.slot[k] < -1 || out.slot[k] >= (int64_t)shape.slots())
            throw std::invalid_argument("slot: there is no such slot");
    for (size_t row = 0; row < rows; row++)
        for (size_t k = 1; k < count; k++)
            if (out.start[row * count + k] < out.start[row * count + k - 1])
                throw std::invalid_argument("start: has to ascend");
    return out;
}

BoundMixture::BoundMixture(const py::dict& from,
                           const std::string& instructions,
                           int threads)
{
    shape.local = number<int>(from, "local");
    shape.chain = number<int>(from, "chain");
    shape.segments = number<int>(from, "segments");
    shape.samples = number<int>(from, "samples");
    windows = number<size_t>(from, "windows");
    for (py::handle each : py::list(from["sources"]))
        sources.push_back(columns(py::cast<py::dict>(each)));
    const Kernel& kernel = kernel_called(instructions);
    py::gil_scoped_release release;
    mixture = std::make_unique<Mixture>(shape, sources, (int)windows, kernel, threads);
}

void BoundMixture::statistics(const Array<Complex>& y, int threads)
{
    if ((size_t)y.size() != windows * (size_t)shape.samples)
        throw std::invalid_argument("windows: not as many samples as told");
    const float* data = (const float*)y.data();
    py::gil_scoped_release release;
    mixture->statistics(data, threads);
}

Array<Complex>
BoundMixture::waveform(int source, const Array<Complex>& unknowns, int threads)
{
    if (source < 0 || source >= (int)sources.size())
        throw std::invalid_argument("source: there is no such source");
    if ((size_t)unknowns.size() != windows * (size_t)sources[(size_t)source].count)
        throw std::invalid_argument("unknowns: not as many as the source has");
    Array<Complex> out({ windows, (size_t)shape.samples });
    const float* values = (const float*)unknowns.data();
    float* to = (float*)out.mutable_data();
    py::gil_scoped_release release;
    mixture->waveform(source, values, to, threads);
    return out;
}

py::tuple BoundMixture::posterior(const Array<float>& noise,
                                  const Array<float>& precision,
                                  const Array<float>& shift,
                                  int threads)
{
    const size_t slots = shape.slots();
    if ((size_t)noise.size() != windows || (size_t)precision.size() != windows * slots ||
        (size_t)shift.size() != windows * slots)
        throw std::invalid_argument("sites: not as many as there are slots");
    Array<float> mean({ windows, slots }), var({ windows, slots });
    Array<bool> sound({ windows });
    const MixtureSites sites{ noise.data(),       precision.data(),
                              shift.data(),       mean.mutable_data(),
                              var.mutable_data(), sound.mutable_data() };
    {
        py::gil_scoped_release release;
        mixture->posterior(sites, threads);
    }
    return py::make_tuple(mean, var, sound);
}

} // namespace

void bind_mixture(py::module_& m)
{
    py::class_<BoundMixture>(m, "Mixture")
        .def(py::init<const py::dict&, const std::string&, int>(),
             py::arg("shape"),
             py::arg("instructions"),
             py::arg("threads"))
        .def("statistics",
             &BoundMixture::statistics,
             py::arg("windows"),
             py::arg("threads"),
             "Take other samples.")
        .def("waveform",
             &BoundMixture::waveform,
             py::arg("source"),
             py::arg("unknowns"),
             py::arg("threads"),
             "Of one source, with its gain.")
        .def("posterior",
             &BoundMixture::posterior,
             py::arg("noise"),
             py::arg("precision"),
             py::arg("shift"),
             py::arg("threads"),
             "(mean, var) of all slots, and in which windows single precision suffices.");
}
