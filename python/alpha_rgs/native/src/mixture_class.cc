/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "mixture_class.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

namespace alpha_rgs {

namespace {

// What was given back, for whoever asks next.
struct Store {
    static constexpr size_t most = 8; // blocks: two for each of four threads
    std::mutex mutex;
    std::vector<std::pair<size_t, char*>> blocks;

    ~Store()
    {
        for (const auto& block : blocks)
            free(block.second);
    }
};

Store& store()
{
    static Store all;
    return all;
}

} // namespace

Memory::Memory(size_t bytes) : d_data(nullptr), d_bytes((bytes + 64) / 64 * 64)
{
    {
        Store& all = store();
        std::lock_guard<std::mutex> lock(all.mutex);
        for (auto block = all.blocks.begin(); block != all.blocks.end(); ++block)
            if (block->first >= d_bytes && block->first / 2 <= d_bytes) {
                d_bytes = block->first;
                d_data = block->second;
                all.blocks.erase(block);
                return;
            }
    }
    d_data = (char*)aligned_alloc(64, d_bytes);
    if (!d_data)
        throw std::bad_alloc();
}

Memory::Memory(Memory&& other) noexcept : d_data(other.d_data), d_bytes(other.d_bytes)
{
    other.d_data = nullptr;
}

Memory::~Memory()
{
    if (!d_data)
        return;
    Store& all = store();
    std::lock_guard<std::mutex> lock(all.mutex);
    all.blocks.emplace_back(d_bytes, d_data);
    if (all.blocks.size() > Store::most) {
        free(all.blocks.front().second);
        all.blocks.erase(all.blocks.begin());
    }
}

Mixture::Mixture(const MixtureShape& shape,
                 const std::vector<MixtureColumns>& sources,
                 int windows,
                 const Kernel& kernel,
                 int threads)
    : d_shape(shape), d_sources(sources), d_kernel(kernel)
{
    const size_t lanes = (size_t)kernel.lanes;
    size_t staged = 0;
    int widest = 0;
    for (const MixtureColumns& source : sources) {
        staged += source.staged(kernel.lanes);
        widest = std::max(widest, source.width);
    }
    d_margin = widest + 2 * kernel.lanes;
    const size_t gram = (size_t)shape.segments * shape.triangle() * lanes,
                 stat = shape.slots() * lanes,
                 from = (size_t)shape.segments * shape.front();
    for (int first = 0; first < windows; first += kernel.lanes) {
        const int count = std::min(kernel.lanes, windows - first);
        // one block: vectors first, so that they are aligned
        d_kept.emplace_back(4 *
                            (gram + stat + from + 2 * shape.slots() + staged * count));
        float* at = (float*)d_kept.back().data();
        MixtureGroup group{ first, count, at, at + gram, nullptr, nullptr, nullptr };
        group.columns = group.stat + stat;
        group.from = (int32_t*)(group.columns + staged * count);
        group.place = group.from + from;
        d_groups.push_back(group);
    }
    each(threads, 0, [&](size_t g, char*) {
        d_kernel.mixture.build(
            d_shape, d_sources.data(), (int)d_sources.size(), d_groups[g]);
    });
}

void Mixture::each(int threads,
                   size_t bytes,
                   const std::function<void(size_t, char*)>& work)
{
    threads = std::max(1, std::min(threads, (int)d_groups.size()));
    if (bytes > d_scratch_bytes) {
        d_scratch.clear();
        d_scratch_bytes = bytes;
    }
    while ((int)d_scratch.size() < threads)
        d_scratch.emplace_back(d_scratch_bytes);
    std::atomic<size_t> next{ 0 };
    auto run = [&](char* memory) {
        for (size_t g; (g = next++) < d_groups.size();)
            work(g, memory);
    };
    std::vector<std::thread> others;
    for (int t = 1; t < threads; t++)
        others.emplace_back(run, d_scratch[(size_t)t].data());
    run(d_scratch[0].data());
    for (std::thread& thread : others)
        thread.join();
}

void Mixture::statistics(const float* windows, int threads)
{
    const size_t bytes = 2 * sizeof(float) * ((size_t)d_shape.samples + 2 * d_margin);
    each(threads, bytes, [&](size_t g, char* memory) {
        d_kernel.mixture.statistics(d_shape,
                                    d_sources.data(),
                                    (int)d_sources.size(),
                                    d_groups[g],
                                    windows,
                                    d_margin,
                                    (float*)memory);
    });
}

void Mixture::waveform(int number, const float* unknowns, float* windows, int threads)
{
    const size_t bytes = 2 * sizeof(float) * ((size_t)d_shape.samples + 2 * d_margin);
    each(threads, bytes, [&](size_t g, char* memory) {
        d_kernel.mixture.waveform(d_shape,
                                  d_sources.data(),
                                  number,
                                  d_groups[g],
                                  unknowns,
                                  windows,
                                  d_margin,
                                  (float*)memory);
    });
}

void Mixture::posterior(const MixtureSites& sites, int threads)
{
    each(threads, d_kernel.mixture.bytes(d_shape), [&](size_t g, char* memory) {
        d_kernel.mixture.posterior(d_shape, d_groups[g], sites, memory);
    });
}

} // namespace alpha_rgs
