/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include <pybind11/stl.h>

#include <memory>

#include "arrays.h"
#include "detector_class.h"

namespace py = pybind11;
using namespace alpha_rgs;

namespace {

Alphabet alphabet(const py::dict& from, std::vector<py::object>& held)
{
    Alphabet out{};
    out.size = number<int>(from, "size");
    out.points = complexes(from, "points", (size_t)out.size, held);
    out.levels[0] = number<int>(from, "real_levels");
    out.levels[1] = number<int>(from, "imag_levels");
    out.level[0] = array<float>(from, "real", (size_t)out.levels[0], held);
    out.level[1] = array<float>(from, "imag", (size_t)out.levels[1], held);
    out.signs = number<bool>(from, "signs");
    return out;
}

FrameClass
frame_class(const py::dict& from, const Model& m, std::vector<py::object>& held)
{
    const size_t K = (size_t)m.symbols;
    FrameClass out{};
    out.pulses = complexes(from, "pulses", K * m.frame, held);
    out.reach = array<int32_t>(from, "reach", 2 * K, held);
    out.direct = complexes(from, "direct", (size_t)m.clean, held);
    out.soft = complexes(from, "soft", K * m.transform, held);
    out.leak = complexes(from, "leak", K * m.clean, held);
    out.cross = complexes(from, "cross", K * m.near, held);
    out.own = complexes(from, "own", K * K, held);
    out.before = number<int32_t>(from, "before");
    return out;
}

// The Python object: the detector and what its tables point into.
struct Bound {
    std::vector<py::object> held;
    std::vector<FrameClass> classes;
    std::unique_ptr<Detector> detector;
    Model model{};
    int lanes;

    Bound(const py::dict& tables, const std::string& instructions)
    {
        Model& m = model;
        m.frame = number<int>(tables, "frame");
        m.prefix = number<int>(tables, "prefix");
        m.transform = m.frame - m.prefix;
        m.symbols = number<int>(tables, "symbols");
        m.near = number<int>(tables, "near");
        m.clean = number<int>(tables, "clean");
        m.noise = number<float>(tables, "noise");
        m.shrink = number<float>(tables, "shrink");
        m.symbol = alphabet(tables["symbol"], held);
        m.carrier = alphabet(tables["carrier"], held);
        const size_t D = (size_t)m.near, M = (size_t)m.clean;
        m.stages = number<int32_t>(tables, "stages");
        m.radix = array<int32_t>(tables, "radix", (size_t)m.stages, held);
        m.twiddles =
            complexes(tables, "twiddles", number<size_t>(tables, "twiddles_size"), held);
        m.near_bin = array<int32_t>(tables, "near_bin", D, held);
        m.clean_bin = array<int32_t>(tables, "clean_bin", M, held);
        m.near_wave = complexes(tables, "near_wave", D, held);
        m.clean_wave = complexes(tables, "clean_wave", M, held);
        m.gram = complexes(tables, "gram", D * D, held);
        m.turn = number<double>(tables, "frequency") == 0
                     ? nullptr
                     : complexes(tables, "turn", (size_t)m.frame, held);
        m.bin = array<int32_t>(tables, "bin", D + M, held);
        m.wave = complexes(tables, "wave", D + M, held);
        m.search_order = number<int>(tables, "search_order");
        m.passes = number<int>(tables, "passes");
        m.cut_passes = number<int>(tables, "cut_passes");
        m.damping = number<float>(tables, "damping");
        m.cut_damping = number<float>(tables, "cut_damping");
        const float* limit = array<float>(tables, "threshold", 3, held);
        std::copy(limit, limit + 3, m.threshold);
        for (py::handle each : py::list(tables["classes"]))
            classes.push_back(frame_class(py::cast<py::dict>(each), m, held));
        m.classes = (int)classes.size();
        m.frame_class = classes.data();
        const Kernel& kernel = kernel_called(instructions);
        lanes = kernel.lanes;
        detector = std::make_unique<Detector>(m, kernel);
    }

    std::vector<int64_t> run(const py::dict& job, int threads);
    std::vector<Stretch> stretches(const py::dict& job, size_t samples, size_t symbols);
    std::vector<Group>
    groups(const py::dict& job, const std::vector<Stretch>& stretch, size_t frames);
};

std::vector<Stretch> Bound::stretches(const py::dict& job, size_t samples, size_t symbols)
{
    std::vector<py::object> kept;
    const size_t n = number<size_t>(job, "stretches");
    const int64_t* place = array<int64_t>(job, "places", 10 * n, kept);
    const double* angle = array<double>(job, "angles", 4 * n, kept);
    const float* gain = array<float>(job, "gain", n, kept);
    std::vector<Stretch> out;
    for (size_t k = 0; k < n; k++, place += 10) {
        Stretch s{ place[0],          place[1],          place[2],
                   place[3],          place[4],          place[5],
                   (int32_t)place[6], (int32_t)place[7], (int32_t)place[8],
                   (int32_t)place[9], angle[4 * k],      angle[4 * k + 1],
                   angle[4 * k + 2],  angle[4 * k + 3],  gain[k] };
        const bool inside =
            s.low >= 0 && s.high <= (int64_t)samples && s.keep_low >= s.low &&
            s.keep_high <= s.high && s.symbol_low >= 0 && s.symbol_out >= 0 &&
            s.symbol_out + s.symbol_high - s.symbol_low <= (int64_t)symbols;
        if (!inside)
            throw std::invalid_argument("places: reach beyond the arrays");
        out.push_back(s);
    }
    return out;
}

std::vector<Group>
Bound::groups(const py::dict& job, const std::vector<Stretch>& stretch, size_t frames)
{
    std::vector<py::object> kept;
    const size_t n = number<size_t>(job, "group_count");
    const int32_t* group = array<int32_t>(job, "groups", 4 * n, kept);
    const int32_t* kind = array<int32_t>(job, "classes", frames, kept);
    const int32_t* first = array<int32_t>(job, "firsts", frames, kept);
    for (size_t f = 0; f < frames; f++)
        if (kind[f] < 0 || kind[f] >= model.classes)
            throw std::invalid_argument("classes: no such class");
    std::vector<Group> out;
    for (size_t g = 0; g < n; g++, group += 4) {
        Group own{ group[0], group[1], group[2], group[3] };
        bool inside = own.first >= 0 && own.count >= 1 && own.count <= lanes &&
                      own.frames >= 1 && own.at >= 0 &&
                      (size_t)(own.first + own.count) <= stretch.size() &&
                      (size_t)(own.at + own.frames) <= frames;
        for (int f = 1; inside && f < own.frames; f++) {
            const int step = first[own.at + f] - first[own.at + f - 1];
            inside = step >= 0 && step <= model.symbols;
        }
        for (int k = 0; inside && k < own.count; k++)
            inside = stretch[(size_t)(own.first + k)].symbol_high <=
                     first[own.at + own.frames - 1] - first[own.at] + model.symbols;
        if (!inside || first[own.at] != 0)
            throw std::invalid_argument("groups: reach beyond the arrays");
        out.push_back(own);
    }
    return out;
}

std::vector<int64_t> Bound::run(const py::dict& from, int threads)
{
    std::vector<py::object> kept;
    const size_t samples = number<size_t>(from, "samples"),
                 symbols = number<size_t>(from, "symbols");
    const size_t frames = number<size_t>(from, "frames");
    const std::vector<Stretch> stretch = stretches(from, samples, symbols);
    const std::vector<Group> group = groups(from, stretch, frames);
    Job job{};
    job.mixture = complexes(from, "mixture", samples, kept);
    job.stretches = stretch.data();
    job.classes = array<int32_t>(from, "classes", frames, kept);
    job.firsts = array<int32_t>(from, "firsts", frames, kept);
    if (!from["soi"].is_none()) {
        job.soi = const_cast<float*>(complexes(from, "soi", samples, kept));
        job.interference =
            const_cast<float*>(complexes(from, "interference", samples, kept));
    }
    job.soft = const_cast<float*>(complexes(from, "soft", symbols, kept));
    job.variance = const_cast<float*>(array<float>(from, "variance", symbols, kept));
    job.excess = const_cast<float*>(array<float>(from, "excess", stretch.size(), kept));
    job.skip_head = number<bool>(from, "skip_head");
    job.skip_tail = number<bool>(from, "skip_tail");
    py::gil_scoped_release release;
    return detector->run(job, group, threads);
}

} // namespace

void bind_mixture(py::module_& m);   // see bindings_mixture.cc
void bind_bursts(py::module_& m);    // see bindings_bursts.cc
void bind_burst_fit(py::module_& m); // see bindings_burst_fit.cc

PYBIND11_MODULE(_kernels, m)
{
    m.doc() =
        "Joint detection of a linear modulation under OFDM, and of linear mixtures, in "
        "float32 on vectors; under bursts of OFDM, in float64.";
    bind_mixture(m);
    bind_bursts(m);
    bind_burst_fit(m);
    m.def(
        "instruction_sets",
        [] {
            std::vector<std::string> names;
            for (const Kernel* kernel : kernels())
                names.push_back(kernel->name);
            return names;
        },
        "Names of those that this machine can run, the fastest last.");
    py::class_<Bound>(m, "Detector")
        .def(py::init<const py::dict&, const std::string&>(),
             py::arg("tables"),
             py::arg("instructions") = "")
        .def_readonly("lanes", &Bound::lanes)
        .def("run",
             &Bound::run,
             py::arg("job"),
             py::arg("threads"),
             "Fill the job's output arrays; returns [stretches searched, frames "
             "searched, changed].");
}
