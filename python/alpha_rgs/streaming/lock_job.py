# SPDX-License-Identifier: GPL-3.0-or-later
"""The windows of a job of a stream that may be locked: searched, predicted, and searched again where that fails."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..separators.base import Separation, exchanged, mapped
from .brief import Brief
from .lock import SEARCHED, Lock, Predicted, with_reports
from .lock_alone import ALIKE, FEW, told
from .lock_correction import Corrected

_AGAIN = 4              # windows that are searched where the stream is known from before
_MISSED = 3             # of these, that hold what the lock was lost to
_LOST = 4               # one window in so many, astray, is no glitch: the lock is lost at the first of them

# rows, what is known of the first source's carrier offset (cycles per sample) -> windows searched, of tensors
Search = Callable[[np.ndarray, float | None], Separation]
Short = Callable[[np.ndarray], Brief | None]                    # rows -> the first of these windows, where that can be
Separate = Callable[[np.ndarray, Predicted], Separation]        # rows, prediction -> windows separated as predicted, of tensors


class Locked:
    """A job. lock: of its stream; y: complex64 [n, samples]; starts: int [n], their first samples; lost: bool [n], windows of
    which nothing is to be learnt. search: of windows of which nothing is known, by rows; separate: of windows that were
    predicted; finish(rows, Separation, whether they were searched, whether some may be once more) -> the Separation, aligned with
    the stream: called once for every window, in order."""

    def __init__(self, lock: Lock, y: Tensor, starts: np.ndarray, lost: np.ndarray, pair: bool, search: Search,
                 separate: Separate, finish: Callable[[np.ndarray, Separation, bool, bool], Separation],
                 short: Short | None = None) -> None:
        self.lock, self.y, self.starts, self.lost, self.pair = lock, y, starts, lost, pair
        self.search, self.separate, self.finish, self.short = search, separate, finish, short

    def solved(self) -> list[Separation | Brief]:
        """What is in all windows, in parts: Separations of tensors, or Briefs where there is a short way."""
        parts: list[Separation | Brief] = []
        part: Separation | Brief | None
        at, searched = 0, FEW if self.lock.alone else SEARCHED
        while at < len(self.starts):
            near, part = self._near(at), None
            if len(near) and self.short:
                part = self.short(near)
            if part is None and len(near) and self.lock.reach:
                part = self._predicted(near[:self.lock.reach])
            if part is None:
                rows = np.arange(at, min(at + searched, len(self.starts)))
                part = self._searched(rows)
                if not self.lock.reach:         # nothing to be locked to: the more windows, the better they mend each other
                    searched = 2 * searched if self.lock.alone else len(self.starts)
            parts.append(part)
            at += len(part.noise_var)
        return parts

    def _near(self, at: int) -> np.ndarray:
        """Windows from the number `at` on that can be predicted; none once the stream has gone too far on: then the lock is
        lost."""
        if not self.lock.reach:
            return np.zeros(0, int)
        if self.lock.predicts(self.starts[-1]):
            return np.arange(at, len(self.starts))
        far = next((k for k in range(at, len(self.starts)) if not self.lock.predicts(self.starts[k])), len(self.starts))
        if far == at:
            self.lock.lose(float(self.starts[at]))
        return np.arange(at, far)

    def _searched(self, rows: np.ndarray) -> Separation:
        """Windows from the first of rows on that nothing predicts: a few, where the stream is known from before, else all."""
        found, again = self._found_again(rows[:_AGAIN])
        rows = rows if found is None else rows[:_AGAIN]
        self.lock.searched += self.starts[rows].tolist()
        anew = found is None        # of a familiar stream, what is not it again is what the lock was lost to: no search mends it
        out = self.search(rows, None) if found is None else found
        if not self.lock.alone:
            out = self.finish(rows, out, True, anew)
        sound, believed = ~self.lost[rows], np.zeros(len(rows), bool)
        seen = self.lock.corrected(self.y[rows], out)
        if sound.any():
            believed[sound] = self.lock.found(seen[sound], _numbers(out.quality)[sound], self.starts[rows[sound]],
                                              self.y.shape[1])
        believed &= found is None or again
        self._note(rows, out, seen, believed)
        self.lock.suspect(self.starts[rows[sound]], seen.left[sound])
        self.lock.before = dict(out.estimated)
        if not self.lock.alone:
            return out
        if anew and self.lock.reach:
            anew, out = False, self._mended(rows, out, seen, np.flatnonzero(sound & ~believed))
        return self.finish(rows, out, True, anew)

    def _mended(self, rows: np.ndarray, out: Separation, seen: Corrected, some: np.ndarray) -> Separation:
        """Windows that were searched, `some` of them, by their places, once more as the others predict them, where that is
        better."""
        predicted = self.lock.predicted(self.starts[rows[some]], self.y.shape[1]) if len(some) else None
        if predicted is None:
            return out
        again = with_reports(self.separate(rows[some], predicted), predicted, self.lock.before, self.pair)
        return exchanged(out, torch.from_numpy(some), again, torch.from_numpy(told(again) < seen.left[some] - ALIKE))

    def _found_again(self, rows: np.ndarray) -> tuple[Separation | None, np.ndarray]:
        """(windows of a stream that was lost, searched near the carrier offset that it had; which of them are it again, bool
        [n]); None where too many are not."""
        familiar = self.lock.familiar
        if familiar is None:
            return None, np.zeros(len(rows), bool)
        out = self.search(rows, familiar.carrier_offset)
        again = self.lock.again(self.lock.corrected(self.y[rows], out), _numbers(out.quality))
        familiar.missed += int((~again).sum())
        if familiar.missed > _MISSED:
            self.lock.familiar = None
            return None, again
        return out, again

    def _predicted(self, rows: np.ndarray) -> Separation | None:
        """Windows from the first of rows on, so many as the lock holds; None where it does not hold at all."""
        predicted = self.lock.predicted(self.starts[rows], self.y.shape[1])
        if predicted is None:
            self.lock.lose(float(self.starts[rows[0]]))
            return None
        out = self.separate(rows, predicted)
        seen = self.lock.corrected(self.y[rows], out)
        out = with_reports(out, predicted, self.lock.before, self.pair)
        sound = ~self.lost[rows]
        astray = self.lock.astray(seen, _numbers(out.quality)) & sound
        if astray.any() and astray.sum() > len(rows) // _LOST:
            held = int(astray.argmax())
            if not held:
                self.lock.lose(float(self.starts[rows[0]]))
                return None
            out = mapped(out, lambda value: value[:held] if len(value) > 1 else value)
            out = self.finish(rows[:held], out, False, False)
            self.lock.lose(float(self.starts[rows[0]]))
            return out
        self._note(rows, out, seen, sound & ~astray)
        astray &= self.lock.searchable(seen)
        if astray.any():
            self.lock.searched += self.starts[rows[astray]].tolist()
            again = self.search(rows[astray], None)
            better = self.lock.mended(self.y[rows[astray]], again, seen[astray])
            out = exchanged(out, torch.from_numpy(np.flatnonzero(astray)), again, better)
            again = mapped(out, lambda value: value[astray] if len(value) > 1 else value)
            self.lock.suspect(self.starts[rows[astray]], self.lock.corrected(self.y[rows[astray]], again).left)
        return self.finish(rows, out, False, False)

    def _note(self, rows: np.ndarray, out: Separation, seen: Corrected, believed: np.ndarray) -> None:
        self.lock.note(out, self.starts[rows], self.y.shape[1], seen, believed)


def _numbers(values: Tensor) -> np.ndarray:
    return torch.as_tensor(values).double().cpu().numpy()
