/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <tuple>

#include "arrays.h"
#include "burst_layout.h"
#include "detector_class.h"
#include "mixture_class.h"

namespace py = pybind11;
using namespace alpha_rgs;

namespace {

using DoubleComplex = std::complex<double>;

constexpr int most_together = 8; // windows: more would not stay in the cache

// A job and what it points into.
struct BoundJob {
    std::vector<py::object> held;
    std::vector<BurstAlphabet> alphabets;
    std::vector<BurstFamily> families;
    std::vector<BurstTile> tiles;
    std::vector<int32_t> begin;
    BurstJob job{};

    BoundJob(const py::dict& from, int threads);
    const double* pairs(const py::dict& from, const char* name, size_t n);
    double* out(const py::dict& from, const char* name, size_t n);
    BurstAlphabet alphabet(const py::dict& from);
    BurstFamily family(const py::dict& from);
    void sort(const int64_t* window, const int64_t* first);
};

const double* BoundJob::pairs(const py::dict& from, const char* name, size_t n)
{
    return (const double*)array<DoubleComplex>(from, name, n, held);
}

double* BoundJob::out(const py::dict& from, const char* name, size_t n)
{
    return const_cast<double*>(array<double>(from, name, n, held));
}

BurstAlphabet BoundJob::alphabet(const py::dict& from)
{
    BurstAlphabet out{};
    out.size = number<int>(from, "size");
    out.points = pairs(from, "points", (size_t)out.size);
    const char* names[] = { "real", "imag" };
    for (int part = 0; part < 2; part++) {
        out.levels[part] = (int)py::len(from[names[part]]);
        out.level[part] =
            array<double>(from, names[part], (size_t)out.levels[part], held);
    }
    return out;
}

BurstFamily BoundJob::family(const py::dict& from)
{
    BurstFamily out{};
    out.tiles = number<int>(from, "tiles");
    out.carriers = number<int>(from, "carriers");
    const size_t tiles = (size_t)out.tiles, d = (size_t)out.carriers,
                 samples = tiles * (size_t)job.length;
    out.received = pairs(from, "received", samples);
    out.waves = pairs(from, "waves", samples * d);
    out.pulses = pairs(from, "pulses", samples * (size_t)job.symbols);
    out.noise = array<double>(from, "noise", samples, held);
    out.alphabet = array<int64_t>(from, "alphabet", tiles * d, held);
    for (size_t k = 0; k < tiles * d; k++)
        if (out.alphabet[k] < -1 || out.alphabet[k] >= job.carriers)
            throw std::invalid_argument("alphabet: there is no such alphabet");
    out.shift = const_cast<double*>(pairs(from, "shift", tiles * d));
    if (!from["inverse"].is_none())
        out.inverse = const_cast<double*>(pairs(from, "inverse", tiles * d * d));
    return out;
}

// Tiles by batches of windows. Within one those are together that are done alike.
void BoundJob::sort(const int64_t* window, const int64_t* first)
{
    const size_t batches = ((size_t)job.windows + job.together - 1) / job.together;
    std::vector<std::vector<BurstTile>> own(batches);
    for (size_t f = 0, k = 0; f < families.size(); f++)
        for (int row = 0; row < families[f].tiles; row++, k++) {
            if (window[k] < 0 || window[k] >= job.windows || first[k] < 0 ||
                first[k] + job.symbols > job.total)
                throw std::invalid_argument("first: reaches beyond the window");
            const int64_t* numbers =
                families[f].alphabet + (size_t)row * families[f].carriers;
            const bool decides = std::any_of(numbers,
                                             numbers + families[f].carriers,
                                             [](int64_t number) { return number >= 0; });
            own[(size_t)(window[k] / job.together)].push_back(
                BurstTile{ (int)f, row, (int)window[k], (int)first[k], decides });
        }
    begin.push_back(0);
    for (auto& some : own) {
        // of a window by time among equals: sums must not depend on the batch
        std::sort(some.begin(), some.end(), [&](const BurstTile& a, const BurstTile& b) {
            const int more = families[(size_t)a.family].carriers,
                      other = families[(size_t)b.family].carriers;
            return std::make_tuple(!a.decides, -more, a.window, a.first) <
                   std::make_tuple(!b.decides, -other, b.window, b.first);
        });
        tiles.insert(tiles.end(), some.begin(), some.end());
        begin.push_back((int32_t)tiles.size());
    }
}

BoundJob::BoundJob(const py::dict& from, int threads)
{
    job.windows = number<int>(from, "windows");
    job.length = number<int>(from, "length");
    job.symbols = number<int>(from, "symbols");
    job.total = number<int>(from, "total");
    job.passes = (int)py::len(from["heat"]);
    if (job.windows < 1 || job.length < 1 || job.symbols < 1 || job.total < job.symbols ||
        job.passes < 1)
        throw std::invalid_argument("a job has windows, samples, symbols and passes");
    job.heat = array<double>(from, "heat", (size_t)job.passes, held);
    job.damping = number<double>(from, "damping");
    for (py::handle each : py::list(from["alphabets"]))
        alphabets.push_back(alphabet(py::cast<py::dict>(each)));
    job.symbol = alphabet(from["symbol"]);
    job.carrier = alphabets.data();
    job.carriers = (int)alphabets.size();
    for (py::handle each : py::list(from["families"]))
        families.push_back(family(py::cast<py::dict>(each)));
    threads = std::max(1, threads);
    job.together = std::min(most_together, (job.windows + threads - 1) / threads);
    size_t count = 0;
    for (const BurstFamily& each : families)
        count += (size_t)each.tiles;
    sort(array<int64_t>(from, "window", count, held),
         array<int64_t>(from, "first", count, held));
    job.families = families.data();
    job.tiles = tiles.data();
    job.begin = begin.data();
    const double* limit = array<double>(from, "limits", 4, held);
    job.limits = BurstLimits{ limit[0], limit[1], limit[2], limit[3] };
    const double* p = array<double>(from, "pauses", 6, held);
    job.pauses = BurstPauses{ p[0], p[1], p[2], p[3], p[4], p[5] };
    const size_t all = (size_t)job.windows * job.total;
    job.exists = array<bool>(from, "exists", all, held);
    job.soft = const_cast<double*>(pairs(from, "soft", all * job.passes));
    job.var = out(from, "var", all * job.passes);
    job.mean = const_cast<double*>(pairs(from, "mean", all));
    job.spread = out(from, "spread", all);
    job.away = out(from, "away", all);
}

// Windows are shared out among threads; the result does not depend on how many there are.
void burst_passes(const py::dict& from, const std::string& instructions, int threads)
{
    const BoundJob bound(from, threads);
    const BurstJob& job = bound.job;
    const BurstKernel& kernel = kernel_called(instructions).bursts;
    py::gil_scoped_release release;
    const int batches = (int)bound.begin.size() - 1;
    size_t bytes = 0;
    for (int b = 0; b < batches; b++)
        bytes = std::max(bytes, kernel.bytes(job, b));
    std::vector<Memory> memory;
    threads = std::max(1, std::min(threads, batches));
    for (int t = 0; t < threads; t++)
        memory.emplace_back(bytes);
    std::atomic<int> next{ 0 };
    auto run = [&](char* own) {
        for (int b; (b = next++) < batches;)
            kernel.passes(job, b, own);
    };
    std::vector<std::thread> others;
    for (int t = 1; t < threads; t++)
        others.emplace_back(run, memory[(size_t)t].data());
    run(memory[0].data());
    for (std::thread& thread : others)
        thread.join();
}

using Worth = py::array_t<double, py::array::c_style | py::array::forcecast>;

std::vector<double> copied(const Worth& from)
{
    return std::vector<double>(from.data(), from.data() + from.size());
}

std::vector<std::pair<int, int>> layout(const Worth& gap,
                                        const std::vector<int>& lengths,
                                        const std::vector<Worth>& worth,
                                        double begin,
                                        double change)
{
    if (lengths.empty() || lengths.size() != worth.size())
        throw std::invalid_argument("lengths: one for each worth");
    std::vector<SymbolWorth> symbols;
    for (size_t k = 0; k < lengths.size(); k++) {
        if (lengths[k] < 1)
            throw std::invalid_argument("lengths: must be positive");
        symbols.push_back(SymbolWorth{ lengths[k], copied(worth[k]) });
    }
    const std::vector<double> alone = copied(gap);
    py::gil_scoped_release release;
    return best_layout(alone, symbols, LayoutPrices{ begin, change });
}

} // namespace

void bind_bursts(py::module_& m)
{
    m.def("burst_passes",
          &burst_passes,
          py::arg("job"),
          py::arg("instructions"),
          py::arg("threads"),
          "Fill the job's output arrays.");
    m.def("burst_layout",
          &layout,
          py::arg("gap"),
          py::arg("lengths"),
          py::arg("worth"),
          py::arg("begin"),
          py::arg("change"),
          "(first sample, number of the length) of each symbol of the best layout.");
}
