/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include <algorithm>

#include "arrays.h"
#include "detector_class.h"
#include "mixture_class.h"

namespace py = pybind11;
using namespace alpha_rgs;

namespace {

using DoubleComplex = std::complex<double>;
using Held = std::vector<py::object>;
using Complexes = Array<DoubleComplex>;
using Numbers = Array<double>;

const double* pairs(const py::dict& from, const char* name, size_t n, Held& held)
{
    return (const double*)array<DoubleComplex>(from, name, n, held);
}

// What is true of all bursts, and the arrays that say it.
class BurstFit
{
public:
    explicit BurstFit(const py::dict& from);
    Numbers shapes(const Complexes& information,
                   const Numbers& precision,
                   double power,
                   const std::string& instructions) const;
    py::tuple response(const Complexes& information,
                       const Numbers& precision,
                       double power,
                       int kind,
                       const std::string& instructions) const;
    void best(const py::dict& from, const std::string& instructions) const;
    void whole(const py::dict& from, const std::string& instructions) const;

private:
    void read_constants(const py::dict& from);
    FitJob job(const py::dict& from, Held& held) const;

    Held d_held;
    FitModel d_model{};
};

void must_hold(py::ssize_t size, size_t expected, const char* name)
{
    if ((size_t)size != expected)
        throw std::invalid_argument(std::string(name) + ": holds " +
                                    std::to_string(size) + " values, not " +
                                    std::to_string(expected));
}

BurstFit::BurstFit(const py::dict& from)
{
    FitModel& m = d_model;
    const py::list alphabets(from["alphabets"]);
    m.alphabets = (int)py::len(alphabets);
    m.kinds = number<int>(from, "kinds");
    m.taps = number<int>(from, "taps");
    if (m.alphabets < 1 || m.alphabets > most_alphabets || m.taps < 1 ||
        m.taps > most_taps || m.kinds < 1 || m.kinds > most_kinds)
        throw std::invalid_argument("a burst has alphabets, kinds of channels and taps");
    for (int i = 0; i < m.alphabets; i++) {
        const py::dict own = py::cast<py::dict>(alphabets[(size_t)i]);
        const char* names[] = { "real", "imag" };
        for (int part = 0; part < 2; part++) {
            m.alphabet[i].levels[part] = (int)py::len(own[names[part]]);
            m.alphabet[i].level[part] = array<double>(
                own, names[part], (size_t)m.alphabet[i].levels[part], d_held);
        }
    }
    const size_t taps = (size_t)m.taps;
    m.faint = number<double>(from, "faint");
    m.pilots = array<bool>(from, "pilots", fit_carriers, d_held);
    m.turned = pairs(from, "turned", fit_carriers, d_held);
    m.amplitude = array<double>(from, "amplitude", m.kinds * taps, d_held);
    m.wave = pairs(from, "wave", taps * fit_carriers, d_held);
    m.lag = pairs(from, "lag", taps * fit_carriers, d_held);
    read_constants(from);
}

// See the constants of synchronization/burst_fit.py.
void BurstFit::read_constants(const py::dict& from)
{
    FitModel& m = d_model;
    m.preamble = number<int>(from, "preamble");
    m.fewest = number<int>(from, "fewest");
    m.likely = number<int>(from, "likely");
    m.turns[0] = number<int>(from, "first_turns");
    m.turns[1] = number<int>(from, "last_turns");
    m.cooling = number<double>(from, "cooling");
    m.trust = number<double>(from, "trust");
    m.slip = number<double>(from, "slip");
    m.legacy = array<bool>(from, "legacy", fit_carriers, d_held);
    m.outer = array<bool>(from, "outer", fit_carriers, d_held);
    m.sparse = array<bool>(from, "sparse", fit_carriers, d_held);
    m.short_sent = pairs(from, "short_sent", fit_carriers, d_held);
    m.ways = (int)py::len(from["sent"]);
    m.sent = pairs(from, "sent", (size_t)m.ways * fit_carriers, d_held);
    m.sent_turn = pairs(from, "sent_turn", (size_t)m.ways * fit_carriers, d_held);
    m.trained = number<double>(from, "trained");
    m.empty = number<double>(from, "empty");
    m.thin = number<double>(from, "thin");
    m.far = number<double>(from, "far");
    m.fit = number<double>(from, "fit");
    m.short_gain = number<double>(from, "short_gain");
}

Numbers BurstFit::shapes(const Complexes& information,
                         const Numbers& precision,
                         double power,
                         const std::string& instructions) const
{
    must_hold(information.size(), fit_carriers, "information");
    must_hold(precision.size(), fit_carriers, "precision");
    Numbers out(d_model.kinds);
    kernel_called(instructions)
        .burst_fit.shapes(d_model,
                          (const double*)information.data(),
                          precision.data(),
                          power,
                          out.mutable_data());
    return out;
}

py::tuple BurstFit::response(const Complexes& information,
                             const Numbers& precision,
                             double power,
                             int kind,
                             const std::string& instructions) const
{
    must_hold(information.size(), fit_carriers, "information");
    must_hold(precision.size(), fit_carriers, "precision");
    if (kind < 0 || kind >= d_model.kinds)
        throw std::invalid_argument("kind: there is no such channel");
    Complexes gain(fit_carriers);
    Numbers spread(fit_carriers), taps(d_model.taps);
    kernel_called(instructions)
        .burst_fit.response(d_model,
                            (const double*)information.data(),
                            precision.data(),
                            power,
                            kind,
                            (double*)gain.mutable_data(),
                            spread.mutable_data(),
                            taps.mutable_data());
    return py::make_tuple(gain, spread, taps);
}

// A job with its output arrays.
FitJob BurstFit::job(const py::dict& from, Held& held) const
{
    FitJob job{};
    job.symbols = (int)py::len(from["kind"]);
    const size_t n = (size_t)job.symbols, all = n * fit_carriers;
    job.u = pairs(from, "u", all, held);
    job.turn = const_cast<double*>(pairs(from, "turn", all, held));
    job.known = const_cast<double*>(pairs(from, "known", all, held));
    job.kind = const_cast<int64_t*>(array<int64_t>(from, "kind", n, held));
    job.seen = array<bool>(from, "seen", n, held);
    job.clear = const_cast<bool*>(array<bool>(from, "clear", fit_carriers, held));
    job.used = const_cast<bool*>(array<bool>(from, "used", fit_carriers, held));
    job.noise = number<double>(from, "noise");
    job.power = number<double>(from, "power");
    job.alphabet = number<int>(from, "alphabet");
    job.shape = number<int>(from, "shape");
    if (job.shape < 0 || job.shape >= d_model.kinds)
        throw std::invalid_argument("shape: there is no such channel");
    job.gain = const_cast<double*>(pairs(from, "gain", fit_carriers, held));
    auto numbers = [&](const char* name, size_t count) {
        return const_cast<double*>(array<double>(from, name, count, held));
    };
    job.phase = numbers("phase", n);
    job.scatter = numbers("scatter", fit_carriers);
    if (!from.contains("numbers"))
        return job;
    job.spread = numbers("spread", fit_carriers);
    job.taps = numbers("taps", (size_t)d_model.taps);
    job.mean = const_cast<double*>(pairs(from, "mean", all, held));
    job.second = numbers("second", all);
    job.points = const_cast<int64_t*>(array<int64_t>(from, "points", n, held));
    job.numbers = numbers("numbers", 6);
    if (!from.contains("whole"))
        return job;
    job.whole = array<bool>(from, "whole", fit_carriers, held);
    job.off = numbers("off", n);
    return job;
}

void BurstFit::best(const py::dict& from, const std::string& instructions) const
{
    Held held;
    const FitJob own = job(from, held);
    if (!own.numbers)
        throw std::invalid_argument("numbers: is missing");
    const BurstFitKernel& kernel = kernel_called(instructions).burst_fit;
    py::gil_scoped_release release;
    const Memory memory(kernel.bytes(d_model, own));
    kernel.best(d_model, own, memory.data());
}

void BurstFit::whole(const py::dict& from, const std::string& instructions) const
{
    Held held;
    const FitJob own = job(from, held);
    if (!own.numbers || !own.whole)
        throw std::invalid_argument("numbers, whole: are missing");
    const BurstFitKernel& kernel = kernel_called(instructions).burst_fit;
    py::gil_scoped_release release;
    const Memory memory(kernel.whole_bytes(d_model, own));
    kernel.whole(d_model, own, memory.data());
}

} // namespace

void bind_burst_fit(py::module_& m)
{
    py::class_<BurstFit>(m, "BurstFit")
        .def(py::init<const py::dict&>(), py::arg("model"))
        .def("shapes", &BurstFit::shapes)
        .def("response", &BurstFit::response)
        .def("best", &BurstFit::best, "Fill the job's output arrays.")
        .def("whole", &BurstFit::whole, "Fill the job's output arrays.");
}
