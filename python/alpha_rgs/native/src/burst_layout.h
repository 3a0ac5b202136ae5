/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// The dynamic program of synchronization/burst_layout.py.

#ifndef INCLUDED_ALPHA_RGS_BURST_LAYOUT_H
#define INCLUDED_ALPHA_RGS_BURST_LAYOUT_H

#include <utility>
#include <vector>

namespace alpha_rgs {

// What a symbol that begins at each sample is worth: of one length.
struct SymbolWorth {
    int length;
    std::vector<double> worth;
};

// Prices of a symbol after a gap; of a gap after a symbol, or another length.
struct LayoutPrices {
    double begin, change;
};

// The best layout: (first sample, number of the length) of each symbol, in order. gap:
// what each sample is worth in a gap.
std::vector<std::pair<int, int>> best_layout(const std::vector<double>& gap,
                                             const std::vector<SymbolWorth>& symbols,
                                             const LayoutPrices& prices);

} // namespace alpha_rgs

#endif
