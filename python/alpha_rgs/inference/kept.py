# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that are computed once and kept, as many as fit in a given memory: those of OFDM with 2048 carriers are a thousand times
as large as those of OFDM with 64."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import wraps
from threading import Lock
from typing import Any

from torch import Tensor

_BYTES = 1 << 28        # 256 MiB of each function's tables


def kept(make: Callable[..., Sequence[Tensor]]) -> Callable[..., Sequence[Tensor]]:
    """`make`, a function of hashable arguments, with its latest results kept: as functools.lru_cache, but by their size, and the
    last one in any case."""
    results: OrderedDict[Hashable, Sequence[Tensor]] = OrderedDict()
    lock, total = Lock(), 0

    @wraps(make)
    def looked_up(*key: Any) -> Sequence[Tensor]:
        nonlocal total
        with lock:
            if key in results:
                results.move_to_end(key)
                return results[key]
        found = make(*key)
        with lock:
            if key not in results:
                results[key] = found
                total += _size(found)
            while total > _BYTES and len(results) > 1:
                total -= _size(results.popitem(last=False)[1])
        return found

    return looked_up


def _size(tensors: Sequence[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
