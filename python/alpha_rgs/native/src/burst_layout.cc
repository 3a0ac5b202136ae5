/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "burst_layout.h"

#include <algorithm>
#include <cstddef>

namespace alpha_rgs {

namespace {

// Of the layouts that end at a sample in a state, the best: in a gap, or with a symbol of
// one of the lengths. from: the state before it, whose end is where this piece began.
struct Best {
    double value;
    int begin, from;
};

constexpr double never = -1e300;

} // namespace

std::vector<std::pair<int, int>> best_layout(const std::vector<double>& gap,
                                             const std::vector<SymbolWorth>& symbols,
                                             const LayoutPrices& prices)
{
    const size_t states = symbols.size() + 1, total = gap.size();
    int longest = 1;
    for (const SymbolWorth& each : symbols)
        longest = std::max(longest, each.length);
    std::vector<Best> best((total + (size_t)longest + 1) * states, Best{ never, -1, 0 });
    for (size_t s = 0; s < states; s++)
        best[s].value = 0.0;
    for (size_t p = 0; p < total; p++) {
        const Best* here = &best[p * states];
        size_t last = 1;
        for (size_t s = 2; s < states; s++)
            last = here[s].value > here[last].value ? s : last;
        const bool stays = here[0].value >= here[last].value - prices.change;
        const double value =
            (stays ? here[0].value : here[last].value - prices.change) + gap[p];
        Best& next = best[(p + 1) * states];
        if (value > next.value)
            next = Best{ value, (int)p, stays ? 0 : (int)last };
        for (size_t k = 1; k < states; k++) {
            const SymbolWorth& symbol = symbols[k - 1];
            if (p >= symbol.worth.size())
                continue;
            size_t from = 0;
            double paid = here[0].value - prices.begin;
            for (size_t s = 1; s < states; s++) {
                const double other = here[s].value - (s == k ? 0.0 : prices.change);
                if (other > paid) {
                    paid = other;
                    from = s;
                }
            }
            Best& end = best[(p + (size_t)symbol.length) * states + k];
            if (paid + symbol.worth[p] > end.value)
                end = Best{ paid + symbol.worth[p], (int)p, (int)from };
        }
    }
    size_t at = total * states; // of equally good ones the last
    for (size_t k = at; k < (total + (size_t)longest) * states; k++)
        at = best[k].value >= best[at].value ? k : at;
    std::vector<std::pair<int, int>> found;
    while (at >= states) {
        const Best& here = best[at];
        if (at % states)
            found.emplace_back(here.begin, (int)(at % states) - 1);
        at = (size_t)here.begin * states + (size_t)here.from;
    }
    std::reverse(found.begin(), found.end());
    return found;
}

} // namespace alpha_rgs
